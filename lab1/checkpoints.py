"""The short name of `lab1.training.checkpoints`."""

import sys

from lab1.training import checkpoints

sys.modules[__name__] = checkpoints
