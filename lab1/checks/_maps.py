"""Checks of label_map (task 7), paste_digits (10) and mean_iou (11). The references are loops over pixels."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from lab1.checks._check import Check
from lab1.checks._values import Draw, Wrong, expect_number, expect_same, expect_tensor, expect_unchanged

SHAPES = "The shape of the label map is another"
BACKGROUND = "Zeros vanish, or the background is a digit"
THRESHOLD = "Digits come out too thick or too thin"
label_map = Check(
    7,
    "label_map",
    hints=(SHAPES, BACKGROUND, THRESHOLD),
    errors=(
        (r"size of tensor|shape|broadcast", "The labels (N,) do not meet the images (N, H, W) as they are.", SHAPES),
    ),
)


def _images(draw: Draw, count: int, height: int, width: int) -> Tensor:
    """(N, 1, H, W) in 0..1, some darker than others."""
    return draw.uniform(count, 1, height, width) * (0.6 + 0.4 * draw.uniform(count, 1, 1, 1))


def _labels(draw: Draw, count: int) -> Tensor:
    """Digits, a zero among them."""
    labels = draw.integers((count,), 0, 9)
    labels[draw.integer(0, count - 1)] = 0
    return labels


@label_map.claim("images (N, 1, H, W) become int64 label maps (N, H, W)")
def _map_shape(answer, draw):
    height, width = draw.distinct(2, 3, 9)
    for count in (draw.integer(2, 6), 1):
        result = answer(_images(draw, count, height, width), _labels(draw, count))
        if isinstance(result, Tensor) and result.shape != (count, height, width):
            mistakes = {
                (count, 1, height, width): "The channel is still there.",
                (height, width): "squeeze removes every dimension of size 1, that of a batch of one image, too.",
                (count, 11, height, width): "The map is one-hot: one number for each class instead of the class.",
            }
            text = f"{count} images of {height}x{width} become {tuple(result.shape)}."
            raise Wrong(text, mistakes.get(tuple(result.shape), ""), SHAPES)
        expect_tensor(result, (count, height, width), torch.int64, "The label map", SHAPES)


def _pixel_by_pixel(images: Tensor, labels: Tensor, threshold: float = 0.5, background: int = 10) -> Tensor:
    maps = [
        [[label if pixel > threshold else background for pixel in row] for row in image]
        for image, label in zip(images[:, 0].tolist(), labels.tolist(), strict=True)
    ]
    return torch.tensor(maps)


def _map_mistakes(images: Tensor, labels: Tensor, threshold: float = 0.5, background: int = 10) -> dict[str, Tensor]:
    x, each = images[:, 0], labels[:, None, None].expand_as(images[:, 0])

    def where(seen: Tensor, label: Tensor = each, other: int | Tensor = background) -> Tensor:
        return torch.where(seen, label, other)

    bright, normalised = x > threshold, [(0.1307, 0.3081), (0.5, 0.5), (x.mean(), x.std())]
    mistakes = {
        "Bright and dark are the wrong way round.": where(~bright),
        "The background is 0, but that is a digit, too.": where(bright, other=0),
        "The digit 0 is taken for background.": where(bright & (each != 0)),
        "The result is a mask of 0 and 1, without the labels.": bright.long(),
        "The labels are shifted by one.": where(bright, each + 1),
        "The threshold is applied as if brightness lay in 0..255.": [where(x * 255 > threshold), where(x > 127 / 255)],
        "The images are divided by 255, but they lie in 0..1 already.": where(x / 255 > threshold),
        "The threshold is relative to the brightest pixel of an image.": where(x / x.amax((1, 2), True) > threshold),
        "The images are normalised before the threshold, which then means another brightness.": [
            where((x - mean) / std > threshold) for mean, std in normalised
        ],
        "The threshold argument is not used.": where(x > 0.5),
        "The background argument is not used.": where(bright, other=10),
        "Every pixel that is not black counts, whatever the threshold.": where(x > 0),
        "The mean of the brightness is taken for the threshold.": [
            where(x > x.mean()),
            where(x > x.mean((1, 2), True)),
        ],
        "All images carry the label of the first one.": where(bright, each[:1]),
    }
    if x.shape[0] == x.shape[2]:
        mistakes["Labels are matched with columns instead of images."] = where(bright, labels.expand_as(x))
        mistakes["Labels are matched with rows instead of images."] = where(bright, labels[:, None].expand_as(x))
    return mistakes


def _expect_map(answer, images: Tensor, labels: Tensor, hint: str, **options) -> None:
    given = images.clone(), labels.clone()
    result = answer(*given, **options)
    expected, mistakes = _pixel_by_pixel(images, labels, **options), _map_mistakes(images, labels, **options)
    expect_tensor(result, expected.shape, torch.int64, "The label map", SHAPES)
    expect_same(result, expected, mistakes, hint, "A pixel")
    expect_unchanged(images, given[0], "the images", hint)
    expect_unchanged(labels, given[1], "the labels", hint)


@label_map.claim("bright pixels carry their image's label, the others 10; inputs stay as they were")
def _map_values(answer, draw):
    count = draw.integer(4, 7)
    for size in ((count, 5, 8), (count, count, count)):
        _expect_map(answer, _images(draw, *size), _labels(draw, count), BACKGROUND)


@label_map.claim("for other thresholds and backgrounds, too")
def _map_options(answer, draw):
    for threshold, background in ((0.25, 10), (0.5, 255), (0.75, 11)):
        options = {"threshold": threshold, "background": background}
        _expect_map(answer, _images(draw, 5, 6, 7), _labels(draw, 5), THRESHOLD, **options)


@label_map.claim("a pixel exactly at the threshold is background")
def _map_boundary(answer, draw):
    images, labels = torch.tensor([0.25, 0.5, 0.75])[draw.integers((4, 1, 5, 6), 0, 2)], _labels(draw, 4)
    mistake = {"Pixels equal to the threshold count as brighter.": _pixel_by_pixel(images, labels, 0.49)}
    expected = _pixel_by_pixel(images, labels)
    result = expect_tensor(answer(images, labels), expected.shape, torch.int64, "The label map", SHAPES)
    expect_same(result, expected, mistake, THRESHOLD, "A pixel")


WHERE = "Digits lie at other places"
OVERLAP = "Digits cut holes into each other"
LABELS = "The canvas is right, the target is not"
paste_digits = Check(
    10,
    "paste_digits",
    hints=(WHERE, OVERLAP, LABELS),
    errors=(
        (
            r"size of tensor|expanded size|out of bounds|could not broadcast",
            "Top and left, or height and width, are mixed up.",
            WHERE,
        ),
        (
            r"shape mismatch|shape of the mask",
            "A mask selects on one side of the assignment only, or from something of another shape.",
            OVERLAP,
        ),
    ),
)


class Paste(NamedTuple):
    """The arguments of paste_digits."""

    digits: Tensor
    labels: Tensor
    positions: Tensor
    size: tuple[int, int]
    background: int = 10

    def only(self, which: list[int]) -> "Paste":
        """Some of the digits, in that order."""
        return self._replace(digits=self.digits[which], labels=self.labels[which], positions=self.positions[which])

    def pixels(self) -> Iterator[tuple[int, float, int, int]]:
        """(label, brightness, row, column) of every pixel on the canvas, one digit after the other."""
        every = zip(self.digits.tolist(), self.labels.tolist(), self.positions.tolist(), strict=True)
        for digit, label, (top, left) in every:
            for i, row in enumerate(digit):
                for j, brightness in enumerate(row):
                    if 0 <= top + i < self.size[0] and 0 <= left + j < self.size[1]:
                        yield label, brightness, top + i, left + j


def _separate(draw: Draw, background: int = 10) -> Paste:
    """Digits side by side on a wide canvas, of which none touches another."""
    count, height, width = draw.integer(2, 5), *draw.distinct(2, 3, 7)
    size = height + draw.integer(1, 6), count * (width + 2) + 9
    tops, shifts = draw.integers((count,), 0, size[0] - height), draw.integers((count,), 0, 2)
    positions = torch.stack([tops, torch.arange(count) * (width + 2) + shifts], 1)
    return Paste(draw.uniform(count, height, width), _labels(draw, count), positions, size, background)


def _overlapping(draw: Draw, grey_values: int = 0) -> Paste:
    """Digits one over the other; with grey values 0, 1 / grey_values, ..., 1 some are equally bright."""
    count, height, width = draw.integer(4, 6), *draw.distinct(2, 4, 8)
    size = height + 4, width + 5
    positions = torch.stack([draw.integers((count,), 0, 4), draw.integers((count,), 0, 5)], 1)
    digits, labels = draw.uniform(count, height, width), torch.tensor(draw.distinct(count, 0, 9))
    digits *= draw.uniform(*digits.shape) < 0.7  # the others are black
    if grey_values:
        digits = draw.integers(digits.shape, 0, grey_values) / grey_values
    return Paste(digits, labels, positions, size)


def _brighter(new: float, old: float) -> bool:
    return new > old


def _pasted(case: Paste, wins=_brighter, marks=None, seen=lambda brightness: brightness > 0.5) -> tuple[Tensor, Tensor]:
    """Canvas and target. A pixel goes on the canvas where it `wins`, its label on the target where it `marks`."""
    canvas = [[0.0] * case.size[1] for _ in range(case.size[0])]
    target = [[case.background] * case.size[1] for _ in range(case.size[0])]
    for label, new, y, x in case.pixels():
        old = canvas[y][x]
        if wins(new, old):
            canvas[y][x] = new
        if (marks or wins)(new, old):
            target[y][x] = label if seen(new) else case.background
    return torch.tensor(canvas), torch.tensor(target)


def _added(case: Paste) -> Tensor:
    canvas = torch.zeros(case.size)
    for _, brightness, y, x in case.pixels():
        canvas[y, x] += brightness
    return canvas


def _paste(answer: Callable, case: Paste) -> tuple[Tensor, Tensor]:
    """What the answer returns, with positions as a tensor or, if it can read only that, as a list of pairs."""
    options = {} if case.background == 10 else {"background": case.background}
    try:
        pair = answer(*case[:4], **options)
    except Exception as error:
        pairs = [tuple(each) for each in case.positions.tolist()]
        try:
            pair = answer(*case[:2], pairs, case.size, **options)
        except Exception:
            raise error from None
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        mistake = "A return statement is missing." if pair is None else "It is not the pair (canvas, target)."
        raise Wrong(f"What it returns is {type(pair).__name__}.", mistake, WHERE)
    if isinstance(pair[0], Tensor) and tuple(pair[0].shape) == case.size[::-1]:
        raise Wrong(f"size={case.size} gives {tuple(pair[0].shape)}.", "Height and width are mixed up.", WHERE)
    canvas = expect_tensor(pair[0], case.size, torch.float32, "The canvas", WHERE)
    return canvas, expect_tensor(pair[1], case.size, torch.int64, "The target", LABELS)


@paste_digits.claim("canvas (H, W) float32 and target (H, W) int64")
def _paste_shapes(answer, draw):
    _paste(answer, _separate(draw))


@paste_digits.claim("digits that do not touch stand where they belong; inputs stay as they were")
def _paste_places(answer, draw):
    case = _separate(draw)
    before = case._replace(digits=case.digits.clone(), labels=case.labels.clone())
    canvas, target = _paste(answer, case)
    expected = _pasted(before)
    expect_same(canvas, expected[0], _place_mistakes(before, 0), WHERE, "The canvas")
    expect_same(target, expected[1], _place_mistakes(before, 1), LABELS, "The target")
    expect_unchanged(before.digits, case.digits, "the digits", WHERE)
    expect_unchanged(before.labels, case.labels, "the labels", WHERE)


def _place_mistakes(case: Paste, which: int) -> dict[str, Tensor]:
    """What canvas (0) or target (1) would be if the places, the labels or the threshold were mistaken."""
    height, width = case.digits.shape[1:]
    numbers = torch.arange(len(case.labels))
    return {
        "Top and left are mixed up.": _pasted(case._replace(positions=case.positions.flip(1)))[which],
        "The positions are taken for the digits' centres.": (
            _pasted(case._replace(positions=case.positions - torch.tensor([height // 2, width // 2])))[which]
        ),
        "The background is 0, but that is a digit, too.": _pasted(case._replace(background=0))[which],
        "Only pixels over the threshold are pasted: the canvas lacks the darker ones.": (
            _pasted(case, wins=_is_bright)[which]
        ),
        "The target has the digits' numbers in the list, not their labels.": _pasted(case._replace(labels=numbers))[
            which
        ],
        "Every pixel that is not black has the label, whatever the threshold.": _pasted(case, seen=bool)[which],
        "The whole rectangle of a digit has its label.": _pasted(case, wins=_always, seen=_always)[which],
        "Only the first digit is there: the return is inside the loop.": _pasted(case.only([0]))[which],
        "Only the last digit is there: the canvas is made anew for each.": _pasted(case.only([-1]))[which],
    }


def _always(*_) -> bool:
    return True


@paste_digits.claim("where digits overlap, the canvas has the brighter pixel")
def _paste_brighter(answer, draw):
    case = _overlapping(draw)
    canvas, _ = _paste(answer, case)
    mistakes = {
        "A later digit overwrites the earlier ones, with its dark pixels, too.": _pasted(case, wins=_always)[0],
        "A later digit overwrites the earlier ones wherever it is not black.": _pasted(case, wins=_is_seen)[0],
        "A later digit overwrites the earlier ones wherever it is bright.": _pasted(case, wins=_is_bright)[0],
        "The first digit stays, however dark it is.": _pasted(case, wins=lambda new, old: old == 0)[0],
        "The brightnesses are added.": [_added(case), _added(case).clamp(max=1)],
    }
    expect_same(canvas, _pasted(case)[0], mistakes, OVERLAP, "The canvas")


def _is_bright(new: float, old: float) -> bool:
    return new > 0.5


def _is_seen(new: float, old: float) -> bool:
    return new > 0


@paste_digits.claim("where digits overlap, the target has the label of the brighter pixel's digit")
def _paste_label(answer, draw):
    case = _overlapping(draw)
    _, target = _paste(answer, case)
    mistakes = {
        "The label is that of the last digit over the threshold, not of the brightest.": (
            _pasted(case, marks=_is_bright)[1]
        ),
        "The label is that of the first digit over the threshold, not of the brightest.": _first_marks(case),
        "A later digit's dark pixels delete the labels of the earlier ones.": _pasted(case, wins=_always)[1],
        "The label is that of the last digit that is not black, not of the brightest.": (
            _pasted(case, marks=_is_seen)[1]
        ),
    }
    expect_same(target, _pasted(case)[1], mistakes, LABELS, "The target")


def _first_marks(case: Paste) -> Tensor:
    """The target if the earlier of two digits over the threshold kept its label."""
    last_first = list(reversed(range(len(case.labels))))
    return _pasted(case.only(last_first), marks=_is_bright)[1]


@paste_digits.claim("on a tie the earlier digit's label; a pixel at 0.5 is background")
def _paste_ties(answer, draw):
    case = _overlapping(draw, grey_values=4)
    canvas, target = _paste(answer, case)
    later = _pasted(case, wins=lambda new, old: new >= old)[1]
    mistakes = {
        "On a tie the later digit's label is taken.": later,
        "Pixels equal to the threshold count as brighter.": _pasted(case, seen=lambda brightness: brightness >= 0.5)[1],
    }
    expect_same(target, _pasted(case)[1], mistakes, LABELS, "The target")


@paste_digits.claim("another background")
def _paste_background(answer, draw):
    case = _separate(draw, background=draw.integer(11, 255))
    mistakes = {"The background argument is not used.": _pasted(case._replace(background=10))[1]}
    expect_same(_paste(answer, case)[1], _pasted(case)[1], mistakes, LABELS, "The target")


ABSENT = "nan, or too high, where a class is absent"
POOLED = "Right for one image, not for several"
UNION = "Wrong for a single image, too"
mean_iou = Check(
    11,
    "mean_iou",
    hints=(UNION, POOLED, ABSENT),
    errors=(
        (
            r"ZeroDivisionError",
            "A class absent from both has the union 0: it is to be left out, not divided by.",
            ABSENT,
        ),
    ),
)


def _counts(prediction: Tensor, target: Tensor, num_classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each class: pixels in both, in the prediction, in the target. Float64, (num_classes,)."""
    both, predicted, true = ([0] * num_classes for _ in range(3))
    for a, b in zip(prediction.flatten().tolist(), target.flatten().tolist(), strict=True):
        predicted[a] += 1
        true[b] += 1
        both[a] += a == b
    return tuple(torch.tensor(each, dtype=torch.float64) for each in (both, predicted, true))


