"""The tables of results: the same from numbers in memory, and as they come back from results.json."""

import json

import numpy as np
import pytest

from lab1.analysis.statistics import Interval, McNemar, mcnemar
from lab1.experiment import tables

WITH, WITHOUT = tables.WITH, tables.WITHOUT


def rows(table):
    """The cells of a Markdown table, header first, without the line between."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert len({len(line) for line in lines}) == 1  # a table of one width
    return lines[:1] + lines[2:]


def from_json(values):
    return json.loads(json.dumps(values, sort_keys=True))


@pytest.fixture
def label_maps():
    return dict.fromkeys(tables.MEASURES, 0.5)


def test_depths_stand_in_order_of_their_size():
    kinds = {"without residual connections": {2: [0.5], 16: [0.25]}, "with residual connections": {2: [1.0], 16: [2.0]}}
    study = {"training loss": kinds, "validation accuracy": kinds, "seeds": 1, "num_epochs": 10}
    table = tables.depths(study, "hidden layers")
    assert table == tables.depths(from_json(study), "hidden layers")
    assert rows(table)[0] == ["after epoch 9", "2 hidden layers", "16 hidden layers"]
    assert rows(table)[2] == ["training loss, without residual connections", "0.500", "0.250"]
    assert rows(table)[3] == ["validation accuracy, with residual connections", "100.0%", "200.0%"]


def test_skip_connections_compares_the_last_epochs():
    history = {"train/loss": [2.0, 1.0], "train/accuracy": [0.1, 0.4], "val/loss": [2, 1.5], "val/accuracy": [0, 0.3]}
    curves = {WITH: [history, history], WITHOUT: [history]}
    pairs = {f"seed {seed}": ([with_skip, 0, 1], [0.25, 0, 1], [1, 1, 1]) for seed, with_skip in enumerate((0.5, 0.7))}
    table = rows(tables.skip_connections(curves, pairs))
    assert table[1] == ["training loss (epoch 10)", "1.000 ± 0.000", "1.000"]
    assert table[4] == ["validation accuracy (epoch 10)", "30.0% ± 0.0%", "30.0%"]
    assert table[5] == ["test accuracy", "60.0% ± 14.1%", "25.0% ± 0.0%"]


def test_paired_tests():
    pairs = {"seed 0": (Interval(0.5, 0.4, 0.6), Interval(0.25, 0.2, 0.3), McNemar(3, 1, 0.0123))}
    table = tables.paired_tests(pairs)
    assert table == tables.paired_tests(from_json(pairs))
    assert rows(table)[1] == ["seed 0", "50.0% [40.0%, 60.0%]", "25.0% [20.0%, 30.0%]", "3", "1", "0.012"]


def test_spread():
    keys = [f"{n}, {q}, epoch {e}" for n in (WITHOUT, WITH) for e in (10, 0) for q in ("gradient x weight", "gradient")]
    measured = {key: [(i / 10, 1.0), (i / 10, 3.0)] for i, key in enumerate(keys)}
    table = tables.spread(measured)
    assert table == tables.spread(from_json(measured))
    first, second = rows(table)[1:3]
    assert first == [f"{WITH}, gradient, epoch 0", "0.700 ± 0.000", "2.000 ± 1.414"]
    assert second[0] == f"{WITHOUT}, gradient, epoch 0" and len(rows(table)) == 9


def test_tables_of_label_maps(label_maps):
    better = label_maps | {"mean IoU": 0.75, "confusion": [[1]]}
    assert [row[0] for row in rows(tables.variants({"FCN-1s": better, "FCN-8s": label_maps}))[1:]] == [
        "FCN-8s",
        "FCN-1s",
    ]
    test = {"all background": [label_maps], "from scratch": [label_maps], "from the classifier": [label_maps, better]}
    table = rows(tables.segmentation(test, [0.9, 0.8], "FCN-2s"))
    assert table[0] == ["FCN-2s on the test digits", *tables.MEASURES]
    assert table[3] == [
        "from the classifier",
        "0.5000 ± 0.0000",
        "0.5000 ± 0.0000",
        "0.6250 ± 0.1768",
        "0.5000 ± 0.0000",
    ]
    assert table[4] == ["the classifier itself", "", "", "", "0.8500 ± 0.0707"]


def test_detection():
    scores = {"precision": 0.5, "recall": 0.25, "F1": 1 / 3}
    names = ("true label maps", "before fine-tuning", "after fine-tuning")
    table = rows(tables.detection({"canvases": 7} | {name: [scores] for name in names}))
    assert table[0][0] == "7 canvases of 128x128 with 1 to 9 digits"
    assert table[1] == ["before fine-tuning", "0.500", "0.250", "0.333"] and table[3][0] == "true label maps"


def test_faithfulness_begins_with_the_best_map():
    def measured(test):
        return {"validation": (0.5, 0.1), "test": (test, 0.1), "deletion": (0.2, 0.1), "insertion": (0.7, 0.1)}

    of_maps = {"layer2": measured(0.3), "layer3": measured(0.4), "random": measured(-0.1)}
    del of_maps["random"]["validation"]
    table = rows(tables.faithfulness(of_maps, "layer2"))
    assert [row[0] for row in table[1:]] == ["layer3", "layer2 (chosen)", "random"]
    assert table[1][1:] == ["0.500 ± 0.100", "0.400 ± 0.100", "0.200 ± 0.100", "0.700 ± 0.100"]
    assert table[3][1:3] == ["", "-0.100 ± 0.100"]


def test_advantage_has_no_cell_for_a_layer_against_itself():
    advantage = {"layer2": {"layer3": (0.1, 0.05), "layer4": (-0.2, 0.05)}}
    table = rows(tables.advantage(advantage, "insertion, against"))
    assert table == [
        ["insertion, against", *tables.LAYERS],
        ["layer2", "", "+0.100 ± 0.050", "-0.200 ± 0.050"],
    ]


def test_tables_of_heatmaps_have_a_row_for_each_map():
    compared = ("another image", "everything untrained", "runner-up", "untrained fc")
    table = rows(
        tables.randomisation({name: {layer: f"{name}, {layer}" for layer in tables.LAYERS} for name in compared})
    )
    assert table[1] == ["untrained fc", *(f"untrained fc, {layer}" for layer in tables.LAYERS)]
    table = rows(tables.pointing({name: [(0.5, 0.1)] * 4 for name in ("centre", "chance", *tables.LAYERS)}))
    assert [row[0] for row in table[1:]] == [*tables.LAYERS, "centre", "chance"]
    assert table[1][1:] == ["0.500 ± 0.100"] * 4


def test_learning_rates_mark_the_best_of_each_row():
    rates = {"plain, 20 layers": {0.1: 0.5, 0.03: 0.25}, "plain, 56 layers": {0.1: 0.125, 0.03: 0.75}}
    header, *found = rows(tables.learning_rates(rates))
    assert header == ["validation accuracy", "learning rate 0.03", "learning rate 0.1"]
    assert found == [["plain, 20 layers", "25.0%", "**50.0%**"], ["plain, 56 layers", "**75.0%**", "12.5%"]]


def test_full_cifar_gives_an_interval_only_over_seeds():
    def record(error):
        part = {"loss": 10 * error, "error": error}
        return {"errors": {"train": part, "val": part, "test": part}}

    one, two = {"plain": [record(0.1)]}, {"plain": [record(0.1), record(0.2), record(0.3)]}
    assert rows(tables.full_cifar(one))[1] == ["plain", "1.000", "10.0%", "10.0%", "10.0%"]
    half = 4.302652729911275 * 0.1 / 3**0.5  # Student's t with two degrees of freedom
    assert rows(tables.full_cifar(two))[1] == ["plain", f"2.000 ± {10 * half:.3f}", *[f"20.0% ± {half:.1%}"] * 3]


def test_differences_are_percentage_points():
    measured = {"a - b": {"training error": Interval(-0.009, -0.02, 0.002), "test error": Interval(0.25, 0.2, 0.3)}}
    assert rows(tables.differences(measured)) == [
        ["percentage points", "training error", "test error"],
        ["a - b", "-0.9 (-2.0 to +0.2)", "+25.0 (+20.0 to +30.0)"],
    ]


def test_pairs_per_seed():
    pairs = {"a / b": [mcnemar(np.array([1, 1, 0], bool), np.array([0, 1, 0], bool))]}
    assert rows(tables.pairs_per_seed(pairs)) == [
        ["right in only the first / only the second", "seed 0"],
        ["a / b", "1 / 0, p = 1.000"],
    ]
