"""How time and memory of `fit` grow with the number of images, the depth and the width of a ResNet, and with steps.

python -m benchmarks.growth     each point in a process of its own; about five minutes, on Linux
"""

import argparse
import json
import os
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from benchmarks.harness import FOLDER, in_a_new_process, peak_bytes, record
from lab1 import ResNet, data, plots, training
from lab1.basics.device import default_device, hardware

BASE = {"images": 256, "blocks": 1, "width": 16}  # CIFAR ResNet: 6 * blocks + 2 layers
DOUBLINGS = 4  # points: 1, 2, 4, 8 times the base
NUM_STEPS = 10_000


def measure(images: int, blocks: int, width: int) -> dict[str, float]:
    """Seconds of an epoch of batches of 64 (the second one), and what `fit` adds to the peak memory of the process."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (images, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (images,), generator=generator)
    torch.optim.SGD(torch.nn.Linear(1, 1).parameters())  # loads what the first optimizer loads
    before = peak_bytes()
    train = data.ImageSet(pixels, labels, (0.5,) * 3, (0.25,) * 3, augment=True)
    history = training.fit(
        ResNet((blocks,) * 3, width=width), train, num_epochs=2, batch_size=64, record_gradients=True
    )
    return {"seconds": history["seconds"][1], "megabytes": (peak_bytes() - before) / 1e6}


def long_run() -> dict[str, float]:
    """What the process grows by over 10,000 recorded steps in ten epochs, after the first one."""
    images, labels = torch.randn(NUM_STEPS // 10, 1, 8, 8, 8), torch.randint(0, 4, (NUM_STEPS // 10, 1))
    steps = [(x.expand(1, 8, 8, 8)[:, :3], y) for x, y in zip(images, labels, strict=True)]
    resident = []

    def note(numbers):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        resident.append(pages * os.sysconf("SC_PAGE_SIZE"))

    start = time.perf_counter()
    model = ResNet((1, 1), num_classes=4, width=2)
    history = training.fit(model, steps, num_epochs=10, record_gradients=True, device="cpu", log=note)
    logged = history["grad_norm"].nbytes + history["weight_norm"].nbytes
    return {
        "steps": len(history["grad_norm"]),
        "seconds": time.perf_counter() - start,
        "megabytes grown": (resident[-1] - resident[0]) / 1e6,
        "megabytes logged": logged * 9 / 10 / 1e6,
    }


def draw(measured: dict, source: str) -> None:
    with plt.rc_context(plots.STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(11, 4.4))
        factors = 2.0 ** np.arange(DOUBLINGS)
        for axis, quantity in zip(axes, ("seconds", "megabytes"), strict=True):
            for (name, points), colour in zip(measured.items(), (plots.BLUE, plots.VERMILION, plots.GREY), strict=True):
                values = [p[quantity] for p in points]
                axis.plot(factors, values, "o-", color=colour, label=f"{name} (1 = {BASE[name]})")
            axis.set_xscale("log", base=2)
            plots._log_scale(axis)
            axis.set(xlabel="times the smallest", ylabel=quantity, xticks=factors)
            axis.xaxis.set_major_formatter(plots.ticker.FormatStrFormatter("%g"))
        axes[0].set_title("one epoch of fit")
        axes[1].set_title("memory that fit adds at its peak")
        axes[0].legend()
        plots.save(plots._sign(figure, source), FOLDER / "growth.png")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    for name in BASE:
        parser.add_argument(f"--{name}", type=int, help="measure this one point and print it as JSON")
    point = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    if point:
        print(json.dumps(measure(**point)))
        return
    measured = {}
    for name in BASE:
        points = [BASE | {name: BASE[name] * 2**i} for i in range(DOUBLINGS)]
        measured[name] = [
            point | in_a_new_process("benchmarks.growth", *(f"--{key}={value}" for key, value in point.items()))
            for point in points
        ]
        for before, after in zip(measured[name], measured[name][1:], strict=False):
            ratios = ", ".join(f"{q} x {after[q] / before[q]:.2f}" for q in ("seconds", "megabytes"))
            print(f"{name} {before[name]} -> {after[name]}: {ratios}")
    steps = long_run()
    print(steps)
    record("growth", {"points": measured, "steps": steps})
    draw(measured, f"{hardware()}, {default_device().type}; ResNet of 6n + 2 layers, batches of 64")


if __name__ == "__main__":
    main()
