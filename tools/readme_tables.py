"""Write the measured numbers into README.md, from images/results.json and benchmarks/results.json.

python tools/readme_tables.py           replace what stands between <!-- begin NAME --> and <!-- end NAME -->
python tools/readme_tables.py --check   only say (and exit 1) if that would change something
"""

import argparse
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.__main__ import markdown  # noqa: E402
from lab1.files import atomic  # noqa: E402
from lab1.results import table  # noqa: E402

WITH, WITHOUT = "with skip connections", "without skip connections"


def exercise_2_1(results: dict) -> str:
    r = results["exercise-2.1"]
    rows = [
        [title, *(text.format(*(r["curves"][name][key][-1] for key in keys)) for name in (WITH, WITHOUT))]
        for title, text, keys in (
            ("training loss, accuracy (epoch 10)", "{:.3f}, {:.1%}", ("train/loss", "train/accuracy")),
            ("validation loss, accuracy (epoch 10)", "{:.3f}, {:.1%}", ("val/loss", "val/accuracy")),
        )
    ]
    test = [r["test"][name] for name in (WITH, WITHOUT)]
    rows += [
        ["test accuracy [95% interval]", *(f"{t['accuracy']:.1%} [{t['low']:.1%}, {t['high']:.1%}]" for t in test)]
    ]
    for quantity in ("gradient", "gradient x weight"):
        for way in ("across layers", "from step to step"):
            for epoch in (0, 10):
                spreads = [r["spread"][f"{name}, {quantity}, epoch {epoch}"][way] for name in (WITH, WITHOUT)]
                rows += [[f"spread of log10 norm {way}, {quantity}, epoch {epoch}", *(f"{s:.3f}" for s in spreads)]]
    minutes = " and ".join(f"{r['minutes'][name]:.0f}" for name in (WITH, WITHOUT))
    paired = r["paired"]
    return (
        f"Data: {r['data']}. Hardware: {r['hardware']}; training took {minutes} minutes. Budget `{r['profile']}`, one "
        f"seed. Of the test images, {paired['only_skip']} were right only with skip connections and "
        f"{paired['only_plain']} only without (exact McNemar test: p = {paired['p']:.2g}).\n\n"
        + table(["ResNet18", WITH, WITHOUT], rows)
    )


def growth(results: dict) -> str:
    measured = results["exercise-2.1"]["growth"]
    kinds = list(dict.fromkeys(key.rsplit(", ", 1)[0] for key in measured))
    depths = sorted({int(key.rsplit(", ", 1)[1]) for key in measured})
    rows = []
    for kind in sorted(kinds, key=lambda k: ("no BatchNorm" in k, "no skip" in k)):
        values = [measured[f"{kind}, {depth}"] for depth in depths]
        rows += [[kind, *(f"{mean:+.2f} ± {spread:.2f}" for mean, spread in values)]]
    return table(["growth in powers of ten", *(f"{depth} layers" for depth in depths)], rows)


def benchmarks(measured: dict) -> str:
    return f"{measured['hardware']}, PyTorch {measured['torch']}, {measured['date']}.\n\n{markdown(measured['rows'])}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    results = json.loads((ROOT / "images/results.json").read_text())
    measured = json.loads((ROOT / "benchmarks/results.json").read_text())
    parts = {"exercise-2.1": exercise_2_1(results), "growth": growth(results), "benchmarks": benchmarks(measured)}
    path = ROOT / "README.md"
    before = text = path.read_text(encoding="utf-8")
    for name, part in parts.items():
        pattern = rf"(<!-- begin {re.escape(name)} -->\n).*?(<!-- end {re.escape(name)} -->)"
        text, count = re.subn(pattern, lambda m, part=part: f"{m[1]}{part}\n{m[2]}", text, flags=re.DOTALL)
        if count != 1:
            raise SystemExit(f"README.md has {count} places for {name}, not one")
    if check and text != before:
        print("README.md does not show the numbers of images/results.json and benchmarks/results.json")
        return 1
    if text != before:
        with atomic(path) as file:
            file.write(text.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
