import torch
import torch.nn.functional as F
from torch import nn

from lab1 import checks
from solutions import right, wrong


def bilinear(x, size):
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


@right(checks.fcn_head)
class Stepwise(nn.Module):
    def __init__(self, in_channels, num_classes):
        super().__init__()
        self.scores = nn.ModuleList(nn.Conv2d(c, num_classes, 1) for c in in_channels)

    def forward(self, features, size):
        out = self.scores[-1](features[-1])
        for score, feature in zip(self.scores[-2::-1], features[-2::-1], strict=True):
            out = bilinear(out, feature.shape[-2:]) + score(feature)
        return bilinear(out, size)


@right(checks.fcn_head)
class Learned(nn.Module):
    """Transposed convolutions with random kernels, cut to size."""

    def __init__(self, in_channels, num_classes, upsample=4):
        super().__init__()
        self.score = nn.ModuleList([nn.Conv2d(c, num_classes, 1) for c in in_channels])
        self.up = nn.ModuleList(
            [nn.ConvTranspose2d(num_classes, num_classes, 4, 2, 1) for _ in range(len(in_channels) - 1)]
        )

    def forward(self, features, size):
        x = None
        for i in range(len(features) - 1, -1, -1):
            s = self.score[i](features[i])
            if x is not None:
                s = s + self.up[i](x)[..., : s.shape[2], : s.shape[3]]
            x = s
        return F.interpolate(x, size, mode="bilinear", align_corners=True)


@right(checks.fcn_head)
class Einsum(nn.Module):
    """Matrices instead of convolutions, and biases of their own."""

    def __init__(self, in_channels, num_classes):
        super().__init__()
        self.matrices = nn.ParameterList(nn.Parameter(torch.randn(num_classes, c) * 0.01) for c in in_channels)
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(num_classes, 1, 1)) for _ in in_channels)

    def forward(self, features, size):
        parts = zip(features, self.matrices, self.biases, strict=True)
        scores = [torch.einsum("nchw,kc->nkhw", f, m) + b for f, m, b in parts]
        total = scores.pop()
        while scores:
            finer = scores.pop()
            total = bilinear(total, finer.shape[2:]) + finer
        return bilinear(total, size)


@right(checks.fcn_head)
class Lazy(nn.Module):
    """Lazy convolutions; corners aligned."""

    def __init__(self, in_channels, num_classes):
        super().__init__()
        self.scores = nn.ModuleList(nn.LazyConv2d(num_classes, 1) for _ in in_channels)

    def forward(self, features, size):
        out = self.scores[0](features[-1])
        for score, feature in zip(self.scores[1:], reversed(features[:-1]), strict=True):
            out = F.interpolate(out, feature.shape[2:], mode="bilinear", align_corners=True) + score(feature)
        return F.interpolate(out, size, mode="bilinear", align_corners=True)


@wrong(checks.fcn_head, "Nothing is fused")
class PixelwiseLinear(nn.Module):
    """Linear layers over the last dimension; every score map goes straight to the full size."""

    def __init__(self, in_channels, num_classes):
        super().__init__()
        self.layers = nn.ModuleDict({str(i): nn.Linear(c, num_classes) for i, c in enumerate(in_channels)})

    def forward(self, features, size):
        scores = [self.layers[str(i)](f.movedim(1, -1)).movedim(-1, 1) for i, f in enumerate(features)]
        return torch.stack([bilinear(s, size) for s in reversed(scores)]).sum(0)


@wrong(checks.fcn_head, "Nothing is fused", "no biases", "The list that is given is changed")
class Consuming(nn.Module):
    """Matrices (in, out); both lists that it is given are empty or turned round afterwards."""

    def __init__(self, in_channels, num_classes):
        super().__init__()
        in_channels.reverse()
        self.matrices = nn.ParameterList(nn.Parameter(torch.randn(c, num_classes) * 0.01) for c in in_channels)

    def forward(self, features, size):
        total = 0
        for matrix in self.matrices:
            total = total + bilinear(torch.einsum("nchw,ck->nkhw", features.pop(), matrix), size)
        return total


class DepthwiseLearned(Stepwise):
    """Bilinear kernels that are learned, for each class by itself; finer scores start at zero."""

    def __init__(self, in_channels, num_classes):
        super().__init__(in_channels, num_classes)
        for score in self.scores[:-1]:
            nn.init.zeros_(score.weight)
        line = torch.tensor([1, 3, 3, 1]) / 4
        self.kernel = nn.Parameter((line[:, None] * line).repeat(num_classes, 1, 1, 1))

    def forward(self, features, size):
        out = self.scores[-1](features[-1])
        for score, feature in zip(self.scores[-2::-1], features[-2::-1], strict=True):
            up = F.conv_transpose2d(out, self.kernel, stride=2, padding=1, groups=out.shape[1])
            out = up[:, :, : feature.shape[2], : feature.shape[3]] + score(feature)
        return bilinear(out, size) + 0 * self.kernel.sum()  # with a single map nothing is upsampled by it


