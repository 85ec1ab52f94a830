"""A limit to the memory that what comes from a student can make this process take."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

MAX_MEMORY = 2**30  # bytes in addition to what the process has


@contextlib.contextmanager
def limited_memory() -> Iterator[None]:
    """Within it, whoever asks for more gets an error (MemoryError, RuntimeError of PyTorch). Linux only."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        yield
        return
    import resource

    used = int(statm.read_text().split()[0]) * resource.getpagesize()
    before, most = resource.getrlimit(resource.RLIMIT_AS)
    allowed = [used + MAX_MEMORY, *(each for each in (before, most) if each >= 0)]
    resource.setrlimit(resource.RLIMIT_AS, (min(allowed), most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (before, most))
