"""Accuracy: which targets count, and for which it has no meaning."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lab1 import training
from lab1.data import ImageSet
from lab1.training.measures import RunningMean, ignored_target


class Inside(nn.Module):
    def __init__(self):
        super().__init__()
        self.loss = nn.CrossEntropyLoss(ignore_index=1)

    def forward(self, logits, targets):
        return self.loss(logits, targets)


@pytest.mark.parametrize(
    ("loss_function", "ignored"),
    [
        (F.cross_entropy, -100),
        (functools.partial(F.cross_entropy, ignore_index=1), 1),
        (functools.partial(functools.partial(F.cross_entropy, ignore_index=1), label_smoothing=0.1), 1),
        (nn.CrossEntropyLoss(ignore_index=1), 1),
        (functools.partial(nn.CrossEntropyLoss(ignore_index=1)), 1),
        (Inside(), 1),
        (lambda logits, targets, ignore_index=1: F.cross_entropy(logits, targets, ignore_index=ignore_index), 1),
        (lambda logits, targets: F.cross_entropy(logits, targets, ignore_index=255), 255),  # is no class anyway
    ],
)
def test_ignored_pixels_do_not_count(loss_function, ignored):
    """Of four pixels two are ignored and one is right."""
    targets = torch.tensor([[0, 2, ignored, ignored]])
    logits = torch.zeros(1, 3, 4)
    logits[0, 0, :] = 5.0
    model, batches = nn.Identity(), [(logits, targets)]
    assert training.evaluate(model, batches, loss_function=loss_function, autocast=False)[1] == 0.5
    assert ignored_target(loss_function) in (ignored, -100)


def test_fit_leaves_ignored_pixels_out(tiny):
    images = tiny().images
    maps = (images.float().mean(1) > 120).long()
    maps[:, 0] = -100
    data = ImageSet(images, maps, (0.3,) * 3, (0.25,) * 3)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1))
    history = training.fit(model, data, data, num_epochs=10, batch_size=8)
    logits, targets = training.predict(model, data)
    counted = targets != -100
    expected = (logits.argmax(1) == targets)[counted].float().mean().item()
    assert history["val/accuracy"][-1] == pytest.approx(expected) and expected > 0.9


def mean_of(logits, targets):
    mean = RunningMean()
    mean.add(torch.tensor(1.0), logits, targets)
    return mean.result()[1]


def test_class_probabilities_count_as_the_most_probable_class():
    logits = torch.tensor([[3.0, 0.0], [3.0, 0.0], [0.0, 3.0]])
    assert mean_of(logits, torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.0, 1.0]])) == pytest.approx(2 / 3)
    assert mean_of(logits, F.one_hot(torch.tensor([0, 0, 1]), 2)) == 1


@pytest.mark.parametrize(
    ("logits", "targets"),
    [
        (torch.zeros(8, 1), torch.rand(8, 1)),  # regression
        (torch.zeros(8, 4), torch.rand(8, 1)),
        (torch.zeros(8, 4), torch.zeros(8, 1, dtype=torch.long)),
        (torch.zeros(8, 4), torch.zeros(8)),
        (torch.zeros(8, 4), torch.ones(8, 4)),  # several labels an image
        (torch.zeros(8, 4), torch.rand(8, 4) - 0.5),
        (torch.zeros(8), torch.zeros(8)),
        (torch.zeros(8, 1), torch.zeros(8, dtype=torch.long)),
        (torch.zeros(8, 4, 5, 5), torch.zeros(8, dtype=torch.long)),
    ],
)
def test_targets_for_which_accuracy_has_no_meaning_are_refused(logits, targets):
    with pytest.raises(ValueError, match="accuracy has no meaning for targets of"):
        mean_of(logits, targets)
