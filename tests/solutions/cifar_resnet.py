import torch
import torch.nn.functional as F
from torch import nn

from lab1 import ResNet, checks
from solutions import residual_block, right, wrong

Block = residual_block.Usual


def build(n, skip=True, num_classes=10, block=Block, widths=(16, 32, 64), stem=None, head=None, count=None):
    """The network as nn.Sequential, with parts that may be replaced."""
    stem = stem or [nn.Conv2d(3, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()]
    layers, channels = list(stem), widths[0]
    for i, width in enumerate(widths):
        for j in range(count or n):
            layers.append(block(channels, width, 2 if i and j == 0 else 1, skip))
            channels = width
    head = head or [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes)]
    return nn.Sequential(*layers, *head)


@right(checks.cifar_resnet)
def projections(n, skip=True, num_classes=10):
    return build(n, skip, num_classes)


@right(checks.cifar_resnet)
def library(n, skip=True, num_classes=10):
    return ResNet((n, n, n), num_classes, skip=skip, width=16)


class PaddedBlock(nn.Module):
    """He et al.'s option A."""

    def __init__(self, in_channels, out_channels, stride=1, skip=True, half=True):
        super().__init__()
        self.conv2, self.bn2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1), nn.BatchNorm2d(out_channels)
        self.conv1, self.bn1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1), nn.BatchNorm2d(out_channels)
        self.skip, self.stride, self.extra, self.half = skip, stride, out_channels - in_channels, half

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.skip:
            before = self.extra // 2 if self.half else 0
            x = x[:, :, :: self.stride, :: self.stride]
            out = out + F.pad(x, (0, 0, 0, 0, before, self.extra - before))
        return F.relu(out)


@right(checks.cifar_resnet)
def padded_on_both_sides(n, skip=True, num_classes=10):
    return build(n, skip, num_classes, block=PaddedBlock)


class PaddedWithZeros(PaddedBlock):
    """The same with concatenated zeros, and subsampling by a pooling of size 1."""

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.skip:
            x = F.max_pool2d(x, 1, self.stride)
            zeros = torch.zeros(len(x), self.extra, *x.shape[2:], device=x.device)
            out = out + torch.cat([x, zeros], dim=1)
        return out.relu()


@right(checks.cifar_resnet)
class PaddedNetwork(nn.Module):
    """A class with the signature of the function; the last layer is a 1x1 convolution, registered first."""

    def __init__(self, n, skip=True, num_classes=10, dropout=0.0):
        super().__init__()
        self.score = nn.Conv2d(64, num_classes, 1)
        stages = [build(n, skip, block=PaddedWithZeros)[:-3]]
        self.body = nn.Sequential(*stages)

    def forward(self, x):
        return self.score(F.avg_pool2d(self.body(x), 8)).flatten(1)


class PooledBlock(PaddedBlock):
    """Option A with an average-pooling."""

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.skip:
            out = out + F.pad(F.avg_pool2d(x, self.stride), (0, 0, 0, 0, 0, self.extra))
        return F.relu(out)


class Score(nn.Module):
    """A matrix (in, out) and a bias."""

    def __init__(self, num_classes):
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(64, num_classes) * 0.1)
        self.shift = nn.Parameter(torch.zeros(num_classes))

    def forward(self, x):
        return x @ self.matrix + self.shift


@wrong(checks.cifar_resnet, "shortcut averages neighbouring values")
def pooled(n, skip=True, num_classes=10):
    return build(n, skip, num_classes, block=PooledBlock)


@right(checks.cifar_resnet)
def padded_with_own_score(n, skip=True, num_classes=10):
    return build(n, skip, block=PaddedBlock, head=[*head(1)[:2], Score(num_classes)])


@right(checks.cifar_resnet)
def linear_projections(n, skip=True, num_classes=10):
    return build(n, skip, num_classes, block=residual_block.LinearProjection)


class AfterLastReLU(Block):
    def forward(self, x):
        out = F.relu(residual_block.branch(self, x))
        return out + self.shortcut(x) if self.skip else out


def mistake(name, *words, call=None, **options):
    def cifar_resnet(n, skip=True, num_classes=10):
        made = {k: v(num_classes) if k == "head" else v() if k == "stem" else v for k, v in options.items()}
        return call(n, skip, num_classes) if call else build(n, skip, num_classes, **made)

    cifar_resnet.__name__ = name
    wrong(checks.cifar_resnet, *words)(cifar_resnet)


