"""Look instead of read: figures with sliders in JupyterLab and VS Code, plain ones elsewhere."""

from lab1.explore.canvas import segmentation
from lab1.explore.depth import gradients
from lab1.explore.heat import gradcam

__all__ = ["gradcam", "gradients", "segmentation"]
