"""Check of task 11, mean_iou. The reference counts pixel by pixel."""

import torch
from torch import Tensor

from lab1.checks._check import Check
from lab1.checks._student import Cause, Student
from lab1.checks._values import Draw, expect_number, expect_same, expect_unchanged, listed

ABSENT = "nan, or too high, where a class is absent"
POOLED = "Right for one image, not for several"
UNION = "Wrong for a single image, too"


def _takes_present_classes(student: Student, draw: Draw) -> bool:
    """Whether only absent classes are a problem."""
    prediction, target = _maps(draw, 2, 4)
    return student.can("run", prediction, target, 4)


mean_iou = Check(
    11,
    "mean_iou",
    hints=(UNION, POOLED, ABSENT),
    causes=(
        Cause(
            r"ZeroDivisionError",
            "A class absent from both has the union 0: it is to be left out, not divided by.",
            ABSENT,
            _takes_present_classes,
        ),
        Cause(
            r"ambiguous(?s:.*)== *\w+ *[&|]",
            "& and | bind more tightly than ==: both comparisons need brackets, (p == c) & (t == c).",
            UNION,
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


def _mistakes(prediction: Tensor, target: Tensor, num_classes: int) -> dict[str, float | list[float]]:
    both, predicted, true = _counts(prediction, target, num_classes)
    union, total = predicted + true - both, predicted + true
    iou, here, in_target = both / union, union > 0, true > 0
    right = _mean_iou(prediction, target, num_classes)
    each = [_mean_iou(p, t, num_classes) for p, t in zip(prediction, target, strict=True)]
    values = {
        "The IoUs of single images are averaged: pool the counts over the batch.": (sum(each) / len(each)),
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
    return {words: value for words, value in values.items() if isinstance(value, list) or abs(value - right) > 1e-4}


def _expect_iou(student: Student, prediction: Tensor, target: Tensor, num_classes: int, hint: str) -> None:
    result, given = student.run(prediction, target, num_classes), student.given
    number = expect_number(result, "What it returns", hint)
    what = f"Prediction {listed(prediction)}, target {listed(target)}, {num_classes} classes: the mean IoU"
    mistakes = _mistakes(prediction, target, num_classes)
    expect_same(number, _mean_iou(prediction, target, num_classes), mistakes, hint, what)
    expect_unchanged(prediction, given[0], "the prediction", hint)
    expect_unchanged(target, given[1], "the target", hint)


def _maps(draw: Draw, count: int, num_classes: int) -> tuple[Tensor, Tensor]:
    """Prediction and target (N, H, W), in which every class occurs; more right than wrong."""
    sides = (2, 3) if draw.small else (draw.integer(6, 9), draw.integer(6, 9))
    target = draw.integers((count, *sides), 0, num_classes - 1)
    target.view(-1)[:num_classes] = torch.arange(num_classes)[: target.numel()]
    other = draw.integers(target.shape, 0, num_classes - 1)
    return torch.where(draw.uniform(*target.shape) < 0.6, target, other.minimum(target)), target


@mean_iou.claim("a number")
def _number(student, draw):
    expect_number(student.run(*_maps(draw, 2, 4), 4), "What it returns", UNION)


@mean_iou.claim("intersection over union of each class, averaged; background included")
def _values(student, draw):
    for num_classes in (draw.integer(3, 5), 11):  # in this lab the background is class 10
        _expect_iou(student, *_maps(draw, 1, num_classes), num_classes, UNION)


@mean_iou.claim("counts pooled over the whole batch")
def _batch(student, draw):
    num_classes = draw.integer(3, 5)
    prediction, target = _maps(draw, draw.integer(3, 5), num_classes)
    target[0] = target[0].clamp(max=1)
    _expect_iou(student, prediction, target, num_classes, POOLED)


@mean_iou.claim("classes absent from both are left out")
def _absent(student, draw):
    num_classes = draw.integer(3, 5)
    _expect_iou(student, *_maps(draw, 2, num_classes), num_classes + draw.integer(2, 5), ABSENT)


@mean_iou.claim("classes that only the prediction or only the target has count as 0")
def _one_sided(student, draw):
    prediction, target = _maps(draw, 2, 4)
    _expect_iou(student, torch.where(prediction == 3, 4, prediction), target, 6, ABSENT)
    _expect_iou(student, target, torch.where(target == 3, 4, target), 6, ABSENT)