mistake("ten_classes", "num_classes is not used", "expected", "shape", call=lambda n, skip, k: build(n, skip))
mistake("nothing", "return statement is missing", call=lambda n, skip, k: print())
mistake("never_skips", "not added where skip=True", call=lambda n, skip, k: build(n, False, k))
mistake("always_skips", "added where skip=False, too", call=lambda n, skip, k: build(n, True, k))
mistake("one_block_more_in_each_stage", "Each stage has n + 1 blocks", call=lambda n, skip, k: build(n + 1, skip, k))
mistake("fixed_depth", "does not depend on n", call=lambda n, skip, k: build(3, skip, k))
mistake("wide", "others than 16, 32, 64", widths=(64, 128, 256))
mistake("four_stages", "four stages", widths=(16, 32, 64, 128))
mistake("after_last_relu", "after the last ReLU", block=AfterLastReLU)
mistake("always_projects", "projections where none are needed", block=residual_block.AlwaysProjects)
mistake("no_projection", "no projection that makes the input fit", block=residual_block.NoProjection)
mistake("no_norm", "BatchNorm is missing", block=residual_block.NoNorm)
mistake("no_strides", "not halved exactly twice", block=residual_block.NoStride)
mistake("softmax", "softmax at the end", head=lambda k: [*head(k), nn.Softmax(1)])
mistake("log_softmax", "log-softmax at the end", head=lambda k: [*head(k), nn.LogSoftmax(1)])
mistake("no_norm_in_stem", "missing after the network's first", stem=lambda: [stem()[0], stem()[2]])
mistake("max_pool", "maximum of each map", head=lambda k: [nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(64, k)])
mistake("not_pooled", "not averaged over all positions", head=lambda k: [nn.Flatten(), nn.Linear(64 * 8 * 8, k)])
mistake("linear_too_small", "averaged over all positions", head=lambda k: [nn.Flatten(), nn.Linear(64, k)])
mistake(
    "imagenet_stem",
    "networks for large images",
    stem=lambda: [nn.Conv2d(3, 16, 7, 2, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(3, 2, 1)],
)
mistake("stem_with_pooling", "not halved exactly twice", stem=lambda: [*stem(), nn.MaxPool2d(3, 2, 1)])
mistake("no_relu_in_stem", "ReLU after the first convolution", stem=lambda: stem()[:-1])


def stem():
    return [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]


def head(num_classes):
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, num_classes)]


@wrong(checks.cifar_resnet, "weights are shared")
def repeated_blocks(n, skip=True, num_classes=10):
    once = build(1, skip, num_classes)
    same = [Block(width, width, 1, skip) for width in (16, 32, 64)]
    stages = [[once[3 + i], *[same[i]] * (n - 1)] for i in range(3)]
    return nn.Sequential(*once[:3], *stages[0], *stages[1], *stages[2], *once[6:])


class SingleLayer(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1, skip=True):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(in_channels, out_channels, 3, stride, 1), nn.BatchNorm2d(out_channels)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


mistake("single_layers", "instead of n blocks of two", block=SingleLayer)


class WithinStages(Block):
    def forward(self, x):
        out = residual_block.branch(self, x)
        return F.relu(out + x) if self.skip and out.shape == x.shape else F.relu(out)


@wrong(checks.cifar_resnet, "skip not given", "not added where skip=True")
def no_skip_by_default(n, skip=False, num_classes=10):
    return build(n, skip, num_classes)


@wrong(checks.cifar_resnet, "(2, 100), expected (2, 10)")
def hundred_classes_by_default(n, skip=True, num_classes=100):
    return build(n, skip, num_classes)


class NotWritten(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1, skip=True):
        raise NotImplementedError


mistake("needs_the_block", "It needs NotWritten.__init__, which is not written yet", block=NotWritten)
mistake("within_stages", "from one stage to the next", block=WithinStages)


mistake("unused_projections", "never used", block=residual_block.UnusedProjection)
mistake("projections_without_norm", "projections have no BatchNorm", block=residual_block.OtherProjection)
mistake("two_blocks_in_each_stage", "two blocks, as in ResNet18", call=lambda n, skip, k: build(2, skip, k))


@wrong(checks.cifar_resnet, "one block too many")
def one_more_block(n, skip=True, num_classes=10):
    layers = list(build(n, skip, num_classes))
    return nn.Sequential(*layers[:3], Block(16, 16, 1, skip), *layers[3:])


class Squeeze(nn.Module):
    def forward(self, x):
        return x.squeeze()


mistake(
    "squeezes",
    "squeeze removes the batch dimension",
    head=lambda k: [nn.AdaptiveAvgPool2d(1), Squeeze(), nn.Linear(64, k)],
)

mistake("zero_kernels", "does not use the model's parameters", block=residual_block.ZeroKernels)
mistake("erased", "does not use the model's parameters", block=residual_block.Erased)


class ErasedScore(Score):
    def forward(self, x):
        self.matrix.data.zero_()
        return super().forward(x)


@wrong(checks.cifar_resnet, "expected")
def erased_score(n, skip=True, num_classes=10):
    return build(n, skip, head=[*head(1)[:2], ErasedScore(num_classes)])
