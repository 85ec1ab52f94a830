import numpy as np
import pytest
import torch

from lab1.analysis.segmentation import digit_canvas, label_map, majority_label, measures


def test_label_map_pixel_by_pixel(digits):
    images, labels = digits
    maps = label_map(images, labels)
    assert maps.shape == (200, 28, 28) and maps.dtype == torch.int64
    for image, label, result in zip(images[:5, 0].tolist(), labels.tolist(), maps.tolist(), strict=False):
        for row, expected in zip(image, result, strict=True):
            assert expected == [label if pixel / 255 > 0.5 else 10 for pixel in row]


def test_label_map_takes_bytes_and_fractions(digits):
    images, labels = digits
    expected = label_map(images, labels)
    for same in (images[:, 0], images / 255, images[:, 0].double() / 255):
        assert torch.equal(label_map(same, labels), expected)
    assert torch.equal(label_map(images, labels.byte()), expected)


def test_threshold_is_exclusive_and_on_the_scale_of_brightness():
    images = torch.tensor([[[0.0, 0.25, 0.5, 0.75, 1.0]]])
    assert label_map(images, torch.tensor([3]), threshold=0.5).tolist() == [[[10, 10, 10, 3, 3]]]
    assert label_map(images, torch.tensor([3]), threshold=0, background=255).tolist() == [[[255, 3, 3, 3, 3]]]
    assert label_map(images, torch.tensor([3]), threshold=1, background=0).tolist() == [[[0] * 5]]
    bytes_ = torch.tensor([[[127, 128]]], dtype=torch.uint8)  # 0.498 and 0.502
    assert label_map(bytes_, torch.tensor([3])).tolist() == [[[10, 3]]]


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"images": torch.rand(2, 3, 4, 4)}, ValueError, r"shape \(N, 1, H, W\) or \(N, H, W\), not \(2, 3, 4, 4\)"),
        ({"images": torch.rand(4, 4)}, ValueError, "shape"),
        ({"images": torch.ones(2, 4, 4).long()}, TypeError, "uint8 or floating point, not torch.int64"),
        ({"images": torch.rand(2, 4, 4) - 0.5}, ValueError, "before normalisation"),
        ({"images": 255 * torch.ones(2, 4, 4)}, ValueError, r"lie in 0\.\.1"),
        ({"images": torch.full((2, 4, 4), torch.nan)}, ValueError, r"lie in 0\.\.1"),
        ({"labels": torch.tensor([1])}, ValueError, "2 images need one label each"),
        ({"labels": torch.tensor([[1], [2]])}, ValueError, r"labels \(N,\), not \(2, 1\)"),
        ({"labels": torch.tensor([1.0, 2.0])}, TypeError, "labels must be integers, not torch.float32"),
        ({"labels": torch.tensor([True, False])}, TypeError, "labels must be integers"),
        ({"labels": torch.tensor([1, 10])}, ValueError, "not 10, which means background"),
        ({"labels": torch.tensor([1, -1])}, ValueError, "0 or more"),
        ({"threshold": 128}, ValueError, "threshold=128 must lie on the 0..1 scale"),
        ({"threshold": -0.1}, ValueError, "threshold=-0.1"),
    ],
)
def test_label_map_refuses_bad_input(change, error, match):
    good = {"images": torch.rand(2, 1, 4, 4), "labels": torch.tensor([1, 2])}
    with pytest.raises(error, match=match):
        label_map(**(good | change))


def test_majority_label():
    maps = torch.full((4, 3, 3), 10)
    maps[0, 0] = torch.tensor([7, 7, 2])
    maps[1, 1, 1] = 0
    maps[2, :2] = torch.tensor([[5, 5, 1], [1, 1, 5]])  # three each
    assert majority_label(maps).tolist() == [7, 0, 1, 10]
    assert majority_label(torch.tensor([[[0, 0, 4]]]), background=0).tolist() == [4]


def test_measures_against_counting_by_hand():
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(0, 4, (5, 6, 7), generator=generator)
    predicted = torch.where(torch.rand(target.shape, generator=generator) < 0.6, target, (target + 1) % 4)
    found = measures(predicted, target, num_classes=5, background=3)
    p, t = predicted.numpy(), target.numpy()
    iou = [((p == k) & (t == k)).sum() / ((p == k) | (t == k)).sum() for k in range(4)]
    assert found["pixel accuracy"] == pytest.approx((p == t).mean())
    assert found["foreground accuracy"] == pytest.approx((p == t)[t != 3].mean())
    assert found["IoU"] == pytest.approx([*iou, 0])
    assert found["mean IoU"] == pytest.approx(np.mean(iou))  # class 4 does not occur
    assert found["confusion"] == [[int(((t == i) & (p == j)).sum()) for j in range(5)] for i in range(5)]


def test_all_background_looks_good_only_by_pixel_accuracy(digits):
    target = label_map(*digits)
    found = measures(torch.full_like(target, 10), target)
    assert 0.82 < found["pixel accuracy"] < 0.92
    assert found["foreground accuracy"] == 0 and found["mean IoU"] < 0.09


