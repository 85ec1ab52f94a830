"""Run all comparisons, print one table, write benchmarks/results.json (with --quick, outputs/benchmarks.json)."""

import argparse

from benchmarks import data_pipeline, gradcam, gradient_logging, segmentation, training_step
from benchmarks.harness import FOLDER, record
from lab1.basics.device import hardware
from lab1.experiment.results import table

MODULES = (training_step, data_pipeline, gradient_logging)


def markdown(rows: list[dict]) -> str:
    """The table of the comparisons, as Markdown."""
    lines = []
    for r in rows:
        seconds = f"{r['a_seconds']:.3g} / {r['b_seconds']:.3g}"
        ratio = _times(r["ratio"]), f"{_times(r['low'])} to {_times(r['high'])}"
        lines += [[r["comparison"], r["a"], r["b"], seconds, *ratio, r["limit"]]]
    return table(
        ["comparison", "A", "B", "seconds, A / B", "ratio A / B", "range", "what keeps B from being faster"], lines
    )


def _times(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller batches and fewer repetitions, about 3 minutes")
    quick = parser.parse_args().quick
    rows = [row._asdict() for module in MODULES for row in module.run(quick)]
    heatmaps = [row._asdict() for row in gradcam.run(quick)]
    costs = segmentation.run(quick)
    path = FOLDER.parent / "outputs/benchmarks.json" if quick else FOLDER / "results.json"
    record("comparisons", {"rows": rows}, path)
    record("gradcam", {"rows": heatmaps}, path)
    record("segmentation", {"rows": costs}, path)
    tables = f"{markdown(rows)}\n\n{markdown(heatmaps)}\n\n{segmentation.markdown(costs)}"
    print(f"\n{hardware()}\n\n{tables}\n\n{path.relative_to(FOLDER.parent)}")


if __name__ == "__main__":
    main()
