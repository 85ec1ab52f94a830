"""GradCAM against its definition and finite differences; what it leaves untouched; what it refuses."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lab1 import GradCAM, ResNet, ResNet18
from lab1.analysis.gradcam import all_classes

LAYERS = ["layer1", "layer2", "layer3", "layer4"]


def randomised(model, seed=0):
    """In eval mode, with BatchNorm statistics and scales that are not those of the identity."""
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5), nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2), nn.init.uniform_(module.running_var, 0.5, 2)
    return model.eval()


@pytest.fixture
def model():
    torch.manual_seed(0)
    return randomised(ResNet18(width=8))


@pytest.fixture
def images():
    return torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def normalised(heat, size):
    """What follows after ReLU: upsampled, and divided by the maximum of each image."""
    heat = F.interpolate(heat, size, mode="bilinear", align_corners=False)[:, 0]
    return heat / heat.amax(dim=(1, 2), keepdim=True).clamp(min=1e-30)


def test_definition_with_everything_differentiated(model, images):
    """The formula of the paper, image by image and channel by channel, from retained gradients."""
    targets = torch.tensor([3, 1, 4, 1, 5])
    for layer in LAYERS:
        with GradCAM(model, layer) as cam:
            found = cam(images, targets)
        assert found.shape == (5, 32, 32) and found.dtype == torch.float32 and not found.requires_grad
        for i, target in enumerate(targets):
            kept = {}
            hook = getattr(model, layer).register_forward_hook(lambda m, x, y, kept=kept: kept.update(a=y))
            score = model(images[i : i + 1])[0, target]
            hook.remove()
            (gradient,) = torch.autograd.grad(score, kept["a"])
            heat = torch.zeros(kept["a"].shape[2:])
            for k in range(gradient.shape[1]):
                heat += gradient[0, k].mean() * kept["a"][0, k].detach()
            expected = normalised(heat.clamp(min=0)[None, None], (32, 32))[0]
            torch.testing.assert_close(found[i], expected, rtol=1e-4, atol=1e-5)


def test_alpha_by_finite_differences():
    """dy / dA measured by changing each number of A a little, in float64."""
    torch.manual_seed(0)
    first, rest = nn.Conv2d(1, 3, 3), nn.Sequential(nn.Tanh(), nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 5))
    model = nn.Sequential(first, rest).double()
    images = torch.randn(2, 1, 6, 6, dtype=torch.float64)
    with torch.no_grad():
        maps, epsilon = first(images), 1e-6
        alpha = torch.zeros(2, 3, dtype=torch.float64)
        for k, y, x in torch.cartesian_prod(torch.arange(3), torch.arange(4), torch.arange(4)).tolist():
            for sign in (1, -1):
                moved = maps.clone()
                moved[:, k, y, x] += sign * epsilon
                alpha[:, k] += sign * rest(moved)[:, 2] / (2 * epsilon) / 16
        heat = (alpha[:, :, None, None] * maps).sum(1, keepdim=True).clamp(min=0)
    with GradCAM(model, "0") as cam:
        torch.testing.assert_close(cam(images, 2), normalised(heat, (6, 6)).float(), rtol=1e-5, atol=1e-6)


def test_each_image_is_by_itself(model, images):
    with GradCAM(model, "layer3") as cam:
        together, alone = cam(images), torch.cat([cam(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_range_and_maximum(model, images):
    with GradCAM(model, LAYERS) as cam:
        for heat in cam(images):
            assert heat.min() >= 0 and heat.max() <= 1
            assert all(m in (0, 1) for m in heat.amax(dim=(1, 2)).tolist())


def test_all_zero_stays_zero(images):
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 32 * 32, 4))
    nn.init.constant_(model[3].weight, -1)  # the more there is, the less it speaks for the class
    with GradCAM(model, "1") as cam:
        assert not cam(images).any()


def test_targets(model, images):
    predicted = model(images).argmax(1)
    with GradCAM(model, "layer2") as cam:
        default = cam(images)
        for same in (predicted, predicted.tolist(), predicted.int()):
            torch.testing.assert_close(cam(images, same), default)
        torch.testing.assert_close(cam(images, 7), cam(images, [7] * 5))


def test_several_layers_in_one_pass(model, images):
    calls = []
    hook = model.fc.register_forward_hook(lambda *_: calls.append(1))
    layers = ["layer4", model.layer2, "layer3.1.conv1", "layer1"]
    with GradCAM(model, layers) as cam:
        several = cam(images)
    hook.remove()
    assert len(calls) == 1
    for layer, heat in zip(layers, several, strict=True):
        with GradCAM(model, layer) as cam:
            torch.testing.assert_close(heat, cam(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", LAYERS)
def test_all_classes(model, images, layer):
    heat = all_classes(model, layer, images)
    assert heat.shape == (5, 10, 32, 32)
    with GradCAM(model, layer) as cam:
        for c in range(10):
            torch.testing.assert_close(heat[:, c], cam(images, c), rtol=1e-4, atol=1e-5)


def test_at_the_last_stage_it_is_cam(model, images):
    """alpha is the linear layer's weight over the number of positions (Zhou et al. 2016)."""
    maps = model.features(images)["layer4"]
    cam_by_hand = torch.einsum("kc,nchw->nkhw", model.fc.weight, maps).clamp(min=0).detach()
    with GradCAM(model, "layer4") as cam:
        for c in (0, 9):
            torch.testing.assert_close(cam(images, c), normalised(cam_by_hand[:, c : c + 1], (32, 32)))


