"""Students' notebooks for the tests of the grader: some right answers, and what a case puts around them."""

import json
from dataclasses import replace

from model_answers import ANSWERS
from nbformat import v4

from lab1.grade import sandbox
from lab1.grade.judge import CHECKS, FUNCTIONS
from lab1.grade.kernel import Limits
from lab1.grade.report import details
from lab1.grade.run import Grading, grade
from lab1.grade.submissions import Submission

SOLVED = ("MLP", "label_map", "mean_iou")
POINTS = {name: CHECKS[name].latest.max_points for name in SOLVED}
ALL = sum(POINTS.values())
IMPORTS = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n\nfrom lab1 import checks"
IN_A_SANDBOX = sandbox.isolation() == "bubblewrap"


def sources(first=(), last=(), imports=IMPORTS, check=True, **answers):
    """The cells of a student's notebook: imports, then for each task the answer or stub and the call of its check.

    first, last: cells before the tasks and after them. answers: other sources than the right ones, by name.
    """
    cells = [imports, *first]
    for name in CHECKS:
        stub = f"def {name}(*args, **options):\n    raise NotImplementedError"
        right = ANSWERS[name].strip() if name in SOLVED else stub
        cells.append(answers.get(name, right))
        if check:
            cells.append(f"checks.{FUNCTIONS[name]}({name})")
    return [*cells, "checks.scorecard()", *last]


def notebook(*cells, **metadata):
    """The bytes of a notebook's file."""
    return json.dumps(v4.new_notebook(cells=[v4.new_code_cell(text) for text in cells], metadata=metadata)).encode()


def graded(content, beside=None, seconds=120, cell_seconds=20, memory=2, seed=5) -> Grading:
    return grade(content, beside or {}, Limits(seconds, cell_seconds, memory * 2**30), seed)


def points(grading):
    return {result.name: result.points for result in grading.results if result.points}


GOOD = notebook("x = 1", "y = 2")


def found_of(name="ann/lab.ipynb", student="12", attempt=(0, 0), handed_in=0.0, **options):
    """The details of a grading that says what the options say."""
    grading, submission = Grading(**options), Submission(name, student, None, attempt=attempt, handed_in=handed_in)
    return details(submission, grading, "bubblewrap", "d1")


def solved(points=2):
    """Results of which the first has so many points."""
    results = Grading().results
    text = "Task 1, MLP: failed\n  NO  shapes\n      Likely mistake: A layer is missing."
    return [replace(results[0], points=points, status="failed", text=text), *results[1:]]
