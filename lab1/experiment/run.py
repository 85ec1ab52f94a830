"""One way to train one network of a study: named, seeded, checkpointed, logged."""

import contextlib
import io
import re
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from lab1 import training
from lab1.basics.device import hardware
from lab1.data import Dataset
from lab1.experiment import profiles, tracking
from lab1.training import checkpoints, distributed

_files: dict[str, Path] = {}  # the networks of this session, by the names of their runs


def train(
    name: str,
    build: Callable[[], nn.Module],
    data: Dataset,
    *,
    group: str,
    seed: int = 0,
    config: dict | None = None,
    optimizer: Callable[[nn.Module], torch.optim.Optimizer] | None = None,
    checkpoint: str | Path | bool = True,
    one_line: bool = False,
    **options,
) -> tuple[nn.Module, dict]:
    """Train one network with `lab1.training.fit`, or load it if that was done before. Used wherever a study trains.

    The W&B run gets an id that the checkpoint keeps, so that a training that continues goes on in the same run; one
    that is only loaded adds nothing to it.

    Args:
        name: of the run and its file, such as "resnet18-skip"; the seed is added, for the file also data and budget.
        build: makes the network; called after the seed is set.
        data: its training and validation images.
        group: of the W&B run: the study, such as "exercise-2.1".
        seed: of weights, batches and augmentation.
        config: plain values that tell this run from others, such as {"skip": True}.
        optimizer: makes another optimizer than fit's own, for the network.
        checkpoint: True keeps the run in model_states/, a path keeps it there, False nowhere.
        one_line: print one line when the network is trained, instead of one for each epoch.
        options: what else `fit` takes: num_epochs, batch_size, lr, record_gradients, loss_function, retrain, ...

    Returns:
        The network in eval mode, and its history (see `fit`).

    Raises:
        KeyboardInterrupt: the training was interrupted, so that no other network of the study is trained after it.
        CheckpointError, ValueError: as `fit` does.
    """
    name = re.sub(r"[^\w.]+", "-", name.lower()).strip("-") + f"-seed{seed}"
    path = _file(name, data) if checkpoint is True else Path(checkpoint) if checkpoint else None
    torch.manual_seed(seed)
    model = build()
    settings = {"model": type(model).__name__, "seed": seed} | _plain(options) | (config or {})
    rank, num_processes = distributed.rank_and_size()
    settings |= {"data": str(data), "hardware": hardware(), "processes": num_processes}
    if optimizer is not None:
        options["optimizer"] = optimizer(model)
    stored = checkpoints.load(path) if path and path.exists() and not options.get("retrain") else {}
    run_id = stored.get("notes", {}).get("run_id") or tracking.new_id()
    remark = _remark(stored, model)

    with contextlib.ExitStack() as stack:
        if one_line:
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        run = tracking.Run()  # logs nothing; only the first process has a real one
        if rank == 0:
            how = {"group": group, "tags": (data.source,), "config": settings, "run_id": run_id}
            run = stack.enter_context(tracking.run(name, **how))
        run.uses_data(data)
        options |= {"seed": seed, "config": config, "checkpoint": path, "notes": {"run_id": run_id}, "log": run.log}
        history = training.fit(model, data.train, data.val, **options)
        if history["interrupted"]:
            raise KeyboardInterrupt(f"{name} was interrupted: run this again to go on")
        run.summarise({f"last/{key}": values[-1] for key, values in history.items() if "/" in key})
        if path is not None:
            run.made_checkpoint(path)
            _files[name] = path
    if one_line:
        loss, accuracy = history["train/loss"][-1], history["val/accuracy"][-1]
        print(f"{name:26} train loss {loss:.3f}, val accuracy {accuracy:.1%}{remark}")
    return model, history


def uses(run: tracking.Run, *names: str) -> None:
    """Record in W&B's lineage which networks of this session a run looks at: all whose names begin as one given does.

    Raises:
        KeyError: a name that no network of this session begins with.
    """
    for name in names:
        files = [path for made, path in _files.items() if made.startswith(name)]
        if not files:
            raise KeyError(
                f"no network that begins with {name!r} was trained or loaded: run the cells that do so first"
            )
        for path in files:
            run.uses_checkpoint(path)


def _file(name: str, data: Dataset) -> Path:
    """Such as model_states/resnet18-skip-seed0-cifar10-4577-full.pt."""
    profile = profiles.current().name
    return profiles.output_folder("model_states") / f"{name}-{data.name}-{len(data.train)}-{profile}.pt"


def _plain(options: dict) -> dict:
    """Those that are numbers, texts or functions (by their names)."""
    named = {key: getattr(value, "__name__", value) for key, value in options.items()}
    return {key: value for key, value in named.items() if isinstance(value, bool | int | float | str)}


def _remark(stored: dict, model: nn.Module) -> str:
    """What a reader should know of a network that is loaded from this checkpoint."""
    if not stored or len(stored["history"]["epoch"]) < stored["config"]["num_epochs"]:
        return ""
    if stored.get("initial_weights") in (None, checkpoints.fingerprint(model)):
        return "  (loaded)"
    return "  (loaded; it began with other initial weights)"
