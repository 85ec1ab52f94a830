"""What passes between the observing and the judging half of a check: plain data as bytes, which cannot become code.

A message is JSON, and behind it the raw bytes of the tensors in it. Its values are None, bool, int, float, str, list,
tuple, dict and Tensor; what is nothing of these arrives as an `Other`, which is only a name. Long texts arrive cut off.
"""

import contextlib
import json
import math
import os
import queue
import select
import struct
import time
from collections.abc import Iterator, Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple

import torch
from torch import Tensor

LARGEST = 2**24  # bytes of a tensor that is sent; a message may hold four of them
MOST_JSON = 2**20  # bytes of a message without its tensors
MOST_TEXT = 500  # characters of a text in it
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)}


class Other(NamedTuple):
    """What is no plain value: the name of its type, and for a tensor why it is not sent."""

    type: str
    note: str = ""


class Ended(Exception):
    """The other side gives no answer: "too slow" or "gone"."""


def encode(value: Any) -> bytes:
    """A value as a message. Subclasses are sent as the plain values that they extend.

    Raises:
        ValueError: it is too large without its tensors.
    """
    blobs: list[bytes] = []
    header = json.dumps(_plain(value, blobs)).encode()
    if len(header) > MOST_JSON:
        raise ValueError(f"a value with more than {MOST_JSON:,} characters, far more than asked for")
    return b"".join([struct.pack("<Q", len(header)), header, *blobs])


def _plain(value: Any, blobs: list[bytes]) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Tensor):
        return _tensor(value, blobs)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, Other):
        return {"other": list(value)}
    if isinstance(value, Mapping):
        return {"dict": [[_plain(key, blobs), _plain(each, blobs)] for key, each in value.items()]}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_plain(each, blobs) for each in value]}
    return {"other": [type(value).__name__, ""]}


def _tensor(value: Tensor, blobs: list[bytes]) -> dict:
    with torch._C.DisableTorchFunctionSubclass(), torch.no_grad():
        plain = value.as_subclass(Tensor).detach()
        dtype = str(plain.dtype).removeprefix("torch.")
        if plain.device.type != "cpu":
            return {"other": ["Tensor", f"lies on {plain.device}"]}
        if plain.layout != torch.strided or dtype not in DTYPES or plain.is_quantized:
            return {"other": ["Tensor", f"is {plain.layout}, {dtype}"]}
        if plain.numel() * plain.element_size() > LARGEST:
            return {"other": ["Tensor", f"has shape {tuple(plain.shape)}, far more than asked for"]}
        raw = plain.resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)
        blobs.append(raw.numpy().tobytes())
        return {"tensor": [dtype, list(plain.shape), bool(value.requires_grad)]}


def decode(message: bytes) -> Any:
    """The value of a message.

    Raises:
        Ended: it is no message of this kind.
    """
    try:
        [length] = struct.unpack_from("<Q", message)
        if length > MOST_JSON:
            raise ValueError("too long")
        header = json.loads(message[8 : 8 + length])
        return _value(header, _Blobs(message, 8 + length))
    except (ValueError, TypeError, KeyError, struct.error, RuntimeError, OverflowError, MemoryError) as error:
        raise Ended("gone") from error


class _Blobs:
    def __init__(self, message: bytes, at: int):
        self.message, self.at = message, at

    def take(self, length: int) -> bytearray:
        self.at += length
        if self.at > len(self.message):
            raise ValueError("a tensor is longer than its message")
        return bytearray(self.message[self.at - length : self.at])


def _value(plain: Any, blobs: _Blobs) -> Any:
    if not isinstance(plain, dict):
        if isinstance(plain, str):
            return plain[:MOST_TEXT]
        if plain is None or isinstance(plain, bool | int | float):
            return plain
        raise ValueError("not a value")
    [(kind, content)] = plain.items()
    if kind == "tensor":
        name, shape, requires_grad = content
        dtype, shape = DTYPES[name], [int(n) for n in shape]
        length = math.prod(shape) * dtype.itemsize
        data = (
            torch.frombuffer(blobs.take(length), dtype=torch.uint8).view(dtype)
            if length
            else torch.empty(0, dtype=dtype)
        )
        return data.reshape(shape).requires_grad_(bool(requires_grad) and dtype.is_floating_point)
    if kind == "dict":
        return {_value(key, blobs): _value(each, blobs) for key, each in content}
    if kind == "other":
        return Other(*(str(each)[:MOST_TEXT] for each in content))
    values = [_value(each, blobs) for each in content]
    return {"list": list, "tuple": tuple}[kind](values)


class Pipe:
    """Messages over two file descriptors. It waits for the other side for at most that many seconds in all."""

    def __init__(self, read: int, write: int, seconds: float | None = None):
        self._read, self._write, self._left = read, write, seconds
        os.set_blocking(write, False)

    def send(self, message: bytes) -> None:
        """Raises Ended."""
        rest = memoryview(struct.pack("<Q", len(message)) + message)
        while rest:
            self._wait([], [self._write])
            try:
                rest = rest[os.write(self._write, rest) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise Ended("gone") from error

    def receive(self) -> bytes:
        """Raises Ended."""
        [length] = struct.unpack("<Q", self._exactly(8))
        if length > 4 * LARGEST:
            raise Ended("gone")
        return self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        parts = []
        while count:
            self._wait([self._read], [])
            part = os.read(self._read, min(count, 2**20))
            if not part:
                raise Ended("gone")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def _wait(self, read: list[int], write: list[int]) -> None:
        start = time.monotonic()
        is_ready = any(select.select(read, write, [], self._left))
        if self._left is not None:
            self._left = max(0.0, self._left - (time.monotonic() - start))
        if not is_ready:
            raise Ended("too slow")


class Queues:
    """Messages between two threads. `ends` gives both ends."""

    def __init__(self, inbox: queue.Queue, outbox: queue.Queue, seconds: float | None = None):
        self._inbox, self._outbox, self._left = inbox, outbox, seconds

    @classmethod
    def ends(cls, seconds: float) -> tuple["Queues", "Queues"]:
        there, back = queue.Queue(), queue.Queue()
        return cls(back, there, seconds), cls(there, back)

    def send(self, message: bytes) -> None:
        self._outbox.put(message)

    def receive(self) -> bytes:
        """Raises Ended. None in the queue means that the other side has ended."""
        start = time.monotonic()
        try:
            message = self._inbox.get(timeout=self._left)
        except queue.Empty:
            raise Ended("too slow") from None
        if self._left is not None:
            self._left = max(0.0, self._left - (time.monotonic() - start))
        if message is None:
            raise Ended("gone")
        return message


@contextlib.contextmanager
def pipes(seconds: float) -> Iterator[tuple[Pipe, tuple[int, int]]]:
    """This process's end of a pair of pipes, and the other end's descriptors (read, write)."""
    (their_read, write), (read, their_write) = os.pipe(), os.pipe()
    try:
        yield Pipe(read, write, seconds), (their_read, their_write)
    finally:
        for descriptor in (read, write):
            os.close(descriptor)
