import pytest
import torch
import torch.nn.functional as F

from lab1 import ResNet
from lab1.analysis.landscape import filter_normalised_direction, loss_surface


@pytest.fixture
def model():
    torch.manual_seed(0)
    return ResNet((1,), width=4)


def test_every_filter_keeps_its_length(model):
    direction = filter_normalised_direction(model, torch.Generator().manual_seed(0))
    assert set(direction) == {name for name, p in model.named_parameters() if p.ndim >= 2}
    for name, d in direction.items():
        weight = model.get_parameter(name)
        assert torch.allclose(d.flatten(1).norm(dim=1), weight.flatten(1).norm(dim=1), rtol=1e-4)


def test_the_middle_and_a_corner(model):
    images, labels = torch.randn(8, 3, 8, 8), torch.arange(8)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    surface = loss_surface(model.eval(), images, labels, num_points=3, span=0.5, seed=1)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert not model.training
    generator = torch.Generator().manual_seed(1)
    first, second = (filter_normalised_direction(model, generator) for _ in range(2))
    model.train()
    assert surface[1, 1] == pytest.approx(F.cross_entropy(model(images), labels).item(), rel=1e-4)
    with torch.no_grad():
        for name in first:
            model.get_parameter(name).add_(0.5 * first[name] - 0.5 * second[name])
    assert surface[2, 0] == pytest.approx(F.cross_entropy(model(images), labels).item(), rel=1e-4)


@pytest.mark.parametrize("options", [{"num_points": 4}, {"span": 0.0}])
def test_wrong_grids(model, options):
    with pytest.raises(ValueError, match="must be odd"):
        loss_surface(model, torch.randn(2, 3, 8, 8), torch.arange(2), **options)
