"""Run what a student wrote where it can do no harm: for a limited time, and with nothing it changes left behind.

That is a forked copy of this process. A changed seed or default dtype, exit(), a loop that swallows every exception,
gigabytes of memory: all of it ends with the copy, which sends plain values through a pipe as long as it lives.

Where that cannot be, it is a thread: on Windows, which cannot fork, and where there is a GPU, because autograd refuses
to work in the copy of a process that has used it with a GPU at hand. Then settings and random states are put back by
hand, and a thread that cannot be interrupted (a long sleep) is left to itself.
"""

import contextlib
import ctypes
import gc
import io
import json
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import torch

from lab1.basics.device import default_device
from lab1.checks._settings import restored

MAX_MEMORY = 2**30  # bytes that the copy may take in addition
Send = Callable[[dict], None]


class Interrupted(BaseException):
    """The time is up. Raised inside a thread; nobody but `isolated` may catch it."""


class Report(NamedTuple):
    """What was sent, what was printed, and how it ended: "finished", "too slow" or "gone" (the process)."""

    messages: list[dict]
    printed: str
    ending: str


def isolated(body: Callable[[Send], None], seconds: float) -> Report:
    """Call body(send) in isolation, for at most that long. `send` takes what json can write."""
    fork = hasattr(os, "fork") and default_device().type == "cpu"
    return (in_copy if fork else in_thread)(body, seconds)


def in_copy(body: Callable[[Send], None], seconds: float) -> Report:
    """`isolated`, in a forked copy of this process."""
    receiver, sender = Pipe(duplex=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside other threads, such as Jupyter's
        child = os.fork()
    if child == 0:
        _be_the_copy(body, sender)
    sender.close()
    try:
        return _receive(receiver, time.monotonic() + seconds)
    finally:
        receiver.close()
        for kill in (os.killpg, os.kill):  # the group: the student's code may have started processes of its own
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(child, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)


def _be_the_copy(body: Callable[[Send], None], sender: Connection) -> None:
    try:
        os.setpgid(0, 0)
        torch.set_num_threads(1)  # the other threads were not copied, and whoever waits for them waits for ever
        gc.freeze()  # what the original owns (sockets, say) is not this process's to clean up
        _limit_memory()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):  # of the process, which C code uses
            os.dup2(nowhere, stream)
        sys.stdin = Path(os.devnull).open()  # noqa: SIM115
        printed = Printed()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            body(lambda message: sender.send_bytes(json.dumps(message).encode()))
        sender.send_bytes(json.dumps({"printed": printed.text()}).encode())
    finally:
        os._exit(0)  # no clean-up: files and sockets are the original's


def _limit_memory() -> None:
    import resource

    statm = Path("/proc/self/statm")
    if statm.exists():
        used = int(statm.read_text().split()[0]) * resource.getpagesize()
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        wanted = used + MAX_MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (wanted if most < 0 else min(wanted, most), most))


def _receive(receiver: Connection, deadline: float) -> Report:
    messages = []
    while receiver.poll(max(0, deadline - time.monotonic())):
        try:
            message = json.loads(receiver.recv_bytes())
        except EOFError:
            return Report(messages, "", "gone")
        if "printed" in message:
            return Report(messages, message["printed"], "finished")
        messages.append(message)
    return Report(messages, "", "too slow")


def in_thread(body: Callable[[Send], None], seconds: float) -> Report:
    """`isolated`, as far as a thread can be: without a limit to memory."""
    messages, endings, ended, printed = [], [], threading.Event(), Printed()

    def target():
        try:
            body(messages.append)
            endings.append("finished")
        except BaseException:
            endings.append("too slow")
        finally:
            ended.set()

    thread = threading.Thread(target=target, daemon=True)  # a thread has a grad mode of its own
    with restored(), _exit_raises(), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        thread.start()
        try:
            ended.wait(seconds)
        finally:
            _interrupt(thread, ended)
    return Report(list(messages), printed.text(), endings[0] if endings else "too slow")


def _interrupt(thread: threading.Thread, ended: threading.Event) -> None:
    """Again and again, for a second at most: who swallows exceptions may be between two of them."""
    for _ in range(100):
        if ended.wait(0.01):
            return
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(Interrupted))


@contextlib.contextmanager
def _exit_raises() -> Iterator[None]:
    """Within this process, os._exit would end the student's notebook."""

    def raise_instead(status=0):
        raise SystemExit(status)

    real, os._exit = os._exit, raise_instead
    try:
        yield
    finally:
        os._exit = real


class Printed(io.TextIOBase):
    """Keeps the beginning of what is written to it, and counts the rest."""

    def __init__(self, most: int = 300):
        self._beginning, self._length, self._most = "", 0, most

    def write(self, text: str) -> int:
        self._beginning += text[: self._most - len(self._beginning)]
        self._length += len(text)
        return len(text)

    def text(self) -> str:
        more = self._length - len(self._beginning)
        return self._beginning + (f" ... and {more:,} more characters" if more else "")
