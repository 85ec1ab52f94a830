import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from lab1 import ResNet, ResNet18FCN, plots, training
from lab1.analysis.detection import find_digits
from lab1.analysis.gradients import epoch_rows
from lab1.analysis.segmentation import digit_canvas, label_map


@pytest.fixture(scope="module")
def histories():
    result = {}
    images, labels = torch.randn(16, 3, 8, 8), torch.randint(0, 4, (16,))
    batches = [(images[:8], labels[:8]), (images[8:], labels[8:])]
    for skip, name in ((True, "with skip connections"), (False, "without skip connections")):
        result[name] = []
        for seed in range(2):
            model = ResNet((1, 1), num_classes=4, width=4, skip=skip)
            result[name] += [training.fit(model, batches, batches, num_epochs=3, record_gradients=True, seed=seed)]
    return result


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def test_every_figure_names_its_data(histories, tiny):
    limits = plots.gradient_limits(histories, [0, 2])
    initial = {(kind, depth): np.ones((3, depth)) for kind in "abcd" for depth in (8, 20)}
    figures = [
        plots.learning_curves(histories, "Shapes-10"),
        plots.gradient_norms(histories, [0, 2], limits, "Shapes-10"),
        plots.gradient_comparison(histories, [0, 2], "Shapes-10"),
        plots.gradient_heatmap(histories, "Shapes-10"),
        plots.initial_gradients(initial, "Shapes-10"),
        plots.examples(tiny(), tuple("abcd"), "Shapes-10"),
    ]
    for figure in figures:
        assert isinstance(figure, Figure)
        assert any("Shapes-10" in text.get_text() for text in figure.texts)
        figure.canvas.draw()


def test_figures_of_depth_studies(tiny):
    kinds = ("with residual connections", "without residual connections")
    losses = {kind: {2: [0.5, 0.7], 64: [0.1 + i, 0.3 + i]} for i, kind in enumerate(kinds)}
    figure = plots.against_depth({"training loss": losses, "validation error": losses}, "MNIST")
    left, right = figure.axes
    line, *seeds = left.lines[3:6]  # of the second kind: the median, and a point for each training
    np.testing.assert_allclose(line.get_xydata(), [[2, 0.6], [64, 1.2]])
    np.testing.assert_allclose([points.get_ydata() for points in seeds], [[0.5, 1.1], [0.7, 1.3]])
    assert line.get_marker() == "None" and {points.get_linestyle() for points in seeds} == {"None"}
    assert [left.get_title(), right.get_title()] == ["training loss", "validation error"]
    assert right.yaxis.get_major_formatter()(0.5).startswith("50")  # errors are percentages, losses are not
    pictures = plots.pictures(tiny().images[:8], [f"image {i}" for i in range(8)], "MNIST")
    assert len(pictures.axes) == 12 and pictures.axes[7].get_title() == "image 7"
    for drawn in (figure, pictures):
        assert any("MNIST" in text.get_text() for text in drawn.texts)
        drawn.canvas.draw()


def test_figures_of_segmentations_name_their_data(digits):
    images, labels = digits
    target = label_map(images[:1], labels[:1])[0]
    canvas = digit_canvas(images, labels, size=(64, 96))
    found = find_digits(canvas.targets)
    figures = [
        plots.fcn_architecture(ResNet18FCN(width=8, stride=2), torch.rand(1, 1, 16, 24), "MNIST"),
        plots.segmentation(images[0, 0], target.flip(0), target, "upside down", "MNIST"),
        plots.detections([(canvas.images[0, 0], canvas.targets[0], found, canvas.digits)] * 2, "MNIST"),
        plots.confusion(torch.eye(11).tolist(), [*"0123456789", "background"], "MNIST"),
    ]
    for figure in figures:
        assert any("MNIST" in text.get_text() for text in figure.texts)
        figure.canvas.draw()


@pytest.fixture
def explained():
    """Four images (4, 8, 8, 3), heatmaps (4, 8, 8), masks (4, 8, 8) bool."""
    rng = np.random.default_rng(0)
    heat = rng.random((4, 8, 8))
    return rng.random((4, 8, 8, 3)), heat / heat.max(axis=(1, 2), keepdims=True), heat > 0.6


