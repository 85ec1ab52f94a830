"""Downloads that are interrupted, slow, wrong or made twice at once, and what they leave behind."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from filelock import FileLock
from image_files import is_same_data, random_arrays
from image_server import Server, cifar10_archive, md5, mnist_archives
from torchvision.datasets import CIFAR10, MNIST

from lab1.data import DataError, downloads, load


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_a_connection_that_breaks_off(name, tmp_path, server):
    archive = CIFAR10.filename if name == "cifar10" else "t10k-images-idx3-ubyte.gz"
    server.broken = {archive}
    assert is_same_data(load(name, folder=tmp_path), random_arrays(name))
    assert server.downloads.count(archive) == 2


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_a_truncated_archive(name, tmp_path, server):
    """What a download leaves behind that was stopped in an earlier session."""
    archive = CIFAR10.filename if name == "cifar10" else "train-images-idx3-ubyte.gz"
    path = tmp_path / archive if name == "cifar10" else tmp_path / "MNIST" / "raw" / archive
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(server.files[archive][:1000])
    assert is_same_data(load(name, folder=tmp_path), random_arrays(name))
    assert path.read_bytes() == server.files[archive]


def remove_archives(folder):
    for path in [*folder.glob("*.tar.gz"), *folder.glob("MNIST/raw/*.gz")]:
        path.unlink()


EXTRACTED = {
    "cifar10": [
        "cifar-10-batches-py/data_batch_3",
        "cifar-10-batches-py/test_batch",
        "cifar-10-batches-py/batches.meta",
    ],
    "mnist": ["MNIST/raw/train-images-idx3-ubyte", "MNIST/raw/t10k-labels-idx1-ubyte"],
}


@pytest.mark.parametrize("with_archives", [True, False])
@pytest.mark.parametrize("name, file", [(name, file) for name, files in EXTRACTED.items() for file in files])
def test_truncated_extracted_files(name, file, with_archives, tmp_path, server):
    """They are extracted again, without a download where the archive is still there."""
    load(name, folder=tmp_path)
    content = (tmp_path / file).read_bytes()
    for length in (0, 2, 4, 6, 9, 16, len(content) // 2, len(content) - 1):
        (tmp_path / file).write_bytes(content[:length])
        if not with_archives:
            remove_archives(tmp_path)
        server.downloads.clear()
        assert is_same_data(load(name, folder=tmp_path), random_arrays(name))
        assert bool(server.downloads) != with_archives
        assert (tmp_path / file).read_bytes() == content


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_damaged_files_and_no_network(name, tmp_path, server, few_shapes, capsys):
    load(name, folder=tmp_path)
    remove_archives(tmp_path)
    path = tmp_path / EXTRACTED[name][0]
    path.write_bytes(path.read_bytes()[:100])
    server.stop()
    capsys.readouterr()
    dataset = load(name, folder=tmp_path)
    assert "built" in dataset.source
    [line] = capsys.readouterr().out.splitlines()
    assert "urlopen error" in line


def test_a_server_without_the_file(tmp_path, server, few_shapes, capsys):
    server.files.clear()
    assert load("cifar10", folder=tmp_path).name == "shapes10"
    [line] = capsys.readouterr().out.splitlines()
    assert "404" in line


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(downloads, "SILENCE", 0.2)
    monkeypatch.setattr(downloads, "PATIENCE", 0.2)


@pytest.mark.parametrize("fault", ["resets", "silent", "stalls", "drips"])
def test_the_second_mirror_is_asked(fault, tmp_path, server, impatient, monkeypatch):
    first = Server(fault)
    first.files = server.files
    monkeypatch.setattr(MNIST, "mirrors", [first.url, server.url])
    begin = time.monotonic()
    dataset = load("mnist", folder=tmp_path)
    first.stop()
    assert is_same_data(dataset, random_arrays("mnist"))
    assert first.downloads and server.downloads
    assert time.monotonic() - begin < 8
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("fault", ["resets", "silent", "stalls", "drips"])
def test_a_server_that_is_no_use_is_given_up(fault, tmp_path, server, impatient, few_shapes, capsys):
    server.fault = fault
    begin = time.monotonic()
    assert load("cifar10", folder=tmp_path).name == "shapes10"
    assert time.monotonic() - begin < 5
    [line] = capsys.readouterr().out.splitlines()
    assert "no download: " in line
    if fault == "drips":
        assert "sends less than 1% in 0.2 s" in line


def test_another_file_than_expected(tmp_path, server, few_shapes, capsys):
    """Such as the login page of a wireless network."""
    server.files[CIFAR10.filename] = b"<html>Please log in</html>"
    assert load("cifar10", folder=tmp_path).name == "shapes10"
    assert "sent another file" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_complete_files_are_used_without_a_download(name, tmp_path, server):
    load(name, folder=tmp_path)
    server.stop()
    assert is_same_data(load(name, folder=tmp_path, download=False), random_arrays(name))
    for extracted in tmp_path.glob(downloads.EXTRACTED[name]):
        extracted.unlink()
    assert is_same_data(load(name, folder=tmp_path, download=False), random_arrays(name))  # from the archives


def test_incomplete_files_and_no_download_wanted(tmp_path, server, few_shapes, capsys):
    load("mnist", folder=tmp_path)
    remove_archives(tmp_path)
    (tmp_path / EXTRACTED["mnist"][0]).unlink()
    server.downloads.clear()
    capsys.readouterr()
    assert "sample" in load("mnist", folder=tmp_path, download=False).source
    assert not server.downloads and "no download" not in capsys.readouterr().out


WRONG = {
    "label 29": ({"y_train": np.full(100, 29, np.uint8)}, "y_train holds the label 29"),
    "fewer labels": ({"y_test": np.zeros(16, np.uint8)}, r"x_test has the shape \(20, .*\) but y_test \(16,\)"),
    "other size": ({"x_train": np.zeros((100, 29, 28), np.uint8)}, r"x_train has the shape \(100, 29, 28\)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_are_refused_like_a_snapshot(case, tmp_path, server, monkeypatch):
    """Downloaded, and found in the folder."""
    changes, fault = WRONG[case]
    server.files = mnist_archives(random_arrays("mnist") | changes)
    monkeypatch.setattr(MNIST, "resources", [(file, md5(server.files[file])) for file, _ in MNIST.resources])
    for download in (True, True, False):
        with pytest.raises(DataError, match=fault) as raised:
            load("mnist", folder=tmp_path, download=download)
        assert str(raised.value).startswith(str(tmp_path / "MNIST")) and "\n" not in str(raised.value)
    assert len(server.downloads) == 4


def test_wrong_labels_of_cifar10(tmp_path, server, monkeypatch):
    archive, content = cifar10_archive(random_arrays() | {"y_train": np.full(80, 3, np.uint8)})
    server.files[CIFAR10.filename] = archive
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(archive))
    monkeypatch.setattr(CIFAR10, "train_list", [(name, md5(content[name])) for name, _ in CIFAR10.train_list])
    with pytest.raises(DataError, match=r"cifar-10-batches-py: x_train has the shape .* but y_train \(80,\)"):
        load("cifar10", folder=tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_what_a_killed_run_left_behind_is_removed(name, tmp_path, server):
    path = tmp_path / "MNIST" / "raw" if name == "mnist" else tmp_path
    path.mkdir(exist_ok=True, parents=True)
    (path / f"{list(server.files)[name == 'mnist']}.4242.tmp").write_bytes(b"half of it")
    assert is_same_data(load(name, folder=tmp_path), random_arrays(name))
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_two_at_once_download_once(name, tmp_path, server):
    with ThreadPoolExecutor(3) as pool:  # a lock file keeps threads apart as it does processes
        found = list(pool.map(lambda _: load(name, folder=tmp_path), range(3)))
    assert all(is_same_data(dataset, random_arrays(name)) for dataset in found)
    assert len(server.downloads) == (1 if name == "cifar10" else 4)


def test_whoever_waits_is_told(tmp_path, server, capsys):
    lock = FileLock(tmp_path / "cifar10.lock")
    with ThreadPoolExecutor(1) as pool:
        with lock:
            waiting = pool.submit(load, "cifar10", folder=tmp_path)
            while "waiting for another process" not in capsys.readouterr().out:
                time.sleep(0.05)
        assert is_same_data(waiting.result(), random_arrays())


def test_no_bar_where_tqdm_is_disabled(tmp_path, server, capfd, monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    load("cifar10", folder=tmp_path)
    assert capfd.readouterr().err == ""
