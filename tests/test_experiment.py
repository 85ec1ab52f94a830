"""train, show and expect: what stands around every training of the notebooks and of `python -m lab1`."""

import contextlib
import io
import json
import re
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from lab1 import MLP, ResNet, checkpoints, experiment
from lab1.data import Dataset
from lab1.experiment import figures, tracking
from lab1.experiment.minutes import expect, expect_training
from lab1.training import loop
from lab1.training.checkpoints import CheckpointError


class Log:
    """In place of W&B: what it was told, for each run's id."""

    def __init__(self):
        self.described, self.epochs, self.summaries, self.data, self.checkpoints = [], {}, {}, [], []

    @contextlib.contextmanager
    def run(self, name, **options):
        self.described.append({"name": name} | options)
        run_id = options["run_id"]

        class Run:
            uses_data = self.data.append
            made_checkpoint = self.checkpoints.append

            def log(_, numbers):
                self.epochs.setdefault(run_id, []).append(numbers["epoch"])

            def summarise(_, values):
                self.summaries[run_id] = values

        yield Run()


@pytest.fixture
def log(monkeypatch):
    log = Log()
    monkeypatch.setattr(tracking, "run", log.run)
    return log


@pytest.fixture(autouse=True)
def output(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB1_OUTPUT", str(tmp_path))
    monkeypatch.setenv("LAB1_PROFILE", "smoke")
    return tmp_path


@pytest.fixture
def squares(tiny):
    parts = [tiny(n, seed) for seed, n in enumerate((24, 12, 12))]
    return Dataset("squares", *parts, tuple("abcd"), (0.3,) * 3, (0.25,) * 3, "squares (built in)")


def build():
    return MLP([3 * 8 * 8, 8, 4])


def train(data, name="small MLP, wide", **options):
    options = {"group": "exercise-0", "num_epochs": 2, "batch_size": 8, "lr": 0.01} | options
    return experiment.train(name, build, data, **options)


def test_a_fresh_run_is_trained_kept_and_logged(log, squares, output, capsys):
    model, history = train(squares, seed=3, config={"wide": True})
    assert history["epoch"] == [0, 1] and not model.training
    (path,) = (output / "model_states").iterdir()
    assert path.name == "small-mlp-wide-seed3-squares-24-smoke.pt"
    stored = checkpoints.load(path)
    assert stored["config"]["seed"] == 3 and stored["config"]["wide"] is True
    (described,) = log.described
    assert described["name"] == "small-mlp-wide-seed3" and described["group"] == "exercise-0"
    assert described["tags"] == ("squares (built in)",)
    expected = {"model": "MLP", "seed": 3, "wide": True, "num_epochs": 2, "batch_size": 8, "lr": 0.01}
    assert expected.items() <= described["config"].items()
    assert described["config"]["data"] == str(squares) and described["config"]["hardware"]
    run_id = stored["notes"]["run_id"]
    assert described["run_id"] == run_id and log.epochs == {run_id: [0, 1]}
    assert log.data == [squares] and log.checkpoints == [path]
    assert log.summaries[run_id]["last/val/accuracy"] == history["val/accuracy"][-1]
    assert "epoch  1/1" in capsys.readouterr().out


def test_the_seed_is_set_before_the_network_is_built(log, squares):
    torch.manual_seed(5)
    expected = build()
    torch.rand(7)
    seen = []

    def build_and_look():
        seen.append(build())
        return seen[0]

    initial = {}

    def optimizer(model):
        initial.update({name: value.clone() for name, value in model.state_dict().items()})
        return torch.optim.SGD(model.parameters(), lr=0.01)

    options = {"group": "g", "num_epochs": 1, "batch_size": 8, "checkpoint": False}
    model, _ = experiment.train("mlp", build_and_look, squares, seed=5, optimizer=optimizer, **options)
    assert model is seen[0]
    torch.testing.assert_close(initial, dict(expected.state_dict()), rtol=0, atol=0)


def wandb_runs(output):
    """The offline runs on disk: a list of the ids, one for each session with W&B."""
    return [folder.name.rsplit("-", 1)[1] for folder in sorted((output / "wandb").glob("offline-run-*"))]


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    for variable in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR"):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)  # and whatever it becomes is undone afterwards


def test_a_loaded_run_adds_nothing_to_wandb(offline, squares, output, capsys):
    model, history = train(squares)
    (run_id,) = wandb_runs(output)
    (path,) = (output / "model_states").iterdir()
    assert checkpoints.load(path)["notes"]["run_id"] == run_id
    again, loaded = train(squares)
    assert wandb_runs(output) == [run_id]
    assert loaded["train/loss"] == history["train/loss"]
    torch.testing.assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)
    assert "a finished run of 2 epochs" in capsys.readouterr().out


