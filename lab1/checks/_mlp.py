"""Check of task 1, MLP. The reference is the network written out, with the student's own weights, found by shape."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab1.checks._check import Check
from lab1.checks._student import Cause, Student, Wrong
from lab1.checks._values import Draw, expect_gradients, expect_lasting, expect_same, expect_tensor, unseen

SHAPES = "mat1 and mat2 shapes cannot be multiplied"
VALUES = "Shapes agree, values do not"
PARAMETERS = "Parameters are missing"
ALONE = "The images of a batch influence each other (BatchNorm, or something computed over the batch)."


def _takes_vectors(student: Student, draw: Draw) -> bool:
    """Whether images are a problem, but not if they are flattened already."""
    student.make([784, 6, 5, 4])
    return student.can("call", draw.normal(3, 784)) and not student.can("call", draw.normal(3, 1, 28, 28))


def _takes_three_widths(student: Student, draw: Draw) -> bool:
    """Whether only two widths are a problem."""
    student.make([784, 5, 4])
    return student.can("call", draw.normal(3, 1, 28, 28)) and not _takes_widths(student, draw, [784, 4])


def _takes_widths(student: Student, draw: Draw, widths: list[int]) -> bool:
    return student.can("make", widths) and student.can("call", draw.normal(3, 1, 28, 28))


def _takes_more_images(student: Student, draw: Draw) -> bool:
    student.make([784, 6, 5])
    return student.can("call", draw.normal(3, 1, 28, 28)) and not student.can("call", draw.normal(1, 1, 28, 28))


def _takes_equal_widths(student: Student, draw: Draw) -> bool:
    """Whether only different widths are a problem."""
    return _takes_widths(student, draw, [784, 6, 6, 6]) and not _takes_widths(student, draw, [784, 7, 5, 6])


mlp = Check(
    1,
    "MLP",
    hints=(SHAPES, VALUES, PARAMETERS),
    causes=(
        Cause(
            r"Error|StopIteration",
            "Two widths are too few for it: then there is a single linear layer and no ReLU.",
            PARAMETERS,
            _takes_three_widths,
        ),
        Cause(r"more than 1 value per channel", ALONE, VALUES, _takes_more_images),
        Cause(r"", "A batch of one image loses its batch dimension (squeeze).", SHAPES, _takes_more_images),
        Cause(r"mat1 and mat2|size of tensor", "The images are not flattened.", SHAPES, _takes_vectors),
        Cause(
            r"mat1 and mat2|size of tensor",
            "Layers do not fit one another where the widths differ: what one gives, the next one takes.",
            SHAPES,
            _takes_equal_widths,
        ),
    ),
)


def _widths(draw: Draw) -> list[int]:
    """784 and three to five others, of which no two differ by less than 3."""
    return [784, *(3 * width for width in draw.distinct(draw.integer(3, 5), 1, 13))]


@mlp.claim("images (N, 1, 28, 28) become logits (N, widths[-1])")
def _shape(student, draw):
    for count in (1, draw.integer(2, 6)):
        widths = _widths(draw)
        student.build(widths, hint=SHAPES)
        logits = student.call(draw.normal(count, 1, 28, 28))
        if isinstance(logits, Tensor) and tuple(logits.shape) != (count, widths[-1]):
            mistakes = {
                (count, widths[-2]): "The last linear layer is missing.",
                (count, 10): "The number of classes is fixed at 10.",
                (widths[-1],): "The batch dimension is flattened, too.",
                (count, 1, 28, widths[-1]): "The images are not flattened.",
            }
            text = f"MLP({widths}) turns {count} images into {tuple(logits.shape)}."
            raise Wrong(text, mistakes.get(tuple(logits.shape), ""), SHAPES)
        expect_tensor(logits, (count, widths[-1]), torch.float32, "The output", VALUES)


@mlp.claim("one linear layer between each two successive widths, however many")
def _depth(student, draw):
    for widths in ([784, 13], [784, 12, 10], _widths(draw)):
        student.build(widths, hint=PARAMETERS)
        _expect_layers(student, widths, draw)


def _expect_layers(student: Student, widths: list[int], draw: Draw) -> None:
    expect_lasting(student, [draw.normal(2, 1, 28, 28)], f"MLP({widths})", PARAMETERS)
    pairs = list(zip(widths, widths[1:], strict=False))
    count = sum(p["value"].numel() for p in student.parameters())
    expected = sum((a + 1) * b for a, b in pairs)
    if count == expected:
        return
    layers = [_as_pair(matrix) for matrix in student.matrices()]
    shapes = ", ".join(f"{a} x {b}" for a, b in layers) or "none"
    text = f"MLP({widths}) has {count:,} parameters, expected {expected:,}. Its matrices: {shapes}."
    raise Wrong(
        text, unseen(student, [draw.normal(2, 1, 28, 28)]) or _miscounts(student, layers, pairs, count), PARAMETERS
    )


def _miscounts(student: Student, layers: list, pairs: list, count: int) -> str:
    """Why the number of parameters is another, from matrices (out, in) and pairs (in, out) of widths."""
    if sorted(layers) == sorted((b, a) for a, b in pairs):
        too_few = count < sum((a + 1) * b for a, b in pairs)
        return (
            "A layer has no bias."
            if too_few
            else "There is a layer, or a parameter, that the formula does not contain."
        )
    if _is_fixed(student, len(layers)):
        return "The number of layers is fixed in the code."
    if len(layers) == len(pairs):
        return "A layer has other widths than the list says."
    return f"There is a layer too {'many' if len(layers) > len(pairs) else 'few'}."


def _is_fixed(student: Student, count: int) -> bool:
    """Whether there are so many layers for two, three and four widths alike."""
    for widths in ([784, 8], [784, 7, 8], [784, 6, 7, 8]):
        student.make(widths)
        student.can("call", torch.zeros(2, 1, 28, 28))
        if len(student.matrices()) != count:
            return False
    return True


def _as_pair(matrix: Tensor) -> tuple[int, int]:
    return matrix.shape[0], matrix.numel() // matrix.shape[0]


def _loaded(student: Student, widths: list[int], draw: Draw) -> list[list[tuple[Tensor, Tensor]]]:
    """Random values are written into all parameters. Returns (weight (out, in), bias (out,)) of each layer.

    The parameters are found by their shapes, which differ as the widths do. The bias may be a further row or column of
    the weight, the first or the last: so there are two readings.
    """
    student.call(draw.normal(2, 1, 28, 28))
    parameters = student.parameters()
    values = {p["name"]: draw.normal(*p["value"].shape) * 0.1 for p in parameters}
    student.load(values)
    matrices = [value.squeeze() for value in values.values() if sum(n > 1 for n in value.shape) == 2]
    vectors = {value.numel(): value.flatten() for value in values.values() if sum(n > 1 for n in value.shape) == 1}
    readings: list[list] = [[], []]
    for fan_in, fan_out in zip(widths, widths[1:], strict=False):
        found = [m for each in matrices for m in (each, each.T) if m.shape[0] == fan_out]
        for i, reading in enumerate(readings):
            if weights := [m for m in found if m.shape[1] == fan_in]:
                reading.append((weights[0], vectors.get(fan_out, torch.zeros(fan_out))))
            elif weights := [m for m in found if m.shape[1] == fan_in + 1]:
                reading.append((weights[0][:, 1 - i : fan_in + 1 - i], weights[0][:, -i]))
            else:
                text = f"Among the parameters of MLP({widths}) no matrix goes from {fan_in} to {fan_out}."
                raise Wrong(text, hint=PARAMETERS)
    return readings


def _forward(images: Tensor, layers: list, between: Callable = F.relu) -> Tensor:
    x = images.flatten(1)
    for weight, bias in layers[:-1]:
        x = between(x @ weight.T + bias)
    return x @ layers[-1][0].T + layers[-1][1]


OTHERS = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softplus": F.softplus,
    "ELU": F.elu,
    "leaky ReLU": F.leaky_relu,
    "ReLU6": F.relu6,
    "GELU": F.gelu,
    "SiLU": F.silu,
}


@mlp.claim("a ReLU between the layers, raw logits at the end")
def _values(student, draw):
    widths = _widths(draw)
    student.build(widths)
    student.mode(False)
    readings = _loaded(student, widths, draw)
    images = draw.normal(1 if draw.small else 7, 1, 28, 28) * 5  # beyond ReLU6's 6
    layers, logits = readings[0], [_forward(images, layers) for layers in readings]
    first = logits[0]
    mistakes = {
        "There is no ReLU between the layers.": _forward(images, layers, nn.Identity()),
        "There is a ReLU after the last layer, too, but logits may be negative.": first.relu(),
        "There is a softmax at the end: logits are the values before it.": first.softmax(1),
        "There is a softmax over the batch at the end: logits are the values before any softmax.": first.softmax(0),
        "There is a log-softmax at the end: logits are the values before it.": first.log_softmax(1),
        "There is a sigmoid at the end: logits are the values before it.": first.sigmoid(),
        "There is a ReLU on the images, too, and their negative values are lost.": _forward(images.relu(), layers),
        "The biases are not used.": _forward(images, [(weight, 0.0) for weight, _ in layers]),
    }
    for name, function in OTHERS.items():
        mistakes[f"The function between the layers is {name}, not ReLU."] = _forward(images, layers, function)
    for k in range(len(layers) - 1):
        mistakes[f"The ReLU after layer {k + 1} is missing."] = _forward(images, layers, _all_but(k))
    expect_same(student.call(images), logits, mistakes, VALUES, f"An output of MLP({widths})")


def _all_but(missing: int) -> Callable[[Tensor], Tensor]:
    """ReLU at every call but one."""
    calls = iter(range(100))
    return lambda x: x if next(calls) == missing else x.relu()


@mlp.claim("each image for itself, and in training as in evaluation")
def _alone(student, draw):
    widths, images = _widths(draw), draw.normal(5, 1, 28, 28)
    student.build(widths)
    expect_lasting(student, [images], f"MLP({widths})", VALUES)
    together = student.call(images)
    alone = torch.cat([student.call(image[None]) for image in images])
    expect_same(alone, together, {ALONE: alone}, VALUES, f"MLP({widths}), one image alone")


@mlp.claim("every parameter gets a gradient")
def _gradients(student, draw):
    widths = _widths(draw)
    student.build(widths)
    expect_gradients(student, [draw.normal(8, 1, 28, 28)], draw.normal(8, widths[-1]), f"MLP({widths})", PARAMETERS)
