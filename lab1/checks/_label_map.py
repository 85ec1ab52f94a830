"""Check of task 7, label_map. The reference is a loop over pixels."""

import torch
from torch import Tensor

from lab1.checks._check import Check
from lab1.checks._student import Cause, Student, Wrong
from lab1.checks._values import Draw, agree, expect_same, expect_tensor, expect_unchanged, listed

SHAPES = "The shape of the label map is another"
BACKGROUND = "Zeros vanish, or the background is a digit"
THRESHOLD = "Digits come out too thick or too thin"
DIVIDED = "The images are divided by 255, but they lie in 0..1 already."


def _fits_square_images(student: Student, draw: Draw) -> bool:
    """Whether only images with as many columns as there are images are no problem."""
    return student.can("run", draw.uniform(4, 1, 3, 4), draw.integers((4,), 0, 9))


label_map = Check(
    7,
    "label_map",
    hints=(SHAPES, BACKGROUND, THRESHOLD),
    causes=(
        Cause(
            r"size of tensor|shape|broadcast",
            "The labels (N,) meet the columns of the images (N, H, W): they need the shape (N, 1, 1).",
            SHAPES,
            _fits_square_images,
        ),
    ),
)


def _images(draw: Draw, count: int, height: int, width: int) -> Tensor:
    """(N, 1, H, W) in 0..1, some darker than others, with black and nearly black pixels."""
    images = draw.uniform(count, 1, height, width) * (0.6 + 0.4 * draw.uniform(count, 1, 1, 1))
    return torch.where(images < 0.05, 0, torch.where(images < 0.1, 0.0005, images))


def draw_labels(draw: Draw, count: int) -> Tensor:
    """Digits, a zero among them."""
    labels = draw.integers((count,), 0, 9)
    labels[draw.integer(0, count - 1)] = 0
    return labels


@label_map.claim("images (N, 1, H, W) become int64 label maps (N, H, W)")
def _shape(student, draw):
    height, width = draw.distinct(2, 3, 9)
    for count in (draw.integer(2, 6), 1):
        result = student.run(_images(draw, count, height, width), draw_labels(draw, count))
        if isinstance(result, Tensor) and result.shape != (count, height, width):
            mistakes = {
                (count, 1, height, width): "The channel is still there.",
                (height, width): "squeeze removes every dimension of size 1, that of a batch of one image, too.",
                (count, 11, height, width): "The map is one-hot: one number for each class instead of the class.",
                (count, height, width, 11): "The map is one-hot: one number for each class instead of the class.",
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


def _mistakes(images: Tensor, labels: Tensor, threshold: float = 0.5, background: int = 10) -> dict[str, Tensor]:
    x, each = images[:, 0], labels[:, None, None].expand_as(images[:, 0])

    def where(seen: Tensor, label: Tensor = each, other: int | Tensor = background) -> Tensor:
        return torch.where(seen, label, other)

    bright, normalised = x > threshold, [(0.1307, 0.3081), (0.5, 0.5), (x.mean(), x.std())]
    mistakes = {
        "Bright and dark are the wrong way round.": where(~bright),
        "The background is 0, but that is a digit, too.": where(bright, other=0),
        "The background is 0 and every label is larger by one; the labels stay, the background is 10.": (
            where(bright, each + 1, other=0)
        ),
        "The digit 0 is taken for background.": where(bright & (each != 0)),
        "The result is a mask of 0 and 1, without the labels.": bright.long(),
        "The labels are shifted by one.": where(bright, each + 1),
        "The threshold is applied as if brightness lay in 0..255.": [where(x * 255 > threshold), where(x > 127 / 255)],
        DIVIDED: where(x / 255 > threshold),
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
    right = where(bright)
    return {words: value for words, value in mistakes.items() if isinstance(value, list) or not value.equal(right)}


def _expect_map(student, images: Tensor, labels: Tensor, hint: str, **options) -> None:
    result = student.run(images, labels, **options)
    expected, mistakes = _pixel_by_pixel(images, labels, **options), _mistakes(images, labels, **options)
    expect_tensor(result, expected.shape, torch.int64, "The label map", SHAPES)
    if agree(result, mistakes.get(DIVIDED, [])) and not agree(student.run(images * 255, labels, **options), expected):
        del mistakes[DIVIDED]
    what = (
        f"Images {listed(images)}, labels {listed(labels)}{''.join(f', {k}={v}' for k, v in options.items())}: a pixel"
    )
    expect_same(result, expected, mistakes, hint, what)
    expect_unchanged(images, student.given[0], "the tensor of the images", hint)
    expect_unchanged(labels, student.given[1], "the tensor of the labels", hint)


@label_map.claim("bright pixels carry their image's label, the others 10; inputs stay as they were")
def _values(student, draw):
    if draw.small:
        _expect_map(student, _images(draw, 2, 1, 3), draw_labels(draw, 2), BACKGROUND)
    count = draw.integer(4, 7)
    for size in ((count, 5, 8), (count, count, count)):
        _expect_map(student, _images(draw, *size), draw_labels(draw, count), BACKGROUND)


@label_map.claim("for other thresholds and backgrounds, too")
def _options(student, draw):
    size = (2, 1, 3) if draw.small else (5, 6, 7)
    for threshold, background in ((0.25, 10), (0.5, 255), (0.75, 11)):
        options = {"threshold": threshold, "background": background}
        _expect_map(student, _images(draw, *size), draw_labels(draw, size[0]), THRESHOLD, **options)


@label_map.claim("a pixel exactly at the threshold is background")
def _boundary(student, draw):
    images, labels = torch.tensor([0.25, 0.49, 0.5, 0.51, 1])[draw.integers((4, 1, 5, 6), 0, 4)], draw_labels(draw, 4)
    mistake = {"Pixels equal to the threshold count as brighter.": _pixel_by_pixel(images, labels, 0.495)}
    expected = _pixel_by_pixel(images, labels)
    result = expect_tensor(student.run(images, labels), expected.shape, torch.int64, "The label map", SHAPES)
    expect_same(result, expected, mistake, THRESHOLD, "A pixel")
