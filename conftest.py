"""Defaults for every pytest run here, `pytest --nbval` included: small budget, no account, nothing overwritten.

What is set in the environment already wins. Notebooks that are run in Jupyter never see this file.
"""

import os
import shutil
import time
from pathlib import Path
from queue import Empty

import pytest
from nbval.kernel import RunningKernel

os.environ.setdefault("LAB1_PROFILE", "smoke")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")


def pytest_configure(config):
    is_worker = hasattr(config, "workerinput")  # of pytest-xdist: shares the folder that the main process chose
    if "LAB1_OUTPUT" not in os.environ and not is_worker:
        folder = Path(config.rootpath) / "outputs" / "pytest"
        shutil.rmtree(folder, ignore_errors=True)  # checkpoints of the last run would be loaded instead of trained
        os.environ["LAB1_OUTPUT"] = str(folder)


def get_message(self: RunningKernel, stream: str, timeout: float | None = None, wait=RunningKernel.get_message) -> dict:
    """As nbval's, but looks every second whether the kernel still lives, instead of waiting out a dead one's cell."""
    deadline = float("inf") if timeout is None else time.monotonic() + timeout
    while True:
        try:
            return wait(self, stream, timeout=max(0.0, min(1.0, deadline - time.monotonic())))
        except Empty:
            if not self.is_alive():
                pytest.fail("the kernel died in this cell. Was there too little memory?", pytrace=False)
            if time.monotonic() >= deadline:
                raise


RunningKernel.get_message = get_message
