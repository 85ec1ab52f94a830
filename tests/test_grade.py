"""The grader's parts that need no kernel: what is read, what is written, and the command line."""

import csv
import io
import json
import os
import re
import subprocess
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

import pytest
from grading import CHECKS, FUNCTIONS, notebook

from lab1.grade import autograder, formats, sandbox, stats, submissions
from lab1.grade.__main__ import main
from lab1.grade.notebook import Cell, Unreadable, parse, plain, read_bytes
from lab1.grade.outputs import MOST_PRINTED, Outputs
from lab1.grade.page import next_steps, page
from lab1.grade.report import Report, details, safe, table
from lab1.grade.run import Grading, missing_calls
from lab1.grade.submissions import Submission, find
from lab1.grade.work import prepare, written

ROOT = Path(__file__).resolve().parent.parent
GOOD = notebook("x = 1", "y = 2")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (bytes(1000), "empty"),
        (GOOD[: len(GOOD) // 2], "ends too early"),
        (b"<<<<<<< HEAD\n" + GOOD, "merge conflict"),
        (GOOD.replace(b'"cells"', b'\n<<<<<<< HEAD\n"cells"'), "merge conflict"),
        (b"null", "holds null"),
        (b"[]", "holds []"),
        (b"{}", "no cells"),
        (b"\n<!DOCTYPE html><html></html>", "web page"),
        (b"PK\x03\x04rest", "zip"),
        (b"%PDF-1.7", "PDF"),
        (b"print(1)", "another kind of file"),
        (b"[" * 100_000, "nested too deeply"),
        (notebook("x", kernelspec={"name": "ir", "language": "R", "display_name": "R"}), "notebook for R"),
        (notebook("x", language_info={"name": "julia"}), "notebook for julia"),
        (GOOD.replace(b"x = 1", b"x = \x00"), "damaged in line"),
    ],
)
def test_what_is_no_notebook_is_told_in_words(content, words):
    with pytest.raises(Unreadable, match=re.escape(words)):
        parse(content)


def test_what_can_be_read_of_a_notebook_is_read():
    odd = [
        {"cell_type": "code"},
        {"cell_type": "widget", "source": "x"},
        {"cell_type": "heading", "level": 2, "source": "Title"},
        {"cell_type": "code", "source": ["a = 1\r\n", "b = '\ud800'"]},
        "not a cell",
        {"cell_type": "code", "source": "c = 3"},
    ]
    cells, remarks = parse(json.dumps({"cells": odd}).encode())
    assert [(cell.kind, cell.source) for cell in cells] == [
        ("code", ""),
        ("raw", "x"),
        ("markdown", "## Title"),
        ("code", "a = 1\nb = '?'"),
        ("raw", ""),
        ("code", "c = 3"),
    ]
    assert [cell.number for cell in cells] == [1, 0, 0, 2, 0, 3]
    assert len(remarks) == 3 and "no source" in remarks[0] and "unknown kind, widget" in remarks[1]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_other_encodings(encoding):
    content = json.dumps({"cells": [{"cell_type": "code", "source": "x = 'ü'"}]}, ensure_ascii=False).encode(encoding)
    cells, remarks = parse(content)
    assert cells[0].source == "x = 'ü'" and len(remarks) == (encoding != "utf-8-sig")


def test_version_three():
    old = {"nbformat": 3, "worksheets": [{"cells": [{"cell_type": "code", "input": ["x = 1"]}]}]}
    assert parse(json.dumps(old).encode())[0] == [Cell("code", "x = 1", 1)]


@pytest.mark.skipif(os.name == "nt", reason="no links and pipes")
def test_only_small_regular_files_are_read(tmp_path):
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**30)
    for name, words in (
        ("link", "a link"),
        ("pipe", "no regular"),
        ("sparse", "1,024 MB"),
        ("none", "cannot be opened"),
    ):
        with pytest.raises(Unreadable, match=words):
            read_bytes(tmp_path / name)


def test_every_student_has_a_row(tmp_path):
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "lab.ipynb").write_bytes(GOOD)
    (tmp_path / "ann" / "helpers.py").write_text("x = 1")
    (tmp_path / "bob" / "empty").mkdir(parents=True)
    (tmp_path / "eve").mkdir()
    (tmp_path / "eve" / "lab.ipynb").symlink_to(tmp_path / "ann" / "lab.ipynb")
    found = find([tmp_path], None, tmp_path)
    assert [each.name for each in found] == ["ann/lab.ipynb", "bob", "eve/lab.ipynb"]
    jobs = [prepare(each) for each in found]
    assert [job.unreadable[:12] for job in jobs] == ["", "there is no ", "it is a link"]
    assert jobs[0].beside == {"helpers.py": b"x = 1"}


