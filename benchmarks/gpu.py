"""Everything that wants a GPU, in one go.

python -m benchmarks.gpu           with a GPU: all of the following
python -m benchmarks.gpu --tiny    1 and 2 in a size that any computer can do, to see that they work

1. Trains ResNet18 with and without skip connections for 11 epochs on all the CIFAR-10 there is; test accuracy, minutes.
2. A step with and without torch.compile, and after how many steps compiling has paid for itself; and how often the
   CPU waits for the GPU in an epoch of one step and of 21 (the same number: never between steps).
3. The table of `python -m benchmarks`.
4. Exercise 2.1 in its `full` budget: notebook, figures, README (`make figures`).
"""

import argparse
import os
import subprocess
import sys
import time
import warnings

import torch

from benchmarks.harness import FOLDER, compare, interleave, record
from benchmarks.training_step import Step
from lab1 import ResNet, ResNet18, data, training
from lab1.basics.device import default_device, hardware


def both_networks(cifar: data.Dataset, network, num_epochs: int) -> dict:
    """Test accuracy of both networks, and the minutes of both trainings together."""
    measured, start = {}, time.perf_counter()
    for skip in (True, False):
        torch.manual_seed(0)
        model = network(skip)
        training.fit(model, cifar.train, cifar.val, num_epochs=num_epochs)
        _, measured[f"test accuracy, skip={skip}"] = training.evaluate(model, cifar.test)
    return measured | {"minutes": (time.perf_counter() - start) / 60}


def compiled_step(cifar: data.Dataset, network) -> dict:
    """Seconds that the first compiled step takes, and the steps until they are earned back; None if they never are."""
    batch = tuple(t.to(default_device()) for t in cifar.train.batch(range(min(128, len(cifar.train)))))
    torch.manual_seed(0)
    plain, compiled = (Step(batch, network(True)) for _ in range(2))
    compiled.model.compile()  # in place: parameters keep their names, and so do checkpoints
    start = time.perf_counter()
    compiled()
    seconds = time.perf_counter() - start
    row = compare("", interleave({"compiled": compiled, "plain": plain}, 20), "compiled", "plain", "")
    saved = row.b_seconds - row.a_seconds
    steps = round(seconds / saved) if saved > 0 else None
    return {"compiled step, in times of a plain one": row.ratio, "seconds to compile": seconds, "steps to pay": steps}


def waits_for_the_gpu(cifar: data.Dataset, network) -> dict:
    """How many operations of an epoch without a progress bar wait for the device; none without CUDA."""
    batch = tuple(t.to(default_device()) for t in cifar.train.batch(range(32)))
    found = {}
    for num_steps in (1, 21):
        step = Step(batch, network(True))
        step()
        if torch.cuda.is_available():
            torch.cuda.set_sync_debug_mode("warn")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step(num_steps)
        if torch.cuda.is_available():
            torch.cuda.set_sync_debug_mode("default")
        found[f"waits in an epoch of {num_steps} steps"] = sum("synchroniz" in str(w.message) for w in caught)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="a small network, few images, nothing but outputs/ written")
    tiny = parser.parse_args().tiny
    if not tiny and not torch.cuda.is_available():
        parser.error("there is no CUDA device; --tiny shows on the CPU that this script works")
    cifar = data.load("cifar10", *((64, 32) if tiny else ()))
    network = (lambda skip: ResNet((1, 1), width=8, skip=skip)) if tiny else (lambda skip: ResNet18(skip=skip))
    measured = {"data": str(cifar), **both_networks(cifar, network, 2 if tiny else 11)}
    measured |= compiled_step(cifar, network) | waits_for_the_gpu(cifar, network)
    for name, value in measured.items():
        print(f"{name}: {value}")
    record("gpu", measured, FOLDER.parent / "outputs/benchmarks.json" if tiny else FOLDER / "results.json")
    if not tiny:
        run = {"cwd": FOLDER.parent, "check": True, "env": os.environ | {"LAB1_PROFILE": "full"}}
        for command in (["-m", "benchmarks"], ["tools/execute.py", "--in-place"], ["tools/readme_tables.py"]):
            subprocess.run([sys.executable, *command], **run)
    print(f"done on {hardware()}")


if __name__ == "__main__":
    main()
