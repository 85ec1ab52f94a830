"""Lab 1 - Convolutional Neural Networks: the helper package of the notebooks."""

from lab1 import checkpoints, data, segmentation, training
from lab1.fcn import ResNet18FCN
from lab1.gradcam import GradCAM
from lab1.gradients import GradNormLogger
from lab1.mlp import MLP, ResMLP
from lab1.resnet import ResNet, ResNet18

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
