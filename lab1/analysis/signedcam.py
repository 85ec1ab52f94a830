"""Grad-CAM before its ReLU: also what speaks against the class."""

from torch import Tensor

from lab1.analysis.gradcam import GradCAM


class SignedCAM(GradCAM):
    """The weighted sum itself, (N, H, W) float32, at most 1: below zero where the feature maps speak against the class.

    Used as GradCAM is. Grad-CAM makes all of that zero, so it cannot say which of two such pixels comes first when
    pixels are put in order. Where nothing speaks for the class, the sum is not divided by its maximum. Taught in
    Exercise 2.3.
    """

    @staticmethod
    def _kept(weighted_sum: Tensor) -> Tensor:
        return weighted_sum
