"""Write the measured numbers into README.md and docs/, from images/results.json and benchmarks/results.json.

python tools/readme_tables.py           replace what stands between <!-- begin NAME --> and <!-- end NAME -->
python tools/readme_tables.py --check   only say (and exit 1) if that would change something
"""

import argparse
import json
import re
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import segmentation  # noqa: E402
from benchmarks.__main__ import markdown  # noqa: E402
from benchmarks.time_to_accuracy import share_of_time  # noqa: E402
from lab1.basics.files import atomic  # noqa: E402
from lab1.experiment import records, residual_tables, tables  # noqa: E402
from lab1.experiment.results import table  # noqa: E402

FILES = ("README.md", "docs/results.md", "docs/speed.md")
PAIRS = (
    "Test images, with 95% intervals; images that only one network of a pair gets right, and the p-value of the exact "
    "McNemar test:"
)
SHORT = {  # in README.md -> the table it is taken from, its rows, and its columns (all, if none is named)
    "short-1": (
        "exercise-1-cifar",
        ["plain, 20 layers", "plain, 56 layers", "residual, 20 layers", "residual, 56 layers"],
        ["training error", "test error"],
    ),
    "short-2.1": ("resnet18", ["with skip connections", "without skip connections"], ["training error", "test error"]),
    "short-2.2": (
        "exercise-2.2",
        ["all background", "from scratch", "from the classifier"],
        ["pixel accuracy", "mean IoU"],
    ),
    "short-2.3": ("exercise-2.3", ["layer2", "layer3", "layer4", "centre", "random"], ["insertion - deletion, test"]),
}


def made(r: dict, data: str, *notes: str) -> str:
    """What stands above the tables of one exercise: `r` is its part of the results."""
    return f"Data: {data}. Hardware: {'; '.join([r['hardware'], *notes])}. Budget `{r['profile']}`"


def spread_over(num_seeds: int, what: str = "seeds") -> str:
    return f"{num_seeds} {what}: mean ± standard deviation" if num_seeds > 1 else "one seed"


def exercise_1(results: dict, study: str, unit: str) -> str:
    r = results["exercise-1"]
    of = r[f"{study} depth"]
    minutes = f"{r['minutes'][f'{study} depth']:.0f} minutes"
    conditions = {"hardware": of["hardware"], "profile": r["profile"]}
    above = f"{made(conditions, r['data'][study], minutes)}, {spread_over(of['seeds'])}."
    if study == "mlp":
        accuracy = f"has a test accuracy of {r['mlp']['test accuracy']:.2%}"
        above = f"The baseline, trained on {r['data']['baseline']}, {accuracy}. The study of depth: {above}"
    return f"{above}\n\n{tables.depths(of, unit)}"


def full_cifar() -> str:
    study = records.depth_study()
    seeds = f"{len(records.SEEDS)} seeds: mean ± half of its 95% interval"
    return f"{records.conditions(study)} {seeds}.\n\n{tables.full_cifar(study)}"


def resnet18() -> str:
    recorded = records.resnet18()
    hours = sum(records.minutes(record) for record in recorded.values()) / 60
    first = next(iter(recorded.values()))
    above = (
        f"Data: {records.DATA}. Two trainings in {hours:.1f} hours. Hardware: {first['hardware']}, one thread each. "
    )
    return "\n\n".join(
        [
            f"{above}One seed.",
            tables.full_cifar({name: [record] for name, record in recorded.items()}),
            PAIRS,
            tables.paired_tests(records.resnet18_pairs()),
        ]
    )


def exercise_2_1(results: dict) -> str:
    r = results["exercise-2.1"]
    minutes = statistics.mean(minutes for of_network in r["minutes"].values() for minutes in of_network)
    above = f"{made(r, r['data'], f'a training took {minutes:.0f} minutes')}, {spread_over(r['seeds'])}."
    return "\n\n".join(
        [
            above,
            tables.skip_connections(r["curves"], r["paired"]),
            PAIRS,
            tables.paired_tests(r["paired"]),
        ]
    )


def spreads(r: dict) -> str:
    """How unevenly gradients lie in one study of Exercise 2.1: over the 3x3 convolutions, and by what is counted."""
    return f"{tables.spread(next(iter(r['spread'].values())))}\n\n{residual_tables.spread_by_layers(r['spread'])}"


def exercise_2_2(results: dict) -> str:
    r = results["exercise-2.2"]
    minutes = " and ".join(f"{statistics.mean(m):.0f} minutes {name}" for name, m in r["minutes"].items())
    seeds = spread_over(r["seeds"], "seeds from the classifier")
    above = f"{made(r, r['data'], f'a training took {minutes}')}, {seeds}."
    return f"{above}\n\n{tables.segmentation(r['test'], r['classifier'], r['chosen'])}"


def exercise_2_3(results: dict) -> str:
    r = results["exercise-2.3"]
    above = f"{made(r, r['data'][0])}, one network, {r['test images']} test images: mean, and after ± half of its 95% "
    above += "interval."
    return f"{above}\n\n{tables.faithfulness(r['faithfulness'], r['chosen'])}"


def advantage(measured: dict) -> str:
    kinds = ("insertion - deletion", "deletion", "insertion")
    return "\n\n".join(tables.advantage(measured[kind], f"{kind}, against") for kind in kinds)


def pointing(results: dict) -> str:
    r = results["exercise-2.3"]
    above = f"Data: {r['data'][1]}. Test accuracy {r['shapes accuracy']:.1%} after {r['shapes minutes']:.1f} minutes."
    return f"{above}\n\n{tables.pointing(r['pointing'])}"