def _mean_iou(prediction: Tensor, target: Tensor, num_classes: int) -> float:
    both, predicted, true = _counts(prediction, target, num_classes)
    union = predicted + true - both
    return float((both / union)[union > 0].mean())


def _iou_mistakes(prediction: Tensor, target: Tensor, num_classes: int) -> dict[str, float | list[float]]:
    both, predicted, true = _counts(prediction, target, num_classes)
    union, total = predicted + true - both, predicted + true
    iou, here, in_target = both / union, union > 0, true > 0
    right = _mean_iou(prediction, target, num_classes)
    each = [_mean_iou(p, t, num_classes) for p, t in zip(prediction, target, strict=True)]
    return {
        "Each image has a mean of its own, and these are averaged: pool the counts over the batch.": sum(each)
        / len(each),
        "Classes absent from both count as 0.": iou.nan_to_num(0).mean(),
        "Classes absent from both count as 1.": iou.nan_to_num(1).mean(),
        "Classes absent from the target are left out, though they are predicted.": iou[in_target].mean(),
        "Classes that are never predicted are left out, though they are in the target.": iou[predicted > 0].mean(),
        "Classes without a pixel that is right are left out.": iou[both > 0].mean(),
        "The background is left out.": [iou[:-1][here[:-1]].mean(), iou[1:][here[1:]].mean()],
        "This is the pixel accuracy.": both.sum() / true.sum(),
        "This is the Dice coefficient (F1), not the IoU.": (2 * both / total)[here].mean(),
        "The union counts the intersection twice.": (both / total)[here].mean(),
        "The intersection is divided by the pixels of the target, not by the union (that is the recall).": [
            (both / true)[in_target].mean(),
            (both / true).nan_to_num(0)[here].mean(),
        ],
        "The intersection is divided by the predicted pixels, not by the union (that is the precision).": [
            (both / predicted)[predicted > 0].mean(),
            (both / predicted).nan_to_num(0)[here].mean(),
        ],
        "Intersections and unions are added up over the classes before the division.": both.sum() / union.sum(),
        "The classes are weighted by their frequency.": (iou.nan_to_num(0) * true).sum() / true.sum(),
        "It is a percentage: the mean IoU lies in 0..1.": 100 * right,
        "It is the sum over the classes, not their mean.": iou[here].sum(),
    }


