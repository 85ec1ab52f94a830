"""Run one student's notebook in a kernel of its own, and score what it has defined with the original checks.

The same kernel scores, because the student's classes and functions live only there, as the cells have left them; to
execute their source once more in a clean process would lose magics, figures and half of the answers that lean on
another cell. What makes it robust: lab1 is written and imported anew before it scores, and the points leave the
kernel in a file whose name no cell has known.

A cell that takes too long is interrupted. One that goes on all the same, takes too much memory or prints without end
is killed with its kernel, and the notebook is run once more without that cell: it costs no other points than its own.
"""

import ast
import contextlib
import re
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode, v4

from lab1 import checks
from lab1.checks import Result
from lab1.grade.kernel import Limits, Stopped, kernel

ATTEMPTS = 3  # after the cell that stopped the one before it, the last one runs only definitions
DEFINING_SECONDS = 30  # for a cell that only defines, when the notebook's time is over
DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def _no_results() -> list[Result]:
    return [replace(check.latest, status="not graded", points=0) for check in checks.CHECKS]


@dataclass
class Grading:
    """What is found about a notebook.

    cells: with their new outputs. results: one for each task. changed: what differs from the original in the checks.
    borrowed: for each name, what it uses of lab1. left_out: why a cell was not run, by its index. errors: one line for
    each cell that failed or was left out. failure: why nothing could be scored; "" if it was.
    """

    cells: list[NotebookNode] = field(default_factory=list)
    results: list[Result] = field(default_factory=_no_results)
    changed: list[str] = field(default_factory=list)
    borrowed: dict[str, list[str]] = field(default_factory=dict)
    left_out: dict[int, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    failure: str = ""
    seconds: float = 0.0


async def grade(path: Path, limits: Limits) -> Grading:
    """Grade one notebook. Whatever is wrong with it is part of what is returned."""
    begin, grading = time.monotonic(), Grading()
    try:
        grading.cells = read(path)
        grading.changed = [f"{call} is not called" for call in missing_calls(grading.cells)]
        await _grade(grading, limits)
    except Exception as error:
        grading.failure = " ".join(str(error).split())[:300] or type(error).__name__
    _number(grading)
    grading.seconds = time.monotonic() - begin
    return grading


def read(path: Path) -> list[NotebookNode]:
    """The sources of a notebook's cells, and pictures in its texts; no outputs, no metadata.

    Raises:
        ValueError: the file is not a notebook.
    """
    cells = []
    try:
        notebook = nbformat.convert(nbformat.reader.reads(path.read_text(encoding="utf-8-sig")), 4)
        for cell in notebook.cells:
            new = {"code": v4.new_code_cell, "markdown": v4.new_markdown_cell, "raw": v4.new_raw_cell}[cell.cell_type]
            cells.append(new(str(cell.source), **({"attachments": cell.attachments} if "attachments" in cell else {})))
    except Exception as error:
        raise ValueError(f"not a notebook: {type(error).__name__}: {error}") from error
    return cells


def missing_calls(cells: list[NotebookNode]) -> list[str]:
    """The calls of checks, such as checks.mlp(MLP), that are in none of the code cells."""
    names = {check: name for name, check in vars(checks).items() if check in checks.CHECKS}
    found = set()
    for cell in cells:
        with contextlib.suppress(Exception):  # such as RecursionError
            calls = [node for node in ast.walk(parsed(cell)) if isinstance(node, ast.Call)]
            found |= {ast.unparse(node).removeprefix("lab1.") for node in calls if isinstance(node.func, ast.Attribute)}
    return [call for check in checks.CHECKS if (call := f"checks.{names[check]}({check.name})") not in found]


def parsed(cell: NotebookNode) -> ast.Module:
    """What a cell consists of, below a magic such as %%time; nothing if it is not code, or not Python."""
    with contextlib.suppress(Exception):
        if cell.cell_type == "code":
            return ast.parse(TransformerManager().transform_cell(re.sub(r"\A\s*%%.*", "", cell.source)))
    return ast.Module([], [])


def only_defines(cell: NotebookNode) -> bool:
    """Whether there are only imports, definitions, and values that take no call: a moment's work."""

    def calls(node):
        return any(isinstance(each, ast.Call) for each in ast.walk(node))

    body = parsed(cell).body
    values = (ast.Assign, ast.AnnAssign, ast.Expr)
    return bool(body) and all(isinstance(n, DEFINITIONS) or (isinstance(n, values) and not calls(n)) for n in body)


async def _grade(grading: Grading, limits: Limits) -> None:
    """Run the notebook until it has been scored, each time without the cells that have stopped it so far.

    Raises:
        RuntimeError: it cannot be scored.
    """
    code = [i for i, cell in enumerate(grading.cells) if cell.cell_type == "code"]
    definitions = {i for i in code if only_defines(grading.cells[i])}
    for attempt in range(1, ATTEMPTS + 1):
        with tempfile.TemporaryDirectory(prefix="lab1-grade-", ignore_cleanup_errors=True) as folder:
            async with kernel(grading.cells, limits, Path(folder)) as client:
                end = time.monotonic() + limits.seconds
                for i in code:
                    is_over = time.monotonic() > end
                    if is_over and i not in definitions:
                        grading.left_out.setdefault(i, limits.time_is_over)
                    if i in grading.left_out:
                        continue
                    try:
                        await (client.run(i, DEFINING_SECONDS) if is_over else client.run(i, limits.cell_seconds, end))
                    except Stopped as stopped:
                        grading.left_out[i] = str(stopped)
                        if attempt == ATTEMPTS - 1:
                            later = [j for j in code if j > i and j not in definitions]
                            grading.left_out |= dict.fromkeys(later, "a cell before it was stopped")
                        break
                else:
                    scores = await client.score()
                    grading.results = [_result(*each) for each in zip(grading.results, scores["results"], strict=True)]
                    grading.borrowed, grading.changed = scores["borrowed"], grading.changed + scores["changed"]
                    return
    raise RuntimeError(f"stopped {ATTEMPTS} times")


def _result(none: Result, found: dict) -> Result:
    """What the kernel has found about a task; the task itself and its points are taken from the original check."""
    points = min(int(found["points"]), none.max_points)
    return replace(none, status=str(found["status"]), points=points, text=str(found["text"]))


def _number(grading: Grading) -> None:
    """Number the code cells from 1, and list those that failed or were left out among the errors."""
    code = [(i, cell) for i, cell in enumerate(grading.cells) if cell.cell_type == "code"]
    for number, (i, cell) in enumerate(code, 1):
        cell.execution_count = number
        if i in grading.left_out:
            cell.outputs = [v4.new_output("stream", name="stderr", text=f"Left out: {grading.left_out[i]}.")]
            grading.errors.append(f"cell {number}: left out: {grading.left_out[i]}")
        for error in [output for output in cell.outputs if output.output_type == "error"]:
            words = f"{error.ename}: {error.evalue}".split()
            grading.errors.append(f"cell {number}: {' '.join(words)[:200]}")
