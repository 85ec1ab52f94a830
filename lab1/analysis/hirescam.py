"""HiResCAM: Grad-CAM without the mean over the positions (Draelos and Carin 2020, arXiv:2011.08891)."""

from torch import Tensor

from lab1.analysis.gradcam import GradCAM


class HiResCAM(GradCAM):
    """Heatmaps that keep where the gradient is large: ReLU(sum over k of dy / dA_k times A_k, position by position).

    Used as GradCAM is. Grad-CAM gives a feature map the same weight everywhere, even where the score does not depend
    on it. HiResCAM does not. Where only the mean over the positions and a linear layer follow, the gradient is the
    same at every position, and the two methods are one. Taught in Exercise 2.3.
    """

    @staticmethod
    def _weights(gradients: Tensor) -> Tensor:
        return gradients
