"""How images are divided into training, validation and test images."""

import numpy as np
import pytest
import torch
from image_files import SHAPES, all_positions, positions, random_arrays, write_snapshot

from lab1.data import load


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
