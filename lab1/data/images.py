"""A set of labelled images: one uint8 tensor, from which batches are taken, augmented and normalised."""

import copy
import zlib
from collections.abc import Iterator

import torch
from torch import Tensor

PADDING = 4  # pixels of black border for the random crop, as in He et al. 2016, section 4.2


class ImageSet(torch.utils.data.Dataset):
    """N labelled images, held as one uint8 tensor; normalised (and augmented) batch by batch.

    A batch is one indexing operation: every pixel is a single element of a flat tensor (the three bytes of a colour
    and a spare one are read as one int32), so a crop or a flip only changes which elements are picked.

    Args:
        images: (N, C, H, W) uint8, C = 1 or 3.
        labels: (N,) integers, or label maps (N, H, W).
        mean, std: C numbers each, on the 0..1 scale of brightness.
        augment: crop each image at random from itself with a black border of 4 pixels, and flip half of them.
        masks: (N, H, W) bool, where each object is; None if unknown.

    Raises:
        ValueError: shapes or dtypes that do not fit the above.
    """

    def __init__(self, images: Tensor, labels: Tensor, mean, std, augment: bool = False, masks: Tensor | None = None):
        if images.ndim != 4 or images.dtype != torch.uint8 or images.shape[1] not in (1, 3):
            raise ValueError(
                f"images must be uint8 of shape (N, 1 or 3, H, W), not {images.dtype} {tuple(images.shape)}"
            )
        if len(labels) != len(images):
            raise ValueError(f"{len(images)} images but {len(labels)} labels")
        if augment and labels.ndim != 1:
            raise ValueError("augment moves the images but not their label maps: use augment=False")
        self.mean, self.std, self.augment, self.masks = tuple(mean), tuple(std), augment, masks
        if not len(self.mean) == len(self.std) == images.shape[1] or min(self.std) <= 0:
            raise ValueError(f"images with {images.shape[1]} channels do not go with mean={self.mean}, std={self.std}")
        self.labels = labels.long()
        self.shape = tuple(images.shape[1:])
        self._padding = PADDING if augment else 0
        self._pixels = _pack(images, self._padding)
        scale = 255 * torch.tensor(self.std).view(-1, 1, 1)
        self._shift, self._scale = 255 * torch.tensor(self.mean).view(-1, 1, 1), 1 / scale

    @property
    def images(self) -> Tensor:
        """All images as they are stored, (N, C, H, W) uint8."""
        (channels, height, width), p = self.shape, self._padding
        return _unpack(self._pixels[:, p : p + height, p : p + width], channels)

    @property
    def fingerprint(self) -> int:
        """A CRC-32 of all images and labels: equal for equal data, whatever file it came from."""
        images = self.images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return zlib.crc32(self.labels.cpu().numpy(), zlib.crc32(images))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        """One image (C, H, W) float32 and its label, as an ordinary DataLoader wants them."""
        if not -len(self) <= i < len(self):
            raise IndexError(f"image {i} of {len(self)}")
        images, labels = self.batch([i % len(self)])
        return images[0], labels[0]

    def to(self, device) -> "ImageSet":
        """The same images on another device; augmentation and normalisation then run there."""
        if self.labels.device == torch.device(device):
            return self
        moved = copy.copy(self)
        moved.labels = self.labels.to(device)
        moved.masks = None if self.masks is None else self.masks.to(device)
        moved._pixels = self._pixels.to(device)
        moved._shift, moved._scale = self._shift.to(device), self._scale.to(device)
        return moved

    def batch(self, indices, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """The images at `indices`: (B, C, H, W) float32, normalised (and augmented), and their labels, (B,) or maps.

        `indices` are integers, or a mask of N booleans.
        """
        indices = torch.as_tensor(indices)
        indices = indices.nonzero().squeeze(1) if indices.dtype == torch.bool else indices.long()
        return self._take(indices, *self._draw(len(indices), generator))

    def batches(
        self, batch_size: int, shuffle: bool = False, generator: torch.Generator | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Every image once, in the fewest batches of at most `batch_size`, whose sizes differ by one at most.

        Why equal batches? Otherwise the last batch could be a single image. In BatchNorm's running statistics it would
        count as much as a full batch, just before evaluation uses them. All random choices of the epoch are drawn at
        once, on the CPU, so they are the same on every device.
        """
        order = torch.randperm(len(self), generator=generator) if shuffle else torch.arange(len(self))
        choices = [t.to(self.labels.device) for t in (order, *self._draw(len(self), generator))]
        num_batches = -(-len(self) // batch_size)
        for i in range(num_batches):
            start, end = (j * len(self) // num_batches for j in (i, i + 1))
            yield self._take(*(t[start:end] for t in choices))

    def _draw(self, count: int, generator) -> tuple[Tensor, Tensor, Tensor]:
        """For each image: the top and left corner of its crop in the padded image, and whether to flip it."""
        if not self.augment:
            return torch.zeros(count, dtype=torch.int64), torch.zeros(count, dtype=torch.int64), torch.zeros(count) > 0
        top, left = torch.randint(0, 2 * self._padding + 1, (2, count), generator=generator)
        return top, left, torch.rand(count, generator=generator) < 0.5

    def _take(self, which: Tensor, top: Tensor, left: Tensor, flip: Tensor) -> tuple[Tensor, Tensor]:
        device = self.labels.device
        which, top, left, flip = (t.to(device) for t in (which, top, left, flip))
        channels, height, width = self.shape
        _, padded_height, padded_width = self._pixels.shape
        columns = torch.arange(width, device=device)
        rows = which[:, None] * padded_height + top[:, None] + torch.arange(height, device=device)  # (B, H)
        columns = left[:, None] + torch.where(flip[:, None], columns.flip(0), columns)  # (B, W)
        index = rows[:, :, None] * padded_width + columns[:, None, :]  # (B, H, W)
        pixels = self._pixels.view(-1).index_select(0, index.view(-1)).view(len(which), height, width)
        images = _unpack(pixels, channels).to(torch.float32, memory_format=torch.contiguous_format)
        return images.sub_(self._shift).mul_(self._scale), self.labels[which]


def _pack(images: Tensor, padding: int) -> Tensor:
    """(N, C, H, W) uint8 -> (N, H + 2p, W + 2p), one element a pixel: uint8 for grey, int32 for RGB and a zero byte."""
    n, channels, height, width = images.shape
    bytes_per_pixel = 1 if channels == 1 else 4
    packed = images.new_zeros(n, height + 2 * padding, width + 2 * padding, bytes_per_pixel)
    packed[:, padding : padding + height, padding : padding + width, :channels] = images.permute(0, 2, 3, 1)
    return packed.view(torch.uint8 if channels == 1 else torch.int32).squeeze(-1)


def _unpack(pixels: Tensor, channels: int) -> Tensor:
    """(B, H, W) packed pixels -> (B, C, H, W) uint8, a view."""
    return pixels.unsqueeze(-1).view(torch.uint8)[..., :channels].permute(0, 3, 1, 2)
