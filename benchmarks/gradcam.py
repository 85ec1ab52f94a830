"""Grad-CAM of ResNet18: ours beside captum, torchcam, pytorch-grad-cam and a forward pass alone."""

import copy
import importlib.util
import statistics

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.harness import Row, compare, interleave
from lab1 import GradCAM, ResNet18, data
from lab1.analysis.gradcam import all_classes
from lab1.basics.device import default_device

FORWARD, OURS, ALL = "a forward pass", "GradCAM", "all_classes"
CAPTUM, TORCHCAM, PUBLISHED = "captum", "torchcam", "pytorch-grad-cam"
LAYERS = ["layer2", "layer3", "layer4"]


def run(quick: bool) -> list[Row]:
    device = default_device()
    torch.manual_seed(0)
    model = ResNet18().to(device).eval()
    repeats, sizes = (3, (1, 16)) if quick else (9, (1, 64))
    images, labels = (t.to(device) for t in data.load("cifar10").test.batch(range(sizes[-1])))
    rows = []
    for size in sizes:
        rows += one_map(model, images[:size], labels[:size], repeats)
    return rows + three_layers(model, images, labels, repeats) + ten_classes(model, images, max(repeats // 3, 2))


def one_map(model, images: Tensor, labels: Tensor, repeats: int) -> list[Row]:
    arms = {FORWARD: forward(model, images)}
    arms |= {peer: peers()[peer](model, "layer3", images) for peer in peers()}
    cam = GradCAM(copy.deepcopy(model), "layer3").__enter__()
    arms[OURS] = lambda labels: cam(images, labels)
    same_maps({name: arm(labels) for name, arm in arms.items() if name != FORWARD})
    title = f"Grad-CAM at layer3 for {len(images)} images" if len(images) > 1 else "Grad-CAM at layer3 for one image"
    times = interleave({name: lambda arm=arm: arm(labels) for name, arm in arms.items()}, repeats)
    return [compare(title, times, peer, OURS, beside_forward(times, OURS)) for peer in peers()]


def three_layers(model, images: Tensor, labels: Tensor, repeats: int) -> list[Row]:
    cam = GradCAM(copy.deepcopy(model), LAYERS).__enter__()
    single = [peers()[CAPTUM](model, layer, images) for layer in LAYERS]
    arms = {
        FORWARD: lambda: forward(model, images)(labels),
        f"{CAPTUM}, once a layer": lambda: [arm(labels) for arm in single],
        OURS: lambda: cam(images, labels),
    }
    for theirs, ours in zip(arms[f"{CAPTUM}, once a layer"](), arms[OURS](), strict=True):
        same_maps({CAPTUM: theirs, OURS: ours})
    times = interleave(arms, repeats)
    title = f"Grad-CAM at layer2, layer3 and layer4 for {len(images)} images"
    return [compare(title, times, f"{CAPTUM}, once a layer", OURS, beside_forward(times, OURS))]


def ten_classes(model, images: Tensor, repeats: int) -> list[Row]:
    rows = []
    classes = [torch.full((len(images),), k, device=images.device) for k in range(model.fc.out_features)]
    for layer in ("layer3", "layer4"):
        single = {peer: peers()[peer](model, layer, images) for peer in (CAPTUM, TORCHCAM)}
        arms = {FORWARD: lambda: forward(model, images)(None)}
        arms |= {f"{peer}, once a class": lambda arm=arm: [arm(k) for k in classes] for peer, arm in single.items()}
        arms[ALL] = lambda layer=layer: all_classes(model, layer, images)
        ours = arms[ALL]().unbind(dim=1)
        for name in list(arms)[1:-1]:
            for theirs, mine in zip(arms[name](), ours, strict=True):
                same_maps({name: theirs, OURS: mine})
        times = interleave(arms, repeats)
        faster = min(list(arms)[1:-1], key=lambda name: statistics.median(times[name]))
        title = f"Grad-CAM of ten classes at {layer} for {len(images)} images"
        rows += [compare(title, times, faster, ALL, beside_forward(times, ALL))]
    return rows


def forward(model, images: Tensor):
    def arm(labels):
        with torch.no_grad():
            return model(images)

    return arm


def peers() -> dict:
    """Name -> a function of (model, layer, images) that prepares a function of labels to heatmaps like GradCAM's."""
    installed = {CAPTUM: captum, TORCHCAM: torchcam}
    if importlib.util.find_spec("pytorch_grad_cam"):
        installed[PUBLISHED] = published
    return installed


def captum(model, layer: str, images: Tensor):
    from captum.attr import LayerGradCam

    model = copy.deepcopy(model)  # hooks of its own
    attribution = LayerGradCam(model, model.get_submodule(layer))
    return lambda labels: finished(attribution.attribute(images, labels, relu_attributions=True), images)


def torchcam(model, layer: str, images: Tensor):
    from torchcam.methods import GradCAM as TorchCAM

    model = copy.deepcopy(model)
    extractor = TorchCAM(model, layer)
    return lambda labels: finished(extractor(labels.tolist(), model(images), normalized=False)[0][:, None], images)


def published(model, layer: str, images: Tensor):
    from pytorch_grad_cam import GradCAM as PublishedGradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model = copy.deepcopy(model)
    cam = PublishedGradCAM(model, [model.get_submodule(layer)])
    return lambda labels: torch.from_numpy(cam(images, [ClassifierOutputTarget(k) for k in labels.tolist()]))


def finished(maps: Tensor, images: Tensor) -> Tensor:
    """(N, 1, h, w) after ReLU -> (N, H, W) in 0..1: what GradCAM does after its own."""
    heat = F.interpolate(maps.detach(), images.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    maximum = heat.amax(dim=(1, 2), keepdim=True)
    return heat / torch.where(maximum > 0, maximum, 1)


def same_maps(maps: dict[str, Tensor]) -> None:
    """Raises AssertionError if they differ, apart from what pytorch-grad-cam subtracts: it shifts minima to 0, too."""
    for name, heat in maps.items():
        pair = [heat, maps[OURS]] if name != PUBLISHED else [between_0_and_1(h) for h in (heat, maps[OURS])]
        message = lambda text, name=name: f"{name} and {OURS} differ: {text}"  # noqa: E731
        torch.testing.assert_close(*(h.cpu() for h in pair), rtol=0, atol=1e-4, msg=message)


def between_0_and_1(heat: Tensor) -> Tensor:
    low, high = heat.amin(dim=(1, 2), keepdim=True), heat.amax(dim=(1, 2), keepdim=True)
    return (heat - low) / (high - low).clamp(min=1e-6)


def beside_forward(times: dict, name: str) -> str:
    ratio = statistics.median(x / y for x, y in zip(times[name], times[FORWARD], strict=True))
    return f"the network: {name} takes {ratio:.2f} times a forward pass"
