"""Lab 1 - Convolutional Neural Networks: the helper package of the notebooks.

Each name is imported when it is first used, so that a command such as `python -m lab1.grade --help` does not wait for
PyTorch.
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING

if importlib.util.find_spec("torch") is None:
    raise ModuleNotFoundError("PyTorch is not installed in this Python: `python lab1/doctor.py` says what to do")

if TYPE_CHECKING:  # what editors and type checkers read; below is what Python does
    from lab1 import analysis, basics, checkpoints, data, models, segmentation, training  # noqa: F401
    from lab1.analysis.gradcam import GradCAM
    from lab1.analysis.gradients import GradNormLogger
    from lab1.models.fcn import ResNet18FCN
    from lab1.models.mlp import MLP, ResMLP
    from lab1.models.resnet import ResNet, ResNet18

MODULES = ("analysis", "basics", "checkpoints", "data", "models", "segmentation", "training")
HOMES = {
    "GradCAM": "lab1.analysis.gradcam",
    "GradNormLogger": "lab1.analysis.gradients",
    "MLP": "lab1.models.mlp",
    "ResMLP": "lab1.models.mlp",
    "ResNet": "lab1.models.resnet",
    "ResNet18": "lab1.models.resnet",
    "ResNet18FCN": "lab1.models.fcn",
}

__all__ = [
    "GradCAM",
    "GradNormLogger",
    "MLP",
    "ResMLP",
    "ResNet",
    "ResNet18",
    "ResNet18FCN",
    "checkpoints",
    "data",
    "segmentation",
    "training",
]


def __getattr__(name: str):
    if name in MODULES:
        return importlib.import_module(f"lab1.{name}")
    if name in HOMES:
        return getattr(importlib.import_module(HOMES[name]), name)
    raise AttributeError(f"module 'lab1' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *MODULES, *HOMES})
