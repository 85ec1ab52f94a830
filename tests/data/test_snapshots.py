"""Snapshots that cannot be used are refused by name and fault."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from image_files import KEYS, random_arrays

from lab1.data import DataError, load
from lab1.data.snapshots import read_snapshot


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def save_with(path, **changes):
    np.savez(path, **random_arrays() | changes)


def save_without(path, *keys):
    np.savez(path, **{key: array for key, array in random_arrays().items() if key not in keys})


def save_npy(path):
    with path.open("wb") as file:
        np.save(file, random_arrays()["x_train"])


def save_objects(path):
    trap = np.array([Trap(path.with_name("executed")), None], dtype=object)
    np.savez(path, **random_arrays() | {"y_train": trap})


def save_truncated(path):
    save_with(path)
    path.write_bytes(path.read_bytes()[:-5000])


def save_corrupted(path):
    save_with(path)
    content = bytearray(path.read_bytes())
    content[1000] ^= 1  # one bit of one pixel
    path.write_bytes(content)


def save_raw_member(path):
    save_without(path, "y_test")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("y_test", "0 1 2")


images = random_arrays()["x_train"]
labels = random_arrays()["y_train"]
BAD_SNAPSHOTS = {
    "key missing": (lambda path: save_without(path, "y_test"), "y_test missing"),
    "keys missing": (lambda path: save_without(path, *KEYS), "x_train, y_train, x_test, y_test missing"),
    "member is text": (save_raw_member, "y_test missing"),
    "float images": (lambda path: save_with(path, x_train=images / np.float32(255)), "x_train is float32"),
    "int64 labels": (lambda path: save_with(path, y_train=labels.astype(np.int64)), "y_train is int64"),
    "channels first": (
        lambda path: save_with(path, x_train=images.transpose(0, 3, 1, 2)),
        r"x_train has the shape \(100, 3, 32, 32\)",
    ),
    "grey images": (lambda path: save_with(path, x_train=images[..., 0]), r"x_train has the shape \(100, 32, 32\)"),
    "a single image": (lambda path: save_with(path, x_test=images[0]), r"x_test has the shape \(32, 32, 3\)"),
    "a number": (lambda path: save_with(path, x_test=np.uint8(3)), r"x_test has the shape \(\)"),
    "one-hot labels": (lambda path: save_with(path, y_train=np.eye(10, dtype=np.uint8)[labels]), r"\(100, 10\)"),
    "label 10": (lambda path: save_with(path, y_train=labels + np.uint8(1)), "y_train holds the label 10"),
    "unequal lengths": (lambda path: save_with(path, y_train=labels[:-1]), r"\(100, 32, 32, 3\) but y_train \(99,\)"),
    "empty": (lambda path: save_with(path, x_test=images[:0], y_test=labels[:0]), "x_test is empty"),
    "empty file": (lambda path: path.write_bytes(b""), "no zip file"),
    "text": (lambda path: path.write_text("<html>Please log in</html>"), "no zip file"),
    "npy": (save_npy, "no zip file"),
    "truncated": (save_truncated, "only a part of one"),
    "corrupted": (save_corrupted, "not a complete NumPy archive .*x_train.npy"),
    "pickled objects": (save_objects, "not a complete NumPy archive .*Object arrays"),
    "folder": (lambda path: path.mkdir(), "cannot be read .*directory"),
}


@pytest.mark.parametrize("case", BAD_SNAPSHOTS)
def test_bad_snapshot(case, tmp_path, server):
    save, fault = BAD_SNAPSHOTS[case]
    save(tmp_path / "cifar10.npz")
    with pytest.raises(DataError, match=fault) as raised:
        load("cifar10", folder=tmp_path)
    message = str(raised.value)
    assert message.startswith(str(tmp_path / "cifar10.npz"))
    assert message.endswith("replace or remove the file")
    assert "\n" not in message
    assert [path.name for path in tmp_path.iterdir() if path.name != "work"] == ["cifar10.npz"]  # nothing executed
    assert server.downloads == []  # it must not be passed over silently


def test_a_snapshot_says_what_is_special_about_it(tmp_path):
    arrays = random_arrays()
    np.savez(tmp_path / "cifar10.npz", **arrays, note="JPEG-compressed\ncopy")
    assert load("cifar10", folder=tmp_path).source == "CIFAR-10 (snapshot cifar10.npz, JPEG-compressed copy)"
    np.savez(tmp_path / "cifar10.npz", **arrays, note=np.array([object()]))
    with pytest.raises(DataError, match="not a complete NumPy archive"):
        load("cifar10", folder=tmp_path)


def test_damage_anywhere_is_a_data_error(tmp_path):
    """Zip, zlib and NumPy headers: a changed byte is either harmless or a DataError, never another exception."""
    path = tmp_path / "mnist.npz"
    np.savez_compressed(path, **random_arrays("mnist", num_train=10, num_test=5))
    content = path.read_bytes()
    structure = [i + j for i in range(len(content) - 1) if content[i : i + 2] == b"PK" for j in range(120)]
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        damaged[min(rng.choice(structure), len(content) - 1)] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            read_snapshot(path, (28, 28))
        except DataError:
            refused += 1
    assert 50 < refused < 300
