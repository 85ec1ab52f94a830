"""Receptive fields: which part of the image a position of a feature map can see at all."""

from torch import nn

from lab1.models.resnet import ResNet


def receptive_fields(model: ResNet) -> dict[str, int]:
    """Side of the square of input pixels that can influence one position, in pixels: "stem", "layer1", ... -> side.

    Through a chain of convolutions it grows by (kernel - 1) times the distance, in pixels, of neighbouring positions;
    a stride multiplies that distance (Araujo et al. 2019, doi:10.23915/distill.00021). Shortcuts see less than the two
    convolutions beside them, so they are left out. Taught in Exercise 2.3.
    """
    sides, side, distance = {}, 1, 1
    for stage, module in model.named_children():
        for name, conv in module.named_modules():
            if isinstance(conv, nn.Conv2d) and "projection" not in name:
                side += (conv.kernel_size[0] - 1) * distance
                distance *= conv.stride[0]
        if stage != "fc":
            sides[stage] = side
    return sides
