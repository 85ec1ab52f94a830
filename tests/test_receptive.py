import pytest
import torch

from lab1 import ResNet, ResNet18
from lab1.analysis.receptive import receptive_fields


def test_resnet18_by_hand():
    """Each block adds 2 pixels times the distance of positions before each of its two convolutions."""
    expected = {"stem": 3, "layer1": 11, "layer2": 25, "layer3": 53, "layer4": 109}
    assert receptive_fields(ResNet18(width=4)) == expected
    assert receptive_fields(ResNet18(width=4, skip=False)) == expected


@pytest.mark.parametrize("stage", ["stem", "layer1", "layer2"])
def test_by_the_gradient(stage):
    """The pixels that one position depends on, found by the gradient; all weights are 1, so that nothing cancels."""
    model = ResNet((1, 2), width=2).eval()
    for parameter in model.parameters():
        torch.nn.init.ones_(parameter)
    images = torch.ones(1, 3, 65, 65, requires_grad=True)
    maps = model.features(images)[stage]
    maps[0, 0, maps.shape[2] // 2, maps.shape[3] // 2].backward()
    seen = images.grad.abs().sum(dim=(0, 1)) > 0
    assert seen.any(0).sum() == seen.any(1).sum() == receptive_fields(model)[stage]
