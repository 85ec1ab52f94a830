"""How much work: one set of notebooks, three budgets, and where their results go."""

import functools
import os
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Profile:
    """How many images, seeds and steps an experiment gets. Never which model, and never which code.

    Image counts of None mean "all there are".
    """

    name: str
    num_train: int | None  # CIFAR-10 images to train and validate with
    num_test: int | None  # CIFAR-10 images to test with
    batch_size: int
    num_seeds: int  # repetitions of a study that takes seconds
    num_trainings: int  # repetitions of a training
    num_study_images: int  # images in the one batch of the study at initialisation


PROFILES = {
    "smoke": Profile(
        "smoke", num_train=20, num_test=20, batch_size=9, num_seeds=2, num_trainings=1, num_study_images=4
    ),
    "cpu": Profile(
        "cpu", num_train=1500, num_test=1000, batch_size=128, num_seeds=5, num_trainings=1, num_study_images=64
    ),
    "full": Profile(
        "full", num_train=None, num_test=None, batch_size=128, num_seeds=5, num_trainings=1, num_study_images=128
    ),
}


def current() -> Profile:
    """The profile named by LAB1_PROFILE; without it, `full` on CUDA and `cpu` elsewhere.

    Raises ValueError for a name that is not a profile.
    """
    name = os.environ.get("LAB1_PROFILE") or ("full" if torch.cuda.is_available() else "cpu")
    if name not in PROFILES:
        raise ValueError(f"LAB1_PROFILE={name!r} is not a profile: choose one of {', '.join(PROFILES)}")
    return PROFILES[name]


def output_folder(part: str = "") -> Path:
    """The folder for results, for example output_folder("images"); made when missing.

    LAB1_OUTPUT where it is set. Otherwise the working folder, so that figures land in images/ and checkpoints in
    model_states/; in the `smoke` profile the ignored folder outputs/, so that a re-execution changes no tracked file.
    """
    root = os.environ.get("LAB1_OUTPUT") or ("outputs" if current().name == "smoke" else ".")
    folder = Path(root) / part
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@functools.cache
def announce(line: str) -> None:
    """Print a line the first time it is given, and never again in this process."""
    print(line, flush=True)
