import pytest
import torch

from lab1 import GradCAM, ResNet18
from lab1.analysis.signedcam import SignedCAM


@pytest.fixture
def model():
    torch.manual_seed(0)
    return ResNet18(width=8).eval()


@pytest.fixture
def images():
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def heatmaps(method, model, layer, images, targets):
    with method(model, layer) as cam:
        return cam(images, targets)


def test_the_relu_of_it_is_grad_cam_where_nothing_is_upsampled(model, images):
    signed, heat = (heatmaps(method, model, "layer1", images, 3) for method in (SignedCAM, GradCAM))
    assert (signed.amax(dim=(1, 2)) > 0).all() and (signed < 0).any()
    torch.testing.assert_close(signed.relu(), heat, rtol=1e-4, atol=1e-5)


def test_weighted_sum_by_hand(model, images):
    maps = model.features(images)["layer4"].detach().requires_grad_()
    (gradient,) = torch.autograd.grad(model.fc(maps.mean(dim=(2, 3)))[:, 5].sum(), maps)
    by_hand = (gradient.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1, keepdim=True)
    by_hand = torch.nn.functional.interpolate(by_hand, (32, 32), mode="bilinear")[:, 0]
    maximum = by_hand.amax(dim=(1, 2), keepdim=True)
    by_hand = by_hand / torch.where(maximum > 0, maximum, 1)
    torch.testing.assert_close(heatmaps(SignedCAM, model, "layer4", images, 5), by_hand.detach(), rtol=1e-4, atol=1e-5)


def test_a_map_without_heat_keeps_its_order(model, images):
    with torch.no_grad():  # every feature map of layer4 is at least 0, so with such weights nothing speaks for class 0
        model.fc.weight[0] = -model.fc.weight[0].abs()
    assert (heatmaps(GradCAM, model, "layer4", images, 0) == 0).all()
    signed = heatmaps(SignedCAM, model, "layer4", images, 0)
    assert (signed <= 0).all() and (signed.amin(dim=(1, 2)) < signed.amax(dim=(1, 2))).all()
