"""Minutes until `fit` has the validation accuracy that the usual script has after ten epochs.

python -m benchmarks.time_to_accuracy     three seeds, hours on a CPU; a seed that is in results.json is not run again
"""

import json
import statistics
import time

import matplotlib.pyplot as plt
import torch

from benchmarks.harness import FOLDER, record
from benchmarks.usual_script import UsualScript
from lab1 import ResNet18, data, plots, training
from lab1.basics.device import default_device, hardware

SEEDS = (0, 1, 2)
SCRIPT_EPOCHS = 10
RECIPE = {"num_epochs": 4, "batch_size": 16, "lr": 0.01}  # of `fit`: few epochs, many small steps


def race(cifar: data.Dataset, seed: int) -> dict[str, list[tuple[float, float]]]:
    """Both trainings, their epochs in turn: (minutes so far, validation accuracy) after each, evaluation included."""
    torch.manual_seed(seed)
    script, ours = UsualScript(cifar.train, cifar.val, default_device()), ResNet18()
    curves = {"the usual script": [], "fit": []}

    def add(name: str, seconds: float, accuracy: float) -> None:
        before = curves[name][-1][0] if curves[name] else 0.0
        curves[name].append((before + seconds / 60, accuracy))
        print(f"seed {seed}, {name}: {accuracy:.1%} after {curves[name][-1][0]:.1f} minutes", flush=True)

    def script_epochs(until: float) -> None:
        while len(curves["the usual script"]) < until:
            start = time.perf_counter()
            script.epoch()
            accuracy = script.accuracy()
            add("the usual script", time.perf_counter() - start, accuracy)

    def after_epoch(numbers: dict) -> None:
        add("fit", numbers["seconds"], numbers["val/accuracy"])
        script_epochs(until=len(curves["fit"]) * SCRIPT_EPOCHS / RECIPE["num_epochs"])

    training.fit(ours, cifar.train, cifar.val, **RECIPE, seed=seed, log=after_epoch)
    if len(curves["fit"]) < RECIPE["num_epochs"]:  # `fit` ends early when it is interrupted; a race does not count then
        raise KeyboardInterrupt
    return curves


def undisturbed(curves: dict) -> bool:
    """No epoch took twice its arm's fastest: otherwise the machine was busy with other things, or asleep."""
    for points in curves.values():
        minutes = [0.0, *(m for m, _ in points)]
        epochs = [b - a for a, b in zip(minutes, minutes[1:], strict=False)]
        if max(epochs) > 2 * min(epochs):
            return False
    return True


def share_of_time(curves: dict) -> float | None:
    """Our time to the script's last accuracy, in shares of the script's time; None if it was not reached."""
    minutes, target = curves["the usual script"][-1]
    return next((m / minutes for m, accuracy in curves["fit"] if accuracy >= target), None)


def draw(seeds: dict[str, dict], source: str) -> None:
    with plt.rc_context(plots.STYLE):
        figure, axis = plt.subplots(figsize=(8, 4.5))
        for name, colour in (("fit", plots.BLUE), ("the usual script", plots.VERMILION)):
            for i, curves in enumerate(seeds.values()):
                minutes, accuracies = zip(*curves[name], strict=True)
                axis.plot(minutes, accuracies, "o-", color=colour, markersize=4, label=name if i == 0 else None)
        for curves in seeds.values():
            axis.axhline(curves["the usual script"][-1][1], color=plots.GREY, lw=0.8, ls=":")
        axis.set(xlabel="minutes", ylabel="validation accuracy", xlim=(0, None))
        axis.yaxis.set_major_formatter(plots.ticker.PercentFormatter(1, decimals=0))
        axis.legend()
        plots.save(plots._sign(figure, source), FOLDER / "time_to_accuracy.png")


def main() -> None:
    cifar = data.load("cifar10")
    conditions = {"data": str(cifar), "hardware": hardware(), "torch": torch.__version__, "recipe": RECIPE}
    measured = json.loads((FOLDER / "results.json").read_text()).get("time_to_accuracy", {})
    seeds = measured.get("seeds", {}) if {key: measured.get(key) for key in conditions} == conditions else {}
    for seed in SEEDS:
        if str(seed) not in seeds:
            curves = race(cifar, seed)
            if not undisturbed(curves):
                print(f"seed {seed} does not count, an epoch took twice as long as usual: run this again")
                continue
            seeds = seeds | {str(seed): curves}
            record("time_to_accuracy", conditions | {"seeds": seeds})
            draw(seeds, f"{cifar}; {hardware()}")
    shares = [share_of_time(curves) for curves in seeds.values()]
    print("share of the script's time:", ", ".join("not reached" if s is None else f"{s:.2f}" for s in shares))
    if shares and None not in shares:
        print(f"median {statistics.median(shares):.2f}")


if __name__ == "__main__":
    main()
