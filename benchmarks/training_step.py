"""A training step and an evaluation pass of ResNet18: the usual script's, and `fit`'s and `evaluate`'s."""

import contextlib
import copy
import statistics
from unittest import mock

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm.auto import tqdm

from benchmarks.harness import Row, compare, interleave, ratios
from benchmarks.usual_script import UsualScript
from lab1 import data, training
from lab1.basics.device import default_device, gains_from_bf16, memory_format
from lab1.training import evaluation, loop, optimizers

USUAL = "the usual script"


def batch_sizes(quick: bool) -> tuple[int, ...]:
    """A usual one, and a small one, at which whatever a step costs besides its images weighs more."""
    return (16,) if quick else (128, 16)


class Step:
    """Steps as `fit` takes them, of a copy of the model; a call returns the mean loss. `within`: a context around."""

    def __init__(self, batch, model: nn.Module, within=contextlib.nullcontext):
        device = batch[0].device
        self.batch, self.within, self.autocast = batch, within, gains_from_bf16(device)
        self.model = copy.deepcopy(model).to(device, memory_format=memory_format(device, self.autocast))
        self.optimizer = optimizers.sgd(self.model, lr=0.1, momentum=0.9, weight_decay=5e-4)

    def __call__(self, num_steps: int = 1) -> float:
        batches, bar = [self.batch] * num_steps, tqdm(disable=True)
        with self.within():
            return loop._train_epoch(self.model, batches, self.optimizer, None, F.cross_entropy, self.autocast, bar)[0]


def without_matrix_products():
    return mock.patch.object(evaluation, "MatrixProducts", contextlib.nullcontext)


def run(quick: bool) -> list[Row]:
    """On a device that gains from bf16 there are rows for what bf16 and what the matrix products contribute."""
    device = default_device()
    precision = torch.bfloat16 if gains_from_bf16(device) else torch.float32
    cifar = data.load("cifar10", num_train=1280 if quick else None)
    script = UsualScript(cifar.train, cifar.val, device)
    product = torch.randn(2048, 2048, device=device, dtype=precision)
    rows = []
    for batch_size in batch_sizes(quick):
        batch = tuple(t.to(device) for t in cifar.train.batch(range(batch_size)))
        rows += _steps(script, batch, product, quick)
    return rows + _evaluation(script, cifar.val, product, quick)


def _steps(script: UsualScript, batch, product: torch.Tensor, quick: bool) -> list[Row]:
    arms = {"fit": Step(batch, script.model)}  # a copy, before the script changes its own
    on_cpu = product.device.type == "cpu" and product.dtype == torch.bfloat16
    if on_cpu:
        arms["fit, no matrix products"] = Step(batch, script.model, within=without_matrix_products)
    arms[USUAL] = lambda: script.step(*batch)
    losses = [arm() for arm in arms.values()]  # the first step, from equal weights
    assert max(losses) - min(losses) < (1e-3 if product.dtype == torch.float32 else 0.05), losses

    times = interleave({"product": lambda: product @ product, **arms}, 3 if quick else 9)
    flops = _flops(lambda: F.cross_entropy(script.model(batch[0]), batch[1]).backward())
    limit = _arithmetic(times, "fit", flops, product)
    title = f"a training step of ResNet18 on {len(batch[0])} images at hand"
    rows = [compare(title, times, arm, "fit", limit) for arm in arms if arm != "fit"]
    if on_cpu:
        rows.append(compare(title, times, USUAL, "fit, no matrix products", "arithmetic, see above"))
    return rows


def _evaluation(script: UsualScript, val: data.ImageSet, product: torch.Tensor, quick: bool) -> list[Row]:
    model = copy.deepcopy(script.model).to(memory_format=memory_format(product.device, gains_from_bf16(product.device)))
    found = {}

    def evaluate(name, **options):
        found[name] = training.evaluate(model, val, **options)[1]

    arms = {"product": lambda: product @ product, "evaluate": lambda: evaluate("evaluate")}
    arms[USUAL] = lambda: found.update({USUAL: script.accuracy()})
    if product.dtype == torch.bfloat16:
        arms["evaluate, fp32"] = lambda: evaluate("evaluate, fp32", autocast=False)
    times = interleave(arms, 3 if quick else 9)
    assert max(found.values()) - min(found.values()) < 0.02, found  # the same accuracy

    flops = len(val) * _flops(lambda: model.eval()(next(val.batches(1))[0].to(product.device)))
    limit = _arithmetic(times, "evaluate", flops, product)
    title = f"evaluating ResNet18 on {len(val)} images, loading included"
    return [compare(title, times, arm, "evaluate", limit) for arm in arms if arm not in ("product", "evaluate")]


def _arithmetic(times: dict, arm: str, flops: int, product: torch.Tensor) -> str:
    share = statistics.median(ratios(times, "product", arm)) * flops / _flops(lambda: product @ product)
    return f"arithmetic: {share:.0%} of the FLOP/s of a large {str(product.dtype)[6:]} matrix product"


def _flops(function) -> int:
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()
