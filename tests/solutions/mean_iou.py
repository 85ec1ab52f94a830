import numpy as np
import torch

from lab1 import checks
from solutions import right, wrong


@right(checks.mean_iou)
def loop(prediction, target, num_classes):
    ious = []
    for k in range(num_classes):
        p, t = prediction == k, target == k
        union = (p | t).sum().item()
        if union > 0:
            ious.append((p & t).sum().item() / union)
    return sum(ious) / len(ious)


@right(checks.mean_iou)
def confusion(prediction, target, num_classes, eps=0.0):
    index = (target * num_classes + prediction).flatten()
    matrix = torch.bincount(index, minlength=num_classes**2).view(num_classes, num_classes)
    both = matrix.diagonal()
    union = matrix.sum(0) + matrix.sum(1) - both
    return (both[union > 0] / union[union > 0]).mean().item()


@right(checks.mean_iou)
def with_numpy(prediction, target, num_classes):
    p, t = np.eye(num_classes)[prediction.numpy().ravel()], np.eye(num_classes)[target.numpy().ravel()]
    both = np.einsum("ik,ik->k", p, t)
    union = p.sum(0) + t.sum(0) - both
    return np.nanmean(np.where(union > 0, both / np.maximum(union, 1), np.nan))


@wrong(checks.mean_iou, "pool the counts")
def per_image(prediction, target, num_classes):
    return sum(loop(p, t, num_classes) for p, t in zip(prediction, target, strict=True)) / len(target)


def mistake(name, *words):
    def note(from_counts):
        def mean_iou(prediction, target, num_classes):
            both = torch.stack([((prediction == k) & (target == k)).sum() for k in range(num_classes)]).double()
            p = torch.stack([(prediction == k).sum() for k in range(num_classes)]).double()
            t = torch.stack([(target == k).sum() for k in range(num_classes)]).double()
            return float(from_counts(both, p, t))

        mean_iou.__name__ = name
        wrong(checks.mean_iou, *words)(mean_iou)

    return note


@mistake("absent_as_zero", "absent from both count as 0")
def _(both, p, t):
    return (both / (p + t - both + 1e-9)).mean()


@mistake("absent_as_one", "absent from both count as 1")
def _(both, p, t):
    return ((both + 1e-9) / (p + t - both + 1e-9)).mean()


@mistake("nan_where_absent", "NaN")
def _(both, p, t):
    return (both / (p + t - both)).mean()


@mistake("absent_from_target", "left out, though they are predicted")
def _(both, p, t):
    return (both / (p + t - both))[t > 0].mean()


@mistake("without_hits", "without a pixel that is right")
def _(both, p, t):
    return (both / (p + t - both))[both > 0].mean()


@mistake("without_background", "background is left out")
def _(both, p, t):
    iou = (both / (p + t - both))[:-1]
    return iou[~iou.isnan()].mean()


@mistake("pixel_accuracy", "pixel accuracy")
def _(both, p, t):
    return both.sum() / t.sum()


@mistake("dice", "Dice")
def _(both, p, t):
    return (2 * both / (p + t))[p + t > 0].mean()


@mistake("union_with_twice_the_intersection", "counts the intersection twice")
def _(both, p, t):
    return (both / (p + t))[p + t > 0].mean()


@mistake("recall", "that is the recall")
def _(both, p, t):
    return (both / t)[t > 0].mean()


@mistake("precision", "that is the precision")
def _(both, p, t):
    return (both / p)[p > 0].mean()


@mistake("micro", "before the division")
def _(both, p, t):
    return both.sum() / (p + t - both).sum()


@mistake("weighted", "weighted by their frequency")
def _(both, p, t):
    return (both / (p + t - both)).nan_to_num(0) @ t / t.sum()


@mistake("percent", "percentage")
def _(both, p, t):
    union = p + t - both
    return 100 * (both / union)[union > 0].mean()


@wrong(checks.mean_iou, "background is left out", "Wrong for a single image, too")
def without_class_ten(prediction, target, num_classes):
    """Right where there is no class 10, which in this lab is the background."""
    ious = []
    for k in set(range(num_classes)) - {10}:
        p, t = prediction == k, target == k
        if (p | t).any():
            ious.append(((p & t).sum() / (p | t).sum()).item())
    return sum(ious) / len(ious)


@wrong(checks.mean_iou, "the union 0", "left out, not divided by")
def divides_by_zero(prediction, target, num_classes):
    ious = []
    for k in range(num_classes):
        p, t = prediction == k, target == k
        ious.append((p & t).sum().item() / (p | t).sum().item())
    return sum(ious) / len(ious)


@wrong(checks.mean_iou, "not turned into a number")
def tensor(prediction, target, num_classes):
    return torch.tensor(loop(prediction, target, num_classes))


@wrong(checks.mean_iou, "list, not a number")
def each_class(prediction, target, num_classes):
    return [loop(prediction == k, target == k, 2) for k in range(num_classes)]


@wrong(checks.mean_iou, "changed in place")
def in_place(prediction, target, num_classes):
    value = loop(prediction, target, num_classes)
    prediction[prediction != target] = num_classes
    return value


@wrong(checks.mean_iou, "bind more tightly than ==")
def without_brackets(prediction, target, num_classes):
    ious = []
    for c in range(num_classes):
        union = ((prediction == c) | (target == c)).sum().item()
        if union:
            ious.append((prediction == c & target == c).sum().item() / union)
    return sum(ious) / len(ious)


@wrong(checks.mean_iou, "Prediction [[[", "classes: the mean IoU")
def half(prediction, target, num_classes):
    """Nothing that is known: the smallest input is named."""
    return 0.5 * loop(prediction, target, num_classes) ** 0.5
