"""How much work: one set of notebooks, three budgets, and where their results go."""

import os
from dataclasses import dataclass
from pathlib import Path

from lab1.basics.device import default_device


@dataclass(frozen=True)
class Budget:
    """How much one kind of network is trained. Image counts of None mean "all there are"."""

    num_train: int | None  # images to train and validate with
    num_test: int | None
    num_epochs: int
    batch_size: int
    num_seeds: int = 1  # trainings


@dataclass(frozen=True)
class Study:
    """How much is measured on networks that are only looked at: their depths, images and seeds."""

    depths: tuple[int, ...]
    num_images: int
    num_seeds: int


@dataclass(frozen=True)
class Landscape:
    """How finely the loss around a network is measured: the points of each side of the grid, and the images."""

    num_points: int
    num_images: int


@dataclass(frozen=True)
class Profile:
    """How many images, seeds and steps each exercise gets. The models and the code are the same in all of them."""

    name: str
    num_seeds: int  # repetitions of what takes seconds
    num_study_images: int  # in the one batch of the studies at initialisation
    baseline: Budget  # Exercise 1.1: an MLP, on MNIST
    mlps: Budget  # Exercise 1.2: MLPs of all depths, on MNIST
    cnns: Budget  # Exercise 1.2: CNNs of all depths, on CIFAR-10
    signals: Study  # Exercise 2.1: CIFAR ResNets before training
    resnets: Budget  # Exercise 2.1: ResNet18 with and without skip connections, on CIFAR-10
    landscape: Landscape  # Exercise 2.1: around each of two trained networks of 56 layers
    fcns: Budget  # Exercise 2.2: the chosen variant, on MNIST
    canvases: Budget  # Exercise 2.2: fine-tuning, on canvases of digits
    shapes: Budget  # Exercise 2.3: a network to explain, on Shapes-10
    num_explained: int  # Exercise 2.3: validation images, and test images, whose heatmaps are measured


HAS_GPU = default_device().type == "cuda"
PROFILES = {
    "smoke": Profile(
        name="smoke",
        num_seeds=2,
        num_study_images=4,
        baseline=Budget(num_train=200, num_test=60, num_epochs=20, batch_size=128),
        mlps=Budget(num_train=60, num_test=60, num_epochs=10, batch_size=128),
        cnns=Budget(num_train=20, num_test=20, num_epochs=1, batch_size=9),
        signals=Study(depths=(8, 14), num_images=4, num_seeds=2),
        resnets=Budget(num_train=20, num_test=20, num_epochs=11, batch_size=9),
        landscape=Landscape(num_points=3, num_images=8),
        fcns=Budget(num_train=30, num_test=20, num_epochs=1, batch_size=9),
        canvases=Budget(num_train=2, num_test=3, num_epochs=2, batch_size=8),
        shapes=Budget(num_train=10, num_test=20, num_epochs=15, batch_size=9),
        num_explained=2,
    ),
    "cpu": Profile(
        name="cpu",
        num_seeds=5,
        num_study_images=64,
        baseline=Budget(num_train=20000, num_test=None, num_epochs=20, batch_size=128),
        mlps=Budget(num_train=6000, num_test=None, num_epochs=10, batch_size=128, num_seeds=3),
        cnns=Budget(num_train=2000, num_test=1000, num_epochs=10, batch_size=32),
        signals=Study(depths=(8, 20, 56), num_images=32, num_seeds=3),
        resnets=Budget(num_train=1500, num_test=1000, num_epochs=11, batch_size=32),
        landscape=Landscape(num_points=11, num_images=200),
        fcns=Budget(num_train=2500, num_test=None, num_epochs=3, batch_size=32),
        canvases=Budget(num_train=600, num_test=500, num_epochs=2, batch_size=8),
        shapes=Budget(num_train=None, num_test=None, num_epochs=15, batch_size=32),
        num_explained=500,
    ),
    "full": Profile(
        name="full",
        num_seeds=5,
        num_study_images=128,
        baseline=Budget(num_train=None, num_test=None, num_epochs=20, batch_size=128),
        mlps=Budget(num_train=None if HAS_GPU else 20000, num_test=None, num_epochs=10, batch_size=128, num_seeds=3),
        cnns=Budget(
            num_train=None if HAS_GPU else 5000,
            num_test=None,
            num_epochs=30 if HAS_GPU else 10,
            batch_size=128 if HAS_GPU else 32,
            num_seeds=3,
        ),
        signals=Study(depths=(8, 20, 56, 110), num_images=64, num_seeds=5),
        resnets=Budget(
            num_train=None if HAS_GPU else 5085,  # all would take a CPU four hours and more
            num_test=None,
            num_epochs=11,
            batch_size=128 if HAS_GPU else 32,
            num_seeds=3,
        ),
        landscape=Landscape(num_points=21, num_images=500),
        fcns=Budget(
            num_train=None if HAS_GPU else 6667,  # 60,000 take a CPU 20 minutes an epoch
            num_test=None,
            num_epochs=3,
            batch_size=32,
            num_seeds=3,
        ),
        canvases=Budget(num_train=600, num_test=500, num_epochs=2, batch_size=8, num_seeds=3),
        shapes=Budget(num_train=None, num_test=None, num_epochs=15, batch_size=32),
        num_explained=500,
    ),
}


def current() -> Profile:
    """The profile named by LAB1_PROFILE; without it, `full` on CUDA and `cpu` elsewhere.

    Raises ValueError for a name that is not a profile.
    """
    name = os.environ.get("LAB1_PROFILE") or ("full" if default_device().type == "cuda" else "cpu")
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
