"""The grader's parts that need no kernel: what is read, what is written, and the command line."""

import csv
import inspect
import io
import json
import os
import re
import time
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import pytest
from grading import CHECKS, FUNCTIONS, GOOD, found_of, notebook, solved

from lab1.checks import _harness, _isolation, _label_map, _mean_iou, _paste_digits, observer
from lab1.grade import cluster, observe, sandbox
from lab1.grade.__main__ import main
from lab1.grade.kernel import Limits
from lab1.grade.launch import environment_of
from lab1.grade.notebook import Cell, Unreadable, parse, plain, read_bytes
from lab1.grade.outputs import MOST_PRINTED, MOST_TEXTS, Outputs
from lab1.grade.page import next_steps, page
from lab1.grade.report import Report, safe, table
from lab1.grade.run import Grading, missing_calls
from lab1.grade.submissions import Submission
from lab1.grade.work import Job, work, written

ROOT = Path(__file__).resolve().parent.parent


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


def test_points_stay_within_bounds():
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


def test_references_are_answers_and_what_observes_is_not():
    known = observe.codes()
    for reference in (_label_map._pixel_by_pixel, _mean_iou._mean_iou, _paste_digits._pasted):
        code = reference.__code__
        assert observe.borrowed(code, known) == f"{reference.__module__}.{reference.__name__}"
        copied = observe.borrowed(code.replace(co_filename="cell 3", co_name="mine", co_qualname="mine"), known)
        assert copied == f"a copy of {reference.__module__}.{reference.__name__}"
        cell = compile(inspect.getsource(reference), "cell 3", "exec")
        assert copied in {observe.borrowed(each, known) for each in observe.inner(cell)}
    for observing in (_harness.Classifier.forward, observer.Observer.run, _isolation._exit_raises):
        assert observe.borrowed(inspect.unwrap(observing).__code__, known) == ""


def test_who_ends_its_worker_takes_no_other_with_it():
    jobs = [("ends", os._exit, (1,)), *((name, time.sleep, (0.5,)) for name in "abc"), ("later", pow, (2, 5))]
    found = dict(cluster.results(jobs, lambda: cluster.local(4), 4))
    assert isinstance(found.pop("ends"), BrokenProcessPool)
    assert found == {"a": None, "b": None, "c": None, "later": 32}


def test_a_worker_without_a_sandbox_refuses(monkeypatch):
    monkeypatch.setattr(sandbox, "isolation", lambda: "namespaces")
    job = Job(Submission("x.ipynb", "", None), notebook("1 / 0"), {}, "d1")
    row = work(job, Limits(60, 20, 2**32), seed=5, sandbox_required=True)[0]["row"]
    assert row["status"] == "not graded" and "--require-sandbox" in row["error"]


def test_what_is_not_graded_is_not_skipped_by_resume():
    for failure, digest in (("", "d1"), ("[Errno 28] No space left on device", ""), ("the kernel does not start", "")):
        found, _ = written(Submission("x.ipynb", "", None), Grading(failure=failure), "d1")
        assert found["row"]["digest"] == digest


def test_outputs_are_bounded():
    outputs = Outputs()
    for _ in range(100):
        outputs.add("stream", {"name": "stdout", "text": "x" * 1000})
    outputs.add("display_data", {"data": None})
    outputs.add("display_data", {"data": {"image/png": "x" * 10**6, "text/plain": ""}})
    assert sum(len(text) for _, text in outputs.kept) < 6000 and not outputs.too_many
    outputs.add("stream", {"name": "stdout", "text": "x" * MOST_PRINTED})
    assert outputs.too_many


def test_all_outputs_of_a_notebook_are_bounded():
    notebook, kept = Outputs(), 0
    for _ in range(200):
        outputs = Outputs(notebook)
        for kind in ("stdout", "stderr") * 25:
            outputs.add("stream", {"name": kind, "text": "x" * 5000})
        kept += sum(len(text) for _, text in outputs.kept)
    assert kept == notebook.texts < MOST_TEXTS + 10_000


def test_page_is_bounded():
    results = [replace(result, text="\x1b]" * 10**6) for result in solved()]
    cells = [Cell("code", "x" * 20_000, number) for number in range(1, 2000)]
    text = page(Submission("x.ipynb", "", None), Grading(results=results, cells=cells), "bubblewrap")
    assert len(text) < 15_000_000 and "more cells" in text


def test_missing_calls():
    def cells(*sources):
        return [Cell("code", text, i) for i, text in enumerate(sources, 1)]

    assert len(missing_calls([])) == 12
    every = [f"%matplotlib inline\nresult = checks.{FUNCTIONS[name]}( {name} )" for name in CHECKS]
    assert missing_calls(cells(*every, "this is no Python")) == []
    for call in ("%time checks.mlp(MLP)", "%%time\nchecks.mlp(MLP)", "mlp(MLP)", "lab1.checks.mlp(MLP)"):
        assert missing_calls(cells(*every[1:], call)) == [], call
    assert missing_calls(cells(*every[1:], "checks.mlp(lab1.MLP)")) == ["checks.mlp(MLP)"]


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


def test_the_budget_is_that_of_the_checks(monkeypatch):
    monkeypatch.setenv("LAB1_PROFILE", "full")
    assert environment_of("/root", None, "mark")["LAB1_PROFILE"] == "smoke"
