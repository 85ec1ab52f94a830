"""One training loop and one evaluation loop, for labels (N,) and for label maps (N, H, W)."""

import contextlib
import copy
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from lab1.analysis.gradients import GradNormLogger, epoch_rows
from lab1.basics.announce import announce
from lab1.basics.device import default_device, gains_from_bf16, memory_format
from lab1.data import ImageSet
from lab1.training import checkpoints, distributed
from lab1.training.convolution import MatrixProducts

Data = ImageSet | Iterable[tuple[Tensor, Tensor]]  # the latter: (images, targets) batches, such as a DataLoader's
LossFunction = Callable[[Tensor, Tensor], Tensor]  # (logits, targets) -> mean loss of the batch
Schedule = Callable[[torch.optim.Optimizer, int], torch.optim.lr_scheduler.LRScheduler]  # for so many steps


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
        optimizer: another optimizer over model.parameters(); the schedule then peaks at its own learning rate.
        schedule: False keeps the learning rate as it is; a function such as `steps` gives another schedule.
        loss_function: (logits, targets) to the mean loss of a batch.
        record_gradients: keep the gradient norm of every weight at every step in the history (see GradNormLogger).
        autocast: compute in bf16; by default where that is faster.
        checkpoint: where to keep the run, written after every epoch. A finished run with the same configuration is
            loaded instead of trained again, an unfinished one continues.
        config: plain values that tell this run from others with the same kind of model, such as {"skip": True}.
        retrain: train anew even if there is a checkpoint, which is replaced after the first epoch.
        log: called after every epoch with a flat dict of numbers, for example Run.log of lab1.experiment.tracking.

    Returns:
        The history: lists with one number an epoch for "epoch", "lr" (of its last step), "train/loss",
        "train/accuracy", "val/loss", "val/accuracy" (0..1, over examples or over pixels) and "seconds"; and with
        record_gradients the tensors "grad_norm" and "weight_norm" (steps, layers), and "layers" and "epoch_ends". The
        model is left in eval mode with the weights of the last epoch; the checkpoint keeps those and, as "best", the
        ones of the highest validation accuracy. An interrupt (the stop button, Ctrl-C) ends training early, with model
        and history as they were after the last finished epoch.

    Raises:
        ValueError: sizes out of range.
        CheckpointError: a checkpoint that cannot be read or written, or was made with another configuration.
    """
    if num_epochs < 1 or batch_size < 1 or lr <= 0:
        raise ValueError(f"num_epochs={num_epochs} and batch_size={batch_size} must be at least 1, and lr={lr} above 0")
    device = torch.device(device) if device else default_device()
    autocast = gains_from_bf16(device) if autocast is None else autocast
    layout = memory_format(device, autocast)
    precision = f"{'bf16 autocast' if autocast else 'fp32'}{', channels_last' * (layout == torch.channels_last)}"
    announce(f"training on {device.type} in {precision}")
    model.to(device, memory_format=layout)
    train, val = (data.to(device) if isinstance(data, ImageSet) else data for data in (train, val))
    num_steps = -(-len(train) // batch_size) if isinstance(train, ImageSet) else len(train)  # an epoch
    if num_steps == 0:
        raise ValueError("there is nothing to train on: the training set is empty")
    if optimizer is None:
        optimizer = _sgd(model, lr, momentum, weight_decay)
    config = {
        **{"model": type(model).__name__, "num_parameters": sum(p.numel() for p in model.parameters())},
        **{f"{name}_data": getattr(data, "fingerprint", None) for name, data in (("train", train), ("val", val))},
        **{"augment": getattr(train, "augment", None), "optimizer": type(optimizer).__name__},
        **{key: optimizer.param_groups[0].get(key) for key in ("lr", "momentum", "weight_decay")},
        **{"num_epochs": num_epochs, "batch_size": batch_size, "seed": seed},
        **{"schedule": getattr(schedule, "__name__", schedule)},
        **{"record_gradients": record_gradients, **(config or {})},
    }
    schedule = _one_cycle if schedule is True else schedule
    scheduler = schedule(optimizer, num_epochs * num_steps) if schedule else None

    last = {"model": _copy_state(model), "best": None, "history": {"epoch": []}}  # as of the last finished epoch
    if checkpoint is not None:
        checkpoints.check_writable(checkpoint)
        if Path(checkpoint).exists() and not retrain:
            last = _resume(Path(checkpoint), config, model, optimizer, scheduler)
    first_epoch = len(last["history"]["epoch"])
    rank, size = distributed.rank_and_size()  # under torchrun: the processes share every batch
    if distributed.summed(first_epoch, device=device) != [size * first_epoch]:
        raise checkpoints.CheckpointError(f"not every process sees {checkpoint}: use a folder that all machines share")
    network, is_first = distributed.replicated(model, device), rank == 0
    log = log if is_first else None
    for i in range(first_epoch):  # the record of a run is complete, whenever it was trained
        print(_line(numbers := _numbers_of_epoch(last["history"], i), num_epochs))
        if log is not None:
            log(numbers)

    total = {"total": num_epochs * num_steps, "initial": first_epoch * num_steps}
    bar = tqdm(**total, unit="step", leave=False, disable=not is_first)
    with bar, torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            for epoch in range(first_epoch, num_epochs):
                start = time.perf_counter()
                torch.manual_seed(1_000_003 * seed + epoch)
                logger = GradNormLogger(model, optimizer) if record_gradients else None
                try:
                    batches = _batches(train, batch_size, device, shuffle=True)
                    loss, accuracy, last_lr = _train_epoch(
                        network, batches, optimizer, scheduler, loss_function, autocast, bar
                    )
                finally:
                    if logger is not None:
                        logger.close()
                numbers = {"epoch": epoch, "lr": last_lr}
                numbers |= {"train/loss": loss, "train/accuracy": accuracy}
                if val is not None:
                    numbers["val/loss"], numbers["val/accuracy"] = evaluate(
                        model, val, batch_size=batch_size, loss_function=loss_function, autocast=autocast, device=device
                    )
                numbers["seconds"] = time.perf_counter() - start
                history = _extended(last["history"], numbers, logger)
                state, best = _copy_state(model), last["best"]
                if val is None or numbers["val/accuracy"] >= max(history["val/accuracy"]):
                    best = {"epoch": epoch, "model": state}
                finished = {"model": state, "best": best, "history": history}
                if checkpoint is not None and is_first:
                    _save(Path(checkpoint), config, finished, optimizer, scheduler)
                last = finished
                bar.write(_line(numbers, num_epochs))
                if log is not None:
                    log(_numbers_of_epoch(history, -1))
        except KeyboardInterrupt:
            model.load_state_dict(last["model"])
            bar.write(f"interrupted: model and history are those after {len(last['history']['epoch'])} epochs")
    model.eval()
    return last["history"]


def _train_epoch(model, batches, optimizer, scheduler, loss_function, autocast, bar) -> tuple[float, float, float]:
    """One step for each batch. Returns mean loss per example and accuracy as they were while the model learned, and
    the learning rate of the last step.
    """
    model.train()
    mean = _RunningMean()
    start = time.perf_counter()
    for images, targets in batches:
        images, targets, weight = distributed.share(images, targets)
        with _fastest(images.device, autocast):
            logits = model(images)
        loss = loss_function(logits.float(), targets)
        optimizer.zero_grad()
        (weight * loss).backward()
        optimizer.step()
        lr = optimizer.param_groups[0]["lr"]
        if scheduler is not None:
            scheduler.step()
        if weight:
            mean.add(loss, logits, targets)
        if bar.update():  # true when it was drawn, a few times a second: only then is the device waited for
            loss_so_far, accuracy = mean.result()
            speed = mean.num_examples / (time.perf_counter() - start)
            bar.set_postfix_str(f"loss {loss_so_far:.3f}, accuracy {accuracy:.1%}, {speed:.0f} images/s", refresh=False)
    mean.add_other_processes(images.device)
    return *mean.result(), lr


@torch.no_grad()
def evaluate(
    model: nn.Module,
    data: Data,
    *,
    batch_size: int = 128,
    loss_function: LossFunction = F.cross_entropy,
    autocast: bool | None = None,
    device: torch.device | str | None = None,
) -> tuple[float, float]:
    """Mean loss per example and accuracy (0..1, over examples or over pixels), in eval mode.

    Arguments as in `fit`. The model's mode is restored. Taught in Exercise 1.1.
    """
    mean = _RunningMean()
    for logits, targets in _predictions(model, data, batch_size, autocast, device):
        mean.add(loss_function(logits, targets), logits, targets)
    return mean.result()


@torch.no_grad()
def predict(
    model: nn.Module,
    data: Data,
    *,
    batch_size: int = 128,
    autocast: bool | None = None,
    device: torch.device | str | None = None,
) -> tuple[Tensor, Tensor]:
    """Logits (N, K) or (N, K, H, W) float32 and targets, of all examples, on the CPU, in eval mode."""
    logits, targets = zip(*_predictions(model, data, batch_size, autocast, device), strict=True)
    return torch.cat(logits).cpu(), torch.cat(targets).cpu()


def _predictions(model, data, batch_size, autocast, device) -> Iterator[tuple[Tensor, Tensor]]:
    device = torch.device(device) if device else default_device()
    autocast = gains_from_bf16(device) if autocast is None else autocast
    data = data.to(device) if isinstance(data, ImageSet) else data
    was_training = model.training
    model.to(device).eval()
    try:
        for images, targets in _batches(data, batch_size, device):
            with _fastest(device, autocast):
                logits = model(images)
            yield logits.float(), targets
    finally:
        model.train(was_training)


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
    optimizer = _sgd(model, lr=0.1, momentum=0.9, weight_decay=5e-4)
    for _ in range(2):  # the first step sets things up and is not counted
        start = time.perf_counter()
        _train_epoch(model, batch, optimizer, None, F.cross_entropy, autocast, tqdm(disable=True))
        seconds = time.perf_counter() - start
    return runs * num_epochs * (len(train) + len(val) / 4) * seconds / len(batch[0][1]) / 60


@contextlib.contextmanager
def _fastest(device: torch.device, autocast: bool) -> Iterator[None]:
    """How a model is called: in bf16 where that is wanted, and on the CPU with convolutions as they are fastest."""
    products = MatrixProducts() if device.type == "cpu" else contextlib.nullcontext()
    with products, torch.autocast(device.type, torch.bfloat16, enabled=autocast):
        yield


class _RunningMean:
    """Mean loss per example and accuracy, summed on the device."""

    def __init__(self):
        self.num_examples = self.num_targets = 0
        self._loss = self._correct = 0.0

    def add(self, loss: Tensor, logits: Tensor, targets: Tensor) -> None:
        self.num_examples += len(targets)
        self.num_targets += targets.numel()
        self._loss = self._loss + loss.detach() * len(targets)
        self._correct = self._correct + (logits.detach().argmax(1) == targets).sum()

    def add_other_processes(self, device: torch.device) -> None:
        mine = (self.num_examples, self.num_targets, self._loss, self._correct)
        self.num_examples, self.num_targets, self._loss, self._correct = distributed.summed(*mine, device=device)

    def result(self) -> tuple[float, float]:
        if self.num_examples == 0:
            raise ValueError("there is nothing to evaluate: the data are empty")
        return float(self._loss) / self.num_examples, float(self._correct) / self.num_targets


def _batches(data: Data, batch_size: int, device: torch.device, shuffle: bool = False) -> Iterator:
    if isinstance(data, ImageSet):
        yield from data.batches(batch_size, shuffle=shuffle)
    else:
        for images, targets in data:
            yield images.to(device, non_blocking=True), targets.to(device, non_blocking=True)


def _sgd(model: nn.Module, lr: float, momentum: float, weight_decay: float) -> torch.optim.SGD:
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    # fused: the update in one pass over the memory
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=momentum > 0, fused=True)


def _one_cycle(optimizer, total_steps: int):
    """Smith and Topin 2018 (arXiv:1708.07120), for the learning rate only."""
    peaks = [group["lr"] for group in optimizer.param_groups]
    rise = 0.2 if total_steps != 5 else 0.21  # of 5 steps a fifth would be a rise in 0 steps, by which PyTorch divides
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, peaks, total_steps, pct_start=rise, cycle_momentum=False)


def steps(optimizer, total_steps: int):
    """The schedule of He et al. 2016, section 4.2: a tenth of the learning rate after half the steps and after 3/4."""
    return torch.optim.lr_scheduler.MultiStepLR(optimizer, [total_steps // 2, total_steps * 3 // 4], gamma=0.1)


def _copy_state(model: nn.Module) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in model.state_dict().items()}


def _extended(history: dict, numbers: dict, logger: GradNormLogger | None) -> dict:
    """The history with one more epoch; the old one stays as it is."""
    extended = history | {key: [*history.get(key, []), value] for key, value in numbers.items()}
    if logger is not None:
        rows = {"grad_norm": logger.to_numpy(), "weight_norm": logger.weight_norms()}
        for key, new in rows.items():
            extended[key] = torch.cat([*([history[key]] if key in history else []), torch.from_numpy(new)])
        extended["layers"] = logger.layers
        extended["epoch_ends"] = [*history.get("epoch_ends", []), len(extended["grad_norm"])]
    return extended


def _numbers_of_epoch(history: dict, i: int) -> dict:
    """Epoch i as a flat dict of numbers; the gradient norms are averaged over its steps."""
    numbers = {key: values[i] for key, values in history.items() if isinstance(values, list) and "/" in key}
    numbers |= {"epoch": history["epoch"][i], "lr": history["lr"][i], "seconds": history["seconds"][i]}
    if "grad_norm" in history:
        mean = epoch_rows(history, "grad_norm", history["epoch"][i]).mean(dim=0)
        numbers |= {f"grad_norm/{name}": value for name, value in zip(history["layers"], mean.tolist(), strict=True)}
    return numbers


def _line(numbers: dict, num_epochs: int) -> str:
    text = f"epoch {numbers['epoch']:2d}/{num_epochs - 1}  "
    for part in ("train", "val"):
        if f"{part}/loss" in numbers:
            text += f"{part} loss {numbers[f'{part}/loss']:.3f}, accuracy {numbers[f'{part}/accuracy']:6.1%}  "
    return text + f"{numbers['seconds']:.1f} s"


def _save(path: Path, config: dict, finished: dict, optimizer, scheduler) -> None:
    checkpoint = {"config": config, **finished}
    if len(finished["history"]["epoch"]) < config["num_epochs"]:  # what only an unfinished run needs
        checkpoint["optimizer"] = optimizer.state_dict()
        checkpoint["scheduler"] = scheduler and scheduler.state_dict()
    checkpoints.save(path, checkpoint)


def _resume(path: Path, config: dict, model, optimizer, scheduler) -> dict:
    """Load a checkpoint of `_save` into model, optimizer and scheduler, and say so."""
    checkpoint = checkpoints.load(path)
    advice = "Pass retrain=True to train anew and replace it, or name another file"
    try:
        stored, history = checkpoint["config"], checkpoint["history"]
        num_epochs = len(history["epoch"])
        if differing := [key for key in {**config, **stored} if config.get(key) != stored.get(key)]:
            said = ", ".join(f"{key}={stored.get(key)!r} instead of {config.get(key)!r}" for key in differing)
            raise checkpoints.CheckpointError(f"{path} was made with {said}. {advice}")
        if num_epochs < config["num_epochs"]:
            optimizer.load_state_dict(checkpoint["optimizer"])
            _lay_out_like_the_weights(optimizer)
            if scheduler is not None:
                scheduler.load_state_dict(checkpoint["scheduler"])
        model.load_state_dict(checkpoint["model"])
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        if isinstance(error, checkpoints.CheckpointError):
            raise
        raise checkpoints.CheckpointError(f"{path} does not fit this model ({error}). {advice}") from error
    if num_epochs == config["num_epochs"]:
        print(f"loaded {path.name}: a finished run of {num_epochs} epochs, {sum(history['seconds']) / 60:.1f} minutes")
    else:
        print(f"continuing {path.name} after {num_epochs} of {config['num_epochs']} epochs")
    return {key: checkpoint[key] for key in ("model", "best", "history")}


def _lay_out_like_the_weights(optimizer: torch.optim.Optimizer) -> None:
    """A fused update expects momentum in the memory format of its weight; a run begun elsewhere may have another."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter).copy_(value)
