"""Weights & Biases, the only file that imports it: online with a login, offline without, never in the way."""

import contextlib
import io
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from lab1.experiment import profiles

PROJECT = "lab1-cnns"
_BEST = {"val/accuracy": "max", "val/loss": "min", "train/accuracy": "max", "train/loss": "min"}


class Run:
    """A W&B run that cannot fail: the first error is printed, and from then on nothing is logged."""

    def __init__(self, run=None):
        self._run = run

    def log(self, metrics: dict) -> None:
        """One epoch's numbers by name, with their "epoch": "train/loss", "val/accuracy", "grad_norm/<layer>", ..."""
        self._try(lambda: self._run.log(metrics))

    def summarise(self, values: dict) -> None:
        """Final numbers and texts, for the run's summary."""
        self._try(lambda: self._run.summary.update(values))

    def figure(self, name: str, figure) -> None:
        """A matplotlib figure, as an image."""

        def send():
            import wandb
            from PIL import Image

            picture = io.BytesIO()
            figure.savefig(picture, format="png")  # wandb.Image(figure) would need pyplot to be loaded
            self._run.log({f"figures/{name}": wandb.Image(Image.open(picture))})

        self._try(send)

    def segmentations(self, name: str, images, predicted, target, classes: tuple[str, ...]) -> None:
        """Images (N, H, W) in 0..1 with two masks each, prediction and ground truth, that a reviewer can switch on.

        `predicted` and `target` are label maps (N, H, W), `classes` the names of their labels 0, 1, ...
        """

        def send():
            import wandb

            names = dict(enumerate(classes))
            pictures = []
            for image, *maps in zip(images, predicted, target, strict=True):
                masks = dict(zip(("prediction", "ground truth"), maps, strict=True))
                masks = {key: {"mask_data": m.numpy(force=True), "class_labels": names} for key, m in masks.items()}
                pictures.append(wandb.Image(255 * image.numpy(force=True), mode="L", masks=masks))
            self._run.log({f"segmentations/{name}": pictures})

        self._try(send)

    def table(self, name: str, rows: list[dict]) -> None:
        """A table with a column for each key of the rows; arrays (H, W) or (H, W, 3) in 0..1 become pictures."""

        def send():
            import numpy as np
            import wandb

            def cell(value):
                return wandb.Image((255 * value).astype(np.uint8)) if isinstance(value, np.ndarray) else value

            cells = [[cell(value) for value in row.values()] for row in rows]
            self._run.log({f"tables/{name}": wandb.Table(columns=list(rows[0]), data=cells)})

        self._try(send)

    def _try(self, action) -> None:
        if self._run is None:
            return
        try:
            action()
        except Exception as error:  # whatever W&B may raise: the experiment goes on
            print(f"W&B: {error}; this run is logged no further")
            self._run = None


@contextlib.contextmanager
def run(
    name: str,
    *,
    group: str,
    job_type: str = "train",
    tags: tuple[str, ...] = (),
    config: dict | None = None,
    run_id: str | None = None,
) -> Iterator[Run]:
    """A run of the project `lab1-cnns`; use it in a `with`, which finishes it.

    Without a login or a network it is kept offline, and without a working wandb nothing is logged; it never asks a
    question and never raises. WANDB_MODE (online, offline or disabled) decides where it is set.

    Args:
        name: what is trained, such as "resnet18-skip".
        group: the exercise, such as "exercise-2.1".
        job_type: "train", "study" or "evaluate".
        tags: such as the source of the data; the profile is added.
        config: plain values.
        run_id: of a run that continues if there is one with this id; see `new_id`.
    """
    try:
        options = {"name": name, "group": group, "job_type": job_type, "config": config}
        options["tags"] = [*tags, profiles.current().name]
        if run_id is not None:
            options |= {"id": run_id, "resume": "allow"}
        started = _start(**options)
    except Exception as error:
        print(f"W&B could not be started ({error}); this run is not logged")
        started = None
    exit_code = 1
    try:
        yield Run(started)
        exit_code = 0
    finally:
        if started is not None:
            with contextlib.suppress(Exception):
                started.finish(exit_code)


def new_id() -> str:
    """An id for a new run."""
    return uuid.uuid4().hex[:8]


def _start(**options):
    import wandb

    mode = os.environ.get("WANDB_MODE") or ("online" if wandb.login(prompt=False, verify=False) else "offline")
    os.environ.setdefault("WANDB_DATA_DIR", str(profiles.output_folder("wandb").resolve()))  # pictures of tables
    options |= {"project": PROJECT, "dir": str(profiles.output_folder()), "reinit": "finish_previous"}
    options["settings"] = wandb.Settings(init_timeout=20, silent=True)
    try:
        run = wandb.init(mode=mode, **options)
    except Exception as error:
        print(f"W&B: {error}; logging offline instead")
        run = wandb.init(mode="offline", **options)
    run.define_metric("epoch")
    for prefix in ("train", "val", "grad_norm"):
        run.define_metric(f"{prefix}/*", step_metric="epoch")
    for metric, best in _BEST.items():
        run.define_metric(metric, step_metric="epoch", summary=best)
    print("W&B:", f"offline run in {os.path.relpath(Path(run.dir).parent)}" if run.offline else run.url)
    return run
