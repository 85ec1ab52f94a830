"""CIFAR-10 and MNIST as torchvision keeps them: read from its files in the data folder, or downloaded into it.

torchvision's own download waits for ever for a server that sends a byte now and then, asks no second mirror when a
connection breaks off, and two processes that start at once destroy each other's files. So the archives are fetched
here; torchvision checks, extracts and reads them.
"""

import contextlib
import errno
import http.client
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filelock import FileLock, Timeout

from lab1.basics.announce import announce
from lab1.basics.files import atomic
from lab1.basics.progress import progress
from lab1.data import snapshots
from lab1.data.snapshots import DataError

SILENCE = 20  # seconds without a single byte after which a server is given up
PATIENCE = 60  # seconds within which another 1% of a file must arrive
CHUNK = 1 << 16  # bytes
UNKNOWN_SIZE = 100 * 1024**2  # bytes, assumed of a file whose size the server does not tell
EXTRACTED = {"cifar10": "cifar-10-batches-py/*", "mnist": "MNIST/*/*[!z]"}  # all files but the archives
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


class NotAtHandError(Exception):
    """A source has no images; the message, if there is one, says why in one line."""


class _Archive(NamedTuple):
    path: Path
    md5: str
    urls: list[str]  # to be asked in this order


def torchvision_arrays(
    name: str, folder: Path, image_shape: tuple[int, ...], download: bool = True
) -> tuple[np.ndarray, ...]:
    """x_train, y_train, x_test, y_test of "cifar10" or "mnist", from torchvision's files in the folder.

    Missing files are downloaded, and what an interrupted download left behind is replaced; another process that does
    the same in the same folder is waited for.

    Raises:
        NotAtHandError: files are missing, and cannot or (with download=False) shall not be downloaded.
        DataError: files with other images or labels than `snapshots.fault` allows; a folder that must be written to
            and cannot be.
    """
    arrays = _at_hand(name, folder)
    if arrays is None:
        arrays = _completed(name, folder, download)
    return _checked(arrays, name, folder, image_shape)


def _at_hand(name: str, folder: Path) -> tuple[np.ndarray, ...] | None:
    try:
        return _read(name, folder, extract=False)
    except Exception:  # of many kinds: files are not there, or cut off at any point
        return None


def _completed(name: str, folder: Path, download: bool) -> tuple[np.ndarray, ...]:
    """The arrays, after whatever was missing has been downloaded and extracted."""
    archives = _archives(name, folder)
    if not download and not all(_is_complete(archive) for archive in archives):
        raise NotAtHandError
    _check_writable(folder)
    try:
        with _only_process(folder / f"{name}.lock"):
            arrays = _at_hand(name, folder)  # another process may have been faster
            return _fetched_and_extracted(name, folder, archives) if arrays is None else arrays
    except OSError as error:
        if error.errno in _UNWRITABLE:
            raise _unwritable(folder, error) from error
        raise _no_download(error) from error


def _fetched_and_extracted(name: str, folder: Path, archives: list[_Archive]) -> tuple[np.ndarray, ...]:
    for archive in archives:
        for left_over in archive.path.parent.glob(f"{archive.path.name}.*.tmp"):  # of a run that was killed
            left_over.unlink()
        if not _is_complete(archive):
            _fetch(archive)
    for file in folder.glob(EXTRACTED[name]):
        file.unlink()  # torchvision checks archives, but not everything that is in them
    try:
        return _read(name, folder, extract=True)
    except OSError:
        raise
    except Exception as error:
        raise _no_download(error) from error


def _dataset(name: str) -> type:
    import torchvision  # takes a second, and is not needed where there is a snapshot

    return {"cifar10": torchvision.datasets.CIFAR10, "mnist": torchvision.datasets.MNIST}[name]


def _archives(name: str, folder: Path) -> list[_Archive]:
    dataset = _dataset(name)
    if name == "cifar10":
        return [_Archive(folder / dataset.filename, dataset.tgz_md5, [dataset.url])]
    return [
        _Archive(folder / "MNIST" / "raw" / file, md5, [mirror + file for mirror in dataset.mirrors])
        for file, md5 in dataset.resources
    ]


def _read(name: str, folder: Path, extract: bool) -> tuple[np.ndarray, ...]:
    dataset = _dataset(name)
    train, test = (dataset(folder, train=part, download=extract) for part in (True, False))
    return tuple(np.asarray(values) for values in (train.data, train.targets, test.data, test.targets))


def _checked(arrays, name: str, folder: Path, image_shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    named = dict(zip(snapshots.KEYS, arrays, strict=True))
    for key, array in named.items():
        if array.dtype != np.uint8 and array.size and array.min() >= 0 and array.max() <= 255:
            named[key] = array.astype(np.uint8)
    if found := snapshots.fault(named, image_shape):
        files = folder / {"cifar10": "cifar-10-batches-py", "mnist": "MNIST"}[name]
        raise DataError(f"{files}: {found}. These are not the files that torchvision downloads; remove the folder")
    return tuple(named.values())


def _is_complete(archive: _Archive) -> bool:
    from torchvision.datasets.utils import check_integrity

    return check_integrity(archive.path, archive.md5)


def _fetch(archive: _Archive) -> None:
    """Download an archive: from each server in turn, from one that breaks off a second time.

    Raises:
        NotAtHandError: no server sent it; the message is the last one's answer.
        OSError: it cannot be written.
    """
    reason: Exception | None = None
    for url in archive.urls:
        for _ in range(2):
            try:
                _download(url, archive.path)
            except (urllib.error.URLError, TimeoutError) as error:  # refused, or silent: it would be so again
                reason = error
                break
            except (OSError, ValueError, http.client.HTTPException) as error:  # broken off, or no sensible answer
                if getattr(error, "errno", None) in _UNWRITABLE:
                    raise
                reason = error
                continue
            if _is_complete(archive):
                return
            reason = ValueError(f"{url} sent another file, or only a part of it")
    raise _no_download(reason)


def _download(url: str, path: Path) -> None:
    """Raises TimeoutError where the server sends nothing for 20 s, or not another 1% of the file within 60 s."""
    with urllib.request.urlopen(url, timeout=SILENCE) as response:
        size = int(response.headers["Content-Length"] or UNKNOWN_SIZE)
        options = {"total": size, "unit": "B", "unit_scale": True, "desc": path.name, "leave": False}
        with progress(**options) as bar, atomic(path) as file:
            received, milestone, deadline = 0, 0, time.monotonic() + PATIENCE
            while chunk := response.read1(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
                received += len(chunk)
                if received >= milestone:
                    milestone, deadline = received + size / 100, time.monotonic() + PATIENCE
                elif time.monotonic() > deadline:
                    raise TimeoutError(f"{url} sends less than 1% in {PATIENCE} s")


@contextlib.contextmanager
def _only_process(path: Path) -> Iterator[None]:
    """Within the block this process alone holds the lock file; a process that ends releases it, however it ends."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=1)
    except Timeout:
        announce(f"data: waiting for another process, which downloads into the same folder (it holds {path})")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _check_writable(folder: Path) -> None:
    try:
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "it is a file")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> DataError:
    return DataError(
        f"cannot write to the data folder {folder}: {error.strerror}. Make room there or set LAB1_DATA to a folder "
        "that can be written to, or put a snapshot there"
    )


def _no_download(reason: Exception | None) -> NotAtHandError:
    return NotAtHandError("no download: " + (str(reason).strip() or type(reason).__name__).splitlines()[-1][:100])
