"""Observe what a student wrote where it can do no harm: for a limited time, and with nothing it changes left behind.

That is a forked copy of this process. A changed seed or default dtype, exit(), a loop that swallows every exception,
gigabytes of memory: all of it ends with the copy, which answers through a pipe as long as it lives.

Where that cannot be, it is a thread: on Windows, which cannot fork, and where autograd refuses to work in a copy,
because it has started threads of its own: with a GPU at hand, or after torch.export. Then settings and random states
are put back by hand, and a thread that cannot be interrupted (a long sleep) is left to itself.
"""

import contextlib
import ctypes
import gc
import os
import select
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from lab1.basics.device import default_device
from lab1.checks._memory import limited_memory
from lab1.checks.channel import Pipe, Queues, pipes
from lab1.checks.observer import Interrupted, serve

WAITS = [0.2, 0.4, 0.8, *[1.6] * 8]  # seconds for a copy to begin, one try after the other
WORKS, NO_AUTOGRAD = b"y", b"n"  # what a copy says of itself


def isolated(answer: Any, seconds: float) -> AbstractContextManager[Pipe | Queues]:
    """A channel to an observer of the answer, which ends after that many seconds, or with the context."""
    fork = hasattr(os, "fork") and default_device().type == "cpu"
    return (in_copy if fork else in_thread)(answer, seconds)


@contextlib.contextmanager
def in_copy(answer: Any, seconds: float) -> Iterator[Pipe | Queues]:
    """`isolated`, in a forked copy of this process; in a thread where autograd does not work in a copy."""
    with pipes(seconds) as (channel, theirs):
        child = _copy(answer, theirs)
        for descriptor in theirs:
            os.close(descriptor)
        if child is None:
            with in_thread(answer, seconds) as other:
                yield other
            return
        try:
            yield channel
        finally:
            for kill in (os.killpg, os.kill):  # the group: the student's code may have started processes of its own
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    kill(child, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)


def _copy(answer: Any, descriptors: tuple[int, int]) -> int | None:
    """The process number of a copy that works; None if autograd works in no copy.

    One that was made while another thread drew random numbers finds PyTorch's generator locked for ever, and is made
    again.
    """
    for wait in WAITS:
        ready, theirs = os.pipe()
        torch.get_rng_state()  # waits until the generator is free
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside other threads, such as Jupyter's
            child = os.fork()
        if child == 0:
            _be_the_copy(answer, descriptors, theirs)
        os.close(theirs)
        answered, _, _ = select.select([ready], [], [], wait)
        says = os.read(ready, 1) if answered else b""
        os.close(ready)
        if says == WORKS:
            return child
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if says == NO_AUTOGRAD:
            return None
    return child


def _be_the_copy(answer: Any, descriptors: tuple[int, int], ready: int) -> None:
    try:
        os.setpgid(0, 0)
        torch.get_rng_state()
        os.write(ready, WORKS if _autograd_works() else NO_AUTOGRAD)
        os.close(ready)
        gc.freeze()  # what the original owns (sockets, say) is not this process's to clean up
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):  # of the process, which C code uses
            os.dup2(nowhere, stream)
        sys.stdin = Path(os.devnull).open()  # noqa: SIM115
        with limited_memory():
            serve(answer, Pipe(*descriptors))
    finally:
        os._exit(0)  # no clean-up: files and sockets are the original's


def _autograd_works() -> bool:
    try:
        with torch.enable_grad():
            torch.ones(1, device="cpu", requires_grad=True).sum().backward()
    except RuntimeError:
        return False
    return True


@contextlib.contextmanager
def in_thread(answer: Any, seconds: float) -> Iterator[Queues]:
    """`isolated`, as far as a thread can be: without a limit to memory."""
    channel, theirs = Queues.ends(seconds)
    ended = threading.Event()

    def target():
        with contextlib.suppress(Interrupted):
            serve(answer, theirs)
        theirs.send(None)
        ended.set()

    thread = threading.Thread(target=target, daemon=True)  # a thread has a grad mode of its own
    streams = contextlib.redirect_stdout(sys.stdout), contextlib.redirect_stderr(sys.stderr)
    with _exit_raises(), streams[0], streams[1]:  # put back, even if the thread is left to itself
        thread.start()
        try:
            yield channel
        finally:
            channel.send(None)
            _interrupt(thread, ended)


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
