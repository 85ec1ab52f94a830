"""Residual networks for 32x32 images, and their plain twins (He et al. 2016, arXiv:1512.03385)."""

import torch.nn.functional as F
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut around them (He et al. 2016, Fig. 2; its projection is their option B).

    (N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride))
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, skip: bool = True, norm: bool = True):
        super().__init__()
        self.conv1, self.bn1 = _convolution(in_channels, out_channels, 3, stride, norm)
        self.conv2, self.bn2 = _convolution(out_channels, out_channels, 3, 1, norm)
        self.projection = None
        if skip and (stride != 1 or in_channels != out_channels):
            self.projection = nn.Sequential(*_convolution(in_channels, out_channels, 1, stride, norm))
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.skip:
            out = out + (x if self.projection is None else self.projection(x))
        return F.relu(out)


def _convolution(in_channels: int, out_channels: int, size: int, stride: int, norm: bool) -> tuple[nn.Module, ...]:
    """A convolution with He et al.'s initialisation, and the normalisation after it; a bias only without the latter."""
    conv = nn.Conv2d(in_channels, out_channels, size, stride, padding=size // 2, bias=not norm)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv, nn.BatchNorm2d(out_channels) if norm else nn.Identity()


class ResNet(nn.Module):
    """A stem, stages of basic blocks, global average pooling and a linear layer.

    The first stage keeps the size of its input; each later one halves it and doubles the channels. So
    `ResNet((n, n, n), width=16)` is the CIFAR network with 6n + 2 layers of He et al. 2016, section 4.2
    (with projections where they pad with zeros).

    (N, in_channels, H, W) float -> logits (N, num_classes). Taught in Exercises 1.2 and 2.1.

    Args:
        blocks: the number of blocks in each stage.
        width: channels of the first stage.
        skip: False gives the plain network: the same convolutions in the same order, no shortcut, no projection.
        norm: BatchNorm after each convolution; False leaves it out and gives the convolutions a bias.

    Raises:
        ValueError: a size below 1.
    """

    def __init__(
        self,
        blocks: tuple[int, ...],
        num_classes: int = 10,
        in_channels: int = 3,
        skip: bool = True,
        width: int = 64,
        norm: bool = True,
    ):
        super().__init__()
        if not blocks or min(*blocks, num_classes, in_channels, width) < 1:
            sizes = f"blocks={tuple(blocks)}, num_classes={num_classes}, in_channels={in_channels}, width={width}"
            raise ValueError(f"every size of a ResNet must be at least 1, and there must be a stage: {sizes}")
        self.stem = nn.Sequential(*_convolution(in_channels, width, 3, 1, norm), nn.ReLU())
        # layer1, layer2, ...: the names that GradCAM(model, "layer3") uses, hence setattr and getattr
        self._stages = [f"layer{i}" for i in range(1, len(blocks) + 1)]
        channels = width
        for i, (name, count) in enumerate(zip(self._stages, blocks, strict=True)):
            out_channels, stride = width * 2**i, 1 if i == 0 else 2
            stage = [BasicBlock(channels, out_channels, stride, skip, norm)]
            stage += [BasicBlock(out_channels, out_channels, 1, skip, norm) for _ in range(count - 1)]
            setattr(self, name, nn.Sequential(*stage))
            channels = out_channels
        self.fc = nn.Linear(channels, num_classes)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """The feature maps after the stem and after each stage, by name ("stem", "layer1", ...), fine to coarse."""
        maps = {"stem": self.stem(x)}
        x = maps["stem"]
        for name in self._stages:
            x = maps[name] = getattr(self, name)(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        last = self.features(x)[self._stages[-1]]
        return self.fc(last.mean(dim=(2, 3)))


class ResNet18(ResNet):
    """ResNet18 with the stem used for CIFAR: a 3x3 convolution of stride 1 and no max-pooling.

    The stages have strides 1, 2, 2, 2, and 1, 2, 4, 8 times `width` channels. 11,173,962 parameters with the
    defaults; 11,000,138 without skip connections, because the projections go with them.
    """

    def __init__(
        self, num_classes: int = 10, in_channels: int = 3, skip: bool = True, width: int = 64, norm: bool = True
    ):
        super().__init__((2, 2, 2, 2), num_classes, in_channels, skip, width, norm)
