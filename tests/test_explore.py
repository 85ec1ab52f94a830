"""The explorers: what a slider changes, how fast, and what is left where there are no widgets."""

import io
import time

import numpy as np
import pytest
import torch
from PIL import Image

from lab1 import ResNet18, ResNet18FCN, explore
from lab1.data import ImageSet
from lab1.explore import canvas, panel

KINDS = ("skip, BatchNorm", "no skip, BatchNorm", "skip, no BatchNorm", "no skip, no BatchNorm")


@pytest.fixture
def shown(monkeypatch):
    """What was displayed: (mimebundle, metadata)."""
    displayed = []
    monkeypatch.setattr("IPython.display.display", lambda data, metadata, raw: displayed.append((data, metadata)))
    return displayed


@pytest.fixture
def controls(monkeypatch):
    """The controls of the panel that is shown, by name, and its picture."""
    kept = {}
    original = panel.show

    def show(widgets, draw, alt):
        kept.update(widgets)
        original(widgets, draw, alt)

    monkeypatch.setattr(panel, "show", show)
    return kept


def colour_images():
    images = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return ImageSet(images, torch.arange(6), (0.5,) * 3, (0.25,) * 3)


def profiles(depths=(8, 20, 110)):
    generator = np.random.default_rng(0)
    return {(kind, depth): generator.uniform(0.1, 10, (2, depth)) for kind in KINDS for depth in depths}


def picture(shown):
    """The picture in the latest panel's widget, as an array."""
    import ipywidgets

    model = shown[-1][0]["application/vnd.jupyter.widget-view+json"]["model_id"]
    [image] = [w for w in ipywidgets.Widget.widgets[model].children if isinstance(w, ipywidgets.Image)]
    return np.asarray(Image.open(io.BytesIO(image.value)))


def test_a_gradient_profile_follows_the_slider_in_time(shown, controls):
    explore.gradients(profiles(), "made up")
    before = picture(shown)
    seconds = []
    for depth in (8, 110, 20, 8, 110):
        start = time.perf_counter()
        controls["depth"].value = depth
        seconds.append(time.perf_counter() - start)
    assert (picture(shown) != before).any()
    assert sorted(seconds)[2] < 0.2
    drawn = picture(shown)
    controls["skip"].value = False
    assert (picture(shown) != drawn).any()


def test_the_chosen_profile_is_the_mean_over_seeds():
    from lab1.explore.depth import Profile

    initial = profiles()
    profile = Profile(initial, "made up")
    profile.draw(20, skip=False, norm=True)
    x, y = profile.lines["no skip, BatchNorm"].get_data()
    np.testing.assert_allclose(y, np.exp(np.log(initial["no skip, BatchNorm", 20]).mean(0)))
    assert x[0] == 0 and x[-1] == 1 and len(x) == 20


def test_heatmaps_of_two_classes(shown, controls):
    torch.manual_seed(0)
    model = ResNet18(width=8)
    explore.gradcam(model, colour_images(), tuple("abcdefghij"), "made up")
    pictures = [picture(shown)]
    for name, value in {"image": 3, "layer": "layer2", "first": "c", "second": "d"}.items():
        controls[name].value = value
        pictures.append(picture(shown))
    for before, after in zip(pictures, pictures[1:], strict=False):
        assert before.shape == after.shape and (before != after).any()


def test_digits_are_placed_moved_and_scaled(shown, controls, digits):
    images, labels = digits
    pictures = {int(label): image for image, label in zip(images, labels, strict=True)}
    label = min(pictures)
    [small] = canvas.compose(pictures, [(str(label), 10, 20, 1.0)], 96).digits.boxes.tolist()
    [moved] = canvas.compose(pictures, [(str(label), 15, 22, 1.0)], 96).digits.boxes.tolist()
    assert [a - b for a, b in zip(moved, small, strict=True)] == [5, 2, 5, 2]
    [large] = canvas.compose(pictures, [(str(label), 10, 20, 2.0)], 96).digits.boxes.tolist()
    assert large[2] - large[0] > 1.5 * (small[2] - small[0])
    [inside] = canvas.compose(pictures, [(str(label), 95, 95, 1.0)], 96).digits.boxes.tolist()
    assert max(inside) <= 96
    assert len(canvas.compose(pictures, [], 96).digits.labels) == 0

    torch.manual_seed(0)
    explore.segmentation(ResNet18FCN(width=8), ImageSet(images, labels, (0.13,), (0.3,)), "made up")
    before = picture(shown)
    controls["x 0"].value = 40
    assert (picture(shown) != before).any()
    for i in range(3):
        controls[f"digit {i}"].value = canvas.NOTHING
    assert picture(shown).shape == before.shape


def test_without_widgets_there_is_the_figure(shown, monkeypatch):
    monkeypatch.setattr(panel, "library", lambda: None)
    explore.gradients(profiles(), "made up")
    explore.gradcam(ResNet18(width=8), colour_images(), tuple("abcdefghij"), "made up")
    assert [set(data) for data, _ in shown] == [{"image/png", "text/plain"}] * 2
    assert all(metadata["image/png"]["alt"] for _, metadata in shown)


def test_with_widgets_the_figure_is_there_too(shown):
    explore.gradients(profiles(), "made up")
    [(data, metadata)] = shown
    assert {"image/png", "application/vnd.jupyter.widget-view+json"} <= set(data)
    assert Image.open(io.BytesIO(data["image/png"])).size[0] > 400 and metadata["image/png"]["alt"]
