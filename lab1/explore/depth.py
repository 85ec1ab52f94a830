"""The gradient at the output of every block before training, with a slider over depth. Exercise 2.1."""

import io

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from lab1.explore import panel
from lab1.plots.style import CYCLE, log_scale, sign, styled


def gradients(initial: dict[tuple[str, int], np.ndarray], source: str) -> None:
    """Choose the depth, and whether there are skip connections and BatchNorm; the other kinds stay in sight.

    Args:
        initial: (kind, depth) -> gradient norms (seeds, blocks), from the stem to the last block; kinds are named as
            in "skip, BatchNorm" and "no skip, no BatchNorm".
        source: which data and how many seeds, for the figure's lower edge.
    """
    depths = sorted({depth for _, depth in initial})
    controls = {
        "depth": panel.choice("layers", depths, depths[len(depths) // 2], "SelectionSlider"),
        "skip": panel.switch("skip connections", True),
        "norm": panel.switch("BatchNorm", True),
    }
    alt = "The gradient norm at the output of every block of a ResNet, from the stem to the last."
    panel.show(controls, Profile(initial, source).draw, alt)


class Profile:
    """A figure that is drawn once; then only its lines are painted over it, so that a slider can be dragged."""

    @styled
    def __init__(self, initial: dict[tuple[str, int], np.ndarray], source: str):
        self.curves = {key: np.exp(np.log(norms).mean(axis=0)) for key, norms in initial.items()}  # mean over seeds
        figure = Figure(figsize=(9, 4), dpi=panel.DPI)
        self.canvas, self.axis = FigureCanvasAgg(figure), figure.subplots()
        kinds = dict.fromkeys(kind for kind, _ in initial)
        self.lines = dict(zip(kinds, (self.axis.plot([], [], label=kind)[0] for kind in kinds), strict=True))
        for line, colour in zip(self.lines.values(), CYCLE, strict=False):
            line.set(color=colour, linewidth=2)
        everything = np.concatenate(list(self.curves.values()))
        self.axis.set(xlim=(-0.01, 1.01), ylim=(everything.min() / 1.5, everything.max() * 1.5))
        self.axis.set(xlabel="block, from the stem (0) to the last (1)", ylabel="gradient norm", title=" ")
        log_scale(self.axis)
        figure.legend(loc="outside right center")
        sign(figure, source)
        self.canvas.draw()
        self.background = self.canvas.copy_from_bbox(figure.bbox)
        self.title = self.axis.text(0.5, 1.02, "", ha="center", transform=self.axis.transAxes)

    def draw(self, depth: int, skip: bool, norm: bool) -> bytes:
        chosen = f"{'skip' if skip else 'no skip'}, {'BatchNorm' if norm else 'no BatchNorm'}"
        self.canvas.restore_region(self.background)
        for kind, line in self.lines.items():
            curve = self.curves[kind, depth]
            line.set_data(np.linspace(0, 1, len(curve)), curve)
            line.set(alpha=1 if kind == chosen else 0.3, linewidth=3 if kind == chosen else 1)
            self.axis.draw_artist(line)
        first, last = self.curves[chosen, depth][[0, -1]]
        self.title.set_text(f"{depth} layers, {chosen}: stem / last block = {first / last:.3g}")
        self.axis.draw_artist(self.title)
        picture = io.BytesIO()
        Image.fromarray(np.asarray(self.canvas.buffer_rgba())).save(picture, format="png", compress_level=1)
        return picture.getvalue()
