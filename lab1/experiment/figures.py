"""Figures: kept as files, shown with a text for those who cannot see them, sent to W&B."""

from lab1.experiment import profiles

LARGE = 250_000  # bytes
_kept = {}  # name -> figure


def show(figure, name: str | None = None, *, alt: str) -> None:
    """Show a matplotlib figure, and keep it if it has a name; see `keep`.

    As a PNG; a large one, which has photographs in it, as a JPEG, or the notebook would have many megabytes.

    Args:
        alt: one sentence that says what is to be seen; it stands in the notebook's output, for screen readers.
    """
    import matplotlib.pyplot as plt
    from IPython.core.pylabtools import print_figure
    from IPython.display import display

    if name is not None:
        keep(figure, name)
    plt.close(figure)  # or the notebook would show it again, at the end of the cell
    kind, picture = "image/png", print_figure(figure, "png")
    if len(picture) > LARGE:
        kind, picture = "image/jpeg", print_figure(figure, "jpeg", pil_kwargs={"quality": 85})
    display({kind: picture, "text/plain": repr(figure)}, metadata={kind: {"alt": alt}}, raw=True)


def keep(figure, name: str) -> None:
    """Write a matplotlib figure to images/NAME.png, or to images/NAME if that ends in .jpg; `upload` finds it."""
    import matplotlib.pyplot as plt

    from lab1 import plots

    file = name if name.endswith(".jpg") else f"{name}.png"
    plots.save(figure, profiles.output_folder("images") / file)
    plt.close(figure)
    _kept[name.removesuffix(".jpg")] = figure


def upload(run, *names: str) -> None:
    """Send kept figures to a W&B run.

    Raises:
        ValueError: a figure that was not kept in this session.
    """
    if missing := [name for name in names if name not in _kept]:
        raise ValueError(f"no figure was kept as {', '.join(missing)}: run the cells that show them first")
    for name in names:
        run.figure(name, _kept[name])
