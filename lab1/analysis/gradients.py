"""How large the gradients are: for every layer, at every step of the optimizer."""

import numpy as np
import torch
from torch import Tensor, nn


def weight_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters with two or more dimensions (convolution kernels, matrices), by name, in depth order."""
    return {name: p for name, p in model.named_parameters() if p.ndim >= 2}


def is_shortcut(layer: str) -> bool:
    """Whether a parameter belongs to a projection beside the main path, by its name."""
    return ".projection." in layer


def layer_groups(layers: list[str]) -> dict[str, list[int]]:
    """Which weights of a ResNet with BatchNorm are compared, by their names; the title of each choice -> indices.

    Behind every one of them there is a BatchNorm, so that gradient norm times weight norm does not change when the
    weight is rescaled. The linear layer has none behind it and is in no group.
    """
    blocks = [i for i, name in enumerate(layers) if ".conv" in name]
    stem = [i for i, name in enumerate(layers) if name.startswith("stem.")]
    projections = [i for i, name in enumerate(layers) if is_shortcut(name)]
    return {
        "3x3 convolutions of the blocks": blocks,
        "these and the stem": stem + blocks,
        "these, stem and projections": sorted(stem + blocks + projections),
    }


def gradient_norms(model: nn.Module) -> dict[str, float]:
    """After a backward pass: the L2 norm of the gradient of every weight, by parameter name, in depth order.

    nan for a weight that received no gradient. Taught in Exercise 2.1.
    """
    weights = weight_parameters(model)
    return dict(zip(weights, _norms([p.grad for p in weights.values()]).tolist(), strict=True))


def _norms(tensors: list[Tensor | None]) -> Tensor:
    """The L2 norm of each tensor, in float32 or better, without waiting for the device; nan for None."""
    device = next((t.device for t in tensors if t is not None), "cpu")
    norms = []
    for t in tensors:
        if t is None:
            norms.append(torch.tensor(torch.nan, device=device))
        else:
            t = t.detach().coalesce().values() if t.is_sparse else t.detach()
            dtype = torch.promote_types(t.dtype, torch.float32)
            norms.append(torch.linalg.vector_norm(t, dtype=dtype).to(device, torch.float32, non_blocking=True))
    return torch.stack(norms)


def left_out(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """The trainable parameters that an optimizer does not hold, by name; a module that has no other, as one."""
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}

    def names(module: nn.Module, prefix: str) -> list[str]:
        trainable = [p for p in module.parameters() if p.requires_grad]
        if prefix and len(trainable) > 1 and not any(id(p) in held for p in trainable):
            return [prefix]
        own = module.named_parameters(recurse=False)
        found = [_join(prefix, name) for name, p in own if p.requires_grad and id(p) not in held]
        for name, child in module.named_children():
            found += names(child, _join(prefix, name))
        return found

    return names(model, "")


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def remark_left_out(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Print which trainable parameters no step will change, if there are any."""
    if names := left_out(model, optimizer):
        print(f"the optimizer does not hold {', '.join(names)}: no step changes them")


