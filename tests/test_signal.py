import pytest
import torch
import torch.nn.functional as F

from lab1 import ResNet
from lab1.analysis.signal import QUANTITIES, block_names, branch_ratios, ends, mean_cosine, signal


def batch(n=4):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, 3, 16, 16, generator=generator), torch.arange(n)


def test_against_retained_gradients():
    torch.manual_seed(0)
    model, (images, labels) = ResNet((1, 1), width=4), batch()
    layers = block_names(model)
    assert layers == ["stem", "layer1.0", "layer2.0"]
    measured = signal(model, layers, images, labels)
    stem = model.stem(images)
    first = model.layer1(stem)
    for h in (stem, first):
        h.retain_grad()
    F.cross_entropy(model.fc(model.layer2(first).mean(dim=(2, 3))), labels).backward()
    for i, h in enumerate((stem, first)):
        assert measured["gradient"][i] == pytest.approx(h.grad.norm().item(), rel=1e-5)
        assert measured["output"][i] == pytest.approx(h.norm().item(), rel=1e-5)
        assert measured["product"][i] == pytest.approx(h.grad.norm().item() * h.norm().item(), rel=1e-5)
        assert measured["dead"][i] == pytest.approx((h == 0).all(dim=0).float().mean().item())
    assert set(measured) == set(QUANTITIES)


def test_leaves_no_gradients_and_no_hooks():
    model, (images, labels) = ResNet((1, 1), width=4), batch()
    signal(model, ["layer1"], images, labels)
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())


def test_cosine_of_known_vectors():
    assert mean_cosine(torch.eye(3)) == pytest.approx(0, abs=1e-6)
    assert mean_cosine(torch.ones(5, 7)) == pytest.approx(1)
    assert mean_cosine(torch.tensor([[1.0, 0], [-1, 0]])) == pytest.approx(-1)


def test_euler_in_a_plain_chain():
    """Whatever the scale of its weights, a homogeneous chain has the same <W, dL/dW> and <h, dL/dh> at every layer."""
    torch.manual_seed(0)
    h, outputs = torch.rand(5, 12).double(), []
    weights = [0.7 * torch.randn(16, n).double().requires_grad_() for n in (12, 16, 16, 16)]
    for weight in weights:
        h = F.relu(h @ weight.T)
        outputs.append(h)
    loss = F.cross_entropy(h, torch.arange(5))
    gradients = torch.autograd.grad(loss, weights + outputs)
    products = [(t * g).sum().item() for t, g in zip(weights + outputs, gradients, strict=True)]
    assert products == pytest.approx([products[0]] * len(products), rel=1e-9)


def test_one_image_is_refused():
    model, (images, labels) = ResNet((1,), width=4), batch(1)
    with pytest.raises(ValueError, match="two images"):
        signal(model, ["layer1"], images, labels)


def test_ends_of_a_profile():
    measured = {"gradient": [1000, 10, 10], "output": [1, 5, 10], "dead": [0.1, 0.2, 0.3], "cosine": [0, 0.5, 0.9]}
    expected = {"level": 3, "gradient": 2, "output": 1, "dead": 0.3, "cosine": 0.9}
    assert ends(measured) == pytest.approx(expected)


@pytest.mark.parametrize("training", [True, False])
def test_branch_ratios_at_the_addition(training):
    torch.manual_seed(0)
    model, (images, _) = ResNet((1, 1), width=4).train(training), batch()
    ratios = branch_ratios(model, images)
    assert list(ratios) == ["layer1.0", "layer2.0"]
    with torch.no_grad():
        x = model.stem(images)
        for name, block in (("layer1.0", model.layer1[0]), ("layer2.0", model.layer2[0])):
            shortcut = x if block.projection is None else block.projection(x)
            branch = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x)))))
            assert ratios[name] == pytest.approx((branch.norm() / shortcut.norm()).item(), rel=1e-4)
            x = block(x)
    assert not any(m._forward_hooks for m in model.modules())


def test_branch_ratios_update_the_statistics_once():
    torch.manual_seed(0)
    model, (images, _) = ResNet((1, 1), width=4), batch()
    branch_ratios(model, images)
    assert model.layer2[0].projection[1].num_batches_tracked == 1


def test_a_plain_network_has_no_branches():
    assert branch_ratios(ResNet((1,), width=4, skip=False), batch()[0]) == {}
