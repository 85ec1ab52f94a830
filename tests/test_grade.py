"""A folder of students' notebooks, most of them broken in some way, graded by the real command."""

import asyncio
import csv
import inspect
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from nbformat import v4
from solutions import ANSWERS

import lab1
from lab1 import checks
from lab1.grade import score
from lab1.grade.__main__ import main, page_names
from lab1.grade.kernel import REFUSE, Limits
from lab1.grade.report import row_and_page, safe
from lab1.grade.run import Grading, grade, missing_calls, only_defines

pytestmark = pytest.mark.slow  # two minutes for a folder of notebooks
ROOT = Path(__file__).resolve().parent.parent
FUNCTIONS = {check.name: name for name, check in vars(checks).items() if check in checks.CHECKS}
MOST = sum(check.latest.max_points for check in checks.CHECKS)
IMPORTS = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n\nfrom lab1 import checks"


def source(check, answer):
    """A solution's source, under the name that the task asks for."""
    text = textwrap.dedent(inspect.getsource(answer))
    text = re.sub(r"^@(right|wrong)\(.*\n", "", text)
    return re.sub(rf"\b{answer.__name__}\b", check.name, text)


def find(name, answer):
    """One of the solutions, which needs no other code."""
    return next(each for each in ANSWERS if (each.check.name, each.answer.__name__) == (name, answer))


SOLVED = {
    "MLP": find("MLP", "Modules"),
    "label_map": find("label_map", "with_mask"),
    "mean_iou": find("mean_iou", "loop"),
}
PARTLY = find("label_map", "fixed_background")
RIGHT = {name: source(each.check, each.answer) for name, each in SOLVED.items()}
POINTS = {name: each.check.latest.max_points for name, each in SOLVED.items()}


def notebook(answers=None, extra=(), without=(), **cells):
    """The sources of a student's notebook: a cell for each answer or stub, and one for its check.

    extra: cells at the end. without: check cells that are not there. cells: others in place of the check cells.
    """
    answers, sources = answers or {}, [IMPORTS]
    for check in checks.CHECKS:
        stub = f"def {check.name}(*args, **options):\n    raise NotImplementedError"
        sources.append(answers.get(check.name, stub))
        if check.name not in without:
            sources.append(cells.get(check.name, f"checks.{FUNCTIONS[check.name]}({check.name})"))
    return [*sources, "checks.scorecard()", *extra]


def write(path, sources):
    path.parent.mkdir(exist_ok=True)
    nbformat.write(v4.new_notebook(cells=[v4.new_code_cell(text) for text in sources]), path)


