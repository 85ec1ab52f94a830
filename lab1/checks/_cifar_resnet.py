"""Check of task 5, cifar_resnet: the networks with 6n + 2 layers of He et al. 2016 (section 4.2), written out."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lab1.checks._blocks import (
    ALWAYS_SKIPS,
    BLOCK_MISTAKES,
    CAUSES,
    LAYERS,
    SIZES,
    VALUES,
    Block,
    conv,
    expect_alone,
    expect_count,
    expect_loaded,
    kernels,
    matrices,
    norm,
    prepare,
    right,
    same,
    set_weights,
    told,
)
from lab1.checks._check import Check
from lab1.checks._student import Cause, Student, Wrong
from lab1.checks._values import Draw, Mistakes, expect_same, expect_tensor

NOT_AVERAGED = "The maps are not averaged over all positions before the linear layer."
cifar_resnet = Check(
    5,
    "cifar_resnet",
    hints=(SIZES, VALUES, LAYERS),
    causes=(Cause(r"mat1 and mat2 .*\(\d+x4096 and 64x", NOT_AVERAGED, SIZES), *CAUSES),
)


@cifar_resnet.claim("images (N, 3, 32, 32) become logits (N, num_classes)")
def _shape(student, draw):
    num_classes = draw.integer(3, 9)
    _expect_logits(student, draw.normal(2, 3, 32, 32), 10, 1)
    _expect_logits(student, draw.normal(2, 3, 32, 32), num_classes, 2, num_classes=num_classes)
    _expect_logits(student, draw.normal(1, 3, 32, 32), num_classes, 1, num_classes=num_classes)


def _expect_logits(student: Student, images: Tensor, expected: int, n: int, **options: int) -> None:
    student.build(n, hint=LAYERS, **options)
    seen = student.trace(images)
    if "error" in seen:
        _explain_addition(student, seen)
        student.call(images)  # raises it
    logits, count = seen["out"], len(images)
    if isinstance(logits, Tensor) and options and logits.shape == (count, 10):
        text = f"The output has shape ({count}, 10) with num_classes={expected}, expected ({count}, {expected})."
        raise Wrong(text, "num_classes is not used.", SIZES)
    if isinstance(logits, Tensor) and count == 1 and logits.shape == (expected,):
        text = f"One image gives an output of shape {tuple(logits.shape)}, expected (1, {expected})."
        raise Wrong(text, "squeeze removes the batch dimension, too, if there is only one image.", SIZES)
    expect_tensor(logits, (count, expected), torch.float32, "The output", SIZES)


def _explain_addition(student: Student, seen: dict) -> None:
    """Where an addition fails in a block that changes the shape, and nothing projects."""
    threes = [layer for layer in seen["layers"] if layer["is"] == "conv2d" and layer["weight"].shape[2] == 3]
    if "size of tensor" in seen["error"]["text"] and not kernels(seen["layers"], 1) and len(threes) >= 2:
        before, after = threes[-2]["in"][1:], threes[-1].get("out", [0])[1:]
        if before != after and not any(matrices(student.values(), b, a) for a, b in ((16, 32), (32, 64))):
            text = f"A block turns maps {tuple(before)} into {tuple(after)}: {seen['error']['text']}."
            raise Wrong(text, "In this block the shortcut has no projection that makes the input fit.", SIZES)


@cifar_resnet.claim("6n + 2 layers: 3x3 convolutions with 16, 32 and 64 channels, and a linear layer")
def _layers(student, draw):
    found = {}
    for n, skip in ((1, True), (3, False)):  # from n=3 on, a list times n - 1 repeats a block
        student.build(n, skip=skip)
        found[n] = student.trace(draw.normal(1, 3, 32, 32))["layers"]
    for n, layers in found.items():
        _expect_kernels(layers, n, {n: len(kernels(layers, 3)) for n, layers in found.items()})


DEPTHS = {
    "There are four stages, as in ResNet18, instead of three.": lambda n: 8 * n + 1,
    "A stage has n convolutions instead of n blocks of two.": lambda n: 3 * n + 1,
    "There is one block too many.": lambda n: 6 * n + 3,
    "There is one block too few.": lambda n: 6 * n - 1,
    "Each stage has n + 1 blocks.": lambda n: 6 * n + 7,
    "Each stage has n - 1 blocks.": lambda n: 6 * n - 5,
    "Each stage has two blocks, as in ResNet18, whatever n is.": lambda n: 13,
    "The first convolution is missing.": lambda n: 6 * n,
    "The projections have 3x3 kernels instead of 1x1.": lambda n: 6 * n + (1 if n == 3 else 3),  # n=3 is plain
}


def _expect_kernels(layers: list[dict], n: int, counts: dict[int, int]) -> list[Tensor]:
    """The 3x3 kernels, if they are the 6n + 1 of the task. counts: how many there are, by n."""
    threes = [layer for layer in layers if layer["is"] == "conv2d" and tuple(layer["weight"].shape[2:]) == (3, 3)]
    widths = [3, *[16] * (2 * n + 1), *[32] * (2 * n), *[64] * (2 * n)]
    shapes = [tuple(layer["weight"].shape[:2]) for layer in threes]
    if shapes == [(b, a) for a, b in zip(widths, widths[1:], strict=False)]:
        names = [layer["name"] for layer in threes if layer["name"]]
        if len(set(names)) < len(names):
            mistake = "The same block is used several times, so that its weights are shared."
            raise Wrong(f"n={n}: some of the {len(threes)} convolutions have the same weights.", mistake, LAYERS)
        return [layer["weight"].detach() for layer in threes]
    mistakes = []
    if any(layer["is"] == "conv2d" and layer["weight"].shape[2] > 3 for layer in layers):
        mistakes = ["The first convolution is that of the networks for large images, not 3x3."]
    elif len(shapes) == 6 * n + 1 and sorted({b for b, _ in shapes}) != [16, 32, 64]:
        mistakes = ["The channels of the stages are others than 16, 32, 64."]
    else:
        mistakes = [words for words, depth in DEPTHS.items() if all(depth(n) == k for n, k in counts.items())]
        if not mistakes and len(counts) > 1 and len(set(counts.values())) == 1:
            mistakes = ["The number of blocks does not depend on n."]
    by_width = ", ".join(f"{[b for b, _ in shapes].count(c)} with {c}" for c in sorted({b for b, _ in shapes}))
    text = f"n={n}: 3x3 convolutions: {len(shapes)}, expected {6 * n + 1}; by output channels: {by_width}."
    raise Wrong(text, mistakes[0] if len(mistakes) == 1 else "", LAYERS)


@cifar_resnet.claim("maps of 32x32, 16x16 and 8x8 in the three stages")
def _sizes(student, draw):
    n = 3  # blocks that are used twice show from here on
    student.build(n)
    layers = student.trace(draw.normal(1, 3, 32, 32))["layers"]
    _expect_kernels(layers, n, {n: len(kernels(layers, 3))})
    sizes = [layer["out"][2] for layer in layers if layer["is"] == "conv2d" and layer["weight"].shape[2] == 3]
    if sizes != [*[32] * (2 * n + 1), *[16] * (2 * n), *[8] * (2 * n)]:
        mistake = "The maps are not halved exactly twice, where the second and where the third stage begins."
        raise Wrong(f"n={n}: the convolutions give maps of size {sizes}.", mistake, SIZES)


@cifar_resnet.claim("skip=True: the residual network")
def _residual_network(student, draw):
    _expect_network(student, draw, draw.integer(1, 2))  # skip=True is the default


@cifar_resnet.claim("skip=False: the plain network")
def _plain_network(student, draw):
    _expect_network(student, draw, draw.integer(1, 2), skip=False)


def _expect_network(student: Student, draw: Draw, n: int, **options: bool) -> None:
    num_classes, images, skip = draw.integer(4, 12), draw.normal(2, 3, 32, 32), options.get("skip", True)
    student.build(n, num_classes=num_classes, **options)
    loaded = prepare(student, images, draw)
    seen = student.trace(images)
    out, layers = seen["out"], seen["layers"]
    threes = _expect_kernels(layers, n, {n: len(kernels(layers, 3))})
    expect_loaded(student, images, layers, loaded)
    linear = _linear_layer(loaded, num_classes)
    projections = [k for k in kernels(layers, 1) if len(k) != num_classes]
    projections = projections or [*matrices(loaded, 32, 16), *matrices(loaded, 64, 32)]
    if [tuple(k.shape[:2]) for k in projections] not in ([], [(32, 16), (64, 32)]):
        shapes = ", ".join(f"{k.shape[1]} to {k.shape[0]}" for k in projections)
        mistake = "There are projections where none are needed." if len(projections) > 2 else ""
        raise Wrong(f"n={n}: 1x1 convolutions from {shapes} channels.", mistake, LAYERS)
    shortcuts = [_projected(projections, norm)] if projections else PADDED
    expected = shortcuts if skip else [_none]

    def networks(block=right, shortcuts=expected, **parts) -> list[Tensor]:
        return [_network(images, threes, linear, block, shortcut, **parts) for shortcut in shortcuts]

    def mistakes() -> Mistakes:
        values = {
            ALWAYS_SKIPS: networks(shortcuts=shortcuts) if not skip else [],
            "The projections have no BatchNorm.": networks(shortcuts=[_projected(projections, same)])
            if skip and projections
            else [],
            "The shortcut averages neighbouring values, but option A takes every second row and column.": (
                networks(shortcuts=POOLED)
            ),
            "No shortcut leads from one stage to the next.": networks(shortcuts=[_within_stage]),
            "There is a softmax at the end: logits are the values before it.": [y.softmax(1) for y in networks()],
            "There is a log-softmax at the end: logits are the values before it.": (
                [y.log_softmax(1) for y in networks()]
            ),
            "There is a ReLU at the end, but logits may be negative.": [y.relu() for y in networks()],
            "The maximum of each map is taken instead of its mean.": networks(pool=torch.amax),
            "The ReLU after the first convolution is missing.": networks(stem=norm),
            "BatchNorm is missing after the network's first convolution.": networks(stem=F.relu),
        }
        return values | {words: networks(wrong) for words, wrong in BLOCK_MISTAKES.items()}

    expect_same(out, networks(), mistakes, VALUES, f"n={n}, {told(options)}, a logit", 1e-3)


def _linear_layer(loaded: dict[str, Tensor], num_classes: int) -> Callable[[Tensor], Tensor]:
    """(N, 64) to (N, num_classes), written out; it may be a 1x1 convolution in the model."""
    parameters = [value.squeeze() for value in loaded.values() if num_classes in value.shape]
    wide = [p for p in parameters if p.ndim >= 2]
    if not wide or wide[-1].numel() != 64 * num_classes:
        text = f"The last layer has a weight of shape {tuple(wide[-1].shape) if wide else 'None'}, expected 64 inputs."
        raise Wrong(text, NOT_AVERAGED if wide and wide[-1].numel() == 4096 * num_classes else "", LAYERS)
    weight = wide[-1] if wide[-1].shape == (64, num_classes) else wide[-1].T
    bias = [p for p in parameters if p.ndim == 1]
    return lambda x: x @ weight + (bias[-1] if bias else 0)


def _norm_and_relu(x: Tensor) -> Tensor:
    return norm(x).relu()


def _network(images: Tensor, threes, linear, block, shortcut, stem=_norm_and_relu, pool=torch.mean) -> Tensor:
    x = stem(conv(images, threes[0]))
    for first, second in zip(threes[1::2], threes[2::2], strict=True):
        stride = 1 if first.shape[0] == first.shape[1] else 2
        x = block(Block(x, first, second, stride), shortcut(x, stride > 1))
    return linear(pool(x, dim=(2, 3)))


# What a block adds, from its input and whether its shape changes.


def _none(x: Tensor, changes: bool) -> float:
    return 0.0


def _within_stage(x: Tensor, changes: bool) -> Tensor | float:
    return 0.0 if changes else x


def _projected(projections: list[Tensor], after: Callable) -> Callable:
    by_channels = {kernel.shape[1]: kernel for kernel in projections}

    def shortcut(x: Tensor, changes: bool) -> Tensor:
        return after(conv(x, by_channels[x.shape[1]], 2)) if changes else x

    return shortcut


def _padded(before: float, shrink: Callable) -> Callable:
    """He et al.'s option A: a smaller map, and zeros for the new channels, a part of them before the others."""

    def shortcut(x: Tensor, changes: bool) -> Tensor:
        first = int(before * x.shape[1])
        return F.pad(shrink(x), (0, 0, 0, 0, first, x.shape[1] - first)) if changes else x

    return shortcut


