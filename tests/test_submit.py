"""Handing in: what is missing is said, what is there gets into a zip that the grader reads, nothing is lost."""

import zipfile

import nbformat
import pytest
from nbformat import v4

from lab1 import submit


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    return tmp_path


def save(folder, *, prediction="It falls.", code="1 + 1", name="Lab1-CNNs.ipynb"):
    cells = [
        v4.new_markdown_cell("# Exercise 1\n\n**Hand in.** `images/curve.png`"),
        v4.new_markdown_cell(f"**Your prediction:** {prediction}"),
        v4.new_code_cell(code),
    ]
    nbformat.write(v4.new_notebook(cells=cells), folder / name)
    return (folder / name).read_bytes()


def test_a_complete_notebook_is_run_and_packed(folder, capsys):
    before = save(folder, code="from pathlib import Path\nPath('images/curve.png').write_bytes(b'png')")
    assert submit.main(["--student", "s123"]) == 0
    assert "s123.zip: hand in this file" in capsys.readouterr().out
    assert (folder / "Lab1-CNNs.ipynb").read_bytes() == before
    with zipfile.ZipFile("s123.zip") as archive:
        home = "submitted/s123/lab1-cnns"
        assert archive.namelist() == [f"{home}/Lab1-CNNs.ipynb", f"{home}/images/curve.png"]
        notebook = nbformat.reads(archive.read(f"{home}/Lab1-CNNs.ipynb").decode(), as_version=4)
    assert notebook.cells[2].outputs[0]["data"]["text/plain"] == "3"


def test_all_figures_of_the_student_are_packed(folder):
    save(folder, code="'student-images/mine.png'")
    (folder / "images" / "curve.png").write_bytes(b"png")
    (folder / "student-images").mkdir()
    for name in ("mine.png", "not named.png"):
        (folder / "student-images" / name).write_bytes(b"png")
    assert submit.main(["--student", "s123"]) == 0
    with zipfile.ZipFile("s123.zip") as archive:
        names = {name.removeprefix("submitted/s123/lab1-cnns/") for name in archive.namelist()}
    assert names >= {"images/curve.png", "student-images/mine.png", "student-images/not named.png"}


def test_what_is_missing_is_said_and_nothing_written(folder, capsys):
    save(folder, prediction="*double-click here and write it down.*")
    assert submit.main(["--student", "s123", "--no-run"]) == 1
    said = capsys.readouterr().out
    for line in ("no prediction below 'Exercise 1'", "not run: 1 + 1", "images/curve.png is named but not there"):
        assert line in said
    assert "3 missing:" in said and not list(folder.glob("*.zip"))
    assert submit.main(["--student", "s123", "--no-run", "--incomplete"]) == 0
    assert (folder / "s123.zip").exists()


def test_the_instructions_as_they_are_shipped_are_not_accepted(capsys):
    notebook = submit.read(submit.Path(__file__).parent.parent / "Lab1-CNNs.ipynb")
    said = submit.unfinished(notebook)
    predictions = [line for line in said if line.startswith("no prediction")]
    reports = [line for line in said if line.startswith("no report")]
    tasks = [line for line in said if line.startswith("task")]
    assert len(predictions) >= 10 and len(reports) == 5 and len(tasks) == 12


def test_a_cell_that_fails_is_named(folder, capsys):
    save(folder, code="answer = 1 / 0")
    assert submit.main(["--student", "s123"]) == 1
    assert "ZeroDivisionError in the cell: answer = 1 / 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "words", "reason"),
    [
        (None, ["--no-run"], "there is no Lab1-CNNs.ipynb"),
        (b"", ["--no-run"], "is not a notebook"),
        (b"\xff\xfe{", ["--no-run"], "is not a notebook"),
        (b'{"cells": 3}', ["--no-run"], "is not a notebook"),
    ],
)
def test_a_file_that_is_no_notebook(content, words, reason, folder, capsys):
    if content is not None:
        (folder / "Lab1-CNNs.ipynb").write_bytes(content)
    (folder / "s123.zip").write_bytes(b"earlier")
    assert submit.main(["--student", "s123", *words]) == 2
    assert reason in capsys.readouterr().err
    assert (folder / "s123.zip").read_bytes() == b"earlier"


def test_a_dead_kernel_costs_nothing(folder, capsys):
    before = save(folder, code="import os\nos._exit(1)")
    (folder / "s123.zip").write_bytes(b"earlier")
    assert submit.main(["--student", "s123"]) == 2
    assert "stopped the kernel" in capsys.readouterr().err
    assert (folder / "s123.zip").read_bytes() == b"earlier"
    assert (folder / "Lab1-CNNs.ipynb").read_bytes() == before


@pytest.mark.parametrize("student", ["../up", "a b", "", ".hidden", "x/y"])
def test_an_identifier_is_a_file_name(student, folder, capsys):
    with pytest.raises(SystemExit) as end:
        submit.main(["--student", student])
    assert end.value.code == 2 and "--student" in capsys.readouterr().err


def test_the_grader_knows_whose_it_is(folder):
    submissions = pytest.importorskip("lab1.grade.submissions")
    save(folder)
    assert submit.main(["--student", "s123", "--no-run", "--incomplete"]) == 0
    [found] = submissions.find([folder / "s123.zip"], None, folder)
    assert found.student == "s123"
