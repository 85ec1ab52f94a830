"""Notebooks on the cores of this machine, or on a Dask cluster. A worker that dies costs nobody a grade."""

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

MOST_TRIES = 3  # of a notebook whose worker ended
Job = tuple[Any, Callable, tuple]  # a key, and the function and arguments that give its result


def local(jobs: int) -> ProcessPoolExecutor:
    """As many processes of this machine."""
    return ProcessPoolExecutor(jobs, initializer=_quiet)


def _quiet() -> None:
    """An interrupt is the parent's to handle, which then ends its workers: their kernels end with them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)


def _end(*_) -> None:
    raise SystemExit


def dask(address: str) -> tuple[Any, int]:
    """A client of a Dask scheduler, and how many notebooks its workers take at a time.

    Raises:
        RuntimeError: it cannot be reached, or Dask is not installed.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise RuntimeError("--scheduler needs Dask: pip install distributed") from error
    try:
        client = Client(address, timeout=20)
    except (OSError, ValueError) as error:
        raise RuntimeError(f"no scheduler answers at {address}: start `dask scheduler`, and workers") from error
    return client, sum(client.nthreads().values()) or 1


def results(jobs: Iterable[Job], start: Callable[[], Executor], window: int) -> Iterator[tuple[Any, Any]]:
    """(key, result or error) of every job as it ends; no more than `window` of them are loaded at a time.

    A worker that dies takes the jobs of all others of a local pool with it. These are done again one at a time: then
    whoever ends its worker ends only its own.
    """
    waiting, running, tries = iter(jobs), {}, {}
    again: list[Job] = []
    executor = start()
    try:
        while True:
            most = 1 if again else window
            while len(running) < most and (job := again.pop() if again else next(waiting, None)):
                running[_submit(executor, job)] = job
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            broken = False
            for future in done:
                job = running.pop(future)
                try:
                    yield job[0], future.result()
                except (BrokenProcessPool, CancelledError) as error:
                    broken = True
                    tries[job[0]] = tries.get(job[0], 0) + 1
                    if tries[job[0]] < MOST_TRIES:
                        again.append(job)
                    else:
                        yield job[0], error
                except Exception as error:
                    yield job[0], error
            if broken:
                again += running.values()
                running = {}
                executor.shutdown(wait=False)
                executor = start()
    finally:
        for process in multiprocessing.active_children():
            process.terminate()
        executor.shutdown(wait=False)  # Dask's knows no more words


def _submit(executor: Executor, job: Job) -> Future:
    _, function, arguments = job
    try:
        return executor.submit(function, *arguments)
    except BrokenProcessPool as error:
        future = Future()
        future.set_exception(error)
        return future
