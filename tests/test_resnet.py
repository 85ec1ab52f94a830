import pytest
import torch
import torchvision
from torch import nn

from lab1 import ResNet, ResNet18
from lab1.models.resnet import BasicBlock


def num_parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_number_of_parameters():
    assert num_parameters(ResNet18()) == 11_173_962
    projections = sum(num_parameters(m) for name, m in ResNet18().named_modules() if name.endswith("projection"))
    assert num_parameters(ResNet18(skip=False)) == 11_173_962 - projections == 11_000_138


def test_same_function_as_the_resnet18_of_the_literature():
    """torchvision's ResNet18 with the CIFAR stem, an independent implementation, weights copied in order."""
    torch.manual_seed(0)
    reference = torchvision.models.resnet18(num_classes=10)
    reference.conv1, reference.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    for module in reference.modules():
        if isinstance(module, nn.BatchNorm2d):  # otherwise a wrong order of BatchNorms would go unseen
            nn.init.uniform_(module.weight), nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean), nn.init.uniform_(module.running_var, 0.5, 2)
    model = ResNet18()
    states = zip(model.state_dict(), reference.state_dict().values(), strict=True)
    model.load_state_dict(dict(states))
    images = torch.randn(4, 3, 32, 32)
    for mode in (True, False):
        torch.testing.assert_close(model.train(mode)(images), reference.train(mode)(images), rtol=1e-4, atol=1e-4)


def test_plain_network_is_the_residual_one_without_its_shortcuts():
    """The same convolutions in the same order: with the residual network's shortcuts cut by hand they agree."""
    torch.manual_seed(0)
    residual, plain = ResNet18(width=8), ResNet18(width=8, skip=False)
    main_path = {k: v for k, v in residual.state_dict().items() if "projection" not in k}
    assert list(main_path) == list(plain.state_dict())
    plain.load_state_dict(main_path)
    images = torch.randn(2, 3, 32, 32)
    assert not torch.allclose(residual(images), plain(images))
    for module in residual.modules():
        if isinstance(module, BasicBlock):
            module.skip = False
    torch.testing.assert_close(residual(images), plain(images))


@pytest.mark.parametrize(("n", "published"), [(3, 0.27e6), (5, 0.46e6), (9, 0.85e6), (18, 1.7e6)])
def test_cifar_networks_have_the_published_size(n, published):
    """He et al. 2016, Table 6: number of parameters of ResNet-20, -32, -56, -110 (their shortcuts have none)."""
    assert num_parameters(ResNet((n, n, n), width=16, skip=False)) == pytest.approx(published, rel=0.02)


def test_depth_counts_convolutions_and_the_linear_layer():
    for n in (1, 3, 9):
        model = ResNet((n, n, n), width=4)
        weights = [name for name, p in model.named_parameters() if p.ndim >= 2 and "projection" not in name]
        assert len(weights) == 6 * n + 2


def test_registration_order_in_a_block():
    assert list(dict(BasicBlock(4, 8, 2).named_children())) == ["conv1", "bn1", "conv2", "bn2", "projection"]
    assert BasicBlock(4, 4).projection is None
    assert BasicBlock(4, 8, 2, skip=False).projection is None


def test_features_have_strides_1_2_4_8():
    model = ResNet18(num_classes=7, in_channels=1, width=8)
    features = model.features(torch.randn(2, 1, 28, 28))
    shapes = {name: tuple(x.shape[1:]) for name, x in features.items()}
    assert shapes == {
        "stem": (8, 28, 28),
        "layer1": (8, 28, 28),
        "layer2": (16, 14, 14),
        "layer3": (32, 7, 7),
        "layer4": (64, 4, 4),
    }
    logits = model.fc(features["layer4"].mean(dim=(2, 3)))
    assert logits.shape == (2, 7)
    assert all(x.min() >= 0 for x in features.values())
    assert model.eval()(torch.randn(1, 1, 8, 8)).shape == (1, 7)


def test_block_with_nothing_to_add_is_the_identity():
    x = torch.rand(2, 4, 5, 5)
    for skip, expected in ((True, x), (False, torch.zeros_like(x))):
        block = BasicBlock(4, 4, skip=skip)
        nn.init.zeros_(block.bn2.weight)
        assert torch.equal(block(x), expected)


def test_without_norm_there_is_no_batchnorm_but_a_bias():
    model = ResNet((1, 1), width=4, norm=False)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert all(m.bias is not None for m in model.modules() if isinstance(m, nn.Conv2d))
    assert all(m.bias is None for m in ResNet((1, 1), width=4).modules() if isinstance(m, nn.Conv2d))


def test_initialisation_keeps_the_variance_of_he_et_al():
    torch.manual_seed(0)
    weight = ResNet18().layer3[1].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("wrong", [{"blocks": ()}, {"blocks": (2, 0)}, {"width": 0}, {"in_channels": -1}])
def test_sizes_below_one_are_refused(wrong):
    with pytest.raises(ValueError, match="at least 1"):
        ResNet(**{"blocks": (1, 1), **wrong})
