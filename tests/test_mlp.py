import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lab1 import MLP, ResMLP
from lab1.analysis.gradients import gradient_norms


def num_parameters(model):
    return sum(p.numel() for p in model.parameters())


def test_mlp_is_a_chain_of_linear_layers_and_relus():
    torch.manual_seed(0)
    model = MLP([12, 5, 7, 3])
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(12, 5), (5, 7), (7, 3)]
    x = torch.randn(4, 3, 2, 2)
    expected = linear[2](F.relu(linear[1](F.relu(linear[0](x.flatten(1))))))
    torch.testing.assert_close(model(x), expected)
    torch.testing.assert_close(model(x.flatten(1)), expected)


def test_defaults():
    assert MLP()(torch.rand(2, 1, 28, 28)).shape == ResMLP(3)(torch.rand(2, 1, 28, 28)).shape == (2, 10)
    assert num_parameters(MLP()) == 784 * 64 + 64 + 64 * 64 + 64 + 64 * 10 + 10


@pytest.mark.parametrize("depth", [1, 2, 16])
def test_twins_have_the_same_parameters(depth):
    plain = MLP([784, *[64] * depth, 10])
    assert num_parameters(ResMLP(depth)) == num_parameters(ResMLP(depth, skip=False)) == num_parameters(plain)


def test_skip_false_is_the_mlp():
    torch.manual_seed(0)
    plain = ResMLP(4, width=6, in_features=8, num_classes=3, skip=False)
    torch.manual_seed(0)
    model = MLP([8, 6, 6, 6, 6, 3])
    x = torch.randn(5, 8)
    torch.testing.assert_close(plain(x), model(x))


def test_residual_connections_add_the_input():
    torch.manual_seed(0)
    model = ResMLP(3, width=6, in_features=8, num_classes=2)
    x = torch.randn(5, 8)
    h = F.relu(model.first(x))
    for layer in model.hidden:
        h = h + F.relu(layer(h))
    torch.testing.assert_close(model(x), model.last(h))
    for layer in model.hidden:
        nn.init.zeros_(layer.weight)
    torch.testing.assert_close(model(x), model.last(F.relu(model.first(x))))  # nothing learned: the identity


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("depth", [2, 64])
def test_signal_keeps_its_size_at_any_depth(depth, skip):
    torch.manual_seed(0)
    model, x = ResMLP(depth, width=256, skip=skip), torch.randn(64, 784)
    with torch.no_grad():
        h = F.relu(model.first(x))
        before = h.square().mean()
        for layer in model.hidden:
            h = h + F.relu(layer(h)) if skip else F.relu(layer(h))
    assert 0.1 < float(h.square().mean() / before) < 12


def test_every_layer_gets_a_gradient():
    model = ResMLP(8)
    F.cross_entropy(model(torch.rand(16, 784)), torch.arange(16) % 10).backward()
    norms = gradient_norms(model)
    assert len(norms) == 9 and all(norm > 0 for norm in norms.values())


@pytest.mark.parametrize("widths", [[784], [], [784, 0, 10], [784, -3, 10]])
def test_impossible_widths(widths):
    with pytest.raises(ValueError, match="at least two widths, all of at least 1"):
        MLP(widths)


@pytest.mark.parametrize("sizes", [{"depth": 0}, {"depth": 2, "width": 0}, {"depth": 2, "num_classes": -1}])
def test_impossible_sizes(sizes):
    with pytest.raises(ValueError, match="every size of a ResMLP must be at least 1"):
        ResMLP(**sizes)


@pytest.mark.parametrize("model", [MLP([12, 3]), ResMLP(2, in_features=12)])
def test_images_of_another_size(model):
    with pytest.raises(ValueError, match=r"\(1, 4, 4\) have 16 numbers, not 12"):
        model(torch.rand(2, 1, 4, 4))
