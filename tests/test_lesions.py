import pytest
import torch

from lab1 import ResNet
from lab1.analysis.lesions import lesion_errors, removable_blocks, removed


@pytest.fixture
def images():
    return torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_which_blocks_can_go():
    assert removable_blocks(ResNet((2, 2), width=4)) == ["layer1.0", "layer1.1", "layer2.0", "layer2.1"]
    assert removable_blocks(ResNet((2, 2), width=4, skip=False)) == ["layer1.0", "layer1.1", "layer2.1"]


@pytest.mark.parametrize("skip", [True, False])
def test_the_input_goes_on(images, skip):
    model = ResNet((2,), width=4, skip=skip).eval()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    with removed(model, "layer1.1"):
        out = model.features(images)["layer1"]
    assert torch.equal(out, model.layer1[0](model.stem(images)))
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_a_projection_stays(images):
    model = ResNet((1, 1), width=4).eval()
    with removed(model, "layer2.0"):
        out = model.features(images)["layer2"]
    assert torch.equal(out, model.layer2[0].projection(model.features(images)["layer1"]).relu())


def test_it_comes_back_after_an_exception():
    model = ResNet((1,), width=4)
    block = model.layer1[0]
    with pytest.raises(KeyError), removed(model, "layer1.0"):
        raise KeyError
    assert model.layer1[0] is block


def test_errors(images):
    model = ResNet((1, 1), width=4).train()
    with torch.no_grad():
        labels = model.eval()(images).argmax(1)
        with removed(model, "layer1.0"):
            expected = (model(images).argmax(1) != labels).float().mean().item()
    errors = lesion_errors(model.train(), images, labels, batch_size=4)
    assert list(errors) == ["none", "layer1.0", "layer2.0"]
    assert errors["none"] == 0
    assert errors["layer1.0"] == pytest.approx(expected)
    assert model.training


def test_a_block_that_cannot_go():
    with pytest.raises(ValueError, match="layer2.0"), removed(ResNet((1, 1), width=4, skip=False), "layer2.0"):
        pass
