"""The basic block of He et al. 2016 (arXiv:1512.03385) written out, and what may be wrong about it.

The reference is computed with the student's own kernels in the order in which they are used: nothing depends on names
or on the order of registration. BatchNorm is at its initial scale and shift and in training mode, where every BatchNorm
is the same function.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lab1.checks._student import Cause, Student, Wrong
from lab1.checks._values import CUT_OFF, Draw, agree, expect_lasting, unseen

SIZES = "The size of tensor a must match the size of tensor b"
VALUES = "Shapes agree, values do not"
LAYERS = "Too few or too many layers"
ALWAYS_SKIPS = "The shortcut is added where skip=False, too."
BATCH = "In evaluation BatchNorm still uses the statistics of the batch."
ACTIVATED = "There is a ReLU on the shortcut, which changes what is added."
UNUSED = "These parameters are never used"
CAUSES = (
    Cause(r"size of tensor|must match", "", SIZES, lambda student, draw: False),
    Cause(r"to have \d+ channels", "A convolution is made for another number of channels than it gets.", SIZES),
    Cause(r"modified by an inplace operation", "A tensor that the backward pass needs is changed in place.", VALUES),
)


def prepare(student: Student, images: Tensor, draw: Draw) -> dict[str, Tensor]:
    """A model whose calls repeat, with the weights of `set_weights`, which are returned."""
    expect_lasting(student, [images], "The model", VALUES)
    return set_weights(student, draw)


def set_weights(student: Student, draw: Draw) -> dict[str, Tensor]:
    """Training mode, random weights, no biases, and BatchNorm's scale 1 (some start the last one at 0).

    Returns the new values of the parameters, by their names; of the others their own.
    """
    values = {}
    for p in student.parameters():
        layer, shape = p["layer"], p["value"].shape
        if sum(n > 1 for n in shape) >= 2:  # whatever it is called; no BatchNorm's scale (1, C, 1, 1)
            values[p["name"]] = draw.normal(*shape) * p["value"][0].numel() ** -0.5
        elif "BatchNorm" in layer:
            values[p["name"]] = torch.full(shape, float(layer.endswith("weight")))
        elif layer.endswith("bias"):
            values[p["name"]] = torch.zeros(shape)
    student.load(values)
    student.mode(True)
    return student.values() | values


def expect_loaded(student: Student, images: Tensor, layers: list[dict], loaded: dict[str, Tensor]) -> None:
    """The kernels of all convolutions are parameters, with the values that were loaded: a reference can use them.

    Raises:
        Wrong: one is not.
    """
    numbers = [each.reshape(-1) for value in loaded.values() for each in (value, value.T if value.ndim == 2 else value)]
    for layer in layers:
        kernel = layer["weight"]
        if layer["is"] == "conv2d" and not any(torch.equal(kernel.detach().reshape(-1), each) for each in numbers):
            shape = tuple(kernel.shape)
            mistake = unseen(student, [images]) or "Its kernel is changed by the call, or is made in another way."
            raise Wrong(f"A convolution with a kernel {shape} does not use the model's parameters.", mistake, LAYERS)


def kernels(layers: list[dict], size: int) -> list[Tensor]:
    """The weights (out, in, size, size) of the convolutions, in the order in which they were computed."""
    weights = [layer["weight"].detach() for layer in layers if layer["is"] == "conv2d"]
    return [weight for weight in weights if weight.shape[2:] == (size, size)]


def matrices(parameters: dict[str, Tensor], out_channels: int, in_channels: int) -> list[Tensor]:
    """Matrices among the parameters, as 1x1 kernels: what projects where no convolution does."""
    found = [m for value in parameters.values() if value.ndim == 2 for m in (value, value.T)]
    return [m[:, :, None, None] for m in found if m.shape == (out_channels, in_channels)]


def norm(x: Tensor) -> Tensor:
    return F.batch_norm(x, None, None, training=True)


def conv(x: Tensor, kernel: Tensor, stride: int = 1) -> Tensor:
    return F.conv2d(x, kernel, stride=stride, padding=kernel.shape[2] // 2)


def same(x: Tensor) -> Tensor:
    return x


class Block:
    """The two convolutions of a block written out, with what may be wrong about them."""

    def __init__(self, x: Tensor, first: Tensor, second: Tensor, stride: int):
        self.x, self.first, self.second, self.stride = x, first, second, stride

    def branch(self, norm=norm, relu=F.relu, last_norm=norm, strides=None) -> Tensor:
        first_stride, second_stride = strides or (self.stride, 1)
        x = relu(norm(conv(self.x, self.first, first_stride)))
        return last_norm(conv(x, self.second, second_stride))

    def inside(self) -> Tensor:
        """Between the two convolutions."""
        return norm(conv(self.x, self.first, self.stride)).relu()

    def relu_before_norm(self) -> Tensor:
        return self.branch(norm=lambda x: norm(x.relu()), relu=same)

    def pre_activation(self) -> Tensor:
        x = conv(norm(self.x).relu(), self.first, self.stride)
        return conv(norm(x).relu(), self.second)


def right(block: Block, shortcut: Tensor | float) -> Tensor:
    return F.relu(block.branch() + shortcut)


# what is wrong -> the block as it then is
BLOCK_MISTAKES: dict[str, Callable[[Block, Tensor | float], Tensor]] = {
    "The shortcut is not added where skip=True.": lambda b, s: b.branch().relu(),
    "The shortcut is added after the last ReLU instead of before it.": lambda b, s: b.branch().relu() + s,
    "There is a ReLU before the addition; the only ones belong between the convolutions and after the addition.": (
        lambda b, s: (b.branch().relu() + s).relu()
    ),
    ACTIVATED: (lambda b, s: (b.branch() + torch.as_tensor(s).relu()).relu()),
    "The ReLU after the addition is missing.": lambda b, s: b.branch() + s,
    "The shortcut is not added where skip=True, and the last ReLU is missing.": lambda b, s: b.branch(),
    "The ReLU between the two convolutions is missing.": lambda b, s: (b.branch(relu=same) + s).relu(),
    "Both ReLUs are missing.": lambda b, s: b.branch(relu=same) + s,
    "BatchNorm is missing.": lambda b, s: (b.branch(norm=same, last_norm=same) + s).relu(),
    "BatchNorm is missing after the first convolution.": lambda b, s: (b.branch(norm=same) + s).relu(),
    "BatchNorm is missing after the second convolution.": lambda b, s: (b.branch(last_norm=same) + s).relu(),
    "BatchNorm comes after the ReLU instead of before it.": lambda b, s: (b.relu_before_norm() + s).relu(),
    "The second BatchNorm comes after the addition instead of before it.": (
        lambda b, s: norm(b.branch(last_norm=same) + s).relu()
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
    "The output of the convolutions is added to itself: x was overwritten before the shortcut took it.": (
        lambda b, s: (2 * b.branch()).relu()
    ),
    "The shortcut starts between the two convolutions: x was overwritten before the shortcut took it.": (
        lambda b, s: (b.branch() + b.inside()).relu()
    ),
}


def told(options: dict[str, bool]) -> str:
    return f"skip={options['skip']}" if options else "skip not given"


def expect_alone(student: Student, images: Tensor) -> None:
    """After a training step's forward pass, in evaluation, the images of a batch do not influence each other."""
    student.mode(True)
    student.call(images)
    student.mode(False)
    together = student.call(images).detach()
    alone = [student.call(image[None]).detach() for image in images]
    if alone[0].ndim == together.ndim - 1:
        text = f"A batch of one image gives an output of shape {tuple(alone[0].shape)}."
        raise Wrong(text, "squeeze removes the batch dimension, too, if there is only one image.", SIZES)
    if not agree(torch.cat(alone), together, 1e-3):
        raise Wrong("In evaluation, an image alone gives another output than within a batch.", BATCH, VALUES)


