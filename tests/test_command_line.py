"""python -m lab1, by itself and under torchrun."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from lab1 import checkpoints
from lab1.__main__ import build, main, make_parser
from lab1.training import distributed, loop

SMALL = ["--data", "mnist", "--num-train", "300", "--num-epochs", "2", "--batch-size", "64"]


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB1_OUTPUT", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def run(*arguments, launcher=()):
    """The command line, on the CPU, in a process of its own; or in two, with TORCHRUN."""
    command = [sys.executable, *launcher, "-m", "lab1", *map(str, arguments)]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


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
        ("--width -4", "argument --width: '-4' is not a whole number above 0"),
        ("--num-train 0", "argument --num-train: '0' is not a whole number above 0"),
        ("--lr fast", "argument --lr: 'fast' is not a number above 0"),
        ("--lr nan", "argument --lr: 'nan' is not a number above 0"),
        ("--seed -1", "argument --seed: '-1' is not a whole number from 0 to 4294967295"),
        ("--num-epochs 1.5", "argument --num-epochs: '1.5' is not a whole number above 0"),
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


def test_a_results_folder_that_cannot_be_written_stops_nothing_but_the_log(capsys, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LAB1_OUTPUT", str(tmp_path / "file"))
    main(["--model", "mlp", *SMALL, "--checkpoint", str(tmp_path / "run.pt")])
    assert "this run is not logged" in capsys.readouterr().out
    assert (tmp_path / "run.pt").exists()


def test_a_damaged_snapshot_is_answered_in_one_line(capsys, tmp_path, monkeypatch):
    (tmp_path / "mnist.npz").write_text("no archive")
    monkeypatch.setenv("LAB1_DATA", str(tmp_path))
    with pytest.raises(SystemExit) as stopped:
        main(["--model", "mlp", *SMALL])
    assert stopped.value.code == 2
    complaint = capsys.readouterr().err
    assert "mnist.npz" in complaint and complaint.count("\n") == 1


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
    names = [f"--{name}" for name in sweep["parameters"]]
    for values in itertools.product(*(of.get("values", [of.get("value")]) for of in sweep["parameters"].values())):
        flags = [f"{name}={value}" for name, value in zip(names, values, strict=True) if not isinstance(value, bool)]
        flags += [name for name, value in zip(names, values, strict=True) if value is True]
        args = make_parser().parse_args(flags)
        build(args.model, args.depth, args.width or 4, not args.no_skip, (3, 32, 32), 10)


def test_a_stopped_run_is_no_success(monkeypatch, tmp_path):
    def stop(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "_train_epoch", stop)
    with pytest.raises(SystemExit) as stopped:
        main(["--model", "mlp", *SMALL])
    assert stopped.value.code == 130


@pytest.fixture
def float32(tmp_path, monkeypatch):
    """Processes that are started compute in float32 even on CPUs with units for bf16, whose rounding grows in steps."""
    path = tmp_path / "startup" / "sitecustomize.py"
    path.parent.mkdir()
    path.write_text("import torch\ntorch.cpu._is_amx_tile_supported = torch.cpu._is_avx512_bf16_supported = bool\n")
    monkeypatch.setenv("PYTHONPATH", str(path.parent))


@pytest.mark.parametrize("num_train, batch_size", [(301, 45), (40, 1)])
def test_two_processes_have_the_losses_of_one(float32, tmp_path, num_train, batch_size):
    """271 images in batches of 38 and 39, of which the processes have unequal shares; a single image for both."""
    size = ["--data", "mnist", "--num-train", num_train, "--num-epochs", 2]
    size += ["--batch-size", batch_size, "--lr", batch_size / 450]
    run("--model", "mlp", "--depth", 3, *size, "--checkpoint", tmp_path / "one.pt")
    said = run("--model", "mlp", "--depth", 3, *size, "--checkpoint", tmp_path / "two.pt", launcher=TORCHRUN)
    assert said.count("epoch  0/1") == 1  # only the first process speaks ...
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 2  # ... and logs: one run for each training
    one, two = (checkpoints.load(tmp_path / f"{name}.pt") for name in ("one", "two"))
    for key in ("train/loss", "train/accuracy", "val/loss", "val/accuracy"):
        torch.testing.assert_close(*(torch.tensor(run["history"][key]) for run in (one, two)), rtol=0, atol=1e-4)
    torch.testing.assert_close(two["model"], one["model"], rtol=0, atol=1e-4)


def test_two_processes_train_a_network_with_batchnorm(tmp_path):
    """Statistics per process: other losses than in one, but not very."""
    sizes = {"depth": 8, "width": 4, "data": "shapes10", "num-train": 200, "num-epochs": 2, "lr": 0.01}
    options = [f"--{name}={value}" for name, value in sizes.items()]
    run(*options, "--checkpoint", tmp_path / "one.pt")
    run(*options, "--checkpoint", tmp_path / "two.pt", launcher=TORCHRUN)
    one, two = (checkpoints.load(tmp_path / f"{name}.pt")["history"]["train/loss"] for name in ("one", "two"))
    assert two == pytest.approx(one, abs=0.2)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_shares_average_to_the_batch(size, count, monkeypatch):
    images, targets, losses, seen = torch.rand(count, 1, 2, 2), torch.arange(count), [], []
    for rank in range(size):
        monkeypatch.setattr(distributed, "rank_and_size", lambda rank=rank: (rank, size))
        mine, my_targets, weight = distributed.share(images, targets)
        losses += [weight * mine.flatten(1).sum(1).mean()]  # any function of an example will do
        seen += my_targets.tolist() if weight else []
    torch.testing.assert_close(sum(losses) / size, images.flatten(1).sum(1).mean())
    assert sorted(seen) == list(range(count))
