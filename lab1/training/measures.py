"""What is measured while a network is trained or evaluated: mean loss and accuracy."""

import functools
import inspect

import torch
from torch import Tensor, nn

from lab1.training import distributed


class RunningMean:
    """Mean loss per example and accuracy, summed on the device.

    Accuracy is over examples or over pixels, without those that the loss function ignores (see `ignored_target`) and
    those whose target is no class. It is nan where nothing is left. Class probabilities, of the logits' shape, count as
    the most probable class.
    """

    def __init__(self, loss_function=None):
        self.num_examples = 0
        self._ignored = ignored_target(loss_function)
        self._loss = self._correct = self._counted = self._finite_steps = 0.0

    def add(self, loss: Tensor, logits: Tensor, targets: Tensor) -> None:
        """One batch: its mean loss, logits (N, K) or (N, K, H, W), targets (N,) or (N, H, W).

        Raises ValueError where accuracy has no meaning, and for a loss that is not one number.
        """
        if loss.numel() != 1:
            raise ValueError(
                f"loss_function returned {tuple(loss.shape)} numbers: it must return the batch's mean loss"
            )
        classes = self._classes(logits, targets)
        counted = (classes >= 0) & (classes < logits.shape[1]) & (classes != self._ignored)
        self.num_examples += len(targets)
        self._loss = self._loss + loss.detach() * len(targets)
        self._correct = self._correct + (counted & (logits.detach().argmax(1) == classes)).sum()
        self._counted = self._counted + counted.sum()
        self._finite_steps = self._finite_steps + torch.isfinite(self._loss)  # once nan, the sum stays it

    def _classes(self, logits: Tensor, targets: Tensor) -> Tensor:
        if logits.ndim >= 2 and logits.shape[1] >= 2:
            if targets.shape == logits.shape[:1] + logits.shape[2:] and not targets.is_floating_point():
                return targets
            if targets.shape == logits.shape and (self.num_examples > 0 or _are_probabilities(targets)):
                return targets.float().argmax(1)
        raise ValueError(
            f"accuracy has no meaning for targets of {targets.dtype} {tuple(targets.shape)} and logits "
            f"{tuple(logits.shape)}: give class numbers, (N,) or (N, H, W) for logits (N, K) or (N, K, H, W) with K of "
            "at least 2, or class probabilities of the logits' shape"
        )

    def add_other_processes(self, device: torch.device) -> None:
        mine = (self.num_examples, self._loss, self._correct, self._counted)
        self.num_examples, self._loss, self._correct, self._counted = distributed.summed(*mine, device=device)
        self._finite_steps = distributed.smallest(self._finite_steps, device=device)

    def result(self) -> tuple[float, float]:
        """Mean loss and accuracy, 0..1; waits for the device."""
        if self.num_examples == 0:
            raise ValueError("there is nothing to evaluate: the data are empty")
        counted = float(self._counted)
        accuracy = float(self._correct) / counted if counted else float("nan")
        return float(self._loss) / self.num_examples, accuracy

    def num_finite_steps(self) -> int:
        """How many batches came before the first whose loss was not finite; waits for the device."""
        return int(self._finite_steps)


def _are_probabilities(targets: Tensor) -> bool:
    sums = targets.float().sum(1)
    return bool((targets >= 0).all() and torch.allclose(sums, torch.ones_like(sums), atol=1e-2))


def ignored_target(loss_function) -> int:
    """The target that a loss function leaves out, its `ignore_index`: an attribute of a module or of one inside it, an
    argument of functools.partial, or the default of a parameter; -100, that of PyTorch, where there is none.
    """
    while isinstance(loss_function, functools.partial):
        if "ignore_index" in loss_function.keywords:
            return loss_function.keywords["ignore_index"]
        loss_function = loss_function.func
    if isinstance(loss_function, nn.Module):
        return next((m.ignore_index for m in loss_function.modules() if hasattr(m, "ignore_index")), -100)
    try:
        parameter = inspect.signature(loss_function).parameters.get("ignore_index")
    except (TypeError, ValueError):  # it has no signature
        return -100
    return parameter.default if parameter is not None and isinstance(parameter.default, int) else -100