LAYOUTS = {
    "nbgrader": ("submitted/ann/lab1/Lab1-CNNs.ipynb", "submitted/bob/lab1/Lab1-CNNs.ipynb"),
    "Moodle": ("Ann Lee_12345_assignsubmission_file/lab.ipynb", "Bob_678_assignsubmission_file_/a b/lab.ipynb"),
    "Moodle, without folders": ("Ann_12345_assignsubmission_file_lab.ipynb", "Bo 2_678_assignsubmission_file_l.ipynb"),
    "Canvas": ("leeann_123_456_lab.ipynb", "bobby_LATE_77_459_lab-1.ipynb"),
}
IDENTIFIERS = {"nbgrader": ["ann", "bob"], "Canvas": ["123", "77"]}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("zipped", [False, True])
def test_layouts_of_the_tools(layout, zipped, tmp_path):
    folder = tmp_path / "given"
    for name in LAYOUTS[layout]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(GOOD)
    source = folder
    if zipped:
        source = tmp_path / "all.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for name in LAYOUTS[layout]:
                archive.write(folder / name, name)
    found = sorted(each.student for each in find([source], None, tmp_path))
    assert found == IDENTIFIERS.get(layout, ["12345", "678"])


@pytest.mark.parametrize(
    ("name", "student"),
    [
        ("Bob_14_assignsubmission_file_/submitted/13/lab1/x.ipynb", "14"),
        ("Bob_14_assignsubmission_file_/Eve_13_assignsubmission_file_/x.ipynb", "14"),
        ("Bob_14_assignsubmission_file_Eve_13_assignsubmission_file_x.ipynb", "14"),
        ("bob_14_2_eve_13_99_x.ipynb", "14"),
        ("submitted/bob/lab1/Eve_13_assignsubmission_file_/x.ipynb", "bob"),
        ("submitted/bob/submitted/eve/lab1/x.ipynb", "bob"),
    ],
)
def test_nobody_hands_in_for_somebody_else(name, student, tmp_path):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(GOOD)
    assert [each.student for each in find([tmp_path], None, tmp_path)] == [student]
    [named] = find([tmp_path / name], None, tmp_path)
    assert named.student == student


@pytest.mark.skipif(os.name == "nt", reason="no pipes")
def test_what_looks_like_a_zip_or_never_ends_is_a_notebook_by_its_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.ipynb", "w") as archive:
        archive.writestr("submitted/eve/lab1/x.ipynb", GOOD)
    os.mkfifo(tmp_path / "b.ipynb")
    jobs = [prepare(each) for each in find([tmp_path / "a.ipynb", tmp_path / "b.ipynb"], None, tmp_path)]
    assert [job.submission.student for job in jobs] == ["", ""] and "no regular file" in jobs[1].unreadable


HANDED_IN = {  # by the tool: files, and what they are: student, notebook, whether it is one
    "Moodle": {
        "Jürgen Ödön O'Néil_12_assignsubmission_file_/Übung 1 (final).ipynb": "12",
        "Jürgen Ödön O'Néil_12_assignsubmission_onlinetext_/onlinetext.html": "",
        "Ann 2_13_assignsubmission_onlinetext/onlinetext.html": "13 without",
        "Bob_14_assignsubmission_file/report.pdf": "14 without",
    },
    "Canvas": {
        "mülleränn_1_10_lab.ipynb": "",
        "mülleränn_1_10_lab-2.ipynb": "",
        "mülleränn_LATE_1_12_lab-1.ipynb": "1",
        "bob_2_9_report.pdf": "2 without",
        "eve_3_9_report.pdf": "",
        "eve_3_8_lab.ipynb": "3",
    },
}


