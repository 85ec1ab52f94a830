"""One training loop and one evaluation loop, for labels (N,) and for label maps (N, H, W)."""

import contextlib
import copy
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lab1.analysis.gradients import GradNormLogger, remark_left_out
from lab1.basics.announce import announce
from lab1.basics.device import default_device, gains_from_bf16, memory_format
from lab1.basics.progress import progress
from lab1.data import ImageSet
from lab1.training import distributed, optimizers
from lab1.training.evaluation import Data, LossFunction, batches, check_batches, evaluate, fastest, num_batches
from lab1.training.measures import RunningMean
from lab1.training.optimizers import Schedule
from lab1.training.run import ResumableRun


def fit(
    model: nn.Module,
    train: Data,
    val: Data | None = None,
    *,
    num_epochs: int,
    batch_size: int = 128,
    lr: float = 0.1,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    optimizer: torch.optim.Optimizer | None = None,
    schedule: Schedule | bool = True,
    loss_function: LossFunction = F.cross_entropy,
    record_gradients: bool = False,
    autocast: bool | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    config: dict | None = None,
    notes: dict | None = None,
    retrain: bool = False,
    log: Callable[[dict], None] | None = None,
) -> dict:
    """Train a model, in place, and return its history. Taught in Exercise 1.1, used in all the others.

    SGD with Nesterov momentum, weight decay on weights but not on biases and BatchNorm, and a one-cycle schedule (the
    learning rate rises for the first fifth of all steps and then falls to zero along a cosine). bf16 autocast and
    channels_last where the device gains from them. Random choices depend on `seed` and the epoch alone, so a run that
    was interrupted continues from its last finished epoch as if nothing had happened.

    Args:
        model: (N, C, H, W) float32 to logits (N, K) or (N, K, H, W).
        train, val: ImageSets; or iterables of batches, which then decide about batch size and order themselves.
        lr: the highest learning rate of the schedule; `lr`, `momentum` and `weight_decay` are for the default
            optimizer and unused with one of your own.
        optimizer: another optimizer over model.parameters(), or over some of them; a message names those that it
            leaves out. The schedule then peaks at its own learning rate.
        schedule: False keeps the learning rate as it is; a function such as `steps` gives another schedule, which is
            stepped after every batch.
        loss_function: (logits, targets) to the mean loss of a batch. Targets that it ignores (`ignore_index`) do not
            count in the accuracy.
        record_gradients: keep the gradient norm of every weight at every step in the history (see GradNormLogger).
        autocast: compute in bf16; by default where that is faster.
        checkpoint: where to keep the run, written after every epoch. A finished run with the same configuration is
            loaded instead of trained again, an unfinished one continues. The configuration covers the code of the
            model's classes and of the loss function.
        config: plain values that tell this run from others with the same kind of model, such as {"skip": True}.
        notes: plain values that the checkpoint keeps beside the configuration and never compares, such as
            {"run_id": "..."}. A loaded or continued run keeps the notes that it was begun with.
        retrain: train anew even if there is a checkpoint, which is replaced after the first epoch.
        log: called after every epoch with a flat dict of numbers, for example Run.log of lab1.experiment.tracking.

    Returns:
        The history: lists with one number an epoch for "epoch", "lr" (of its last step), "train/loss",
        "train/accuracy", "val/loss", "val/accuracy" (0..1, over examples or over pixels) and "seconds"; and with
        record_gradients the tensors "grad_norm" and "weight_norm" (steps, layers), and "layers" and "epoch_ends".
        "interrupted" is true if an interrupt (the stop button, Ctrl-C) ended training early; model and history are
        then as they were after the last finished epoch. The model is left in eval mode with the weights of the last
        epoch; the checkpoint keeps those and, as "best", the ones of the highest validation accuracy. If a loss becomes
        nan or infinite, a message says so once, and the weights of such an epoch are never the best.

    Raises:
        ValueError: sizes out of range; an optimizer that holds nothing to train or needs a closure, such as LBFGS;
            ReduceLROnPlateau; targets for which accuracy has no meaning.
        TypeError: data that can be gone through only once or have no length; a configuration that is not plain.
        CheckpointError: a checkpoint that cannot be read or written, or was made with another configuration, other
            code or another loss function.
    """
    # prepare: what can be refused is refused here
    num_epochs, batch_size, seed = _plain(num_epochs), _plain(batch_size), _plain(seed)
    if num_epochs < 1 or batch_size < 1 or not 0 < lr < math.inf:
        raise ValueError(f"num_epochs={num_epochs} and batch_size={batch_size} must be at least 1, and lr={lr} above 0")
    num_steps = num_batches(train, batch_size, "train")  # of an epoch
    if val is not None:
        check_batches(val, "val")
    device = torch.device(device) if device else default_device()
    autocast = gains_from_bf16(device) if autocast is None else autocast
    _place(model, device, autocast)
    train, val = (data.to(device) if isinstance(data, ImageSet) else data for data in (train, val))
    if optimizer is None:
        optimizer = optimizers.sgd(model, lr, momentum, weight_decay)
    optimizers.check(optimizer, model)
    group = optimizer.param_groups[0]
    config = {
        "model": type(model).__name__,
        "num_parameters": sum(p.numel() for p in model.parameters()),
        "train_data": getattr(train, "fingerprint", None),
        "val_data": getattr(val, "fingerprint", None),
        "augment": getattr(train, "augment", None),
        "optimizer": type(optimizer).__name__,
        "lr": _plain(group.get("lr")),
        "momentum": _plain(group.get("momentum")),
        "weight_decay": _plain(group.get("weight_decay")),
        "num_epochs": num_epochs,
        "batch_size": batch_size,
        "seed": seed,
        "schedule": schedule if schedule in (True, False, None) else getattr(schedule, "__name__", "a function"),
        "record_gradients": record_gradients,
    } | (config or {})
    scheduler = optimizers.scheduler_of(schedule, optimizer, num_epochs * num_steps)

    # resume
    run = ResumableRun(model, optimizer, scheduler, config, notes or {}, checkpoint, log)
    run.resume(loss_function, schedule, retrain)
    if checkpoint is not None:
        _remark_unknown(train=train, val=val)
    for epoch in range(run.num_finished):  # the record of a run is complete, whenever it was trained
        run.report(epoch)

    # train
    is_left = run.num_finished < num_epochs
    logger = GradNormLogger(model, optimizer) if record_gradients and is_left else None
    if is_left and not record_gradients:  # otherwise the logger says it
        remark_left_out(model, optimizer)
    network = distributed.replicated(model, device)
    total, done = num_epochs * num_steps, run.num_finished * num_steps
    bar = progress(total=total, initial=done, unit="step", leave=False, disable=not run.is_first)
    random_state = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
    closing = contextlib.closing(logger) if logger else contextlib.nullcontext()
    with bar, random_state, closing, run.interruptible(bar.write):
        for epoch in range(run.num_finished, num_epochs):
            start = time.perf_counter()
            torch.manual_seed(1_000_003 * seed + epoch)
            loader = batches(train, batch_size, device, shuffle=True)
            trained = _train_epoch(network, loader, optimizer, scheduler, loss_function, autocast, bar)
            numbers = {"epoch": epoch, "lr": trained.lr, "train/loss": trained.loss, "train/accuracy": trained.accuracy}
            if val is not None:
                numbers["val/loss"], numbers["val/accuracy"] = evaluate(
                    model, val, batch_size=batch_size, loss_function=loss_function, autocast=autocast, device=device
                )
            numbers["seconds"] = time.perf_counter() - start
            run.finish_epoch(numbers, logger)
            run.report(epoch, bar.write)
            run.warn_once(numbers, trained.not_finite, bar.write)
    model.eval()
    return run.history | {"interrupted": run.interrupted}


