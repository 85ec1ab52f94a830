import pytest
import torch
from torch import nn

from lab1 import ResNet
from lab1.analysis.shattering import autocorrelation, freeze_statistics, input_gradients


def test_autocorrelation_of_known_signals():
    torch.manual_seed(0)
    noise = autocorrelation(torch.randn(400, 50), 5)
    assert noise[0] == pytest.approx(1)
    assert noise[1:].abs().max() < 0.05
    slow = autocorrelation(torch.linspace(-1, 1, 400)[:, None].expand(400, 3), 5)
    assert slow.min() > 0.97
    with pytest.raises(ValueError, match="too few"):
        autocorrelation(torch.randn(4, 2), 4)


def test_a_linear_network_has_one_gradient():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    gradients = input_gradients(model, torch.zeros(3, 2, 2), torch.ones(3, 2, 2), 5, batch_size=2)
    assert torch.allclose(gradients, model[1].weight[0].expand(5, 12))
    assert model[1].weight.grad is None


def test_points_and_mode():
    torch.manual_seed(0)
    model = ResNet((1,), width=4)
    freeze_statistics(model, torch.randn(8, 3, 8, 8))
    start, end = torch.randn(2, 3, 8, 8)
    gradients = input_gradients(model.train(), start, end, 3)
    assert model.training
    x = ((start + end) / 2)[None].requires_grad_()
    (expected,) = torch.autograd.grad(model.eval()(x)[0, 0], x)
    assert torch.allclose(gradients[1], expected.flatten(), atol=1e-5)


def test_frozen_statistics_are_those_of_the_batch():
    model = ResNet((1,), width=4)
    images = torch.randn(16, 3, 8, 8) + 3
    freeze_statistics(model, images)
    norm, before = model.stem[1], model.stem[0](images)
    assert torch.allclose(norm.running_mean, before.mean(dim=(0, 2, 3)), atol=1e-5)
    assert norm.momentum == 0.1
    assert not model.training
