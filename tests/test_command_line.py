"""python -m lab1, by itself and under torchrun."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from lab1 import checkpoints
from lab1.__main__ import main
from lab1.distributed import share

SMALL = ["--data", "mnist", "--num-train", "300", "--num-epochs", "2", "--batch-size", "64"]


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB1_OUTPUT", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def torchrun(*arguments):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "lab1"]
    return subprocess.run([*launcher, *map(str, arguments)], capture_output=True, text=True, timeout=300)


def test_help_is_complete(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    said = capsys.readouterr().out
    names = "model depth width no-skip data num-train num-epochs batch-size lr seed name group checkpoint"
    assert all(f"--{name}" in said for name in names.split())


@pytest.mark.parametrize(
    "arguments, said",
    [
        ("--model vgg", "'vgg' (choose from"),
        ("--depth 19", "--depth 19: a resnet has 6n + 2 layers, such as 8, 20, 32, 56 or 110"),
        ("--depth 2", "--depth 2: a resnet has 6n + 2 layers"),
        ("--model resnet18 --depth 34", "--depth 34: resnet18 has 18 layers"),
        ("--width -4", "argument --width: '-4' is no whole number above 0"),
        ("--num-train 0", "argument --num-train: '0' is no whole number above 0"),
        ("--lr fast", "argument --lr: 'fast' is no number above 0"),
        ("--lr nan", "argument --lr: 'nan' is no number above 0"),
        ("--num-epochs 1.5", "argument --num-epochs: '1.5' is no whole number above 0"),
        ("--data imagenet", "'imagenet' (choose from"),
        ("--model mlp --data mnist --num-train 300 --checkpoint /proc/nowhere/run.pt", "/proc/nowhere"),
    ],
)
def test_bad_input_is_answered_in_one_line(arguments, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments.split())
    assert stopped.value.code == 2
    complaint = capsys.readouterr().err
    assert said in complaint and complaint.startswith("python -m lab1: ") and complaint.count("\n") == 1


def test_a_results_folder_that_cannot_be_written_is_answered_in_one_line(capsys, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LAB1_OUTPUT", str(tmp_path / "file"))
    with pytest.raises(SystemExit):
        main(["--model", "mlp", *SMALL, "--checkpoint", str(tmp_path / "file" / "run.pt")])
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_a_run_is_kept_and_loaded(capsys, tmp_path):
    path = tmp_path / "run.pt"
    main(["--model", "mlp", *SMALL, "--checkpoint", str(path)])
    assert "epoch  1/1" in capsys.readouterr().out
    config = checkpoints.load(path)["config"]
    assert (config["model"], config["depth"], config["skip"], config["seed"]) == ("mlp", 2, True, 0)
    main(["--model", "mlp", *SMALL, "--checkpoint", str(path)])
    assert "a finished run of 2 epochs" in capsys.readouterr().out


def test_an_option_that_differs_from_the_checkpoint_is_named(capsys, tmp_path):
    options = ["--model", "mlp", *SMALL, "--checkpoint", str(tmp_path / "run.pt")]
    main(options)
    with pytest.raises(SystemExit):
        main([*options, "--no-skip"])
    assert "skip=True instead of False" in capsys.readouterr().err


def test_every_run_of_the_sweep_is_a_valid_command(capsys):
    sweep = yaml.safe_load(Path("sweep.yaml").read_text(encoding="utf-8"))
    assert sweep["command"][2:] == ["-m", "lab1", "${args_no_boolean_flags}"]
    for name, values in sweep["parameters"].items():
        for value in values.get("values", [values.get("value")]):
            flag = [f"--{name}"] * bool(value) if isinstance(value, bool) else [f"--{name}={value}"]
            with pytest.raises(SystemExit) as stopped:
                main([*flag, "--help"])
            assert stopped.value.code == 0, capsys.readouterr().err


def test_two_processes_have_the_losses_of_one(tmp_path):
    arguments = ["--model", "mlp", "--depth", "3", *SMALL, "--checkpoint"]
    main([*arguments, str(tmp_path / "one.pt")])
    done = torchrun(*arguments, tmp_path / "two.pt")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch  0/1") == 1  # only the first process speaks ...
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 2  # ... and logs: one run for each training
    one, two = (checkpoints.load(tmp_path / f"{name}.pt") for name in ("one", "two"))
    for key in ("train/loss", "train/accuracy", "val/loss", "val/accuracy"):
        torch.testing.assert_close(*(torch.tensor(run["history"][key]) for run in (one, two)), rtol=0, atol=1e-4)
    torch.testing.assert_close(two["model"], one["model"], rtol=0, atol=1e-4)


def test_two_processes_train_a_network_with_batchnorm(tmp_path):
    small = {"depth": 8, "width": 4, "data": "shapes10", "num-train": 100, "num-epochs": 1, "lr": 0.01}
    done = torchrun(*(f"--{name}={value}" for name, value in small.items()), "--checkpoint", tmp_path / "run.pt")
    assert done.returncode == 0, done.stderr
    assert checkpoints.load(tmp_path / "run.pt")["history"]["train/loss"][0] < 5


def test_share_of_one_process_is_everything():
    images, targets = torch.rand(5, 1, 2, 2), torch.arange(5)
    mine, my_targets, weight = share(images, targets)
    assert mine is images and my_targets is targets and weight == 1
