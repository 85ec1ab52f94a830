"""The grader's files for other tools: Gradescope, Moodle, Canvas, JUnit, and the page of statistics."""

import csv
import json
import os
import subprocess
import xml.etree.ElementTree as ElementTree
import zipfile
from argparse import Namespace
from pathlib import Path

import pytest
from grading import CHECKS, found_of, solved

from lab1.grade import autograder, formats, stats
from lab1.grade.__main__ import export, main
from lab1.grade.report import Report, latest
from lab1.grade.submissions import Submission

ROOT = Path(__file__).resolve().parent.parent


def test_gradescope(tmp_path):
    formats.gradescope([found_of(results=solved())], tmp_path / "results.json")
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["score"] == 2 and len(found["tests"]) == 12 and found["tests"][0]["visibility"] == "visible"
    formats.gradescope([], tmp_path / "results.json")
    assert json.loads((tmp_path / "results.json").read_text())["score"] == 0


def test_gradescope_hears_of_a_submission_without_a_notebook(tmp_path, capsys):
    (tmp_path / "submission").mkdir()
    with pytest.raises(SystemExit):
        main([str(tmp_path / "submission"), "--out", str(tmp_path), "--gradescope", str(tmp_path / "results.json")])
    assert "Hand in one notebook" in json.loads((tmp_path / "results.json").read_text())["output"]
    assert "no submission is there" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="no shell scripts")
def test_gradescope_gets_results_of_a_grader_that_crashed(tmp_path):
    script = (ROOT / "lab1/grade/autograder/run_autograder").read_text().replace("/autograder", str(tmp_path))
    (tmp_path / "source").mkdir()
    (tmp_path / "results").mkdir()
    subprocess.run(["bash", "-c", script], capture_output=True)  # there is no Python at all
    found = json.loads((tmp_path / "results" / "results.json").read_text())
    assert found["score"] == 0 and "tell your teacher" in found["output"]


def test_autograder_zip(tmp_path):
    from lab1.grade.autograder.__main__ import main as make

    assert make([str(tmp_path / "a.zip")]) == 0 and autograder.__doc__
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert {"setup.sh", "run_autograder", "requirements.txt", "lab1/grade/__main__.py"} <= set(archive.namelist())
        assert archive.getinfo("run_autograder").external_attr >> 16 & 0o100


def test_moodle_worksheet(tmp_path):
    sheet = tmp_path / "sheet.csv"
    columns = "Identifier,Full name,Status,Grade,Maximum grade,Last modified (grade),Feedback comments\n"
    sheet.write_text(f"{columns}Participant 12,Änn,Submitted,,100.00,-,\nParticipant 13,Bob,No submission,,100.00,-,\n")
    unknown = formats.moodle([found_of(results=solved()), found_of(student="99")], sheet, tmp_path / "out.csv")
    rows = list(csv.DictReader((tmp_path / "out.csv").open(encoding="utf-8", newline="")))
    most = sum(check.latest.max_points for check in CHECKS.values())
    assert float(rows[0]["Grade"]) == round(200 / most, 2) and "MLP 2 of" in rows[0]["Feedback comments"]
    assert rows[0]["Full name"] == "Änn" and rows[1]["Grade"] == "" and unknown == ["99"]