class GradNormLogger:
    """Records the L2 norm of every weight's gradient at each optimizer step, exactly as the step sees it.

    It hooks into the optimizer, so it works in any training loop: after gradient clipping, accumulation and a
    GradScaler's unscaling, and inside a step with a closure (the first evaluation counts). Nothing is copied from the
    device until it is read. The norm of the weight itself, before the step, is recorded beside it. A weight that the
    optimizer does not hold, and one that came into the model later, are remarked, once. Taught in Exercise 2.1.

    Args:
        model: its parameters with two or more dimensions are recorded, in the order of registration.
        optimizer: any torch optimizer over parameters of the model.

    Raises:
        ValueError: a model without such parameters, or an optimizer that holds none of them.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer):
        weights = weight_parameters(model)
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if not any(id(p) in held for p in weights.values()):
            raise ValueError(
                "the optimizer holds none of the model's weights: make it from model.parameters(), "
                "after the last change to the model"
            )
        remark_left_out(model, optimizer)
        self.layers = list(weights)
        self.epoch_ends: list[int] = []  # how many steps had been recorded when each epoch ended
        self._model, self._weights = model, list(weights.values())
        self._has_remarked = False
        self._steps = 0
        self._recorded = torch.empty(0, 2, len(self.layers))  # two numbers a step and weight; doubled when full
        self._hook = optimizer.register_step_pre_hook(self._before_step)

    def _before_step(self, optimizer, args, kwargs):
        closure = kwargs.get("closure") or next((a for a in args if callable(a) and a is not optimizer), None)
        if closure is None:
            self._record(optimizer)
            return None
        waiting = True

        def recording_closure():  # only the closure computes the gradients that this step will use
            nonlocal waiting
            loss = closure()
            if waiting:
                self._record(optimizer)
                waiting = False
            return loss

        args = tuple(recording_closure if a is closure else a for a in args)
        return args, {k: recording_closure if v is closure else v for k, v in kwargs.items()}

    @torch.no_grad()
    def _record(self, optimizer) -> None:
        gradients = _norms([p.grad for p in self._weights])
        scale = getattr(optimizer, "grad_scale", None)  # a fused optimizer unscales inside its step
        if scale is not None:
            gradients /= scale.to(gradients.device)
        found_inf = getattr(optimizer, "found_inf", None)  # the GradScaler found gradients with which it takes no step
        if isinstance(found_inf, Tensor):
            gradients.masked_fill_(found_inf.to(gradients.device) > 0, torch.nan)
        if self._steps == len(self._recorded):
            self._remark_new_weights()
            grown = gradients.new_empty(max(64, 2 * self._steps), 2, len(self.layers))
            grown[: self._steps] = self._recorded
            self._recorded = grown
        self._recorded[self._steps, 0] = gradients
        self._recorded[self._steps, 1] = _norms(self._weights)
        self._steps += 1

    def _remark_new_weights(self) -> None:
        known = {id(p) for p in self._weights}
        new = [name for name, p in weight_parameters(self._model).items() if id(p) not in known]
        if new and not self._has_remarked:
            self._has_remarked = True
            print(f"{', '.join(new)}: new in the model, not recorded: make optimizer and logger after its last change")

    def end_epoch(self) -> None:
        """Mark the end of an epoch after the steps recorded so far."""
        self._remark_new_weights()
        self.epoch_ends.append(self._steps)

    def to_numpy(self) -> np.ndarray:
        """Gradient norms, (steps, layers) float32; nan where a weight received no gradient, and in a step that a
        GradScaler skipped.
        """
        self._remark_new_weights()
        return self._recorded[: self._steps, 0].cpu().numpy().copy()

    def weight_norms(self) -> np.ndarray:
        """Norms of the weights themselves before each step, (steps, layers) float32."""
        return self._recorded[: self._steps, 1].cpu().numpy().copy()

    def close(self) -> None:
        """Stop recording; what was recorded stays readable."""
        self._hook.remove()


def epoch_rows(history: dict, key: str, epoch: int) -> Tensor:
    """The rows of history["grad_norm"] or history["weight_norm"] that belong to one epoch: (steps, layers)."""
    ends = [0, *history["epoch_ends"]]
    return history[key][ends[epoch] : ends[epoch + 1]]


def smoothness(norms: np.ndarray) -> tuple[float, float]:
    """How unevenly norms (steps, layers) lie, in powers of ten; 0 is perfectly smooth.

    Returns:
        spread across layers: the standard deviation of log10 norm over the layers, averaged over the steps;
        change from step to step: the standard deviation of the difference between the log10 norms of two successive
        steps, averaged over the layers (nan for a single step).
    """
    logs = np.log10(norms)
    change = np.diff(logs, axis=0).std(axis=0).mean() if len(logs) > 1 else np.nan
    return float(logs.std(axis=1).mean()), float(change)
