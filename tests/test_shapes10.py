import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lab1 import ResNet, training
from lab1.data import ImageSet, shapes10


@pytest.fixture(scope="module")
def drawn():
    """4,000 images, labels and masks."""
    return shapes10.generate(4000, seed=0)


def of_class(drawn, name):
    """The masks of one class."""
    _, labels, masks = drawn
    return masks[labels == shapes10.CLASSES.index(name)]


def extents(masks):
    """Height and width of the box around each object, (N, 2)."""
    return np.array([np.ptp(np.argwhere(mask), axis=0) + 1 for mask in masks])


def at_the_centre(masks):
    """How many objects cover the middle of the box around them, 0..1."""
    boxes = [np.argwhere(mask) for mask in masks]
    centres = [(box.min(axis=0) + box.max(axis=0)) // 2 for box in boxes]
    return np.mean([mask[tuple(centre)] for mask, centre in zip(masks, centres, strict=True)])


@pytest.mark.parametrize("n", [0, 1, 13, 40])
def test_shapes_and_dtypes(n):
    images, labels, masks = shapes10.generate(n, seed=0)
    assert (images.shape, images.dtype) == ((n, 32, 32, 3), np.uint8)
    assert (labels.shape, labels.dtype) == ((n,), np.uint8)
    assert (masks.shape, masks.dtype) == ((n, 32, 32), bool)


def test_depends_on_the_seed_alone():
    first = shapes10.generate(50, seed=3)
    np.random.seed(0)
    for a, b in zip(first, shapes10.generate(50, seed=3), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(first, shapes10.generate(50, seed=4), strict=True):
        assert (a != b).any()


@pytest.mark.parametrize("n", [40, 47])
def test_classes_are_balanced_and_shuffled(n):
    labels = shapes10.generate(n, seed=0)[1]
    counts = np.bincount(labels, minlength=10)
    assert len(shapes10.CLASSES) == len(counts) == 10
    assert counts.max() - counts.min() == (n % 10 > 0)
    assert (np.diff(labels.astype(int)) != 1).any()


def test_training_and_test_images_differ():
    (x_train, y_train, x_test, y_test), (train_masks, test_masks) = shapes10.train_and_test(200, 200)
    assert {len(array) for array in (x_train, y_train, x_test, y_test, train_masks, test_masks)} == {200}
    assert len({image.tobytes() for image in [*x_train, *x_test]}) == 400


def test_objects_have_the_stated_sizes(drawn):
    masks = drawn[2]
    longest = extents(masks).max(axis=1)
    assert 5 <= longest.min() <= 8
    assert 19 <= longest.max() <= 21
    assert masks.sum(axis=(1, 2)).min() >= 10
    assert masks.sum(axis=(1, 2)).max() <= np.pi * 10.5**2
    assert masks.any(axis=0).mean() > 0.9  # everywhere but in the very corners


def test_objects_are_not_cut_off(drawn):
    """A disc is as wide as it is high, and fills its box as a disc does, at the border of the image too."""
    discs = of_class(drawn, "disc")
    height, width = extents(discs).T
    assert np.abs(height - width).max() <= 1
    assert discs.sum(axis=(1, 2)) / (height * width) == pytest.approx(np.pi / 4, abs=0.15)
    touches = discs[:, 0].any(1) | discs[:, -1].any(1) | discs[:, :, 0].any(1) | discs[:, :, -1].any(1)
    assert 0 < touches.mean() < 0.5


def test_masks_show_the_class(drawn):
    for name in ("disc", "square", "cross", "bar", "star"):
        assert at_the_centre(of_class(drawn, name)) > 0.95, name
    assert at_the_centre(of_class(drawn, "ring")) < 0.05
    areas = [of_class(drawn, name).sum(axis=(1, 2)).mean() for name in ("disc", "ring", "bar")]
    assert areas == sorted(areas, reverse=True)


def test_the_mask_is_where_the_object_is(drawn):
    """Inside, the image is lighter or darker than outside, in all channels; a threshold half-way finds the object."""
    images, _, masks = drawn
    lighter = 0
    for image, mask in zip(images[:1000].astype(float), masks, strict=False):
        inside, outside = image[mask].mean(axis=0), image[~mask].mean(axis=0)
        difference = inside - outside
        assert np.abs(difference).min() > 20
        assert (difference > 0).all() or (difference < 0).all()
        found = ((image - (inside + outside) / 2) * np.sign(difference)).mean(axis=2) > 0
        assert (found == mask).mean() > 0.85
        lighter += difference[0] > 0
    assert 400 < lighter < 600


def test_is_quick():
    start = time.process_time()
    shapes10.generate(5000, seed=0)
    assert time.process_time() - start < 6


def image_sets(drawn, num_train, num_test):
    images, labels = torch.from_numpy(drawn[0]).permute(0, 3, 1, 2), torch.from_numpy(drawn[1])
    parts = slice(0, num_train), slice(num_train, num_train + num_test)
    return [ImageSet(images[part], labels[part], (0.5,) * 3, (0.25,) * 3) for part in parts]


def test_a_linear_classifier_learns_little(drawn):
    train, test = image_sets(drawn, 2000, 1000)
    (x, y), (x_test, y_test) = (part.batch(range(len(part))) for part in (train, test))
    weight = torch.zeros(10, 3072, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=60, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        value = F.cross_entropy(x.flatten(1) @ weight.T, y) + 1e-3 * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    right = [(x.flatten(1) @ weight.T).argmax(1) == y for x, y in ((x, y), (x_test, y_test))]
    assert right[0].float().mean() > 0.9  # it has learned the training images
    assert right[1].float().mean() < 0.2


def test_a_small_residual_network_learns_it(drawn):
    train, test = image_sets(drawn, 3000, 1000)
    torch.manual_seed(0)
    model = ResNet((1, 1, 1, 1), width=8)
    training.fit(model, train, num_epochs=6, batch_size=32, lr=0.3)
    assert training.evaluate(model, test)[1] > 0.6
