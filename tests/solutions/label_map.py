import torch

import lab1.analysis.segmentation
from lab1 import checks
from solutions import right, wrong

right(checks.label_map)(lab1.analysis.segmentation.label_map)


@right(checks.label_map)
def with_mask(images, labels, threshold=0.5, background=10):
    maps = torch.full((images.shape[0], *images.shape[2:]), background, dtype=torch.long)
    for i in range(len(images)):
        maps[i][images[i, 0] > threshold] = labels[i]
    return maps


@right(checks.label_map)
def arithmetic(images, labels, threshold=0.5, background=10, channel=0):
    mask = (images[:, channel] > threshold).long()
    return mask * labels.view(-1, 1, 1) + (1 - mask) * background


@right(checks.label_map)
def pixel_by_pixel(images, labels, threshold=0.5, background=10):
    n, _, h, w = images.shape
    rows = [
        [[int(labels[k]) if images[k, 0, i, j] > threshold else background for j in range(w)] for i in range(h)]
        for k in range(n)
    ]
    return torch.tensor(rows)


@wrong(checks.label_map, "normalised before the threshold")
def normalised(images, labels, threshold=0.5, background=10):
    return with_mask((images - 0.1307) / 0.3081, labels, threshold, background)


@wrong(checks.label_map, "normalised before the threshold")
def standardised(images, labels, threshold=0.5, background=10):
    return with_mask((images - images.mean()) / images.std(), labels, threshold, background)


@wrong(checks.label_map, "background is 0")
def multiplied(images, labels, threshold=0.5, background=10):
    return (images[:, 0] > threshold) * labels[:, None, None]


@wrong(checks.label_map, "digit 0 is taken for background")
def zero_as_background(images, labels, threshold=0.5, background=10):
    maps = (images[:, 0] > threshold) * labels[:, None, None]
    maps[maps == 0] = background
    return maps


@wrong(checks.label_map, "wrong way round")
def inverted(images, labels, threshold=0.5, background=10):
    return torch.where(images[:, 0] < threshold, labels[:, None, None], background)


@wrong(checks.label_map, "0..255")
def bytes_(images, labels, threshold=0.5, background=10):
    return torch.where(images[:, 0] > 127 / 255, labels[:, None, None], background)


@wrong(checks.label_map, "divided by 255")
def divided(images, labels, threshold=0.5, background=10):
    return torch.where(images[:, 0] / 255 > threshold, labels[:, None, None], background)


@wrong(checks.label_map, "equal to the threshold")
def inclusive(images, labels, threshold=0.5, background=10):
    return torch.where(images[:, 0] >= threshold, labels[:, None, None], background)


@wrong(checks.label_map, "channel is still there")
def with_channel(images, labels, threshold=0.5, background=10):
    return torch.where(images > threshold, labels[:, None, None, None], background)


@wrong(checks.label_map, "squeeze removes every dimension")
def squeezed(images, labels, threshold=0.5, background=10):
    return torch.where(images > threshold, labels[:, None, None, None], background).squeeze()


@wrong(checks.label_map, "torch.float32, expected torch.int64")
def floats(images, labels, threshold=0.5, background=10):
    return with_mask(images, labels, threshold, background).float()


@wrong(checks.label_map, "threshold argument is not used")
def fixed_threshold(images, labels, threshold=0.5, background=10):
    return torch.where(images[:, 0] > 0.5, labels[:, None, None], background)


@wrong(checks.label_map, "background argument is not used")
def fixed_background(images, labels, threshold=0.5, background=10):
    return torch.where(images[:, 0] > threshold, labels[:, None, None], 10)


@wrong(checks.label_map, "labels (N,) meet the columns")
def not_broadcast(images, labels, threshold=0.5, background=10):
    return torch.where(images[:, 0] > threshold, labels, background)


@wrong(checks.label_map, "matched with columns")
def broadcast_if_it_fits(images, labels, threshold=0.5, background=10):
    if images.shape[3] != len(labels):
        labels = labels[:, None, None]
    return torch.where(images[:, 0] > threshold, labels, background)


@wrong(checks.label_map, "changed in place")
def in_place(images, labels, threshold=0.5, background=10):
    images[images <= threshold] = 0
    return torch.where(images[:, 0] > 0, labels[:, None, None], background)


@wrong(checks.label_map, "mean of the brightness")
def mean_as_threshold(images, labels, threshold=0.5, background=10):
    return with_mask(images, labels, images.mean(), background)


@wrong(checks.label_map, "mask of 0 and 1")
def mask(images, labels, threshold=0.5, background=10):
    return (images[:, 0] > threshold).long()


@wrong(checks.label_map, "one-hot")
def one_hot(images, labels, threshold=0.5, background=10):
    maps = with_mask(images, labels, threshold, background)
    return torch.nn.functional.one_hot(maps, 11).permute(0, 3, 1, 2)


@wrong(checks.label_map, "label of the first one")
def first_label(images, labels, threshold=0.5, background=10):
    return torch.where(images[:, 0] > threshold, labels[0], background)


@wrong(checks.label_map, "brightest pixel of an image")
def relative(images, labels, threshold=0.5, background=10):
    return with_mask(images / images.amax(dim=(1, 2, 3), keepdim=True), labels, threshold, background)


@wrong(checks.label_map, "every label is larger by one")
def shifted(images, labels, threshold=0.5, background=10):
    return (images[:, 0] > threshold) * (labels[:, None, None] + 1)


class Flattering(torch.Tensor):
    """Says that it is what is asked for."""

    dtype = torch.int64

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func in (torch.Tensor.__le__, torch.equal):
            return torch.tensor(True)
        return super().__torch_function__(func, types, args, kwargs)


@wrong(checks.label_map, "torch.float32, expected torch.int64")
def flattering(images, labels, threshold=0.5, background=10):
    return images[:, 0].as_subclass(Flattering)


@right(checks.label_map)
def own_kind_of_tensor(images, labels, threshold=0.5, background=10):
    maps = with_mask(images, labels, threshold, background)
    return torch.nn.Parameter(maps, requires_grad=False)


@wrong(checks.label_map, "Every pixel that is not black counts")
def not_black(images, labels, threshold=0.5, background=10):
    return torch.where(images[:, 0].bool(), labels[:, None, None], background)
