import functools
import gzip
import hashlib
import http.server
import io
import os
import pickle
import statistics
import struct
import subprocess
import tarfile
import tempfile
import threading
import time
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import CIFAR10, MNIST

from lab1.basics.announce import announce
from lab1.data import DataError, ImageSet, load, shapes10, sources

SHAPES = {"cifar10": (32, 32, 3), "mnist": (28, 28)}
KEYS = ("x_train", "y_train", "x_test", "y_test")


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


def random_arrays(name="cifar10", num_train=100, num_test=20, seed=0):
    """x_train, y_train, x_test, y_test as in a snapshot; no two images are equal."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for part, n in (("train", num_train), ("test", num_test)):
        arrays[f"x_{part}"] = rng.integers(0, 256, (n, *SHAPES[name]), dtype=np.uint8)
        arrays[f"y_{part}"] = (np.arange(n) % 10).astype(np.uint8)
    return arrays


def write_snapshot(folder, name="cifar10", **changes):
    path = folder / f"{name}.npz"
    np.savez(path, **random_arrays(name) | changes)
    return path


def positions(images: ImageSet, x: np.ndarray) -> list[int]:
    """Where in x (N, H, W) or (N, H, W, C) each image stands."""
    where = {image.tobytes(): i for i, image in enumerate(x)}
    return [where[image.permute(1, 2, 0).numpy().tobytes()] for image in images.images]


def all_positions(dataset, arrays):
    """Those of the training, validation and test images; labels must have come along."""
    found = []
    for images, part in ((dataset.train, "train"), (dataset.val, "train"), (dataset.test, "test")):
        found.append(positions(images, arrays[f"x_{part}"]))
        assert images.labels.tolist() == arrays[f"y_{part}"][found[-1]].tolist()
    return found


def is_same_data(dataset, arrays) -> bool:
    train, val, test = all_positions(dataset, arrays)
    return sorted(train + val) == list(range(len(arrays["x_train"]))) and test == list(range(len(arrays["x_test"])))


# --- the servers of torchvision, on this computer -----------------------------------------------------------------


class Server(http.server.ThreadingHTTPServer):
    """Serves bytes by name. Of a name in `broken` it sends one half, once."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.broken, self.downloads = {}, set(), []
        self.url = f"http://127.0.0.1:{self.server_port}/"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self):
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.strip("/")
        if name not in self.server.files:
            return self.send_error(404)
        content = self.server.files[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.headers["Method"] == "HEAD":  # torchvision asks so whether the address is redirected
            return None
        self.server.downloads.append(name)
        if name in self.server.broken:
            self.server.broken.remove(name)
            content = content[: len(content) // 2]
        self.wfile.write(content)
        return None

    def log_message(self, *args):
        pass


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def cifar10_archive(arrays):
    """The tar.gz in the layout of the CIFAR-10 home page, and what is in it: {name: bytes}."""
    parts = [(f"data_batch_{i + 1}", slice(20 * i, 20 * (i + 1)), "train") for i in range(5)]
    content = {}
    for name, rows, part in [*parts, ("test_batch", slice(None), "test")]:
        images = arrays[f"x_{part}"][rows].transpose(0, 3, 1, 2).reshape(-1, 3072)
        content[name] = pickle.dumps({"data": images, "labels": arrays[f"y_{part}"][rows].tolist()})
    content["batches.meta"] = pickle.dumps({"label_names": list(CIFAR10.meta)})
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, item in content.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(item)
            tar.addfile(member, io.BytesIO(item))
    return archive.getvalue(), content


def mnist_archives(arrays):
    """{name: bytes} of the four gzipped idx files."""
    content = {}
    for part, prefix in (("train", "train"), ("test", "t10k")):
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        content[f"{prefix}-images-idx3-ubyte.gz"] = struct.pack(">4i", 0x803, *x.shape) + x.tobytes()
        content[f"{prefix}-labels-idx1-ubyte.gz"] = struct.pack(">2i", 0x801, len(y)) + y.tobytes()
    return {name: gzip.compress(item) for name, item in content.items()}


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


# --- three sources, in order --------------------------------------------------------------------------------------


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
        assert "CIFAR-10 not at hand" in dataset.source
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


# --- interrupted downloads ----------------------------------------------------------------------------------------


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


# --- snapshots that cannot be used --------------------------------------------------------------------------------


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
            sources.read_snapshot(path, (28, 28))
        except DataError:
            refused += 1
    assert 50 < refused < 300


# --- data folders that cannot be used -----------------------------------------------------------------------------


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


# --- the split ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """(folder, arrays) with a snapshot in which class k has 11 + 7k training images."""
    arrays = random_arrays(num_train=sum(11 + 7 * k for k in range(10)), num_test=200)
    arrays["y_train"] = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 11 + 7 * np.arange(10)))
    arrays = {key: array.astype(np.uint8) for key, array in arrays.items()}
    folder = tmp_path_factory.mktemp("uneven")
    write_snapshot(folder, **arrays)
    return folder, arrays


