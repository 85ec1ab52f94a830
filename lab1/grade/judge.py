"""The judging half of the checks, for one notebook: it runs in the grader, and asks an observer in the kernel.

The kernel's half is in inside.py. What comes from there is data of the checks' channel, and never believed beyond
that. A message is one byte for its kind, four for the number of the check it belongs to, and its content.
"""

import contextlib
import hashlib
import json
import socket
import struct
from dataclasses import asdict, dataclass
from typing import Any

import torch

from lab1 import checks
from lab1.checks import Result
from lab1.checks._memory import limited_memory
from lab1.checks.channel import Ended, Pipe
from lab1.grade.notebook import plain

SECONDS = 100.0  # for a check: its 8 s of the student's own time, on a machine with other work
MOST_CALLS = 100  # of one check; later ones get the last result once more
MOST_JSON = 2**15  # bytes of what the kernel says besides its replies
MOST_STALE = 100  # messages of a check that has ended, in a row
CALL, ASK, REPLY, END, RESULT, USED = b"caresu"
CHECKS = {check.name: check for check in checks.CHECKS}
FUNCTIONS = {check.name: name for name, check in vars(checks).items() if check in checks.CHECKS}


@dataclass(frozen=True)
class Judged:
    """A result: of which of a name's objects (0 is the first that the notebook made), in which cell (0: at the end)."""

    result: Result
    answer: int
    cell: int


class Judge:
    """Answers the calls of checks that come through a socket. judged: all results so far, by the task's name."""

    def __init__(self, channel: socket.socket, seed: int):
        self.channel, self.seed = channel, seed
        self.judged: dict[str, list[Judged]] = {name: [] for name in CHECKS}
        self.used: dict[str, set[str]] = {name: set() for name in CHECKS}

    def answer(self) -> bool:
        """One call: judge what the kernel observes, and send the result. False: there will be no other."""
        try:
            kind, number, content = unpack(self._pipe().receive())
            call = loads(content) if kind == CALL else {}
            name, cell, answer = str(call["name"]), int(call["cell"]), int(call["answer"])
            check, judged = CHECKS[name], self.judged[name]
        except (Ended, OSError, ValueError, KeyError, TypeError, RecursionError):
            return False
        with contextlib.suppress(Ended, OSError, ValueError, TypeError, RecursionError, MemoryError):
            if len(judged) < MOST_CALLS:
                with torch.inference_mode(False), limited_memory():
                    result = check.judge(Remote(self._pipe(), number), self._seed(name, len(judged)))
                judged.append(Judged(result, answer, cell))
            result = judged[-1].result
            self._pipe().send(pack(RESULT, number, json.dumps(asdict(result)).encode()))
            self.used[name] |= Remote(self._pipe(), number).used()
        return True

    def _pipe(self) -> Pipe:
        return Pipe(self.channel.fileno(), self.channel.fileno(), SECONDS)

    def give_up(self) -> None:
        """Let the kernel know, which would wait for an answer otherwise."""
        with contextlib.suppress(OSError):
            self.channel.shutdown(socket.SHUT_RDWR)

    def _seed(self, name: str, call: int) -> int:
        """Other inputs for each call, so that what one of them tells is of no use in the next."""
        digest = hashlib.sha256(f"{self.seed} {name} {call}".encode()).digest()
        return int.from_bytes(digest[:6])


class Remote:
    """The channel of one check, to its observer in the kernel."""

    def __init__(self, pipe: Pipe, number: int):
        self._pipe, self._number = pipe, number

    def send(self, message: bytes) -> None:
        self._pipe.send(pack(ASK, self._number, message))

    def receive(self) -> bytes:
        """Raises Ended."""
        return self._receive(REPLY)

    def used(self) -> set[str]:
        """What of lab1's own code the answer has run, as the kernel says."""
        names = loads(self._receive(USED))
        return {plain(name, 100) for name in list(names)[:20]}

    def _receive(self, wanted: int) -> bytes:
        for _ in range(MOST_STALE):
            kind, number, content = unpack(self._pipe.receive())
            if number != self._number:
                continue
            if kind == END:
                raise Ended("too slow" if content == b"too slow" else "gone")
            if kind == wanted:
                return content
        raise Ended("gone")


def loads(content: bytes) -> Any:
    """Raises ValueError."""
    if len(content) > MOST_JSON:
        raise ValueError("too long")
    return json.loads(content)


def pack(kind: int, number: int, content: bytes) -> bytes:
    return struct.pack("<BI", kind, number) + content


def unpack(message: bytes) -> tuple[int, int, bytes]:
    """Raises Ended."""
    if len(message) < 5:
        raise Ended("gone")
    return *struct.unpack_from("<BI", message), message[5:]
