"""The first cell of the notebooks, and the one place that the published address comes from."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted(ROOT.glob("Lab1-CNNs*.ipynb"))
spec = importlib.util.spec_from_file_location("publish", ROOT / "tools/publish.py")
publish = importlib.util.module_from_spec(spec)
spec.loader.exec_module(publish)

REPOSITORY = publish.published((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_every_place_has_the_address_of_the_citation_file():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert publish.readme(readme, REPOSITORY) == readme
    for path in NOTEBOOKS:
        text = path.read_text(encoding="utf-8")
        assert publish.notebook(text, path.name, REPOSITORY) == text, f"run tools/publish.py: {path.name}"


def test_publishing_and_taking_it_back():
    cff = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    for repository in ("first/one", "some-body/lab.1"):
        cff = publish.citation(cff, repository)
        assert publish.published(cff) == repository and cff.count("repository-code:") == 1
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    with_badge = publish.readme(readme, "some-body/lab.1")
    assert with_badge.count("github/some-body/lab.1/blob/main/Lab1-CNNs.ipynb)") == 1
    assert publish.readme(with_badge, REPOSITORY) == readme

    path = NOTEBOOKS[0]
    text = path.read_text(encoding="utf-8")
    with_badge = publish.notebook(text, path.name, "some-body/lab.1")
    assert f"github/some-body/lab.1/blob/main/{path.name})" in with_badge
    assert publish.notebook(with_badge, path.name, REPOSITORY) == text
    assert "colab.research" in text if REPOSITORY else "colab.research" not in text


def run_first_cell(folder, address, *, colab, times=1):
    """Run the cell in a fresh IPython in `folder`; returns whether the last run succeeded, and what was printed."""
    source = publish.CODE.format(address=repr(str(address)))
    source = source.replace("%pip", "#%pip")  # needs the network
    script = f"""
import sys, types
if {colab}: sys.modules["google.colab"] = types.ModuleType("google.colab")
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell()
results = [shell.run_cell({source!r}) for _ in range({times})]
import os
print("\\nfolder:", os.path.basename(os.getcwd()), results[-1].success, repr(results[-1].error_in_exec))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


@pytest.fixture
def repository(tmp_path):
    """A git repository that holds a package lab1."""
    folder = tmp_path / "published"
    (folder / "lab1").mkdir(parents=True)
    (folder / "lab1/__init__.py").write_text("")
    git = ["git", "-c", "user.name=lab", "-c", "user.email=lab@example.com"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "lab"]):
        subprocess.run([*git, *command], cwd=folder, check=True)
    return folder


@pytest.mark.skipif(sys.platform == "win32", reason="Colab runs Linux")
def test_on_colab_the_first_cell_fetches_the_lab_however_often_it_is_run(repository, tmp_path):
    colab = tmp_path / "content"
    colab.mkdir()
    for times in (1, 2):  # the second round: a restarted runtime, in which the clone is still there
        assert run_first_cell(colab, repository, colab=True, times=times) == "folder: lab1-cnns True None"
    assert sorted(path.name for path in colab.iterdir()) == ["lab1-cnns"]


@pytest.mark.parametrize("colab", [True, False])
def test_without_the_lab_the_first_cell_says_what_to_do(colab, tmp_path):
    said = run_first_cell(tmp_path, "", colab=colab)
    assert "False ModuleNotFoundError" in said and "open this notebook in the lab's folder" in said
    assert list(tmp_path.iterdir()) == []


def test_beside_the_lab_the_first_cell_does_nothing():
    assert run_first_cell(ROOT, "", colab=False) == f"folder: {ROOT.name} True None"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_the_first_cell_stands_first(path):
    cells = nbformat.read(path, as_version=4).cells
    assert [cell.id for cell in cells[1:3]] == ["lab1-place", "lab1-import"]
    assert not [cell.id for cell in cells[:2] if cell.cell_type == "code"]
