"""Figures: kept as files, shown with a text for those who cannot see them, sent to W&B."""

from lab1.experiment import profiles

_kept = {}  # name -> figure


def show(figure, name: str | None = None, *, alt: str) -> None:
    """Show a matplotlib figure, and keep it if it has a name; see `keep`.

    Args:
        alt: one sentence that says what is to be seen; it stands in the notebook's output, for screen readers.
    """
    import matplotlib.pyplot as plt
    from IPython.display import display

    if name is not None:
        keep(figure, name)
    plt.close(figure)  # or the notebook would show it again, at the end of the cell
    display(figure, metadata={"image/png": {"alt": alt}})


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
