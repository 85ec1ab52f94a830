"""The doctor: silent on a healthy computer, one line and one advice for what is broken, never a traceback."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from lab1 import doctor

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def healthy(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB1_PROFILE", "smoke")
    monkeypatch.setenv("LAB1_OUTPUT", str(tmp_path / "outputs"))
    monkeypatch.setenv("LAB1_DATA", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "offline")


def states(name):
    return [state for state, _, _ in doctor.examine(doctor.CHECKS[name])]


def test_a_healthy_computer(capsys):
    assert doctor.main() == 0
    said = capsys.readouterr().out
    assert "NO " not in said and said.endswith("all is well\n")
    assert all(f"  {name}" in said for name in doctor.CHECKS)


def test_a_profile_that_does_not_exist(monkeypatch, capsys):
    monkeypatch.setenv("LAB1_PROFILE", "fast")
    assert doctor.main() == 1
    said = capsys.readouterr().out
    assert "LAB1_PROFILE='fast'" in said and "have to be mended" in said and "Traceback" not in said


def test_a_package_that_is_missing_or_too_old(tmp_path, monkeypatch):
    (tmp_path / "requirements.txt").write_text("# comment\nno-such-package-lab1>=1\nnumpy>=99\nscipy\n")
    (tmp_path / "constraints.txt").write_text("scipy==0.1\n")
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    old, missing = doctor.examine(doctor.packages)
    assert missing[0] == old[0] == "NO" and missing[1] == "not installed: no-such-package-lab1"
    assert "numpy>=99" in old[1] and "install" in old[2]
    (tmp_path / "requirements.txt").write_text("scipy\n")
    [other] = doctor.examine(doctor.packages)
    assert other[0] == "--" and "scipy" in other[1]


def test_a_folder_that_cannot_be_written_to(monkeypatch):
    monkeypatch.setenv("LAB1_OUTPUT", "/proc/lab1")
    assert states("writing") == ["NO"]


def test_a_full_disk(monkeypatch):
    monkeypatch.setattr(doctor, "FREE", 1e18)
    assert states("disk") == ["NO"]


def test_data_that_are_damaged_and_data_that_are_not_there(tmp_path):
    (tmp_path / "mnist.npz").write_bytes(b"half a snapshot")
    (cifar, mnist) = doctor.examine(doctor.images)[0], doctor.examine(doctor.images)[-1]
    assert cifar[0] == "--" and "cifar10.npz" in cifar[2]
    assert mnist[0] == "NO" and "mnist.npz" in mnist[1]


def test_a_snapshot_is_named_with_its_checksum(tmp_path):
    import numpy as np

    images = np.random.default_rng(0).integers(0, 256, (40, 28, 28), np.uint8)
    labels = np.repeat(np.arange(10, dtype=np.uint8), 4)
    np.savez(tmp_path / "mnist.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    state, found, _ = doctor.examine(doctor.images)[-1]
    assert state == "ok" and "snapshot mnist.npz" in found and "sha256 " in found


def test_a_kernel_of_another_python(tmp_path, monkeypatch):
    spec = tmp_path / "kernels" / "python3"
    spec.mkdir(parents=True)
    command = ["/usr/bin/another-python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "P", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    state, found, advice = doctor.examine(doctor.jupyter)[0]
    assert state == "NO" and "another-python" in found and "ipykernel install" in advice


def test_a_malformed_mode_of_wandb(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    [(state, found, advice)] = doctor.examine(doctor.wandb)
    assert state == "--" and "WANDB_MODE='sometimes'" in found and advice


def test_without_pytorch_it_still_speaks(tmp_path):
    """In an empty virtual environment: as a file it says what is missing, as a module its last line says how."""
    venv.create(tmp_path / "empty", with_pip=False)
    python = tmp_path / "empty" / ("Scripts" if os.name == "nt" else "bin") / "python"
    options = {"cwd": ROOT, "capture_output": True, "text": True}
    done = subprocess.run([python, "lab1/doctor.py"], **options)
    assert done.returncode == 1 and "torch is not installed" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    done = subprocess.run([python, "-m", "lab1.doctor"], **options)
    assert done.returncode == 1 and "lab1/doctor.py" in done.stderr.splitlines()[-1]


def test_as_a_module():
    done = subprocess.run([sys.executable, "-m", "lab1.doctor"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