HOG = "import numpy as np\nkept = [np.ones(10**8 // 8) for _ in range(100)]"
STUBBORN = """
import time

while True:
    try:
        time.sleep(100)
    except BaseException:
        print("not yet")
"""
TAMPERING = """
from pathlib import Path
from lab1.checks import _values
_values.agree = lambda *args: True
checks.mean_iou.claims.clear()
Path("lab1/checks/_mlp.py").write_text("raise RuntimeError")
Path("lab1").rename("moved")
Path("lab1").symlink_to("moved")
"""
SHOWS = """
import matplotlib.pyplot as plt
from IPython.display import HTML

get_ipython().display_pub.publish({"text/plain": None})  # malformed
plt.plot([1, 2])
print("after all")
HTML("<script>steal()</script>")
"""
ALIAS = """
import lab1


def label_map(*args, **options):
    return lab1.analysis.segmentation.label_map(*args, **options)
"""
STUDENTS = {
    # four good ones
    "right": notebook(RIGHT),
    "partly": notebook(RIGHT | {"label_map": source(*PARTLY[:2]), "MLP": "from solutions_of_a_friend import MLP"}),
    "untouched": notebook(),
    "failing": notebook(RIGHT | {"label_map": ALIAS}, extra=["1 / 0", "exit()", SHOWS]),
    # six that are broken
    "endless": notebook(RIGHT, extra=[STUBBORN]),
    "killed": notebook(RIGHT, extra=["import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "label_map = None"]),
    "hungry": notebook(RIGHT, extra=[HOG]),
    "deleted": notebook(RIGHT | {"MLP": RIGHT["MLP"].replace("MLP", "Mlp"), "mean_iou": ""}, without=["mean_iou"]),
    "tampered": notebook(
        RIGHT | {"mean_iou": "def mean_iou(*args): return 0.0", "MLP": TAMPERING},
        label_map="print('Task 7, label_map: passed, 6 of 6 points')",
    ),
    # and one more
    "flood": notebook(RIGHT, extra=["while True:\n    print('x' * 10000)"]),
}


def command(*arguments, **options):
    line = [sys.executable, "-m", "lab1.grade", *map(str, arguments)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, **options)


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """What the command line says about the folder, the rows of its table, and its pages, by the students' names."""
    folder, out = (tmp_path_factory.mktemp(name) for name in ("students", "report"))
    for student, sources in STUDENTS.items():
        write(folder / f"{student}.ipynb", sources)
    (folder / "not_json.ipynb").write_text("This is no notebook.")
    limits = ["--cell-seconds", 25, "--memory", 1.5]
    done = command(folder, "--out", out, "--jobs", 2, *limits, env=os.environ | {"WANDB_API_KEY": "secret"})
    with (out / "scores.csv").open(newline="") as file:
        rows = {Path(row["notebook"]).stem: row for row in csv.DictReader(file)}
    return done, rows, {student: (out / row["page"]).read_text() for student, row in rows.items()}


def points(row):
    return {check.name: int(row[check.name]) for check in checks.CHECKS if int(row[check.name])}


def test_summary(graded):
    done, rows, pages = graded
    assert done.returncode == 1
    assert done.stdout.count("\n") == 1 and "10 of 11 notebooks graded" in done.stdout, done.stdout
    assert "Traceback" not in done.stderr and "11/11" in done.stderr, done.stderr
    assert list(rows) == sorted([*STUDENTS, "not_json"])
    assert all(int(row["max_points"]) == MOST for row in rows.values())
    assert all(f"<td>{row['points']} of {MOST}</td>" in pages[student] for student, row in rows.items())


def test_good_notebooks_get_exactly_their_points(graded):
    _, rows, pages = graded
    expected = PARTLY.check(PARTLY.answer).points
    assert 0 < expected < POINTS["label_map"]
    assert points(rows["right"]) == points(rows["failing"]) == POINTS
    assert points(rows["partly"]) == {"label_map": expected, "mean_iou": POINTS["mean_iou"]}
    assert points(rows["untouched"]) == {}
    for student in ("right", "untouched"):
        flags = [rows[student][name] for name in ("checks_changed", "from_lab1", "failed_cells", "error")]
        assert (rows[student]["status"], flags) == ("graded", ["", "", "0", ""])
    assert "background argument is not used" in pages["partly"]
    assert "ModuleNotFoundError" in rows["partly"]["error"] and "MLP is not defined" in pages["partly"]
    assert "ZeroDivisionError" in rows["failing"]["error"] and rows["failing"]["failed_cells"] == "1"
    assert "after all" in pages["failing"] and "data:image/png" in pages["failing"]
    assert "ansi-green-intense-fg ansi-bold" in pages["right"]  # what the checks print in colour
    assert "\x1b" not in pages["right"]
    assert "ask_exit" not in pages["right"]  # the grader's own cells
    assert "steal()" in pages["failing"] and "<script" not in pages["failing"]


@pytest.mark.parametrize(
    ("student", "words"),
    [
        ("endless", "left out: it took longer than 25 s"),
        ("killed", "left out: it ended the kernel"),
        ("hungry", "left out: it took more than 1.5 GB of memory"),
        ("flood", "left out: it printed more than"),
    ],
)
def test_a_cell_that_has_to_be_stopped_costs_no_other_points(graded, student, words):
    _, rows, pages = graded
    assert words in rows[student]["error"] and "Left out" in pages[student]
    assert points(rows[student]) == {k: v for k, v in POINTS.items() if (student, k) != ("killed", "label_map")}
    assert len(pages[student]) < 500_000


def test_a_cell_that_takes_too_long_is_interrupted(tmp_path):
    """What the kernel holds is kept; when the time is over, later definitions still count."""
    cells = ["import time\nkept = 1", "time.sleep(60)", "while kept: pass", f"{IMPORTS}\n\n{RIGHT['label_map']}"]
    write(tmp_path / "slow.ipynb", [*cells, "print('late')"])
    grading = asyncio.run(grade(tmp_path / "slow.ipynb", Limits(seconds=5, cell_seconds=3, memory=2**32, threads=1)))
    assert grading.failure == ""
    assert grading.errors == [
        "cell 2: Interrupted: it took longer than 3 s",
        "cell 3: Interrupted: the 5 s of the notebook were over",
        "cell 5: left out: the 5 s of the notebook were over",
    ]
    assert {r.name: r.points for r in grading.results if r.points} == {"label_map": POINTS["label_map"]}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import torch\n\nLABELS = ('a', 'b')\n\ndef f():\n    g()\n\nclass A: pass", True),
        ("%%time\ndef f(): pass", True),
        ("def f(): pass\nf()", False),
        ("x = torch.ones(3)", False),
        ("%matplotlib inline", False),
        ("this is no Python", False),
        ("", False),
    ],
)
def test_only_defines(source, expected):
    assert only_defines(v4.new_code_cell(source)) == expected
    assert not only_defines(v4.new_markdown_cell(source))