def test_another_configuration_leaves_the_finished_run_alone(offline, squares, output):
    train(squares)
    before = wandb_runs(output)
    with pytest.raises(CheckpointError, match="num_epochs=2 instead of 3"):
        train(squares, num_epochs=3)
    assert wandb_runs(output) == before


def test_retrain_is_another_run(log, squares):
    train(squares)
    train(squares, retrain=True)
    first, second = (described["run_id"] for described in log.described)
    assert first != second and log.epochs == {first: [0, 1], second: [0, 1]}


@pytest.fixture
def stop_in_epoch(monkeypatch):
    """stop_in_epoch(n): the next training is interrupted in its epoch n."""

    def install(epoch):
        original, calls = loop._train_epoch, []

        def train_epoch(*args, **options):
            calls.append(None)
            if len(calls) == epoch + 1:
                monkeypatch.setattr(loop, "_train_epoch", original)
                raise KeyboardInterrupt
            return original(*args, **options)

        monkeypatch.setattr(loop, "_train_epoch", train_epoch)

    return install


def test_an_interrupted_study_stops_and_goes_on_in_the_same_runs(log, squares, stop_in_epoch):
    stop_in_epoch(3)  # the second network's second epoch
    trained = []
    with pytest.raises(KeyboardInterrupt, match="small-mlp-wide-seed1 was interrupted: run this again to go on"):
        for seed in range(3):
            trained.append(train(squares, seed=seed))
    assert len(trained) == 1 and [run["name"][-1] for run in log.described] == ["0", "1"]
    first, second = (run["run_id"] for run in log.described)
    assert log.epochs == {first: [0, 1], second: [0]} and list(log.summaries) == [first]
    for seed in range(3):
        train(squares, seed=seed)
    assert [run["run_id"] for run in log.described[2:4]] == [first, second]
    assert len(log.epochs) == 3 and set(log.summaries) == set(log.epochs)


def test_a_continued_run_is_one_curve_in_wandb(offline, squares, output, stop_in_epoch):
    stop_in_epoch(1)
    with pytest.raises(KeyboardInterrupt):
        train(squares)
    train(squares)
    ids, epochs = set(), []
    for folder in sorted((output / "wandb").glob("offline-run-*")):
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        records = [json.loads(line) for line in said.splitlines()]
        ids |= {record["run"]["run_id"] for record in records if record["type"] == "run"}
        for record in records:
            if record["type"] == "history" and "epoch" in record["history"]["item"]:
                epochs.append(record["history"]["item"]["epoch"])
    assert len(ids) == 1 and epochs == [0, 1]


def test_a_study_can_print_one_line_for_each_network(log, squares, capsys):
    for seed in range(2):
        train(squares, "mlp", seed=seed, one_line=True)
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"mlp-seed0 +train loss \d\.\d{3}, val accuracy +\d+\.\d%", first)
    assert second.startswith("mlp-seed1")
    train(squares, "mlp", one_line=True)
    (loaded,) = capsys.readouterr().out.splitlines()
    assert loaded == first + "  (loaded)"
    options = {"group": "g", "num_epochs": 2, "batch_size": 8, "lr": 0.01, "one_line": True}
    experiment.train("mlp", lambda: (torch.rand(1), build())[1], squares, **options)  # other draws, other weights
    assert capsys.readouterr().out == first + "  (loaded; it began with other initial weights)\n"


def test_without_a_checkpoint_nothing_is_kept(log, squares, output):
    train(squares, checkpoint=False)
    assert not (output / "model_states").exists()
    train(squares, checkpoint=output / "mine.pt")
    assert (output / "mine.pt").exists() and not (output / "model_states").exists()


def test_a_checkpoint_from_before_there_were_ids_is_logged_as_a_whole(log, squares, output):
    path = output / "run.pt"
    train(squares, checkpoint=path)
    stored = checkpoints.load(path)
    checkpoints.save(path, stored | {"notes": {}})
    train(squares, checkpoint=path)
    assert log.epochs[log.described[1]["run_id"]] == [0, 1]


