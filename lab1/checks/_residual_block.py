"""Check of task 4, ResidualBlock."""

import torch
from torch import Tensor

from lab1.checks._blocks import (
    ACTIVATED,
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
    told,
)
from lab1.checks._check import Check
from lab1.checks._student import Student, Wrong
from lab1.checks._values import agree, expect_same, expect_tensor, expect_unchanged

residual_block = Check(4, "ResidualBlock", hints=(SIZES, VALUES, LAYERS), causes=CAUSES)


@residual_block.claim("(N, in_channels, H, W) becomes (N, out_channels, H / stride, W / stride), rounded up")
def _shape(student, draw):
    channels, others = draw.distinct(2, 2, 9)
    _expect_shape(student, draw, channels, channels, 1, skip=False)
    for skip in (True, False):
        _expect_shape(student, draw, channels, channels, 1, skip)
        _expect_shape(student, draw, channels, others, 1, skip)
        _expect_shape(student, draw, channels, channels, 2, skip)
        _expect_shape(student, draw, channels, others, draw.integer(2, 3), skip)


def _expect_shape(student, draw, in_channels: int, out_channels: int, stride: int, skip: bool) -> None:
    count, height, width = draw.integer(2, 4), draw.integer(7, 12), draw.integer(7, 12)
    student.build(in_channels, out_channels, stride=stride, skip=skip, hint=LAYERS)
    seen = student.trace(draw.normal(count, in_channels, height, width))
    size = -(-height // stride), -(-width // stride)
    what = f"{in_channels} to {out_channels} channels, stride={stride}, skip={skip}, an input of {height}x{width}"
    if "error" in seen:
        _expect_sizes(seen["layers"], (height, width), size, stride, what)
        if "size of tensor" in seen["error"]["text"] or "channels" in seen["error"]["text"]:
            _explain_addition(student, draw, seen, in_channels, out_channels, size, skip, what)
        student.call(draw.normal(count, in_channels, height, width))  # raises it
    out = seen["out"]
    if isinstance(out, Tensor) and out.ndim == 4 and out.shape[1] == in_channels + out_channels and skip:
        text = f"{what}: the output has {out.shape[1]} channels."
        raise Wrong(text, "The input is concatenated with the output of the convolutions instead of added.", SIZES)
    if isinstance(out, Tensor) and out.shape[2:] != size:
        _expect_sizes(seen["layers"], (height, width), size, stride, what)
    expect_tensor(out, (count, out_channels, *size), torch.float32, f"{what}: the output", SIZES)


def _expect_sizes(layers: list[dict], before: tuple[int, int], size: tuple[int, int], stride: int, what: str) -> None:
    """Each 3x3 convolution, and each 1x1 convolution that begins at the input, gives maps of the right size."""
    outs = [tuple(layer["out"][2:]) for layer in layers if layer["is"] == "conv2d" and _is(layer, 3)]
    if len(outs) == 2 and outs[1] != size:
        (height, width), first = before, outs[0]
        mistake = ""
        if outs == [before, before]:
            mistake = "The stride is not used."
        elif first == size and outs[1] == (-(-size[0] // stride), -(-size[1] // stride)):
            mistake = "Both convolutions have the stride."
        elif first == ((height - 3) // stride + 1, (width - 3) // stride + 1):
            mistake = "The padding is missing."
        sizes = " and ".join(f"{a}x{b}" for a, b in outs)
        raise Wrong(f"{what}: the 3x3 convolutions give {sizes}, expected {size[0]}x{size[1]}.", mistake, SIZES)
    for layer in layers:
        if layer["is"] == "conv2d" and _is(layer, 1) and tuple(layer["in"][2:]) == before and "out" in layer:
            given = tuple(layer["out"][2:])
            if given != size:
                mistake = "The projection has a padding, which a 1x1 kernel must not have."
                if given == before:
                    mistake = "The projection does not have the block's stride."
                text = f"{what}: the 1x1 convolution gives {given[0]}x{given[1]}, expected {size[0]}x{size[1]}."
                raise Wrong(text, mistake, SIZES)


def _is(layer: dict, size: int) -> bool:
    return tuple(layer["weight"].shape[2:]) == (size, size) and ("out" in layer or size == 1)


def _explain_addition(student, draw, seen, in_channels, out_channels, size, skip, what) -> None:
    """Where the branch is right and the addition fails: what the shortcut is."""
    error, ones = seen["error"], [x for x in seen["layers"] if x["is"] == "conv2d" and _is(x, 1)]
    text = f"{what}: {error['text']}."
    if not skip:
        raise Wrong(text, ALWAYS_SKIPS if _adds_anyway(student, draw) else "", SIZES)
    if ones and ones[0]["weight"].shape[1] == in_channels and ones[0]["in"][1] != in_channels:
        mistake = "The projection is given what the convolutions have computed: x was overwritten before it."
        raise Wrong(text, mistake, SIZES)
    if "size of tensor" in error["text"] and not ones and not matrices(student.values(), out_channels, in_channels):
        mistake = "No projection makes the input fit for the addition, in channels and in height and width."
        raise Wrong(text, mistake, SIZES)


def _adds_anyway(student, draw) -> bool:
    """Whether a block with equal shapes adds its input, though skip=False."""
    student.build(5, 5, skip=False)
    x = draw.normal(2, 5, 6, 6)
    prepare(student, x, draw)
    seen = student.trace(x)
    both = kernels(seen["layers"], 3)
    return len(both) == 2 and agree(seen["out"], right(Block(x, both[0], both[1], 1), x), 1e-3)


@residual_block.claim("skip=True, same shape: the input itself is added, and ReLU and BatchNorm are in their places")
def _identity_block(student, draw):
    channels = draw.integer(3, 9)
    _expect_block(student, draw, channels, channels, 1)  # skip=True is the default


@residual_block.claim("skip=True, another shape: a 1x1 projection of the input is added")
def _projection_block(student, draw):
    channels, others = draw.distinct(2, 3, 9)
    for out_channels, stride in ((others, 1), (channels, 2), (others, 2)):
        _expect_block(student, draw, channels, out_channels, stride, skip=True)


@residual_block.claim("skip=False: the same without a shortcut")
def _plain_block(student, draw):
    channels, others = draw.distinct(2, 3, 9)
    for out_channels, stride in ((channels, 1), (others, 2)):
        _expect_block(student, draw, channels, out_channels, stride, skip=False)


def _expect_block(student: Student, draw, in_channels: int, out_channels: int, stride: int, **options: bool) -> None:
    x = draw.normal(3, in_channels, draw.integer(6, 9), draw.integer(6, 9))
    student.build(in_channels, out_channels, stride=stride, **options)
    loaded = prepare(student, x, draw)
    out = student.call(x)
    expect_unchanged(x, student.given[0], "the block's input", VALUES)
    layers = student.trace(x)["layers"]
    skip, changes = options.get("skip", True), stride > 1 or in_channels != out_channels
    case = f"{in_channels} to {out_channels} channels, stride={stride}, {told(options)}"
    threes, projections = kernels(layers, 3), kernels(layers, 1)
    if [k.shape[:2] for k in threes] != [(out_channels, in_channels), (out_channels, out_channels)]:
        shapes = ", ".join(str(tuple(each["weight"].shape)) for each in layers if each["is"] == "conv2d") or "none"
        mistake = "There are not two 3x3 convolutions." if len(threes) != 2 else ""
        if len(threes) == 3 and skip and changes and not projections:
            mistake = "The projection has a 3x3 kernel instead of 1x1."
        raise Wrong(f"{case}: kernels of the convolutions: {shapes}.", mistake, LAYERS)
    expect_loaded(student, x, layers, loaded)
    if skip and changes and not projections:
        projections = matrices(loaded, out_channels, in_channels)
    if skip and changes != bool(projections):
        mistake = "The shortcut is no 1x1 projection." if changes else "There is a projection where none is needed."
        if changes and agree(out, right(Block(x, threes[0], threes[1], stride), 0.0), 1e-3):
            mistake = "There is no shortcut where the shape changes."
        raise Wrong(f"{case}: 1x1 convolutions: {len(projections)}.", mistake, SIZES)
    if others := {k.shape[:2] for k in projections} - {(out_channels, in_channels)}:
        shapes = " and ".join(f"from {b} to {a}" for a, b in sorted(others))
        raise Wrong(f"{case}: 1x1 convolutions {shapes} channels.", "", SIZES)
    block, projected = Block(x, threes[0], threes[1], stride), [conv(x, kernel, stride) for kernel in projections]
    shortcuts = ([norm(p) for p in projected] if changes else [x]) if skip else [0.0]
    mistakes = {}
    if skip and changes:
        mistakes["The projection has no BatchNorm."] = [right(block, p) for p in projected]
    if not skip:
        mistakes[ALWAYS_SKIPS] = [right(block, s) for s in ([norm(p) for p in projected] if changes else [x])]
    for words, wrong in BLOCK_MISTAKES.items():
        mistakes[words] = [wrong(block, s) for s in shortcuts]
    if skip and changes:
        mistakes[ACTIVATED] += [right(block, norm(conv(x.relu(), kernel, stride))) for kernel in projections]
    out = expect_tensor(out, right(block, shortcuts[0]).shape, torch.float32, f"{case}: the output", SIZES)
    expect_same(out, [right(block, s) for s in shortcuts], mistakes, VALUES, case, 1e-3)


@residual_block.claim("in evaluation, each image for itself: BatchNorm uses its running statistics")
def _block_alone(student, draw):
    channels, others = draw.distinct(2, 3, 9)
    for out_channels, stride in ((others, 2), (channels, 1)):
        student.build(channels, out_channels, stride=stride)
        expect_alone(student, draw.normal(6, channels, 8, 8))
        if not student.buffers():
            mistake = "There is no BatchNorm with running statistics."
            raise Wrong("The block keeps no running mean and variance.", mistake, LAYERS)


@residual_block.claim("every parameter is used, and there are as many as the drawing needs")
def _block_parameters(student, draw):
    channels, others = draw.distinct(2, 3, 9)
    for out_channels, stride in ((channels, 1), (others, 2)):
        for skip in (True, False):
            student.build(channels, out_channels, stride=stride, skip=skip)
            x = draw.normal(4, channels, 6, 6)
            what = f"{channels} to {out_channels} channels, stride={stride}, skip={skip}"
            prepare(student, x, draw)
            count = 9 * channels * out_channels + 9 * out_channels**2 + 4 * out_channels
            if skip and out_channels != channels:
                count += channels * out_channels + 2 * out_channels
            size = 6 // stride
            expect_count(student, x, draw.normal(4, out_channels, size, size), count, what)
