"""Checks of to_conv1x1 (task 8) and FCNHead (task 9): a network made fully convolutional (arXiv:1411.4038)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from lab1.checks._check import Check
from lab1.checks._values import Draw, Wrong, agree, expect_gradients, expect_same, expect_tensor, expect_unchanged

CONV = "A Conv2d, but with another kernel"
VALUES = "Shapes agree, values do not"
BIAS = "Wrong by the same number at every pixel"
to_conv1x1 = Check(
    8,
    "to_conv1x1",
    hints=(CONV, VALUES, BIAS),
    errors=(
        (r"NoneType", "A linear layer may have no bias: then it is None.", BIAS),
        (r"does not require grad", "Its parameters are frozen, or cut off from the gradient.", VALUES),
        (r"cannot assign .* as parameter", "A tensor is assigned where a parameter is needed.", VALUES),
        (r"size of tensor|shape|sizes|view", "The weight (out, in) is not brought to (out, in, 1, 1).", CONV),
    ),
)


def _linear(draw: Draw, in_features: int, out_features: int, bias: bool = True) -> nn.Linear:
    linear = nn.Linear(in_features, out_features, bias)
    for p in linear.parameters():
        p.data.copy_(draw.normal(*p.shape))
    return linear


@to_conv1x1.claim("an nn.Conv2d with as many channels as the linear layer has features, and a 1x1 kernel")
def _is_conv(answer, draw):
    in_features, out_features = draw.distinct(2, 3, 9)
    conv = answer(_linear(draw, in_features, out_features))
    if not isinstance(conv, nn.Conv2d):
        mistake = "A return statement is missing." if conv is None else "It is not one convolution."
        raise Wrong(f"What it returns is {type(conv).__name__}.", mistake, CONV)
    shape, expected = tuple(conv.weight.shape), (out_features, in_features, 1, 1)
    if shape != expected:
        mistake = "The kernel is larger than 1x1." if shape[2:] != (1, 1) else "In and out are the wrong way round."
        raise Wrong(f"The kernel has shape {shape}, expected {expected}.", mistake, CONV)
    out = conv(draw.normal(2, in_features, 3, 4))
    if out.shape[2:] != (3, 4):
        mistake = "It has a stride or a padding, which a 1x1 kernel does not need."
        raise Wrong(f"Its output has height and width {tuple(out.shape[2:])}, its input (3, 4).", mistake, CONV)
    expect_tensor(out, (2, out_features, 3, 4), torch.float32, "Its output", CONV)


@to_conv1x1.claim("the linear layer's function at every pixel")
def _same_function(answer, draw):
    square = draw.integer(4, 8)
    for in_features, out_features in (draw.distinct(2, 3, 9), (square, square)):
        _expect_function(answer, draw, _linear(draw, in_features, out_features))


def _expect_function(answer, draw: Draw, linear: nn.Linear) -> None:
    weight = linear.weight.detach().clone()
    bias = torch.zeros(len(weight)) if linear.bias is None else linear.bias.detach().clone()
    conv, x = answer(linear), draw.normal(2, weight.shape[1], *draw.distinct(2, 2, 7))
    own_weight, own_bias = conv.weight.detach(), torch.zeros(len(weight)) if conv.bias is None else conv.bias.detach()

    def at_every_pixel(weight: Tensor, bias: Tensor) -> Tensor:
        return torch.einsum("nihw,oi->nohw", x, weight) + bias[:, None, None]

    mistakes = {
        "The weight is transposed or reshaped so that its rows are mixed up.": (
            at_every_pixel(weight.T.reshape(weight.shape), bias)
        ),
        "The bias is not copied.": at_every_pixel(weight, own_bias),
        "The bias is added twice.": at_every_pixel(weight, 2 * bias),
        "The weight is divided by the number of positions.": at_every_pixel(weight / x[0, 0].numel(), bias),
        "The classes are in another order.": at_every_pixel(weight.flip(0), bias.flip(0)),
        "The weight is not copied: a new convolution starts with random numbers.": (
            at_every_pixel(own_weight.view(weight.shape), own_bias)
        ),
    }
    expected = at_every_pixel(weight, bias)
    out = expect_tensor(conv(x), expected.shape, torch.float32, "Its output", CONV)
    expect_same(out, expected, mistakes, VALUES if linear.bias is not None else BIAS, "A pixel")


@to_conv1x1.claim("for a linear layer without bias, too")
def _without_bias(answer, draw):
    _expect_function(answer, draw, _linear(draw, *draw.distinct(2, 3, 9), bias=False))


@to_conv1x1.claim("the linear layer stays as it was, and the convolution can learn")
def _linear_stays(answer, draw):
    linear = _linear(draw, 5, 4)
    before = [p.detach().clone() for p in linear.parameters()]
    conv = answer(linear)
    conv(draw.normal(2, 5, 3, 3)).sum().backward()
    for old, p in zip(before, linear.parameters(), strict=True):
        expect_unchanged(old, p.detach(), "the linear layer's parameters", VALUES)
    expect_gradients(conv, VALUES)
    if {p.data_ptr() for p in conv.parameters()} & {p.data_ptr() for p in linear.parameters()}:
        return "Remark: the convolution shares its memory with the linear layer: training one changes the other."


SIZE = "The output has the size of a feature map"
FUSED = "Blocks instead of contours"
fcn_head = Check(
    9,
    "FCNHead",
    hints=(SIZE, FUSED, VALUES),
    errors=(
        (
            r"to have \d+ channels|mat1 and mat2",
            "The maps are taken in the wrong order: they come from fine to coarse.",
            FUSED,
        ),
        (r"non-singleton dimension 1", "Maps of different channels are added: each is to be scored first.", FUSED),
        (r"values to unpack|IndexError", "The number of maps is fixed in the code.", FUSED),
        (r"size of tensor", "Maps of different sizes are added: one is not always exactly twice the other.", SIZE),
    ),
)


def _features(draw: Draw, in_channels: list[int], stride: int, size: tuple[int, int]) -> list[Tensor]:
    """From fine to coarse, each half as large as the one before, rounded up; two images."""
    strides = [stride * 2**i for i in range(len(in_channels))]
    return [draw.normal(2, c, *(-(-n // s) for n in size)) for c, s in zip(in_channels, strides, strict=True)]


@fcn_head.claim("logits (N, num_classes, *size), for any size and any number of maps")
def _head_shape(answer, draw):
    for count in (3, 1, 4):
        num_classes, *in_channels = draw.distinct(count + 1, 3, 12)
        head = answer(list(in_channels), num_classes)
        small = draw.integer(17, 24), draw.integer(25, 40)
        features = _features(draw, in_channels, draw.integer(1, 2), small)
        for size in (small, (small[0] + 19, small[1] + 6), small[::-1]):
            logits = head(list(features), size)
            if isinstance(logits, Tensor) and tuple(logits.shape[2:]) != size:
                mistakes = {
                    size[::-1]: "Height and width are mixed up.",
                    size[1:]: "The classes are gone: no argmax here.",
                }
                mistakes |= {tuple(f.shape[2:]): "The scores are never upsampled to `size`." for f in features}
                text = f"size={size} gives {tuple(logits.shape)}."
                raise Wrong(text, mistakes.get(tuple(logits.shape[2:]), "The output's size is fixed."), SIZE)
            expect_tensor(logits, (2, num_classes, *size), torch.float32, "The output", SIZE)


@fcn_head.claim("a 1x1 score layer for each map, all among its parameters")
def _head_scores(answer, draw):
    num_classes, *in_channels = draw.distinct(4, 3, 12)
    _score_layers(answer(list(in_channels), num_classes), in_channels, num_classes)


def _score_layers(head: nn.Module, in_channels: list[int], num_classes: int) -> list[Tensor]:
    """The weights (num_classes, channels) of the score layers, found by their shapes."""
    shapes = {tuple(p.shape): p for p in head.parameters()}
    weights = []
    for channels in in_channels:
        matrices = [p.detach().squeeze() for p in shapes.values() if sum(n > 1 for n in p.shape) == 2]
        found = [m for p in matrices for m in (p, p.T) if m.shape == (num_classes, channels)]
        if not found:
            mistake = "A map has no score layer of its own."
            if not shapes:
                mistake = "The layers are kept in a plain Python list, where PyTorch does not see them."
            elif any(shape[:2] == (num_classes, channels) for shape in shapes):
                mistake = "The score layers have kernels larger than 1x1."
            elif any(sum(in_channels) in shape for shape in shapes):
                mistake = "The maps are concatenated and scored together, instead of scored each and added."
            text = f"FCNHead({in_channels}, {num_classes}) has the parameters {', '.join(map(str, shapes)) or 'none'}."
            raise Wrong(text, mistake, FUSED)
        weights.append(found[0])
    return weights


class Case(NamedTuple):
    """A head in evaluation mode with random weights, and features for an image of that size."""

    head: nn.Module
    in_channels: list[int]
    num_classes: int
    stride: int  # of the finest map
    features: list[Tensor]
    size: tuple[int, int]

    def __call__(self, features: list[Tensor]) -> Tensor:
        logits = self.head([f.clone() for f in features], self.size)
        return expect_tensor(logits, (2, self.num_classes, *self.size), torch.float32, "The output", SIZE)


def _case(answer, draw: Draw) -> Case:
    (num_classes, *in_channels), stride, size = draw.distinct(4, 3, 12), draw.integer(1, 2), (64, 80)
    head = answer(list(in_channels), num_classes).eval()
    for p in head.parameters():
        if p.ndim >= 2:  # some start at zero
            p.data.copy_(draw.normal(*p.shape) * p[0].numel() ** -0.5)
    return Case(head, in_channels, num_classes, stride, _features(draw, in_channels, stride, size), size)


@fcn_head.claim("the scores are added, and nothing is done to them but upsampling")
def _head_adds(answer, draw):
    case = _case(answer, draw)
    logits, zero = case(case.features), case([0 * f for f in case.features])
    some = [draw.normal(*f.shape) for f in case.features]
    rest = [f - g for f, g in zip(case.features, some, strict=True)]
    if not agree(case(some) + case(rest) - zero, logits, 1e-3):
        one = torch.ones(2, *case.size)
        mistakes = {
            "There is a softmax at the end: logits are the values before it.": agree(logits.sum(1), one),
            "There is a log-softmax at the end: logits are the values before it.": agree(logits.exp().sum(1), one),
            "There is a ReLU after the scores, but logits may be negative.": logits.min() >= 0,
            "A nonlinear function, such as a ReLU, stands between scores and output.": True,
        }
        mistake = next(words for words, holds in mistakes.items() if holds)
        raise Wrong("The logits of a sum of maps are not the sum of their logits.", mistake, VALUES)
    weights = _score_layers(case.head, case.in_channels, case.num_classes)
    if len(weights) == sum(p.ndim >= 2 for p in case.head.parameters()):  # no others, of a learned upsampling
        _expect_sum(case, draw, weights)


def _expect_sum(case: Case, draw: Draw, weights: list[Tensor]) -> None:
    """Of maps without contours, upsampling changes nothing: every pixel has the sum of the maps' scores."""
    for p in case.head.parameters():
        if p.ndim == 1:
            p.data.zero_()  # the biases
    values = [draw.normal(f.shape[1]) for f in case.features]
    logits = case([v[:, None, None].expand_as(f) for v, f in zip(values, case.features, strict=True)])
    scores = torch.stack([weight @ v for weight, v in zip(weights, values, strict=True)])  # (maps, num_classes)
    total = scores.sum(0)
    mistakes = {
        "The scores are averaged instead of added.": scores.mean(0),
        "Only the coarsest map is used.": scores[-1],
        "Only the finest map is used.": scores[0],
        "The coarsest map is not used.": total - scores[-1],
        "The finest map is not used.": total - scores[0],
        "A map between the finest and the coarsest is not used.": total - scores[1],
        "The scores are multiplied instead of added.": scores.prod(0),
        "The largest of the scores is taken instead of their sum.": scores.amax(0),
    }
    inside = logits[0, :, case.size[0] // 2, case.size[1] // 2]
    expect_same(inside, total, mistakes, FUSED, "A logit far from the border")


@fcn_head.claim("each map counts at its own place: no pooling, no detail lost")
def _head_places(answer, draw):
    case = _case(answer, draw)
    before = case(case.features)
    for k in reversed(range(len(case.features))):
        stride = case.stride * 2**k
        changed = [f.clone() for f in case.features]
        row, column = (draw.integer(n // 3, n // 2) for n in changed[k].shape[2:])
        changed[k][0, :, row, column] += 10
        response = (case(changed) - before).abs().sum(1)  # (2, H, W)
        name = f"the {('finest', 'middle', 'coarsest')[k]} map"
        if response[0].max() < 1e-4:
            mistake = f"{name[0].upper()}{name[1:]} is not used, or most of its pixels are not."
            raise Wrong(f"A pixel of {name} has no influence.", mistake, FUSED)
        if response[1].max() > 1e-4:
            raise Wrong(
                f"{name} of one image changes the other.", "The images of a batch influence each other.", VALUES
            )
        rows, columns = (response[0] > 1e-3 * response[0].max()).nonzero().unbind(1)
        most = int((4 if k else 2.5) * stride + 1)  # what interpolation in several steps may reach
        _expect_near(rows, columns, stride * (row + 0.5) - 0.5, stride * (column + 0.5) - 0.5, most, name)


def _expect_near(rows: Tensor, columns: Tensor, row: float, column: float, most: int, name: str) -> None:
    distance = int(torch.maximum((rows - row).abs(), (columns - column).abs()).max())
    if distance > most:
        mistake = "The map is reduced to a coarser one before its scores are added, or lies at another place."
        if distance > 30:
            mistake = "A map is pooled to one position: one template for the whole image, not a score for each pixel."
        text = f"A pixel of {name} changes the output up to {distance} pixels away, expected at most {most}."
        raise Wrong(text, mistake, FUSED)


@fcn_head.claim("every parameter gets a gradient, and the features stay as they were")
def _head_gradients(answer, draw):
    num_classes, *in_channels = draw.distinct(4, 3, 12)
    head = answer(list(in_channels), num_classes)
    features = _features(draw, in_channels, 1, (12, 15))
    given = [f.clone() for f in features]
    head(list(given), (12, 15)).square().sum().backward()
    expect_gradients(head, FUSED)
    for f, after in zip(features, given, strict=True):
        expect_unchanged(f, after, "the features", VALUES)
