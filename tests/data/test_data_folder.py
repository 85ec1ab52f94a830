"""Data folders that cannot be read, written or filled."""

import os
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from image_files import is_same_data, random_arrays, write_snapshot
from image_server import md5, mnist_archives
from torchvision.datasets import MNIST

from lab1.data import DataError, load


@contextmanager
def without_privileges():
    """Root may read and write everything; so be somebody else for a while."""
    if not hasattr(os, "geteuid"):
        pytest.skip("permission bits need POSIX")
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@pytest.fixture
def open_folder():
    """A temporary folder that every user may enter, unlike tmp_path."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
        Path(folder).chmod(0o755)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB; small_disk("ro") makes it read-only."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(*options):
        command = ["mount", "-t", "tmpfs", "-o", ",".join(("size=64k", *options)), "tmpfs", folder]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no file system can be mounted here: {error}")
        return folder

    yield mount
    subprocess.run(["umount", folder], capture_output=True)


def assert_refused(folder, reason, name="cifar10"):
    with pytest.raises(DataError) as raised:
        load(name, folder=folder)
    message = str(raised.value)
    assert message.startswith(f"cannot write to the data folder {folder}: {reason}")
    assert "Make room there or set LAB1_DATA" in message


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_disk_full(name, small_disk, server):
    if name == "mnist":
        files = mnist_archives(random_arrays("mnist", num_train=200))
        server.files |= files
        MNIST.resources = [(file, md5(files[file])) for file in files]  # the fixture restores it
    assert_refused(small_disk(), "No space left on device", name)


def test_read_only_disk(small_disk, server):
    folder = small_disk("ro")
    assert_refused(folder, "Read-only file system")
    assert_refused(folder / "below", "Read-only file system")


def test_read_only_folder_by_permission(open_folder, server):
    open_folder.chmod(0o555)
    with without_privileges():
        assert_refused(open_folder, "Permission denied")


def test_folder_that_may_not_be_entered(open_folder, server):
    folder = open_folder / "closed"
    folder.mkdir()
    folder.chmod(0)
    with without_privileges():
        assert_refused(folder, "Permission denied")


def test_unreadable_snapshot(open_folder):
    path = write_snapshot(open_folder)
    path.chmod(0)
    with without_privileges(), pytest.raises(DataError, match=r"cifar10.npz: cannot be read \(Permission denied\)"):
        load("cifar10", folder=open_folder)


def test_data_folder_is_a_file(tmp_path, server):
    (tmp_path / "file").write_text("")
    assert_refused(tmp_path / "file", "it is a file")
    assert_refused(tmp_path / "file" / "below", "Not a directory")


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_read_only_folder_with_a_finished_download(name, tmp_path, open_folder, server):
    """A course hands out such folders: nothing has to be written, so nothing is wrong."""
    load(name, folder=open_folder)
    for path in [open_folder, *open_folder.rglob("*")]:
        path.chmod(0o555)
    with without_privileges():
        assert is_same_data(load(name, folder=open_folder), random_arrays(name))
