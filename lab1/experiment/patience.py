"""Calls of other people's software that may never return."""

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future

import psutil


def within(seconds: float, action: Callable, process: str, then: Callable):
    """action(), in a thread of its own.

    If it takes longer, this process's children whose name starts with `process` are killed, and `then` is called.

    Raises:
        TimeoutError: it took longer.
        Whatever `action` raises.
    """
    outcome = _started(action)
    try:
        return outcome.result(seconds)
    except TimeoutError:
        if outcome.done():  # action raised it
            raise
    for child in psutil.Process().children():
        if child.name().startswith(process):
            child.kill()
    with contextlib.suppress(Exception, SystemExit):
        _started(then).result(5)
    raise TimeoutError(f"no answer within {seconds} s")


def _started(action: Callable) -> Future:
    outcome = Future()

    def work():
        try:
            outcome.set_result(action())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return outcome
