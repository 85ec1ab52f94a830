"""Checks of ResidualBlock (task 4) and cifar_resnet (task 5), the networks of He et al. 2016 (arXiv:1512.03385).

The reference is the network written out, with the student's own kernels in the order in which they are used: nothing
depends on names or on the order of registration. BatchNorm is at its initial scale and shift and in training mode,
where every BatchNorm is the same function.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lab1.checks._check import Check
from lab1.checks._values import (
    Draw,
    Mistakes,
    Wrong,
    agree,
    expect_gradients,
    expect_same,
    expect_tensor,
    expect_unchanged,
)

SIZES = "The size of tensor a must match the size of tensor b"
VALUES = "Shapes agree, values do not"
LAYERS = "Too few or too many layers"
NO_PROJECTION = (
    "Input and output of a block differ in shape, and no projection makes them fit for the addition: in channels and, "
    "by its stride, in height and width."
)
ALWAYS_SKIPS = "The shortcut is added where skip=False, too."
BATCH = "In evaluation BatchNorm still uses the statistics of the batch."
ERRORS = (
    (r"size of tensor a|must match the size", NO_PROJECTION, SIZES),
    (r"to have \d+ channels", "A convolution is made for another number of channels than it gets.", SIZES),
    (r"modified by an inplace operation", "A tensor that the backward pass needs is changed in place.", VALUES),
    (r"mat1 and mat2", "The linear layer does not fit: the maps are averaged over all positions before it.", SIZES),
)
residual_block = Check(4, "ResidualBlock", hints=(SIZES, VALUES, LAYERS), errors=ERRORS)
cifar_resnet = Check(5, "cifar_resnet", hints=(SIZES, VALUES, LAYERS), errors=ERRORS)


class Used(TorchFunctionMode):
    """Within `with Used() as used:`, used.kernels are the kernels (out, in, h, w) of the convolutions in the order in
    which they are computed, and used.sizes the heights of their outputs.
    """

    def __init__(self):
        super().__init__()
        self.kernels: list[Tensor] = []
        self.sizes: list[int] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func is F.conv2d:
            self.kernels.append(kwargs["weight"] if "weight" in kwargs else args[1])
            self.sizes.append(result.shape[2])
        return result

    def of_size(self, size: int) -> list[Tensor]:
        return [kernel.detach() for kernel in self.kernels if kernel.shape[2:] == (size, size)]


def _prepared(model: nn.Module, images: Tensor, draw: Draw) -> nn.Module:
    """In training mode, with random weights, without biases, and BatchNorm's scale 1 (some start the last one at 0)."""
    model(images.clone())  # lazy layers get their shapes
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    for p in model.parameters():
        if sum(n > 1 for n in p.shape) >= 2:  # no BatchNorm's scale (1, C, 1, 1)
            p.data.copy_(draw.normal(*p.shape) * p[0].numel() ** -0.5)
    return model.train()


def _matrices(model: nn.Module, out_channels: int, in_channels: int) -> list[Tensor]:
    """Matrices among the parameters, as 1x1 kernels: what projects where no convolution does."""
    matrices = [p.detach() for p in model.parameters() if p.ndim == 2]
    return [m[:, :, None, None] for p in matrices for m in (p, p.T) if m.shape == (out_channels, in_channels)]


def _norm(x: Tensor) -> Tensor:
    return F.batch_norm(x, None, None, training=True)


