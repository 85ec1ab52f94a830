"""Run one student's notebook, and collect what the checks say about its answers.

A cell that takes too long is interrupted. One that goes on all the same, ends the kernel, takes too much memory or
prints without end is killed with its kernel, and the notebook is run once more: of that cell only what it defines is
executed, so that it costs no other points. Where an earlier cell has left a thread, a process or an alarm behind, that
cell is tried first as the one to blame.
"""

import ast
import contextlib
import re
import time
from dataclasses import dataclass, field, replace

from IPython.core.inputtransformer2 import TransformerManager

from lab1.checks import Result
from lab1.grade.judge import CHECKS, FUNCTIONS, Judge
from lab1.grade.kernel import Kernel, Limits, Stopped
from lab1.grade.launch import kernel, own_folder
from lab1.grade.notebook import Cell, Unreadable, parse, plain
from lab1.grade.outputs import Outputs

ATTEMPTS = 6  # the last one runs nothing but definitions after the cell that stopped the one before
DEFINING_SECONDS = 30  # for what a cell defines, when it cannot be run
DEFINING_IN_ALL = 60
ENDINGS = re.compile(r"\b(_exit|kill|abort|do_shutdown|alarm|setitimer)\b")  # what may end the kernel a moment later
NETWORK = re.compile(r"URLError|ProxyError|ConnectionError|Connection refused|MaxRetry|gaierror|name resolution")
SUSPECTS = "suspects()"
FINISH_SECONDS = 300  # for the checks that the notebook itself has not called


def _no_results() -> list[Result]:
    return [replace(check.latest, status="not graded", points=0) for check in CHECKS.values()]


