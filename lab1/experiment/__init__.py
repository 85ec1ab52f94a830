"""What a notebook puts around a training: its budget, one named run, figures, results."""

from lab1.experiment.figures import keep, show, upload
from lab1.experiment.minutes import expect, expect_training
from lab1.experiment.run import train

__all__ = ["expect", "expect_training", "keep", "show", "train", "upload"]
