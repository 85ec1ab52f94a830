"""How much work: one set of notebooks, three budgets, and where their results go."""

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
    num_seeds: int  # repetitions of a study that takes seconds
    # Exercise 1, on MNIST and CIFAR-10
    num_mnist: int | None  # digits to train and validate the baseline with
    num_test_mnist: int | None
    num_depth_mnist: int | None  # digits to train and validate the MLPs of all depths with
    num_depth_seeds: int
    num_cnn_train: int | None  # images to train and validate the CNNs of all depths with
    cnn_batch_size: int
    num_cnn_epochs: int
    num_cnn_seeds: int
    # Exercise 2.1, on CIFAR-10
    num_train: int | None  # images to train and validate with
    num_test: int | None
    batch_size: int
    num_trainings: int  # repetitions of a training
    num_study_images: int  # images in the one batch of the study at initialisation
    # Exercise 2.2, on MNIST
    num_digits: int | None  # digits to train and validate with
    num_test_digits: int | None
    digit_batch_size: int
    num_fcn_epochs: int
    num_fcn_trainings: int  # repetitions of the chosen variant
    num_canvases: int  # to fine-tune with
    num_test_canvases: int
    # Exercise 2.3, on CIFAR-10 and Shapes-10
    num_explained: int  # validation images, and test images, whose heatmaps are measured
    num_shapes: int | None  # images of Shapes-10 to train and validate with
    num_test_shapes: int | None
    shapes_batch_size: int


PROFILES = {
    "smoke": Profile(
        name="smoke",
        num_mnist=200,
        num_test_mnist=60,
        num_depth_mnist=60,
        num_depth_seeds=1,
        num_cnn_train=20,
        cnn_batch_size=9,
        num_cnn_epochs=1,
        num_cnn_seeds=1,
        num_seeds=2,
        num_train=20,
        num_test=20,
        batch_size=9,
        num_trainings=1,
        num_study_images=4,
        num_digits=30,
        num_test_digits=20,
        digit_batch_size=9,
        num_fcn_epochs=1,
        num_fcn_trainings=1,
        num_canvases=2,
        num_test_canvases=3,
        num_explained=2,
        num_shapes=10,
        num_test_shapes=20,
        shapes_batch_size=9,
    ),
    "cpu": Profile(
        name="cpu",
        num_mnist=20000,
        num_test_mnist=None,
        num_depth_mnist=6000,
        num_depth_seeds=3,
        num_cnn_train=4000,
        cnn_batch_size=32,
        num_cnn_epochs=10,
        num_cnn_seeds=1,
        num_seeds=5,
        num_train=1500,
        num_test=1000,
        batch_size=32,
        num_trainings=1,
        num_study_images=64,
        num_digits=6667,
        num_test_digits=None,
        digit_batch_size=32,
        num_fcn_epochs=3,
        num_fcn_trainings=1,
        num_canvases=600,
        num_test_canvases=500,
        num_explained=500,
        num_shapes=None,
        num_test_shapes=None,
        shapes_batch_size=32,
    ),
    "full": Profile(
        name="full",
        num_mnist=None,
        num_test_mnist=None,
        num_depth_mnist=None if torch.cuda.is_available() else 20000,
        num_depth_seeds=3,
        num_cnn_train=None if torch.cuda.is_available() else 5000,
        cnn_batch_size=128 if torch.cuda.is_available() else 32,
        num_cnn_epochs=30 if torch.cuda.is_available() else 10,
        num_cnn_seeds=3,
        num_seeds=5,
        num_train=None,
        num_test=None,
        batch_size=128 if torch.cuda.is_available() else 32,
        num_trainings=3,
        num_study_images=128,
        num_digits=None if torch.cuda.is_available() else 6667,  # 60,000 take a CPU 20 minutes an epoch
        num_test_digits=None,
        digit_batch_size=32,
        num_fcn_epochs=3,
        num_fcn_trainings=3,
        num_canvases=600,
        num_test_canvases=500,
        num_explained=500,
        num_shapes=None,
        num_test_shapes=None,
        shapes_batch_size=32,
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