def test_figures_of_heatmaps_name_their_data(explained):
    images, heat, masks = explained
    maps, gradient = np.random.rand(6, 4, 4), np.random.rand(6, 4, 4) - 0.5
    curves = {name: np.random.rand(9, 5) for name in ("layer3", "layer3, another image's", "random")}
    figures = [
        plots.heatmaps(
            images, {"layer3": heat, "layer4": heat}, ["cat"] * 4, "CIFAR-10", right=[True] * 4, masks=masks
        ),
        plots.gradcam_method(images[0], maps, gradient, heat[0], "layer3", "cat", "CIFAR-10"),
        plots.faithfulness_curves({"deletion": curves, "insertion": curves}, "CIFAR-10"),
        plots.randomisation({"layer3": heat[:3, 0]}, {"layer3": heat[0, 0]}, ["fc", "b", "c"], "CIFAR-10"),
    ]
    for figure in figures:
        assert any("CIFAR-10" in text.get_text() for text in figure.texts)
        figure.canvas.draw()


def test_heatmaps_mark_the_hottest_pixel_and_mistakes(explained):
    images, heat, masks = explained
    figure = plots.heatmaps(images, {"layer3": heat}, ["cat"] * 4, "", right=[True, False] * 2, masks=masks)
    top, bottom = figure.axes[:4], figure.axes[4:8]
    assert [axis.title.get_color() for axis in top] == [plots.BLUE, plots.VERMILION] * 2
    for axis, values in zip(bottom, heat, strict=True):
        (cross,) = axis.lines
        assert values[int(cross.get_ydata()[0]), int(cross.get_xdata()[0])] == 1


def test_faithfulness_curves_show_mean_and_its_interval():
    values = np.random.default_rng(0).random((50, 5))
    axis = plots.faithfulness_curves({"deletion": {"layer3": values}, "insertion": {"layer3": values}}, "").axes[0]
    np.testing.assert_allclose(axis.lines[0].get_ydata(), values.mean(axis=0))
    half = 1.96 * values.std(0, ddof=1) / 50**0.5
    bars = [path.vertices[:, 1] for path in axis.collections[0].get_paths()]
    np.testing.assert_allclose(bars, np.transpose([values.mean(0) - half, values.mean(0) + half]))


def test_grad_cam_drawing_shows_maps_for_and_against_the_class(explained):
    """Their weights with the signs; the rows follow the weight times the mean of the map."""
    images, heat, _ = explained
    maps, weights = np.ones((6, 4, 4)), np.array([0.1, -0.3, 0.5, 0, -0.2, 0.4])
    gradient = np.broadcast_to(weights[:, None, None], (6, 4, 4))
    figure = plots.gradcam_method(images[0], maps, gradient, heat[0], "layer3", "cat", "")
    texts = [text.get_text() for text in figure.texts]
    shown = [text for text in texts if r"\alpha_{" in text]
    assert [text.split("=")[0].strip() for text in shown] == [rf"$\alpha_{{{k}}}" for k in (2, 5, 4, 1)]
    assert ["+" in text for text in shown] == [True, True, False, False]
    assert any("backward" in text for text in texts) and any("forward" in text for text in texts)
    panels = [axis.images[0].get_array() for axis in figure.axes if axis.images]
    assert any(np.array_equal(panel, gradient[1]) for panel in panels)


def test_randomisation_begins_at_one_and_skips_constant_maps():
    values = np.array([[0.5, np.nan, 0.1], [0.0, 0.2, -0.2]])
    others = {"layer3": np.array([0.1, np.nan, 0.3])}
    axis = plots.randomisation({"layer3": values}, others, ["fc", "layer4"], "").axes[0]
    np.testing.assert_allclose(axis.lines[0].get_ydata(), [1, 0.3, 0], atol=1e-12)
    np.testing.assert_allclose(axis.lines[1].get_ydata(), [0.2, 0.2])  # the reference


