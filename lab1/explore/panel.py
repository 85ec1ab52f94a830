"""A figure that is drawn anew when a control changes."""

import io
from collections.abc import Callable

from matplotlib.figure import Figure

DPI = 90


def show(controls: dict, draw: Callable[..., bytes], alt: str) -> None:
    """Display controls above the picture that `draw` makes of their values.

    The output also holds the first figure as a picture. It is what a website, nbval or a saved notebook shows, and all
    there is where ipywidgets is not installed.

    Args:
        controls: name of an argument of `draw` -> a widget; plain values where there are no widgets.
        draw: called with the values of all controls; returns a PNG.
        alt: one sentence that says what is to be seen, for screen readers.
    """
    from IPython.display import display

    values = {name: getattr(control, "value", control) for name, control in controls.items()}
    picture = draw(**values)
    bundle = {"image/png": picture, "text/plain": alt}
    if (widgets := library()) is not None:
        image = widgets.Image(value=picture, format="png", layout={"max_width": "100%"})

        def redraw(change):
            image.value = draw(**{name: control.value for name, control in controls.items()})

        for control in controls.values():
            control.observe(redraw, "value")
        row = widgets.HBox(list(controls.values()), layout={"flex_flow": "row wrap"})
        panel = widgets.VBox([row, image])
        panel.add_class("lab1-explorer")
        bundle = panel._repr_mimebundle_() | bundle
    display(bundle, metadata={"image/png": {"alt": alt}}, raw=True)


def library():
    """The module ipywidgets, or None where it is not installed."""
    try:
        import ipywidgets
    except ImportError:
        return None
    return ipywidgets


def choice(name: str, options: list, value, kind: str = "Dropdown"):
    """A widget to choose one of the options, by default `value`; the value itself where there are no widgets."""
    widgets = library()
    return value if widgets is None else getattr(widgets, kind)(description=name, options=options, value=value)


def number(name: str, low: float, high: float, value: float):
    """A slider, of whole numbers if `value` is one; the value itself where there are no widgets."""
    widgets = library()
    if widgets is None:
        return value
    kind = widgets.IntSlider if isinstance(value, int) else widgets.FloatSlider
    return kind(description=name, min=low, max=high, value=value)


def switch(name: str, value: bool):
    """A check box; the value itself where there are no widgets."""
    widgets = library()
    return value if widgets is None else widgets.Checkbox(description=name, value=value, indent=False)


def png(figure: Figure) -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=DPI)
    return picture.getvalue()
