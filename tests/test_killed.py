"""A training process that is killed without warning, again and again, ends with the weights of one left in peace."""

import random
import subprocess
import sys
import time

import pytest
import torch

from lab1 import checkpoints

SCRIPT = """
import sys, torch
from lab1 import ResNet, training
from lab1.data import shapes10
from lab1.data import ImageSet

images, labels, _ = shapes10.generate(200, seed=0)
images, labels = torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels)
train = ImageSet(images[:160], labels[:160], (0.5,) * 3, (0.25,) * 3, augment=True)
val = ImageSet(images[160:], labels[160:], (0.5,) * 3, (0.25,) * 3)
torch.set_num_threads(1)
torch.manual_seed(0)
model = ResNet((1, 1, 1), width=16)
print("ready", flush=True)
training.fit(model, train, val, num_epochs=60, batch_size=32, record_gradients=True, checkpoint=sys.argv[1])
print("finished", flush=True)
"""
NUM_KILLS = 20


def start(path):
    command = [sys.executable, "-c", SCRIPT, str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path):
    begin = time.perf_counter()
    assert "finished" in start(tmp_path / "whole.pt").communicate()[0]
    seconds = time.perf_counter() - begin
    moments, kills, epochs = random.Random(0), 0, []
    while kills < NUM_KILLS:
        process = start(tmp_path / "killed.pt")
        time.sleep(moments.uniform(0, 2 * seconds / NUM_KILLS))
        process.kill()  # SIGKILL: no handler, no clean-up
        if "finished" in process.communicate()[0]:
            break
        kills += 1
        if (tmp_path / "killed.pt").exists():
            epochs.append(len(checkpoints.load(tmp_path / "killed.pt")["history"]["epoch"]))
    out = start(tmp_path / "killed.pt").communicate()[0]
    assert "finished" in out
    print(f"{kills} kills, after epochs {epochs}")
    assert kills >= NUM_KILLS, "the run ended before it had been killed often enough: lengthen it"
    whole, killed = (checkpoints.load(tmp_path / name) for name in ("whole.pt", "killed.pt"))
    for name, expected in whole["model"].items():
        assert torch.equal(killed["model"][name], expected), name
    assert killed["history"]["train/loss"] == whole["history"]["train/loss"]
    assert torch.equal(killed["history"]["grad_norm"], whole["history"]["grad_norm"])
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.slow
def test_killed_while_writing(tmp_path):
    """The next run sweeps the half-written file, before it trains."""
    script = """
import os, signal, sys, torch
from lab1 import checkpoints
torch.save = lambda content, file: (file.write(b"half"), file.flush(), os.kill(os.getpid(), signal.SIGKILL))
checkpoints.save(sys.argv[1], {})
"""
    subprocess.run([sys.executable, "-c", script, tmp_path / "a.pt"], check=False)
    assert [p.suffix for p in tmp_path.iterdir()] == [".tmp"]
    checkpoints.check_writable(tmp_path / "a.pt")
    assert list(tmp_path.iterdir()) == []
