import torch
import torch.nn.functional as F
from torch import nn

from lab1 import checks
from solutions import right, wrong


@right(checks.mlp)
class Modules(nn.Module):
    def __init__(self, widths):
        super().__init__()
        layers = [nn.Flatten()]
        for fan_in, fan_out in zip(widths[:-1], widths[1:], strict=True):
            layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
        self.net = nn.Sequential(*layers[:-1])

    def forward(self, x):
        return self.net(x)


@right(checks.mlp)
class ListOfLayers(nn.Module):
    def __init__(self, widths, bias=True):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b, bias=bias) for a, b in zip(widths, widths[1:], strict=False))

    def forward(self, images):
        x = images.reshape(len(images), -1)
        for layer in self.layers[:-1]:
            x = layer(x).clamp(min=0)
        return self.layers[-1](x)


@right(checks.mlp)
class OwnMatrices(nn.Module):
    """Matrices (in, out), einsum; the last layer is registered first."""

    def __init__(self, widths):
        super().__init__()
        pairs = list(zip(widths, widths[1:], strict=False))
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(a, b) * (2 / a) ** 0.5) for a, b in pairs[::-1])
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(1, b)) for _, b in pairs[::-1])

    def forward(self, images):
        x = torch.flatten(images, start_dim=1)
        for i in reversed(range(len(self.weights))):
            x = torch.einsum("ni,io->no", x, self.weights[i]) + self.biases[i]
            if i:
                x = F.relu(x)
        return x


@right(checks.mlp)
class Lazy(nn.Module):
    def __init__(self, widths):
        super().__init__()
        self.hidden = nn.ModuleList(nn.LazyLinear(w) for w in widths[1:-1])
        self.out = nn.LazyLinear(widths[-1])

    def forward(self, x):
        x = x.flatten(1)
        for layer in self.hidden:
            x = torch.relu(layer(x))
        return self.out(x)


@wrong(checks.mlp, "softmax at the end")
class Softmax(Modules):
    def forward(self, x):
        return self.net(x).softmax(dim=1)


@wrong(checks.mlp, "log-softmax at the end")
class LogSoftmax(Modules):
    def forward(self, x):
        return F.log_softmax(self.net(x), dim=-1)


@wrong(checks.mlp, "softmax over the batch")
class SoftmaxOverBatch(Modules):
    def forward(self, x):
        return self.net(x).softmax(dim=0)


@wrong(checks.mlp, "ReLU after the last layer")
class LastReLU(Modules):
    def forward(self, x):
        return self.net(x).relu()


@wrong(checks.mlp, "no ReLU between the layers")
class Linear(ListOfLayers):
    def forward(self, images):
        x = images.flatten(1)
        for layer in self.layers:
            x = layer(x)
        return x


@wrong(checks.mlp, "not flattened")
class NotFlattened(Modules):
    def forward(self, x):
        return self.net[1:](x)


@wrong(checks.mlp, "plain Python list")
class PlainList(nn.Module):
    def __init__(self, widths):
        super().__init__()
        self.layers = [nn.Linear(a, b) for a, b in zip(widths, widths[1:], strict=False)]

    def forward(self, x):
        x = x.flatten(1)
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)


@wrong(checks.mlp, "number of layers is fixed")
class TwoLayers(nn.Module):
    def __init__(self, widths):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(widths[0], widths[1]), nn.Linear(widths[1], widths[-1])

    def forward(self, x):
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


@wrong(checks.mlp, "number of classes is fixed at 10")
class TenClasses(Modules):
    def __init__(self, widths):
        super().__init__([*widths[:-1], 10])


@wrong(checks.mlp, "last linear layer is missing")
class LastLayerMissing(Modules):
    def __init__(self, widths):
        super().__init__(widths[:-1])


@wrong(checks.mlp, "batch dimension is flattened")
class FlattensBatch(Modules):
    def forward(self, x):
        return self.net[1:](x.flatten())


@wrong(checks.mlp, "a layer too many")
class LayerTooMany(Modules):
    def __init__(self, widths):
        super().__init__([*widths, widths[-1]])


@wrong(checks.mlp, "other widths than the list says")
class HiddenLayersOf100(Modules):
    def __init__(self, widths):
        super().__init__([widths[0], *[100] * len(widths[1:-1]), widths[-1]])


class Between(ListOfLayers):
    """With another function between the layers than ReLU."""

    function = torch.sigmoid

    def forward(self, images):
        x = images.flatten(1)
        for layer in self.layers[:-1]:
            x = type(self).function(layer(x))
        return self.layers[-1](x)


wrong(checks.mlp, "sigmoid, not ReLU")(type("Sigmoid", (Between,), {}))
for name in ("elu", "silu", "relu6", "softplus"):
    wrong(checks.mlp, f"{name}, not ReLU")(type(name, (Between,), {"function": getattr(F, name)}))


@wrong(checks.mlp, "ReLU after layer 1 is missing")
class FirstReLUMissing(ListOfLayers):
    def forward(self, images):
        x = self.layers[0](images.flatten(1))
        for layer in self.layers[1:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)


@wrong(checks.mlp, "ReLU on the images")
class ReLUOnImages(Modules):
    def forward(self, x):
        return self.net(x.relu())


@wrong(checks.mlp, "Dropout")
class WithDropout(Modules):
    def forward(self, x):
        return self.net(F.dropout(x, 0.2, self.training))


@wrong(checks.mlp, "influence each other", "BatchNorm")
class WithBatchNorm(nn.Module):
    def __init__(self, widths):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:], strict=False))
        self.norms = nn.ModuleList(nn.BatchNorm1d(b) for b in widths[1:-1])

    def forward(self, x):
        x = x.flatten(1)
        for layer, norm in zip(self.layers, self.norms, strict=False):
            x = norm(layer(x)).relu()
        return self.layers[-1](x)


