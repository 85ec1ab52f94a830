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
from lab1.experiment.results import mean_and_spread, table  # noqa: E402

FILES = ("README.md", "docs/results.md", "docs/speed.md")
SHORT = {  # in README.md -> the table it is taken from, its rows, and its columns (all, if none is named)
    "short-1": (
        "exercise-1-cnn",
        ["training error, with residual connections", "training error, without residual connections"],
        [],
    ),
    "short-2.1": ("exercise-2.1", ["training loss (epoch 10)", "test accuracy"], []),
    "short-2.2": (
        "exercise-2.2",
        ["all background", "from scratch", "from the classifier"],
        ["pixel accuracy", "mean IoU"],
    ),
    "short-2.3": ("exercise-2.3", ["layer2", "layer3", "layer4", "centre", "random"], ["insertion - deletion, test"]),
}

WITH, WITHOUT = "with skip connections", "without skip connections"
QUANTITIES = {"loss": ".3f", "accuracy": ".1%"}


def exercise_1(results: dict, study: str, forms: dict[str, str]) -> str:
    r = results["exercise-1"]
    of, minutes = r[f"{study} depth"], r["minutes"][f"{study} depth"]
    rows = []
    for title, form in forms.items():
        for kind, depths in of[title].items():
            values = [mean_and_spread(depths[depth], form) for depth in sorted(depths, key=int)]
            rows += [[f"{title}, {kind}", *values]]
    seeds = f"{of['seeds']} seeds: mean ± standard deviation" if of["seeds"] > 1 else "one seed"
    made = (
        f"Data: {r['data'][study]}. Hardware: {r['hardware']}, {minutes:.0f} minutes. Budget `{r['profile']}`, {seeds}"
    )
    if study == "mlp":
        made = f"The baseline has a test accuracy of {r['mlp']['test accuracy']:.2%}. {made}"
    depths = sorted(next(iter(of[title].values())), key=int)
    unit = "hidden layers" if study == "mlp" else "layers"
    header = [f"after epoch {of['num_epochs'] - 1}", *(f"{depth} {unit}" for depth in depths)]
    return f"{made}.\n\n{table(header, rows)}"


def exercise_2_1(results: dict) -> str:
    r = results["exercise-2.1"]
    rows = []
    for part, title in (("train", "training"), ("val", "validation")):
        last = {q: [[h[f"{part}/{q}"][-1] for h in r["curves"][n]] for n in (WITH, WITHOUT)] for q in QUANTITIES}
        for quantity, form in QUANTITIES.items():
            rows += [[f"{title} {quantity} (epoch 10)", *(mean_and_spread(v, form) for v in last[quantity])]]
    test = [[t["accuracy"] for t in r["test"][name]] for name in (WITH, WITHOUT)]
    rows += [["test accuracy", *(mean_and_spread(v, ".1%") for v in test)]]
    for seed, both in enumerate(zip(*(r["test"][name] for name in (WITH, WITHOUT)), strict=True)):
        cells = [f"{t['accuracy']:.1%} [{t['low']:.1%}, {t['high']:.1%}]" for t in both]
        rows += [[f"test accuracy [95% interval], seed {seed}", *cells]]
    for quantity in ("gradient", "gradient x weight"):
        for i, way in enumerate(("across layers", "from step to step")):
            for epoch in (0, 10):
                spreads = [[s[i] for s in r["spread"][f"{n}, {quantity}, epoch {epoch}"]] for n in (WITH, WITHOUT)]
                title = f"spread of log10 norm {way}, {quantity}, epoch {epoch}"
                rows += [[title, *(mean_and_spread(s, ".3f") for s in spreads)]]
    minutes = statistics.mean(m for name in (WITH, WITHOUT) for m in r["minutes"][name])
    pairs = ", ".join(f"{p['only_skip']} against {p['only_plain']} (p = {p['p']:.2g})" for p in r["paired"])
    made = (
        f"Data: {r['data']}. Hardware: {r['hardware']}; a training took {minutes:.0f} minutes. Budget `{r['profile']}`"
    )
    seeds = f"{r['seeds']} seeds: mean ± standard deviation" if r["seeds"] > 1 else "one seed"
    tests = "Test images that only one network of a pair gets right, with against without skip connections"
    return f"{made}, {seeds}. {tests} (exact McNemar test): {pairs}.\n\n" + table(["ResNet18", WITH, WITHOUT], rows)


def growth(results: dict) -> str:
    measured = results["exercise-2.1"]["growth"]
    kinds = list(dict.fromkeys(key.rsplit(", ", 1)[0] for key in measured))
    depths = sorted({int(key.rsplit(", ", 1)[1]) for key in measured})
    rows = []
    for kind in sorted(kinds, key=lambda k: ("no BatchNorm" in k, "no skip" in k)):
        values = [measured[f"{kind}, {depth}"] for depth in depths]
        rows += [[kind, *(f"{mean:+.2f} ± {spread:.2f}" for mean, spread in values)]]
    return table(["growth in powers of ten", *(f"{depth} layers" for depth in depths)], rows)


