import copy
import os
import pickle
import subprocess
import sys
import zipfile

import pytest
import torch

from lab1 import ResNet, checkpoints
from lab1.training.checkpoints import CheckpointError

CONTENT = {
    "model": {"weight": torch.arange(6.0).view(2, 3)},
    "config": {"lr": 0.1, "skip": True, "name": "resnet18", "nothing": None, "sizes": [1, 2], "pair": (1, 2)},
}


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return a == b and type(a) is type(b)


def test_what_is_saved_is_loaded(tmp_path):
    path = tmp_path / "new" / "folder" / "a.pt"
    checkpoints.save(path, CONTENT)
    assert same(checkpoints.load(path), CONTENT)
    assert [p.name for p in path.parent.iterdir()] == ["a.pt"]


def test_only_tensors_and_plain_values_are_written(tmp_path):
    path = tmp_path / "a.pt"
    checkpoints.save(path, CONTENT)
    with pytest.raises(TypeError, match=r"checkpoint\['config'\]\['where'\] is a PosixPath|WindowsPath"):
        checkpoints.save(path, {"config": {"where": tmp_path}})
    assert same(checkpoints.load(path), CONTENT)


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_malicious_pickles_are_never_executed(tmp_path):
    trap = tmp_path / "trap"
    torch.save({"format": checkpoints._MARK, "model": Malicious(trap)}, tmp_path / "torch.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Malicious(trap)))
    for name in ("torch.pt", "plain.pt"):
        with pytest.raises(CheckpointError, match=name):
            checkpoints.load(tmp_path / name)
    assert not trap.exists()


def test_truncated_at_any_length(tmp_path):
    path = tmp_path / "a.pt"
    checkpoints.save(path, CONTENT)
    whole = path.read_bytes()
    for length in (0, 1, 10, len(whole) // 2, len(whole) - 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="a.pt is not a complete checkpoint"):
            checkpoints.load(path)
        assert path.stat().st_size == length


def test_foreign_files(tmp_path):
    torch.save({"weight": torch.ones(2)}, tmp_path / "state_dict.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    (tmp_path / "text.pt").write_text("not a checkpoint")
    with zipfile.ZipFile(tmp_path / "zip.pt", "w") as archive:
        archive.writestr("a", "b")
    (tmp_path / "folder.pt").mkdir()
    for path in tmp_path.iterdir():
        with pytest.raises(CheckpointError, match=path.name):
            checkpoints.load(path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        checkpoints.load(tmp_path / "a.pt")


def test_interrupted_while_writing_keeps_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    checkpoints.save(path, CONTENT)

    def break_off(content, file):
        file.write(b"half a checkpoint")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", break_off)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(path, {"model": None})
    monkeypatch.undo()
    assert same(checkpoints.load(path), CONTENT)
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]


def test_full_disk_keeps_the_old_one(tmp_path):
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("a small disk can only be mounted by root")
    try:
        path = tmp_path / "a.pt"
        checkpoints.save(path, CONTENT)
        with pytest.raises(CheckpointError, match=r"cannot write the checkpoint .*a\.pt"):
            checkpoints.save(path, {"model": torch.ones(1_000_000)})
        assert same(checkpoints.load(path), CONTENT)
        assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]
        subprocess.run(["mount", "-o", "remount,ro", tmp_path], check=True)
        with pytest.raises(CheckpointError, match="Read-only file system"):
            checkpoints.check_writable(path)
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot write the checkpoint"):
        checkpoints.check_writable(tmp_path / "file" / "a.pt")
    with pytest.raises(CheckpointError, match="it is a folder"):
        checkpoints.check_writable(tmp_path)


def test_fingerprint_is_of_the_state():
    torch.manual_seed(0)
    model = ResNet((1,), width=4)
    first = checkpoints.fingerprint(model)
    assert checkpoints.fingerprint(copy.deepcopy(model).to(memory_format=torch.channels_last)) == first
    with torch.no_grad():
        model.stem[1].running_mean[0] += 1e-6
    assert checkpoints.fingerprint(model) != first


def test_what_killed_processes_left_is_swept_and_what_living_ones_write_stays(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = [f"a.pt.{dead.pid}.tmp", f"a.pt.{os.getppid()}.tmp", f"b.pt.{dead.pid}.tmp", "a.pt.mine.tmp", "a.pt.99.txt"]
    for name in names:
        (tmp_path / name).write_bytes(b"half")
    checkpoints.check_writable(tmp_path / "a.pt")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names[1:])
    (tmp_path / names[0]).write_bytes(b"half")
    checkpoints.save(tmp_path / "a.pt", CONTENT)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["a.pt", *names[1:]])