@dataclass
class Grading:
    """What is found about a notebook.

    cells: with their new outputs. results: one for each task. changed: what differs from the original in the checks.
    borrowed: for each name, what it uses of lab1. left_out: why a cell was not run, by its number. errors: one line for
    each cell that failed or was left out. remarks: what else its author should know. failure: why nothing could be
    scored; "" if it was.
    """

    cells: list[Cell] = field(default_factory=list)
    results: list[Result] = field(default_factory=_no_results)
    changed: list[str] = field(default_factory=list)
    borrowed: dict[str, list[str]] = field(default_factory=dict)
    left_out: dict[int, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    failure: str = ""
    seconds: float = 0.0


def grade(content: bytes, beside: dict[str, bytes], limits: Limits, seed: int) -> Grading:
    """Grade one notebook. Whatever is wrong with it is part of what is returned.

    content: of the notebook's file. beside: files that came with it. seed: for the inputs of the checks.
    """
    begin, grading = time.monotonic(), Grading()
    try:
        grading.cells, grading.remarks = parse(content)
        grading.changed = [f"{call} is not called" for call in missing_calls(grading.cells)]
        Run(grading, beside, limits, seed).until_scored()
    except Unreadable as error:
        grading.failure = str(error)
    except Exception as error:
        grading.failure = plain(error, 300) or type(error).__name__
    grading.seconds = time.monotonic() - begin
    return grading


def missing_calls(cells: list[Cell]) -> list[str]:
    """The calls of checks, such as checks.mlp(MLP), that are in none of the code cells."""
    found = set()
    for cell in cells:
        with contextlib.suppress(Exception):  # such as RecursionError
            for node in ast.walk(parsed(cell)):
                found |= _calls(node)
    return [f"checks.{function}({name})" for name, function in FUNCTIONS.items() if (function, name) not in found]


def _calls(node: ast.AST) -> set[tuple[str, str]]:
    """(function, first argument) of a call, also behind a magic such as %time."""
    if not isinstance(node, ast.Call) or not node.args:
        return set()
    if isinstance(node.func, ast.Attribute) and node.func.attr == "run_line_magic" and len(node.args) > 1:
        words = getattr(node.args[1], "value", "")
        return set().union(*(_calls(each) for each in ast.walk(ast.parse(words))))
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return {(name, ast.unparse(node.args[0]))}


def parsed(cell: Cell) -> ast.Module:
    """What a cell consists of, below a magic such as %%time; nothing if it is not code, or not Python."""
    with contextlib.suppress(Exception):
        if cell.kind == "code":
            return ast.parse(TransformerManager().transform_cell(re.sub(r"\A\s*%%.*", "", cell.source)))
    return ast.Module([], [])


class Run:
    """The attempts at one notebook, until it has been scored."""

    def __init__(self, grading: Grading, beside: dict[str, bytes], limits: Limits, seed: int):
        self.grading, self.beside, self.limits, self.seed = grading, beside, limits, seed
        self.code = [cell for cell in grading.cells if cell.kind == "code"]
        self.end, self.left = 0.0, limits.seconds  # of the time for cells, all attempts together
        self.defining = DEFINING_IN_ALL
        self.suspects: list[int] = []  # cells that have left something running, in this attempt
        self.trial: tuple[int, int] | None = None  # a suspect that is left out, and the cell that was stopped
        self.cleared: set[int] = set()
        self.stopped_twice: set[int] = set()
        self.definitions_after: float = float("inf")

    def until_scored(self) -> None:
        """Raises RuntimeError: it cannot be scored."""
        for attempt in range(1, ATTEMPTS + 1):
            with (
                own_folder() as folder,
                kernel(self.beside, self.limits, self.seed, folder) as running,
            ):
                if self._all_cells(running):
                    self._finish(running)
                    return
            if attempt == ATTEMPTS - 1:
                self.definitions_after = max(self.grading.left_out)
        raise RuntimeError(f"stopped {ATTEMPTS} times; the last reason: {list(self.grading.left_out.values())[-1]}")

    def _all_cells(self, running: Kernel) -> bool:
        """Whether all cells were run or left out; otherwise one of them has stopped the kernel."""
        self.grading.errors, self.suspects, images = [], [], Outputs()
        self.end = time.monotonic() + self.left
        for cell in self.code:
            outputs = Outputs(images)
            try:
                self.suspects = self._suspects(self._one(running, cell, outputs) or _asked(running, SUSPECTS))
            except Stopped as stopped:
                self._blame(cell.number, str(stopped))
                self.left = self.end - time.monotonic()
                return False
            cell.outputs = outputs.kept
        return True

    def _suspects(self, said: dict) -> list[int]:
        """The cells so far that may stop the kernel during a later one, the likeliest last."""
        cells = said.get("cells") if isinstance(said.get("cells"), list) else []
        worded = [cell.number for cell in self.code if ENDINGS.search(cell.source)]
        return [*worded, *(each for each in cells if isinstance(each, int))]

    def _one(self, running: Kernel, cell: Cell, outputs: Outputs) -> dict:
        """What the kernel says about suspects after the cell; nothing after one that failed or was left out."""
        left_out = self.grading.left_out
        if time.monotonic() > self.end:
            left_out.setdefault(cell.number, self.limits.time_is_over)
        elif cell.number > self.definitions_after:
            left_out.setdefault(cell.number, "cells before it were stopped")
        if cell.number not in left_out:
            limit = self.limits.cell_seconds
            reply = running.run(cell.source, limit, outputs, self.end, cell.number, _call(SUSPECTS))
            if reply.get("status") == "error":
                error = plain(f"{reply.get('ename')}: {reply.get('evalue')}", 200)
                if NETWORK.search(error):
                    error += " (there is no network while notebooks are graded)"
                self.grading.errors.append(f"cell {cell.number}: {error}")
                if not any(kind == "error" for kind, _ in outputs.kept):
                    outputs.kept.append(("error", error))
            return _said(reply)
        reason = f"left out: {left_out[cell.number]}"
        self.grading.errors.append(f"cell {cell.number}: {reason}")
        if cell.number not in self.stopped_twice and self.defining > 0:
            begin = time.monotonic()
            running.run(_call(f"define_only({cell.source!r}, {cell.number})"), DEFINING_SECONDS, Outputs())
            self.defining -= time.monotonic() - begin
        outputs.kept.append(("error", f"{reason.capitalize()}. Only what it defines was executed."))
        return {}

    def _blame(self, cell: int, reason: str) -> None:
        """Leave out the cell that has stopped the kernel, or first one before it that had left something running."""
        left_out = self.grading.left_out
        if self.trial and self.trial[1] == cell:  # leaving the suspect out did not help
            self.cleared.add(self.trial[0])
            left_out.pop(self.trial[0], None)
            self.suspects, self.trial = [], None
        suspects = [each for each in self.suspects if each < cell and each not in self.cleared and each not in left_out]
        if suspects and "longer than" not in reason:
            self.trial = (suspects[-1], cell)
            left_out[suspects[-1]] = f"what it left running has stopped cell {cell} ({reason})"
            return
        if cell in left_out:
            self.stopped_twice.add(cell)
        left_out[cell] = reason

    def _finish(self, running: Kernel) -> None:
        grading, said = self.grading, {}
        try:
            said = _asked(running, "finish()", FINISH_SECONDS)
        except Stopped as stopped:
            grading.remarks.append(f"while the answers were checked at the end: {stopped}")
        judge = running.judge
        grading.borrowed = {name: sorted(used) for name, used in judge.used.items() if used}
        made, lost = (said.get(key) if isinstance(said.get(key), dict) else {} for key in ("made", "lost"))
        grading.results = []
        for name, check in CHECKS.items():
            cells = made.get(name) if isinstance(made.get(name), list) else []
            grading.results.append(self._result(check.latest, judge, cells))
            if name in lost and cells:
                text = f"{name} of cell {cells[-1]} was overwritten or deleted in cell {lost[name]}, but counts"
                grading.remarks.append(plain(text))

    def _result(self, none: Result, judge: Judge, cells: list) -> Result:
        """What counts: the best result of the last object that was an answer; the text tells if another one passed."""
        judged = judge.judged[none.name]
        if not judged:
            text = f"{none.text}\n  {none.name} is not defined: its cell was deleted or renamed, or it failed."
            return replace(none, status="missing", text=text)
        last = len(cells) - 1 if cells else judged[-1].answer
        counting = [each for each in judged if each.answer == last] or judged[-1:]
        best = max(counting, key=lambda each: each.result.points).result
        passed = next((each for each in judged if each.result.passed and each.answer != last), None)
        if passed and not best.passed:
            text = f"{none.name} passed in cell {passed.cell}, and another one was defined later: the last one counts"
            self.grading.remarks.append(text)
        return best


def _call(words: str) -> str:
    return f"get_ipython().kernel.lab1.{words}"


def _asked(running: Kernel, words: str, seconds: float = DEFINING_SECONDS) -> dict:
    """What the kernel answers to a question."""
    return _said(running.run("", seconds, Outputs(), expression=_call(words)))


def _said(reply: dict) -> dict:
    """What the kernel has answered; nothing if it says nothing that can be read."""
    with contextlib.suppress(Exception):
        return dict(reply["user_expressions"]["said"]["data"]["application/json"])
    return {}
