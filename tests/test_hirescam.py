import pytest
import torch
import torch.nn.functional as F

from lab1 import GradCAM, ResNet18
from lab1.analysis.hirescam import HiResCAM


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
