"""Three sources of images, in order, and what is said about them."""

from pathlib import Path

import pytest
from image_files import is_same_data, random_arrays, write_snapshot

from lab1.data import load, shapes10


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_the_snapshot_comes_first(name, tmp_path, server):
    arrays = random_arrays(name, seed=1)  # not what the server has
    write_snapshot(tmp_path, name, **arrays)
    dataset = load(name, folder=tmp_path)
    assert is_same_data(dataset, arrays)
    assert dataset.name == name
    assert f"snapshot {name}.npz" in dataset.source
    assert dataset.train.augment == (name == "cifar10")
    assert not dataset.val.augment
    assert not dataset.test.augment
    assert server.downloads == []


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_torchvision_comes_second_and_downloads_once(name, tmp_path, server):
    for _ in range(2):
        dataset = load(name, folder=tmp_path / "new" / "folder")
        assert is_same_data(dataset, random_arrays(name))
        assert dataset.name == name
        assert "torchvision" in dataset.source
        assert len(server.downloads) == (1 if name == "cifar10" else 4)


@pytest.mark.parametrize("download", [False, True])
@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_the_built_in_images_come_third(name, download, tmp_path, server, few_shapes, capsys):
    server.stop()
    dataset = load(name, folder=tmp_path, download=download)
    if name == "cifar10":
        assert dataset.name == "shapes10"
        assert dataset.classes == shapes10.CLASSES
        assert "Shapes-10" in dataset.source
        assert "CIFAR-10 not available" in dataset.source
    else:
        assert dataset.name == "mnist"
        assert "sample" in dataset.source
        assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (1800, 200, 500)
    assert server.downloads == []
    [line] = capsys.readouterr().out.splitlines()
    assert dataset.source in line
    assert ("no download" in line) == download


def test_shapes10_never_asks_for_files(tmp_path, few_shapes, server):
    (tmp_path / "shapes10.npz").write_text("not read")
    dataset = load("shapes10", folder=tmp_path)
    assert dataset.source == "Shapes-10 (built in)"
    assert server.downloads == []


def test_unknown_name():
    with pytest.raises(ValueError, match="'imagenet'.*cifar10, mnist, shapes10"):
        load("imagenet")


def test_the_data_folder(tmp_path, monkeypatch):
    """The argument, else LAB1_DATA, else data/."""
    for i, folder in enumerate(("data", tmp_path / "environment", tmp_path / "argument")):
        Path(folder).mkdir()
        write_snapshot(Path(folder), **random_arrays(num_train=100 + 10 * i))
    assert len(load("cifar10").train) == 90
    monkeypatch.setenv("LAB1_DATA", str(tmp_path / "environment"))
    assert len(load("cifar10").train) == 99
    assert len(load("cifar10", folder=str(tmp_path / "argument")).train) == 108


def test_announced_once(tmp_path, capfd):
    write_snapshot(tmp_path)
    for _ in range(3):
        load("cifar10", folder=tmp_path)
    sizes = "90 training, 10 validation, 20 test images"
    assert capfd.readouterr().out == f"data: CIFAR-10 (snapshot cifar10.npz): {sizes}\n"
    load("cifar10", num_train=50, folder=tmp_path)
    assert "45 training, 5 validation" in capfd.readouterr().out