def state(model):
    flags = [module.training for module in model.modules()], [p.requires_grad for p in model.parameters()]
    hooks = [len(module._forward_hooks) + len(module._backward_hooks) for module in model.modules()]
    return flags, hooks, [p.grad for p in model.parameters()], torch.is_grad_enabled()


def test_nothing_is_left_behind(model, images):
    model.train()
    model.layer2.eval()
    model.layer1[0].conv1.weight.requires_grad_(False)
    before, buffers = state(model), [b.clone() for b in model.buffers()]
    with GradCAM(model, ["layer3", "layer4"]) as cam:
        cam(images)
        cam(images, 3)
        with pytest.raises(ValueError, match="targets"):
            cam(images, 10)
    all_classes(model, "layer3", images)
    assert state(model) == before
    assert all(torch.equal(b, c) for b, c in zip(model.buffers(), buffers, strict=True))


def test_nothing_is_left_behind_after_an_exception(model, images):
    before = state(model)
    with pytest.raises(RuntimeError), GradCAM(model, "layer1") as cam:
        cam(images[:, :2])  # two channels
    with pytest.raises(ZeroDivisionError), GradCAM(model, "layer1"):
        raise ZeroDivisionError
    assert state(model) == before


def test_no_parameter_gradient_is_computed(model, images):
    wanted = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if "convolution_backward" in str(function):
                wanted.append(args[-1])  # for its input, weight and bias
            return function(*args, **(kwargs or {}))

    with Watch(), GradCAM(model, "layer2") as cam:
        cam(images)
    assert len(wanted) == 10  # the convolutions and projections of layer3 and layer4, none before
    assert all(mask == [True, False, False] for mask in wanted)


def test_another_call_of_the_model_is_left_alone(model, images):
    with GradCAM(model, "layer2") as first, GradCAM(model, "layer3") as second:
        expected = first(images)
        with torch.no_grad():
            assert not model(images).requires_grad
        second(images)
        torch.testing.assert_close(first(images), expected)
    with pytest.raises(ValueError, match="in its `with`"):
        first(images)


def test_targets_and_images_of_inference_mode(model, images):
    with torch.inference_mode():
        targets, copies = model(images).argmax(1), images.clone()
    whole = nn.Sequential(nn.Identity(), model)
    with GradCAM(whole, ["0", "1.layer3"]) as cam:
        for heat, expected in zip(cam(copies, targets), cam(images, targets.tolist()), strict=True):
            torch.testing.assert_close(heat, expected)


class TwoConvolutions(nn.Module):
    """`how` says what happens to the output of `first` before `second` gets it."""

    def __init__(self, how=None):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.fc = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3), nn.Linear(4, 10)
        self.how = how

    def forward(self, x):
        if self.how == "no_grad":
            with torch.no_grad():
                x = self.first(x).relu()
        elif self.how == "no_grad, only around the layer":
            with torch.no_grad():
                x = self.first(x)
            x = x.relu()
        elif self.how == "detach":
            x = self.first(x).relu().detach()
        elif self.how == "ignored":
            self.first(x)
            x = x.repeat(1, 2, 1, 1)[:, :4]
        else:
            x = self.first(x).relu()
        return self.fc(self.second(x).mean(dim=(2, 3)))


@pytest.mark.parametrize("how", ["no_grad", "detach", "ignored"])
def test_a_layer_that_is_cut_off_is_told(images, how):
    for layers in ("first", ["second", "first"]):
        with GradCAM(TwoConvolutions(how), layers) as cam, pytest.raises(ValueError, match="not depend on first in a"):
            cam(images)
        with pytest.raises(ValueError, match="Choose another layer"):
            all_classes(TwoConvolutions(how), layers, images)
    with GradCAM(TwoConvolutions(how), "second") as cam:
        assert cam(images).any()


