"""The students' edition: complete, runnable in an empty folder, and without any answer."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from model_answers import ANSWERS

ROOT = Path(__file__).resolve().parent.parent
specification = importlib.util.spec_from_file_location("release", ROOT / "tools" / "release.py")
release = importlib.util.module_from_spec(specification)
specification.loader.exec_module(release)


def inside(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return [name.partition("/")[2] for name in archive.namelist()]


@pytest.fixture
def editions(tmp_path, monkeypatch):
    """Builds both editions in a folder of their own, and returns it."""
    monkeypatch.setattr(release, "DIST", ROOT / "outputs" / "dist")
    monkeypatch.setattr(sys, "argv", ["release.py"])
    shutil.rmtree(release.DIST, ignore_errors=True)
    release.DIST.mkdir(parents=True)
    assert release.main() == 0
    return release.DIST


def test_the_same_bytes_twice(editions):
    first = {path.name: path.read_bytes() for path in editions.glob("*.zip")}
    for path in editions.glob("*.zip"):
        path.unlink()
    for name in release.tracked()[:20]:
        os.utime(ROOT / name)
    assert release.main() == 0
    assert first == {path.name: path.read_bytes() for path in editions.glob("*.zip")}
    assert len(first) == 2


def test_what_students_get(editions, monkeypatch):
    [zipped] = editions.glob("lab1-students-*.zip")
    names = inside(zipped)
    assert {"Lab1-CNNs.ipynb", "README.md", "Makefile", "requirements.txt", "tools/execute.py"} <= set(names)
    assert {"lab1/models/resnet.py", "lab1/checks/__init__.py", "tests/test_mlp.py"} <= set(names)
    assert not [name for name in names if "Exercise" in name or "solutions" in name or "answers" in name]
    assert not [name for name in names if name.startswith(("images/", "benchmarks/", ".github/"))]
    with zipfile.ZipFile(zipped) as archive:
        texts = {name: archive.read(name).decode("utf-8", "replace") for name in archive.namelist()}
    for name, answer in ANSWERS.items():
        body = squeezed(answer.partition("\n")[2])
        assert len(body) > 40
        assert not [path for path, text in texts.items() if body in squeezed(text)], f"the answer to {name} is inside"
    readme = next(text for name, text in texts.items() if name.endswith("/README.md") and "model_states" not in name)
    assert "%" not in readme and "±" not in readme  # no results, which would give predictions away
    assert set(release.tracked()) == set(inside(next(editions.glob("lab1-[0-9]*.zip"))))
    monkeypatch.setattr(sys, "argv", ["release.py", "--with-worked"])
    assert release.main() == 0
    assert "Lab1-CNNs-Exercise1.ipynb" in inside(next(editions.glob("*-with-worked.zip")))


def squeezed(text: str) -> str:
    return re.sub(r"\\n|[\s\\\"]", "", text)


@pytest.mark.slow
def test_the_students_edition_works_in_an_empty_folder(editions, tmp_path):
    """`make run` and `make test` with the environment that is there; of the package's tests the quick ones."""
    [zipped] = editions.glob("lab1-students-*.zip")
    with zipfile.ZipFile(zipped) as archive:
        archive.extractall(tmp_path)
    folder = tmp_path / zipped.stem
    (folder / ".venv").symlink_to(sys.prefix)  # a link, because make knows no names with spaces
    installed = ["-o", ".venv/installed", "-o", ".venv/bin/python"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("LAB1_", "PYTEST"))}
    environment["LAB1_DATA"] = str(tmp_path / "data")
    environment["PYTEST_ADDOPTS"] = "-k 'test_mlp or test_resnet or test_profiles or test_submit or ipynb'"
    for target in ("run", "test"):
        words = ["make", *installed, target]
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert re.search(r"\d+ passed", done.stdout) and "ERROR" not in done.stdout
    assert (folder / "outputs/run/notebooks/Lab1-CNNs.ipynb").exists()
    leftover = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "tests"], cwd=folder, capture_output=True, text=True
    )
    assert leftover.returncode == 0, leftover.stdout[-2000:]
