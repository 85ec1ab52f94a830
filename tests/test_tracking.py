"""The offline run is read back from disk with wandb's own tool: what a reviewer will see after `wandb sync`."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

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
    monkeypatch.setenv("WANDB_DATA_DIR", "")
    monkeypatch.delenv("WANDB_DATA_DIR")  # and whatever it becomes is undone afterwards


def read_back(folder):
    """All records of the only run in a folder."""
    (run,) = (folder / "wandb").glob("offline-run-*")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(run)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return run, [json.loads(line) for line in lines]


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


def test_table_with_pictures(tmp_path):
    grey, colour = np.random.rand(8, 9), np.random.rand(8, 9, 3)
    with tracking.run("gradcam", group="exercise-2.3") as run:
        run.table("heatmaps", [{"image": colour, "map": grey, "class": "cat", "probability": 0.25}] * 2)
    _, records = read_back(tmp_path)
    (artifact,) = (r["artifact"] for r in records if r["type"] == "artifact")
    files = {entry["path"]: Path(entry["local_path"]) for entry in artifact["manifest"]["contents"]}
    assert all(tmp_path in path.parents for path in files.values())  # not in the user's home
    table = json.loads(files["tables/heatmaps.table.json"].read_text())
    assert table["columns"] == ["image", "map", "class", "probability"]
    image, heat, *rest = table["data"][1]
    assert rest == ["cat", 0.25]
    stored = np.asarray(Image.open(files[heat["path"]]))
    np.testing.assert_allclose(stored.reshape(8, 9, -1)[..., 0] / 255, grey, atol=1 / 255)
    np.testing.assert_allclose(np.asarray(Image.open(files[image["path"]])) / 255, colour, atol=1 / 255)


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
    assert capsys.readouterr().out.count("logged no further") == 1


def test_without_a_login_it_is_offline_and_never_asks(tmp_path):
    """In a process of its own without credentials, with standard input open: a prompt would wait for ever."""
    script = "from lab1.experiment import tracking\nwith tracking.run('a', group='b') as run: run.log({'epoch': 0})"
    env = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "PYTHONPATH": ".",
        "LAB1_OUTPUT": str(tmp_path),
        "LAB1_PROFILE": "smoke",
    }
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=env, stdin=subprocess.PIPE, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "W&B: offline run in" in done.stdout
    read_back(tmp_path)
