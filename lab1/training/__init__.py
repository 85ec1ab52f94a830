"""How a network is trained: the loop, checkpoints, several processes, convolutions as products."""

from lab1.training.loop import evaluate, expected_minutes, fit, predict, steps

__all__ = ["evaluate", "expected_minutes", "fit", "predict", "steps"]
