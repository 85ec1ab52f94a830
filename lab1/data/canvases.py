"""Digits on canvases: label maps of single digits, and images with many of them at random places."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

BACKGROUND = 10  # the class after the ten digits
GAP = 2  # pixels between two digits on a canvas, so that they are two connected components


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
        raise ValueError(f"{len(brightness)} images need one label each, labels (N,), not {tuple(labels.shape)}")
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
        raise ValueError(f"images must be uint8 or lie in 0..1, not {found}: pass the images before normalisation")
    return images


def _check_labels(labels: Tensor, threshold: float, background: int) -> None:
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f"labels must be integers, not {labels.dtype}")
    if len(labels) and (labels.min() < 0 or (labels == background).any()):
        raise ValueError(f"labels must be 0 or more and not {background}, which means background")
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold={threshold} must lie on the 0..1 scale of brightness")


class Boxes(NamedTuple):
    """M digits on canvases, all int64: boxes (M, 4) as left, top, right, bottom in pixels, right and bottom exclusive;
    labels (M,); image (M,), the canvas of each digit.
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

    Each digit is cropped to its pixels that are not black. It lies completely on the canvas, at least two pixels away
    from the next digit. With `overlap`, digits may cover each other: then the brightest pixel wins and gives its
    digit's label (on a tie, the first digit's). A canvas gets fewer digits if it has no free place for another one.
    Taught in Exercise 2.2.

    Args:
        images, labels: the digits to choose from, (M, 1, h, w) uint8 and (M,) integers.
        size: height and width of the canvases.
        num_digits: the least and the most digits on a canvas; their number is uniform in between.
        scale: the least and the largest factor by which a digit is enlarged, uniform in between.
        grid: rows and columns of a grid with a digit in the middle of every cell, in place of random places.
        threshold, background: as for `label_map`.

    Raises:
        ValueError: sizes or ranges that make no sense, labels as for `label_map`, or digits that are larger than the
            canvas or a cell.
        TypeError: labels that are not integers.
    """
    _check_ranges(images, labels, num_canvases, size, num_digits, scale, grid)
    _check_labels(labels, threshold, background)
    generator = torch.Generator().manual_seed(seed)
    if grid is None:
        num_places, room = num_digits[1], torch.tensor(size)
        count = torch.randint(num_digits[0], num_digits[1] + 1, (num_canvases, 1), generator=generator)
    else:
        num_places, room = grid[0] * grid[1], torch.tensor(size) // torch.tensor(grid) - GAP
        count = torch.full((num_canvases, 1), num_places)
    present = torch.arange(num_places) < count  # (N, D), D places for digits on each canvas
    which = torch.randint(0, len(images), (num_canvases, num_places), generator=generator)
    factor = scale[0] + (scale[1] - scale[0]) * torch.rand(num_canvases, num_places, generator=generator)

    patches, extents = _resized(images[which.flatten()], factor.flatten())  # (N * D, S, S) uint8, (N * D, 2)
    patches, extents = patches.unflatten(0, which.shape), extents.unflatten(0, which.shape)
    if (extents > room)[present].any():
        largest = extents[present].amax().item()
        raise ValueError(f"a digit of {largest} pixels does not fit: choose a larger size or a smaller scale")
    if grid is None:
        corners, present = _random_places(extents, present, size, overlap, generator)
    else:
        corners = _grid_places(extents, grid, size)
    return _paste(patches * present[:, :, None, None], corners, labels[which].long(), size, threshold, background)


def place_digits(images: Tensor, labels: Tensor, corners: Tensor, scale: Tensor, size: tuple[int, int]) -> Canvases:
    """One canvas with every digit where it is wanted, moved inwards where it would reach beyond the edge.

    Args:
        images, labels: the digits, (D, 1, h, w) uint8 and (D,) integers.
        corners: (D, 2) integers, the upper and the left edge of each digit's pixels that are not black.
        scale: (D,) factors by which the digits are enlarged.

    Raises:
        ValueError: a digit is larger than the canvas.
    """
    patches, extents = _resized(images, scale)
    room = torch.tensor(size) - extents
    if (room < 0).any():
        raise ValueError(
            f"a digit of {extents.amax().item()} pixels does not fit: choose a larger size or a smaller scale"
        )
    corners = torch.minimum(corners, room).clamp(min=0)
    return _paste(patches[None], corners[None], labels[None].long(), size, 0.5, BACKGROUND)


def _check_ranges(images, labels, num_canvases, size, num_digits, scale, grid) -> None:
    if images.ndim != 4 or images.shape[1] != 1 or images.dtype != torch.uint8 or len(images) != len(labels):
        raise ValueError(f"digits must be (M, 1, h, w) uint8 with M labels, not {tuple(images.shape)} {images.dtype}")
    if len(images) == 0 or num_canvases < 1 or min(*size, *(grid or (1, 1))) < 1:
        numbers = f"{len(images)} digits, num_canvases={num_canvases}, size={size}, grid={grid}"
        raise ValueError(f"there is nothing to draw: all of these must be at least 1: {numbers}")
    if not 0 <= num_digits[0] <= max(num_digits[1], 1) <= num_digits[1]:
        raise ValueError(f"num_digits={num_digits} must be (least, most), with least >= 0 and most >= max(1, least)")
    if not 0 < scale[0] <= scale[1]:
        raise ValueError(f"scale={scale} must be (least, largest), both above 0")


def _resized(images: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
    """Digits cut to what is not black and enlarged, in the upper left corner of (M, S, S) uint8; (M, 2) their sizes."""
    seen = images[:, 0] > 0
    top, bottom = _first_and_last(seen.any(2))
    left, right = _first_and_last(seen.any(1))
    extents = torch.stack([bottom - top, right - left], 1)
    resized = (extents * factor[:, None]).round().long().clamp(min=1)
    steps = torch.arange(int(resized.amax()))
    y = top[:, None] + (steps + 0.5) * (extents / resized)[:, :1]  # (M, S): where each row lies in the original
    x = left[:, None] + (steps + 0.5) * (extents / resized)[:, 1:]
    height, width = images.shape[2:]
    where = torch.stack(torch.broadcast_tensors(2 * x[:, None] / width - 1, 2 * y[:, :, None] / height - 1), -1)
    patches = F.grid_sample(images.float(), where, align_corners=False)[:, 0].round().to(torch.uint8)
    inside = (steps < resized[:, :1])[:, :, None] & (steps < resized[:, 1:])[:, None]
    return patches * inside, resized


def _first_and_last(seen: Tensor) -> tuple[Tensor, Tensor]:
    """(M, L) bool -> the first true place and the one after the last; 0 and L where all are false."""
    first, from_the_end = (flags.int().argmax(1) for flags in (seen, seen.flip(1)))
    return first, seen.shape[1] - from_the_end


def _random_places(extents, present, size, overlap, generator, tries=64) -> tuple[Tensor, Tensor]:
    """One digit after the other, on all canvases at once: the first of 64 random places that is free."""
    num_canvases, num_places, _ = extents.shape
    corners, placed = torch.zeros_like(extents), torch.zeros_like(present)
    for d in range(num_places):
        room = torch.tensor(size) - extents[:, d]  # (N, 2)
        start = (torch.rand(num_canvases, tries, 2, generator=generator) * (room[:, None] + 1)).long()
        end = start + extents[:, None, d]
        low, high = corners[:, None, :d], (corners + extents)[:, None, :d]  # (N, 1, d, 2), of the digits before
        clash = ((start[:, :, None] < high + GAP) & (low < end[:, :, None] + GAP)).all(3)  # (N, tries, d)
        free = ~(clash & placed[:, None, :d]).any(2) | overlap
        corners[:, d] = start[torch.arange(num_canvases), free.int().argmax(1)]
        placed[:, d] = free.any(1) & present[:, d]
    return corners, placed


def _grid_places(extents: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    cell = torch.tensor(size) / torch.tensor(grid)
    middle = (torch.stack([rows.flatten(), columns.flatten()], 1) + 0.5) * cell  # (D, 2)
    return (middle - extents / 2).long()


def _paste(patches: Tensor, corners: Tensor, labels: Tensor, size, threshold: float, background: int) -> Canvases:
    """All digits (N, D, S, S) at once, pixel by pixel, at their places in a flat tensor of all canvases."""
    num_canvases, num_places = labels.shape
    canvas, place, y, x = patches.nonzero(as_tuple=True)  # of every pixel that is not black
    values, digit = patches[canvas, place, y, x], canvas * num_places + place
    top, left = corners[canvas, place].unbind(1)
    index = (canvas * size[0] + top + y) * size[1] + left + x

    num_pixels = num_canvases * size[0] * size[1]
    images = torch.zeros(num_pixels, dtype=torch.uint8).scatter_reduce(0, index, values, "amax")
    seen = values == images[index]
    nothing = num_canvases * num_places
    owner = torch.full((num_pixels,), nothing).scatter_reduce(0, index[seen], digit[seen], "amin")
    targets = torch.cat([labels.flatten(), torch.tensor([background])])[owner]
    targets = torch.where(images / 255 > threshold, targets, background)

    bright = (patches / 255 > threshold).flatten(0, 1)  # (N * D, S, S)
    (y0, y1), (x0, x1) = (_first_and_last(bright.any(dim)) for dim in (2, 1))
    top, left = corners.flatten(0, 1).unbind(1)
    boxes = torch.stack([left + x0, top + y0, left + x1, top + y1], 1)
    boxes = Boxes(boxes, labels.flatten(), torch.arange(num_canvases).repeat_interleave(num_places))
    there = bright.any(2).any(1)
    return Canvases(
        images.view(num_canvases, 1, *size), targets.view(num_canvases, *size), Boxes(*(t[there] for t in boxes))
    )
