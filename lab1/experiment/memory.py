"""What this computer remembers of its W&B runs, so that none of them is made or logged twice."""

import contextlib
import hashlib
import json
import secrets
from pathlib import Path

from lab1.basics.files import atomic


def new_id() -> str:
    """A random id for `tracking.run(run_id=...)`. A checkpoint that keeps it lets its run be continued."""
    return secrets.token_hex(6)


def same_id(folder: Path, what: str) -> str:
    """The same id for the same name in this folder, and another one in anybody else's."""
    salt = folder / "salt"
    if not salt.exists():
        salt.write_text(new_id())
    return hashlib.sha256(f"{salt.read_text()}/{what}".encode()).hexdigest()[:12]


class Memory:
    """What this computer knows of a run, in a small file: its last logged epoch, and whether it is finished."""

    def __init__(self, folder: Path, run_id: str):
        self._path = folder / "known" / f"{run_id}.json"
        self.epoch, self.finished = -1, False
        with contextlib.suppress(OSError, ValueError):
            self.__dict__ |= json.loads(self._path.read_text())

    def update(self, **values) -> None:
        self.__dict__ |= values
        with atomic(self._path) as file:
            file.write(json.dumps({"epoch": self.epoch, "finished": self.finished}).encode())