@pytest.mark.parametrize("tool", HANDED_IN)
def test_every_student_of_a_tool_has_one_row(tool, tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in HANDED_IN[tool]:
            archive.writestr(name, GOOD)
    found = find([tmp_path / "all.zip"], None, tmp_path)
    rows = sorted(each.student + ("" if each.path else " without") for each in found)
    assert rows == sorted(filter(None, HANDED_IN[tool].values()))
    assert all(HANDED_IN[tool][each.name] == each.student for each in found if each.path)


def test_two_folders_with_the_same_names_lose_nobody(tmp_path):
    for group in ("a", "b"):
        (tmp_path / group / "ann").mkdir(parents=True)
        (tmp_path / group / "ann" / "lab.ipynb").write_bytes(GOOD)
    found = find([tmp_path / "a", tmp_path / "b", tmp_path / "b"], None, tmp_path)
    assert [each.path.parent.parent.name for each in found] == ["b", "a"] and len({each.key for each in found}) == 2


def test_the_latest_attempt_counts(tmp_path):
    for name in ("ann_1_10_lab.ipynb", "ann_1_12_lab.ipynb", "ann_1_11_lab-3.ipynb", "bob_2_9_lab-1.ipynb"):
        (tmp_path / name).write_bytes(GOOD)
    found = {each.student: each for each in find([tmp_path], None, tmp_path)}
    assert {student: each.name for student, each in found.items()} == {
        "1": "ann_1_12_lab.ipynb",
        "2": "bob_2_9_lab-1.ipynb",
    }
    assert len(found["1"].others) == 2
    own = re.compile(r"(?P<student_id>[a-z]+)_")
    assert sorted(each.student for each in find([tmp_path], own, tmp_path)) == ["ann", "bob"]


def test_a_page_has_one_name_whatever_else_is_graded():
    names = ("ann/lab.ipynb", "bob/lab.ipynb", "bob-lab.ipynb", "Bob-lab.ipynb", "ü" * 200 + ".ipynb", "=1/../x.ipynb")
    keys = [Submission(name, "", None).key for name in names]
    assert len({key.lower() for key in keys}) == len(names) and max(map(len, keys)) < 120
    assert all(re.fullmatch(r"[\w.-]+", key, re.ASCII) and not key.startswith(".") for key in keys)


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", " '=1", '"=1', "＝1", "x;=1", "x;\t@y", "\u202e=1"]
)
def test_no_formula_reaches_a_spreadsheet(text):
    row = {"notebook": safe(text), "status": safe(f"cell 3: {text}")}
    written = table([row])
    for separator in ",;\t":
        for line in written.splitlines():
            for cell in line.split(separator):
                assert not re.match(r"[\s\"]*[=+\-@＝]", cell), (separator, line)


def test_text_of_one_line_hides_nothing():
    assert plain("\x1b]0;title\x07a\u202eb\x00\n  c") == "]0;title a b c" and len(plain("x" * 5000)) == 1000


def found_of(name="ann/lab.ipynb", student="12", **options):
    grading = Grading(**options)
    return details(Submission(name, student, None), grading, "bubblewrap", "d1")


def solved(points=2):
    from dataclasses import replace

    results = Grading().results
    text = "Task 1, MLP: failed\n  NO  shapes\n      Likely mistake: A layer is missing."
    return [replace(results[0], points=points, status="failed", text=text), *results[1:]]


def test_points_stay_within_bounds():
    from dataclasses import replace

    results = [
        replace(result, points=points) for result, points in zip(Grading().results, (-5, 999, *[1] * 10), strict=True)
    ]
    row = found_of(results=results)["row"]
    assert row["MLP"] == 0 and row["train_epoch"] == CHECKS["train_epoch"].latest.max_points and row["points"] <= 64 + 6


def test_table_keeps_the_rows_of_another_grading(tmp_path):
    for name in ("b.ipynb", "a.ipynb"):
        Report(tmp_path).write(Submission(name, "", None), found_of(name), "page")
    content = (tmp_path / "scores.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")  # Excel reads UTF-8 only so
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
    assert [row["notebook"] for row in rows] == ["a.ipynb", "b.ipynb"] and rows[0]["digest"] == "d1"
    assert Report(tmp_path).digest(Submission("a.ipynb", "", None)) == "d1"


def test_page_says_first_what_counts():
    grading = Grading(
        results=solved(), errors=["cell 3: ValueError: x"], cells=[Cell("code", "1 / 0", 3, [("error", "x")])]
    )
    text = page(Submission("ann/lab.ipynb", "12", None), grading, "bubblewrap")
    assert "ann" not in text.split("<iframe")[0].replace("cannot", "")
    assert 'name="viewport"' in text and text.index("2 of") < text.index("What to do next") < text.index(
        "Cells that failed"
    )
    assert next_steps(grading)[0] == "MLP: shapes - Likely mistake: A layer is missing."


def test_scores_of_which_no_page_can_be_made_are_a_row():
    found, text = written(Submission("x.ipynb", "", None), Grading(changed=[None]), "")
    assert found["row"]["status"] == "not graded" and "no report can be written" in found["row"]["error"]
    assert "no report can be written" in text


