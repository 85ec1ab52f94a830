"""Defaults for every pytest run here, `pytest --nbval` included: small budget, no account, nothing overwritten.

What is set in the environment already wins. Notebooks that are run in Jupyter never see this file.
"""

import os
import shutil
from pathlib import Path

os.environ.setdefault("LAB1_PROFILE", "smoke")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")


def pytest_configure(config):
    is_worker = hasattr(config, "workerinput")  # of pytest-xdist: shares the folder that the main process chose
    if "LAB1_OUTPUT" not in os.environ and not is_worker:
        folder = Path(config.rootpath) / "outputs" / "pytest"
        shutil.rmtree(folder, ignore_errors=True)  # checkpoints of the last run would be loaded instead of trained
        os.environ["LAB1_OUTPUT"] = str(folder)
