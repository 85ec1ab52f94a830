"""A training step of ResNet18 alone, with GradNormLogger, and with wandb.watch."""

import os
import tempfile

import torch
import wandb

from benchmarks.harness import Row, compare, interleave
from benchmarks.training_step import Step, batch_sizes
from lab1 import GradNormLogger, ResNet18, data
from lab1.analysis.gradients import gradient_norms
from lab1.basics.device import default_device

ALONE, LOGGED, WATCHED = "fit", "fit with GradNormLogger", "fit with wandb.watch(log_freq=1)"


def run(quick: bool) -> list[Row]:
    images, device = data.load("cifar10").train, default_device()
    rows = []
    for batch_size in batch_sizes(quick):
        rows += _steps(tuple(t.to(device) for t in images.batch(range(batch_size))), repeats=5 if quick else 11)
    return rows


def _steps(batch, repeats: int) -> list[Row]:
    model = ResNet18()
    steps = {name: Step(batch, model) for name in (ALONE, LOGGED, WATCHED)}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["WANDB_SILENT"] = "true"
        with wandb.init(mode="offline", dir=folder, settings=wandb.Settings(silent=True)) as watched_run:
            logger = GradNormLogger(steps[LOGGED].model, steps[LOGGED].optimizer)
            wandb.watch(steps[WATCHED].model, log="gradients", log_freq=1)
            arms = steps | {WATCHED: lambda: watched_run.log({"loss": steps[WATCHED]()})}
            times = interleave(arms, repeats)
    # the same steps were taken, and the numbers recorded are those of the gradients that are still there
    torch.testing.assert_close(steps[LOGGED].model.fc.weight, steps[ALONE].model.fc.weight)
    recorded = dict(zip(logger.layers, logger.to_numpy()[-1].tolist(), strict=True))
    assert recorded == gradient_norms(steps[LOGGED].model)
    title = f"a training step of ResNet18 on {len(batch[0])} images at hand"
    alone = compare(title, times, LOGGED, ALONE, "see the first row")
    return [alone, compare(title, times, WATCHED, LOGGED, "the step itself")]
