"""What every pixel is: label maps, how well they are predicted, and canvases of many digits."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

BACKGROUND = 10  # the class after the ten digits


def label_map(images: Tensor, labels: Tensor, threshold: float = 0.5, background: int = BACKGROUND) -> Tensor:
    """Every pixel brighter than the threshold carries its image's label, every other one `background`.

    Brightness is that of the raw image on the 0..1 scale, before any normalisation. Taught in Exercise 2.2.

    Args:
        images: (N, 1, H, W) or (N, H, W), uint8 in 0..255 or floats in 0..1.
        labels: (N,) integers, none of them `background`.

    Returns:
        (N, H, W) int64.

    Raises:
        ValueError: shapes that do not fit, values outside the range (such as normalised images), a label that is
            negative or the background's, a threshold outside 0..1.
        TypeError: images or labels of another dtype.
    """
    brightness = _brightness(images)
    if labels.ndim != 1 or len(labels) != len(brightness):
        raise ValueError(f"{len(brightness)} images need as many labels (N,), not {tuple(labels.shape)}")
    _check_labels(labels, threshold, background)
    return torch.where(brightness > threshold, labels.long()[:, None, None], background)


def _brightness(images: Tensor) -> Tensor:
    """(N, H, W) floats in 0..1."""
    if images.ndim == 4 and images.shape[1] == 1:
        images = images.squeeze(1)
    if images.ndim != 3:
        raise ValueError(f"images must have shape (N, 1, H, W) or (N, H, W), not {tuple(images.shape)}")
    if images.dtype == torch.uint8:
        return images / 255
    if not images.is_floating_point():
        raise TypeError(f"images must be uint8 or floating point, not {images.dtype}")
    if images.numel() and not 0 <= images.min() <= images.max() <= 1:
        found = f"{images.min():.2g} to {images.max():.2g}"
        raise ValueError(f"images must lie in 0..1, not {found}: take them as they are before normalisation")
    return images


def _check_labels(labels: Tensor, threshold: float, background: int) -> None:
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f"labels must be integers, not {labels.dtype}")
    if len(labels) and (labels.min() < 0 or (labels == background).any()):
        raise ValueError(f"labels must be 0 or more and not {background}, which means background")
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold={threshold} must lie on the 0..1 scale of brightness")


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

    some = {"preds": predicted, "target": target, "num_classes": num_classes}
    return {
        "pixel accuracy": metrics.multiclass_accuracy(**some, average="micro").item(),
        "foreground accuracy": metrics.multiclass_accuracy(**some, average="micro", ignore_index=background).item(),
        "mean IoU": metrics.multiclass_jaccard_index(**some, average="macro").item(),
        "IoU": metrics.multiclass_jaccard_index(**some, average="none").tolist(),
        "confusion": metrics.multiclass_confusion_matrix(**some).tolist(),
    }


class Boxes(NamedTuple):
    """M digits on N images: boxes (M, 4) left, top, right, bottom, the latter two exclusive; labels (M,); the image
    that each is on (M,). All int64.
    """

    boxes: Tensor
    labels: Tensor
    image: Tensor


class Canvases(NamedTuple):
    """Canvases (N, 1, H, W) uint8, their label maps (N, H, W) int64, and boxes around what is bright of each digit."""

    images: Tensor
    targets: Tensor
    digits: Boxes


def digit_canvas(
    images: Tensor,
    labels: Tensor,
    num_canvases: int = 1,
    size: tuple[int, int] = (128, 128),
    *,
    num_digits: tuple[int, int] = (1, 9),
    scale: tuple[float, float] = (0.75, 1.5),
    grid: tuple[int, int] | None = None,
    overlap: bool = False,
    threshold: float = 0.5,
    background: int = BACKGROUND,
    seed: int = 0,
) -> Canvases:
    """Canvases with digits drawn at random from `images`, at random places and scales or on a grid.

    A digit is cut to its pixels that are not black, and lies wholly on the canvas. Digits keep two pixels of distance
    (with `overlap`, the brighter pixel is seen, and its digit's label). Where a canvas is so full that no place for
    another digit is found, it gets fewer than were drawn.

    Args:
        images, labels: the digits to choose from, (M, 1, h, w) uint8 and (M,).
        size: height and width of the canvases.
        num_digits: the least and the most digits of a canvas, drawn evenly.
        scale: the range of the factor by which digits are enlarged, drawn evenly.
        grid: rows and columns of a grid with one digit in the middle of every cell, instead of random places.
        threshold, background: as for `label_map`.

    Raises:
        ValueError: sizes or ranges that make no sense, or digits that are larger than the canvas or a cell.
    """
    _check_ranges(images, labels, num_canvases, size, num_digits, scale, grid)
    _check_labels(labels, threshold, background)
    generator = torch.Generator().manual_seed(seed)
    cells = (1, 1) if grid is None else tuple(grid)
    slots = cells[0] * cells[1] if grid is not None else num_digits[1]
    count = torch.full((num_canvases, 1), slots)
    if grid is None:
        count.random_(num_digits[0], num_digits[1] + 1, generator=generator)
    present = torch.arange(slots) < count  # (N, D)
    which = torch.randint(0, len(images), (num_canvases, slots), generator=generator)
    factor = scale[0] + (scale[1] - scale[0]) * torch.rand(num_canvases, slots, generator=generator)

    patches, extents = _resized(images[which.flatten()], factor.flatten())  # (N * D, S, S), (N * D, 2)
    extents = extents.view(num_canvases, slots, 2)
    if (extents > torch.tensor(size) // torch.tensor(cells)).any():
        raise ValueError(
            f"a digit of up to {extents.amax().item()} pixels does not fit: a larger size, or a smaller scale"
        )
    if grid is None:
        corners, present = _random_places(extents, present, size, overlap, generator)
    else:
        corners = _grid_places(extents, cells, size)
    return _paste(patches, corners, extents, labels[which], present, size, threshold, background)


def _check_ranges(images, labels, num_canvases, size, num_digits, scale, grid) -> None:
    if images.ndim != 4 or images.shape[1] != 1 or images.dtype != torch.uint8 or len(images) != len(labels):
        raise ValueError(f"digits must be (M, 1, h, w) uint8 with M labels, not {tuple(images.shape)} {images.dtype}")
    if len(images) == 0 or num_canvases < 1 or min(*size, *(grid or (1, 1))) < 1:
        numbers = f"{len(images)} digits, num_canvases={num_canvases}, size={size}, grid={grid}"
        raise ValueError(f"nothing to draw: {numbers}")
    if not 0 <= num_digits[0] <= num_digits[1] or not 0 < scale[0] <= scale[1]:
        raise ValueError(f"num_digits={num_digits} and scale={scale} must be (least, most), from 0 up and above 0")


def _resized(images: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
    """Digits cut to what is not black, enlarged, in the upper left corner of (M, S, S) floats; heights and widths."""
    seen = images[:, 0] > 0
    top, bottom = _first_and_last(seen.any(2))
    left, right = _first_and_last(seen.any(1))
    extents = torch.stack([bottom - top, right - left], 1)  # (M, 2)
    resized = (extents * factor[:, None]).round().long().clamp(min=1)
    side = int(resized.amax())
    steps = torch.arange(side) + 0.5
    y = top[:, None] + steps * (extents / resized)[:, :1]  # (M, S): where each row lies in the original, in pixels
    x = left[:, None] + steps * (extents / resized)[:, 1:]
    height, width = images.shape[2:]
    where = torch.stack(torch.broadcast_tensors(2 * x[:, None] / width - 1, 2 * y[:, :, None] / height - 1), -1)
    patches = F.grid_sample(images / 255, where, align_corners=False)[:, 0]
    inside = (torch.arange(side) < resized[:, :1])[:, :, None] & (torch.arange(side) < resized[:, 1:])[:, None]
    return patches * inside, resized


def _first_and_last(seen: Tensor) -> tuple[Tensor, Tensor]:
    """(M, L) bool -> the first true place and the one after the last; 0 and L where all are false."""
    length = seen.shape[1]
    some = seen.any(1)
    first = seen.int().argmax(1)
    last = length - seen.flip(1).int().argmax(1)
    return first, torch.where(some, last, length)


def _random_places(extents, present, size, overlap, generator, tries=64, gap=2) -> tuple[Tensor, Tensor]:
    """One digit after the other, on all canvases at once: the first of 64 random places that is free."""
    num_canvases, slots, _ = extents.shape
    corners, placed = torch.zeros_like(extents), torch.zeros_like(present)
    for d in range(slots):
        room = torch.tensor(size) - extents[:, d]  # (N, 2)
        start = (torch.rand(num_canvases, tries, 2, generator=generator) * (room[:, None] + 1)).long()
        end = start + extents[:, None, d]
        before = (corners[:, None, :d], (corners + extents)[:, None, :d])  # (N, 1, d, 2) each
        clash = ((start[:, :, None] < before[1] + gap) & (before[0] < end[:, :, None] + gap)).all(3)  # (N, tries, d)
        free = ~(clash & placed[:, None, :d]).any(2) | overlap
        corners[:, d] = start[torch.arange(num_canvases), free.int().argmax(1)]
        placed[:, d] = free.any(1) & present[:, d]
    return corners, placed


def _grid_places(extents: Tensor, cells: tuple[int, int], size: tuple[int, int]) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(cells[0]), torch.arange(cells[1]), indexing="ij")
    cell = torch.tensor(size) / torch.tensor(cells)
    middle = (torch.stack([rows.flatten(), columns.flatten()], 1) + 0.5) * cell  # (D, 2)
    return (middle - extents / 2).long()


def _paste(patches, corners, extents, labels, present, size, threshold, background) -> Canvases:
    """All digits of all canvases at once, by their flat positions."""
    num_canvases, slots = labels.shape
    side = patches.shape[1]
    patches = patches.view(num_canvases, slots, side, side) * present[:, :, None, None]
    steps = torch.arange(side)
    y, x = (corners[:, :, i, None] + steps for i in (0, 1))  # (N, D, S)
    inside = ((steps < extents[:, :, :1])[..., None] & (steps < extents[:, :, 1:])[:, :, None]) & present[
        ..., None, None
    ]
    index = (torch.arange(num_canvases)[:, None, None, None] * size[0] + y[..., None]) * size[1] + x[:, :, None]
    index, values = index[inside], patches[inside]  # flat
    canvas = torch.zeros(num_canvases * size[0] * size[1]).scatter_reduce(0, index, values, "amax")
    digit = torch.arange(num_canvases * slots).view(num_canvases, slots, 1, 1).expand(inside.shape)[inside]
    seen = (values > threshold) & (values == canvas[index])
    owner = torch.full(canvas.shape, num_canvases * slots).scatter_reduce(0, index[seen], digit[seen], "amin")
    targets = torch.cat([labels.flatten(), torch.tensor([background])])[owner]
    top, bottom = _first_and_last((patches > threshold).any(3).flatten(0, 1))
    left, right = _first_and_last((patches > threshold).any(2).flatten(0, 1))
    y, x = corners.flatten(0, 1).unbind(1)
    boxes = torch.stack([x + left, y + top, x + right, y + bottom], 1)
    boxes = Boxes(boxes, labels.flatten(), torch.arange(num_canvases).repeat_interleave(slots))
    images = (canvas.view(num_canvases, 1, *size) * 255).round().to(torch.uint8)
    return Canvases(images, targets.view(num_canvases, *size), Boxes(*(t[present.flatten()] for t in boxes)))
