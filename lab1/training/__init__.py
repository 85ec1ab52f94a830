"""How a network is trained: the loop, checkpoints, several processes, convolutions as products."""

from lab1.training.evaluation import evaluate, predict
from lab1.training.loop import expected_minutes, fit
from lab1.training.optimizers import steps

__all__ = ["evaluate", "expected_minutes", "fit", "predict", "steps"]
