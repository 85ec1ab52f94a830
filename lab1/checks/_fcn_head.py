"""Check of task 9, FCNHead: scores of feature maps, fused from coarse to fine (Long et al. 2015, arXiv:1411.4038)."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lab1.checks._check import Check
from lab1.checks._student import Cause, Student, Wrong
from lab1.checks._values import (
    Draw,
    agree,
    expect_gradients,
    expect_lasting,
    expect_same,
    expect_tensor,
    expect_unchanged,
    unseen,
)

SIZE = "The output has the size of a feature map"
FUSED = "Blocks instead of contours"
VALUES = "Shapes agree, values do not"


def _takes(student: Student, draw: Draw, in_channels: list[int], strides: list[int], size=(64, 80), turn=1) -> bool:
    """Whether a head runs on maps of such strides; with turn=-1 they are given in the reverse order."""
    features = [draw.normal(2, c, *(-(-n // s) for n in size)) for c, s in zip(in_channels, strides, strict=True)]
    return student.can("make", in_channels, 3) and student.can("call", features[::turn], size)


fcn_head = Check(
    9,
    "FCNHead",
    hints=(SIZE, FUSED, VALUES),
    causes=(
        Cause(
            r"IndexError|values to unpack|unpack|argument|KeyError",
            "The number of maps is fixed in the code.",
            FUSED,
            lambda s, d: any(_takes(s, d, [5, 6, 7, 8][:k], [1, 2, 4, 8][:k]) for k in (2, 3, 4)),
        ),
        Cause(
            r"to have \d+ channels|mat1 and mat2|einsum|subscript",
            "The maps are taken in the wrong order: they come from fine to coarse.",
            FUSED,
            lambda s, d: _takes(s, d, [5, 6, 7], [1, 1, 1], turn=-1),
        ),
        Cause(
            r"size of tensor|to have \d+ channels|mat1 and mat2",
            "Maps of different channels are added: each is to be scored first.",
            FUSED,
            lambda s, d: _takes(s, d, [5, 5, 5], [1, 2, 4]) and not _takes(s, d, [5, 6, 7], [1, 2, 4]),
        ),
        Cause(
            r"size of tensor",
            "Maps of different sizes are added: one is not always exactly twice the other.",
            SIZE,
            lambda s, d: _takes(s, d, [5, 6, 7], [1, 2, 4]) and not _takes(s, d, [5, 6, 7], [1, 2, 4], (45, 61)),
        ),
    ),
)


def _features(draw: Draw, in_channels: list[int], stride: int, size: tuple[int, int]) -> list[Tensor]:
    """From fine to coarse, each half as large as the one before, rounded up; two images."""
    strides = [stride * 2**i for i in range(len(in_channels))]
    return [draw.normal(2, c, *(-(-n // s) for n in size)) for c, s in zip(in_channels, strides, strict=True)]


@fcn_head.claim("logits (N, num_classes, *size), for any size and any number of maps")
def _shape(student, draw):
    for count in (3, 1, 4):
        num_classes, *in_channels = draw.distinct(count + 1, 3, 12)
        student.build(in_channels, num_classes)
        small = draw.integer(17, 24), draw.integer(25, 40)
        features = _features(draw, in_channels, draw.integer(1, 2), small)
        for size in (small, (small[0] + 19, small[1] + 6), small[::-1]):
            logits = student.call(features, size)
            if isinstance(logits, Tensor) and tuple(logits.shape[2:]) != size:
                mistakes = {
                    size[::-1]: "Height and width are mixed up.",
                    size[1:]: "The classes are gone: no argmax here.",
                }
                mistakes |= {tuple(f.shape[2:]): "The scores are never upsampled to `size`." for f in features}
                mistake = mistakes.get(tuple(logits.shape[2:]), "")
                other = student.call(features, (size[0] + 3, size[1] + 5))
                if not mistake and isinstance(other, Tensor) and other.shape == logits.shape:
                    mistake = "The output has the same size whatever `size` is."
                raise Wrong(f"{count} maps and size={size} give {tuple(logits.shape)}.", mistake, SIZE)
            expect_tensor(logits, (2, num_classes, *size), torch.float32, "The output", SIZE)


class Head(NamedTuple):
    """A head with random weights, and features for an image of that size."""

    student: Student
    in_channels: list[int]
    num_classes: int
    stride: int  # of the finest map
    features: list[Tensor]
    size: tuple[int, int]
    weights: list[Tensor]  # (num_classes, channels) of each score layer
    bias: Tensor  # (num_classes,), of all score layers together
    is_learned: bool  # it has further weights, for upsampling

    def __call__(self, features: list[Tensor]) -> Tensor:
        logits = self.student.call(features, self.size)
        return expect_tensor(logits, (2, self.num_classes, *self.size), torch.float32, "The output", SIZE)


def _head(student: Student, draw: Draw, size: tuple[int, int] = (64, 80)) -> Head:
    (num_classes, *in_channels), stride = draw.distinct(4, 3, 12), draw.integer(1, 2)
    features = _features(draw, in_channels, stride, size)
    student.build(in_channels, num_classes)
    expect_lasting(student, [features, size], f"FCNHead({in_channels}, {num_classes})", FUSED)
    student.mode(False)
    values = {}
    parameters = student.parameters()
    if mistake := unseen(student, [features, size]):
        shapes = ", ".join(str(tuple(p["value"].shape)) for p in parameters) or "none"
        raise Wrong(f"FCNHead({in_channels}, {num_classes}) has the parameters: {shapes}.", mistake, FUSED)
    for p in parameters:
        value = p["value"].detach()
        values[p["name"]] = draw.normal(*value.shape) * (value[0].numel() ** -0.5 if value.ndim > 1 else 1.0)
    student.load(values)
    weights = _score_layers(values, in_channels, num_classes)
    vectors = [value for value in values.values() if value.numel() == num_classes]
    is_learned = sum(value.numel() != num_classes for value in values.values()) > len(weights)
    bias = torch.stack(vectors).sum(0).flatten() if vectors else torch.zeros(num_classes)
    return Head(student, in_channels, num_classes, stride, features, size, weights, bias, is_learned)


def _score_layers(parameters: dict[str, Tensor], in_channels: list[int], num_classes: int) -> list[Tensor]:
    """The weights (num_classes, channels) of the score layers, found by their shapes."""
    shapes = [tuple(p.shape) for p in parameters.values()]
    matrices = [p.squeeze() for p in parameters.values() if sum(n > 1 for n in p.shape) == 2]
    weights = []
    for channels in in_channels:
        found = [m for p in matrices for m in (p, p.T) if m.shape == (num_classes, channels)]
        if not found:
            mistake = "A map has no score layer of its own."
            if any(shape[:2] == (num_classes, channels) for shape in shapes):
                mistake = "The score layers have kernels larger than 1x1."
            elif any(sum(in_channels) in shape for shape in shapes):
                mistake = "The maps are concatenated and scored together, instead of scored each and added."
            text = f"FCNHead({in_channels}, {num_classes}) has the parameters {', '.join(map(str, shapes))}."
            raise Wrong(text, mistake, FUSED)
        weights.append(found[0])
    return weights


@fcn_head.claim("a 1x1 score layer with a bias for each map, all among its parameters")
def _scores(student, draw):
    head = _head(student, draw)
    count = sum(p["value"].numel() for p in student.parameters())
    expected = sum(head.num_classes * (c + 1) for c in head.in_channels)
    if count < expected or (count > expected and not head.is_learned):
        without = count == expected - head.num_classes * len(head.in_channels)
        text = f"FCNHead({head.in_channels}, {head.num_classes}) has {count:,} parameters, expected {expected:,}."
        raise Wrong(text, "The score layers have no biases." if without else "", FUSED)


@fcn_head.claim("the scores are added, and nothing is done to them but upsampling")
def _adds(student, draw):
    head = _head(student, draw)
    logits, zero = head(head.features), head([0 * f for f in head.features])
    some = [draw.normal(*f.shape) for f in head.features]
    rest = [f - g for f, g in zip(head.features, some, strict=True)]
    if not agree(head(some) + head(rest) - zero, logits, 1e-3):
        one = torch.ones(2, *head.size)
        mistakes = {
            "There is a softmax at the end: logits are the values before it.": agree(logits.sum(1), one),
            "There is a log-softmax at the end: logits are the values before it.": agree(logits.exp().sum(1), one),
            "There is a ReLU after the scores, but logits may be negative.": bool(logits.min() >= 0),
        }
        text = "The logits of a sum of maps are not the sum of their logits: something is not linear."
        raise Wrong(text, [words for words, holds in mistakes.items() if holds], VALUES)
    if not head.is_learned:
        _expect_sum(head, draw, zero[0, :, 0, 0])


def _expect_sum(head: Head, draw: Draw, bias: Tensor) -> None:
    """Of maps without contours, upsampling changes nothing: every pixel has the sum of the maps' scores."""
    values = [draw.normal(f.shape[1]) for f in head.features]
    logits = head([v[:, None, None].expand_as(f) for v, f in zip(values, head.features, strict=True)])
    scores = torch.stack([weight @ v for weight, v in zip(head.weights, values, strict=True)])  # (maps, num_classes)
    total = scores.sum(0)
    mistakes = {
        "The scores are averaged instead of added.": scores.mean(0),
        "Only the coarsest map is used.": scores[-1],
        "Only the finest map is used.": scores[0],
        "The coarsest map is not used.": total - scores[-1],
        "The finest map is not used.": total - scores[0],
        "A map between the finest and the coarsest is not used.": total - scores[1],
        "The largest of the scores is taken instead of their sum.": scores.amax(0),
    }
    inside = logits[0, :, head.size[0] // 2, head.size[1] // 2] - bias
    expect_same(inside, total, mistakes, FUSED, "Maps that are the same everywhere, a logit without its bias", 1e-3)


@fcn_head.claim("each map counts at its own place: no pooling, no detail lost")
def _places(student, draw):
    head = _head(student, draw)
    before = head(head.features)
    for k in reversed(range(len(head.features))):
        stride = head.stride * 2**k
        changed = [f.clone() for f in head.features]
        row, column = (draw.integer(n // 3, n // 2) for n in changed[k].shape[2:])
        changed[k][0, :, row, column] += 10
        response = (head(changed) - before).abs().sum(1)  # (2, H, W)
        name = f"the {('finest', 'middle', 'coarsest')[k]} map"
        if response[0].max() < 1e-4:
            is_used = (head([f + 10 * (i == k) for i, f in enumerate(head.features)]) - before).abs().max() > 1e-4
            mistake = "Most of the map's pixels are left out." if is_used else f"{name.capitalize()} is not used."
            raise Wrong(f"A pixel of {name} has no influence.", mistake, FUSED)
        if response[1].max() > 1e-4:
            text = f"A pixel of {name} of one image changes the other image's logits."
            raise Wrong(text, "The images of a batch influence each other.", VALUES)
        rows, columns = (response[0] > 1e-3 * response[0].max()).nonzero().unbind(1)
        most = int((4 if k else 2.5) * stride + 1)  # what interpolation in several steps may reach
        _expect_near(rows, columns, stride * (row + 0.5) - 0.5, stride * (column + 0.5) - 0.5, most, name)


def _expect_near(rows: Tensor, columns: Tensor, row: float, column: float, most: int, name: str) -> None:
    distance = int(torch.maximum((rows - row).abs(), (columns - column).abs()).max())
    if distance > most:
        mistake = "The map is reduced to a coarser one before its scores are added, or lies at another place."
        if distance > 30:
            mistake = "A map is pooled to one position: one template for the whole image, not a score for each pixel."
        text = f"A pixel of {name} changes the output up to {distance} pixels away, expected at most {most}."
        raise Wrong(text, mistake, FUSED)


Upsample = Callable[[Tensor, tuple[int, int]], Tensor]


def _by(mode: str, **options) -> Upsample:
    return lambda x, size: F.interpolate(x, size=tuple(size), mode=mode, **options)


def _fused(scores: list[Tensor], size: tuple[int, int], up: Upsample, last: Upsample) -> Tensor:
    out = scores[-1]
    for finer in reversed(scores[:-1]):
        out = finer + up(out, finer.shape[2:])
    return last(out, size)


def _each_at_once(scores: list[Tensor], size: tuple[int, int], up: Upsample) -> Tensor:
    return torch.stack([up(each, size) for each in scores]).sum(0)


@fcn_head.claim("fused from coarse to fine, with bilinear or learned upsampling")
def _fuses(student, draw):
    head = _head(student, draw, size=(draw.integer(33, 40), draw.integer(45, 50)))
    if head.is_learned:
        return
    scores = [torch.einsum("kc,nchw->nkhw", w, f) for w, f in zip(head.weights, head.features, strict=True)]
    bilinear = _by("bilinear"), _by("bilinear", align_corners=True)
    nearest, bicubic, size = _by("nearest"), _by("bicubic"), head.size
    mixed = [_fused(scores, size, nearest, bilinear[0]), _fused(scores, size, bilinear[0], nearest)]
    mistakes = {
        'The upsampling repeats values: F.interpolate does so unless it is given mode="bilinear".': [
            _fused(scores, size, nearest, nearest),
            *mixed,
            _each_at_once(scores, size, nearest),
        ],
        "The upsampling is bicubic, not bilinear.": [
            _fused(scores, size, bicubic, bicubic),
            _each_at_once(scores, size, bicubic),
        ],
        "Nothing is fused: each map's scores are upsampled to the image's size at once, past the finer maps.": [
            _each_at_once(scores, size, up) for up in bilinear
        ],
    }
    bias = head.bias[:, None, None]
    mistakes = {words: [value + bias for value in values] for words, values in mistakes.items()}
    expected = [_fused(scores, size, up, last) + bias for up, last in itertools.product(bilinear, bilinear)]
    what = f"Maps of {' and '.join('x'.join(map(str, f.shape[2:])) for f in head.features)}, size={size}: a logit"
    expect_same(head(head.features), expected, mistakes, FUSED, what, 1e-3)


@fcn_head.claim("every parameter gets a gradient, and both lists stay as they were")
def _lists(student, draw):
    num_classes, *in_channels = draw.distinct(4, 3, 12)
    student.build(in_channels, num_classes)
    expect_unchanged(in_channels, student.given[0], "the list in_channels", VALUES)
    size = (12, 15)
    features = _features(draw, in_channels, 1, size)
    student.call(features, size)
    expect_unchanged(features, student.given[0], "the list of features", VALUES)
    weights, what = draw.normal(2, num_classes, *size), f"FCNHead({in_channels}, {num_classes})"
    expect_gradients(student, [features, size], weights, what, FUSED)