MEASURES = ("pixel accuracy", "foreground accuracy", "mean IoU", "digit accuracy")


def exercise_2_2(results: dict) -> str:
    r = results["exercise-2.2"]
    minutes = " and ".join(f"{statistics.mean(m):.0f} minutes {name}" for name, m in r["minutes"].items())
    seeds = f"{r['seeds']} seeds from the classifier: mean ± standard deviation" if r["seeds"] > 1 else "one seed"
    made = f"Data: {r['data']}. Hardware: {r['hardware']}; a training took {minutes}. Budget `{r['profile']}`, {seeds}."
    rows = [[n, *(mean_and_spread([s[m] for s in seeds], ".4f") for m in MEASURES)] for n, seeds in r["test"].items()]
    rows += [["the classifier itself", "", "", "", mean_and_spread(r["classifier"], ".4f")]]
    return f"{made}\n\n" + table([f"{r['chosen']} on the test digits", *MEASURES], rows)


def variants(results: dict) -> str:
    measured = sorted(results["exercise-2.2"]["variants"].items(), key=lambda item: item[1]["mean IoU"])
    rows = [[name, *(f"{v[m]:.3f}" for m in MEASURES)] for name, v in measured]
    return table(["validation digits, one epoch, one seed", *MEASURES], rows)


def canvases(results: dict) -> str:
    r = dict(results["exercise-2.2"]["detection"])
    header = [f"{r.pop('canvases')} canvases of 128x128 with 1 to 9 digits", "precision", "recall", "F1"]
    rows = [[name, *(mean_and_spread([s[m] for s in seeds], ".3f") for m in header[1:])] for name, seeds in r.items()]
    return table(header, sorted(rows, key=lambda row: row[-1]))


def exercise_2_3(results: dict) -> str:
    r = results["exercise-2.3"]
    titles = {"validation": "insertion - deletion, validation", "test": "insertion - deletion, test"}
    titles |= {"deletion": "deletion, test", "insertion": "insertion, test"}
    rows = []
    for name, measured in sorted(r["faithfulness"].items(), key=lambda item: -item[1]["test"][0]):
        cells = [f"{mean:.3f} ± {half:.3f}" for mean, half in (measured[key] for key in titles)]
        rows += [[f"{name} (chosen)" if name == r["chosen"] else name, *cells]]
    made = f"Data: {r['data'][0]}. Hardware: {r['hardware']}. Budget `{r['profile']}`, one network, "
    made += f"{r['test images']} test images: mean, and behind ± half of its 95% interval."
    return f"{made}\n\n" + table(["map", *titles.values()], rows)


def randomised(results: dict) -> str:
    measured = results["exercise-2.3"]["randomisation"]
    layers = ("layer2", "layer3", "layer4")
    rows = [[name, *(measured[name][layer] for layer in layers)] for name in REPLACEMENTS]
    return table(["compared with the map of", *(f"maps of {layer}" for layer in layers)], rows)


REPLACEMENTS = ("untrained fc", "everything untrained", "another image", "runner-up")


def pointing(results: dict) -> str:
    r = results["exercise-2.3"]
    made = f"Data: {r['data'][1]}. Test accuracy {r['shapes accuracy']:.1%} after {r['shapes minutes']:.1f} minutes."
    header = [f"{name}, {part}" for name in ("pointing game", "energy in mask") for part in ("validation", "test")]
    rows = [[n, *(f"{mean:.3f} ± {half:.3f}" for mean, half in values)] for n, values in r["pointing"].items()]
    return f"{made}\n\n" + table(["map", *header], rows)


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
    parts = {"exercise-2.1": exercise_2_1(results), "growth": growth(results), "benchmarks": benchmarks(measured)}
    parts |= {
        "exercise-1-mlp": exercise_1(results, "mlp", {"training loss": ".3f", "validation accuracy": ".1%"}),
        "exercise-1-cnn": exercise_1(
            results, "cnn", {"training error": ".1%", "validation error": ".1%", "training loss": ".3f"}
        ),
    }
    parts |= {"exercise-2.2": exercise_2_2(results), "variants": variants(results), "canvases": canvases(results)}
    parts |= {
        "exercise-2.3": exercise_2_3(results),
        "randomisation": randomised(results),
        "pointing": pointing(results),
    }
    parts |= {
        "gradcam": benchmarks(measured, "gradcam"),
        "cost": cost(measured),
        "segmentation": segmentation_cost(measured),
    }
    if "time_to_accuracy" in measured:
        parts |= {"time-to-accuracy": time_to_accuracy(measured)}
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
