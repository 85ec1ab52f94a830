"""Every figure of the lab, by exercise: each a function that returns a matplotlib Figure.

Every figure says at its lower edge which data it was made from.
"""

from lab1.plots.exercise1 import against_depth, confusion, learning_curves, pictures
from lab1.plots.exercise21 import (
    depths,
    examples,
    gradient_comparison,
    gradient_heatmap,
    gradient_limits,
    gradient_norms,
    initial_gradients,
    short_name,
)
from lab1.plots.exercise22 import PIXEL_KINDS, detections, fcn_architecture, pixel_kinds, segmentation
from lab1.plots.exercise23 import faithfulness_curves, gradcam_method, heatmaps, randomisation
from lab1.plots.style import BLUE, GREY, HEAT, LABEL_COLOURS, STYLE, VERMILION, denormalise, save

__all__ = [
    "BLUE",
    "GREY",
    "HEAT",
    "LABEL_COLOURS",
    "PIXEL_KINDS",
    "STYLE",
    "VERMILION",
    "against_depth",
    "confusion",
    "denormalise",
    "depths",
    "detections",
    "examples",
    "faithfulness_curves",
    "fcn_architecture",
    "gradcam_method",
    "gradient_comparison",
    "gradient_heatmap",
    "gradient_limits",
    "gradient_norms",
    "heatmaps",
    "initial_gradients",
    "learning_curves",
    "pictures",
    "pixel_kinds",
    "randomisation",
    "save",
    "segmentation",
    "short_name",
]
