import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lab1 import ResNet, ResNet18, training
from lab1.training import convolution, evaluation
from lab1.training.convolution import (
    INPUT_GRADIENT,
    KERNEL_GRADIENT,
    OUTPUT,
    Convolution,
    MatrixProducts,
    faster_as_products,
)

ALL = {OUTPUT, INPUT_GRADIENT, KERNEL_GRADIENT}
# channels in and out, height, width, kernel size, stride, padding
RESNET18 = [(3, 64, 32, 32, 3, 1, 1), (64, 64, 32, 32, 3, 1, 1)] + [
    shape
    for c, size in ((64, 32), (128, 16), (256, 8))
    for shape in (
        (c, 2 * c, size, size, 3, 2, 1),
        (2 * c, 2 * c, size // 2, size // 2, 3, 1, 1),
        (c, 2 * c, size, size, 1, 2, 0),
    )
]
FCN_AND_ODD = [
    (512, 11, 4, 4, 1, 1, 0),
    (64, 11, 7, 9, 1, 1, 0),
    (1, 8, 28, 28, 3, 1, 1),
    (8, 16, 7, 5, 3, 2, 1),
    (8, 16, 7, 5, 1, 2, 0),
    (8, 16, 7, 5, 1, 2, 1),
    (4, 4, 1, 1, 3, 1, 1),
    (3, 5, 9, 9, 1, 3, 0),
    (3, 5, 6, 8, 5, 1, 2),
    (3, 5, 6, 8, 3, 1, 0),
    (3, 5, 6, 8, 3, 1, 3),
]


def passes_and_reference(shape, products, dtype=torch.float64):
    """Output and gradients by `Convolution`, by torch in that dtype, and by torch in float64."""
    channels, num_kernels, height, width, size, stride, padding = shape
    torch.manual_seed(0)
    x = torch.randn(2, channels, height, width).to(dtype, memory_format=torch.channels_last).requires_grad_()
    kernels = torch.randn(num_kernels, channels, size, size).to(dtype).requires_grad_()
    result = Convolution.apply(x, kernels, stride, padding, products)
    gradient = torch.randn(result.shape).to(dtype)

    def usual(dtype):
        x_, kernels_ = (t.detach().to(dtype).requires_grad_() for t in (x, kernels))
        out = F.conv2d(x_, kernels_, stride=stride, padding=padding)
        return out, *torch.autograd.grad(out, (x_, kernels_), gradient.to(dtype))

    ours = result, *torch.autograd.grad(result, (x, kernels), gradient)
    return ours, usual(dtype), usual(torch.float64)


def relative_error(found, exact):
    return ((found.double() - exact).norm() / exact.norm()).item()


@pytest.mark.parametrize("shape", RESNET18 + FCN_AND_ODD, ids=str)
def test_equal_to_autograd_in_float64(shape):
    possible = ALL if shape[5] == 1 or shape[4] == 1 else {OUTPUT, KERNEL_GRADIENT}
    for products in (possible, {KERNEL_GRADIENT}, set()):
        ours, _, exact = passes_and_reference(shape, products)
        for found, expected in zip(ours, exact, strict=True):
            assert found.shape == expected.shape
            assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()


@pytest.mark.parametrize("shape", [(512, 512, 4, 4, 3, 1, 1), (256, 256, 8, 8, 3, 1, 1), (256, 512, 8, 8, 1, 2, 0)])
def test_no_less_accurate_than_torch_in_bf16(shape, monkeypatch):
    monkeypatch.setattr(convolution, "has_amx", lambda: True)
    _, _, _, width, size, stride, padding = shape
    products = faster_as_products(torch.bfloat16, size, stride, (width + 2 * padding - size) // stride + 1)
    assert KERNEL_GRADIENT in products
    ours, usual, exact = passes_and_reference(shape, products, torch.bfloat16)
    for found, stock, expected in zip(ours, usual, exact, strict=True):
        assert found.dtype == torch.bfloat16
        assert relative_error(found, expected) <= 1.02 * relative_error(stock, expected) < 0.01


@pytest.mark.parametrize("amx", [True, False])
def test_policy(monkeypatch, amx):
    monkeypatch.setattr(convolution, "has_amx", lambda: amx)
    for dtype in (torch.float32, torch.float64):
        assert faster_as_products(dtype, 3, 1, 4) == set()
        assert faster_as_products(dtype, 1, 2, 16) == ALL
    policy = {width: faster_as_products(torch.bfloat16, 3, 1, width) for width in (32, 16, 8, 4)}
    assert policy == {32: set(), 16: set(), 8: {KERNEL_GRADIENT} if amx else set(), 4: ALL}
    assert faster_as_products(torch.bfloat16, 3, 2, 8) == {KERNEL_GRADIENT}
    assert faster_as_products(torch.bfloat16, 3, 2, 4) == {OUTPUT, KERNEL_GRADIENT}


@pytest.fixture
def everything_as_products(monkeypatch):
    def everything(dtype, kernel_size, stride, width):
        return ALL if stride == 1 or kernel_size == 1 else {OUTPUT, KERNEL_GRADIENT}

    monkeypatch.setattr(convolution, "faster_as_products", everything)


@pytest.mark.parametrize("norm", [True, False])  # without BatchNorm the convolutions have biases
def test_a_network_keeps_its_function_gradients_names_and_hooks(everything_as_products, norm):
    torch.manual_seed(0)
    usual = ResNet18(width=8, norm=norm).double()
    model = copy.deepcopy(usual).to(memory_format=torch.channels_last)
    seen = []
    model.layer3[0].conv2.register_forward_hook(lambda module, inputs, output: seen.append(output))
    model.layer3[0].conv2.register_full_backward_hook(lambda module, inputs, outputs: seen.append(outputs[0]))
    images = torch.randn(3, 3, 31, 33, dtype=torch.float64)
    usual(images).square().sum().backward()
    with MatrixProducts():
        model(images).square().sum().backward()
    assert [t.shape for t in seen] == [(3, 32, 8, 9)] * 2
    assert list(model.state_dict()) == list(usual.state_dict())
    for ours, theirs in zip(model.parameters(), usual.parameters(), strict=True):
        assert (ours.grad - theirs.grad).abs().max() <= 1e-12 * theirs.grad.abs().max()


def test_other_convolutions_and_functions_are_left_alone(everything_as_products, monkeypatch):
    monkeypatch.setattr(convolution, "Convolution", None)  # using it would raise
    x = torch.randn(2, 4, 8, 8)
    others = [
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 3, dilation=2),
        nn.Conv2d(4, 4, (3, 1)),
        nn.Conv2d(4, 4, 3, stride=(1, 2)),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.ConvTranspose2d(4, 4, 2, 2),
    ]
    for module in others:
        expected = module(x)
        with MatrixProducts():
            assert torch.equal(module(x), expected)
            torch.testing.assert_close(module(x[0]), expected[0])  # an image without a batch


def test_under_autocast_it_computes_in_bf16_and_weights_get_float32_gradients():
    conv = nn.Conv2d(8, 8, 3, padding=1)
    with MatrixProducts(), torch.autocast("cpu", torch.bfloat16):
        out = conv(torch.randn(2, 8, 4, 4))
    assert out.dtype == torch.bfloat16
    assert type(out.grad_fn.next_functions[0][0]).__name__ == "ConvolutionBackward"
    out.sum().backward()
    assert conv.weight.grad.dtype == conv.bias.grad.dtype == torch.float32


@pytest.mark.parametrize("width", range(1, 10))
def test_narrow_networks_get_right_gradients_in_channels_last(width):
    """oneDNN's strided 1x1 convolutions with few channels corrupt memory in this layout; products do not."""
    torch.manual_seed(0)
    exact = ResNet((1, 1, 1), width=width).double()
    model = copy.deepcopy(exact).float().to(memory_format=torch.channels_last)
    images = torch.randn(4, 3, 12, 12)
    F.cross_entropy(exact(images.double()), torch.arange(4)).backward()
    with evaluation.fastest(torch.device("cpu"), autocast=False):
        logits = model(images)
    F.cross_entropy(logits, torch.arange(4)).backward()
    for ours, theirs in zip(model.parameters(), exact.parameters(), strict=True):
        torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=1e-3, atol=1e-5)


def test_fit_uses_it_on_the_cpu(tiny, monkeypatch):
    used = []
    apply = Convolution.apply
    monkeypatch.setattr(Convolution, "apply", lambda *args: used.append(args[4]) or apply(*args))
    training.fit(ResNet((1, 1), num_classes=4, width=4), tiny(), num_epochs=1, device="cpu", autocast=False)
    assert used and all(products == ALL for products in used)
