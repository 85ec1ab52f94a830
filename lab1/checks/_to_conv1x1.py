"""Check of task 8, to_conv1x1: a linear layer at every pixel."""

import torch
from torch import Tensor

from lab1.checks._check import Check
from lab1.checks._student import Cause, Student, Wrong
from lab1.checks._values import Draw, expect_gradients, expect_same, expect_tensor

CONV = "A Conv2d, but with another kernel"
VALUES = "Shapes agree, values do not"
BIAS = "Wrong by the same number at every pixel"


def _only_without_bias(student: Student, draw: Draw) -> bool:
    """Whether only a linear layer without bias is a problem."""
    with_bias = student.can("surgery", draw.normal(3, 4), draw.normal(3))
    return with_bias and not student.can("surgery", draw.normal(3, 4), None)


to_conv1x1 = Check(
    8,
    "to_conv1x1",
    hints=(CONV, VALUES, BIAS),
    causes=(
        Cause(r"NoneType", "A linear layer may have no bias: then it is None.", BIAS, _only_without_bias),
        Cause(
            r"leaf Variable that requires grad|leaf variable",
            "A parameter is written into outside of torch.no_grad().",
            VALUES,
        ),
        Cause(r"cannot assign .* as parameter", "A tensor is assigned where a parameter is needed.", VALUES),
        Cause(
            r"expanded size|size of tensor|size mismatch|non-singleton|broadcast shape",
            "A weight of shape (out, in) is written where (out, in, 1, 1) is needed.",
            CONV,
            lambda student, draw: student.can("surgery", draw.normal(1, 1), draw.normal(1)),
        ),
    ),
)


@to_conv1x1.claim("an nn.Conv2d with as many channels as the linear layer has features, and a 1x1 kernel")
def _is_conv(student, draw):
    in_features, out_features = draw.distinct(2, 3, 9)
    kind = student.surgery(draw.normal(out_features, in_features), draw.normal(out_features))
    if not kind["kernel"]:
        mistake = "A return statement is missing." if kind["type"] == "NoneType" else ""
        raise Wrong(f"What it returns is of type {kind['type']}, not an nn.Conv2d.", mistake, CONV)
    shape, expected = tuple(kind["kernel"]), (out_features, in_features, 1, 1)
    if shape != expected:
        mistake = ""
        if len(shape) == 2:
            mistake = "The convolution has the linear layer's own weight, which lacks two dimensions of size 1."
        elif shape[2:] != (1, 1):
            mistake = "The kernel is larger than 1x1."
        elif shape[:2] == (in_features, out_features):
            mistake = "In and out are the wrong way round."
        raise Wrong(f"The weight has shape {shape}, expected {expected}.", mistake, CONV)
    out = student.call(draw.normal(2, in_features, 3, 4))
    if isinstance(out, Tensor) and out.ndim == 4 and out.shape[2:] != (3, 4):
        text = f"Its output has height and width {tuple(out.shape[2:])}, its input (3, 4)."
        raise Wrong(text, "It has a stride or a padding, which a 1x1 kernel does not need.", CONV)
    expect_tensor(out, (2, out_features, 3, 4), torch.float32, "Its output", CONV)


@to_conv1x1.claim("the linear layer's function at every pixel")
def _same_function(student, draw):
    square = draw.integer(4, 8)
    for in_features, out_features in (draw.distinct(2, 3, 9), (square, square)):
        _expect_function(student, draw, draw.normal(out_features, in_features), draw.normal(out_features))


def _expect_function(student: Student, draw: Draw, weight: Tensor, bias: Tensor | None) -> None:
    student.surgery(weight, bias)
    x = draw.normal(2, weight.shape[1], *draw.distinct(2, 2, 7))
    own = student.values()
    out = student.call(x)
    own_weight, no_bias = own.get("weight", weight).reshape(-1), torch.zeros(len(weight))
    own_bias, bias = own.get("bias", no_bias), no_bias if bias is None else bias

    def at_every_pixel(weight: Tensor, bias: Tensor) -> Tensor:
        return torch.einsum("nihw,oi->nohw", x, weight) + bias[:, None, None]

    mistakes = {
        "The weight is transposed or reshaped so that its rows are mixed up.": (
            at_every_pixel(weight.T.reshape(weight.shape), bias)
        ),
        "The bias is added twice.": at_every_pixel(weight, 2 * bias),
        "The weight is divided by the number of positions.": at_every_pixel(weight / x[0, 0].numel(), bias),
        "The classes are in another order.": at_every_pixel(weight.flip(0), bias.flip(0)),
    }
    if not own_bias.equal(bias):
        mistakes["The bias is not copied."] = at_every_pixel(weight, own_bias)
        if not bias.any():
            mistakes["The bias is not copied."] = []
            words = "The linear layer has no bias, but the convolution has one, which is random at first."
            mistakes[words] = at_every_pixel(weight, own_bias)
    if own_weight.numel() == weight.numel() and _is_random(student, own_weight, weight):
        words = "The weight is not copied: a new convolution starts with random numbers."
        mistakes[words] = at_every_pixel(own_weight.view(weight.shape), own_bias)
    expected = at_every_pixel(weight, bias)
    out = expect_tensor(out, expected.shape, torch.float32, "Its output", CONV)
    differs_by_bias = torch.allclose(out - own_bias[:, None, None], expected - bias[:, None, None], atol=1e-4)
    expect_same(out, expected, mistakes, BIAS if differs_by_bias else VALUES, "A pixel")


def _is_random(student: Student, own: Tensor, weight: Tensor) -> bool:
    """Whether none of the numbers comes from the linear layer, and a second call gives others."""
    student.surgery(weight, None)
    again = next(p["value"] for p in student.parameters() if p["value"].numel() == own.numel())
    return not (own[:, None] == weight.flatten()).any() and not again.detach().reshape(-1).equal(own)


@to_conv1x1.claim("for a linear layer without bias, too")
def _without_bias(student, draw):
    in_features, out_features = draw.distinct(2, 3, 9)
    _expect_function(student, draw, draw.normal(out_features, in_features), None)


@to_conv1x1.claim("the linear layer stays as it was, and the convolution can learn")
def _linear_stays(student, draw):
    weight, bias = draw.normal(4, 5), draw.normal(4)
    seen = student.surgery(weight, bias)
    linear = seen["linear"]
    if linear["weight"].shape != weight.shape:
        text = f"After the call the linear layer's weight has shape {tuple(linear['weight'].shape)}."
        raise Wrong(text, "The linear layer itself is reshaped.", VALUES)
    if not (torch.equal(linear["weight"], weight) and torch.equal(linear["bias"], bias)):
        text = "After the call the linear layer's parameters are no longer what they were."
        raise Wrong(text, "The linear layer is changed in place.", VALUES)
    expect_gradients(student, [draw.normal(2, 5, 3, 3)], draw.normal(2, 4, 3, 3), "The convolution", VALUES)
    if seen["shares"]:
        return "Remark: the convolution shares its memory with the linear layer: training one changes the other."
