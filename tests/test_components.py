"""The baseline of threshold and classifier, with classifiers whose answers are known."""

import torch
from torch import nn

from lab1.analysis.components import label_components
from lab1.analysis.segmentation import BACKGROUND, digit_canvas

MEAN, STD = 0.1307, 0.3081


class WideOrTall(nn.Module):
    """Class 1 for a digit that is wider than tall, else class 0; keeps what it was given."""

    def __init__(self):
        super().__init__()
        self.nothing, self.seen = nn.Parameter(torch.zeros(1)), []

    def forward(self, images):
        self.seen.append(images)
        bright = images[:, 0] * STD + MEAN > 0.5
        height, width = bright.any(2).sum(1), bright.any(1).sum(1)
        return torch.stack([height, width], 1).float()


def strokes():
    """A wide and a tall stroke on a canvas, a grey pixel beside the first, and an empty canvas."""
    images = torch.zeros(2, 1, 40, 50, dtype=torch.uint8)
    images[0, 0, 5:9, 4:16] = 255
    images[0, 0, 5, 16] = 100
    images[0, 0, 20:35, 30:33] = 200
    return images


def test_each_component_gets_its_own_label():
    maps = label_components(WideOrTall(), strokes(), MEAN, STD)
    expected = torch.full((2, 40, 50), BACKGROUND)
    expected[0, 5:9, 4:16], expected[0, 20:35, 30:33] = 1, 0
    assert maps.dtype == torch.int64 and torch.equal(maps, expected)


def test_the_classifier_sees_digits_of_mnists_size_and_is_left_as_it_was():
    model = WideOrTall().train()
    label_components(model, strokes(), MEAN, STD)
    (digits,) = model.seen
    shown = (digits * STD + MEAN)[:, 0]  # (2, 28, 28), not normalised
    assert model.training and shown.shape == (2, 28, 28)
    for digit in shown > 1e-3:
        rows, columns = digit.any(1).nonzero()[:, 0], digit.any(0).nonzero()[:, 0]
        assert max(len(rows), len(columns)) == 20
        assert abs(rows[0] - (27 - rows[-1])) <= 1 and abs(columns[0] - (27 - columns[-1])) <= 1
    assert torch.allclose(shown.amax(dim=(1, 2)), torch.tensor([1.0, 200 / 255]), atol=0.05)


def test_digits_that_touch_get_one_label():
    images = torch.zeros(1, 1, 40, 40, dtype=torch.uint8)
    images[0, 0, 10, 5:35], images[0, 0, 11:30, 34] = 255, 255
    assert len(label_components(WideOrTall(), images, MEAN, STD).unique()) == 2  # one digit, and background


def test_the_background_is_always_right(digits):
    canvases = digit_canvas(*digits, num_canvases=4, size=(64, 96), num_digits=(1, 3), overlap=True)
    maps = label_components(WideOrTall(), canvases.images, MEAN, STD)
    assert torch.equal(maps == BACKGROUND, canvases.targets == BACKGROUND)


def test_no_foreground():
    assert (label_components(WideOrTall(), torch.zeros(2, 1, 30, 30, dtype=torch.uint8), MEAN, STD) == BACKGROUND).all()
