"""A training step of ResNet18 alone, with GradNormLogger, and with wandb.watch."""

import os
import tempfile

import torch
import torch.nn.functional as F
import wandb

from benchmarks.harness import Row, compare, interleave
from lab1 import GradNormLogger, ResNet18, data
from lab1.device import default_device
from lab1.gradients import gradient_norms


def run(quick: bool) -> list[Row]:
    batch_size, device = 32 if quick else 128, default_device()
    images, labels = (t.to(device) for t in data.load("cifar10").train.batch(range(batch_size)))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["WANDB_SILENT"] = "true"
        with wandb.init(mode="offline", dir=folder, settings=wandb.Settings(silent=True)) as watched_run:
            models = {name: _model(device) for name in ("step alone", "GradNormLogger", "wandb.watch")}
            optimizers = {name: torch.optim.SGD(m.parameters(), lr=0.01, momentum=0.9) for name, m in models.items()}
            logger = GradNormLogger(models["GradNormLogger"], optimizers["GradNormLogger"])
            wandb.watch(models["wandb.watch"], log="gradients", log_freq=1)

            def step(name):
                loss = F.cross_entropy(models[name](images), labels)
                optimizers[name].zero_grad()
                loss.backward()
                optimizers[name].step()
                if name == "wandb.watch":
                    watched_run.log({"loss": loss.item()})

            times = interleave({name: lambda name=name: step(name) for name in models}, 5 if quick else 11)
    # the same steps were taken, and the numbers recorded are those of the gradients that are still there
    torch.testing.assert_close(models["GradNormLogger"].fc.weight, models["step alone"].fc.weight)
    recorded = dict(zip(logger.layers, logger.to_numpy()[-1].tolist(), strict=True))
    assert recorded == gradient_norms(models["GradNormLogger"])
    title = f"a training step of ResNet18, batch of {batch_size}"
    return [compare(title, times, arm, "step alone") for arm in ("GradNormLogger", "wandb.watch")]


def _model(device):
    torch.manual_seed(0)
    return ResNet18().to(device)
