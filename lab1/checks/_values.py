"""Random inputs for the claims of a check, and what its claims expect of the values that come back."""

from collections.abc import Callable
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn


class Wrong(Exception):
    """A claim that does not hold: what was seen, the likely mistake in words, and the title of a hint."""

    def __init__(self, found: str, mistake: str = "", hint: str = ""):
        super().__init__(found, mistake, hint)


class Draw:
    """Random shapes and values: for one seed always the same, whatever else draws random numbers."""

    def __init__(self, seed: int):
        self._generator = torch.Generator().manual_seed(seed)

    def integers(self, shape: tuple[int, ...], low: int, high: int) -> Tensor:
        """From low to high, both included; int64."""
        return torch.randint(low, high + 1, shape, generator=self._generator)

    def integer(self, low: int, high: int) -> int:
        return int(self.integers((), low, high))

    def distinct(self, count: int, low: int, high: int) -> list[int]:
        return (low + torch.randperm(high + 1 - low, generator=self._generator)[:count]).tolist()

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
    if not isinstance(value, Tensor):
        raise Wrong(f"{what} is a {type(value).__name__}, not a tensor.", "It is of another type than asked for.", hint)
    if tuple(value.shape) != tuple(shape):
        raise Wrong(f"{what} has shape {tuple(value.shape)}, expected {tuple(shape)}.", hint=hint)
    if value.dtype != dtype:
        raise Wrong(f"{what} is {value.dtype}, expected {dtype}.", "The dtype is another than asked for.", hint)
    if value.device.type != "cpu":
        raise Wrong(f"{what} lies on {value.device}, the inputs on cpu.", "The device is fixed in the code.", hint)
    if value.is_floating_point() and not value.isfinite().all():
        raise Wrong(f"{what} contains NaN or infinity.", "Something is divided by zero or overflows.", hint)
    return value.detach()


def expect_number(value: Any, what: str, hint: str = "") -> float:
    """The value as a float, if it is a finite number.

    Raises:
        Wrong: it is not; a tensor is none either.
    """
    if value is None:
        raise Wrong(f"{what} is None, not a number.", "A return statement is missing.", hint)
    if isinstance(value, Tensor):
        graph = ", with the graph of its gradient attached," if value.requires_grad else ""
        raise Wrong(f"{what} is a tensor{graph} and not a number.", "A tensor is not turned into a number.", hint)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise Wrong(f"{what} is a {type(value).__name__}, not a number.", "It is of another type than asked for.", hint)
    if not abs(value) < float("inf"):
        raise Wrong(f"{what} is {value}.", "Something is divided by zero or overflows (NaN, infinity).", hint)
    return float(value)


def expect_same(
    seen: Any,
    expected: Any,
    mistakes: Mistakes | Callable[[], Mistakes] = dict,
    hint: str = "",
    what: str = "",
    tolerance: float = 1e-4,
) -> None:
    """What is seen agrees with what is expected; where not, the mistake is the one that would give what is seen.

    expected and the values of `mistakes` (a function gives it where that takes long) are numbers, tensors or lists of
    these, of which one has to agree.

    Raises:
        Wrong: it does not agree.
    """
    if not agree(seen, expected, tolerance):
        first = expected[0] if isinstance(expected, list) else expected
        text = f"{what}{': ' if what else ''}{_difference(seen, first)}."
        raise Wrong(text, _recognised(seen, mistakes() if callable(mistakes) else mistakes, tolerance), hint)


def _recognised(seen: Any, mistakes: Mistakes, tolerance: float) -> str:
    """The words of the first mistake that would give what is seen; "" if none would."""
    return next((words for words, value in mistakes.items() if agree(seen, value, tolerance)), "")


def agree(seen: Any, expected: Any, tolerance: float = 1e-4) -> bool:
    """Equal shapes, and no two values further apart than `tolerance` times the largest expected one."""
    if isinstance(expected, list):
        return any(agree(seen, each, tolerance) for each in expected)
    a, b = (torch.as_tensor(each, dtype=torch.float64) for each in (seen, expected))
    if a.shape != b.shape:
        return False
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


def expect_unchanged(before: Tensor, after: Tensor, what: str, hint: str = "") -> None:
    if not torch.equal(before, after):
        raise Wrong(f"After the call {what} are no longer what they were.", "The inputs are changed in place.", hint)


def expect_gradients(model: nn.Module, hint: str = "") -> None:
    """After a backward pass, every parameter has a gradient."""
    missing = without_gradient(model)
    if missing or not any(True for _ in model.parameters()):
        text = f"No gradient for {', '.join(missing) or 'anything: model.parameters() is empty'}."
        raise Wrong(text, "A part of the network is not used, or cut off from the gradient (detach, no_grad).", hint)


def without_gradient(model: nn.Module) -> list[str]:
    """The names of the parameters that have none."""
    return [name for name, p in model.named_parameters() if p.grad is None]