def test_no_grad_around_the_layer_alone_does_no_harm(images):
    found = []
    for how in (None, "no_grad, only around the layer"):
        with GradCAM(TwoConvolutions(how), "first") as cam:
            found.append(cam(images, 3))
    assert found[0].any() and torch.equal(*found)


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
def test_channels_last_maps(size):
    """(N, h, w, C), as in Swin transformers: the same heatmaps with the argument, and refused without it."""

    class LikeSwin(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.fc = nn.Conv2d(3, 12, 4, 4), nn.LayerNorm(12), nn.Linear(12, 5)
            self.back = nn.Identity()

        def forward(self, x):
            maps = self.norm(self.conv(x).permute(0, 2, 3, 1))
            return self.fc(self.back(maps.permute(0, 3, 1, 2)).square().mean(dim=(2, 3)))

    torch.manual_seed(0)
    model, images = LikeSwin(), torch.randn(2, 3, *size)
    with GradCAM(model, "back") as cam:
        expected = cam(images, 1)
    with GradCAM(model, "norm", channels_last=True) as cam:
        assert expected.any() and torch.equal(cam(images, 1), expected)
    found = all_classes(model, "norm", images, channels_last=True)
    assert torch.equal(found, all_classes(model, "back", images))
    with GradCAM(model, "norm") as cam, pytest.raises(ValueError, match=r"norm, \(2, .* 12\), .* channels_last=True"):
        cam(images, 1)
    with GradCAM(model, "norm", channels_last=False) as cam:
        assert cam(images, 1).shape == (2, *size)  # whoever insists


def test_all_classes_of_several_layers(model, images):
    for layer, heat in zip(LAYERS, all_classes(model, LAYERS, images), strict=True):
        torch.testing.assert_close(heat, all_classes(model, layer, images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", ["layer3", "module.layer3"])
def test_data_parallel(model, images, layer):
    with GradCAM(model, "layer3") as cam, GradCAM(nn.DataParallel(model), layer) as parallel:
        assert torch.equal(cam(images), parallel(images))


def compiled_whole(model):
    return torch.compile(model, backend="eager")


def compiled_in_place(model):
    model.compile(backend="eager")
    return model


def compiled_in_part(model):
    model.layer3 = torch.compile(model.layer3, backend="eager")
    return model


@pytest.mark.parametrize("compiled", [compiled_whole, compiled_in_place, compiled_in_part])
def test_a_compiled_model(model, images, compiled):
    with GradCAM(model, ["layer2", "layer4"]) as cam:
        expected = cam(images)
    model = compiled(model)
    with torch.no_grad():
        model(images)  # compiled now, without hooks
    with GradCAM(model, ["layer2", "layer4"]) as cam:
        for heat, same in zip(cam(images), expected, strict=True):
            torch.testing.assert_close(heat, same, rtol=1e-4, atol=1e-5)


def test_a_bf16_model(model, images):
    with GradCAM(model, "layer3") as cam:
        expected = cam(images, 0)
        model.bfloat16()
        heat = cam(images.bfloat16(), 0)
    assert heat.dtype == torch.float32
    assert (heat - expected).abs().mean() < 0.05


def test_a_model_made_in_inference_mode_is_refused(images):
    with torch.inference_mode():
        model = ResNet((1, 1), width=4)
    with pytest.raises(ValueError, match=r"weights were made in torch.inference_mode\(\): build or load it outside"):
        GradCAM(model, "layer1")


def test_in_place_operations_do_not_change_the_maps(images):
    """An in-place ReLU on what the layer gives, and one on what it was given and passed through."""

    class InPlace(nn.Module):
        def __init__(self, inplace):
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.same, self.fc, self.inplace = nn.Conv2d(3, 4, 3), nn.Identity(), nn.Linear(4, 5), inplace

        def forward(self, x):
            x = self.conv(x)
            passed = self.same(x)
            positive, negative = F.relu(passed, inplace=self.inplace), F.relu(-x)
            if self.inplace:
                F.relu(x, inplace=True)
            return self.fc((positive - negative).mean(dim=(2, 3)))

    with GradCAM(InPlace(True), "same") as cam, GradCAM(InPlace(False), "same") as expected:
        assert cam(images, 2).any() and torch.equal(cam(images, 2), expected(images, 2))


def test_no_images(model, images):
    with GradCAM(model, "layer2") as cam:
        assert cam(images[:0]).shape == cam(images[:0], []).shape == (0, 32, 32)


def test_parts_of_a_graph_are_not_kept(model, images):
    """The graph begins at the first of the layers: no convolution before it is recorded."""
    recorded = []
    for name in ("layer1", "layer2", "layer4"):
        model.get_submodule(name).register_forward_hook(lambda m, x, y: recorded.append(y.requires_grad))
    with GradCAM(model, "layer3") as cam:
        cam(images)
    assert recorded == [False, False, True]


def test_a_shared_module_counts_where_it_is_called_last():
    torch.manual_seed(0)
    relu = nn.ReLU()
    model = nn.Sequential(nn.Conv2d(3, 4, 3), relu, nn.Conv2d(4, 4, 3), relu, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    images = torch.randn(2, 3, 9, 9)
    maps = model[:4](images)
    expected = normalised(maps[:, [1]].detach(), (9, 9))  # logit 1 is the mean of map 1
    for name in ("1", "3"):
        with GradCAM(model, name) as cam:
            torch.testing.assert_close(cam(images, 1), expected)


def test_training_goes_on_in_the_same_autocast_block(model, images):
    with torch.autocast("cpu", torch.bfloat16), GradCAM(model, "layer3") as cam:
        cam(images)
        model(images).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_grad_mode_does_not_matter(model, images, mode):
    with GradCAM(model, "layer3") as cam:
        expected = cam(images)
        with mode():
            torch.testing.assert_close(cam(images.clone()), expected)
            assert not torch.is_grad_enabled()
        for p in model.parameters():
            p.requires_grad_(False)
        torch.testing.assert_close(cam(images), expected)


def test_train_mode_does_not_matter(model, images):
    with GradCAM(model, "layer3") as cam:
        expected = cam(images)
        model.train()
        torch.testing.assert_close(cam(images), expected)


def test_bf16_and_channels_last(model, images):
    with GradCAM(model, "layer4") as cam:
        expected = cam(images, 0)
        model.to(memory_format=torch.channels_last)
        torch.testing.assert_close(cam(images.to(memory_format=torch.channels_last), 0), expected, rtol=1e-4, atol=1e-5)
        with torch.autocast("cpu", torch.bfloat16):
            heat = cam(images, 0)
    assert heat.dtype == torch.float32
    assert (heat - expected).abs().mean() < 0.05


def test_bad_input_is_refused_in_words(model, images):
    with pytest.raises(ValueError, match="no layer 'layer5'; its layers are stem, stem.0"):
        GradCAM(model, "layer5")
    with pytest.raises(ValueError, match="no layer in the list"):
        GradCAM(model, [])
    with pytest.raises(ValueError, match="scripted or traced model hides its layers"):
        GradCAM(torch.jit.trace(nn.Sequential(nn.Conv2d(3, 3, 1)), images), "0")
    with pytest.raises(ValueError, match="this Conv2d is not a layer of the model"):
        GradCAM(model, nn.Conv2d(3, 3, 1))
    with pytest.raises(ValueError, match=r"output of fc is no .* but \(5, 10\)"), GradCAM(model, "fc") as cam:
        cam(images)
    for wrong in (images[0], images.numpy()):
        with pytest.raises(ValueError, match=r"images must be a tensor \(N, C, H, W\), not"):
            GradCAM(model, "layer1")(wrong)
    pooling = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveMaxPool2d(1, return_indices=True))
    with pytest.raises(ValueError, match="output of 1 is no .* but a tuple"), GradCAM(pooling, "1") as cam:
        cam(images)
    model.unused = nn.Conv2d(3, 3, 1)
    with pytest.raises(ValueError, match="did not call unused"), GradCAM(model, "unused") as cam:
        cam(images)
    with pytest.raises(ValueError, match="in its `with`"):
        GradCAM(model, "layer1")(images)
    with GradCAM(model, "layer1") as cam:
        for targets, message in [
            (10, r"lie in 0\.\.9: the model has 10 classes"),
            ([0, 1, 2, 3, -1], r"lie in 0\.\.9"),
            ([1, 2], "5 images need one target each, not 2"),
            (0.5, "class numbers"),
            ("cat", "class numbers .*not 'cat'"),
            (["cat"] * 5, "class numbers"),
            ([None] * 5, "class numbers"),
            ([[0], [1, 2]], "class numbers"),
            (True, "class numbers .*bool"),
            (2**70, "class numbers"),
            ([], "5 images need one target each, not 0"),
            (torch.zeros(5, 1).long(), "class numbers"),
        ]:
            with pytest.raises(ValueError, match=message):
                cam(images, targets)
    segmenter = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 1))
    with pytest.raises(ValueError, match=r"logits \(N, K\), not \(5, 5, 32, 32\)"), GradCAM(segmenter, "0") as cam:
        cam(images)


def test_cifar_resnet_of_any_depth(images):
    model = randomised(ResNet((1, 1, 1), width=8))
    with GradCAM(model, "layer3") as cam:
        assert cam(images).shape == (5, 32, 32)
