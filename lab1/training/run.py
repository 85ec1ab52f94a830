"""A run of `fit`: what tells it from others, how far it is, and the checkpoint that keeps both."""

import contextlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from lab1.analysis.gradients import GradNormLogger, epoch_rows
from lab1.training import checkpoints, code, distributed
from lab1.training.checkpoints import CheckpointError


class ResumableRun:
    """A training as of its last finished epoch.

    Args:
        model, optimizer, scheduler: what is trained, and how; a scheduler may be None.
        config: plain values that tell this run from others, "num_epochs" among them.
        notes: plain values that are kept beside the configuration and never compared.
        path: of the checkpoint; None to keep the run in memory only.
        log: called with the numbers of every epoch, by the first of several processes.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scheduler: torch.optim.lr_scheduler.LRScheduler | None,
        config: dict,
        notes: dict,
        path: str | Path | None,
        log: Callable[[dict], None] | None,
    ):
        self.model, self.optimizer, self.scheduler = model, optimizer, scheduler
        self.config, self.notes = config, notes
        self.path = None if path is None else Path(path)
        self.is_first = distributed.rank_and_size()[0] == 0  # under torchrun: of the processes that share every batch
        self.log = log if self.is_first else None
        self.state = copy_state(model)
        self.best = None
        self.history = {"epoch": []}
        self.initial_weights = None if path is None else checkpoints.fingerprint(model)
        self.interrupted = self._has_warned = False

    @property
    def num_finished(self) -> int:
        return len(self.history["epoch"])

    def resume(self, loss_function: Callable, schedule: Callable | bool | None, retrain: bool) -> None:
        """Find out that a checkpoint can be written, and continue the run that is in it, unless `retrain`.

        The configuration in a checkpoint covers code, see `code.description`.

        Raises:
            CheckpointError: it cannot be written or read, or holds another run.
            TypeError: a configuration or notes that are not plain.
        """
        for name, values in (("config", self.config), ("notes", self.notes)):
            checkpoints.check_plain(values, name)
        if self.path is not None:
            checkpoints.check_writable(self.path)
            self.config["code"] = code.description(self.model, loss_function, schedule)
            checkpoints.check_plain(self._optimization(), "the state of optimizer and schedule")
            if self.path.exists() and not retrain:
                self._load()
        size, device = distributed.rank_and_size()[1], next(self.model.parameters()).device
        if distributed.summed(self.num_finished, device=device) != [size * self.num_finished]:
            raise CheckpointError(f"not every process sees {self.path}: use a folder that all machines share")

    def _load(self) -> None:
        checkpoint = checkpoints.load(self.path)
        advice = "Name another file to keep both runs, or pass retrain=True to train anew and replace this one"
        try:
            stored, history = checkpoint["config"], checkpoint["history"]
            if differing := _differences(stored, self.config):
                raise CheckpointError(f"{self.path} was made with {', '.join(differing)}. {advice}")
            if len(history["epoch"]) < self.config["num_epochs"]:
                self.optimizer.load_state_dict(checkpoint["optimizer"])
                _lay_out_like_the_weights(self.optimizer)
                if self.scheduler is not None:
                    self.scheduler.load_state_dict(checkpoint["scheduler"])
            self.model.load_state_dict(checkpoint["model"])
        except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"{self.path} does not fit this model ({error}). {advice}") from error
        self.state, self.best, self.history = checkpoint["model"], checkpoint["best"], history
        self.config, self.notes = stored, checkpoint.get("notes", self.notes)
        now, self.initial_weights = self.initial_weights, checkpoint.get("initial_weights")
        self._say_what_was_loaded(other_start=self.initial_weights not in (None, now))

    def _say_what_was_loaded(self, other_start: bool) -> None:
        if self.num_finished < self.config["num_epochs"]:
            said = f"continuing {self.path.name} after {self.num_finished} of {self.config['num_epochs']} epochs"
        else:
            minutes = sum(self.history["seconds"]) / 60
            said = f"loaded {self.path.name}: a finished run of {self.num_finished} epochs, {minutes:.1f} minutes"
        print(f"{said}; it began with other initial weights than this model has" if other_start else said)

    def finish_epoch(self, numbers: dict, logger: GradNormLogger | None) -> None:
        """One more epoch: into the history and the checkpoint, then to the reader."""
        history = _extended(self.history, numbers, logger)
        state, best = copy_state(self.model), self.best
        if _is_finite(numbers) and (best is None or not _is_worse(history, best["epoch"])):
            best = {"epoch": numbers["epoch"], "model": state}
        if self.path is not None and self.is_first:
            self._save(state, best, history)
        self.state, self.best, self.history = state, best, history

    def _save(self, state: dict, best: dict | None, history: dict) -> None:
        checkpoint = {
            "config": self.config,
            "notes": self.notes,
            "initial_weights": self.initial_weights,
            "model": state,
            "best": best,
            "history": history,
        }
        if len(history["epoch"]) < self.config["num_epochs"]:
            checkpoint |= self._optimization()
        checkpoints.save(self.path, checkpoint)

    def _optimization(self) -> dict:
        """What only an unfinished run needs."""
        scheduler = None if self.scheduler is None else self.scheduler.state_dict()
        return {"optimizer": self.optimizer.state_dict(), "scheduler": scheduler}

    def report(self, epoch: int, write: Callable[[str], None] = print) -> None:
        """Say and log the numbers of a finished epoch; the gradient norms are averaged over its steps."""
        history = self.history
        numbers = {key: values[epoch] for key, values in history.items() if isinstance(values, list) and "/" in key}
        numbers |= {key: history[key][epoch] for key in ("epoch", "lr", "seconds")}
        if "grad_norm" in history:
            means = epoch_rows(history, "grad_norm", epoch).mean(dim=0).tolist()
            numbers |= {f"grad_norm/{name}": mean for name, mean in zip(history["layers"], means, strict=True)}
        write(_line(numbers, self.config["num_epochs"]))
        if self.log is not None:
            self.log(numbers)

    def warn_once(self, numbers: dict, where: str | None, write: Callable[[str], None]) -> None:
        """Say when a loss has become nan or infinite; `where` in the epoch, or None after its last step."""
        if _is_finite(numbers) or self._has_warned:
            return
        self._has_warned = True
        part = "validation" if where is None else "training"
        where = where or f"after its last step, learning rate {numbers['lr']:.3g}"
        loss = numbers["val/loss" if part == "validation" else "train/loss"]
        write(
            f"the {part} loss is {loss} since epoch {numbers['epoch']}, {where}: try a lower learning rate. "
            "Weights of such an epoch are not kept as the best"
        )

    @contextlib.contextmanager
    def interruptible(self, write: Callable[[str], None]) -> Iterator[None]:
        """An interrupt in the block ends it: the model is then the one of the last finished epoch."""
        try:
            yield
        except KeyboardInterrupt:
            self.interrupted = True
            self.model.load_state_dict(self.state)
            write(f"interrupted: model and history are those after {self.num_finished} epochs")


def copy_state(model: nn.Module) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in model.state_dict().items()}


def _differences(stored: dict, now: dict) -> list[str]:
    """How two configurations differ, in words; code that one of them does not describe is not compared."""
    said = []
    for key in now | stored:
        if key == "code":
            said += code.differences(stored.get("code", {}), now.get("code", {})) if "code" in stored else []
        elif now.get(key) != stored.get(key):
            said.append(f"{key}={stored.get(key)!r} instead of {now.get(key)!r}")
    return said if len(said) <= 6 else [*said[:5], f"and {len(said) - 5} more differences"]


def _is_finite(numbers: dict) -> bool:
    """Whether the losses of an epoch are."""
    return all(math.isfinite(value) for key, value in numbers.items() if key.endswith("/loss"))


def _is_worse(history: dict, best_epoch: int) -> bool:
    """Whether the last epoch has a lower validation accuracy; never without validation data."""
    accuracies = history.get("val/accuracy")
    return accuracies is not None and accuracies[-1] < accuracies[best_epoch]


def _extended(history: dict, numbers: dict, logger: GradNormLogger | None) -> dict:
    """The history with one more epoch; the old one stays as it is."""
    extended = history | {key: [*history.get(key, []), value] for key, value in numbers.items()}
    if logger is not None:
        logger.end_epoch()
        begin, end = [0, *logger.epoch_ends][-2:]
        for key, norms in (("grad_norm", logger.to_numpy()), ("weight_norm", logger.weight_norms())):
            rows = torch.from_numpy(norms[begin:end])
            extended[key] = torch.cat([history[key], rows]) if key in history else rows
        extended["layers"] = logger.layers
        extended["epoch_ends"] = [*history.get("epoch_ends", []), len(extended["grad_norm"])]
    return extended


def _line(numbers: dict, num_epochs: int) -> str:
    text = f"epoch {numbers['epoch']:2d}/{num_epochs - 1}  "
    for part in ("train", "val"):
        if f"{part}/loss" in numbers:
            text += f"{part} loss {numbers[f'{part}/loss']:.3f}, accuracy {numbers[f'{part}/accuracy']:6.1%}  "
    return text + f"{numbers['seconds']:.1f} s"


def _lay_out_like_the_weights(optimizer: torch.optim.Optimizer) -> None:
    """A fused update expects momentum in the memory format of its weight; a run begun elsewhere may have another."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter).copy_(value)