right(checks.fcn_head)(DepthwiseLearned)


def forward_mistake(name, *words):
    def note(forward):
        wrong(checks.fcn_head, *words)(type(name, (Stepwise,), {"forward": forward}))

    return note


@forward_mistake("Template", "one template for the whole image")
def _(self, features, size):
    pooled = self.scores[-1](F.adaptive_avg_pool2d(features[-1], 1))
    return bilinear(pooled, size) + sum(0 * s(f).mean() for s, f in zip(self.scores, features, strict=True))


@forward_mistake("PoolsEach", "one template for the whole image")
def _(self, features, size):
    pooled = [f.mean((2, 3), keepdim=True) for f in features]
    return bilinear(sum(s(p) for s, p in zip(self.scores, pooled, strict=True)), size)


@forward_mistake("OnlyCoarsest", "Only the coarsest map is used")
def _(self, features, size):
    return bilinear(self.scores[-1](features[-1]), size)


@forward_mistake("OnlyFinest", "Only the finest map is used")
def _(self, features, size):
    return bilinear(self.scores[0](features[0]), size)


@forward_mistake("FinestNotUsed", "The finest map is not used")
def _(self, features, size):
    if len(features) == 1:
        return Stepwise.forward(self, features, size)
    out = self.scores[-1](features[-1])
    for score, feature in zip(self.scores[-2:0:-1], features[-2:0:-1], strict=True):
        out = bilinear(out, feature.shape[-2:]) + score(feature)
    return bilinear(out, size)


@forward_mistake("Averages", "averaged instead of added")
def _(self, features, size):
    return sum(bilinear(s(f), size) for s, f in zip(self.scores, features, strict=True)) / len(features)


@forward_mistake("Softmax", "softmax at the end")
def _(self, features, size):
    return Stepwise.forward(self, features, size).softmax(1)


@forward_mistake("LogSoftmax", "log-softmax at the end")
def _(self, features, size):
    return Stepwise.forward(self, features, size).log_softmax(1)


@forward_mistake("ReLU", "ReLU after the scores")
def _(self, features, size):
    return sum(bilinear(F.relu(s(f)), size) for s, f in zip(self.scores, features, strict=True))


@forward_mistake("Argmax", "classes are gone")
def _(self, features, size):
    return Stepwise.forward(self, features, size).argmax(1)


@forward_mistake("AddsBeforeScoring", "Maps of different channels are added")
def _(self, features, size):
    total = sum(bilinear(f, size) for f in features)
    return self.scores[0](total)


@forward_mistake("ThreeMaps", "number of maps is fixed")
def _(self, features, size):
    fine, middle, coarse = features
    return Stepwise.forward(self, [fine, middle, coarse], size)


@forward_mistake("ThreeMapsByIndex", "number of maps is fixed")
def _(self, features, size):
    return sum(bilinear(self.scores[i](features[i]), size) for i in range(3))


@forward_mistake("NotUpsampled", "never upsampled to `size`")
def _(self, features, size):
    out = self.scores[-1](features[-1])
    for score, feature in zip(self.scores[-2::-1], features[-2::-1], strict=True):
        out = bilinear(out, feature.shape[-2:]) + score(feature)
    return out


@forward_mistake("TwiceAsLarge", "not always exactly twice")
def _(self, features, size):
    out = self.scores[-1](features[-1])
    for score, feature in zip(self.scores[-2::-1], features[-2::-1], strict=True):
        out = F.interpolate(out, scale_factor=2) + score(feature)
    return bilinear(out, size)


@forward_mistake("FixedFactor", "same size whatever `size` is")
def _(self, features, size):
    return F.interpolate(Stepwise.forward(self, features, features[0].shape[2:]), scale_factor=4)


@forward_mistake("WidthFirst", "Height and width are mixed up")
def _(self, features, size):
    return Stepwise.forward(self, features, (size[1], size[0]))


@forward_mistake("FineToCoarse", "reduced to a coarser one")
def _(self, features, size):
    coarse = features[-1].shape[2:]
    return bilinear(sum(s(F.adaptive_avg_pool2d(f, coarse)) for s, f in zip(self.scores, features, strict=True)), size)


