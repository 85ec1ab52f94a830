"""ImageSet: stored exactly, batched, normalised, augmented."""

import statistics
import time

import numpy as np
import pytest
import torch
from image_files import positions
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms

from lab1.data import ImageSet, load, shapes10

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


@pytest.mark.slow
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