def _expect_iou(answer, prediction: Tensor, target: Tensor, num_classes: int, hint: str) -> None:
    given = prediction.clone(), target.clone()
    result = expect_number(answer(*given, num_classes), "What it returns", hint)
    mistakes = _iou_mistakes(prediction, target, num_classes)
    expect_same(result, _mean_iou(prediction, target, num_classes), mistakes, hint, "The mean IoU")
    expect_unchanged(prediction, given[0], "the prediction", hint)
    expect_unchanged(target, given[1], "the target", hint)


def _maps(draw: Draw, count: int, num_classes: int) -> tuple[Tensor, Tensor]:
    """Prediction and target (N, H, W), in which every class occurs; more right than wrong."""
    target = draw.integers((count, draw.integer(6, 9), draw.integer(6, 9)), 0, num_classes - 1)
    target.view(-1)[:num_classes] = torch.arange(num_classes)
    other = draw.integers(target.shape, 0, num_classes - 1)
    return torch.where(draw.uniform(*target.shape) < 0.6, target, other.minimum(target)), target


@mean_iou.claim("a number")
def _iou_number(answer, draw):
    expect_number(answer(*_maps(draw, 2, 4), 4), "What it returns", UNION)


@mean_iou.claim("intersection over union of each class, averaged; background included")
def _iou_values(answer, draw):
    for num_classes in (draw.integer(3, 5), 11):  # in this lab the background is class 10
        _expect_iou(answer, *_maps(draw, 1, num_classes), num_classes, UNION)


@mean_iou.claim("counts pooled over the whole batch")
def _iou_batch(answer, draw):
    num_classes = draw.integer(3, 5)
    prediction, target = _maps(draw, draw.integer(3, 5), num_classes)
    target[0] = target[0].clamp(max=1)
    _expect_iou(answer, prediction, target, num_classes, POOLED)


@mean_iou.claim("classes absent from both are left out")
def _iou_absent(answer, draw):
    num_classes = draw.integer(3, 5)
    _expect_iou(answer, *_maps(draw, 2, num_classes), num_classes + draw.integer(2, 5), ABSENT)


@mean_iou.claim("classes that only the prediction or only the target has count as 0")
def _iou_one_sided(answer, draw):
    prediction, target = _maps(draw, 2, 4)
    _expect_iou(answer, torch.where(prediction == 3, 4, prediction), target, 6, ABSENT)
    _expect_iou(answer, target, torch.where(target == 3, 4, target), 6, ABSENT)
