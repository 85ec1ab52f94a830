"""What is said once, and whether progress bars are drawn."""

import functools
import os


@functools.cache
def announce(line: str) -> None:
    """Print a line the first time it is given, and never again in this process."""
    print(line, flush=True)


def bars_are_off() -> bool:
    """Whether TQDM_DISABLE asks for no progress bars: to be given as `disable`, for tqdm's notebook bar ignores it."""
    return os.environ.get("TQDM_DISABLE", "").strip().lower() not in ("", "0", "false")
