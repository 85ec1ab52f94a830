"""Tables of Exercise 2.1 on why residual connections help, as in `lab1.experiment.tables`."""

import statistics

from lab1.experiment.results import mean_and_spread, table
from lab1.experiment.tables import WITH, WITHOUT


def levels(measured: dict) -> str:
    """Exercise 2.1: how large signals and gradients are before training, in powers of ten; dead units, cosines.

    `measured`: "kind, depth" -> for each seed, what `lab1.analysis.signal.ends` returns.
    """
    kinds = {key.rsplit(", ", 1)[0] for key in measured}
    columns = sorted({int(key.rsplit(", ", 1)[1]) for key in measured})
    forms = {"gradient": "+.2f", "output": "+.2f", "dead": ".0%", "cosine": ".2f"}
    rows = []
    for kind in sorted(kinds, key=_scale_then_skip):
        level = [mean_and_spread([of["level"] for of in measured[f"{kind}, {depth}"]], "+.2f") for depth in columns]
        deepest = measured[f"{kind}, {columns[-1]}"]
        rest = [f"{statistics.mean(of[key] for of in deepest):{form}}" for key, form in forms.items()]
        rows.append([kind, *level, *rest])
    deep = ["gradient, from last block to stem", "output, from stem to last block", "dead units", "cosine"]
    titles = [f"{depth} layers" for depth in columns] + [f"{columns[-1]} layers: {title}" for title in deep]
    return table(["gradient at the stem, powers of ten", *titles], rows)


def _scale_then_skip(kind: str) -> tuple:
    return "no BatchNorm" in kind, kind.partition("weights x ")[2], "no skip" in kind


def spread_by_layers(measured: dict) -> str:
    """Exercise 2.1: how unevenly gradients lie across layers, by which layers are counted.

    `measured`: group of layers -> as in `spread`.
    """
    rows = []
    for quantity in ("gradient", "gradient x weight"):
        for epoch in (0, 10):
            for name in (WITH, WITHOUT):
                key = f"{name}, {quantity}, epoch {epoch}"
                cells = [mean_and_spread([across for across, _ in of[key]], ".3f") for of in measured.values()]
                rows.append([key, *cells])
    return table(["spread of log10 norm across", *measured], rows)


def lesions(measured: dict) -> str:
    """Exercise 2.1: the error of trained networks without one of their blocks; those that change the shape apart.

    `measured`: network -> what `lab1.analysis.lesions.lesion_errors` returns.
    """
    rows = []
    for name in sorted(measured):
        kept = [error for block, error in measured[name].items() if block != "none" and not _changes_shape(block)]
        changing = [f"{error:.1%}" for block, error in sorted(measured[name].items()) if _changes_shape(block)]
        errors = (measured[name]["none"], statistics.median(kept), min(kept), max(kept))
        rows.append([name, *(f"{error:.1%}" for error in errors), ", ".join(changing) or "cannot be removed"])
    removed = ["median", "lowest", "highest", "blocks that change the shape"]
    return table(["test error", "no block removed", *(f"one removed: {which}" for which in removed)], rows)


def _changes_shape(block: str) -> bool:
    return block.endswith(".0") and not block.startswith("layer1")
