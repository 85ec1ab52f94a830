"""Check of task 1, MLP. The reference is the network written out, with the student's own weights, found by shape."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab1.checks._check import Check
from lab1.checks._values import Draw, Wrong, agree, expect_gradients, expect_same, expect_tensor

SHAPES = "mat1 and mat2 shapes cannot be multiplied"
VALUES = "Shapes agree, values do not"
PARAMETERS = "Parameters are missing"
ALONE = "The images of a batch influence each other (BatchNorm, or something computed over the batch)."

mlp = Check(
    1,
    "MLP",
    hints=(SHAPES, VALUES, PARAMETERS),
    errors=(
        (
            r"mat1 and mat2|size of tensor|size mismatch",
            "The images are not flattened, or the widths mixed up.",
            SHAPES,
        ),
        (r"Expected more than 1 value per channel", ALONE, VALUES),
    ),
)


def _widths(draw: Draw) -> list[int]:
    """784 and three to five others, no two alike."""
    return [784, *draw.distinct(draw.integer(3, 5), 3, 40)]


@mlp.claim("images (N, 1, 28, 28) become logits (N, widths[-1])")
def _shape(answer, draw):
    for count in (1, draw.integer(2, 6)):
        widths = _widths(draw)
        logits = answer(list(widths))(draw.normal(count, 1, 28, 28))
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
def _depth(answer, draw):
    for widths in ([784, 13], [784, 12, 10], _widths(draw)):
        _linear_layers(answer(list(widths)), widths, draw)


def _linear_layers(model: nn.Module, widths: list[int], draw: Draw) -> list[tuple[Tensor, Tensor | float]]:
    """Weight (out, in) and bias (out,) of each layer, found by their shapes. Random values are written into them."""
    model(draw.normal(2, 1, 28, 28))  # lazy layers get their shapes
    matrices = [p for p in model.parameters() if p.ndim == 2 and min(p.shape) > 1]
    vectors = {p.numel(): p for p in model.parameters() if max(p.shape, default=1) == p.numel()}
    pairs = list(zip(widths, widths[1:], strict=False))
    if sorted(sorted(p.shape) for p in matrices) != sorted(sorted(pair) for pair in pairs):
        shapes = ", ".join(str(tuple(p.shape)) for p in matrices) or "none"
        mistake = "A layer has other widths than the list says."
        if not matrices:
            mistake = "The layers are kept in a plain Python list, where PyTorch does not see them."
        elif len(matrices) > len(pairs):
            mistake = "There is a layer too many, or the number of layers is fixed in the code."
        elif len(matrices) < len(pairs):
            mistake = "The number of layers is fixed in the code, or some are never made."
        raise Wrong(f"The weights among the parameters of MLP({widths}): {shapes}.", mistake, PARAMETERS)
    layers = []
    for fan_in, fan_out in pairs:
        matrix = next(p for p in matrices if sorted(p.shape) == sorted((fan_in, fan_out))).data
        matrix.copy_(draw.normal(*matrix.shape) * fan_in**-0.5)
        bias = vectors[fan_out].data if fan_out in vectors else torch.zeros(fan_out)
        bias.copy_(draw.normal(*bias.shape))
        layers.append((matrix if len(matrix) == fan_out else matrix.T, bias.view(-1)))
    return layers


def _forward(images: Tensor, layers: list, between: Callable = F.relu) -> Tensor:
    x = images.flatten(1)
    for weight, bias in layers[:-1]:
        x = between(x @ weight.T + bias)
    return x @ layers[-1][0].T + layers[-1][1]


OTHERS = {
    **{"sigmoid": torch.sigmoid, "tanh": torch.tanh, "softplus": F.softplus, "ELU": F.elu},
    **{"leaky ReLU": F.leaky_relu, "ReLU6": F.relu6, "GELU": F.gelu, "SiLU": F.silu},
}


@mlp.claim("a ReLU between the layers, raw logits at the end")
def _values(answer, draw):
    widths = _widths(draw)
    model = answer(list(widths)).eval()
    layers, images = _linear_layers(model, widths, draw), draw.normal(7, 1, 28, 28) * 5  # beyond ReLU6's 6
    logits = _forward(images, layers)
    mistakes = {
        "There is no ReLU between the layers.": _forward(images, layers, nn.Identity()),
        "There is a ReLU after the last layer, too, but logits may be negative.": logits.relu(),
        "There is a softmax at the end: logits are the values before it.": logits.softmax(1),
        "There is a softmax over the batch at the end: logits are the values before any softmax.": logits.softmax(0),
        "There is a log-softmax at the end: logits are the values before it.": logits.log_softmax(1),
        "There is a sigmoid at the end: logits are the values before it.": logits.sigmoid(),
        "There is a ReLU on the images, too, and their negative values are lost.": _forward(images.relu(), layers),
        "The biases are not used.": _forward(images, [(weight, 0.0) for weight, _ in layers]),
        **{
            f"The function between the layers is {n}, not ReLU.": _forward(images, layers, f) for n, f in OTHERS.items()
        },
        **{
            f"The ReLU after layer {k + 1} is missing.": _forward(images, layers, _all_but(k))
            for k in range(len(layers) - 1)
        },
    }
    expect_same(model(images), logits, mistakes, VALUES, "An output")


def _all_but(missing: int) -> Callable[[Tensor], Tensor]:
    """ReLU at every call but one."""
    calls = iter(range(100))
    return lambda x: x if next(calls) == missing else x.relu()


@mlp.claim("each image for itself, and in training as in evaluation")
def _alone(answer, draw):
    widths = _widths(draw)
    model, images = answer(list(widths)).train(), draw.normal(5, 1, 28, 28)
    together = model(images)
    if not agree(together, model(images)):
        raise Wrong("Two calls with the same images differ.", "A Dropout, which the task does not ask for.", VALUES)
    expect_same(torch.cat([model(image[None]) for image in images]), together, hint=VALUES, what="One image alone")


@mlp.claim("every parameter gets a gradient")
def _gradients(answer, draw):
    model = answer(_widths(draw))
    F.cross_entropy(model(draw.normal(8, 1, 28, 28)), draw.integers((8,), 0, 2)).backward()
    expect_gradients(model, PARAMETERS)
