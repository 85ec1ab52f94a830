"""The grader's command on a folder: with several jobs, a second time, after a kill, on a Dask cluster."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from grading import ALL, IN_A_SANDBOX, POINTS, notebook, points, sources
from model_answers import ANSWERS
from torch import nn

from lab1.checks import _isolation
from lab1.grade.judge import CHECKS
from lab1.grade.kernel import Limits
from lab1.grade.run import grade

pytestmark = pytest.mark.slow  # a kernel for each notebook
ROOT = Path(__file__).resolve().parent.parent
SEED = 987_654_321
KILL = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"
ENDLESS = (
    "import time\nwhile True:\n    try:\n        time.sleep(100)\n    except BaseException:\n        print('not yet')"
)
STUDENTS = {
    "right": sources(),
    "killed": sources(first=[KILL]),
    "untouched": sources(MLP="", label_map="", mean_iou=""),
    "failing": sources(last=["1 / 0"], label_map="from lab1.segmentation import label_map"),
}


def test_there_is_a_sandbox():
    """Skipped where there is none: then nothing of the sandbox is tested."""
    if not IN_A_SANDBOX:
        pytest.skip("THERE IS NO BUBBLEWRAP HERE: install it to test the sandbox")


def line(*arguments):
    return [sys.executable, "-m", "lab1.grade", *map(str, arguments)]


def command(*arguments, **options):
    return subprocess.run(line(*arguments), cwd=ROOT, capture_output=True, text=True, **options)


def rows_of(out):
    with (out / "scores.csv").open(newline="", encoding="utf-8-sig") as file:
        return {row["notebook"].split("/")[0]: row for row in csv.DictReader(file)}


def details_of(out):
    found = (json.loads(path.read_text()) for path in (out / "details").glob("*.json"))
    return {each["row"]["notebook"].split("/")[0]: each for each in found}


def without_time(rows):
    return {student: {k: v for k, v in row.items() if k != "seconds"} for student, row in rows.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("students")
    for student, cells in STUDENTS.items():
        (folder / student).mkdir()
        (folder / student / "lab.ipynb").write_bytes(notebook(*cells))
    (folder / "nothing").mkdir()
    (folder / "no_json").mkdir()
    (folder / "no_json" / "lab.ipynb").write_text("This is no notebook.")
    return folder


@pytest.fixture(scope="module")
def graded(folder, tmp_path_factory):
    """The report of the folder, and what the command has said."""
    out = tmp_path_factory.mktemp("report")
    (out / "tmp").mkdir()
    environment = os.environ | {"WANDB_API_KEY": "secret", "TMPDIR": str(out / "tmp")}
    done = command(folder, "--out", out, "--jobs", 2, "--seed", SEED, env=environment)
    return out, done


def test_table(graded):
    out, done = graded
    rows = rows_of(out)
    assert done.returncode == 1 and "4 of 6 notebooks graded" in done.stdout and done.stdout.count("\n") == 1, (
        done.stderr
    )
    assert "Traceback" not in done.stderr
    assert set(rows) == {*STUDENTS, "nothing", "no_json"}
    assert [int(rows[name]["points"]) for name in ("right", "killed", "untouched", "failing")] == [ALL, ALL, 0, ALL]
    assert all(rows["right"][name] == "" for name in ("checks_changed", "from_lab1", "error", "remarks"))
    assert rows["right"]["failed_cells"] == "0" and "ended the kernel" in rows["killed"]["error"]
    statuses = Counter(result["status"] for result in details_of(out)["right"]["results"])
    assert statuses == {"passed": 3, "not started": 9}
    assert rows["failing"]["from_lab1"].startswith("label_map uses lab1.")
    assert "no notebook" in rows["nothing"]["error"] and "another kind of file" in rows["no_json"]["error"]
    for student, row in rows.items():
        page = (out / row["page"]).read_text()
        assert not [other for other in rows if other != student and f"{other}/" in page]
        assert str(SEED) not in page and str(SEED) not in "".join(row.values())


def test_nothing_is_left(graded):
    assert not list((graded[0] / "tmp").iterdir())
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(graded[0]) not in running


def test_resume_and_regrade(graded, folder):
    out, _ = graded
    before = rows_of(out)
    times = {path.name: path.stat().st_mtime_ns for path in (out / "details").glob("*.json")}
    assert command(folder, "--out", out, "--resume").returncode == 1
    again = {path.name for path in (out / "details").glob("*.json") if path.stat().st_mtime_ns != times[path.name]}
    assert {name.split("-")[0] for name in again} == {"nothing", "no_json"}  # what is not graded is tried again
    (out / "scores.csv").unlink()
    command(folder, "--out", out, "--resume", "--regrade", "right/lab.ipynb")
    assert without_time(rows_of(out)) == without_time(before)
    command(folder, "--out", out, "--regrade", "right/lab.ipynb")
    assert without_time(rows_of(out)) == without_time(before)


def test_the_same_after_a_kill(graded, folder, tmp_path):
    running = subprocess.Popen(line(folder, "--out", tmp_path, "--seed", SEED), cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 100
    while not (tmp_path / "scores.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    running.kill()
    running.wait()
    command(folder, "--out", tmp_path, "--resume")
    assert without_time(rows_of(tmp_path)) == without_time(rows_of(graded[0]))


def test_the_same_on_a_cluster_that_loses_a_worker(graded, folder, tmp_path):
    pytest.importorskip("distributed")
    scheduler_file = tmp_path / "scheduler.json"
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    options = {"cwd": ROOT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    start = [*dask, "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(scheduler_file)]
    processes = [subprocess.Popen(start, **options)]
    try:
        deadline = time.monotonic() + 60
        while not scheduler_file.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        address = json.loads(scheduler_file.read_text())["address"]
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny"]
        processes += [subprocess.Popen([*worker, "--no-dashboard"], **options) for _ in range(2)]
        time.sleep(5)
        out = tmp_path / "report"
        junit = tmp_path / "junit.xml"
        arguments = line(folder, "--out", out, "--seed", SEED, "--scheduler", address, "--junit", junit)
        grader = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 100
        while not (out / "scores.csv").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        processes[2].kill()
        said, complaints = grader.communicate(timeout=300)
        assert grader.returncode == 1 and "Traceback" not in complaints, complaints
        assert "4 of 6 notebooks graded" in said and junit.exists()
        assert without_time(rows_of(out)) == without_time(rows_of(graded[0]))
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_interrupt_ends_everything(tmp_path):
    (tmp_path / "endless.ipynb").write_bytes(notebook(ENDLESS))
    grader = subprocess.Popen(
        line(tmp_path, "--out", tmp_path / "report"),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which a shell's background job ignores
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("lab1-grade-*/kernel.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(5)
    grader.send_signal(signal.SIGINT)
    said = grader.communicate(timeout=60)[1]
    assert grader.returncode == 130 and "interrupted" in said and "Traceback" not in said, said
    deadline = time.monotonic() + 10
    while list(tmp_path.glob("lab1-grade-*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not list(tmp_path.glob("lab1-grade-*"))
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in running


def test_time_that_is_over_costs_no_definitions():
    cells = ["import time\nkept = 1", "time.sleep(60)", "while kept: pass", *sources()]
    limits = Limits(seconds=6, cell_seconds=3, memory=2**32)
    grading = grade(notebook(*cells), {}, limits, 5)
    assert grading.failure == "" and "longer than 3 s" in grading.errors[0]
    assert points(grading) == POINTS and "the notebook's time limit of 6 s was reached" in " ".join(grading.errors)


def test_a_disputed_grade_can_be_repeated():
    wrong = sources(mean_iou="def mean_iou(prediction, target, num_classes):\n    return 0.5")
    texts = [
        [result.text for result in grade(notebook(*wrong), {}, Limits(60, 20, 2**32), seed).results]
        for seed in (5, 5, 6)
    ]
    assert texts[0] == texts[1] != texts[2]
    assert len(texts[0]) == len(CHECKS)


def test_right_answers_pass_whatever_the_seed():
    namespace = {"torch": torch, "nn": nn, "F": F}
    for answer in ANSWERS.values():
        exec(answer, namespace)
    for name, check in CHECKS.items():
        for seed in range(1, 9):
            with _isolation.isolated(namespace[name], 60) as channel:
                result = check.judge(channel, seed)
            assert result.passed, (seed, result.text)