@wrong(checks.mlp, "return statement is missing")
class NoReturn(Modules):
    def forward(self, x):
        self.net(x)


@wrong(checks.mlp, "super().__init__()")
class NoSuper(nn.Module):
    def __init__(self, widths):
        self.fc = nn.Linear(widths[0], widths[-1])


@wrong(checks.mlp, "no method called forward")
class NoForward(nn.Module):
    def __init__(self, widths):
        super().__init__()
        self.fc = nn.Linear(widths[0], widths[-1])


@wrong(checks.mlp, "cut off from the gradient")
class Detached(ListOfLayers):
    def forward(self, images):
        x = images.flatten(1)
        for layer in self.layers[:-1]:
            x = layer(x).relu().detach()
        return self.layers[-1](x)


@right(checks.mlp)
class PointwiseConvolutions(nn.Module):
    """Linear layers as 1x1 convolutions."""

    def __init__(self, widths):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(widths, widths[1:], strict=False))

    def forward(self, images):
        x = images.reshape(len(images), -1, 1, 1)
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x).flatten(1)


class ExtraColumn(nn.Module):
    """The bias is a further column of the weight: the last, or the first."""

    first = False

    def __init__(self, widths):
        super().__init__()
        pairs = zip(widths, widths[1:], strict=False)
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(b, a + 1) * 0.05) for a, b in pairs)

    def forward(self, images):
        x = images.flatten(1)
        for i, weight in enumerate(self.weights):
            one = torch.ones(len(x), 1)
            x = torch.cat([one, x] if self.first else [x, one], dim=1) @ weight.T
            x = x.relu() if i < len(self.weights) - 1 else x
        return x


right(checks.mlp)(ExtraColumn)
right(checks.mlp)(type("ExtraColumnFirst", (ExtraColumn,), {"first": True}))


@right(checks.mlp)
class ExtraRow(nn.Module):
    """Matrices (in + 1, out)."""

    def __init__(self, widths):
        super().__init__()
        pairs = zip(widths, widths[1:], strict=False)
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(a + 1, b) * 0.05) for a, b in pairs)

    def forward(self, images):
        x = images.flatten(1)
        for weight in self.weights[:-1]:
            x = (x @ weight[:-1] + weight[-1]).relu()
        return x @ self.weights[-1][:-1] + self.weights[-1][-1]


@wrong(checks.mlp, "A layer has no bias")
class NoBiases(ListOfLayers):
    def __init__(self, widths):
        super().__init__(widths, bias=False)


@wrong(checks.mlp, "Layers are made in forward")
class MadeInForward(nn.Module):
    def __init__(self, widths):
        super().__init__()
        self.widths = widths

    def forward(self, x):
        x = x.flatten(1)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(self.widths, self.widths[1:], strict=False))
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)


@wrong(checks.mlp, "Two widths are too few for it")
class NeedsAHiddenLayer(nn.Module):
    def __init__(self, widths):
        super().__init__()
        self.first = nn.Linear(widths[0], widths[1])
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths[1:-2], widths[2:-1], strict=True))
        self.last = nn.Linear(widths[-2], widths[2:][-1])

    def forward(self, x):
        x = self.first(x.flatten(1)).relu()
        for layer in self.hidden:
            x = layer(x).relu()
        return self.last(x)


@wrong(checks.mlp, "no method called __init__", "___init__")
class Misspelt(nn.Module):
    def ___init__(self, widths):
        super().__init__()
        self.net = nn.Linear(widths[0], widths[-1])

    def forward(self, x):
        return self.net(x.flatten(1))


@wrong(checks.mlp, "no method called forward", "foward")
class MisspeltForward(nn.Module):
    def __init__(self, widths):
        super().__init__()
        self.net = nn.Linear(widths[0], widths[-1])

    def foward(self, x):
        return self.net(x.flatten(1))


@wrong(checks.mlp, "batch of one image loses its batch dimension")
class Squeezes(Modules):
    def forward(self, x):
        return self.net[1:](x.squeeze().flatten(1))


@wrong(checks.mlp, "No single mistake", "MLP([784, 3, 6, 9])")
class TwoMistakes(ListOfLayers):
    """No ReLU after the first layer, a softmax at the end."""

    def forward(self, images):
        x = self.layers[0](images.flatten(1))
        for layer in self.layers[1:-1]:
            x = layer(x).relu()
        return self.layers[-1](x).softmax(1)


@wrong(checks.mlp, "dict, not an nn.Module")
class NotAModule:
    def __new__(cls, widths):
        return {"widths": widths}


@wrong(checks.mlp, "Layers are made in forward")
class LocalLayers(MadeInForward):
    def forward(self, x):
        return Modules(self.widths)(x)


@wrong(checks.mlp, "some lie in a plain Python list")
class HiddenInPlainList(nn.Module):
    def __init__(self, widths):
        super().__init__()
        self.hidden = [nn.Linear(a, b) for a, b in zip(widths[:-2], widths[1:-1], strict=True)]
        self.last = nn.Linear(widths[-2], widths[-1])

    def forward(self, images):
        x = images.flatten(1)
        for layer in self.hidden:
            x = layer(x).relu()
        return self.last(x)


@wrong(checks.mlp, "that the formula does not contain")
class WithLayerNorm(nn.Module):
    def __init__(self, widths):
        super().__init__()
        pairs = zip(widths[:-2], widths[1:-1], strict=True)
        hidden = [layer for a, b in pairs for layer in (nn.Linear(a, b), nn.LayerNorm(b), nn.ReLU())]
        self.layers = nn.Sequential(nn.Flatten(), *hidden, nn.Linear(widths[-2], widths[-1]))

    def forward(self, images):
        return self.layers(images)