def _place(model: nn.Module, device: torch.device, autocast: bool) -> None:
    """The model onto the device, in the memory format that pays there; a message says so once."""
    layout = memory_format(device, autocast)
    precision = "bf16 autocast" if autocast else "fp32"
    if layout == torch.channels_last:
        precision += ", channels_last"
    announce(f"training on {device.type} in {precision}")
    model.to(device, memory_format=layout)


def _remark_unknown(**data) -> None:
    unknown = [name for name, part in data.items() if part is not None and not hasattr(part, "fingerprint")]
    if unknown:
        print(
            f"the checkpoint cannot tell whether the data changed: {' and '.join(unknown)} came as batches, which have "
            "no fingerprint"
        )


def _plain(value):
    """The number that is in a tensor or NumPy scalar now; other values as they are."""
    return value.item() if isinstance(value, torch.Tensor | np.generic) else value


class Trained(NamedTuple):
    """An epoch of training: mean loss per example and accuracy as they were while the model learned."""

    loss: float
    accuracy: float
    lr: float  # of the last step
    not_finite: str | None  # where the loss became nan or infinite, if it did


def _train_epoch(model, loader, optimizer, scheduler, loss_function, autocast, bar) -> Trained:
    """One step for each batch."""
    model.train()
    mean = RunningMean(loss_function)
    lrs = []
    start = time.perf_counter()
    for images, targets in loader:
        # weight: with several processes, how much this one's share of the batch counts; otherwise 1
        images, targets, weight = distributed.share(images, targets)
        with fastest(images.device, autocast):
            logits = model(images)
        loss = loss_function(logits.float(), targets)
        counted = len(targets) if weight else 0  # 0: the share is empty, and holds an example of another process
        mean.add(loss, logits[:counted], targets[:counted])
        optimizer.zero_grad()
        (weight * loss).backward()
        optimizer.step()
        lrs.append(copy.deepcopy(optimizer.param_groups[0]["lr"]))  # a schedule changes a tensor in place
        if scheduler is not None:
            scheduler.step()
        if bar.update():  # true when it was drawn, a few times a second: only then is the device waited for
            loss_so_far, accuracy = mean.result()
            speed = mean.num_examples / (time.perf_counter() - start)
            bar.set_postfix_str(f"loss {loss_so_far:.3f}, accuracy {accuracy:.1%}, {speed:.0f} images/s", refresh=False)
    mean.add_other_processes(images.device)
    step = mean.num_finite_steps()
    not_finite = None if step == len(lrs) else f"step {step}, learning rate {float(lrs[step]):.3g}"
    return Trained(*mean.result(), float(lrs[-1]), not_finite)


def expected_minutes(
    model: nn.Module, train: ImageSet, val: ImageSet, *, num_epochs: int, batch_size: int, runs: int = 1
) -> float:
    """How long `runs` calls of `fit` should take, judged from one timed step of a copy of the model.

    An image that is only evaluated counts a quarter of one that is trained on.
    """
    device = default_device()
    autocast = gains_from_bf16(device)
    model = copy.deepcopy(model).to(device, memory_format=memory_format(device, autocast))
    batch = [next(train.to(device).batches(batch_size))]
    optimizer = optimizers.sgd(model, lr=0.1, momentum=0.9, weight_decay=5e-4)
    for _ in range(2):  # the first step sets things up and is not counted
        start = time.perf_counter()
        _train_epoch(model, batch, optimizer, None, F.cross_entropy, autocast, progress(disable=True))
        seconds = time.perf_counter() - start
    return runs * num_epochs * (len(train) + len(val) / 4) * seconds / len(batch[0][1]) / 60
