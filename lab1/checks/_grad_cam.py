"""Check of task 12, grad_cam, on a small network (Selvaraju et al. 2017, arXiv:1610.02391)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lab1.checks import _harness
from lab1.checks._check import Check
from lab1.checks._student import Cause, Raised, Student, Wrong
from lab1.checks._values import Draw, Mistakes, expect_same, expect_tensor

SHAPES = "A heatmap as small as the feature map"
VALUES = "The heatmap lights up where the object is not"
CLEAN = "After the call the model is another"


def _only_without_targets(student: Student, draw: Draw) -> bool:
    case, images = _network(draw), _images(draw)
    return student.can("explain", case, 1, images) and not student.can(
        "explain", case, 1, images, _targets(draw, case, images)
    )


grad_cam = Check(
    12,
    "grad_cam",
    hints=(SHAPES, VALUES, CLEAN),
    causes=(
        Cause(
            r"grad can be implicitly created only for scalar",
            "The scores of the batch are not added up to one.",
            VALUES,
        ),
        Cause(
            r"One of the differentiated Tensors does not require grad|can't retain_grad on Tensor",
            "The feature maps are detached (detach, .data) before their gradient is asked for.",
            VALUES,
        ),
        Cause(
            r"appears to not have been used in the graph",
            "The gradient is asked of a copy of the feature maps, which the score does not depend on.",
            VALUES,
        ),
        Cause(
            r"element 0 of tensors does not require grad",
            "The score is cut off from the gradient (no_grad, detach, item).",
            VALUES,
        ),
        Cause(
            r"ambiguous",
            "The targets are asked whether they are true (`targets or ...`, `if targets`): ask `targets is None`.",
            VALUES,
            _only_without_targets,
        ),
        Cause(r"NoneType|IndexError|KeyError", "", CLEAN, lambda student, draw: False),
    ),
)


def _network(draw: Draw) -> dict:
    """Random weights, and running statistics that are not those of a batch."""
    num_classes = draw.integer(4, 7)
    state = _harness.Network(num_classes).state_dict()
    for name, value in state.items():
        if value.is_floating_point():
            state[name] = draw.normal(*value.shape) * (0.3 if value.ndim > 1 else 1)
            if name.endswith("1.weight") or name.endswith("running_var"):
                state[name] = state[name].abs() + 0.5
    return {"num_classes": num_classes, "state": state}


def _images(draw: Draw) -> Tensor:
    return draw.normal(draw.integer(3, 5), 3, *draw.distinct(2, 9, 16))


def _predicted(case: dict, images: Tensor) -> Tensor:
    return _harness.network(case)(images).argmax(1)


def _targets(draw: Draw, case: dict, images: Tensor) -> Tensor:
    """Classes that are not the predicted ones."""
    num_classes = case["num_classes"]
    return (_predicted(case, images) + draw.integers((len(images),), 1, num_classes - 1)) % num_classes


def _chosen(logits: Tensor, targets: Tensor) -> Tensor:
    return logits.gather(1, targets[:, None]).sum()


def _maps_and_gradient(case, stage, images, targets, score=_chosen, train=False) -> tuple[Tensor, Tensor]:
    """Feature maps and the gradient of the score with respect to them, (N, C, h, w) both."""
    model = _harness.network(case).train(train)
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


def _heatmap(case, stage: int, images, targets, little=0.0, score=_chosen, train=False) -> Tensor:
    maps, gradient = _maps_and_gradient(case, stage, images, targets, score, train)
    return _normalised(_upsampled((_alpha(gradient) * maps).sum(1).relu(), images), little)


def _mistakes(case: dict, stage: int, images: Tensor, targets: Tensor) -> Mistakes:
    maps, gradient = _maps_and_gradient(case, stage, images, targets)
    alpha = _alpha(gradient)
    signed = (alpha * maps).sum(1)  # (N, h, w)
    heat = signed.relu()
    large, signed_large = _upsampled(heat, images), _upsampled(signed, images)
    least, most = large.amin((1, 2), keepdim=True), large.amax((1, 2), keepdim=True)
    small_least, small_most = heat.amin((1, 2), keepdim=True), heat.amax((1, 2), keepdim=True)

    def from_score(score: Callable) -> Tensor:
        return _heatmap(case, stage, images, targets, score=score)

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
        "The predicted class is explained instead of the target.": _heatmap(
            case, stage, images, _predicted(case, images)
        ),
        "Every image is explained for the target of the first one.": (
            _heatmap(case, stage, images, targets[:1].expand_as(targets))
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
        "The heatmap is normalised by minimum and maximum before the upsampling: only the maximum divides, after it.": (
            _upsampled((heat - small_least) / (small_most - small_least), images)
        ),
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
            _heatmap(case, stage, images, targets, train=True)
        ),
    }


@grad_cam.claim("heatmaps (N, H, W) of the images' size, float32, in 0..1")
def _shape(student, draw):
    case, images = _network(draw), _images(draw)
    for some in (images, images[:1]):
        targets = _predicted(case, some)
        heat = _expect_shape(student.explain(case, 1, some, targets)["value"], some)
        if heat.min() < -1e-4 or heat.max() > 1 + 1e-4:
            what = f"The values go from {heat.min():.3g} to {heat.max():.3g}; a pixel"
            mistakes = _mistakes(case, 1, some, targets)
            expect_same(heat, _heatmap(case, 1, some, targets), mistakes, VALUES, what, 1e-3)


def _expect_shape(heat, images: Tensor) -> Tensor:
    count, _, height, width = images.shape
    if isinstance(heat, Tensor) and heat.shape != (count, height, width):
        mistakes = {
            (count, -(-height // 2), -(-width // 2)): "The heatmap is not upsampled to the size of the images.",
            (count, width, height): "Height and width are mixed up.",
            (count, 1, height, width): "The channel dimension is still there.",
            (height, width): "There is one map for the batch instead of one for each image.",
        }
        if count == 1:
            mistakes[height, width] = "squeeze removes the dimension of a batch of one image, too."
        text = f"{count} {'image' if count == 1 else 'images'} of {height}x{width} give {tuple(heat.shape)}."
        raise Wrong(text, mistakes.get(tuple(heat.shape), ""), SHAPES)
    return expect_tensor(heat, (count, height, width), torch.float32, "The heatmap", SHAPES)


def _expect_heat(student: Student, case: dict, stage: int, images, targets, *given, training=False) -> dict:
    expected = [_heatmap(case, stage, images, targets, little) for little in LITTLE]
    seen = student.explain(case, stage, images, *given, training=training)
    heat = expect_tensor(seen["value"], expected[0].shape, torch.float32, "The heatmap", VALUES)
    expect_same(heat, expected, lambda: _mistakes(case, stage, images, targets), VALUES, "A pixel", 1e-3)
    return seen


@grad_cam.claim("maps weighted by the mean gradient of the target's score, ReLU, upsampled, over their maximum")
def _values(student, draw):
    for stage in (1, 0):
        case, images = _network(draw), _images(draw)
        targets = _targets(draw, case, images)
        _expect_heat(student, case, stage, images, targets, targets)


@grad_cam.claim("without targets the predicted class is explained")
def _without_targets(student, draw):
    case, images = _network(draw), _images(draw)
    try:
        _expect_heat(student, case, 1, images, _predicted(case, images))
    except Raised as error:
        works = student.can("explain", case, 1, images, _predicted(case, images))
        mistake = "targets=None, the default, is not handled: then the predicted class is explained." if works else ""
        raise Wrong(str(error), mistake, VALUES) from None


@grad_cam.claim("a map that is zero everywhere stays zero")
def _all_zero(student, draw):
    case, images = _network(draw), _images(draw)
    case["state"]["fc.weight"][0] = -case["state"]["fc.weight"][0].abs()  # nothing speaks for class 0
    targets = torch.arange(len(images)) % 2
    expected = [_heatmap(case, 2, images, targets, little) for little in LITTLE]
    heat = student.explain(case, 2, images, targets)["value"]
    if isinstance(heat, Tensor) and heat.isnan().any():
        raise Wrong("The heatmap contains NaN.", "A map that is zero everywhere is divided by its maximum, 0.", VALUES)
    heat = expect_tensor(heat, expected[0].shape, torch.float32, "The heatmap", VALUES)
    expect_same(heat, expected, hint=VALUES, what="A pixel", tolerance=1e-3)


@grad_cam.claim("a model in training mode is explained in evaluation mode, and its mode restored")
def _mode(student, draw):
    for training in (True, False):
        case, images = _network(draw), _images(draw)
        targets = _targets(draw, case, images)
        seen = _expect_heat(student, case, 1, images, targets, targets, training=training)
        if any(mode != training for mode in seen["modes"]):
            was, now = ("training", "evaluation")[:: 1 if training else -1]
            raise Wrong(f"A model in {was} mode is left in {now} mode.", "The mode is not restored.", CLEAN)
        for name, value in case["state"].items():
            if not torch.equal(value, seen["state"][name]):
                raise Wrong(f"After the call {name} of the model is no longer what it was.", hint=CLEAN)


@grad_cam.claim("no hook and no gradient is left behind")
def _clean(student, draw):
    case, images = _network(draw), _images(draw)
    seen = student.explain(case, 1, images, _targets(draw, case, images))
    if seen["hooks"]:
        raise Wrong("The model still has a hook.", "Hooks are left behind: at each call there is one more.", CLEAN)
    if seen["gradients"]:
        mistake = "Gradients are left behind in the parameters, where the next training step adds to them."
        raise Wrong("A parameter, or the tensor of the images, has a gradient.", mistake, CLEAN)
    if seen["frozen"]:
        text = "After the call requires_grad of a parameter, or of the images, is no longer what it was."
        raise Wrong(text, "The requires_grad flags are not restored.", CLEAN)
    if seen["graph"]:
        return "Remark: the heatmap carries the graph of its gradient, and with it the memory: detach it."