def test_ignored_pixels_are_left_out():
    generator = torch.Generator().manual_seed(0)
    target, predicted = torch.randint(0, 11, (2, 3, 6, 7), generator=generator)
    whole = measures(predicted[:2], target[:2])
    target[2] = 255
    assert measures(predicted, target, ignore_index=255) == whole
    assert measures(predicted, torch.where(target == 3, -100, target).clamp(max=10), ignore_index=-100)["confusion"][3]


def test_without_foreground_its_accuracy_is_nan():
    maps = torch.full((2, 3, 3), 10)
    found = measures(maps, maps)
    assert found["pixel accuracy"] == 1 and np.isnan(found["foreground accuracy"])


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"predicted": torch.full((2, 4, 4), 11)}, ValueError, r"predicted must hold labels in 0\.\.10, not 11 to 11"),
        ({"target": torch.full((2, 4, 4), 255)}, ValueError, r"target must hold labels in 0\.\.10, not 255 to 255"),
        ({"target": torch.full((2, 4, 4), -1)}, ValueError, "not -1 to -1"),
        ({"target": torch.full((2, 4, 4), 255), "ignore_index": 255}, ValueError, "no pixels to measure: 32"),
        (
            {"predicted": torch.zeros(2, 4, 5).long()},
            ValueError,
            r"\(2, 4, 5\) and target \(2, 4, 4\) must be of equal",
        ),
        ({"predicted": torch.rand(2, 4, 4)}, TypeError, "predicted must be label maps of integers, not torch.float32"),
        ({"target": torch.zeros(2, 4, 4) > 1}, TypeError, "target must be label maps of integers, not torch.bool"),
    ],
)
def test_measures_refuse_bad_input(change, error, match):
    good = {"predicted": torch.zeros(2, 4, 4).long(), "target": torch.ones(2, 4, 4).long()}
    with pytest.raises(error, match=match):
        measures(**(good | change))


def test_majority_label_refuses_bad_input():
    for maps, error in (
        (torch.full((2, 3, 3), -1), ValueError),
        (torch.rand(2, 3, 3), TypeError),
        (torch.zeros(3, 3).long(), ValueError),
    ):
        with pytest.raises(error, match="maps must"):
            majority_label(maps)
    assert majority_label(torch.full((1, 3, 3), 7, dtype=torch.uint8)).tolist() == [7]


@pytest.fixture(scope="module", params=["random places", "grid"])
def canvases(request, digits):
    places = {"grid": (2, 3), "scale": (0.75, 1.2)} if request.param == "grid" else {"num_digits": (0, 9)}
    return digit_canvas(*digits, num_canvases=60, size=(100, 140), **places)


def test_canvases_are_bytes_with_maps_and_boxes(canvases):
    assert canvases.images.shape == (60, 1, 100, 140) and canvases.images.dtype == torch.uint8
    assert canvases.targets.shape == (60, 100, 140) and canvases.targets.dtype == torch.int64
    assert all(t.dtype == torch.int64 for t in canvases.digits)
    assert canvases.digits.boxes.shape == (len(canvases.digits.labels), 4)


def test_boxes_hold_exactly_the_pixels_of_their_digit(canvases):
    """Paint every box's label off the target: nothing is left, and each box touches its digit on all four sides."""
    left_over = canvases.targets.clone()
    for (x0, y0, x1, y1), label, i in zip(*(t.tolist() for t in canvases.digits), strict=True):
        inside = canvases.targets[i, y0:y1, x0:x1] == label
        assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()
        left_over[i, y0:y1, x0:x1] = 10
    assert (left_over == 10).all()


def test_targets_are_the_label_maps_of_what_is_seen(canvases):
    assert torch.equal(canvases.targets != 10, canvases.images[:, 0] / 255 > 0.5)


def test_counts_are_as_asked(digits):
    image = digit_canvas(*digits, num_canvases=200, num_digits=(0, 4), scale=(0.75, 1)).digits.image
    counts = image.bincount(minlength=200).bincount(minlength=5)  # of canvases with 0 to 4 digits
    assert len(counts) == 5 and counts.min() > 20
    assert digit_canvas(*digits, num_canvases=9, size=(30, 30), num_digits=(0, 1)).digits.image.unique().numel() < 9


def test_digits_keep_two_pixels_apart(digits):
    crowded = digit_canvas(*digits, num_canvases=30, size=(96, 96), num_digits=(6, 9), threshold=0)
    for i in range(30):
        boxes = crowded.digits.boxes[crowded.digits.image == i]
        for a in range(len(boxes)):
            for b in range(a):
                assert ((boxes[a, :2] >= boxes[b, 2:] + 2) | (boxes[b, :2] >= boxes[a, 2:] + 2)).any()


