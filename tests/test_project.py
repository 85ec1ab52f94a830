"""What holds for the repository as a whole."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted(ROOT.glob("Lab1-CNNs*.ipynb"))


def test_import_is_light():
    heavy = ("torch", "wandb", "matplotlib", "torchmetrics", "torchvision", "IPython", "scipy")
    script = f"import sys, lab1; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_public_names():
    import lab1

    assert all(hasattr(lab1, name) for name in lab1.__all__)
    assert {"ResNet", "ResNet18", "GradNormLogger", "data", "training", "checkpoints"} <= set(lab1.__all__)


def test_only_tracking_imports_wandb():
    importing = [
        p.name for p in (ROOT / "lab1").rglob("*.py") if re.search(r"^\s*(import|from) wandb\b", p.read_text(), re.M)
    ]
    assert importing == ["tracking.py"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_is_committed_as_it_was_run(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert "widgets" not in notebook.metadata
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not re.search(r"/(home|root|tmp|work|Users)/", json.dumps(outputs))
    assert "widget-view" not in json.dumps(outputs)
    assert max(len(cell.source.splitlines()) for cell in code) <= 25


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_compares_some_outputs_under_nbval(path):
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    compared = [c for c in code if c.outputs and "nbval-ignore-output" not in c.metadata.get("tags", [])]
    assert len(compared) >= 5


def test_constraints_hold_every_requirement():
    constraints = (ROOT / "constraints.txt").read_text()
    for file in ROOT.glob("requirements*.txt"):
        for line in file.read_text().splitlines():
            if name := re.match(r"[\w-]+", line):
                assert re.search(rf"^{name[0]}==", constraints, re.M), name[0]


def test_pyproject_keeps_no_list_of_its_own():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert {"dependencies", "optional-dependencies"} <= set(project["project"]["dynamic"])
    assert project["tool"]["setuptools"]["dynamic"]["dependencies"] == {"file": ["requirements.txt"]}


def test_jupyterlab_would_write_the_same_metadata():
    """What it writes when it opens a notebook; test_browser opens one."""
    for path in NOTEBOOKS:
        metadata = nbformat.read(path, as_version=4).metadata
        kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
        assert metadata.kernelspec == kernel
        assert metadata.language_info.pop("version").startswith("3.")
        assert metadata.language_info == {
            "codemirror_mode": {"name": "ipython", "version": 3},
            "file_extension": ".py",
            "mimetype": "text/x-python",
            "name": "python",
            "nbconvert_exporter": "python",
            "pygments_lexer": "ipython3",
        }
