"""Unpack a zip of which nothing is believed: as far as it can be read, and never more than so many bytes."""

import contextlib
import os
import zipfile
from datetime import datetime
from pathlib import Path

from lab1.grade.notebook import Unreadable, plain

IGNORED = {".ipynb_checkpoints", "__pycache__", "__MACOSX", ".git", ".venv"}  # folders that no student has written
MOST_UNPACKED = 4 * 2**30  # bytes
MOST_ENTRIES = 100_000


def unpack(path: Path, folder: Path, most: int = MOST_UNPACKED) -> dict[str, str]:
    """Unpack a zip's files, with their times. Returns why a file could not be unpacked, by the file's name.

    most: bytes of all files.

    Raises:
        Unreadable: the whole zip is damaged or too large.
    """
    if path.is_symlink() or not path.is_file():
        raise Unreadable(f"{path.name} is a link or no regular file: hand in the zip itself")
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # a zip can be damaged in every way
        raise Unreadable(f"{path.name} cannot be unpacked ({plain(error)}): hand it in again") from error
    with archive:
        entries = [entry for entry in archive.infolist() if not IGNORED & set(entry.filename.split("/"))]
        if sum(entry.file_size for entry in entries) > most or len(entries) > MOST_ENTRIES:
            limits = f"{most / 2**30:g} GB or {MOST_ENTRIES:,} files"
            raise Unreadable(f"{path.name} has more than {limits} when it is unpacked: hand in less")
        lost = {_inside(entry): _extract(archive, entry, folder) for entry in entries}
        return {name: why for name, why in lost.items() if why}


def _inside(entry: zipfile.ZipInfo) -> str:
    """The name as `extract` writes it: without "..", and without a leading "/"."""
    return "/".join(part for part in entry.filename.split("/") if part not in ("", ".", ".."))


def _extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> str:
    """Why one file cannot be unpacked; "" if it could."""
    file = folder / _inside(entry)
    try:
        archive.extract(entry, folder)
        os.utime(file, (_time(entry), _time(entry)))
    except Exception as error:
        with contextlib.suppress(OSError):
            file.unlink()  # half of a file
        return f"it cannot be unpacked ({plain(error)}): hand in a new zip, without a password"
    return ""


def _time(entry: zipfile.ZipInfo) -> float:
    """When a file was last changed, in seconds since 1970; 0 if the zip says no possible time."""
    try:
        return datetime(*entry.date_time).timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0