def test_what_cannot_be_read_is_a_row(graded):
    _, rows, _ = graded
    assert rows["not_json"]["status"] == "not graded" and "not a notebook" in rows["not_json"]["error"]
    assert points(rows["not_json"]) == {}


def test_deleted_and_renamed_cells(graded):
    _, rows, pages = graded
    assert points(rows["deleted"]) == {"label_map": POINTS["label_map"]}
    assert rows["deleted"]["checks_changed"] == "checks.mean_iou(mean_iou) is not called"
    assert "MLP is not defined" in pages["deleted"] and "missing" in pages["deleted"]


def test_tampered_checks_are_told_and_not_used(graded):
    _, rows, pages = graded
    check = SOLVED["mean_iou"].check
    assert points(rows["tampered"]) == {
        "label_map": POINTS["label_map"],
        "mean_iou": check(lambda *args: 0.0).points,
    }
    changed = rows["tampered"]["checks_changed"]
    for words in ("checks.label_map(label_map) is not called", "_values.agree", "mean_iou", "lab1/checks/_mlp.py"):
        assert words in changed
    assert "The checks in the notebook were changed" in pages["tampered"]


def test_answers_from_lab1_are_flagged(graded):
    _, rows, pages = graded
    assert rows["failing"]["from_lab1"] == "label_map uses lab1.analysis.segmentation.label_map"
    assert "lean on lab1" in pages["failing"] and points(rows["failing"]) == POINTS


def test_nothing_runs_on(graded):
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "lab1-grade-" not in running


ALONE = """
import os, socket
from pathlib import Path

import torch

import lab1

assert not {"WANDB_API_KEY", "HF_TOKEN"} & set(os.environ)
assert Path(lab1.__file__).parent.parent == Path.cwd()
assert Path.home().parent == Path.cwd().parent
assert torch.get_num_threads() == 1
try:
    socket.create_connection(("1.1.1.1", 80), timeout=3)
except OSError:
    print("off" + "line")
"""


def test_kernel_is_alone(tmp_path):
    """No credentials, a folder of its own, one thread where two run at once, no network."""
    for name in ("a", "b"):
        write(tmp_path / name / "lab.ipynb", [ALONE])
    environment = os.environ | {"WANDB_API_KEY": "secret", "HF_TOKEN": "secret"}
    done = command(tmp_path / "a", tmp_path / "b", "--out", tmp_path / "report", "--jobs", 2, env=environment)
    assert done.returncode == 0, done.stderr
    assert ",0,," in (tmp_path / "report" / "scores.csv").read_text()
    for name in ("a-lab", "b-lab"):
        page = (tmp_path / "report" / f"{name}.html").read_text()
        assert "offline" in page


def test_network_is_refused_where_the_system_cannot_cut_it_off():
    probe = f"{REFUSE}\nimport socket\nsocket.create_connection(('1.1.1.1', 80), timeout=3)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert "OSError: there is no network while notebooks are graded" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.ipynb"], "there is no file missing.ipynb"),
        (["README.md", "--jobs", "0"], "at least one notebook"),
        (["README.md", "--seconds", "soon"], "--seconds"),
        (["README.md", "--out", "README.md"], "choose another folder with --out"),
        (["lab1"], "no notebook"),
        ([], "NOTEBOOK"),
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
    columns = ("notebook", "status", "points, max_points", "checks_changed", "from_lab1", "failed_cells", "error")
    assert all(f"\n  {column} " in said for column in (*columns, "seconds", "page"))


