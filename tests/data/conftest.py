import functools

import pytest
from image_files import random_arrays
from image_server import Server, cifar10_archive, md5, mnist_archives
from torchvision.datasets import CIFAR10, MNIST

from lab1.basics.announce import announce
from lab1.data import shapes10


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch, tmp_path):
    """As in a new process: nothing announced yet, no data folder chosen, nothing in the working folder."""
    announce.cache_clear()
    monkeypatch.delenv("LAB1_DATA", raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def few_shapes(monkeypatch):
    """Shapes-10 as it is, but only 100 + 50 images of it."""
    monkeypatch.setattr(shapes10, "train_and_test", functools.partial(shapes10.train_and_test, 100, 50))


@pytest.fixture
def server(monkeypatch):
    """Where torchvision, all of it real, now finds a small CIFAR-10 and a small MNIST with their own checksums."""
    server = Server()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    archive, content = cifar10_archive(random_arrays("cifar10"))
    server.files |= {CIFAR10.filename: archive, **mnist_archives(random_arrays("mnist"))}
    monkeypatch.setattr(CIFAR10, "url", server.url + CIFAR10.filename)
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(archive))
    for part in ("train_list", "test_list"):
        monkeypatch.setattr(CIFAR10, part, [(name, md5(content[name])) for name, _ in getattr(CIFAR10, part)])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5(content["batches.meta"])})
    monkeypatch.setattr(MNIST, "mirrors", [server.url])
    monkeypatch.setattr(MNIST, "resources", [(name, md5(server.files[name])) for name, _ in MNIST.resources])
    yield server
    server.stop()
