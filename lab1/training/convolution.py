"""Convolutions as matrix products, where a CPU computes those faster. For the curious: no exercise depends on it.

A convolution takes the dot product of every kernel with every patch of its input. Written out ("im2col", Chellapilla
et al. 2006), with P = N * H * W patches of k * k * C numbers and K kernels, it and its two gradients are

    output          (P, K)     = patches (P, kkC) @ kernels (kkC, K)
    kernel gradient (kkC, K)   = patches.T (kkC, P) @ output gradient (P, K)
    input gradient  (N, H, W, C) = a convolution again: of the output gradient, with the kernels turned by 180 degrees

The patches overlap, so their matrix is up to k * k times as large as the input; a convolution library never writes it
down, and wins where the maps are large. On the small maps of the last stages the copy is cheap, and a matrix product
runs at the full speed of a CPU with units for bf16, where oneDNN's convolutions do not.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from lab1.basics.device import has_amx

OUTPUT, INPUT_GRADIENT, KERNEL_GRADIENT = "output", "input gradient", "kernel gradient"


def faster_as_products(dtype: torch.dtype, kernel_size: int, stride: int, width: int, num_images: int) -> set[str]:
    """The passes of a convolution with that output width that are matrix products.

    Found by timing each pass. At width 8 the patches of more than 16 images leave the cache, and the kernel gradient of
    oneDNN is quicker, unless strided; without AMX it always is. The kernel gradient of a strided 1x1 convolution, a
    projection, is a product in any case: oneDNN has computed wrong ones with few channels (oneDNN issue 6035).
    """
    if kernel_size == 1 and stride > 1:
        return {KERNEL_GRADIENT}
    if dtype != torch.bfloat16 or width > 8:
        return set()
    if width > 4:
        return {KERNEL_GRADIENT} if stride > 1 or (has_amx() and num_images <= 16) else set()
    return {OUTPUT, KERNEL_GRADIENT} | ({INPUT_GRADIENT} if stride == 1 else set())


class MatrixProducts(TorchFunctionMode):
    """A context in which F.conv2d, and so nn.Conv2d, follows `faster_as_products`.

    Like torch.autocast it changes how a model computes and nothing about the model: parameters, state_dict and hooks
    stay as they are. Convolutions with groups, dilation or oblong kernels are left alone. Used by `fit`, `evaluate`
    and `predict` on the CPU.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        return (_conv2d if function is F.conv2d else function)(*args, **(kwargs or {}))


def _conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    size, stride_, padding_, dilation_ = (_one_number(v) for v in (weight.shape[2:], stride, padding, dilation))
    if input.ndim == 4 and None not in (size, stride_, padding_) and dilation_ == groups == 1:
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else input.dtype
        width = (input.shape[3] + 2 * padding_ - size) // stride_ + 1
        if products := faster_as_products(dtype, size, stride_, width, len(input)):
            out = Convolution.apply(input.to(dtype), weight.to(dtype), stride_, padding_, products)
            return out if bias is None else out + bias.to(dtype)[:, None, None]
    return F.conv2d(input, weight, bias, stride, padding, dilation, groups)


def _one_number(value) -> int | None:
    """The number of which a size, stride, padding or dilation consists; None where it has no such number."""
    values = [value] if isinstance(value, int | str) else list(value)
    number = values[0]
    return number if isinstance(number, int) and values == [number] * len(values) else None


class Convolution(torch.autograd.Function):
    """(N, C, H, W), (K, C, k, k) -> (N, K, H', W'): the passes named in `products` as products, the others as usual.

    The output, and the gradients, lie in memory as channels_last does.
    """

    @staticmethod
    def forward(ctx, x: Tensor, kernels: Tensor, stride: int, padding: int, products: set[str]) -> Tensor:
        ctx.save_for_backward(x, kernels)
        ctx.stride, ctx.padding, ctx.products = stride, padding, products
        if OUTPUT not in products:
            return F.conv2d(x, kernels, stride=stride, padding=padding)
        return _convolve(x, kernels.permute(2, 3, 1, 0).flatten(0, 2), kernels.shape[2], stride, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        (x, kernels), stride, padding = ctx.saved_tensors, ctx.stride, ctx.padding
        wanted = {p for p, w in zip((INPUT_GRADIENT, KERNEL_GRADIENT), ctx.needs_input_grad[:2], strict=True) if w}
        found = {}
        if KERNEL_GRADIENT in wanted & ctx.products:
            found[KERNEL_GRADIENT] = _kernel_gradient(x, gradient, kernels.shape, stride, padding)
        if INPUT_GRADIENT in wanted & ctx.products:  # of stride 1: otherwise it would take more than one product
            size = kernels.shape[2]
            backwards = torch.arange(size * size).flip(0)  # by 180 degrees
            turned = kernels.permute(2, 3, 0, 1).flatten(0, 1).index_select(0, backwards)  # (kk, K, C)
            found[INPUT_GRADIENT] = _convolve(gradient, turned.flatten(0, 1), size, 1, size - 1 - padding)
        if rest := wanted - ctx.products:
            how = (None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1)
            mask = [INPUT_GRADIENT in rest, KERNEL_GRADIENT in rest, False]
            usual = torch.ops.aten.convolution_backward(gradient, x, kernels, *how, mask)
            found |= {p: g for p, g in zip((INPUT_GRADIENT, KERNEL_GRADIENT), usual, strict=False) if p in rest}
        return found.get(INPUT_GRADIENT), found.get(KERNEL_GRADIENT), None, None, None


def _patches(x: Tensor, size: int, stride: int, padding: int) -> Tensor:
    """(N, C, H, W) -> (N, H', W', size, size, C): a view in which neighbouring patches share their memory."""
    x = F.pad(x.permute(0, 2, 3, 1), (0, 0, *[padding] * 4)).contiguous()
    n, height, width, channels = x.shape
    image, row, pixel, channel = x.stride()
    shape = (n, (height - size) // stride + 1, (width - size) // stride + 1, size, size, channels)
    return x.as_strided(shape, (image, stride * row, stride * pixel, row, pixel, channel))


def _convolve(x: Tensor, kernels: Tensor, size: int, stride: int, padding: int) -> Tensor:
    """With kernels (kkC, K), as in the formula above."""
    patches = _patches(x, size, stride, padding)
    out = patches.flatten(3).flatten(0, 2) @ kernels
    return out.unflatten(0, patches.shape[:3]).permute(0, 3, 1, 2)


def _kernel_gradient(x: Tensor, gradient: Tensor, shape: torch.Size, stride: int, padding: int) -> Tensor:
    num_kernels, channels, size, _ = shape
    patches = _patches(x, size, stride, padding).flatten(3).flatten(0, 2)  # (P, kkC)
    gradient = gradient.permute(0, 2, 3, 1).reshape(-1, num_kernels)  # (P, K)
    return (gradient.T @ patches).view(num_kernels, size, size, channels).permute(0, 3, 1, 2)
