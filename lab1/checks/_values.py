"""Random inputs for the claims of a check, and what its claims expect of the values that come back."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lab1.checks._student import Raised, Student, Wrong
from lab1.checks.channel import Other


class Draw:
    """Random shapes and values: for one seed always the same, whatever else draws random numbers.

    small: sizes are the smallest, for an input that can be looked at.
    """

    def __init__(self, seed: int, small: bool = False):
        self._generator, self.small = torch.Generator().manual_seed(seed), small

    def integers(self, shape: tuple[int, ...], low: int, high: int) -> Tensor:
        """From low to high, both included; int64."""
        return torch.randint(low, high + 1, shape, generator=self._generator)

    def integer(self, low: int, high: int) -> int:
        """A size."""
        return low if self.small else int(self.integers((), low, high))

    def distinct(self, count: int, low: int, high: int) -> list[int]:
        """Sizes of which no two are alike."""
        if self.small:
            return list(range(low, low + count))
        return (low + self.order(high + 1 - low)[:count]).tolist()

    def order(self, count: int) -> Tensor:
        return torch.randperm(count, generator=self._generator)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._generator)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self._generator)


Mistakes = dict[str, Any]  # the mistake in words -> the value that it would give


def expect_tensor(value: Any, shape: tuple[int, ...], dtype: torch.dtype, what: str = "The result", hint="") -> Tensor:
    """The value, detached, if it is a finite tensor of that shape and dtype on the CPU.

    Raises:
        Wrong: it is not.
    """
    if value is None:
        raise Wrong(f"{what} is None, not a tensor.", "A return statement is missing.", hint)
    if isinstance(value, Other) and value.note:
        raise Wrong(f"{what} {value.note}, the inputs are on the CPU.", hint=hint)
    if not isinstance(value, Tensor):
        raise Wrong(f"{what} is of type {type_name(value)}, not a tensor.", hint=hint)
    if tuple(value.shape) != tuple(shape):
        raise Wrong(f"{what} has shape {tuple(value.shape)}, expected {tuple(shape)}.", hint=hint)
    if value.dtype != dtype:
        raise Wrong(f"{what} is {value.dtype}, expected {dtype}.", hint=hint)
    if value.is_floating_point() and not value.isfinite().all():
        raise Wrong(f"{what} contains NaN or infinity: something is divided by zero, or overflows.", hint=hint)
    return value.detach()


def type_name(value: Any) -> str:
    return value.type if isinstance(value, Other) else type(value).__name__


def expect_number(value: Any, what: str, hint: str = "") -> float:
    """The value as a float, if it is a finite number.

    Raises:
        Wrong: it is not; a tensor is none either.
    """
    if value is None:
        raise Wrong(f"{what} is None, not a number.", "A return statement is missing.", hint)
    if isinstance(value, Tensor) or (isinstance(value, Other) and value.type == "Tensor"):
        graph = " with the graph of its gradient attached" if isinstance(value, Tensor) and value.requires_grad else ""
        raise Wrong(f"{what} is a tensor{graph} and not a number.", "A tensor is not turned into a number.", hint)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Wrong(f"{what} is of type {type_name(value)}, not a number.", hint=hint)
    if not abs(value) < float("inf"):
        raise Wrong(f"{what} is {value}: something is divided by zero, or overflows (NaN, infinity).", hint=hint)
    return float(value)


def expect_same(
    seen: Any,
    expected: Any,
    mistakes: Mistakes | Callable[[], Mistakes] = dict,
    hint: str = "",
    what: str = "",
    tolerance: float = 1e-4,
) -> None:
    """What is seen agrees with what is expected; where not, the mistakes are those that would give what is seen.

    expected and the values of `mistakes` (a function gives it where that takes long) are numbers, tensors or lists of
    these, of which one has to agree.

    Raises:
        Wrong: it does not agree.
    """
    if agree(seen, expected, tolerance):
        return
    first = expected[0] if isinstance(expected, list) else expected
    mistakes = mistakes() if callable(mistakes) else mistakes
    fitting = [words for words, value in mistakes.items() if agree(seen, value, tolerance)]
    text = f"{what}{': ' if what else ''}{_difference(seen, first)}."
    raise Wrong(text, fitting, hint, is_unknown=bool(mistakes) and not fitting)


def agree(seen: Any, expected: Any, tolerance: float = 1e-4) -> bool:
    """Equal shapes, and no two values further apart than `tolerance` times the largest expected one."""
    if isinstance(expected, list):
        return any(agree(seen, each, tolerance) for each in expected)
    a, b = (
        each if isinstance(each, Tensor) else torch.as_tensor(each, dtype=torch.float64) for each in (seen, expected)
    )
    if a.shape != b.shape:
        return False
    a, b = a.double(), b.double()
    return a.numel() == 0 or bool((a - b).abs().max() <= tolerance * b.abs().max() + 1e-7)


def _difference(seen: Any, expected: Any) -> str:
    """Where two values differ most."""
    if not isinstance(seen, Tensor) or seen.ndim == 0:
        return f"{_short(seen)}, expected {_short(expected)}"
    at = (seen.double() - expected.double()).abs().argmax()
    at = tuple(int(i) for i in torch.unravel_index(at, seen.shape))
    return f"{_short(seen[at])} at {list(at)}, expected {_short(expected[at])}"


def _short(number: Any) -> str:
    number = number.item() if isinstance(number, Tensor) else number
    return f"{number:.4g}"


def listed(value: Any) -> str:
    """A tensor as nested lists, if it is small enough to be looked at; its shape otherwise."""
    return str(value.tolist()) if value.numel() <= 16 else f"a tensor of shape {tuple(value.shape)}"


def expect_unchanged(before: Any, after: Any, what: str, hint: str = "") -> None:
    """Tensors, or lists of tensors, are the same as before the call."""
    if isinstance(before, list) and not (isinstance(after, list) and len(after) == len(before)):
        raise Wrong(f"After the call {what} is no longer what it was.", "The list that is given is changed.", hint)
    pairs = zip(before, after, strict=True) if isinstance(before, list) else [(before, after)]
    if not all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in pairs):
        in_other_order = isinstance(before, list) and all(any(_equal(a, b) for b in after) for a in before)
        mistake = "The list that is given is changed." if in_other_order else "The inputs are changed in place."
        raise Wrong(f"After the call {what} is no longer what it was.", mistake, hint)


def _equal(a: Any, b: Any) -> bool:
    return torch.equal(torch.as_tensor(a), torch.as_tensor(b))


def expect_gradients(student: Student, inputs: list, weights: Tensor, what: str, hint: str = "") -> None:
    """Every parameter of the model that was made last gets a gradient from (output * weights).sum().

    Raises:
        Wrong: one does not; whether it is unused or cut off is found out by changing its value.
    """
    try:
        gradients = student.gradients(inputs, weights)
    except Raised as error:
        if "does not require grad" not in error.text:
            raise
        gradients = {p["name"]: None for p in student.parameters()}
    missing = [name for name, gradient in gradients.items() if gradient is None]
    if not gradients:
        raise Wrong(f"{what}: no parameters.", unseen(student, inputs), hint)
    if missing:
        before = student.call(*inputs)
        student.load({p["name"]: p["value"] + 1 for p in student.parameters() if p["name"] in missing})
        mistake = "These parameters are never used." if agree(student.call(*inputs), before) else CUT_OFF
        raise Wrong(f"{what}: no gradient for {', '.join(missing)}.", mistake, hint)


def expect_lasting(student: Student, inputs: list, what: str, hint: str = "") -> None:
    """Two calls leave the parameters as they are and, in training mode, give the same output.

    Raises:
        Wrong: they do not.
    """
    student.mode(True)
    first = student.call(*inputs)  # lazy layers get their shapes
    before = student.parameters()
    repeats = agree(student.call(*inputs), first)
    after = student.parameters()
    if [p["name"] for p in before] != [p["name"] for p in after] or not all(
        _equal(p["value"], q["value"]) for p, q in zip(before, after, strict=True)
    ):
        text = f"{what} has other parameters after each call."
        raise Wrong(text, MADE_IN_FORWARD, hint)
    if not repeats:
        student.mode(False)
        is_dropout = _repeats(student, inputs)
        mistake = "A Dropout, which the task does not ask for." if is_dropout else unseen(student, inputs)
        raise Wrong(f"{what}: in training mode two calls with the same input give different outputs.", mistake, hint)


def _repeats(student: Student, inputs: list) -> bool:
    return agree(student.call(*inputs), student.call(*inputs))


def unseen(student: Student, inputs: list) -> str:
    """Why layers are missing among the parameters, if some are: from whether two calls give the same."""
    if student.parameters() and not any(layer["unseen"] for layer in student.trace(*inputs)["layers"]):
        return ""
    if _repeats(student, inputs):
        return "PyTorch does not see all layers: some lie in a plain Python list, tuple or dict."
    return MADE_IN_FORWARD


MADE_IN_FORWARD = "Layers are made in forward, anew at each call: make them once, in __init__."
CUT_OFF = "The output is cut off from the gradient of these parameters (detach, no_grad, requires_grad=False)."
