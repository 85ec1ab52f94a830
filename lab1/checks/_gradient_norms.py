"""Check of task 6, gradient_norms, on a model with kernels of several kinds and random gradients."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lab1.checks import _harness
from lab1.checks._check import Check
from lab1.checks._student import Raised, Student, Wrong
from lab1.checks._values import Draw, expect_number, expect_same, type_name

BIASES = "Too many names, or too few"
NORMS = "Names agree, norms do not"
NONE = "A gradient is None, or not what it was"
DELETED = "The function itself resets the gradients (zero_grad) before it reads them."
gradient_norms = Check(6, "gradient_norms", hints=(BIASES, NORMS, NONE))


def _case(draw: Draw) -> dict:
    """A model after a backward pass; ten blocks and more."""
    sizes, blocks = draw.distinct(4, 2, 9), draw.integer(11, 13)
    shapes = {name: p.shape for name, p in _harness.Layers(sizes, blocks).named_parameters()}
    values = {name: draw.normal(*shape) for name, shape in shapes.items()}
    factors = {name: 0.1 * (1 + 29 * draw.uniform(1)) for name in shapes}
    gradients = {name: draw.normal(*shape) * factors[name] for name, shape in shapes.items()}
    return {"sizes": sizes, "blocks": blocks, "values": values, "gradients": gradients}


def _weights(case: dict) -> list[str]:
    return [name for name, value in case["values"].items() if value.ndim >= 2]


def _norms(student: Student, case: dict) -> tuple[dict[str, float], dict]:
    """What it returns, and what else was seen."""
    seen = student.norms(case)
    if "error" in seen:
        _explain(Raised(seen["error"]), seen)
    norms = seen["value"]
    if not isinstance(norms, dict):
        mistake = "A return statement is missing." if norms is None else ""
        raise Wrong(f"What it returns is of type {type_name(norms)}, not a dict.", mistake, BIASES)
    return {name: expect_number(norm, f"The norm of {name!r}", NORMS) for name, norm in norms.items()}, seen


def _explain(error: Raised, seen: dict) -> None:
    if seen["called"]:
        raise Wrong(str(error), "The model is called, but the gradients are there already: only read them.", NONE)
    if "None" in error.text and any(gradient is None for _, gradient in seen["after"].values()):
        raise Wrong(str(error), DELETED, NONE)
    if seen["state_dict"] and "None" in error.text:
        text = "state_dict() gives tensors without gradients: named_parameters() gives the parameters themselves."
        raise Wrong(str(error), text, NONE)
    raise error


@gradient_norms.claim("a dict from names to numbers")
def _is_dict(student, draw):
    _norms(student, _case(draw))


@gradient_norms.claim("the names of all weights with two or more dimensions, in depth order")
def _names(student, draw):
    case = _case(draw)
    every, weights = case["values"], _weights(case)
    model = _harness.Layers(case["sizes"], case["blocks"])
    layers = [n for n in weights if isinstance(model.get_submodule(n.rpartition(".")[0]), nn.Conv2d | nn.Linear)]
    named = [n for n in weights if "weight" in n]
    mistakes = {
        "Biases and BatchNorm's parameters are in it, but they have one dimension.": [list(every), sorted(every)],
        "They are chosen by the name `weight`, not by their dimensions.": [n for n in every if "weight" in n],
        "They are chosen by the name, without `bias`, but BatchNorm's scale has one dimension, too.": (
            [n for n in every if "bias" not in n]
        ),
        "They are chosen by the name `weight`, too, but a matrix may have another name.": [named, sorted(named)],
        "They are chosen by the type of layer, not by their dimensions.": layers,
        "Only convolutions are in it.": [n for n in weights if every[n].ndim > 2],
        "Only kernels with four dimensions are in it.": [n for n in weights if every[n].ndim == 4],
        "Only matrices are in it, no convolutions.": [n for n in weights if every[n].ndim == 2],
        "They are sorted by the alphabet, in which blocks.10 comes before blocks.2.": sorted(weights),
        "They are in the reverse order.": weights[::-1],
        "They are sorted by their norms.": _by_norm(case, weights),
        "These are names of modules, without that of the parameter.": [n.rpartition(".")[0] for n in weights],
    }
    norms, seen = _norms(student, case)
    names = list(norms)
    if names != weights:
        text = f"{len(names)} names, expected {len(weights)}."
        if len(names) == len(weights):
            text = next(f"{a!r}, expected {b!r}." for a, b in zip(names, weights, strict=True) if a != b)
        elif extra := [n for n in names if n not in weights] or [n for n in weights if n not in names]:
            text += f" For example {extra[0]!r}, of shape {tuple(every[extra[0]].shape) if extra[0] in every else '?'}."
        fitting = [words for words, wrong in mistakes.items() if names in (wrong, *wrong)]
        if not names and any(gradient is None for _, gradient in seen["after"].values()):
            fitting = [DELETED]
        raise Wrong(text, fitting, BIASES)


def _by_norm(case: dict, weights: list[str]) -> list[list[str]]:
    up = sorted(weights, key=lambda name: float(case["gradients"][name].norm()))
    return [up, up[::-1]]


# what is wrong -> the norm as it then is, from a gradient and its weight
OTHER_NORMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "These are the norms of the weights, not of their gradients.": lambda g, p: p.norm(),
    "The root of the sum of squares is not taken.": lambda g, p: g.square().sum(),
    "This is the L1 norm, a sum of absolute values.": lambda g, p: g.abs().sum(),
    "This is the mean of the absolute values, which is no norm.": lambda g, p: g.abs().mean(),
    "This is the largest absolute value, not the L2 norm.": lambda g, p: g.abs().max(),
    "This is the mean of squares, not the root of their sum.": lambda g, p: g.square().mean(),
    "This is the root of the mean of squares, not of their sum.": lambda g, p: g.square().mean().sqrt(),
    "This is the standard deviation, not the L2 norm.": lambda g, p: g.std(),
    "This is the mean of the gradient, not its norm.": lambda g, p: g.mean(),
    "This is the sum of the gradient, not its norm.": lambda g, p: g.sum(),
    "This is the norm of gradient times weight.": lambda g, p: (g * p).norm(),
    "The norm is divided by that of the weight.": lambda g, p: g.norm() / p.norm(),
    "The norm is multiplied by that of the weight.": lambda g, p: g.norm() * p.norm(),
    "The norm is divided by the number of elements.": lambda g, p: g.norm() / p.numel(),
    "This is the logarithm (base 10) of the norm.": lambda g, p: g.norm().log10(),
    "This is the natural logarithm of the norm.": lambda g, p: g.norm().log(),
}


@gradient_norms.claim("the L2 norm of each gradient")
def _values(student, draw):
    case = _case(draw)
    norms, seen = _norms(student, case)
    common = [name for name in _weights(case) if name in norms]
    if not common:
        raise Wrong("No name of a weight is among the keys.", hint=BIASES)

    def vector(norm: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        return torch.stack([norm(case["gradients"][name].double(), case["values"][name].double()) for name in common])

    returned = torch.tensor([norms[name] for name in common], dtype=torch.float64)
    mistakes = {words: vector(norm) for words, norm in OTHER_NORMS.items()}
    if not any(gradient is not None and gradient.any() for _, gradient in seen["after"].values()):
        mistakes = {DELETED: torch.zeros_like(returned)}
    expect_same(returned, vector(lambda g, p: g.square().sum().sqrt()), mistakes, NORMS, "A norm")


@gradient_norms.claim("the gradients stay as they were")
def _gradients_stay(student, draw):
    case = _case(draw)
    _, seen = _norms(student, case)
    for name, (value, gradient) in seen["after"].items():
        if gradient is None or not torch.equal(gradient, case["gradients"][name]):
            text = f"After the call the gradient of {name!r} is {'deleted' if gradient is None else 'changed'}."
            raise Wrong(text, "The function changes or resets the gradients.", NONE)
        if not torch.equal(value.detach(), case["values"][name]):
            text = f"After the call the parameter {name!r} is no longer what it was."
            raise Wrong(text, "The function changes the weights.", NONE)
