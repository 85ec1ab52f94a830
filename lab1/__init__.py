"""Lab 1 - Convolutional Neural Networks: the helper package of the notebooks."""

import importlib.util
import sys

if importlib.util.find_spec("torch") is None:
    raise ModuleNotFoundError("PyTorch is not installed in this Python: `python lab1/doctor.py` says what to do")

from lab1 import data, training
from lab1.analysis import segmentation
from lab1.analysis.gradcam import GradCAM
from lab1.analysis.gradients import GradNormLogger
from lab1.models.fcn import ResNet18FCN
from lab1.models.mlp import MLP, ResMLP
from lab1.models.resnet import ResNet, ResNet18
from lab1.training import checkpoints

# so that `from lab1.checkpoints import load` works as `lab1.checkpoints.load` does
sys.modules |= {"lab1.checkpoints": checkpoints, "lab1.segmentation": segmentation}

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