def _every_other(x: Tensor) -> Tensor:
    return x[:, :, ::2, ::2]


def _averaged(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 2)


PADDED = [_padded(before, _every_other) for before in (0, 0.5, 1)]
POOLED = [_padded(before, _averaged) for before in (0, 0.5, 1)]


@cifar_resnet.claim("in evaluation, each image for itself: BatchNorm uses its running statistics")
def _alone(student, draw):
    student.build(1)
    expect_alone(student, draw.normal(4, 3, 32, 32))


@cifar_resnet.claim("every parameter is used, and there are as many as the table needs")
def _parameters(student, draw):
    for skip in (True, False):
        student.build(1, skip=skip, num_classes=7)
        x = draw.normal(2, 3, 32, 32)
        student.call(x)  # lazy layers get their shapes
        set_weights(student, draw)
        shapes = {tuple(sorted(each.shape)) for each in student.matrices() if each.ndim == 2}
        projects = skip and (16, 32) in shapes
        count = _count(n=1, num_classes=7, projects=projects)
        expect_count(student, x, draw.normal(2, 7), count, f"n=1, skip={skip}")


def _count(n: int, num_classes: int, projects: bool) -> int:
    widths = [3, *[16] * (2 * n + 1), *[32] * (2 * n), *[64] * (2 * n)]
    layers = sum(9 * a * b + 2 * b for a, b in zip(widths, widths[1:], strict=False))
    return layers + 65 * num_classes + projects * (16 * 32 + 2 * 32 + 32 * 64 + 2 * 64)
