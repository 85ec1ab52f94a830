"""Files that are written whole or not at all."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file for writing that becomes `path` when the block ends without an exception.

    Until then it is a temporary file beside `path`, so that `path` is at every moment the old file or the new one.
    Missing folders are made, and temporary files of processes that were killed are removed.

    Raises:
        OSError: as `open` does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(path: Path) -> None:
    """Remove the temporary files that killed processes left beside `path`; those of living processes stay."""
    for file in path.parent.iterdir():
        match = re.fullmatch(re.escape(path.name) + r"\.(\d+)\.tmp", file.name)
        if match and not _is_alive(int(match[1])):
            with contextlib.suppress(OSError):  # Windows keeps files that are open
                file.unlink()


def _is_alive(pid: int) -> bool:
    if os.name != "posix":
        return False  # signal 0 would end the process there
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it is another user's
        pass
    return True
