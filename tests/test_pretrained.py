"""The four networks that come with the lab, and the records of how they were trained."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from lab1 import data, training
from lab1.experiment import records
from lab1.models import pretrained


@pytest.mark.parametrize("name", pretrained.NAMES)
def test_network_is_as_deep_as_its_name_says(name):
    model = pretrained.pretrained(name)
    kind, depth = name.split("-")
    convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(convolutions) + 1 == int(depth)  # the linear layer is the last one
    assert not model.training
    assert any(m.projection is not None for m in model.modules() if hasattr(m, "projection")) == (kind == "residual")


def test_other_name():
    with pytest.raises(ValueError, match="no pretrained network 'resnet-20': choose one of plain-20, plain-56"):
        pretrained.pretrained("resnet-20")


@pytest.mark.skipif(not Path(os.environ.get("LAB1_DATA", "data"), "cifar10.npz").exists(), reason="needs CIFAR-10")
@pytest.mark.parametrize("name", pretrained.NAMES)
def test_error_is_the_recorded_one(name):
    """As far as the test images at hand can tell: within four standard errors."""
    error = records.read(f"{name}-seed0")["errors"]["test"]["error"]
    images = data.load("cifar10", download=False).test
    normalised = data.ImageSet(images.images, images.labels, pretrained.MEAN, pretrained.STD)
    _, accuracy = training.evaluate(pretrained.pretrained(name), normalised)
    assert abs(1 - accuracy - error) < 4 * (error * (1 - error) / len(images)) ** 0.5


def test_records_agree_with_themselves():
    for seeds in records.depth_study().values():
        for record in seeds:
            wrong = record["predicted"] != record["labels"]
            assert wrong.mean() == pytest.approx(record["errors"]["test"]["error"])
            assert len(record["history"]["epoch"]) == 10
            assert record["grad_norm"].shape == (len(record["steps"]), len(record["history"]["layers"]))
            assert np.isfinite(record["grad_norm"]).all()


def test_records_of_resnet18_are_complete():
    for record in records.resnet18().values():
        for part, prefix in {"test": "", "lossless test": "lossless_"}.items():
            wrong = record[f"{prefix}predicted"] != record[f"{prefix}labels"]
            assert wrong.mean() == pytest.approx(record["errors"][part]["error"])
        history = record["history"]
        assert history["epoch"] == list(range(11))
        size = (history["epoch_ends"][-1], len(history["layers"]))
        assert history["grad_norm"].shape == history["weight_norm"].shape == size
    for name, (with_skip, without, test) in records.resnet18_pairs().items():
        count = int(name.split()[0].replace(",", ""))
        assert (with_skip.value - without.value) * count == pytest.approx(test.only_first - test.only_second)


def test_each_network_has_the_best_of_its_learning_rates():
    rates = records.trials()
    for network, seeds in records.depth_study().items():
        best = max(rates[network], key=rates[network].get)
        assert len(rates[network]) == 3
        assert [record["lr"] for record in seeds] == [best] * len(seeds)


def test_differences_agree_with_the_pairs():
    for difference, pair in zip(records.differences().values(), records.pairs().values(), strict=True):
        counted = [(seed.only_second - seed.only_first) / 10_000 for seed in pair]
        assert difference["test error"].value == pytest.approx(np.mean(counted))


def test_no_record_of_that_name():
    with pytest.raises(FileNotFoundError, match="no record 'plain-57': there are .*plain-56-seed0"):
        records.read("plain-57")