def benchmarks(measured: dict, part: str = "comparisons") -> str:
    return f"{_conditions(measured[part])}\n\n{markdown(measured[part]['rows'])}"


def time_to_accuracy(measured: dict) -> str:
    m = measured["time_to_accuracy"]
    rows = []
    for seed, curves in m["seeds"].items():
        minutes, target = curves["the usual script"][-1]
        share = share_of_time(curves)
        ours = ["not reached", "-"] if share is None else [f"{share * minutes:.1f}", f"{share:.2f}"]
        rows += [[seed, f"{target:.1%}", f"{minutes:.1f}", *ours, f"{curves['fit'][-1][1]:.1%}"]]
    header = [
        "seed",
        "the script's accuracy",
        "its minutes",
        "fit's minutes until then",
        "share",
        "fit's last accuracy",
    ]
    recipe = ", ".join(f"{key}={value}" for key, value in m["recipe"].items())
    return f"{_conditions(m)} {m['data']}. `fit({recipe})`.\n\n{table(header, rows)}"


def cost(measured: dict) -> str:
    m = measured["growth"]
    rows = []
    for name, points in m["points"].items():
        for point in points:
            rows += [[name, str(point[name]), f"{point['seconds']:.2f}", f"{point['megabytes']:.0f}"]]
    steps = m["steps"]
    grown, logged = (f"{steps[key]:.1f} MB" for key in ("megabytes grown", "megabytes logged"))
    return (
        f"{_conditions(m)} {steps['steps']:,} recorded steps in ten epochs: after the first epoch the process grew by "
        f"{grown}; what it recorded from then on takes {logged}.\n\n"
        + table(["what is doubled", "size", "seconds an epoch", "MB that fit adds"], rows)
    )


def segmentation_cost(measured: dict) -> str:
    m = measured["segmentation"]
    return f"{_conditions(m)}\n\n{segmentation.markdown(m['rows'])}"


def _conditions(m: dict) -> str:
    return f"{m['hardware']}, PyTorch {m['torch']}, {m['date']}."


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    results = json.loads((ROOT / "images/results.json").read_text())
    measured = json.loads((ROOT / "benchmarks/results.json").read_text())
    parts = {
        "exercise-1-mlp": exercise_1(results, "mlp", "hidden layers"),
        "exercise-1-cnn": exercise_1(results, "cnn", "layers"),
        "exercise-1-cifar": full_cifar(),
        "learning-rates": tables.learning_rates(records.trials()),
        "exercise-1-pairs": tables.pairs_per_seed(records.pairs()),
        "exercise-1-differences": tables.differences(records.differences()),
        "resnet18": resnet18(),
        "exercise-2.1": exercise_2_1(results),
        "spread": spreads(results["exercise-2.1"]["all images"]),
        "spread-of-seeds": spreads(results["exercise-2.1"]),
        "levels": residual_tables.levels(results["exercise-2.1"]["levels"]),
        "lesions": residual_tables.lesions(results["exercise-2.1"]["lesions"]),
        "exercise-2.2": exercise_2_2(results),
        "variants": tables.variants(results["exercise-2.2"]["variants"]),
        "canvases": tables.detection(results["exercise-2.2"]["detection"]),
        "exercise-2.3": exercise_2_3(results),
        "advantage": advantage(results["exercise-2.3"]["advantage"]),
        "randomisation": tables.randomisation(results["exercise-2.3"]["randomisation"]),
        "pointing": pointing(results),
        "benchmarks": benchmarks(measured),
        "gradcam": benchmarks(measured, "gradcam"),
        "cost": cost(measured),
        "segmentation": segmentation_cost(measured),
    }
    if "time_to_accuracy" in measured:
        parts["time-to-accuracy"] = time_to_accuracy(measured)
    parts |= short_tables(parts)
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in FILES}
    written = fill_in(parts, texts)
    changed = [name for name in FILES if written[name] != texts[name]]
    if check and changed:
        print(f"{', '.join(changed)}: not the numbers of images/results.json and benchmarks/results.json")
        return 1
    for name in changed:
        with atomic(ROOT / name) as file:
            file.write(written[name].encode())
    return 0


def fill_in(parts: dict[str, str], texts: dict[str, str]) -> dict[str, str]:
    """The texts of the files, with every part between its markers; each part has one place in all files together."""
    texts = dict(texts)
    for name, part in parts.items():
        pattern = rf"(<!-- begin {re.escape(name)} -->\n).*?(<!-- end {re.escape(name)} -->)"
        places = 0
        for file, text in texts.items():
            texts[file], count = re.subn(pattern, lambda m, part=part: f"{m[1]}{part}\n{m[2]}", text, flags=re.DOTALL)
            places += count
        if places != 1:
            raise SystemExit(f"{', '.join(texts)} have {places} places for {name}, not one")
    return texts


def short_tables(parts: dict[str, str]) -> dict[str, str]:
    """The tables of README.md: some rows and columns of those in docs/results.md."""
    return {name: excerpt(parts[of], rows, columns) for name, (of, rows, columns) in SHORT.items()}


def excerpt(part: str, rows: list[str], columns: list[str]) -> str:
    """Some rows and columns of the Markdown table in a part; all columns, if none is named."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line[:1] == "|"]
    header, body = lines[0], {line[0].removesuffix(" (chosen)"): line for line in lines[2:]}
    missing = {*rows, *columns} - {*body, *header}
    if missing:
        raise SystemExit(f"the table with the columns {header} has no {missing}: mend SHORT in tools/readme_tables.py")
    kept = [0, *(header.index(title) for title in columns or header[1:])]
    return table([header[i] for i in kept], [[body[name][i] for i in kept] for name in rows])


if __name__ == "__main__":
    sys.exit(main())