def test_interrupt_ends_everything(tmp_path):
    write(tmp_path / "endless.ipynb", STUDENTS["endless"])
    line = [sys.executable, "-m", "lab1.grade", tmp_path, "--out", tmp_path / "report"]
    grader = subprocess.Popen(
        line, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(tmp_path)}
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("lab1-grade-*/kernel.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    grader.send_signal(signal.SIGINT)
    said = grader.communicate(timeout=30)[1]
    assert grader.returncode == 130 and "interrupted" in said and "Traceback" not in said
    assert not list(tmp_path.glob("lab1-grade-*"))
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in running


def test_missing_calls():
    def cells(*sources):
        return [v4.new_code_cell(text) for text in sources]

    assert len(missing_calls([])) == 12
    every = [f"%matplotlib inline\nresult = checks.{FUNCTIONS[c.name]}( {c.name} )" for c in checks.CHECKS]
    assert missing_calls(cells(*every, "this is no Python")) == []
    assert missing_calls(cells(f"%%time\n{every[0]}", *every[1:])) == []
    assert missing_calls(cells(*every[1:], "lab1.checks.mlp(MLP)")) == []
    assert missing_calls(cells(*every[1:], "checks.mlp(lab1.MLP)")) == ["checks.mlp(MLP) is not called"[:15]]


def test_borrowed(monkeypatch):
    namespace = {"lab1": lab1, "partial": partial, "data": lab1.data, "__name__": "__main__"}
    exec(
        textwrap.dedent("""
            from lab1 import ResNet as renamed
            wrapped = partial(renamed, width=16)
            class Child(renamed): pass
            class Uses:
                def build(self): return lab1.models.resnet.ResNet((1,))
            def default(make=renamed): return make((1,))
            def keyword(*, make=renamed): return make((1,))
            class Holds: makers = {"first": [renamed]}
            def helper(): return renamed((1,))
            def through(): return [helper() for _ in range(2)]
            def imports():
                from lab1.analysis.segmentation import label_map
                return label_map
            def clean(x): return x.data + sum(x.lab1)
        """),
        namespace,
    )
    for name in ("renamed", "wrapped", "Child", "Uses", "default", "keyword", "Holds", "helper", "through"):
        assert score.borrowed(namespace[name]) == {"lab1.models.resnet.ResNet"}, name
    assert score.borrowed(namespace["imports"]) == {"lab1.segmentation"}
    assert score.borrowed(namespace["clean"]) == set()
    assert score.borrowed(None) == score.borrowed(3) == score.borrowed(print) == set()


def test_a_replacement_that_cannot_be_looked_into_is_a_change():
    class Endless:
        def __getattr__(self, name):
            return Endless()

    original, live = ModuleType("lab1.checks.x"), ModuleType("lab1.checks.x")
    original.function, live.function = test_borrowed, Endless()
    assert score.changes({"lab1.checks.x": live}, {"lab1.checks.x": original}) == ["lab1.checks.x.function"]


def test_scores_of_which_no_page_can_be_made_are_a_row():
    row, page = row_and_page(Path("lab.ipynb"), "lab.html", Grading(changed=[None]))
    assert row["status"] == "not graded" and "no report can be written: TypeError" in row["error"]
    assert "no report can be written" in page


def test_page_names_are_unique(tmp_path):
    paths = [tmp_path / name for name in ("ann/lab.ipynb", "bob/lab.ipynb", "bob-lab.ipynb", "Bob-lab.ipynb")]
    names = page_names(paths)
    assert names[paths[0]] == "ann-lab.html" and len({name.lower() for name in names.values()}) == 4
    assert page_names(paths[:1]) == {paths[0]: "lab.html"}
    long = [tmp_path / ("ü" * 90) / ("ü" * 90) / name for name in ("a.ipynb", "b.ipynb")] + paths
    names = {name.encode() for name in page_names(long).values()}
    assert len(names) == 6 and max(map(len, names)) < 220


def test_no_formula_reaches_a_spreadsheet():
    assert safe("=1+1") == "'=1+1" and safe("cell 3: -") == "cell 3: -" and safe(-1) == -1
