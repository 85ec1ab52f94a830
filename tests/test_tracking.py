"""The offline run is read back from disk with wandb's own tool: what a reviewer will see after `wandb sync`."""

import base64
import io
import json
import math
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from lab1 import data
from lab1.analysis.segmentation import label_map
from lab1.experiment import tracking

METRICS = {
    "epoch": 0,
    "train/loss": 2.0,
    "train/accuracy": 0.1,
    "val/loss": 2.5,
    "val/accuracy": 0.3,
    "grad_norm/layer1.0.conv1.weight": 0.7,
}


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB1_OUTPUT", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("LAB1_PROFILE", "smoke")
    for variable in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR"):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)  # and whatever it becomes is undone afterwards


def inspect(run):
    """All records of a run's folder."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(run)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


def read_back(folder):
    """The folder and all records of the only run in a folder."""
    (run,) = (folder / "wandb").glob("offline-run-*")
    return run, inspect(run)


def history(records):
    rows = []
    for record in records:
        if record["type"] == "history":
            rows.append(record["history"])
    return rows


def test_offline_run_holds_everything(tmp_path, capsys):
    options = {"group": "exercise-2.1", "tags": ("CIFAR-10 (snapshot)",), "config": {"lr": 0.1, "skip": True}}
    with tracking.run("resnet18-skip", **options) as run:
        for epoch, accuracy in enumerate((0.3, 0.6, 0.5)):
            run.log(METRICS | {"epoch": epoch, "val/accuracy": accuracy})
        figure = Figure()
        figure.subplots().plot([1, 2])
        run.figure("curve", figure)
        run.summarise({"test/accuracy": 0.55})
    assert "offline run in" in capsys.readouterr().out
    folder, records = read_back(tmp_path)
    (description,) = [r["run"] for r in records if r["type"] == "run"][:1]
    assert description["display_name"] == "resnet18-skip"
    assert description["project"] == "lab1-cnns"
    assert description["run_group"] == "exercise-2.1"
    assert description["job_type"] == "train"
    assert description["tags"] == ["CIFAR-10 (snapshot)", "smoke"]
    assert description["config"]["update"]["lr"] == 0.1 and description["config"]["update"]["skip"] is True
    text = json.dumps(history(records))
    for metric in METRICS:
        assert metric in text
    defined = {m.get("name") or m.get("glob_name"): m for m in (r["metric"] for r in records if r["type"] == "metric")}
    for metric in ("train/*", "val/*", "grad_norm/*"):
        assert defined[metric]["step_metric"] == "epoch"
    assert defined["val/accuracy"]["summary"] == {"max": True}
    assert "test/accuracy" in json.dumps(records)
    assert list(folder.glob("files/media/images/figures/curve_*.png"))
    assert records[-1]["type"] == "exit" or any(r["type"] == "exit" for r in records)


def test_a_table_keeps_its_pictures_when_the_folder_moves(tmp_path):
    grey, colour = np.random.rand(8, 9), np.random.rand(8, 9, 3)
    rows = [{"image": colour, "map": grey, "class": "<cat>", "probability": 0.25}, {"image": grey} | {"map": colour}]
    with tracking.run("gradcam", group="exercise-2.3") as run:
        run.table("heat maps/all", rows)
    folder, _ = read_back(tmp_path)
    moved = folder.rename(tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "wandb")
    (row,) = history(inspect(moved))
    page = (moved / "files" / row["item"]["tables/heat maps/all.path"]).read_text()
    assert "&lt;cat&gt;" in page and "0.25" in page
    pictures = [base64.b64decode(data) for data in re.findall('src="data:image/png;base64,([^"]+)"', page)]
    for picture, expected in zip(pictures, (colour, grey, grey, colour), strict=True):
        np.testing.assert_allclose(np.asarray(Image.open(io.BytesIO(picture))) / 255, expected, atol=1 / 255)


def test_masks_can_be_switched_on(tmp_path, digits):
    images, labels = digits[0][:3], digits[1][:3]
    target = label_map(images, labels)
    with tracking.run("fcn", group="exercise-2.2") as run:
        run.segmentations("typical", images[:, 0] / 255, target.flip(1), target, tuple("0123456789") + ("background",))
    folder, records = read_back(tmp_path)
    (row,) = [row["item"] for row in history(records) if "segmentations/typical.all_masks" in row["item"]]

    def stored(path):
        with Image.open(folder / "files" / path) as picture:
            return torch.from_numpy(np.array(picture.convert("L"))).long()

    for i, masks in enumerate(row["segmentations/typical.all_masks"]):
        assert torch.equal(stored(masks["prediction"]["path"]), target[i].flip(0))
        assert torch.equal(stored(masks["ground truth"]["path"]), target[i])
        assert torch.equal(stored(row["segmentations/typical.filenames"][i]), images[i, 0].long())
    assert len(masks) == 2 and i == 2
    assert '"10": "background"' in json.dumps(records)


def test_run_is_finished_and_marked_when_the_experiment_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), tracking.run("fails", group="test") as run:
        run.log(METRICS)
        raise ZeroDivisionError
    _, records = read_back(tmp_path)
    assert len(history(records)) == 1
    (end,) = [r["exit"] for r in records if r["type"] == "exit"]
    assert end["exit_code"] == 1


def test_failure_of_init_falls_back_to_offline(tmp_path, monkeypatch, capsys):
    import wandb

    true_init = wandb.init

    def init(mode, **options):
        if mode == "online":
            raise wandb.errors.CommError("no network")
        return true_init(mode=mode, **options)

    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr(wandb, "init", init)
    with tracking.run("resnet18-skip", group="test") as run:
        run.log(METRICS)
    assert "no network; logging offline instead" in capsys.readouterr().out
    assert history(read_back(tmp_path)[1])


def test_failure_of_everything_stops_nothing(monkeypatch, capsys):
    import wandb

    def fail(*args, **kwargs):
        raise RuntimeError("W&B is down")

    monkeypatch.setattr(wandb, "init", fail)
    with tracking.run("resnet18-skip", group="test") as run:
        run.log(METRICS)
        run.summarise({"a": 1})
        run.figure("curve", Figure())
    assert "could not be started (W&B is down)" in capsys.readouterr().out


def test_failure_while_logging_is_said_once(monkeypatch, capsys):
    with tracking.run("resnet18-skip", group="test") as run:
        monkeypatch.setattr(run._run, "log", lambda metrics: 1 / 0)
        run.log(METRICS)
        run.log(METRICS)
    assert capsys.readouterr().out.count("logging of this run stops here") == 1


def test_nothing_of_the_computer_is_recorded(tmp_path):
    with tracking.run("private", group="test") as run:
        run.log(METRICS)
        print("a line that the notebook shows")
    _, records = read_back(tmp_path)
    assert "environment" not in {record["type"] for record in records}
    text = json.dumps(records)
    for word in (f'"{platform.node()}"', sys.executable, "git@", "github.com", "bin/pytest", "a line that"):
        assert word not in text, word


def test_a_loaded_checkpoint_makes_no_second_run(tmp_path, capsys):
    run_id = tracking.new_id()
    for _ in range(2):
        with tracking.run("resnet18-skip", group="test", run_id=run_id) as run:
            for epoch in range(3):
                run.log(METRICS | {"epoch": epoch})
    folder, records = read_back(tmp_path)
    assert folder.name.endswith(run_id)
    assert [row["item"]["epoch"] for row in history(records)] == [0, 1, 2]
    assert "is finished, and logged already" in capsys.readouterr().out


def test_a_killed_run_is_continued(tmp_path):
    run_id = tracking.new_id()
    script = (
        "import os\nfrom lab1.experiment import tracking\n"
        f"with tracking.run('a', group='b', run_id='{run_id}') as run:\n"
        "    run.log({'epoch': 0, 'val/loss': 2.0})\n    run.log({'epoch': 1, 'val/loss': 1.0})\n    os._exit(9)"
    )
    assert in_a_process_of_its_own(tmp_path, script).returncode == 9
    with tracking.run("a", group="b", run_id=run_id) as run:
        for epoch in range(4):  # what `fit` does with a run that it continues
            run.log({"epoch": epoch, "val/loss": 0.5})
    folders = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert len(folders) == 2 and all(run_id in folder.name for folder in folders)
    killed, continued = map(inspect, folders)
    assert [row["item"]["epoch"] for row in history(continued)] == [2, 3]
    assert {row["item"]["epoch"] for row in history(killed)} <= {0, 1}
    assert all(record["run"]["resume"] for record in continued if record["type"] == "run")


def test_an_evaluation_is_one_run_however_often_its_cell_runs(tmp_path):
    for _ in range(2):
        with tracking.run("a", group="b", job_type="evaluate") as run:
            run.summarise({"test/accuracy": 0.5})
    with tracking.run("another", group="b", job_type="evaluate"):
        pass
    records = [record for folder in (tmp_path / "wandb").glob("offline-run-*") for record in inspect(folder)]
    assert len({record["run"]["run_id"] for record in records if record["type"] == "run"}) == 2
    assert len({tracking.new_id() for _ in range(1000)}) == 1000


def test_lineage(tmp_path):
    """Which data made which checkpoint made which figure, offline: inputs and results of two runs, by digest."""
    dataset, weights = data.load("shapes10", 40), tmp_path / "a b.pt"
    weights.write_bytes(b"weights")
    figure = Figure()
    with tracking.run("first", group="b") as run:
        run.uses_data(dataset)
        run.made_checkpoint(weights)
    _, first = read_back(tmp_path)
    shutil.rmtree(tmp_path / "wandb")
    with tracking.run("second", group="b", job_type="evaluate") as run:
        run.uses_checkpoint(weights)
        run.figure("heat/maps", figure)
    _, second = read_back(tmp_path)

    def artifacts(records, kind):
        return [r["artifact"] for r in records if r["type"] == "artifact" and r["artifact"]["type"] == kind]

    (used,), (made,), (again,) = artifacts(first, "dataset"), artifacts(first, "model"), artifacts(second, "model")
    assert used["use_after_commit"] and "use_after_commit" not in made and again["use_after_commit"]
    entries = {entry["path"]: entry for entry in used["manifest"]["contents"]}
    assert entries["train"]["ref"] == f"crc32://{dataset.train.fingerprint:08x}"
    assert not any("local_path" in entry for entry in entries.values())
    assert (made["name"], made["digest"]) == (again["name"], again["digest"])
    assert artifacts(second, "figure")[0]["name"] == "figure-heat-maps"
    code = {entry["path"] for entry in artifacts(first, "code")[0]["manifest"]["contents"]}
    assert {"lab1/training/loop.py", "lab1/experiment/tracking.py"} <= code
    assert artifacts(first, "code")[0]["digest"] == artifacts(second, "code")[0]["digest"]


def test_an_early_nan_does_not_become_the_best(tmp_path):
    with tracking.run("a", group="b") as run:
        for epoch, loss in enumerate((math.nan, 2.0, math.inf, 3.0)):
            run.log({"epoch": epoch, "val/loss": loss, "grad_norm/fc.weight": math.nan})
    _, records = read_back(tmp_path)
    updates = [record["summary"]["update"] for record in records if record["type"] == "summary"]
    assert [update["val/loss"] for update in updates if "val/loss" in update][-1] == {"min": 2}
    assert [row["item"]["epoch"] for row in history(records)] == [0, 1, 2, 3]


@pytest.mark.parametrize("when", ["before a run", "before a log", "at the end"])
def test_a_hanging_wandb_is_left_behind(when, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tracking, "SECONDS", dict.fromkeys(tracking.SECONDS, 3))
    with tracking.run("warm-up", group="b"):
        pass

    def stop():
        for child in psutil.Process().children():
            if child.name().startswith("wandb-core"):
                child.send_signal(signal.SIGSTOP)

    start = time.monotonic()
    if when == "before a run":
        stop()
    with tracking.run("hangs", group="b") as run:
        if when == "before a log":
            stop()
        for epoch in range(3):
            run.log(METRICS | {"epoch": epoch, "text": "x" * 1_000_000})
        if when == "at the end":
            stop()
    assert time.monotonic() - start < 20
    assert "no answer within 3 s" in capsys.readouterr().out
    with tracking.run("later", group="b", run_id="later") as run:  # in a new process of W&B's
        run.log(METRICS)
    (folder,) = (tmp_path / "wandb").glob("offline-run-*-later")
    assert history(inspect(folder))


LOG = """
from lab1.experiment import tracking
with tracking.run("a", group="b", run_id="id") as run:
    run.log({"epoch": 0})
