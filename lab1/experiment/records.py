"""What the trainings on all of CIFAR-10 left behind: they take hours, so they were made once, for all notebooks.

benchmarks/full_cifar.py makes the files, and says what is in them.
"""

import json
from pathlib import Path

import numpy as np
import torch

from lab1.analysis.statistics import Interval, McNemar, accuracy_interval, mcnemar, mean_interval

FOLDER = Path(__file__).parents[1] / "records"
DATA = "CIFAR-10, JPEG-compressed copy: 45,000 training, 5,000 validation, 10,000 test images"
SEEDS = (0, 1, 2)  # of the depth study
COMPARED = (  # two networks of the depth study
    ("residual, 56 layers", "residual, 20 layers"),
    ("plain, 56 layers", "plain, 20 layers"),
    ("residual, 20 layers", "plain, 20 layers"),
    ("residual, 56 layers", "plain, 56 layers"),
)


def read(name: str) -> dict:
    """The record of one training, such as "plain-56-seed0".

    Returns:
        Strings: "data", "hardware". Numbers: "seed", "lr" (the highest of the schedule), "threads". "history": the
        lists of `fit`. Unless the name begins with "trial": "errors", part -> "loss" and "error" (0..1) of the trained
        network in eval mode on "train" (without augmentation), "val" and "test", of ResNet18 also "lossless test";
        arrays "predicted" and "labels" (N,) uint8, of the test images, and with "lossless_" before them; "steps" (S,),
        and at these steps "grad_norm" and "weight_norm" (S, layers).

    Raises:
        FileNotFoundError: there is none of that name.
    """
    path = FOLDER / f"{name}.json"
    if not path.exists():
        known = sorted(p.stem for p in FOLDER.glob("*.json"))
        raise FileNotFoundError(f"there is no record {name!r}: there are {', '.join(known) or 'none'}")
    record = json.loads(path.read_text(encoding="utf-8"))
    arrays = path.with_suffix(".npz")
    if arrays.exists():
        with np.load(arrays) as stored:
            record |= dict(stored)
    return record


def depth_study() -> dict[str, list[dict]]:
    """Exercise 1.2: network, such as "plain, 20 layers" -> its records, one a seed."""
    kinds_and_depths = [(kind, depth) for kind in ("plain", "residual") for depth in (20, 56)]
    return {
        f"{kind}, {depth} layers": [read(f"{kind}-{depth}-seed{seed}") for seed in SEEDS]
        for kind, depth in kinds_and_depths
    }


def pairs() -> dict[str, list[McNemar]]:
    """Exercise 1.2: two networks of the depth study -> one test on the same 10,000 test images for each seed."""
    right = {name: [r["predicted"] == r["labels"] for r in seeds] for name, seeds in depth_study().items()}
    return {
        f"{first} / {second}": [mcnemar(*both) for both in zip(right[first], right[second], strict=True)]
        for first, second in COMPARED
    }


def differences() -> dict[str, dict[str, Interval]]:
    """Exercise 1.2: two networks of the depth study -> the first one's error less the second one's, paired over seeds.

    The errors (0..1) are the "training error" and the "test error" of the trained networks.
    """
    study, parts = depth_study(), {"training error": "train", "test error": "test"}
    found: dict[str, dict[str, Interval]] = {}
    for first, second in COMPARED:
        both = list(zip(study[first], study[second], strict=True))
        found[f"{first} - {second}"] = {
            title: mean_interval([a["errors"][part]["error"] - b["errors"][part]["error"] for a, b in both])
            for title, part in parts.items()
        }
    return found


def trials() -> dict[str, dict[float, float]]:
    """Exercise 1.2: network -> learning rate -> its accuracy (0..1) on validation images after three epochs."""
    found: dict[str, dict[float, float]] = {}
    for path in sorted(FOLDER.glob("trial-*.json")):
        _, kind, depth, _ = path.stem.split("-")
        record = read(path.stem)
        found.setdefault(f"{kind}, {depth} layers", {})[record["lr"]] = record["history"]["val/accuracy"][-1]
    return found


def resnet18() -> dict[str, dict]:
    """Exercise 2.1: "with skip connections", "without skip connections" -> the record of ResNet18.

    Its "history" is complete, with "grad_norm" and "weight_norm" (steps, layers) as float32 tensors.
    """
    names = {"with skip connections": "resnet18-residual", "without skip connections": "resnet18-plain"}
    found = {kind: read(name) for kind, name in names.items()}
    for record in found.values():
        record["history"] |= {key: torch.from_numpy(record[key]) for key in ("grad_norm", "weight_norm")}
    return found


def resnet18_pairs() -> dict[str, tuple[Interval, Interval, McNemar]]:
    """Exercise 2.1: which test images -> accuracies of ResNet18 with and without skip connections, and their test."""
    pairs = {}
    for prefix, name in {"": "{}, JPEG-compressed", "lossless_": "{} of them, lossless"}.items():
        first, second = (of[f"{prefix}predicted"] == of[f"{prefix}labels"] for of in resnet18().values())
        pairs[name.format(f"{len(first):,}")] = (
            accuracy_interval(first),
            accuracy_interval(second),
            mcnemar(first, second),
        )
    return pairs


def conditions(study: dict[str, list[dict]]) -> str:
    """Data, hardware and hours of the depth study, in one line."""
    trained = [record for seeds in study.values() for record in seeds]
    hours = sum(minutes(record) for record in trained) / 60
    first = trained[0]
    machine = f"{first['hardware']}, {first['threads']} thread each"
    pace = f"{hours:.1f} hours at the pace of the fastest epoch of each"
    return f"Data: {DATA}. {len(trained)} trainings: {pace}. Hardware: {machine}."


def minutes(record: dict) -> float:
    """How long the training takes at the pace of its fastest epoch; the others shared the machine with other work."""
    seconds = record["history"]["seconds"]
    return len(seconds) * min(seconds) / 60
