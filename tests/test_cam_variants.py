"""The relatives of Grad-CAM: without the mean over the positions, and before the ReLU."""

import pytest
import torch
import torch.nn.functional as F

from lab1 import GradCAM, ResNet18
from lab1.analysis.hirescam import HiResCAM
from lab1.analysis.signedcam import SignedCAM


@pytest.fixture
def model():
    torch.manual_seed(0)
    return ResNet18(width=8).eval()


@pytest.fixture
def images():
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def heatmap(method, model, layer, images, targets):
    with method(model, layer) as cam:
        return cam(images, targets)


@pytest.mark.parametrize("layer", ["layer2", "layer3", "layer4"])
def test_gradient_times_map_position_by_position(model, images, layer):
    maps = []
    hook = model.get_submodule(layer).register_forward_hook(lambda module, inputs, output: maps.append(output))
    score = model(images)[:, 4].sum()
    hook.remove()
    (gradient,) = torch.autograd.grad(score, maps)
    heat = F.interpolate((gradient * maps[0]).sum(1, keepdim=True).relu(), (32, 32), mode="bilinear")[:, 0]
    heat = (heat / heat.amax(dim=(1, 2), keepdim=True)).detach()
    torch.testing.assert_close(heatmap(HiResCAM, model, layer, images, 4), heat, rtol=1e-4, atol=1e-5)


def test_captum_agrees(model, images):
    captum = pytest.importorskip("captum.attr")
    heat = captum.LayerGradientXActivation(model, model.layer3).attribute(images, target=4).sum(1, keepdim=True)
    heat = F.interpolate(heat.detach().relu(), (32, 32), mode="bilinear")[:, 0]
    heat = heat / heat.amax(dim=(1, 2), keepdim=True)
    torch.testing.assert_close(heatmap(HiResCAM, model, "layer3", images, 4), heat, rtol=1e-4, atol=1e-5)


def test_the_same_as_grad_cam_at_the_last_stage_only(model, images):
    of = {layer: [heatmap(m, model, layer, images, 2) for m in (GradCAM, HiResCAM)] for layer in ("layer3", "layer4")}
    torch.testing.assert_close(*of["layer4"], rtol=1e-4, atol=1e-5)
    assert (of["layer3"][0] - of["layer3"][1]).abs().max() > 0.1


def test_all_classes(model, images):
    with HiResCAM(model, "layer3") as cam:
        heat = cam.all_classes(images)
    torch.testing.assert_close(heat[:, 7], heatmap(HiResCAM, model, "layer3", images, 7), rtol=1e-4, atol=1e-5)


def test_the_relu_of_it_is_grad_cam_where_nothing_is_upsampled(model, images):
    signed, heat = (heatmap(method, model, "layer1", images, 3) for method in (SignedCAM, GradCAM))
    assert (signed.amax(dim=(1, 2)) > 0).all() and (signed < 0).any()
    torch.testing.assert_close(signed.relu(), heat, rtol=1e-4, atol=1e-5)


def test_weighted_sum_by_hand(model, images):
    maps = model.features(images)["layer4"].detach().requires_grad_()
    (gradient,) = torch.autograd.grad(model.fc(maps.mean(dim=(2, 3)))[:, 5].sum(), maps)
    by_hand = (gradient.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1, keepdim=True)
    by_hand = torch.nn.functional.interpolate(by_hand, (32, 32), mode="bilinear")[:, 0]
    maximum = by_hand.amax(dim=(1, 2), keepdim=True)
    by_hand = by_hand / torch.where(maximum > 0, maximum, 1)
    torch.testing.assert_close(heatmap(SignedCAM, model, "layer4", images, 5), by_hand.detach(), rtol=1e-4, atol=1e-5)


def test_a_map_without_heat_keeps_its_order(model, images):
    with torch.no_grad():  # every feature map of layer4 is at least 0, so with such weights nothing speaks for class 0
        model.fc.weight[0] = -model.fc.weight[0].abs()
    assert (heatmap(GradCAM, model, "layer4", images, 0) == 0).all()
    signed = heatmap(SignedCAM, model, "layer4", images, 0)
    assert (signed <= 0).all() and (signed.amin(dim=(1, 2)) < signed.amax(dim=(1, 2))).all()
