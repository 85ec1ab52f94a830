"""Multilayer perceptrons: a narrow one from a list of widths, and a deep one with and without residual connections."""

import torch.nn.functional as F
from torch import Tensor, nn


def _linear(in_features: int, out_features: int) -> nn.Linear:
    """A linear layer with the initialisation of He et al. 2015 (arXiv:1502.01852) for ReLU, and a zero bias."""
    layer = nn.Linear(in_features, out_features)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    return layer


class MLP(nn.Module):
    """Linear layers of the given widths with ReLU between them.

    (N, ...) float, widths[0] numbers an image -> logits (N, widths[-1]). Taught in Exercise 1.1.

    Raises:
        ValueError: fewer than two widths, or one below 1; when called, images of another size than widths[0].
    """

    def __init__(self, widths=(784, 64, 64, 10)):
        super().__init__()
        if len(widths) < 2 or min(widths) < 1:
            raise ValueError(f"widths={tuple(widths)}: an MLP needs at least two widths, all of at least 1")
        self.layers = nn.ModuleList(_linear(*pair) for pair in zip(widths[:-1], widths[1:], strict=True))

    def forward(self, x: Tensor) -> Tensor:
        x = _flat(x, self.layers[0])
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


class ResMLP(nn.Module):
    """An MLP with `depth` hidden layers of equal width; each of them except the first adds its output to its input.

    Let h be the state between the layers. Every hidden layer after the first computes h + ReLU(W h + b). With
    skip=False it computes ReLU(W h + b): this is the plain twin, with the same parameters. With the initialisation of
    He et al. each branch would be as large as h, so h would grow exponentially with depth. ReLU's outputs are never
    negative, so the branches also add up in one direction. Therefore the weights of the branches start at
    1 / (depth - 1) of that scale. This keeps the size of h within a small factor at any depth (compare Zhang et al.
    2019, arXiv:1901.09321).

    (N, ...) float, in_features numbers an image -> logits (N, num_classes). Taught in Exercise 1.2.

    Raises:
        ValueError: a size below 1; when called, images of another size than in_features.
    """

    def __init__(self, depth: int, width: int = 64, in_features: int = 784, num_classes: int = 10, skip: bool = True):
        super().__init__()
        if min(depth, width, in_features, num_classes) < 1:
            sizes = f"depth={depth}, width={width}, in_features={in_features}, num_classes={num_classes}"
            raise ValueError(f"every size of a ResMLP must be at least 1: {sizes}")
        self.first = _linear(in_features, width)
        self.hidden = nn.ModuleList(_linear(width, width) for _ in range(depth - 1))
        self.last = _linear(width, num_classes)
        self.skip = skip
        if skip:
            for layer in self.hidden:
                layer.weight.data /= len(self.hidden)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.first(_flat(x, self.first)))
        for layer in self.hidden:
            out = F.relu(layer(h))
            h = h + out if self.skip else out
        return self.last(h)


def _flat(x: Tensor, first: nn.Linear) -> Tensor:
    if x[0].numel() != first.in_features:
        raise ValueError(f"images {tuple(x.shape[1:])} have {x[0].numel()} numbers, not {first.in_features}")
    return x.flatten(1)
