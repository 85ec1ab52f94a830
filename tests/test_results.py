import json

import numpy as np
import pytest

from lab1.experiment import results


@pytest.fixture(autouse=True)
def output(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB1_OUTPUT", str(tmp_path))


def test_parts_are_kept_beside_each_other(tmp_path):
    results.record("exercise-2.1", {"loss": 1.5})
    results.record("exercise-2.2", {"iou": [0.9]})
    path = results.record("exercise-2.1", {"loss": 1.0})
    assert path == tmp_path / "images" / "results.json"
    assert json.loads(path.read_text()) == {"exercise-2.1": {"loss": 1.0}, "exercise-2.2": {"iou": [0.9]}}


def test_damaged_file_is_left_alone(tmp_path):
    (tmp_path / "images").mkdir()
    path = tmp_path / "images" / "results.json"
    path.write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        results.record("exercise-2.1", {})
    assert path.read_text() == "{"


def test_values_that_json_cannot_hold_change_nothing(tmp_path):
    path = results.record("a", {"x": 1})
    with pytest.raises(TypeError):
        results.record("a", {"x": object()})
    assert json.loads(path.read_text()) == {"a": {"x": 1}}


def test_table():
    assert (
        results.table(["a", "b"], [["x", 0.12345], ["y", "z"]]) == "| a | b |\n| --- | --- |\n| x | 0.123 |\n| y | z |"
    )


def test_mean_and_spread():
    assert results.mean_and_spread([1.0, 2.0, 3.0], ".2f") == "2.00 ± 1.00"  # n - 1 in the denominator
    assert results.mean_and_spread([0.5], ".1%") == "50.0%"
    assert results.mean_and_spread([0.5, float("nan")], ".1f") == "nan ± nan"
    assert results.mean_and_spread(np.array([1.0, 3.0]), "+.1f") == "+2.0 ± 1.4"


def test_mean_and_interval():
    mean, half = results.mean_and_interval(np.array([1.0, np.nan, 3.0]))
    assert (mean, half) == (2.0, pytest.approx(1.96))  # standard deviation sqrt(2), of two values
    assert np.isnan(results.mean_and_interval(np.array([1.0, np.nan]))).all()


def test_counted():
    assert [results.counted(n, "seed") for n in (0, 1, 3)] == ["0 seeds", "1 seed", "3 seeds"]
