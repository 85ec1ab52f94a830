"""The tables of results, each once: the notebooks fill them with what they measured, the docs from images/results.json.

Every function takes the numbers as images/results.json holds them and returns a Markdown table.
"""

from lab1.analysis.statistics import Interval, McNemar, mean_interval
from lab1.experiment.results import mean_and_spread, table

WITH, WITHOUT = "with skip connections", "without skip connections"
MEASURES = ("pixel accuracy", "foreground accuracy", "mean IoU", "digit accuracy")  # of label maps
LAYERS = ("layer2", "layer3", "layer4")  # whose heatmaps are compared


def depths(study: dict, unit: str = "layers") -> str:
    """Exercise 1.2: errors, losses and accuracies of networks of all depths, mean and spread over the seeds.

    Args:
        study: quantity -> kind of network -> depth -> one number for each seed; and "num_epochs".
        unit: what a depth counts.
    """
    forms = {"training error": ".1%", "validation error": ".1%", "training loss": ".3f", "validation accuracy": ".1%"}
    quantities = [quantity for quantity in forms if quantity in study]
    columns = sorted(next(iter(study[quantities[0]].values())), key=int)
    rows = []
    for quantity in quantities:
        for kind, of_depth in sorted(study[quantity].items()):
            values = [mean_and_spread(of_depth[depth], forms[quantity]) for depth in columns]
            rows.append([f"{quantity}, {kind}", *values])
    return table([f"after epoch {study['num_epochs'] - 1}", *(f"{depth} {unit}" for depth in columns)], rows)


def learning_rates(trials: dict[str, dict[float, float]]) -> str:
    """Exercise 1.2: which learning rate suits which network; the best one of each row is bold.

    `trials`: network, such as "plain, 20 layers" -> learning rate -> accuracy (0..1) on validation images.
    """
    rates = sorted({lr for of in trials.values() for lr in of})
    rows = []
    for network, of in trials.items():
        best = max(of, key=of.get)
        rows.append([network, *(f"**{of[lr]:.1%}**" if lr == best else f"{of[lr]:.1%}" for lr in rates)])
    return table(["validation accuracy", *(f"learning rate {lr}" for lr in rates)], rows)


def full_cifar(records: dict[str, list[dict]]) -> str:
    """Exercise 1.2 on all of CIFAR-10: losses and errors of trained networks, in eval mode.

    `records`: network, such as "plain, 20 layers" -> the records of its trainings, one a seed. Of several seeds the
    table gives the mean and half of its 95% interval (Student's t).
    """
    columns = {
        "training loss": ("train", "loss", ".3f"),
        "training error": ("train", "error", ".1%"),
        "validation error": ("val", "error", ".1%"),
        "test error": ("test", "error", ".1%"),
    }
    rows = []
    for network, seeds in records.items():
        row = [network]
        for part, quantity, form in columns.values():
            mean = mean_interval([record["errors"][part][quantity] for record in seeds])
            half = f" ± {mean.high - mean.value:{form}}" if len(seeds) > 1 else ""
            row.append(f"{mean.value:{form}}{half}")
        rows.append(row)
    return table(["network", *columns], rows)


def pairs_per_seed(pairs: dict[str, list[McNemar]]) -> str:
    """Exercise 1.2: for each seed, how many test images only one network of a pair gets right (exact McNemar test).

    `pairs`: such as "residual, 56 layers / residual, 20 layers" -> one result a seed.
    """
    num_seeds = max(len(seeds) for seeds in pairs.values())
    rows = []
    for pair, seeds in pairs.items():
        rows.append([pair, *(f"{m.only_first} / {m.only_second}, {p_value(m.p)}" for m in seeds)])
    return table(["right in only the first / only the second", *(f"seed {seed}" for seed in range(num_seeds))], rows)


def differences(measured: dict[str, dict[str, Interval]]) -> str:
    """Exercise 1.2: by how many percentage points two networks differ: mean over the seeds, and its 95% interval.

    `measured`: what `lab1.experiment.records.differences` returns.
    """
    rows = [
        [pair, *(f"{100 * d.value:+.1f} ({100 * d.low:+.1f} to {100 * d.high:+.1f})" for d in of_pair.values())]
        for pair, of_pair in measured.items()
    ]
    return table(["percentage points", *next(iter(measured.values()))], rows)


