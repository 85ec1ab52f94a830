import matplotlib.pyplot as plt
import numpy as np
import pytest

from lab1.plots import residual
from lab1.plots.full_cifar import growth, growth_while_training


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_signals_are_means_over_seeds():
    measured = {
        (kind, depth): {"gradient": np.array([[1.0, 10], [100, 1000]]), "cosine": np.array([[0.2, 0.4], [0.4, 0.8]])}
        for kind in ("skip", "no skip")
        for depth in (8, 20)
    }
    figure = residual.signals(measured, {"gradient": "gradient", "cosine": "similarity"}, "made up")
    gradient, cosine = figure.axes[:2]
    assert [axis.get_title() for axis in figure.axes[:2]] == ["gradient", "similarity"]
    assert gradient.get_yscale() == "log"
    np.testing.assert_allclose(gradient.lines[0].get_ydata(), [10, 100])
    np.testing.assert_allclose(cosine.lines[1].get_ydata(), [0.3, 0.6])


def test_lesions_mark_blocks_that_change_the_shape():
    errors = {"none": 0.1, "layer1.0": 0.2, "layer1.1": 0.3, "layer2.0": 0.9}
    figure = residual.lesions({"residual, 8 layers": errors}, "made up")
    points = figure.axes[0].collections[0]
    np.testing.assert_allclose(points.get_offsets(), [[1, 0.2], [2, 0.3], [3, 0.9]])
    faces = points.get_facecolors()
    assert (faces[0] == faces[1]).all() and (faces[1] != faces[2]).any()


def test_shattering_shows_the_mean():
    figure = residual.shattering({"plain": {20: np.array([[1.0, 0.2], [1.0, 0.4]])}}, "made up")
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), [1, 0.3])


def test_landscapes_share_a_scale():
    surfaces = {"residual": np.full((3, 3), 1.0), "plain": np.full((3, 3), 8.0)}
    surfaces["residual"][1, 1] = 0.5
    figure = residual.loss_landscape(surfaces, 1.0, "made up")
    limits = [axis.collections[0].get_clim() for axis in figure.axes[:2]]
    assert limits[0] == limits[1] == pytest.approx((0.5, 8.0))


def test_branch_ratios_beside_the_square_root():
    measured = {f"stage {i}": np.array([[1.0, 0.7, 0.6], [1.2, 0.9, 0.6]]) for i in (1, 2, 3)}
    axis = residual.branch_ratios(measured, "made up").axes[0]
    *stages, reference = axis.lines
    assert len(stages) == 3
    np.testing.assert_allclose(stages[2].get_xydata(), [[1, 1.1], [2, 0.8], [3, 0.6]])
    np.testing.assert_allclose(reference.get_ydata(), [1, 2**-0.5, 3**-0.5])


def test_growth_compares_the_first_with_the_last_convolution():
    steps = np.arange(100)
    names = ("stem.0", "layer1.0.conv1", "layer1.0.projection.0", "layer1.0.conv2", "fc")
    layers = [f"{name}.weight" for name in names]
    grad_norm = np.full((100, 5), [9.0, 8.0, 7.0, 2.0, 1.0])
    weight_norm = np.full((100, 5), [1.0, 3.0, 1.0, 4.0, 1.0])
    history = {"layers": layers, "epoch": [0, 1], "train/loss": [2.0, 1.0]}
    record = {"history": history, "steps": steps, "grad_norm": grad_norm, "weight_norm": weight_norm}
    found_steps, factor = growth(record)
    assert (found_steps == steps).all() and np.allclose(factor, 8 * 3 / (2 * 4))
    left, right, *_ = growth_while_training({"plain": record}, "some data").axes
    assert np.allclose(left.lines[0].get_ydata(), 3) and left.lines[0].get_xdata()[0] == 1
    assert list(right.lines[0].get_ydata()) == [2.0, 1.0]
