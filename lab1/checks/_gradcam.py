"""Check of grad_cam (task 12), on a small network of this file's own (Selvaraju et al. 2017, arXiv:1610.02391)."""

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab1.checks._check import Check
from lab1.checks._values import Draw, Mistakes, Wrong, expect_same, expect_tensor, expect_unchanged

SHAPES = "A heatmap as small as the feature map"
VALUES = "The heatmap lights up where the object is not"
CLEAN = "After the call the model is another"
grad_cam = Check(
    12,
    "grad_cam",
    hints=(SHAPES, VALUES, CLEAN),
    errors=(
        (r"grad can be implicitly created only for scalar", "The scores of the batch are not added up to one.", VALUES),
        (r"does not require grad", "The forward pass is computed without gradients (no_grad).", VALUES),
        (
            r"NoneType",
            "The feature maps or their gradient are not there: was the hook called before they were read?",
            VALUES,
        ),
    ),
)


class Network(nn.Module):
    """Three stages, the second of stride 2, and a linear layer of the mean."""

    def __init__(self, num_classes: int):
        super().__init__()
        sizes = ((3, 6, 1), (6, 8, 2), (8, 7, 1))
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, stride, padding=1), nn.BatchNorm2d(b), nn.ReLU()) for a, b, stride in sizes
        )
        self.fc = nn.Linear(7, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.logits(self.maps(images, 2), 2)

    def maps(self, images: Tensor, last: int) -> Tensor:
        """The feature maps after stage `last`."""
        for stage in self.stages[: last + 1]:
            images = stage(images)
        return images

    def logits(self, maps: Tensor, last: int) -> Tensor:
        for stage in self.stages[last + 1 :]:
            maps = stage(maps)
        return self.fc(maps.mean((2, 3)))


def _network(draw: Draw) -> Network:
    """Random weights, and running statistics that are not those of a batch."""
    model = Network(draw.integer(4, 7))
    for t in (*model.parameters(), *model.buffers()):
        if t.is_floating_point():
            t.data.copy_(draw.normal(*t.shape) * (0.3 if t.ndim > 1 else 1))
    for stage in model.stages:
        stage[1].weight.data.abs_().add_(0.5)
        stage[1].running_var.abs_().add_(0.5)
    return model.eval()


def _images(draw: Draw) -> Tensor:
    return draw.normal(draw.integer(3, 5), 3, *draw.distinct(2, 9, 16))


def _targets(draw: Draw, model: Network, images: Tensor) -> Tensor:
    """Classes that are not the predicted ones."""
    num_classes = model.fc.out_features
    return (model(images).argmax(1) + draw.integers((len(images),), 1, num_classes - 1)) % num_classes


def _chosen(logits: Tensor, targets: Tensor) -> Tensor:
    return logits.gather(1, targets[:, None]).sum()


def _maps_and_gradient(model, stage, images, targets, score=_chosen) -> tuple[Tensor, Tensor]:
    """Feature maps and the gradient of the score with respect to them, (N, C, h, w) both."""
    maps = model.maps(images, stage).detach().requires_grad_()
    [gradient] = torch.autograd.grad(score(model.logits(maps, stage), targets), maps)
    return maps.detach(), gradient


def _alpha(gradient: Tensor) -> Tensor:
    return gradient.mean((2, 3), keepdim=True)


def _upsampled(heat: Tensor, images: Tensor, mode: str = "bilinear", **options) -> Tensor:
    return F.interpolate(heat[:, None], images.shape[2:], mode=mode, **options)[:, 0]


LITTLE = (0.0, 1e-5)  # what may be added to a maximum before dividing by it


def _normalised(heat: Tensor, little: float = 0.0) -> Tensor:
    """Each map by its own maximum; what is zero everywhere stays so."""
    most = heat.amax((1, 2), keepdim=True) + little
    return heat / torch.where(most > 0, most, 1)


def _heatmap(model: Network, stage: int, images: Tensor, targets: Tensor, little=0.0, score=_chosen) -> Tensor:
    maps, gradient = _maps_and_gradient(model, stage, images, targets, score)
    return _normalised(_upsampled((_alpha(gradient) * maps).sum(1).relu(), images), little)


def _mistakes(model: Network, stage: int, images: Tensor, targets: Tensor) -> Mistakes:
    maps, gradient = _maps_and_gradient(model, stage, images, targets)
    alpha = _alpha(gradient)
    signed = (alpha * maps).sum(1)  # (N, h, w)
    heat = signed.relu()
    large, signed_large = _upsampled(heat, images), _upsampled(signed, images)
    least, most = large.amin((1, 2), keepdim=True), large.amax((1, 2), keepdim=True)
    training, predicted = copy.deepcopy(model).train(), model(images).argmax(1)

    def from_score(score: Callable) -> Tensor:
        return _heatmap(model, stage, images, targets, score=score)

    def shown(heat: Tensor) -> Tensor:
        return _normalised(_upsampled(heat, images))

    return {
        "The gradient is that of the loss, not of the class score: its sign is the opposite.": from_score(
            F.cross_entropy
        ),
        "The gradient is that of the probability after the softmax, not of the class score.": (
            from_score(lambda logits, targets: _chosen(logits.softmax(1), targets))
        ),
        "The gradient is that of the log-probability, not of the class score.": (
            from_score(lambda logits, targets: _chosen(logits.log_softmax(1), targets))
        ),
        "The scores of all classes are added, not the one of the target.": from_score(lambda logits, _: logits.sum()),
        "Each image's score is that of all images' targets, added up.": from_score(lambda z, t: z[:, t].sum()),
        "Only the first image's score is differentiated.": from_score(lambda z, t: z[0, t[0]]),
        "There is one score for the whole batch, the largest.": from_score(lambda z, _: z.max()),
        "The predicted class is explained instead of the target.": _heatmap(model, stage, images, predicted),
        "Every image is explained for the target of the first one.": (
            _heatmap(model, stage, images, targets[:1].expand_as(targets))
        ),
        "The weights alpha are averaged over the batch: each image has its own.": (
            shown((alpha.mean(0) * maps).sum(1).relu())
        ),
        "The gradient is not averaged over the positions (that would be HiResCAM).": (
            shown((gradient * maps).sum(1).relu())
        ),
        "The ReLU is missing.": [_normalised(signed_large), signed_large],
        "The absolute value is taken instead of the ReLU.": [shown(signed.abs()), _normalised(signed_large.abs())],
        "The ReLU comes after the upsampling instead of before it.": _normalised(signed_large.relu()),
        "The ReLU is applied to the weights alpha, not to the weighted sum.": shown((alpha.relu() * maps).sum(1)),
        "The largest gradient is taken as weight instead of the mean.": (
            shown((gradient.amax((2, 3), keepdim=True) * maps).sum(1).relu())
        ),
        "The weighted sum of the maps is missing: this is the gradient alone.": [
            shown(gradient.sum(1).relu()),
            shown(gradient.abs().sum(1)),
            shown(gradient.abs().mean(1)),
        ],
        "The maps are averaged without the weights alpha.": [shown(maps.mean(1)), shown(maps.mean(1).relu())],
        "The heatmaps are normalised over the batch: each image has a maximum of its own.": large / large.max(),
        "The minimum is subtracted: only the maximum divides.": (large - least) / (most - least),
        "The heatmap is divided by its sum instead of its maximum.": large / large.sum((1, 2), keepdim=True),
        "The heatmap is not divided by its maximum.": large,
        "The heatmap is divided by its maximum before the upsampling, and afterwards has a smaller one.": (
            _upsampled(_normalised(heat), images)
        ),
        "The upsampling is not bilinear.": [
            _normalised(_upsampled(heat, images, "nearest")),
            _normalised(_upsampled(heat, images, "bicubic")),
        ],
        "The upsampling aligns the corners, which moves everything.": (
            _normalised(_upsampled(heat, images, align_corners=True))
        ),
        "The model is in training mode: BatchNorm uses the statistics of the batch.": (
            _heatmap(training, stage, images, targets)
        ),
    }


@grad_cam.claim("heatmaps (N, H, W) of the images' size, float32, in 0..1")
def _shape(answer, draw):
    model, images = _network(draw), _images(draw)
    for some in (images, images[:1]):
        _expect_shape(answer(model, model.stages[1], some, model(some).argmax(1)), some)


def _expect_shape(heat, images: Tensor) -> None:
    count, _, height, width = images.shape
    if isinstance(heat, Tensor) and heat.shape != (count, height, width):
        mistakes = {
            (count, -(-height // 2), -(-width // 2)): "The heatmap is not upsampled to the size of the images.",
            (count, 1, height, width): "The channel dimension is still there.",
            (height, width): "There is one map for the batch instead of one for each image.",
        }
        if count == 1:
            mistakes[height, width] = "squeeze removes the dimension of a batch of one image, too."
        text = f"{count} images of {height}x{width} give {tuple(heat.shape)}."
        raise Wrong(text, mistakes.get(tuple(heat.shape), ""), SHAPES)
    heat = expect_tensor(heat, (count, height, width), torch.float32, "The heatmap", SHAPES)
    if heat.min() < -1e-4:
        raise Wrong(f"The heatmap goes down to {heat.min():.3g}.", "The ReLU is missing.", VALUES)
    if heat.max() > 1 + 1e-4:
        mistake = "The heatmap is not divided by its maximum."
        raise Wrong(f"The heatmap goes up to {heat.max():.3g}.", mistake, VALUES)


def _expect_heat(answer, model: Network, stage: int, images: Tensor, targets: Tensor, *given: Tensor) -> None:
    case = _eval(model), stage, images, targets
    expected = [_heatmap(*case, little) for little in LITTLE]
    heat = answer(model, model.stages[stage], images.clone(), *given)
    heat = expect_tensor(heat, expected[0].shape, torch.float32, "The heatmap", VALUES)
    expect_same(heat, expected, lambda: _mistakes(*case), VALUES, "A pixel", 1e-3)


def _eval(model: Network) -> Network:
    return copy.deepcopy(model).eval()


@grad_cam.claim("maps weighted by the mean gradient of the target's score, ReLU, upsampled, over their maximum")
def _values(answer, draw):
    for stage in (1, 0):
        model, images = _network(draw), _images(draw)
        targets = _targets(draw, model, images)
        _expect_heat(answer, model, stage, images, targets, targets)


@grad_cam.claim("without targets the predicted class is explained")
def _predicted(answer, draw):
    model, images = _network(draw), _images(draw)
    try:
        _expect_heat(answer, model, 1, images, model(images).argmax(1))
    except (TypeError, AttributeError) as error:  # with targets there was none
        mistake = "targets=None, the default, is not handled: then the predicted class is explained."
        raise Wrong(f"{type(error).__name__}: {error}.", mistake, VALUES) from None


@grad_cam.claim("a map that is zero everywhere stays zero")
def _all_zero(answer, draw):
    model, images = _network(draw), _images(draw)
    model.fc.weight.data[0] = -model.fc.weight.data[0].abs()  # nothing speaks for class 0
    targets = torch.arange(len(images)) % 2
    case = _eval(model), 2, images, targets
    expected = [_heatmap(*case, little) for little in LITTLE]
    heat = answer(model, model.stages[2], images, targets)
    if isinstance(heat, Tensor) and heat.isnan().any():
        raise Wrong("The heatmap contains NaN.", "A map that is zero everywhere is divided by its maximum, 0.", VALUES)
    heat = expect_tensor(heat, expected[0].shape, torch.float32, "The heatmap", VALUES)
    expect_same(heat, expected, hint=VALUES, what="A pixel", tolerance=1e-3)


@grad_cam.claim("a model in training mode is explained in evaluation mode, and its mode restored")
def _mode(answer, draw):
    for training in (True, False):
        model, images = _network(draw).train(training), _images(draw)
        targets = _targets(draw, _eval(model), images)
        before = copy.deepcopy(model)
        _expect_heat(answer, model, 1, images, targets, targets)
        if any(module.training != training for module in model.modules()):
            was, now = ("training", "evaluation")[:: 1 if training else -1]
            raise Wrong(f"A model in {was} mode is left in {now} mode.", "The mode is not restored.", CLEAN)
        for old, new in zip(before.state_dict().values(), model.state_dict().values(), strict=True):
            expect_unchanged(old, new, "the model's weights or statistics", CLEAN)


@grad_cam.claim("no hook and no gradient is left behind")
def _clean(answer, draw):
    model, images = _network(draw), _images(draw)
    flags = [p.requires_grad for p in model.parameters()]
    heat = answer(model, model.stages[1], images, _targets(draw, model, images))
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    if any(getattr(module, kind) for module in model.modules() for kind in kinds):
        raise Wrong("The layer still has a hook.", "Hooks are left behind: at each call there is one more.", CLEAN)
    if any(p.grad is not None and p.grad.any() for p in (*model.parameters(), images)):
        mistake = "Gradients are left behind in the parameters, where the next training step adds to them."
        raise Wrong("A parameter has a gradient.", mistake, CLEAN)
    if [p.requires_grad for p in model.parameters()] != flags or images.requires_grad:
        raise Wrong("requires_grad is another.", "The requires_grad flags are not restored.", CLEAN)
    if heat.requires_grad:
        return "Remark: the heatmap carries the graph of its gradient, and with it the memory: detach it."
