"""What ResNet18-FCN costs: images a second and memory, for batches of digits and for one large canvas.

python -m benchmarks.segmentation TASK BATCH_SIZE SIDE     one measurement, in a process of its own for its memory
"""

import json
import statistics
import sys
import time

import torch

from benchmarks.harness import in_a_new_process, peak_bytes
from lab1 import ResNet18FCN, data, segmentation, training
from lab1.experiment.results import table

TRAINING, INFERENCE = "training", "inference"
SIZES = ((32, 28), (1, 512))  # batch size, height and width


def measure(task: str, batch_size: int, side: int, repeats: int = 5) -> dict[str, float]:
    """Images a second (median of the repetitions, the first not counted), and what the task adds to the peak memory."""
    digits = data.load("mnist", num_train=1000, num_test=100, download=False).train
    drawn = {"size": (side, side), "num_digits": (1, 1), "scale": (0.75, 1)}
    canvas = segmentation.digit_canvas(digits.images, digits.labels, batch_size, **drawn)
    canvases = data.ImageSet(canvas.images, canvas.targets, digits.mean, digits.std)
    model = ResNet18FCN()
    torch.optim.SGD(torch.nn.Linear(1, 1).parameters())  # loads what the first optimizer loads
    before, seconds = peak_bytes(), []
    if task == TRAINING:
        seconds = training.fit(model, canvases, num_epochs=1 + repeats, batch_size=batch_size)["seconds"]
    for _ in range(1 + repeats if task == INFERENCE else 0):
        start = time.perf_counter()
        training.predict(model, canvases, batch_size=batch_size)
        seconds.append(time.perf_counter() - start)
    images = batch_size / statistics.median(seconds[1:])
    return {"task": task, "batch size": batch_size, "side": side} | {
        "images a second": images,
        "megapixels a second": images * side**2 / 1e6,
        "megabytes": (peak_bytes() - before) / 1e6,
    }


def run(quick: bool) -> list[dict]:
    sizes = ((32, 28), (1, 128)) if quick else SIZES
    return [
        in_a_new_process("benchmarks.segmentation", task, *map(str, size))
        for size in sizes
        for task in (TRAINING, INFERENCE)
    ]


def markdown(measured: list[dict]) -> str:
    rows = []
    for m in measured:
        speed = f"{m['images a second']:.3g}", f"{m['megapixels a second']:.3f}"
        rows += [[f"{m['task']}, {m['batch size']} x {m['side']} x {m['side']}", *speed, f"{m['megabytes']:.0f}"]]
    return table(["ResNet18-FCN", "images a second", "megapixels a second", "MB that it adds"], rows)


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
