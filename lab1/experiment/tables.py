"""The tables of results, each once: the notebooks fill them with what they measured, the docs from images/results.json.

Every function takes the numbers as images/results.json holds them and returns a Markdown table.
"""

import statistics

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


def skip_connections(curves: dict, test: dict) -> str:
    """Exercise 2.1: losses and accuracies of ResNet18 after the last epoch, mean and spread over the seeds.

    Args:
        curves: network -> the histories of its trainings, one a seed.
        test: network -> for each seed, the "accuracy" on the test set.
    """
    rows = []
    for part, title in {"train": "training", "val": "validation"}.items():
        for quantity, form in {"loss": ".3f", "accuracy": ".1%"}.items():
            last = [[history[f"{part}/{quantity}"][-1] for history in curves[name]] for name in (WITH, WITHOUT)]
            rows.append([f"{title} {quantity} (epoch 10)", *(mean_and_spread(values, form) for values in last)])
    accuracies = [[measured["accuracy"] for measured in test[name]] for name in (WITH, WITHOUT)]
    rows.append(["test accuracy", *(mean_and_spread(values, ".1%") for values in accuracies)])
    return table(["ResNet18", WITH, WITHOUT], rows)


def paired_tests(test: dict, pairs: list[dict]) -> str:
    """Exercise 2.1: for each seed, test accuracies with their 95% intervals, and the exact McNemar test of the pair.

    Args:
        test: network -> for each seed, "accuracy", "low" and "high".
        pairs: for each seed, how many test images "only_skip" and "only_plain" get right, and "p".
    """
    rows = []
    for seed, pair in enumerate(pairs):
        both = [test[name][seed] for name in (WITH, WITHOUT)]
        intervals = [f"{of['accuracy']:.1%} [{of['low']:.1%}, {of['high']:.1%}]" for of in both]
        rows.append([str(seed), *intervals, str(pair["only_skip"]), str(pair["only_plain"]), f"{pair['p']:.2g}"])
    return table(["test images, seed", WITH, WITHOUT, "right only with", "right only without", "p"], rows)


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
    """Exercise 2.1: the error of trained networks without one of their blocks.

    `measured`: network -> what `lab1.analysis.lesions.lesion_errors` returns.
    """
    rows = []
    for name in sorted(measured):
        kept = [error for block, error in measured[name].items() if block != "none" and not _changes_shape(block)]
        changing = [f"{error:.1%}" for block, error in sorted(measured[name].items()) if _changes_shape(block)]
        errors = (measured[name]["none"], statistics.median(kept), min(kept), max(kept))
        rows.append([name, *(f"{error:.1%}" for error in errors), ", ".join(changing) or "cannot be removed"])
    header = [
        "error on test images",
        "no block removed",
        "one removed that keeps the shape: median",
        "lowest",
        "highest",
    ]
    return table([*header, "one removed that changes the shape"], rows)


def _changes_shape(block: str) -> bool:
    return block.endswith(".0") and not block.startswith("layer1")


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
    """Exercise 2.3: kind of map -> "validation", "test", "deletion", "insertion" -> mean and half of its interval."""
    titles = {"validation": "insertion - deletion, validation", "test": "insertion - deletion, test"}
    titles |= {"deletion": "deletion, test", "insertion": "insertion, test"}
    rows = []
    for name, of in sorted(measured.items(), key=lambda item: -item[1]["test"][0]):
        rows.append([f"{name} (chosen)" if name == chosen else name, *(_interval(of[key]) for key in titles)])
    return table(["map", *titles.values()], rows)


def advantage(measured: dict) -> str:
    """Exercise 2.3: kind of map -> layer -> by how much that layer's maps are more faithful, and half its interval."""
    rows = []
    for name, of in measured.items():
        rows.append([name, *(_interval(of[layer], "+.3f") if layer in of else "" for layer in LAYERS)])
    return table(["against", *LAYERS], rows)


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
