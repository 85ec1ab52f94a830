"""Weights & Biases, the only file that imports it: online with a login, offline without, never in the way."""

import contextlib
import io
import math
import os
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from lab1.basics.announce import announce
from lab1.experiment import media, profiles, source
from lab1.experiment.memory import Memory, new_id, same_id
from lab1.experiment.patience import within

__all__ = ["Run", "new_id", "run"]
PROJECT = "lab1-cnns"
SECONDS = {"start": 20, "log": 20, "finish": 40}  # after which W&B is taken to hang; a `with` ends within a minute
_BEST = {"val/accuracy": "max", "val/loss": "min", "train/accuracy": "max", "train/loss": "min"}


class Run:
    """A W&B run that cannot fail: the first error is printed, and from then on nothing is logged."""

    def __init__(self, run=None, memory: Memory | None = None):
        self._run, self._memory = run, memory
        self._logged_before = memory.epoch if memory else -1

    def log(self, metrics: dict) -> None:
        """One epoch's numbers by name, with their "epoch": "train/loss", "val/accuracy", "grad_norm/<layer>", ...

        Epochs that an earlier session logged to this run are left out, so a loaded checkpoint makes no second curve. So
        are losses and accuracies that are not finite: W&B would keep a NaN as the best value for good.
        """
        epoch = metrics.get("epoch")

        def send():
            self._run.log({key: v for key, v in metrics.items() if key not in _BEST or math.isfinite(v)})
            if self._memory is not None and epoch is not None:
                self._memory.update(epoch=epoch)

        if epoch is None or epoch > self._logged_before:
            self._try(send)

    def summarise(self, values: dict) -> None:
        """Final numbers and texts, for the run's summary."""
        self._try(lambda: self._run.summary.update(values))

    def figure(self, name: str, figure) -> None:
        """A matplotlib figure, as an image, and in W&B's lineage as a result of this run."""

        def send():
            import wandb
            from PIL import Image

            picture = io.BytesIO()
            figure.savefig(picture, format="png")  # wandb.Image(figure) would need pyplot to be loaded
            self._run.log({f"figures/{name}": wandb.Image(Image.open(picture))})
            checksums = {f"{Path(name).name}.png": zlib.crc32(picture.getvalue())}
            self._run.log_artifact(_artifact(f"figure-{name}", "figure", checksums))

        self._try(send)

    def segmentations(self, name: str, images, predicted, target, classes: tuple[str, ...]) -> None:
        """Images (N, H, W) in 0..1 with two masks each, prediction and ground truth, that a reviewer can switch on.

        `predicted` and `target` are label maps (N, H, W), `classes` the names of their labels 0, 1, ...
        """

        def send():
            import wandb

            names, pictures = dict(enumerate(classes)), []
            for image, *maps in zip(images, predicted, target, strict=True):
                masks = dict(zip(("prediction", "ground truth"), maps, strict=True))
                masks = {key: {"mask_data": m.numpy(force=True), "class_labels": names} for key, m in masks.items()}
                pictures.append(wandb.Image(255 * image.numpy(force=True), mode="L", masks=masks))
            self._run.log({f"segmentations/{name}": pictures})

        self._try(send)

    def table(self, name: str, rows: list[dict]) -> None:
        """A table with a column for each key of the rows; arrays (H, W) or (H, W, 3) in 0..1 become pictures.

        It is one HTML file in the run's folder. The files of a wandb.Table with pictures would lie outside of it, under
        absolute paths, and be lost when the folder moves before `wandb sync`.
        """

        def send():
            import wandb

            self._run.log({f"tables/{name}": wandb.Html(media.page(rows), inject=False)})

        self._try(send)

    def uses_data(self, dataset) -> None:
        """Record in W&B's lineage which lab1.data.Dataset this run uses: name and checksums, none of its images."""

        def send():
            checksums = {part: getattr(dataset, part).fingerprint for part in ("train", "val", "test")}
            self._use(_artifact(dataset.source, "dataset", checksums))

        self._try(send)

    def made_checkpoint(self, path: str | Path) -> None:
        """Keep a checkpoint as a result of this run; its bytes stay where they are until they are sent."""
        self._try(lambda: self._run.log_artifact(_artifact(Path(path).stem, "model", file=path)))

    def uses_checkpoint(self, path: str | Path) -> None:
        """Record in W&B's lineage that this run starts from a checkpoint."""
        self._try(lambda: self._use(_artifact(Path(path).stem, "model", file=path)))

    def _use(self, artifact) -> None:  # as run.use_artifact, which refuses to work offline
        self._run._log_artifact(artifact, is_user_created=True, use_after_commit=True)

    def _try(self, action: Callable) -> None:
        if self._run is None:
            return
        try:
            _within("log", action)
        except Exception as error:  # whatever W&B may raise: the experiment goes on
            print(f"W&B: {error}; logging of this run stops here")
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
    question, never raises, and ends within a minute even if W&B hangs. WANDB_MODE (online, offline or disabled) decides
    where it is set, then `wandb offline` and `wandb disabled`; WANDB_PROJECT and WANDB_ENTITY may name another project.

    Args:
        name: what is trained, such as "resnet18-skip".
        group: the study, such as "exercise-2.1".
        job_type: "train", "study" or "evaluate".
        tags: such as the source of the data; the profile is added.
        config: plain values.
        run_id: of `new_id`; a run that has it is continued, and one that is finished logs nothing more. Without it a
            training makes a new run, while a study or an evaluation continues the one of its name in this folder.
    """
    started, memory, exit_code = None, None, 1
    try:
        folder = profiles.output_folder("wandb").resolve()
        memory = Memory(folder, run_id) if run_id else None
        if memory and memory.finished:
            print(f"W&B: {name} is finished, and logged already as run {run_id}")
        else:
            own_id = run_id or (same_id(folder, f"{group}/{job_type}/{name}") if job_type != "train" else None)
            options = {"name": name, "group": group, "job_type": job_type, "config": config}
            started = _start(folder, own_id, tags=[*tags, profiles.current().name], **options)
    except Exception as error:
        print(f"W&B could not be started ({error}); this run is not logged")
    logged = Run(started, memory)
    try:
        yield logged
        exit_code = 0
    finally:
        if started is not None:
            try:
                _within("finish", lambda: started.finish(exit_code))
                if memory and exit_code == 0 and logged._run is not None:
                    memory.update(finished=True)
            except Exception as error:
                print(f"W&B: {error}; `wandb sync {Path(started.dir).parent}` sends the rest")


def _start(folder: Path, run_id: str | None, **options):
    """A wandb.Run, or None where W&B is disabled."""
    import wandb

    for variable in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR"):  # by default in the home, which may be read-only
        os.environ.setdefault(variable, str(folder))
    if (chosen := mode()) == "disabled":
        return announce("W&B: disabled")
    if "WANDB_SWEEP_ID" not in os.environ:  # an agent has chosen id and project already
        options["project"] = os.environ.get("WANDB_PROJECT") or PROJECT
        options |= {"id": run_id, "resume": "allow"} if run_id else {}
    settings = wandb.Settings(init_timeout=SECONDS["start"] - 2, silent=True, **_PRIVATE)
    options |= {"dir": str(folder.parent), "reinit": "create_new", "settings": settings}
    try:
        run = _within("start", lambda: wandb.init(mode=chosen, **options))
    except Exception as error:
        print(f"W&B: {error}; logging offline instead")
        run = _within("start", lambda: wandb.init(mode="offline", **options))
    _within("start", lambda: _describe(run, source.copy(folder / "code")))
    print("W&B:", f"offline run in {os.path.relpath(Path(run.dir).parent)}" if run.offline else run.url)
    return run


def _describe(run, files: dict[str, Path]) -> None:
    import wandb

    run.define_metric("epoch")
    for name in ("train/*", "val/*", "grad_norm/*", *_BEST):
        run.define_metric(name, step_metric="epoch", summary=_BEST.get(name))
    code = wandb.Artifact("lab1-code", "code")
    for file, path in files.items():
        code.add_file(str(path), file, policy="immutable", skip_cache=True)
    run.log_artifact(code)


# nothing of the computer or its user is recorded: docs/weights-and-biases.md lists what is
_PRIVATE = {"x_disable_meta": True, "x_disable_machine_info": True, "x_disable_stats": True, "disable_git": True}
_PRIVATE |= {"x_save_requirements": False, "console": "off", "save_code": False, "host": ""}


def mode() -> str:
    """What decides: WANDB_MODE, else `wandb offline` or `wandb disabled`, else whether there is a login."""
    import wandb

    chosen = os.environ.get("WANDB_MODE")
    try:
        if chosen and chosen not in ("online", "offline", "disabled", "shared", "dryrun", "run"):
            raise ValueError(f"WANDB_MODE={chosen!r} is not online, offline or disabled")
        saved = wandb.setup(wandb.Settings(show_warnings=False)).settings.mode  # "online" if there is none
        if chosen or saved != "online":
            return chosen or saved
        return "online" if wandb.login(prompt=False, verify=False) else "offline"
    except Exception as error:  # the mode or WANDB_API_KEY is malformed
        announce(f"W&B: {' '.join(str(error).split())[:200]}; logging offline instead")
        return "offline"


def _artifact(name: str, kind: str, checksums: dict[str, int] | None = None, file: str | Path | None = None):
    import wandb

    artifact = wandb.Artifact(re.sub(r"[^A-Za-z0-9_.-]+", "-", name), kind)  # other characters are not allowed
    for part, checksum in (checksums or {}).items():
        artifact.add_reference(f"crc32://{checksum:08x}", name=part, checksum=False)
    if file is not None:
        artifact.add_file(str(file), policy="immutable", skip_cache=True)
    return artifact


def _within(what: str, action: Callable):
    import wandb

    return within(SECONDS[what], action, process="wandb-core", then=wandb.teardown)
