"""Run all comparisons, print one table, write benchmarks/results.json (with --quick, outputs/benchmarks.json)."""

import argparse
import datetime
import json
from pathlib import Path

import torch

from benchmarks import data_pipeline, gradient_logging
from lab1.device import hardware
from lab1.files import atomic
from lab1.results import table

ROOT = Path(__file__).resolve().parent.parent


def markdown(rows: list[dict]) -> str:
    """The table of the comparisons, as Markdown."""
    lines = [
        [r["comparison"], r["arm"], r["baseline"], _times(r["ratio"]), f"{_times(r['low'])} to {_times(r['high'])}"]
        for r in rows
    ]
    return table(["comparison", "this", "takes, in times of this", "median", "range"], lines)


def _times(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller batches and fewer repetitions, under 3 minutes")
    quick = parser.parse_args().quick
    rows = [row._asdict() for module in (data_pipeline, gradient_logging) for row in module.run(quick)]
    results = {"hardware": hardware(), "torch": torch.__version__, "date": str(datetime.date.today()), "rows": rows}
    path = ROOT / ("outputs/benchmarks.json" if quick else "benchmarks/results.json")
    with atomic(path) as file:
        file.write((json.dumps(results, indent=2) + "\n").encode())
    print(f"\n{results['hardware']}, PyTorch {results['torch']}, {results['date']}\n\n{markdown(rows)}\n\n{path.name}")


if __name__ == "__main__":
    main()