def figure():
    figure, axis = plt.subplots()
    axis.plot([1, 2])
    return figure


@pytest.fixture
def displayed(monkeypatch):
    calls = []
    monkeypatch.setattr("IPython.display.display", lambda *args, **options: calls.append((args, options)))
    return calls


def test_show_keeps_shows_and_describes_a_figure(output, displayed):
    drawn = figure()
    experiment.show(drawn, "curve", alt="A line that rises.")
    with Image.open(output / "images" / "curve.png") as image:
        assert image.format == "PNG"
    ((shown,), options), *others = displayed
    assert options == {"metadata": {"image/png": {"alt": "A line that rises."}}, "raw": True} and not others
    assert shown["text/plain"] == repr(drawn) and Image.open(io.BytesIO(shown["image/png"])).format == "PNG"
    assert not plt.get_fignums()  # so that the notebook does not show it twice


def test_a_large_picture_is_shown_as_jpeg(output, displayed):
    noise, axis = plt.subplots()
    axis.imshow(np.random.default_rng(0).random((300, 300, 3)))
    experiment.show(noise, alt="Noise.")
    ((shown,), options) = displayed[0]
    assert options["metadata"] == {"image/jpeg": {"alt": "Noise."}} and "image/png" not in shown
    assert len(shown["image/jpeg"]) < figures.LARGE
    assert Image.open(io.BytesIO(shown["image/jpeg"])).format == "JPEG"


def test_show_without_a_name_keeps_nothing(output, displayed):
    experiment.show(figure(), alt="A line.")
    assert len(displayed) == 1 and not (output / "images").exists()


def test_figures_stand_in_images_outside_of_smoke(tmp_path, monkeypatch, displayed):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LAB1_OUTPUT")
    monkeypatch.setenv("LAB1_PROFILE", "cpu")
    experiment.show(figure(), "curve", alt="A line.")
    assert (tmp_path / "images" / "curve.png").exists()


def test_kept_figures_are_uploaded_by_name(output, monkeypatch):
    monkeypatch.setattr(figures, "_kept", {})
    one, two = figure(), figure()
    experiment.keep(one, "one")
    experiment.keep(two, "two.jpg")
    with Image.open(output / "images" / "two.jpg") as image:
        assert image.format == "JPEG"
    sent = {}

    class Run:
        def figure(self, name, figure):
            sent[name] = figure

    experiment.upload(Run(), "one", "two")
    assert sent == {"one": one, "two": two}
    with pytest.raises(ValueError, match="no figure was kept as three: run the cells that show them first"):
        experiment.upload(Run(), "one", "three")


def test_expected_minutes_come_from_the_second_of_two_steps(monkeypatch, capsys):
    clock, steps = iter([100.0, 102.0]), []
    monkeypatch.setattr("lab1.experiment.minutes.time.perf_counter", lambda: next(clock))
    expect("90 networks", lambda: steps.append(None), 90)
    assert capsys.readouterr().out == "expect 3.0 minutes for 90 networks\n"
    assert len(steps) == 2


def test_expected_minutes_of_trainings_are_those_of_all_networks(monkeypatch, capsys, squares):
    def minutes(model, train, val, *, num_epochs, batch_size, runs):
        assert train is squares.train and val is squares.val
        return runs * num_epochs * batch_size / 100

    monkeypatch.setattr("lab1.training.expected_minutes", minutes)
    networks = (ResNet((1,), width=2) for _ in range(2))
    expect_training("all CNNs", networks, squares, num_epochs=5, batch_size=8, runs=3)
    assert capsys.readouterr().out == "expect 2.4 minutes for all CNNs\n"


def test_lineage_names_the_networks_of_the_session(log, squares):
    for name in ("first", "second"):
        experiment.train(name, lambda: MLP([192, 4]), squares, group="g", num_epochs=1)
    used = []
    run = type("Run", (), {"uses_checkpoint": lambda self, path: used.append(path.name)})()
    experiment.uses(run, "first")
    assert len(used) == 1 and used[0].startswith("first-seed0-")
    with pytest.raises(KeyError, match="third"):
        experiment.uses(run, "third")