@pytest.mark.parametrize("num_train", [None, 10, 54, 200])
def test_split_is_stratified(uneven, num_train):
    folder, arrays = uneven
    dataset = load("cifar10", num_train=num_train, folder=folder)
    n = num_train or len(arrays["x_train"])
    train, val, _ = all_positions(dataset, arrays)
    assert len(val) == n // 10
    assert len(train) == n - n // 10
    assert len({*train, *val}) == n  # disjoint, and covering if n is all of them
    proportion = np.bincount(arrays["y_train"]) / len(arrays["y_train"])
    for which in (val, train + val):
        counts = np.bincount(arrays["y_train"][which], minlength=10)
        assert np.abs(counts - proportion * len(which)).max() <= 1


def test_split_of_the_test_set(uneven):
    folder, arrays = uneven
    test = load("cifar10", num_test=50, folder=folder).test
    assert test.labels.bincount().tolist() == [5] * 10
    assert len(load("cifar10", folder=folder).test) == 200


def test_smaller_subsets_are_nested_in_larger_ones(uneven):
    folder, arrays = uneven
    small, large = (
        all_positions(load("cifar10", num_train=n, num_test=n // 4, folder=folder), arrays) for n in (80, 300)
    )
    assert set(small[1]) < set(large[1])
    assert set(small[2]) < set(large[2])
    assert set(small[0] + small[1]) < set(large[0] + large[1])


def test_split_depends_on_the_seed_alone(uneven):
    folder, arrays = uneven
    first = all_positions(load("cifar10", folder=folder), arrays)
    torch.manual_seed(123)
    assert all_positions(load("cifar10", folder=folder), arrays) == first
    other = all_positions(load("cifar10", folder=folder, seed=1), arrays)
    assert other[1] != first[1]
    assert other[2] == first[2]  # the whole test set, in its own order


@pytest.mark.parametrize(
    "counts", [{"num_train": 9}, {"num_train": 0}, {"num_train": -5}, {"num_test": 0}, {"num_test": -1}]
)
def test_counts_too_small(uneven, counts):
    name, value = next(iter(counts.items()))
    with pytest.raises(ValueError, match=f"{name}={value}"):
        load("cifar10", folder=uneven[0], **counts)


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_mean_and_std_are_those_of_the_training_part(name, tmp_path):
    rng = np.random.default_rng(2)
    arrays = random_arrays(name)
    arrays["x_train"] = (arrays["x_train"] * rng.random(SHAPES[name])).astype(np.uint8)  # each channel its own
    write_snapshot(tmp_path, name, **arrays)
    dataset = load(name, num_train=50, folder=tmp_path)
    pixels = arrays["x_train"][positions(dataset.train, arrays["x_train"])].reshape(
        45 * 28 * 28 if name == "mnist" else 45 * 1024, -1
    )
    assert dataset.mean == pytest.approx((pixels / 255).mean(axis=0), abs=1e-6)
    assert dataset.std == pytest.approx((pixels / 255).std(axis=0), abs=1e-6)
    for part in (dataset.train, dataset.val, dataset.test):
        assert (part.mean, part.std) == (dataset.mean, dataset.std)


# --- ImageSet -----------------------------------------------------------------------------------------------------

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def random_images(n=24, channels=3, size=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, size, size), dtype=torch.uint8, generator=generator)


def image_set(n=24, channels=3, size=16, **options):
    return ImageSet(random_images(n, channels, size), torch.arange(n) % 10, MEAN[:channels], STD[:channels], **options)


def raw(batch):
    """The bytes that a normalised batch was made from."""
    channels = batch.shape[1]
    mean, std = (torch.tensor(values[:channels]).view(-1, 1, 1) for values in (MEAN, STD))
    exact = (batch * std + mean) * 255
    torch.testing.assert_close(exact, exact.round(), atol=1e-2, rtol=0)
    return exact.round().to(torch.uint8)


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_stored_exactly(channels, augment):
    images = image_set(channels=channels, augment=augment)
    assert images.images.dtype == torch.uint8
    assert torch.equal(images.images, random_images(channels=channels))
    assert images.shape == (channels, 16, 16)
    assert len(images) == 24


@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_is_normalised(channels):
    which = [3, 0, 3, 23]
    x, y = image_set(channels=channels).batch(which)
    mean, std = (np.float32(values[:channels]).reshape(-1, 1, 1) for values in (MEAN, STD))
    expected = (random_images(channels=channels)[which].numpy() / np.float32(255) - mean) / std
    assert x.dtype == torch.float32
    assert x.is_contiguous()
    np.testing.assert_allclose(x, expected, atol=1e-5)
    assert y.dtype == torch.int64
    assert y.tolist() == [3, 0, 3, 3]


@pytest.mark.parametrize("which", [np.uint8([200, 7]), np.int32([200, 7]), torch.tensor([200, 7]), (200, 7), []])
def test_indices_of_any_kind(which):
    x, y = image_set(n=256, size=8).batch(which)
    assert torch.equal(raw(x), random_images(n=256, size=8)[[int(i) for i in which]])
    assert len(y) == len(which)


def test_a_mask_as_indices():
    images = image_set()
    x, y = images.batch(images.labels == 3)
    assert torch.equal(raw(x), random_images()[[3, 13, 23]])
    assert y.tolist() == [3, 3, 3]


def test_indices_out_of_range():
    images = image_set()
    for i in (24, -25):
        with pytest.raises(IndexError):
            images[i]
        with pytest.raises((IndexError, RuntimeError)):
            images.batch([i])
    assert torch.equal(images[-1][0], images[23][0])


def every_crop(image):
    """All crops of the image with its border of 4 black pixels, as they are and flipped: (2 * 9 * 9, C, H, W)."""
    size = image.shape[-1]
    padded = torch.nn.functional.pad(image, (4, 4, 4, 4))
    crops = padded.unfold(1, size, 1).unfold(2, size, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
    return torch.cat([crops, crops.flip(-1)])


@pytest.mark.parametrize("channels", [1, 3])
def test_every_augmented_image_is_a_crop_of_the_padded_image(channels):
    """Every one, each with its own offset; and all 81 offsets occur, flipped and not."""
    n, size = 24, 12
    images = image_set(n, channels, size, augment=True)
    crops = torch.stack([every_crop(image) for image in images.images]).flatten(2)  # (n, 162, C * H * W)
    assert crops.shape[1] == 2 * 81
    generator = torch.Generator().manual_seed(0)
    draws = []
    for _ in range(100):
        x, y = images.batch(range(n), generator)
        assert torch.equal(y, images.labels)
        same = (crops == raw(x).flatten(1)[:, None]).all(dim=2)
        assert same.sum(dim=1).tolist() == [1] * n
        draws.append(same.int().argmax(dim=1))
    draws = torch.stack(draws)  # (100, n)
    assert min(len(set(draw.tolist())) for draw in draws) > n // 2
    assert len(draws.unique()) == 162
    assert 0.45 < (draws >= 81).float().mean() < 0.55


def test_augmentation_is_reproducible():
    images = image_set(augment=True)

    def draw(generator=None):
        return images.batch(range(24), generator)[0]

    torch.manual_seed(5)
    first, second = draw(), draw()
    assert not torch.equal(first, second)
    torch.manual_seed(5)
    assert torch.equal(draw(), first)
    assert torch.equal(draw(torch.Generator().manual_seed(5)), first)


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_hold_every_example_once(shuffle, augment):
    images = ImageSet(random_images(), torch.arange(24), MEAN, STD, augment)
    batches = list(images.batches(10, shuffle))
    assert [len(x) for x, _ in batches] == [8, 8, 8]
    order = torch.cat([y for _, y in batches]).tolist()
    assert sorted(order) == list(range(24))
    assert (order == list(range(24))) != shuffle
    x = raw(torch.cat([x for x, _ in batches]))
    for i, image in zip(order, x, strict=True):  # image and label belong together
        candidates = every_crop(random_images()[i]) if augment else random_images()[i][None]
        assert (candidates == image).flatten(1).all(1).any()


def test_no_batch_is_a_single_image_that_was_left_over():
    assert [len(x) for x, _ in image_set(n=33).batches(16)] == [11, 11, 11]
    assert [len(x) for x, _ in image_set(n=33).batches(32)] == [16, 17]
    assert [len(x) for x, _ in image_set(n=33).batches(64)] == [33]


def test_batches_are_reproducible():
    images = image_set(augment=True)

    def epoch(generator=None):
        return torch.cat([x for x, _ in images.batches(7, shuffle=True, generator=generator)])

    torch.manual_seed(5)
    first, second = epoch(), epoch()
    assert not torch.equal(first, second)
    torch.manual_seed(5)
    assert torch.equal(epoch(), first)
    state = torch.get_rng_state()
    assert torch.equal(epoch(torch.Generator().manual_seed(5)), first)
    assert torch.equal(torch.get_rng_state(), state)


def test_label_maps_pass_through():
    maps = torch.randint(0, 11, (24, 16, 16))
    images = ImageSet(random_images(), maps, MEAN, STD)
    assert torch.equal(images.batch([2, 5])[1], maps[[2, 5]])
    assert torch.equal(torch.cat([y for _, y in images.batches(7)]), maps)


def test_label_maps_are_not_augmented():
    with pytest.raises(ValueError, match="label maps"):
        ImageSet(random_images(), torch.zeros(24, 16, 16), MEAN, STD, augment=True)


@pytest.mark.parametrize(
    "images, labels, mean, std, fault",
    [
        (random_images().float(), torch.zeros(24), MEAN, STD, "uint8"),
        (random_images()[0], torch.zeros(3), MEAN, STD, "N, 1 or 3, H, W"),
        (random_images(channels=4), torch.zeros(24), MEAN, STD, "N, 1 or 3, H, W"),
        (random_images(), torch.zeros(23), MEAN, STD, "24 images but 23 labels"),
        (random_images(channels=1), torch.zeros(24), MEAN, STD, "1 channels"),
        (random_images(), torch.zeros(24), MEAN, (0.2, 0.0, 0.2), "std"),
    ],
)
def test_image_set_refuses(images, labels, mean, std, fault):
    with pytest.raises(ValueError, match=fault):
        ImageSet(images, labels, mean, std)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_under_an_ordinary_data_loader(num_workers):
    images = image_set()
    loader = DataLoader(images, batch_size=10, num_workers=num_workers)
    x, y = (torch.cat(parts) for parts in zip(*loader, strict=True))
    expected = images.batch(range(24))
    assert torch.equal(x, expected[0])
    assert torch.equal(y, expected[1])
    augmented = torch.cat([x for x, _ in DataLoader(image_set(augment=True), 12, num_workers=num_workers)])
    assert not torch.equal(augmented[:12], augmented[12:])


def test_fingerprint():
    """Equal for equal data, however it is held; another one for another pixel or label."""
    images, labels = random_images(), torch.arange(24)
    reference = ImageSet(images, labels, MEAN, STD).fingerprint
    assert ImageSet(images.clone(), labels.int(), (0.1,) * 3, STD, augment=True).fingerprint == reference
    changed = images.clone()
    changed[17, 2, 5, 5] ^= 1
    assert ImageSet(changed, labels, MEAN, STD).fingerprint != reference
    assert ImageSet(images, labels.flip(0), MEAN, STD).fingerprint != reference


def test_to_another_device_and_back():
    images = image_set(augment=True, masks=torch.zeros(24, 16, 16, dtype=torch.bool))
    assert images.to("cpu") is images
    moved = images.to("meta")
    assert moved.labels.device.type == moved.masks.device.type == moved.batch([0])[0].device.type == "meta"
    assert images.labels.device.type == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_batches_on_a_gpu_equal_those_on_the_cpu():
    images = image_set(augment=True)
    torch.manual_seed(0)
    expected = list(images.batches(7, shuffle=True))
    torch.manual_seed(0)
    for (x, y), (x_gpu, y_gpu) in zip(expected, images.to("cuda").batches(7, shuffle=True), strict=True):
        torch.testing.assert_close(x_gpu.cpu(), x)
        assert torch.equal(y_gpu.cpu(), y)


def test_masks_stay_with_their_images(few_shapes):
    (x_train, _, x_test, _), (train_masks, test_masks) = shapes10.train_and_test()
    dataset = load("shapes10", num_train=60, num_test=20)
    for images, x, masks in (
        (dataset.train, x_train, train_masks),
        (dataset.val, x_train, train_masks),
        (dataset.test, x_test, test_masks),
    ):
        np.testing.assert_array_equal(images.masks, masks[positions(images, x)])


def test_much_faster_than_one_image_at_a_time():
    """A guard against a slow-down; `make bench` measures."""
    images = image_set(n=256, size=32, augment=True)
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images.images]
    steps = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
    transform = transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])

    def ours():
        return [len(x) for x, _ in images.batches(128, shuffle=True)]

    def one_by_one():
        return [len(torch.stack([transform(picture) for picture in pictures[i : i + 128]])) for i in (0, 128)]

    seconds = {ours: [], one_by_one: []}
    for _ in range(7):
        for pipeline in seconds:
            start = time.perf_counter()
            assert pipeline() == [128, 128]
            seconds[pipeline].append(time.perf_counter() - start)
    assert statistics.median(seconds[one_by_one]) > 5 * statistics.median(seconds[ours])