def expect_count(student: Student, images: Tensor, weights: Tensor, expected: int, what: str) -> None:
    """Every parameter is used, and there are as many as expected; superfluous biases before a BatchNorm do not count.

    Raises:
        Wrong: with what the trace shows.
    """
    values = student.values()
    gradients = student.gradients([images], weights)
    if unused := [name for name in values if gradients[name] is None]:
        before = student.call(images)
        student.load({name: values[name] + 1 for name in unused})
        is_unused = agree(student.call(images), before)
        count = sum(values[name].numel() for name in unused)
        mistake = f"{UNUSED}: make a layer only where it is needed." if is_unused else CUT_OFF
        names = ", ".join(unused[:6]) + (", ..." if len(unused) > 6 else "")
        raise Wrong(f"{what}: no gradient for {names} ({count:,} parameters).", mistake, LAYERS)
    largest = max((gradient.abs().max() for gradient in gradients.values()), default=0)
    counted = [
        name
        for name, value in values.items()
        if sum(n > 1 for n in value.shape) >= 2 or gradients[name].abs().max() > 1e-4 * largest
    ]
    count = sum(values[name].numel() for name in counted)
    if count != expected:
        text = f"{what}: {count:,} parameters that have an effect, expected {expected:,}."
        raise Wrong(text, unseen(student, [images]) or _shared(student.trace(images)["layers"]), LAYERS)


def _shared(layers: list[dict]) -> str:
    for kind, words in (("conv2d", "One convolution is used twice"), ("batch_norm", "One BatchNorm is used twice")):
        names = [layer["name"] for layer in layers if layer["is"] == kind and layer["name"]]
        if len(set(names)) < len(names):
            return f"{words}: each place needs a layer of its own."
    if any(layer["is"] == "batch_norm" and layer["weight"] is None for layer in layers):
        return "A BatchNorm has no scale and shift (affine=False)."
    return ""