def test_architecture_is_read_from_the_network():
    figure = plots.fcn_architecture(ResNet18FCN(num_classes=6, width=8, stride=4), torch.rand(1, 1, 18, 24), "")
    texts = [text.get_text() for text in figure.axes[0].texts]
    trunk = [
        "stem\n8 x 18 x 24",
        "layer1\n8 x 18 x 24",
        "layer2\n16 x 9 x 12",
        "layer3\n32 x 5 x 6",
        "layer4\n64 x 3 x 3",
    ]
    scores = ["scores\n6 x 3 x 3", "sum\n6 x 5 x 6", "upsampled\n6 x 9 x 12", "upsampled\n6 x 18 x 24"]
    layers = ["1x1 conv\n64 to 6", "1x1 conv\n32 to 6"]
    assert {"image\n1 x 18 x 24", "label map\n18 x 24", *trunk, *scores, *layers} <= set(texts)
    assert sum("1x1" in text for text in texts) == 2
    sizes = ["upsample\n3 x 3\nto 5 x 6", "upsample\n5 x 6\nto 9 x 12", "upsample\n9 x 12\nto 18 x 24"]
    assert [text for text in texts if text.startswith("upsample\n")] == sizes


def test_pixel_kinds():
    predicted, target = np.array([[10, 3, 4, 10, 5]]), np.array([[10, 3, 3, 3, 10]])
    names = [list(plots.PIXEL_KINDS)[kind] for kind in plots.pixel_kinds(predicted, target)[0]]
    assert names == ["background, right", "digit, right", "wrong digit", "digit missed", "digit invented"]


def test_comparison_counts_the_wrong_pixels(digits):
    target = label_map(digits[0][:1], digits[1][:1])[0]
    predicted = target.clone()
    predicted[0, :5] = 3
    title = plots.segmentation(digits[0][0, 0], predicted, target, "", "").axes[3].get_title()
    assert title == "comparison: 5 pixels wrong"


def test_boxes_lie_around_their_pixels(digits):
    canvas = digit_canvas(*digits, size=(64, 64), num_digits=(1, 1))
    figure = plots.detections([(canvas.images[0, 0], canvas.targets[0], canvas.digits, canvas.digits)], "")
    seen = (canvas.targets[0] != 10).nonzero()
    for box in figure.axes[0].patches:
        (left, top), width, height = box.get_xy(), box.get_width(), box.get_height()
        assert [top + 0.5, left + 0.5] == seen.amin(0).tolist()
        assert [top + height - 0.5, left + width - 0.5] == seen.amax(0).tolist()


def test_wrong_labels_are_marked_as_wrong(digits):
    canvas = digit_canvas(*digits, size=(64, 64), num_digits=(2, 2))
    labels = canvas.digits.labels.clone()
    labels[0] = (labels[0] + 1) % 10
    found = canvas.digits._replace(labels=labels)
    axis = plots.detections([(canvas.images[0, 0], canvas.targets[0], found, canvas.digits)], "").axes[0]
    assert axis.get_title() == "64 x 64: 2 digits, 1 right, 1 wrong"
    drawn = [to_hex(box.get_edgecolor()).upper() for box in axis.patches if box.get_linestyle() != "--"]
    assert drawn == [plots.VERMILION, plots.BLUE]


def test_confusion_is_percent_of_the_true_class():
    figure = plots.confusion([[3, 1], [0, 0]], ["a", "b"], "")
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), [[75, 25], [0, 0]])
    assert [text.get_text() for text in figure.axes[0].texts] == ["75.0", "25.0"]
    rare = plots.confusion([[9999, 1], [3, 99997]], ["digit", "background"], "").axes[0].texts
    assert [text.get_text() for text in rare] == ["100.0", "0.01", "0.003", "100.0"]  # no error is left blank


def test_learning_curves_show_mean_and_range_of_the_seeds(histories):
    loss = plots.learning_curves(histories, "").axes[0]
    training_loss = np.array([history["train/loss"] for history in histories["with skip connections"]])
    np.testing.assert_allclose(loss.lines[0].get_ydata(), training_loss.mean(axis=0))
    low, high = loss.collections[0].get_datalim(loss.transData).intervaly
    np.testing.assert_allclose([low, high], [training_loss.min(), training_loss.max()])


