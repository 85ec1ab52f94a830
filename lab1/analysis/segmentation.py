"""How well every pixel is predicted: measures of label maps."""

import torch
from torch import Tensor

from lab1.data.canvases import BACKGROUND, Boxes, Canvases, digit_canvas, label_map

__all__ = [
    "BACKGROUND",
    "Boxes",
    "Canvases",
    "check_label_maps",
    "digit_canvas",
    "label_map",
    "majority_label",
    "measures",
]


def check_label_maps(name: str, maps: Tensor, num_classes: int | None = None) -> None:
    """Whether these are label maps (N, H, W): integers from 0 up, and below `num_classes` if it is given.

    Raises:
        ValueError: another shape, or labels out of range.
        TypeError: another dtype, or no tensor.
    """
    if not isinstance(maps, Tensor) or maps.is_floating_point() or maps.is_complex() or maps.dtype == torch.bool:
        found = maps.dtype if isinstance(maps, Tensor) else type(maps).__name__
        raise TypeError(f"{name} must be label maps of integers, not {found}")
    if maps.ndim != 3:
        raise ValueError(f"{name} must be label maps (N, H, W), not {tuple(maps.shape)}")
    if maps.numel() == 0:
        return
    least, most = int(maps.min()), int(maps.max())
    if least < 0 or (num_classes is not None and most >= num_classes):
        limit = "0 or more" if num_classes is None else f"in 0..{num_classes - 1}"
        raise ValueError(f"{name} must hold labels {limit}, not {least} to {most}")


def majority_label(maps: Tensor, background: int = BACKGROUND) -> Tensor:
    """The digit that most foreground pixels of each label map (N, H, W) name: (N,); `background` if there are none.

    Of two digits with equally many pixels the smaller one. Taught in Exercise 2.2.

    Raises:
        ValueError, TypeError: no label maps, see `check_label_maps`.
    """
    check_label_maps("maps", maps)
    maps = maps.long().flatten(1)
    num_classes = 1 + max(int(maps.max()) if maps.numel() else 0, background)
    votes = (torch.arange(len(maps), device=maps.device)[:, None] * num_classes + maps).flatten()
    votes = votes.bincount(minlength=len(maps) * num_classes).view(len(maps), num_classes)
    votes[:, background] = 0
    return torch.where(votes.any(1), votes.argmax(1), background)


def measures(
    predicted: Tensor,
    target: Tensor,
    num_classes: int = 11,
    background: int = BACKGROUND,
    ignore_index: int | None = None,
) -> dict:
    """How well label maps are predicted, all pixels of all images pooled. Taught in Exercise 2.2.

    Args:
        predicted, target: label maps (N, H, W), integers from 0 to num_classes - 1.
        ignore_index: pixels with this label in the target, such as 255, are left out of everything.

    Returns:
        "pixel accuracy"; "foreground accuracy", over the pixels that are not background in the target (nan if there
        are none); "IoU", one number for each class, the intersection of predicted and true pixels over their union (0
        where there are neither); "mean IoU" over the classes that do occur; all in 0..1. "confusion": for each true
        class, how many of its pixels were predicted as each class.

    Raises:
        ValueError: maps of different shapes, labels outside the classes, or no pixels to measure.
        TypeError: maps of another dtype than integers.
    """
    from torchmetrics.functional import classification as metrics  # loads pyplot, and takes seconds

    if predicted.shape != target.shape:
        raise ValueError(f"predicted {tuple(predicted.shape)} and target {tuple(target.shape)} must be of equal shape")
    counted = torch.ones_like(target, dtype=torch.bool) if ignore_index is None else target != ignore_index
    check_label_maps("predicted", predicted, num_classes)
    check_label_maps("target", torch.where(counted, target, torch.zeros_like(target)), num_classes)
    if not counted.any():
        raise ValueError(f"there are no pixels to measure: {target.numel()} in the target, all of them ignored")
    maps = {"preds": predicted[counted], "target": target[counted], "num_classes": num_classes}
    foreground = maps["target"] != background
    return {
        "pixel accuracy": metrics.multiclass_accuracy(**maps, average="micro").item(),
        "foreground accuracy": (maps["preds"] == maps["target"])[foreground].double().mean().item(),
        "mean IoU": metrics.multiclass_jaccard_index(**maps, average="macro").item(),
        "IoU": metrics.multiclass_jaccard_index(**maps, average="none").tolist(),
        "confusion": metrics.multiclass_confusion_matrix(**maps).tolist(),
    }
