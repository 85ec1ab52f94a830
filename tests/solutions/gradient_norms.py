import torch
from torch import nn

import lab1.analysis.gradients
from lab1 import checks
from solutions import right, wrong


@right(checks.gradient_norms)
def comprehension(model):
    return {name: p.grad.norm().item() for name, p in model.named_parameters() if p.dim() >= 2}


@right(checks.gradient_norms)
def loop_over_modules(model, ord=2):
    norms = {}
    for prefix, module in model.named_modules():
        for name, p in module.named_parameters(recurse=False):
            if len(p.shape) > 1:
                norms[f"{prefix}.{name}" if prefix else name] = float((p.grad.detach() ** 2).sum() ** 0.5)
    return norms


right(checks.gradient_norms)(lab1.analysis.gradients.gradient_norms)


@wrong(checks.gradient_norms, "BatchNorm's parameters are in it")
def all_parameters(model):
    return {name: p.grad.norm().item() for name, p in model.named_parameters()}


@wrong(checks.gradient_norms, "chosen by the name")
def by_name(model):
    return {name: p.grad.norm().item() for name, p in model.named_parameters() if "weight" in name}


@wrong(checks.gradient_norms, "by the name `weight`, too")
def by_name_and_dimensions(model):
    return {n: p.grad.norm().item() for n, p in model.named_parameters() if "weight" in n and p.ndim >= 2}


@wrong(checks.gradient_norms, "chosen by the type of layer")
def by_type(model):
    layers = {name: m for name, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    return {f"{name}.weight": m.weight.grad.norm().item() for name, m in layers.items()}


@wrong(checks.gradient_norms, "Only kernels with four dimensions")
def four_dimensions(model):
    return {name: p.grad.norm().item() for name, p in model.named_parameters() if p.ndim == 4}


@wrong(checks.gradient_norms, "Only matrices")
def matrices(model):
    return {name: p.grad.norm().item() for name, p in model.named_parameters() if p.ndim == 2}


@wrong(checks.gradient_norms, "alphabet")
def sorted_by_name(model):
    return dict(sorted(comprehension(model).items()))


@wrong(checks.gradient_norms, "reverse order")
def backwards(model):
    return dict(reversed(comprehension(model).items()))


@wrong(checks.gradient_norms, "names of modules")
def names_of_modules(model):
    return {name.removesuffix(".weight").removesuffix(".matrix"): norm for name, norm in comprehension(model).items()}


def norm_mistake(name, *words):
    def note(norm):
        def gradient_norms(model):
            return {n: float(norm(p)) for n, p in model.named_parameters() if p.ndim >= 2}

        gradient_norms.__name__ = name
        wrong(checks.gradient_norms, *words)(gradient_norms)

    return note


norm_mistake("of_weights", "norms of the weights")(lambda p: p.norm())
norm_mistake("squared", "root of the sum of squares is not taken")(lambda p: (p.grad**2).sum())
norm_mistake("l1", "L1 norm")(lambda p: p.grad.norm(p=1))
norm_mistake("mean_abs", "mean of the absolute values")(lambda p: p.grad.abs().mean())
norm_mistake("maximum", "largest absolute value")(lambda p: p.grad.abs().max())
norm_mistake("rms", "root of the mean of squares")(lambda p: p.grad.pow(2).mean().sqrt())
norm_mistake("std", "standard deviation")(lambda p: p.grad.std())
norm_mistake("relative", "divided by that of the weight")(lambda p: p.grad.norm() / p.norm())
norm_mistake("per_element", "divided by the number of elements")(lambda p: p.grad.norm() / p.numel())
norm_mistake("logarithm", "logarithm (base 10)")(lambda p: p.grad.norm().log10())
norm_mistake("natural_logarithm", "natural logarithm")(lambda p: p.grad.norm().log())
norm_mistake("times_weight", "gradient times weight")(lambda p: (p.grad * p).norm())


@wrong(checks.gradient_norms, "not turned into a number")
def tensors(model):
    return {name: p.grad.norm() for name, p in model.named_parameters() if p.ndim >= 2}


@wrong(checks.gradient_norms, "resets the gradients (zero_grad) before")
def after_zero_grad(model):
    model.zero_grad()
    return comprehension(model)


@wrong(checks.gradient_norms, "resets the gradients (zero_grad) before")
def after_zero_grad_skipping(model):
    model.zero_grad()
    return {name: p.grad.norm().item() for name, p in model.named_parameters() if p.ndim >= 2 and p.grad is not None}


@wrong(checks.gradient_norms, "resets the gradients (zero_grad) before")
def after_setting_to_zero(model):
    model.zero_grad(set_to_none=False)
    return comprehension(model)


@wrong(checks.gradient_norms, "changes or resets the gradients")
def clips(model):
    norms = comprehension(model)
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    return norms


@wrong(checks.gradient_norms, "changes or resets the gradients")
def normalises(model):
    norms = {}
    for name, p in model.named_parameters():
        if p.ndim >= 2:
            norms[name] = p.grad.norm().item()
            p.grad /= norms[name]
    return norms


@wrong(checks.gradient_norms, "list, not a dict")
def only_numbers(model):
    return list(comprehension(model).values())


@wrong(checks.gradient_norms, "return statement is missing")
def prints(model):
    for name, p in model.named_parameters():
        print(name, p.grad.norm())


@wrong(checks.gradient_norms, "is nan")
def nan(model):
    return dict.fromkeys(comprehension(model), torch.nan)


@wrong(checks.gradient_norms, "without `bias`")
def without_biases(model):
    return {n: p.grad.norm().item() for n, p in model.named_parameters() if "bias" not in n}


@wrong(checks.gradient_norms, "state_dict() gives tensors without gradients")
def from_state(model):
    return {n: p.grad.norm().item() for n, p in model.state_dict().items() if p.ndim >= 2}


@wrong(checks.gradient_norms, "gradients are there already")
def calls_the_model(model):
    model(torch.rand(1, 3, 32, 32)).sum().backward()
    return comprehension(model)


@wrong(checks.gradient_norms, "chosen by the name `weight`", "changes or resets the gradients")
def chosen_by_name_then_reset(model):
    norms = {name: p.grad.norm().item() for name, p in model.named_parameters() if "weight" in name}
    model.zero_grad()
    return norms
