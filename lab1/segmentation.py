"""The short name of `lab1.analysis.segmentation`."""

import sys

from lab1.analysis import segmentation

sys.modules[__name__] = segmentation