def test_logarithmic_axes_have_plain_numbers(histories):
    loss = plots.learning_curves(histories, "").axes[0]
    loss.set_ylim(0.5, 3)
    loss.figure.canvas.draw()
    labels = [text.get_text() for text in loss.get_yticklabels(which="both")]
    assert {"0.6", "1", "2"} <= set(labels)
    assert not any("e" in label for label in labels)


@pytest.mark.parametrize("limits", [(0.31, 0.47), (0.011, 0.45), (0.003, 2.4), (1e-7, 30)])
def test_logarithmic_axes_have_enough_ticks(histories, limits):
    loss = plots.learning_curves(histories, "").axes[0]
    loss.set_ylim(limits)
    loss.figure.canvas.draw()
    ticks = [*loss.yaxis.get_major_ticks(), *loss.yaxis.get_minor_ticks()]
    low, high = limits
    labelled = [tick for tick in ticks if tick.label1.get_text() and low <= tick.get_loc() <= high]
    assert 3 <= len(labelled) <= 12


def test_gradient_norms_show_the_median_of_the_epoch_by_depth(histories):
    name = "with skip connections"
    figure = plots.gradient_norms({name: histories[name]}, [2], plots.gradient_limits(histories, [0, 2]), "")
    main, projections = figure.axes[0].lines
    rows = [epoch_rows(history, "grad_norm", 2).numpy() for history in histories[name]]
    median = np.median(np.concatenate(rows), axis=0)
    np.testing.assert_allclose(main.get_ydata(), np.delete(median, 5), rtol=1e-6)
    np.testing.assert_allclose(projections.get_ydata(), median[5:6], rtol=1e-6)
    assert main.get_xdata().tolist() == [1, 2, 3, 4, 5, 6]
    assert projections.get_xdata().tolist() == [4.5]
    assert figure.axes[0].get_yscale() == "log"


def test_panels_share_one_scale(histories):
    limits = plots.gradient_limits(histories, [0, 2])
    figure = plots.gradient_norms(histories, [0, 2], limits, "")
    assert {axis.get_ylim() for axis in figure.axes} == {tuple(limits)}
    rows = np.stack([h["grad_norm"].numpy()[[0, 1, 4, 5], i] for s in histories.values() for h in s for i in range(6)])
    assert limits[0] < rows.min() and rows.max() < limits[1]


def test_heatmap_is_layers_by_steps_on_one_colour_scale(histories):
    figure = plots.gradient_heatmap(histories, "")
    images = [axis.images[0] for axis in figure.axes[:2]]
    assert [image.get_array().shape for image in images] == [(6, 6), (6, 6)]
    assert images[0].get_clim() == images[1].get_clim()
    expected = np.log10(np.delete(histories["with skip connections"][0]["grad_norm"].numpy(), 5, axis=1)).T
    np.testing.assert_allclose(images[0].get_array(), expected, rtol=1e-5)


def test_denormalise_gives_the_image_back(tiny):
    data = tiny()
    shown = plots.denormalise(data.batch([0])[0], data.mean, data.std)
    np.testing.assert_allclose(shown[0] * 255, data.images[0].permute(1, 2, 0), atol=0.01)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_save_is_whole_or_nothing(tmp_path, name, histories, monkeypatch):
    path = tmp_path / "new" / name
    plots.save(plots.learning_curves(histories, ""), path)
    with Image.open(path) as image:
        assert image.width > 1000
    before = path.read_bytes()

    def break_off(file, **options):
        file.write(b"half")
        raise OSError("disk full")

    broken = Figure()
    monkeypatch.setattr(broken, "savefig", break_off)
    with pytest.raises(OSError, match="disk full"):
        plots.save(broken, path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [name]


def test_style_does_not_leak(histories):
    before = dict(plt.rcParams)
    plots.learning_curves(histories, "")
    assert dict(plt.rcParams) == before
