"""Lab 1 - Convolutional Neural Networks: the helper package of the notebooks."""

from lab1 import checkpoints, data, training
from lab1.gradients import GradNormLogger
from lab1.resnet import ResNet, ResNet18

__all__ = ["GradNormLogger", "ResNet", "ResNet18", "checkpoints", "data", "training"]
