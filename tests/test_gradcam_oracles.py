"""GradCAM against captum and torchcam (of requirements-dev.txt), on networks of this lab and on others."""

import copy

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from lab1 import GradCAM, ResNet18, data, training

pytestmark = pytest.mark.slow

LAYERS = ["layer1", "layer2", "layer3", "layer4"]


@pytest.fixture(scope="module")
def shapes():
    return data.load("shapes10", num_train=300, num_test=16)


@pytest.fixture(scope="module", params=["random", "trained"])
def model(request, shapes):
    torch.manual_seed(0)
    model = ResNet18()
    if request.param == "trained":
        training.fit(model, shapes.train, num_epochs=2, batch_size=32, device="cpu")
    return model.eval()


def normalised(maps, size):
    """What follows after ReLU: (N, 1, h, w) upsampled, and divided by the maximum of each image."""
    heat = F.interpolate(maps.detach(), size, mode="bilinear", align_corners=False)[:, 0]
    maximum = heat.amax(dim=(1, 2), keepdim=True)
    return heat / torch.where(maximum > 0, maximum, 1)


def captums(model, layer, images, targets):
    from captum.attr import LayerGradCam

    return LayerGradCam(model, model.get_submodule(layer)).attribute(images, targets, relu_attributions=True)


def torchcams(model, layer, images, targets):
    from torchcam.methods import GradCAM as TorchCAM

    with TorchCAM(model, layer) as extractor:
        (maps,) = extractor(targets.tolist(), model(images), normalized=False)
    return maps[:, None]


@pytest.mark.parametrize("oracle", [captums, torchcams])
@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize("layer", LAYERS)
def test_oracle_agrees(model, shapes, layer, batch_size, oracle):
    images, labels = shapes.test.batch(range(batch_size))
    for targets in (labels, model(images).argmax(1)):
        with GradCAM(model, layer) as cam:
            heat = cam(images, targets)
        expected = normalised(oracle(model, layer, images, targets), (32, 32))
        torch.testing.assert_close(heat, expected, rtol=0, atol=1e-4)
    assert batch_size == 1 or heat.any()  # not all agree by being zero


OTHERS = {
    "torchvision ResNet": (lambda: torchvision.models.resnet18(num_classes=10), "layer3.1"),
    "VGG with in-place ReLUs": (lambda: torchvision.models.vgg11(num_classes=10), "features.6"),
    "VGG, an in-place ReLU itself": (lambda: torchvision.models.vgg11(num_classes=10), "features.7"),
    "Sequential": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 10)
        ),
        "0",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_any_network(name):
    make, layer = OTHERS[name]
    torch.manual_seed(0)
    model = make().eval()
    images = torch.randn(2, 3, 64, 64)
    safe = copy.deepcopy(model)  # captum sees what an in-place ReLU has left of a map; without in-place it does not
    for module in safe.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    with GradCAM(model, layer) as cam:
        heat = cam(images, 3)
    assert heat.any()
    torch.testing.assert_close(heat, normalised(captums(safe, layer, images, 3), (64, 64)), rtol=0, atol=1e-4)


def by_hand(maps, gradient, size):
    """ReLU(sum of alpha_k A_k) of maps (N, C, h, w), upsampled."""
    return normalised((gradient.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1, keepdim=True).clamp(min=0), size)


@pytest.mark.parametrize("num_modules", [5, 8, 12])  # denseblock1, denseblock3, everything, with an in-place ReLU after
def test_densenet_with_its_relu_in_place(num_modules):
    torch.manual_seed(0)
    model, images = torchvision.models.densenet121(num_classes=10).eval(), torch.randn(2, 3, 64, 64)
    first, rest = model.features[:num_modules], model.features[num_modules:]
    maps = first(images)
    logits = model.classifier(F.relu(rest(maps.clone())).mean(dim=(2, 3)))
    layer = first[-1] if len(rest) else model.features
    with GradCAM(model, layer) as cam:
        heat = [cam(images, target) for target in range(10)]
    assert sum(map(torch.any, heat)) > 3
    for target in range(10):
        (gradient,) = torch.autograd.grad(logits[:, target].sum(), maps, retain_graph=True)
        torch.testing.assert_close(heat[target], by_hand(maps, gradient, (64, 64)), rtol=0, atol=1e-4)


@pytest.mark.parametrize("stage", [1, 3, 5, 7])
def test_swin_transformer(stage):
    torch.manual_seed(0)
    model, images = torchvision.models.swin_t(num_classes=10).eval(), torch.randn(2, 3, 64, 96)
    maps = model.features[: stage + 1](images).permute(0, 3, 1, 2)
    logits = model.head(model.norm(model.features[stage + 1 :](maps.permute(0, 2, 3, 1))).mean(dim=(1, 2)))
    with GradCAM(model, f"features.{stage}", channels_last=True) as cam:
        heat = cam(images, 3)
    assert heat.any()
    (gradient,) = torch.autograd.grad(logits[:, 3].sum(), maps)
    torch.testing.assert_close(heat, by_hand(maps, gradient, (64, 96)), rtol=0, atol=1e-4)
    with GradCAM(model, f"features.{stage}") as cam, pytest.raises(ValueError, match="channels_last=True"):
        cam(images)


def test_layer_norm_of_convnext():
    torch.manual_seed(0)
    model, images = torchvision.models.convnext_tiny(num_classes=10).eval(), torch.randn(2, 3, 64, 64)
    with GradCAM(model, "features.7.2.block.2") as cam, pytest.raises(ValueError, match="channels_last=True"):
        cam(images)
    with GradCAM(model, "features.7") as cam:  # its stages are channels-first
        expected = normalised(captums(model, "features.7", images, 3), (64, 64))
        torch.testing.assert_close(cam(images, 3), expected, rtol=0, atol=1e-4)
