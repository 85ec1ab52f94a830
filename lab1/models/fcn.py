"""A ResNet18 made fully convolutional, so that it scores every pixel (Long et al. 2015, arXiv:1411.4038)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab1.models.resnet import ResNet, ResNet18

STRIDES = {"layer4": 8, "layer3": 4, "layer2": 2, "layer1": 1}  # of a stage; it has width * stride channels


class ResNet18FCN(ResNet18):
    """ResNet18 with 1x1 score layers in place of its pooling and linear layer, fused from coarse to fine.

    The scores of layer4 are upsampled by a factor of two, then the scores of layer3 are added, and so on, down to the
    stage with the given stride. From there the sum is only upsampled. As in Long et al., FCN-8s is the network whose
    finest score layer has stride 8. Their backbone goes down to stride 32, so their FCN-8s has three score layers.
    Ours has one.

    (N, in_channels, H, W) float -> logits (N, num_classes, H, W), for H and W from 8 up. Taught in Exercise 2.2.
    torch.jit.trace makes a module for images of all these sizes, torch.export one for images of its example's size
    alone; torch.export with dynamic height and width, torch.jit.script and torch.fx refuse the network.

    Args:
        num_classes: the background included.
        stride: of the finest stage with a score layer: 8, 4, 2 or 1.
        learned: upsample with kernels that start as bilinear interpolation and are learned; False keeps them bilinear.

    Raises:
        ValueError: a size below 1 or a stride that no stage has; when called, an image smaller than 8x8.
    """

    def __init__(
        self,
        num_classes: int = 11,
        in_channels: int = 1,
        skip: bool = True,
        width: int = 64,
        stride: int = 1,
        learned: bool = False,
    ):
        if stride not in STRIDES.values():
            raise ValueError(f"stride={stride} is not the stride of a stage: choose 8, 4, 2 or 1")
        super().__init__(num_classes, in_channels, skip, width)
        del self.fc
        scored = [name for name in STRIDES if STRIDES[name] >= stride]
        self.scores = nn.ModuleDict({name: nn.Conv2d(width * STRIDES[name], num_classes, 1) for name in scored})
        for layer in self.scores.values():
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)
        self.upsample = nn.ModuleDict({name: Upsample(num_classes, learned) for name in ("layer3", "layer2", "layer1")})

    @classmethod
    def from_classifier(cls, classifier: ResNet18, num_classes: int = 11, **options) -> "ResNet18FCN":
        """Network surgery: the trained trunk of a classifier, and its linear layer as the coarsest score layer.

        A linear layer can be applied before or after the average over all positions: the result is the same. Applied
        at every position it is a 1x1 convolution, so row k of the linear layer becomes row k of the convolution. The
        rows of new classes, such as the background, start at small random values, and the finer score layers start at
        zero. The classifier is not changed.

        Args:
            options: `stride` and `learned`, as above.

        Raises:
            ValueError: fewer classes than the classifier has, or a classifier that is no ResNet18 with BatchNorm.
        """
        if not isinstance(classifier, ResNet) or isinstance(classifier, cls):
            raise ValueError(f"the classifier must be a ResNet18 with BatchNorm, not a {type(classifier).__name__}")
        stem, fc = classifier.stem[0], classifier.fc
        if num_classes < fc.out_features:
            raise ValueError(f"num_classes={num_classes} leaves no room for the classifier's {fc.out_features} classes")
        fcn = cls(num_classes, stem.in_channels, classifier.layer1[0].skip, stem.out_channels, **options)
        trunk = {name: t for name, t in classifier.state_dict().items() if not name.startswith("fc.")}
        own = {name for name in fcn.state_dict() if not name.startswith(("scores.", "upsample."))}
        if trunk.keys() != own:
            raise ValueError("the classifier must be a ResNet18 with BatchNorm: its layers are not those of the FCN")
        fcn.load_state_dict(trunk, strict=False)
        with torch.no_grad():
            for name, layer in fcn.scores.items():
                if name == "layer4":
                    layer.weight[: fc.out_features] = fc.weight[:, :, None, None]
                    layer.bias[: fc.out_features] = fc.bias
                else:
                    layer.weight.zero_()
        return fcn.to(fc.weight.device).train(classifier.training)

    def coarse_scores(self, x: Tensor) -> Tensor:
        """The score map of layer4: (N, num_classes, H/8, W/8), rounded up."""
        return self.scores["layer4"](self.features(x)["layer4"])

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[2:]) < 8:
            raise ValueError(f"images must be at least 8x8, not {x.shape[2]}x{x.shape[3]}")
        maps = self.features(x)
        scores = self.scores["layer4"](maps["layer4"])
        for name, upsample in self.upsample.items():
            scores = upsample(scores, maps[name].shape[2:])
            if name in self.scores:
                scores = scores + self.scores[name](maps[name])
        return scores


class Upsample(nn.Module):
    """(N, K, h, w) -> (N, K, 2h, 2w), cropped to `size`, which is one less where it is odd.

    A transposed convolution of stride 2, each class by itself. With the kernel (1, 3, 3, 1) / 4 in both directions it
    is bilinear interpolation; beyond the border the outermost scores are repeated. A learned kernel starts there.
    """

    def __init__(self, num_classes: int, learned: bool):
        super().__init__()
        line = torch.tensor([1, 3, 3, 1]) / 4
        kernel = (line[:, None] * line).repeat(num_classes, 1, 1, 1)  # (K, 1, 4, 4)
        if learned:
            self.kernel = nn.Parameter(kernel)
        else:
            self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, scores: Tensor, size: tuple[int, int]) -> Tensor:
        scores = F.pad(scores, (1, 1, 1, 1), mode="replicate")
        scores = F.conv_transpose2d(scores, self.kernel, stride=2, padding=3, groups=scores.shape[1])
        return scores[:, :, : size[0], : size[1]]
