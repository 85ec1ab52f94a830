"""The benchmarks run, agree with themselves, and leave the committed results alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import time_to_accuracy
from benchmarks.__main__ import markdown
from benchmarks.harness import compare, interleave

ROOT = Path(__file__).resolve().parent.parent


def run(*command):
    before = (ROOT / "benchmarks/results.json").read_bytes()
    subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=True, timeout=600)
    assert (ROOT / "benchmarks/results.json").read_bytes() == before
    return json.loads((ROOT / "outputs/benchmarks.json").read_text())


def test_arms_take_turns_and_ratios_are_paired():
    calls = []
    arms = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    times = interleave(arms, 3)
    assert calls == ["a", "b"] * 4
    assert [len(t) for t in times.values()] == [3, 3]
    row = compare("title", {"a": [2.0, 6.0, 9.0], "b": [1.0, 2.0, 9.0]}, "a", "b", "memory")
    assert (row.ratio, row.low, row.high) == (2.0, 1.0, 3.0)
    assert "| title | a | b | 6 / 2 | 2.00 | 1.00 to 3.00 | memory |" in markdown([row._asdict()])


def test_share_of_time_is_where_the_target_is_first_reached():
    script = [(10.0, 0.2), (20.0, 0.4)]
    assert time_to_accuracy.share_of_time({"the usual script": script, "fit": [(3.0, 0.39), (6.0, 0.4)]}) == 0.3
    assert time_to_accuracy.share_of_time({"the usual script": script, "fit": [(3.0, 0.39)]}) is None


def test_a_race_in_which_the_machine_slept_does_not_count():
    curves = {"fit": [(3.0, 0.3), (6.1, 0.4), (9.0, 0.5)]}
    assert time_to_accuracy.undisturbed(curves)
    assert not time_to_accuracy.undisturbed({"fit": [(3.0, 0.3), (9.1, 0.4)]})


@pytest.mark.slow
def test_quick_comparisons():
    measured = run("benchmarks", "--quick")
    rows = measured["comparisons"]["rows"]
    ratio = {(row["a"], row["b"]): row["ratio"] for row in rows}
    assert ratio["torchvision, PIL", "lab1.data"] > 5  # with much room for a busy machine
    assert ratio["the usual script", "fit"] > 0.7
    ratio = {(row["comparison"], row["a"]): row["ratio"] for row in measured["gradcam"]["rows"]}
    assert all(value > 0.6 for value in ratio.values())  # with much room, too
    assert ratio["Grad-CAM at layer2, layer3 and layer4 for 16 images", "captum, once a layer"] > 1.3
    speed = {(row["task"], row["side"]): row["megapixels a second"] for row in measured["segmentation"]["rows"]}
    assert speed["inference", 28] > speed["training", 28] and speed["inference", 128] > speed["training", 128]


@pytest.mark.slow
def test_gpu_script_in_a_tiny_size():
    measured = run("benchmarks.gpu", "--tiny")["gpu"]
    assert 0 <= measured["test accuracy, skip=True"] <= 1
    assert measured["minutes"] < 5