def test_overlap_only_if_asked(digits):
    options = {"num_canvases": 20, "size": (48, 48), "num_digits": (6, 6), "scale": (1, 1)}
    apart, together = (digit_canvas(*digits, **options, overlap=overlap) for overlap in (False, True))
    assert len(apart.digits.labels) < 20 * 6 == len(together.digits.labels)  # a full canvas gets fewer


def test_where_digits_meet_the_brightest_pixel_gives_the_label():
    """Squares of four brightnesses, one of them too dark to be a digit, drawn where they must meet."""
    brightness = torch.tensor([100, 150, 200, 250], dtype=torch.uint8)
    squares = brightness[:, None, None, None].expand(4, 1, 6, 6)
    options = {"size": (12, 12), "num_digits": (8, 8), "scale": (1, 1), "overlap": True}
    canvas = digit_canvas(squares, torch.arange(4), 30, **options)
    label_of = {0: 10, 100: 10, 150: 1, 200: 2, 250: 3}
    assert set(canvas.images.unique().tolist()) == set(label_of)
    for value, label in label_of.items():
        assert (canvas.targets[canvas.images[:, 0] == value] == label).all()
    assert 0 not in canvas.digits.labels  # nothing of it is a digit, so it has no box
    equal = digit_canvas(squares[3:].expand(5, 1, 6, 6), torch.arange(5), 30, **options)
    for i, (x0, y0, x1, y1) in enumerate(equal.digits.boxes[::8].tolist()):  # the first digit of each canvas is whole
        assert (equal.targets[i, y0:y1, x0:x1] == equal.digits.labels[8 * i]).all()


def test_scale_enlarges(digits):
    images, labels = digits[0][:1], digits[1][:1]
    own = (images[0, 0] > 127).nonzero()
    height, width = (own.amax(0) - own.amin(0) + 1).tolist()
    for factor in (1, 2, 0.75):
        one = digit_canvas(images, labels, size=(80, 80), num_digits=(1, 1), scale=(factor, factor))
        x0, y0, x1, y1 = one.digits.boxes[0].tolist()
        assert y1 - y0 == pytest.approx(factor * height, abs=2) and x1 - x0 == pytest.approx(factor * width, abs=2)


def test_unscaled_digits_are_unchanged(digits):
    images, labels = digits[0][:5], digits[1][:5]
    canvas = digit_canvas(images, labels, num_canvases=4, size=(40, 40), num_digits=(1, 1), scale=(1, 1), seed=2)
    for image in canvas.images[:, 0]:
        pixels = image[image > 0].sort().values
        assert any(torch.equal(pixels, digit[digit > 0].sort().values) for digit in images)


def test_grid(digits):
    canvas = digit_canvas(*digits, num_canvases=3, size=(90, 120), grid=(3, 4), scale=(0.9, 1.1))
    boxes, _, image = canvas.digits
    assert image.bincount().tolist() == [12] * 3
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2  # x, y
    cells = torch.tensor([(15 + 30 * x, 15 + 30 * y) for y in range(3) for x in range(4)]).repeat(3, 1)
    assert (middle - cells).abs().max() <= 2.5


def test_any_integer_labels(digits):
    one = digit_canvas(digits[0], digits[1].byte())
    assert torch.equal(one.targets, digit_canvas(*digits).targets) and one.digits.labels.dtype == torch.int64
    with pytest.raises(TypeError, match="labels must be integers"):
        digit_canvas(digits[0], digits[1].float())


def test_seed_decides(digits):
    first, again, other = (digit_canvas(*digits, num_canvases=2, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.images, again.images) and not torch.equal(first.images, other.images)
    state = torch.get_rng_state()
    digit_canvas(*digits)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"images": torch.rand(2, 1, 28, 28)}, r"\(M, 1, h, w\) uint8"),
        ({"labels": torch.tensor([1])}, "with M labels"),
        ({"images": torch.empty(0, 1, 28, 28, dtype=torch.uint8), "labels": torch.empty(0).long()}, "nothing to draw"),
        ({"num_canvases": 0}, "num_canvases=0"),
        ({"size": (0, 10)}, "size=\\(0, 10\\)"),
        ({"num_digits": (5, 2)}, r"num_digits=\(5, 2\)"),
        ({"num_digits": (0, 0)}, r"num_digits=\(0, 0\)"),
        ({"scale": (0, 1)}, r"scale=\(0, 1\)"),
        ({"size": (16, 16), "scale": (1, 1)}, "does not fit"),
        ({"size": (40, 40), "grid": (4, 4)}, "does not fit"),
        ({"grid": (0, 3)}, r"grid=\(0, 3\)"),
        ({"threshold": 2}, "threshold=2"),
        ({"labels": torch.tensor([10, 10])}, "means background"),
    ],
)
def test_digit_canvas_refuses_bad_input(digits, change, match):
    good = {"images": digits[0][:2], "labels": digits[1][:2]}
    with pytest.raises(ValueError, match=match):
        digit_canvas(**(good | change))