def test_outputs_are_bounded():
    outputs = Outputs()
    for _ in range(100):
        outputs.add("stream", {"name": "stdout", "text": "x" * 1000})
    outputs.add("display_data", {"data": None})
    outputs.add("display_data", {"data": {"image/png": "x" * 10**6, "text/plain": ""}})
    assert sum(len(text) for _, text in outputs.kept) < 6000 and not outputs.too_many
    outputs.add("stream", {"name": "stdout", "text": "x" * MOST_PRINTED})
    assert outputs.too_many


def test_missing_calls():
    def cells(*sources):
        return [Cell("code", text, i) for i, text in enumerate(sources, 1)]

    assert len(missing_calls([])) == 12
    every = [f"%matplotlib inline\nresult = checks.{FUNCTIONS[name]}( {name} )" for name in CHECKS]
    assert missing_calls(cells(*every, "this is no Python")) == []
    for call in ("%time checks.mlp(MLP)", "%%time\nchecks.mlp(MLP)", "mlp(MLP)", "lab1.checks.mlp(MLP)"):
        assert missing_calls(cells(*every[1:], call)) == [], call
    assert missing_calls(cells(*every[1:], "checks.mlp(lab1.MLP)")) == ["checks.mlp(MLP)"]


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
    names = {"lee_12_9_lab.ipynb": 3, "lee_12_10_lab.ipynb": 4}
    every = [found_of(name, results=solved(points)) for name, points in names.items()]
    formats.canvas(every[::-1], tmp_path / "book.csv", "Lab 1 (77)", tmp_path / "out.csv")
    points = every[1]["row"]["points"]
    assert f"Lee,12,{points}" in (tmp_path / "out.csv").read_text() and points != every[0]["row"]["points"]


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


@pytest.mark.skipif(os.name == "nt", reason="no shell scripts")
@pytest.mark.parametrize("expected", ["systemd", "nothing"])
def test_a_way_to_limit_memory_is_tried_before_it_is_taken(expected, tmp_path, monkeypatch):
    ending = 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"' if expected == "systemd" else "exit 1"
    (tmp_path / "systemd-run").write_text(f'#!/bin/sh\n[ "$XDG_RUNTIME_DIR" = here ] || exit 1\n{ending}\n')
    (tmp_path / "systemd-run").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "here")
    monkeypatch.setattr(sandbox, "GROUPS", dict.fromkeys(sandbox.GROUPS, tmp_path / "none"))
    sandbox.limited_by.cache_clear()
    try:
        assert sandbox.limited_by() == expected
        assert bool(sandbox.scope(2**30)) == bool(sandbox.bus()) == (expected == "systemd")
    finally:
        sandbox.limited_by.cache_clear()


def test_junit(tmp_path):
    every = [found_of(results=solved()), found_of("bob.ipynb", failure="empty")]
    formats.junit(every, tmp_path / "junit.xml")
    first, second = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert first.get("failures") == "12" and second.get("errors") == "12" and len(first) == 12


def test_stats(tmp_path):
    stats.write([found_of(results=solved()), found_of("bob.ipynb", failure="empty")], tmp_path / "stats.html")
    text = (tmp_path / "stats.html").read_text()
    assert "1 of 2 submissions" in text and "A layer is missing." in text and text.count("<img alt=") == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.ipynb"], "there is no file missing.ipynb"),
        (["README.md", "--jobs", "0"], "at least one notebook"),
        (["README.md", "--seconds", "soon"], "--seconds"),
        (["README.md", "--out", "README.md"], "choose another folder with --out"),
        (["README.md", "--student", "(x)"], "--student"),
        (["README.md", "--canvas", "README.md"], "belong together"),
        ([], "SUBMISSIONS"),
    ],
)
def test_wrong_use_is_one_line(arguments, words, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    out, err = capsys.readouterr()
    assert exit.value.code == 2 and out == ""
    assert words in err and err.count("\n") == 1


def test_help_names_every_column(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert all(re.search(rf"^  (\w+, )?{name}\b", said, re.M) for name in found_of()["row"] if name not in CHECKS)


def test_damaged_zip(tmp_path):
    with pytest.raises(Unreadable, match="cannot be unpacked"):
        (tmp_path / "x.zip").write_bytes(b"PK\x03\x04")
        submissions.unpack(tmp_path / "x.zip", tmp_path)