def p_value(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def skip_connections(curves: dict, pairs: dict) -> str:
    """Exercise 2.1: losses and accuracies of ResNet18 after the last epoch, mean and spread over the seeds.

    Args:
        curves: network -> the histories of its trainings, one a seed.
        pairs: of each seed, as in `paired_tests`.
    """
    rows = []
    for part, title in {"train": "training", "val": "validation"}.items():
        for quantity, form in {"loss": ".3f", "accuracy": ".1%"}.items():
            last = [[history[f"{part}/{quantity}"][-1] for history in curves[name]] for name in (WITH, WITHOUT)]
            rows.append([f"{title} {quantity} (epoch 10)", *(mean_and_spread(values, form) for values in last)])
    accuracies = zip(*([with_skip[0], without[0]] for with_skip, without, _ in pairs.values()), strict=True)
    rows.append(["test accuracy", *(mean_and_spread(values, ".1%") for values in accuracies)])
    return table(["ResNet18", WITH, WITHOUT], rows)


def paired_tests(pairs: dict) -> str:
    """Exercise 2.1: test accuracies with their 95% intervals, and the exact McNemar test of two networks.

    `pairs`: such as "seed 0" -> the accuracies with and without skip connections, each an `Interval`, and a `McNemar`.
    """
    rows = []
    for name, (with_skip, without, (only_with, only_without, p)) in pairs.items():
        intervals = [f"{value:.1%} [{low:.1%}, {high:.1%}]" for value, low, high in (with_skip, without)]
        rows.append([name, *intervals, str(only_with), str(only_without), f"{p:.2g}"])
    return table(["accuracy on test images", WITH, WITHOUT, "right only with", "right only without", "p"], rows)


def spread(measured: dict) -> str:
    """Exercise 2.1: how unevenly gradients lie, mean and spread over the seeds.

    `measured`: "network, quantity, epoch" -> for each seed, the spread across layers and from step to step.
    """
    rows = []
    for quantity in ("gradient", "gradient x weight"):
        for epoch in (0, 10):
            for name in (WITH, WITHOUT):
                key = f"{name}, {quantity}, epoch {epoch}"
                across, steps = zip(*measured[key], strict=True)
                rows.append([key, mean_and_spread(across, ".3f"), mean_and_spread(steps, ".3f")])
    return table(["spread of log10 norm", "across layers", "from step to step"], rows)


def variants(measured: dict) -> str:
    """Exercise 2.2: variant of the FCN -> its measures, the best mean IoU last."""
    in_order = sorted(measured.items(), key=lambda item: item[1]["mean IoU"])
    rows = [[name, *(f"{of[measure]:.3f}" for measure in MEASURES)] for name, of in in_order]
    return table(["validation digits, one epoch, one seed", *MEASURES], rows)


def segmentation(test: dict, classifier: list[float], chosen: str) -> str:
    """Exercise 2.2: the chosen FCN on the test digits, mean and spread over the seeds.

    Args:
        test: "all background", "from scratch", "from the classifier" -> the measures of each seed.
        classifier: the test accuracy of the classifier of each seed.
        chosen: which variant it is.
    """
    rows = []
    for name, seeds in test.items():
        rows.append([name, *(mean_and_spread([of[measure] for of in seeds], ".4f") for measure in MEASURES)])
    rows.append(["the classifier itself", "", "", "", mean_and_spread(classifier, ".4f")])
    return table([f"{chosen} on the test digits", *MEASURES], rows)


def detection(measured: dict) -> str:
    """Exercise 2.2: digits found on canvases. `measured`: network -> the scores of each seed; and "canvases"."""
    scores = ("precision", "recall", "F1")
    rows = []
    for name in ("before fine-tuning", "after fine-tuning", "true label maps"):
        rows.append([name, *(mean_and_spread([of[score] for of in measured[name]], ".3f") for score in scores)])
    return table([f"{measured['canvases']} canvases of 128x128 with 1 to 9 digits", *scores], rows)


def faithfulness(measured: dict, chosen: str) -> str:
    """Exercise 2.3: kind of map -> "validation", "test", "deletion", "insertion" -> mean and half of its interval.

    "validation" is there for the maps among which one is chosen.
    """
    titles = {"validation": "insertion - deletion, validation", "test": "insertion - deletion, test"}
    titles |= {"deletion": "deletion, test", "insertion": "insertion, test"}
    rows = []
    for name, of in sorted(measured.items(), key=lambda item: -item[1]["test"][0]):
        cells = [_interval(of[key]) if key in of else "" for key in titles]
        rows.append([f"{name} (chosen)" if name == chosen else name, *cells])
    return table(["map", *titles.values()], rows)


def advantage(measured: dict, of: str = "against") -> str:
    """Exercise 2.3: kind of map -> layer -> by how much a measure of its maps is larger, and half of its interval.

    `of`: what the table says above the kinds of maps.
    """
    rows = []
    for name, by in measured.items():
        rows.append([name, *(_interval(by[layer], "+.3f") if layer in by else "" for layer in LAYERS)])
    return table([of, *LAYERS], rows)


def randomisation(measured: dict) -> str:
    """Exercise 2.3: what the maps are compared with -> layer -> mean, mean size and share without heat, as a text."""
    names = ("untrained fc", "everything untrained", "another image", "runner-up")
    rows = [[name, *(measured[name][layer] for layer in LAYERS)] for name in names]
    header = "compared with the map of: mean ρ, mean size of ρ, share without heat"
    return table([header, *(f"maps of {layer}" for layer in LAYERS)], rows)


def pointing(measured: dict) -> str:
    """Exercise 2.3: kind of map -> four means, each with half of its interval: two games on two parts."""
    header = [f"{name}, {part}" for name in ("pointing game", "energy in mask") for part in ("validation", "test")]
    rows = [[name, *map(_interval, measured[name])] for name in (*LAYERS, "centre", "chance")]
    return table(["map", *header], rows)


def _interval(mean_and_half: tuple[float, float], form: str = ".3f") -> str:
    mean, half = mean_and_half
    return f"{mean:{form}} ± {half:.3f}"
