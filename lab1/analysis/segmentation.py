"""How well every pixel is predicted: measures of label maps."""

import torch
from torch import Tensor

from lab1.data.canvases import BACKGROUND, Boxes, Canvases, digit_canvas, label_map

__all__ = ["BACKGROUND", "Boxes", "Canvases", "digit_canvas", "label_map", "majority_label", "measures"]


def majority_label(maps: Tensor, background: int = BACKGROUND) -> Tensor:
    """The digit that most foreground pixels of each label map (N, H, W) name: (N,); `background` if there are none.

    Of two digits with equally many pixels the smaller one. Taught in Exercise 2.2.
    """
    maps = maps.flatten(1)
    num_classes = 1 + max(int(maps.max()), background)
    votes = (torch.arange(len(maps))[:, None] * num_classes + maps).flatten()
    votes = votes.bincount(minlength=len(maps) * num_classes).view(len(maps), num_classes)
    votes[:, background] = 0
    return torch.where(votes.any(1), votes.argmax(1), background)


def measures(predicted: Tensor, target: Tensor, num_classes: int = 11, background: int = BACKGROUND) -> dict:
    """How well label maps are predicted, all pixels of all images pooled. Taught in Exercise 2.2.

    Args:
        predicted, target: label maps (N, H, W), integers from 0 to num_classes - 1.

    Returns:
        "pixel accuracy"; "foreground accuracy", over the pixels that are not background in the target; "IoU", one
        number for each class, the intersection of predicted and true pixels over their union (0 where there are
        neither); "mean IoU" over the classes that do occur; all in 0..1. "confusion": for each true class, how many
        of its pixels were predicted as each class.
    """
    from torchmetrics.functional import classification as metrics  # loads pyplot, and takes seconds

    maps = {"preds": predicted, "target": target, "num_classes": num_classes}
    return {
        "pixel accuracy": metrics.multiclass_accuracy(**maps, average="micro").item(),
        "foreground accuracy": metrics.multiclass_accuracy(**maps, average="micro", ignore_index=background).item(),
        "mean IoU": metrics.multiclass_jaccard_index(**maps, average="macro").item(),
        "IoU": metrics.multiclass_jaccard_index(**maps, average="none").tolist(),
        "confusion": metrics.multiclass_confusion_matrix(**maps).tolist(),
    }
