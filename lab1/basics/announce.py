"""Lines that are printed only once."""

import functools


@functools.cache
def announce(line: str) -> None:
    """Print a line the first time it is given, and never again in this process."""
    print(line, flush=True)
