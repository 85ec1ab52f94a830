import copy

import torch
from torch import nn

from lab1 import checks
from solutions import right, wrong


@right(checks.to_conv1x1)
def copied(linear):
    conv = nn.Conv2d(linear.in_features, linear.out_features, 1, bias=linear.bias is not None)
    with torch.no_grad():
        conv.weight.copy_(linear.weight[:, :, None, None])
        if linear.bias is not None:
            conv.bias.copy_(linear.bias)
    return conv


@right(checks.to_conv1x1)
def with_state(linear):
    state = {name: t.clone() for name, t in linear.state_dict().items()}
    state["weight"] = state["weight"].reshape(linear.out_features, -1, 1, 1)
    conv = nn.Conv2d(linear.in_features, linear.out_features, kernel_size=(1, 1), bias="bias" in state)
    conv.load_state_dict(state)
    return conv


@right(checks.to_conv1x1)
def loops(linear, bias=None):
    """A zero bias where the linear layer has none."""
    out, inn = linear.weight.shape
    conv = nn.Conv2d(inn, out, 1)
    for i in range(out):
        conv.bias.data[i] = 0 if linear.bias is None else linear.bias[i].item()
        for j in range(inn):
            conv.weight.data[i, j, 0, 0] = linear.weight[i, j].item()
    return conv


@right(checks.to_conv1x1, "shares its memory with the linear layer")
def shared(linear):
    conv = nn.Conv2d(linear.in_features, linear.out_features, 1)
    conv.weight, conv.bias = nn.Parameter(linear.weight[:, :, None, None]), linear.bias
    return conv


@wrong(checks.to_conv1x1, "rows are mixed up")
def transposed(linear):
    conv = copied(linear)
    conv.weight.data = linear.weight.detach().T.reshape(conv.weight.shape).clone()
    return conv


@wrong(checks.to_conv1x1, "rows are mixed up")
def transposed_if_square(linear):
    conv = copied(linear)
    if linear.in_features == linear.out_features:
        conv.weight.data = linear.weight.detach().T[:, :, None, None].clone()
    return conv


@wrong(checks.to_conv1x1, "wrong way round")
def in_and_out(linear):
    conv = nn.Conv2d(linear.out_features, linear.in_features, 1)
    conv.weight.data = linear.weight.detach().T[:, :, None, None].clone()
    return conv


@wrong(checks.to_conv1x1, "bias is not copied")
def only_weight(linear):
    conv = nn.Conv2d(linear.in_features, linear.out_features, 1)
    conv.weight.data.copy_(linear.weight.data[:, :, None, None])
    return conv


@wrong(checks.to_conv1x1, "bias is not copied")
def no_bias(linear):
    conv = nn.Conv2d(linear.in_features, linear.out_features, 1, bias=False)
    conv.weight.data.copy_(linear.weight.data[:, :, None, None])
    return conv


@wrong(checks.to_conv1x1, "starts with random numbers")
def not_copied(linear):
    return nn.Conv2d(linear.in_features, linear.out_features, 1)


@wrong(checks.to_conv1x1, "kernel is larger than 1x1")
def three_by_three(linear):
    conv = nn.Conv2d(linear.in_features, linear.out_features, 3, padding=1)
    conv.weight.data.zero_()
    conv.weight.data[:, :, 1, 1] = linear.weight.data
    conv.bias.data = linear.bias.data.clone()
    return conv


@wrong(checks.to_conv1x1, "a stride or a padding")
def with_stride(linear):
    conv = copied(linear)
    conv.stride = (2, 2)
    return conv


@wrong(checks.to_conv1x1, "a stride or a padding")
def with_padding(linear):
    conv = copied(linear)
    conv.padding = (1, 1)
    return conv


@wrong(checks.to_conv1x1, "may have no bias")
def needs_bias(linear):
    conv = nn.Conv2d(linear.in_features, linear.out_features, 1)
    conv.weight.data.copy_(linear.weight.data[:, :, None, None])
    conv.bias.data.copy_(linear.bias.data)
    return conv


@wrong(checks.to_conv1x1, "has no bias, but the convolution has one")
def keeps_random_bias(linear):
    conv = nn.Conv2d(linear.in_features, linear.out_features, 1)
    conv.weight.data.copy_(linear.weight.data[:, :, None, None])
    if linear.bias is not None:
        conv.bias.data.copy_(linear.bias.data)
    return conv


@wrong(checks.to_conv1x1, "Sequential, not an nn.Conv2d")
def sequential(linear):
    return nn.Sequential(copied(linear), nn.ReLU())


@wrong(checks.to_conv1x1, "changed in place")
def breaks_linear(linear):
    conv = copied(linear)
    linear.weight.data.zero_()
    return conv


@wrong(checks.to_conv1x1, "cut off from the gradient")
def frozen(linear):
    return copied(linear).requires_grad_(False)


@wrong(checks.to_conv1x1, "where a parameter is needed")
def assigns_tensor(linear):
    conv = nn.Conv2d(linear.in_features, linear.out_features, 1)
    conv.weight = linear.weight[:, :, None, None]
    return conv


@wrong(checks.to_conv1x1, "where (out, in, 1, 1) is needed")
def not_reshaped(linear):
    conv = nn.Conv2d(linear.in_features, linear.out_features, 1)
    conv.weight.data.copy_(linear.weight.data)
    return conv


@wrong(checks.to_conv1x1, "return statement is missing")
def nothing(linear):
    copied(linear)


@wrong(checks.to_conv1x1, "number of positions")
def averaged(linear):
    """Divides by the positions of the map it is meant for, as if the convolution had to average."""

    class Averaging(nn.Conv2d):
        def forward(self, x):
            y = super().forward(x)
            bias = 0 if self.bias is None else self.bias[:, None, None]
            return (y - bias) / x[0, 0].numel() + bias

    conv = copied(linear)
    other = Averaging(linear.in_features, linear.out_features, 1, bias=linear.bias is not None)
    other.load_state_dict(copy.deepcopy(conv.state_dict()))
    return other


@wrong(checks.to_conv1x1, "linear layer's own weight, which lacks two dimensions")
def assigns_the_weight(linear):
    conv = nn.Conv2d(linear.in_features, linear.out_features, 1)
    conv.weight, conv.bias = linear.weight, linear.bias
    return conv


@wrong(checks.to_conv1x1, "outside of torch.no_grad()")
def copies_with_gradients(linear):
    conv = nn.Conv2d(linear.in_features, linear.out_features, 1)
    conv.weight.copy_(linear.weight[:, :, None, None])
    return conv


@wrong(checks.to_conv1x1, "No single mistake")
def first_rows_only(linear):
    """Half of the weight is copied."""
    conv = copied(linear)
    conv.weight.data[2:] = torch.rand_like(conv.weight[2:])
    return conv


@wrong(checks.to_conv1x1, "No single mistake")
def averaged_rows(linear):
    conv = copied(linear)
    conv.weight.data.copy_(conv.weight.data.mean(1, keepdim=True).expand_as(conv.weight))
    return conv