def test_canvas_gradebook(tmp_path):
    book = tmp_path / "book.csv"
    book.write_text("Student,ID,Section,Lab 1 (77)\n    Points Possible,,,10\nLee,12,A,\n", encoding="utf-8-sig")
    formats.canvas([found_of(results=solved(), student="12")], book, "Lab 1 (77)", tmp_path / "out.csv")
    rows = list(csv.DictReader((tmp_path / "out.csv").open(newline="")))
    assert float(rows[1]["Lab 1 (77)"]) > 0 and rows[0]["Lab 1 (77)"] == "10"
    with pytest.raises(ValueError, match=r"no assignment 'Lab 2'; it has: Lab 1 \(77\)"):
        formats.canvas([], book, "Lab 2", tmp_path / "out.csv")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_gradebooks_of_other_settings(separator, encoding, tmp_path):
    rows = [
        ["Student", "ID", "SIS Login ID", "Lab 1 (77)", "Current Score"],
        ["", "", "", "Manual Posting", ""],
        ["    Points Possible", "", "", "10,0", "(read only)"],
        ['O\'Néil, "Änn"', "12", "änn", "", "7"],
        ["Lee, Bob", "13", "", "3", ""],
    ]
    with (tmp_path / "book.csv").open("w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=separator, quoting=csv.QUOTE_ALL).writerows(rows)
    every = [found_of(results=solved(64)), found_of("b.ipynb", "13", failure="empty")]
    assert formats.canvas(every, tmp_path / "book.csv", "Lab 1 (77)", tmp_path / "out.csv") == []
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        written = list(csv.reader(file, delimiter=separator))
    grade = written[3].pop(3)
    assert 0 < float(grade) < 10 and rows[3].pop(3) == "" and written == rows


def test_the_latest_of_several_gradings_is_exported(tmp_path):
    (tmp_path / "book.csv").write_text("Student,ID,Lab 1 (77)\nLee,12,\n")
    every = [found_of(f"lee_12_{n}_lab.ipynb", attempt=(n, 0), results=solved(n - 6)) for n in (9, 10)]
    formats.canvas(every[::-1], tmp_path / "book.csv", "Lab 1 (77)", tmp_path / "out.csv")
    points = every[1]["row"]["points"]
    assert f"Lee,12,{points}" in (tmp_path / "out.csv").read_text() and points != every[0]["row"]["points"]


@pytest.mark.parametrize("times", [(10.0, 20.0), (0.0, 0.0)])
@pytest.mark.parametrize("names", [("a.ipynb", "z.ipynb"), ("z.ipynb", "a.ipynb")])
def test_what_was_handed_in_again_counts_once(names, times, tmp_path):
    """The later file, or else what was graded later; the names, and the order in the folder, do not matter."""
    (tmp_path / "sheet.csv").write_text("Identifier,Grade,Last modified (grade)\nParticipant 12,,\n")
    report = Report(tmp_path / "report")
    for name, handed_in, points in zip(names, times, (2, 3), strict=True):
        found = found_of(name, handed_in=handed_in, results=solved(points))
        report.write(Submission(name, "12", None), found, "page")
    for name in ("x.ipynb", "y.ipynb"):  # of students whom nobody knows
        report.write(Submission(name, "", None), found_of(name, "", results=solved()), "page")
    options = dict.fromkeys(("gradescope", "junit", "canvas"))
    export(Namespace(**options, out=report.folder, moodle=tmp_path / "sheet.csv", stats=True))
    assert "Participant 12,3," in (report.folder / "moodle.csv").read_text()
    assert "3 of 3 submissions" in (report.folder / "stats.html").read_text()


def test_a_report_of_an_older_version_is_read(tmp_path):
    old, new = found_of(results=solved(2)), found_of("b.ipynb", results=solved(3))
    del old["order"]
    assert latest([new, old]) == [new]


@pytest.mark.parametrize("title", ["Lab 2 (78)", "Current Score", "Student", "Lab 1"])
def test_a_title_that_canvas_does_not_know_is_refused(title, tmp_path):
    (tmp_path / "book.csv").write_text("Student,ID,Lab 1 (77),Current Score\n")
    with pytest.raises(ValueError, match=r"it has: Lab 1 \(77\)"):
        formats.canvas([], tmp_path / "book.csv", title, tmp_path / "out.csv")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("Identifier,Grade\n".encode("utf-16"), "not UTF-8"),
        (b"ID,Name\n", "no column 'Identifier'"),
        (b"", "no column"),
        (b"Identifier,Grade,Grade,Last modified (grade)\n", "two columns 'Grade'"),
    ],
)
def test_a_table_that_is_no_worksheet_is_refused(content, words, tmp_path):
    (tmp_path / "sheet.csv").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        formats.moodle([], tmp_path / "sheet.csv", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_junit(tmp_path):
    every = [found_of(results=solved()), found_of("bob.ipynb", failure="empty")]
    formats.junit(every, tmp_path / "junit.xml")
    first, second = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert first.get("failures") == "12" and second.get("errors") == "12" and len(first) == 12


def test_stats(tmp_path):
    stats.write([found_of(results=solved()), found_of("bob.ipynb", failure="empty")], tmp_path / "stats.html")
    text = (tmp_path / "stats.html").read_text()
    assert "1 of 2 submissions" in text and "A layer is missing." in text and text.count("<img alt=") == 2