"""


def in_a_process_of_its_own(tmp_path, script=LOG, **environment):
    """Without credentials, with standard input open: a prompt would wait for ever."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)} | environment
    environment |= {"PYTHONPATH": str(Path.cwd()), "LAB1_OUTPUT": str(tmp_path), "LAB1_PROFILE": "smoke"}
    command = [sys.executable, "-c", script]
    options = {"cwd": tmp_path, "stdin": subprocess.PIPE, "capture_output": True, "text": True, "timeout": 120}
    return subprocess.run(command, env=environment, **options)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WANDB_API_KEY": "abc"},
        {"WANDB_API_KEY": "no key!", "WANDB_MODE": "online"},
        {"WANDB_MODE": "of line"},
        {"HOME": "/proc/1/read-only"},
    ],
    ids=["no login", "malformed key", "malformed key, online", "malformed mode", "read-only home"],
)
def test_it_falls_back_to_offline(environment, tmp_path):
    done = in_a_process_of_its_own(tmp_path, **environment)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert "W&B: offline run in" in done.stdout
    assert history(read_back(tmp_path)[1])


def test_wandb_disabled_is_respected(tmp_path):
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "settings").write_text("[default]\nmode = disabled\n")  # what `wandb disabled` writes
    done = in_a_process_of_its_own(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "W&B: disabled\n"
    assert not list((tmp_path / "wandb").glob("*run-*"))


def test_two_runs_at_once_with_odd_names(tmp_path):
    with tracking.run("a/b c", group="group/with blank") as outer, tracking.run("ü", group="b") as inner:
        for run in (outer, inner):
            run.log(METRICS)
            run.figure("a/b c", Figure())
    folders = list((tmp_path / "wandb").glob("offline-run-*"))
    assert [len(history(inspect(folder))) for folder in folders] == [2, 2]


def test_a_sweep_keeps_its_id_and_project(tmp_path):
    agents = {"WANDB_SWEEP_ID": "sweep1", "WANDB_RUN_ID": "agents", "WANDB_PROJECT": "of-the-course"}
    done = in_a_process_of_its_own(tmp_path, **agents)
    assert done.returncode == 0 and not done.stderr, done.stderr
    folder, records = read_back(tmp_path)
    assert folder.name.endswith("-agents")
    assert {record["run"]["project"] for record in records if record["type"] == "run"} == {"of-the-course"}
