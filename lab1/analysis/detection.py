"""Digits found on canvases: boxes from label maps, and how many of them are right."""

import torch
from torch import Tensor

from lab1.analysis.segmentation import BACKGROUND, Boxes, check_label_maps


def find_digits(predicted: Tensor, background: int = BACKGROUND, min_pixels: int = 10) -> Boxes:
    """Label maps (N, H, W) to detections: a connected component of foreground pixels is a digit.

    Pixels are connected along edges and corners. A component has the label that most of its pixels have; one with
    fewer than `min_pixels` is dropped. Taught in Exercise 2.2.

    Raises:
        ValueError, TypeError: no label maps, see `check_label_maps`.
    """
    import numpy as np
    from scipy import ndimage

    check_label_maps("predicted", predicted)
    found = []
    for i, labels in enumerate(predicted.numpy(force=True)):
        components, _ = ndimage.label(labels != background, structure=np.ones((3, 3)))
        for number, (rows, columns) in enumerate(ndimage.find_objects(components), start=1):
            own = labels[rows, columns][components[rows, columns] == number]
            if len(own) >= min_pixels:
                box = (columns.start, rows.start, columns.stop, rows.stop)
                found.append((*box, np.bincount(own).argmax(), i))
    table = torch.tensor(found, dtype=torch.int64).reshape(-1, 6)
    return Boxes(table[:, :4], table[:, 4], table[:, 5])


def detection_scores(found: Boxes, truth: Boxes, min_iou: float = 0.5) -> dict[str, float]:
    """Precision, recall and F1 of detections, in 0..1; `correct` says which count. Taught in Exercise 2.2.

    Raises:
        ValueError: boxes, labels and images that are not M of each, or a `min_iou` outside 0..1.
    """
    right = int(correct(found, truth, min_iou).sum())
    num_found, num_true = len(found.labels), len(truth.labels)
    scores = right / max(num_found, 1), right / max(num_true, 1), 2 * right / max(num_found + num_true, 1)
    return dict(zip(("precision", "recall", "F1"), scores, strict=True))


def correct(found: Boxes, truth: Boxes, min_iou: float = 0.5) -> Tensor:
    """Which detections are correct: (M,) bool.

    A detection is correct if it matches a true digit: the same image, the same label, and boxes with an intersection
    over union of at least `min_iou`. Each digit matches at most one detection. The matching with the most pairs counts.

    Raises:
        ValueError: boxes, labels and images that are not M of each, or a `min_iou` outside 0..1.
    """
    from scipy.optimize import linear_sum_assignment
    from torchvision.ops import box_iou

    for name, digits in (("found", found), ("truth", truth)):
        shapes = [tuple(t.shape) for t in digits]
        if shapes != [(len(digits.labels), 4), (len(digits.labels),), (len(digits.labels),)]:
            raise ValueError(f"{name} must hold boxes (M, 4), labels (M,) and images (M,), not {shapes}")
    if not 0 <= min_iou <= 1:
        raise ValueError(f"min_iou={min_iou} must lie in 0..1")
    right = torch.zeros(len(found.labels), dtype=torch.bool)
    for image in truth.image.unique():
        here, there = (found.image == image).nonzero()[:, 0], truth.image == image
        fits = box_iou(found.boxes[here], truth.boxes[there]) >= min_iou  # (detections, digits)
        fits &= found.labels[here][:, None] == truth.labels[there]
        detections, digits = linear_sum_assignment(fits, maximize=True)
        right[here[detections]] = fits[detections, digits]
    return right