def _conv(x: Tensor, kernel: Tensor, stride: int = 1) -> Tensor:
    return F.conv2d(x, kernel, stride=stride, padding=kernel.shape[2] // 2)


class Block:
    """The two convolutions of a block written out, with what may be wrong about them."""

    def __init__(self, x: Tensor, first: Tensor, second: Tensor, stride: int):
        self.x, self.first, self.second, self.stride = x, first, second, stride

    def branch(self, norm=_norm, relu=F.relu, last_norm=_norm, strides=None) -> Tensor:
        first_stride, second_stride = strides or (self.stride, 1)
        x = relu(norm(_conv(self.x, self.first, first_stride)))
        return last_norm(_conv(x, self.second, second_stride))

    def relu_before_norm(self) -> Tensor:
        return self.branch(norm=lambda x: _norm(x.relu()), relu=_same)

    def pre_activation(self) -> Tensor:
        x = _conv(_norm(self.x).relu(), self.first, self.stride)
        return _conv(_norm(x).relu(), self.second)


def _same(x: Tensor) -> Tensor:
    return x


def _right(block: Block, shortcut: Tensor | float) -> Tensor:
    return F.relu(block.branch() + shortcut)


# what is wrong -> the block as it then is
BLOCK_MISTAKES: dict[str, Callable[[Block, Tensor | float], Tensor]] = {
    "The shortcut is not added where skip=True.": lambda b, s: b.branch().relu(),
    "The shortcut is added after the last ReLU instead of before it.": lambda b, s: b.branch().relu() + s,
    "There is a ReLU before the addition; the only ones belong between the convolutions and after the addition.": (
        lambda b, s: (b.branch().relu() + s).relu()
    ),
    "The ReLU after the addition is missing.": lambda b, s: b.branch() + s,
    "The shortcut is not added where skip=True, and the last ReLU is missing.": lambda b, s: b.branch(),
    "The ReLU between the two convolutions is missing.": lambda b, s: (b.branch(relu=_same) + s).relu(),
    "Both ReLUs are missing.": lambda b, s: b.branch(relu=_same) + s,
    "BatchNorm is missing.": lambda b, s: (b.branch(norm=_same, last_norm=_same) + s).relu(),
    "BatchNorm is missing after the first convolution.": lambda b, s: (b.branch(norm=_same) + s).relu(),
    "BatchNorm is missing after the second convolution.": lambda b, s: (b.branch(last_norm=_same) + s).relu(),
    "BatchNorm comes after the ReLU instead of before it.": lambda b, s: (b.relu_before_norm() + s).relu(),
    "The second BatchNorm comes after the addition instead of before it.": (
        lambda b, s: _norm(b.branch(last_norm=_same) + s).relu()
    ),
    "Each image is normalised by itself: that is not BatchNorm.": (
        lambda b, s: (b.branch(norm=F.instance_norm, last_norm=F.instance_norm) + s).relu()
    ),
    "This is the pre-activation order (BatchNorm, ReLU, convolution), not the basic block.": (
        lambda b, s: b.pre_activation() + s
    ),
    "The stride is in the second convolution instead of the first.": (
        lambda b, s: (b.branch(strides=(1, b.stride)) + s).relu()
    ),
    "The shortcut is multiplied instead of added.": lambda b, s: (b.branch() * s).relu(),
    "The output of the convolutions is added to itself, not to the input.": lambda b, s: (2 * b.branch()).relu(),
}


@residual_block.claim("(N, in_channels, H, W) becomes (N, out_channels, H / stride, W / stride), rounded up")
def _block_shape(answer, draw):
    channels, others = draw.distinct(2, 2, 9)
    _expect_block_shape(answer, draw, channels, channels, 1, skip=False)
    for skip in (True, False):
        _expect_block_shape(answer, draw, channels, others, 1, skip)
        _expect_block_shape(answer, draw, channels, channels, 2, skip)
        _expect_block_shape(answer, draw, channels, others, draw.integer(2, 3), skip)


def _expect_block_shape(answer, draw, in_channels: int, out_channels: int, stride: int, skip: bool) -> None:
    count, height, width = draw.integer(2, 4), draw.integer(7, 12), draw.integer(7, 12)
    block = answer(in_channels, out_channels, stride=stride, skip=skip)
    try:
        out = block(draw.normal(count, in_channels, height, width))
    except RuntimeError as error:
        if not skip and "size of tensor" in str(error):
            raise Wrong(f"RuntimeError: {error}", ALWAYS_SKIPS, SIZES) from None
        raise
    size = -(-height // stride), -(-width // stride)
    if isinstance(out, Tensor) and out.shape[2:] != size:
        mistakes = {
            "The stride is not used.": (height, width),
            "Both convolutions have the stride.": (-(-size[0] // stride), -(-size[1] // stride)),
            "The padding is missing.": ((height - 3) // stride - 1, (width - 3) // stride - 1),
        }
        mistake = next((words for words, wrong in mistakes.items() if wrong == tuple(out.shape[2:])), "")
        text = f"stride={stride}, skip={skip}: {height}x{width} becomes {out.shape[2]}x{out.shape[3]}"
        raise Wrong(f"{text}, expected {size[0]}x{size[1]}.", mistake, SIZES)
    expect_tensor(out, (count, out_channels, *size), torch.float32, "The output", SIZES)


@residual_block.claim("skip=True, same shape: the input itself is added, and ReLU and BatchNorm are in their places")
def _identity_block(answer, draw):
    channels = draw.integer(3, 9)
    _expect_block(answer, draw, channels, channels, 1)  # skip=True is the default


@residual_block.claim("skip=True, another shape: a 1x1 projection of the input is added")
def _projection_block(answer, draw):
    channels, others = draw.distinct(2, 3, 9)
    for out_channels, stride in ((others, 1), (channels, 2), (others, 2)):
        _expect_block(answer, draw, channels, out_channels, stride, skip=True)


@residual_block.claim("skip=False: the same without a shortcut")
def _plain_block(answer, draw):
    channels, others = draw.distinct(2, 3, 9)
    for out_channels, stride in ((channels, 1), (others, 2)):
        _expect_block(answer, draw, channels, out_channels, stride, skip=False)


def _expect_block(answer, draw, in_channels: int, out_channels: int, stride: int, **options: bool) -> None:
    x = draw.normal(3, in_channels, draw.integer(6, 9), draw.integer(6, 9))
    model = _prepared(answer(in_channels, out_channels, stride=stride, **options), x, draw)
    given = x.clone()
    with Used() as used:
        out = model(given).detach()
    expect_unchanged(x, given, "the block's inputs", VALUES)
    skip, changes = options.get("skip", True), stride > 1 or in_channels != out_channels
    kernels = used.of_size(3)
    if [k.shape[:2] for k in kernels] != [(out_channels, in_channels), (out_channels, out_channels)]:
        shapes = ", ".join(str(tuple(k.shape)) for k in used.kernels) or "none"
        mistake = "There are not two 3x3 convolutions."
        if len(kernels) == 3 and skip and changes:
            mistake = "The projection has a 3x3 kernel instead of 1x1."
        raise Wrong(f"Kernels of the convolutions: {shapes}.", mistake, LAYERS)
    case = f"{in_channels} to {out_channels} channels, stride={stride}, {_told(options)}"
    projections = used.of_size(1)
    if skip and changes and not projections:
        projections = _matrices(model, out_channels, in_channels)
    if skip and changes != bool(projections):
        mistake = "The shortcut is no 1x1 projection." if changes else "There is a projection where none is needed."
        raise Wrong(f"{case}: {len(projections)} 1x1 convolutions.", mistake, SIZES)
    block, projected = Block(x, *kernels, stride), [_conv(x, kernel, stride) for kernel in projections]
    shortcuts = [each for p in projected for each in (_norm(p), p)] if changes else [x]
    right = [_right(block, s) for s in shortcuts] if skip else _right(block, 0.0)
    mistakes = {ALWAYS_SKIPS: [_right(block, s) for s in shortcuts]}
    for words, wrong in BLOCK_MISTAKES.items():
        mistakes[words] = [wrong(block, s) for s in (shortcuts if skip else [0.0])]
    expect_same(out, right, mistakes, VALUES, case, 1e-3)


def _told(options: dict[str, bool]) -> str:
    return f"skip={options['skip']}" if options else "skip not given"


@residual_block.claim("in evaluation, each image for itself: BatchNorm uses its running statistics")
def _block_alone(answer, draw):
    channels, others = draw.distinct(2, 3, 9)
    _expect_alone(answer(channels, others, stride=2), draw.normal(6, channels, 8, 8))
    block = answer(channels, channels)
    _expect_alone(block, draw.normal(6, channels, 8, 8))
    statistics = [buffer for buffer in block.buffers() if buffer.numel() == channels]
    if len(statistics) < 4:  # two means, two variances
        mistake = "One BatchNorm serves both convolutions, but each needs statistics of its own."
        if not statistics:
            mistake = "There is no BatchNorm with running statistics."
        raise Wrong("There are fewer running means and variances than two convolutions need.", mistake, LAYERS)


def _expect_alone(model: nn.Module, images: Tensor) -> None:
    """After a training step's forward pass, in evaluation, the images of a batch do not influence each other."""
    model.train()(images)
    together = model.eval()(images).detach()
    alone = torch.cat([model(image[None]) for image in images]).detach()
    if not agree(alone, together, 1e-3):
        raise Wrong("An image alone gives another output than within a batch.", BATCH, VALUES)


@residual_block.claim("every parameter gets a gradient")
def _block_gradients(answer, draw):
    channels, others = draw.distinct(2, 3, 9)
    return _expect_gradients(lambda skip: answer(channels, others, skip=skip), draw.normal(4, channels, 6, 6))


def _expect_gradients(build: Callable[[bool], nn.Module], images: Tensor) -> str:
    """With skip=True all parameters have one; with skip=False a remark says which are never used."""
    for skip in (True, False):
        model = build(skip).train()
        model(images).square().sum().backward()
        if skip:
            expect_gradients(model, LAYERS)
    unused = sum(p.numel() for p in model.parameters() if p.grad is None)
    return f"Remark: with skip=False, {unused:,} of the parameters are never used." if unused else ""


@cifar_resnet.claim("images (N, 3, 32, 32) become logits (N, num_classes)")
def _resnet_shape(answer, draw):
    num_classes, images = draw.integer(3, 9), draw.normal(2, 3, 32, 32)
    expect_tensor(answer(1)(images), (2, 10), torch.float32, "The output", SIZES)
    logits = answer(2, num_classes=num_classes)(images)
    if isinstance(logits, Tensor) and logits.shape == (2, 10):
        text = f"The output has shape (2, 10) with num_classes={num_classes}, expected (2, {num_classes})."
        raise Wrong(text, "num_classes is not used.", SIZES)
    expect_tensor(logits, (2, num_classes), torch.float32, "The output", SIZES)


@cifar_resnet.claim("6n + 2 layers: 3x3 convolutions with 16, 32 and 64 channels, and a linear layer")
def _resnet_layers(answer, draw):
    for n, skip in ((1, True), (2, False), (3, True)):
        _traced(answer(n, skip=skip), n, draw.normal(1, 3, 32, 32))


def _traced(model: nn.Module, n: int, images: Tensor) -> tuple[Tensor, Used]:
    """The network's output and its convolutions.

    Raises:
        Wrong: these are not the 6n + 1 of the task.
    """
    with Used() as used:
        out = model(images).detach()
    kernels = used.of_size(3)
    widths = [3, *[16] * (2 * n + 1), *[32] * (2 * n), *[64] * (2 * n)]
    if [k.shape[:2] for k in kernels] == [(b, a) for a, b in zip(widths, widths[1:], strict=False)]:
        if len({k.data_ptr() for k in kernels}) < len(kernels):
            mistake = "The same block is used several times, so that its weights are shared."
            raise Wrong(f"n={n}: some of the {len(kernels)} convolutions have the same weights.", mistake, LAYERS)
        return out, used
    found = [len(k) for k in kernels]
    mistake = "The channels of the stages are others than 16, 32, 64."
    if any(k.shape[2] > 3 for k in used.kernels):
        mistake = "The first convolution is that of the networks for large images, not 3x3."
    elif len(found) == 8 * n + 1:
        mistake = "There are four stages, as in ResNet18, instead of three."
    elif len(found) == 3 * n + 1:
        mistake = "A stage has n convolutions instead of n blocks of two."
    elif len(found) != 6 * n + 1:
        mistake = "The number of layers is another, or does not depend on n as it should."
    text = f"n={n}: {len(found)} 3x3 convolutions with {sorted(set(found))} channels, expected {6 * n + 1}."
    raise Wrong(text, mistake, LAYERS)


@cifar_resnet.claim("maps of 32x32, 16x16 and 8x8 in the three stages")
def _resnet_sizes(answer, draw):
    n = draw.integer(1, 2)
    _, used = _traced(answer(n), n, draw.normal(1, 3, 32, 32))
    sizes = [s for s, k in zip(used.sizes, used.kernels, strict=True) if k.shape[2] == 3]
    if sizes != [*[32] * (2 * n + 1), *[16] * (2 * n), *[8] * (2 * n)]:
        mistake = "The maps are not halved exactly twice, where the second and where the third stage begins."
        raise Wrong(f"n={n}: the convolutions give maps of size {sizes}.", mistake, SIZES)


@cifar_resnet.claim("skip=True: the residual network")
def _residual_network(answer, draw):
    _expect_network(answer, draw, draw.integer(1, 2))  # skip=True is the default


@cifar_resnet.claim("skip=False: the plain network")
def _plain_network(answer, draw):
    _expect_network(answer, draw, draw.integer(1, 2), skip=False)


def _expect_network(answer, draw, n: int, **options: bool) -> None:
    num_classes, images, skip = draw.integer(4, 12), draw.normal(2, 3, 32, 32), options.get("skip", True)
    model = _prepared(answer(n, num_classes=num_classes, **options), images, draw)
    out, used = _traced(model, n, images)
    linear = _linear_layer(model, num_classes)
    projections = [k for k in used.of_size(1) if len(k) != num_classes]
    projections = projections or [*_matrices(model, 32, 16), *_matrices(model, 64, 32)]
    if [tuple(k.shape[:2]) for k in projections] not in ([], [(32, 16), (64, 32)]):
        shapes = ", ".join(f"{k.shape[1]} to {k.shape[0]}" for k in projections)
        mistake = "There are projections where none are needed, or too few."
        raise Wrong(f"n={n}: 1x1 convolutions from {shapes} channels.", mistake, LAYERS)
    shortcuts = [_projected(projections, _norm), _projected(projections, _same)] if projections else PADDED
    right = shortcuts if skip else [_none]

    def networks(block=_right, shortcuts=right, **parts) -> list[Tensor]:
        return [_network(images, used.of_size(3), linear, block, shortcut, **parts) for shortcut in shortcuts]

    def mistakes() -> Mistakes:
        return {
            ALWAYS_SKIPS: networks(shortcuts=shortcuts),
            "No shortcut leads from one stage to the next.": networks(shortcuts=[_within_stage]),
            "There is a softmax at the end: logits are the values before it.": [y.softmax(1) for y in networks()],
            "There is a log-softmax at the end: logits are the values before it.": (
                [y.log_softmax(1) for y in networks()]
            ),
            "The maximum of each map is taken instead of its mean.": networks(pool=torch.amax),
            "The ReLU after the first convolution is missing.": networks(stem=_norm),
            "BatchNorm is missing after the network's first convolution.": networks(stem=F.relu),
            **{words: networks(wrong) for words, wrong in BLOCK_MISTAKES.items()},
        }

    expect_same(out, networks(), mistakes, VALUES, f"n={n}, {_told(options)}", 1e-3)


def _linear_layer(model: nn.Module, num_classes: int) -> Callable[[Tensor], Tensor]:
    """(N, 64) to (N, num_classes), written out; it may be a 1x1 convolution in the model."""
    parameters = [p.detach().squeeze() for p in model.parameters() if num_classes in p.shape]
    wide = [p for p in parameters if p.ndim >= 2]
    if not wide or wide[-1].numel() != 64 * num_classes:
        text = f"The last layer has a weight of shape {tuple(wide[-1].shape) if wide else 'None'}, expected 64 inputs."
        raise Wrong(text, "The maps are not averaged over all positions before the linear layer.", LAYERS)
    weight = wide[-1] if wide[-1].shape == (64, num_classes) else wide[-1].T
    bias = [p for p in parameters if p.ndim == 1]
    return lambda x: x @ weight + (bias[-1] if bias else 0)


def _norm_and_relu(x: Tensor) -> Tensor:
    return _norm(x).relu()


def _network(images: Tensor, kernels, linear, block, shortcut, stem=_norm_and_relu, pool=torch.mean) -> Tensor:
    x = stem(_conv(images, kernels[0]))
    for first, second in zip(kernels[1::2], kernels[2::2], strict=True):
        stride = 1 if first.shape[0] == first.shape[1] else 2
        x = block(Block(x, first, second, stride), shortcut(x, stride > 1))
    return linear(pool(x, dim=(2, 3)))


# What a block adds, from its input and whether its shape changes.


def _none(x: Tensor, changes: bool) -> float:
    return 0.0


def _within_stage(x: Tensor, changes: bool) -> Tensor | float:
    return 0.0 if changes else x


def _projected(kernels: list[Tensor], norm: Callable) -> Callable:
    by_channels = {kernel.shape[1]: kernel for kernel in kernels}
    return lambda x, changes: norm(_conv(x, by_channels[x.shape[1]], 2)) if changes else x


def _padded(before: float, shrink: Callable) -> Callable:
    """He et al.'s option A: a smaller map, and zeros for the new channels, a part of them before the others."""

    def shortcut(x: Tensor, changes: bool) -> Tensor:
        first = int(before * x.shape[1])
        return F.pad(shrink(x), (0, 0, 0, 0, first, x.shape[1] - first)) if changes else x

    return shortcut


def _every_other(x: Tensor) -> Tensor:
    return x[:, :, ::2, ::2]


def _pooled(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 2)


PADDED = [_padded(before, shrink) for shrink in (_every_other, _pooled) for before in (0, 0.5, 1)]


@cifar_resnet.claim("in evaluation, each image for itself: BatchNorm uses its running statistics")
def _resnet_alone(answer, draw):
    _expect_alone(answer(1), draw.normal(4, 3, 32, 32))


@cifar_resnet.claim("every parameter gets a gradient")
def _resnet_gradients(answer, draw):
    return _expect_gradients(lambda skip: answer(1, skip=skip), draw.normal(3, 3, 32, 32))