@forward_mistake("CoarseFirst", "come from fine to coarse")
def _(self, features, size):
    return Stepwise.forward(self, features[::-1], size)


@forward_mistake("ChangesFeatures", "changed in place")
def _(self, features, size):
    for f in features:
        f.clamp_(max=1e9).mul_(1.5)
    return Stepwise.forward(self, [f / 1.5 for f in features], size)


@wrong(checks.fcn_head, "larger than 1x1")
class ThreeByThree(Stepwise):
    def __init__(self, in_channels, num_classes):
        super().__init__(in_channels, num_classes)
        self.scores = nn.ModuleList(nn.Conv2d(c, num_classes, 3, padding=1) for c in in_channels)


@wrong(checks.fcn_head, "plain Python list")
class PlainList(Stepwise):
    def __init__(self, in_channels, num_classes):
        nn.Module.__init__(self)
        self.scores = [nn.Conv2d(c, num_classes, 1) for c in in_channels]


@wrong(checks.fcn_head, "concatenated")
class Concatenates(nn.Module):
    def __init__(self, in_channels, num_classes):
        super().__init__()
        self.score = nn.Conv2d(sum(in_channels), num_classes, 1)

    def forward(self, features, size):
        return self.score(torch.cat([bilinear(f, size) for f in features], dim=1))


@wrong(checks.fcn_head, "shape")
class ElevenClasses(Stepwise):
    def __init__(self, in_channels, num_classes):
        super().__init__(in_channels, 21)


@wrong(checks.fcn_head, "no score layer of its own")
class OneTemplate(nn.Module):
    """Seen in published solutions: the last map is pooled, and one large stride makes an image of it again."""

    def __init__(self, in_channels, num_classes):
        super().__init__()
        self.score = nn.Conv2d(in_channels[-1], num_classes, 1)
        self.up = nn.ConvTranspose2d(num_classes, num_classes, 32, stride=32)

    def forward(self, features, size):
        return bilinear(self.up(self.score(F.adaptive_avg_pool2d(features[-1], 1))), size)


@forward_mistake("Nearest", 'unless it is given mode="bilinear"')
def _(self, features, size):
    out = self.scores[-1](features[-1])
    for score, feature in zip(self.scores[-2::-1], features[-2::-1], strict=True):
        out = F.interpolate(out, feature.shape[-2:]) + score(feature)
    return F.interpolate(out, size)


@forward_mistake("NearestInside", 'unless it is given mode="bilinear"')
def _(self, features, size):
    out = self.scores[-1](features[-1])
    for score, feature in zip(self.scores[-2::-1], features[-2::-1], strict=True):
        out = F.interpolate(out, feature.shape[-2:]) + score(feature)
    return bilinear(out, size)


@forward_mistake("Bicubic", "bicubic, not bilinear")
def _(self, features, size):
    out = self.scores[-1](features[-1])
    for score, feature in zip(self.scores[-2::-1], features[-2::-1], strict=True):
        out = F.interpolate(out, feature.shape[-2:], mode="bicubic") + score(feature)
    return F.interpolate(out, size, mode="bicubic")


@forward_mistake("Pops", "The list that is given is changed")
def _(self, features, size):
    out = self.scores[-1](features.pop())
    for score in self.scores[-2::-1]:
        feature = features.pop()
        out = bilinear(out, feature.shape[-2:]) + score(feature)
    return bilinear(out, size)


@forward_mistake("Reverses", "The list that is given is changed")
def _(self, features, size):
    features.reverse()
    return Stepwise.forward(self, features[::-1], size)


@forward_mistake("Assigns", "changed")
def _(self, features, size):
    given = list(features)
    for i, score in enumerate(self.scores):
        features[i] = score(features[i])
    return Stepwise.forward(self, given, size)


@wrong(checks.fcn_head, "no biases")
class NoBias(Stepwise):
    def __init__(self, in_channels, num_classes):
        super().__init__(in_channels, num_classes)
        self.scores = nn.ModuleList(nn.Conv2d(c, num_classes, 1, bias=False) for c in in_channels)


@wrong(checks.fcn_head, "A Dropout")
class WithDropout(Stepwise):
    def forward(self, features, size):
        return super().forward([F.dropout(f, 0.2, self.training) for f in features], size)


@wrong(checks.fcn_head, "some lie in a plain Python list")
class PartInPlainList(Stepwise):
    def __init__(self, in_channels, num_classes):
        super().__init__(in_channels, num_classes)
        scores = list(self.scores)
        del self.scores
        self.scores, self.last = scores, scores[-1]
