"""A check: claims about a student's answer, tried one after the other, and the words for what was found."""

import dis
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import nn

from lab1.checks import _settings
from lab1.checks._result import Result, headline
from lab1.checks._run import Interrupted, Report, Send, isolated
from lab1.checks._values import Draw, Wrong

SECONDS = 8.0  # for all claims of a check together; a right answer takes less than one
SEEDS = (0, 1, 2)
NOT_STUDENTS = (
    *(str(Path(file).parent) for file in (torch.__file__, np.__file__, _settings.__file__)),
    *(sysconfig.get_path(name) for name in ("stdlib", "purelib")),
)

# what an error's text means wherever it comes up: pattern, likely mistake, title of a hint
COMMON_ERRORS = (
    (r"before Module.__init__\(\) call", "super().__init__() is missing in __init__.", ""),
    (r'missing the required "forward"', "The class has no forward method: misspelt, or indented wrongly?", ""),
    (r"CUDA|NVIDIA|cuda", "A device is fixed in the code, and this computer does not have it.", ""),
    (r"can't allocate memory|MemoryError", "It asks for far more memory than the task needs.", ""),
    (r"SystemExit", "The code calls exit(), which would end your notebook.", ""),
    (r"RecursionError", "A function calls itself for ever.", ""),
)
CALL_ERRORS = (  # where no line of the student's own is involved
    (r"TypeError: .*argument", "It does not take the arguments that the task names.", ""),
    (r"'NoneType' object", "A return statement is missing.", ""),
)


@dataclass
class Found:
    """What trying a claim has found: kind is "holds", "wrong" or "not started"."""

    kind: str
    found: str = ""
    mistake: str = ""
    hint: str = ""


ENDINGS = {
    "too slow": Found(
        "wrong",
        f"Stopped: the whole check may take {SECONDS:.0f} s, and a right answer takes less than one.",
        "A loop that never ends, or far more work than the task needs.",
    ),
    "gone": Found("wrong", "Your code ended the Python process.", "It calls os._exit, or takes all the memory."),
}


class Check:
    """Called with a student's own object: tries every claim, prints what was found, and returns a Result.

    The student's code runs in isolation (see _run), and each claim is tried with several seeds, which decide about
    shapes and values. A claim is a function (answer, draw) that raises Wrong where it does not hold, and may return a
    remark. Where the first claim does not hold, the others are not tried.

    Args:
        task, name: the task's number, and what the student writes.
        hints: the titles of the task's hints in the notebook.
        errors: what the text of a Python error means in this task: (pattern, likely mistake, title of a hint).
    """

    def __init__(self, task: int, name: str, hints: tuple[str, ...], errors: tuple[tuple[str, str, str], ...] = ()):
        self.task, self.name, self.hints, self.errors = task, name, hints, errors
        self.claims: list[tuple[str, Callable]] = []

    def claim(self, text: str) -> Callable:
        """A decorator that adds a claim, worth one point."""

        def add(function):
            self.claims.append((text, function))
            self.latest = self._result("not started", 0, [])
            return function

        return add

    def __call__(self, answer: Any) -> Result:
        report = isolated(lambda send: self._try_all(answer, send), SECONDS)
        self.latest = self._judge([Found(**message) for message in report.messages], report)
        print(_coloured(self.latest))
        return self.latest

    def _try_all(self, answer: Any, send: Send) -> None:
        if not callable(answer) or isinstance(answer, nn.Module):
            text = f"The check was given a {type(answer).__name__}."
            send(vars(Found("wrong", text, f"It takes {self.name} itself, not something else or what it returns.")))
            return
        with torch.inference_mode(False):
            for number, (_, claim) in enumerate(self.claims):
                found = self._try(claim, answer, is_first=number == 0)
                send(vars(found))
                if number == 0 and found.kind != "holds":
                    return

    def _try(self, claim: Callable, answer: Any, is_first: bool) -> Found:
        for seed in SEEDS:
            values = _settings.normalise()
            found = self._try_once(claim, answer, seed, is_first)
            changes = _settings.put_back(values)
            if changes and found.kind != "not started":
                text = f"After your code has run, {', and '.join(changes)}."
                return Found("wrong", text, "It changes a setting of PyTorch that holds for the whole notebook.")
            if found.kind != "holds":
                return found
        return found

    def _try_once(self, claim: Callable, answer: Any, seed: int, is_first: bool) -> Found:
        try:
            return Found("holds", claim(answer, Draw(seed)) or "")
        except Interrupted:
            raise
        except Wrong as wrong:
            return Found("wrong", *wrong.args)
        except BaseException as error:
            own = _own_parts(error)
            is_stub = is_first and len(own) == 1 and _unwritten(error, own)
            return Found("not started") if is_stub else self._explain(error, own)

    def _explain(self, error: BaseException, own: list[TracebackType]) -> Found:
        text, line = _text(error), _last_line(own)
        known = (*self.errors, *COMMON_ERRORS, *(() if line else CALL_ERRORS))
        words = next((words for pattern, *words in known if re.search(pattern, text)), ("", ""))
        if name := _unwritten(error, own):
            words = (f"It needs {name}, which is not written yet.",)
        return Found("wrong", f"{text}{line and f' (in {line})'}.", *words)

    def _judge(self, founds: list[Found], report: Report) -> Result:
        if founds and founds[0].kind == "not started":
            return self._result("not started", 0, [])
        points = sum(found.kind == "holds" for found in founds)
        if report.ending != "finished":
            founds = [*founds[: len(self.claims) - 1], ENDINGS[report.ending]]
        lines, told = [], set()
        for (text, _), found in zip(self.claims, founds, strict=False):
            lines += _lines(text, found, told)
        if untried := len(self.claims) - len(founds):
            lines.append(f"  --  {untried} more to be tried when this is solved")
        if report.printed:
            lines.append(f"  Your code printed: {report.printed.rstrip()}")
        passed = all(found.kind == "holds" for found in founds)
        return self._result("passed" if passed else "failed", points, lines)

    def _result(self, status: str, points: int, lines: list[str]) -> Result:
        result = Result(self.task, self.name, status, points, len(self.claims), "")
        return replace(result, text="\n".join([headline(result), *lines]))


def _coloured(result: Result) -> str:
    """The text; in a notebook its first line is green where the answer passed, and red where it failed."""
    ipython = sys.modules.get("IPython")
    in_notebook = hasattr(ipython and ipython.get_ipython(), "kernel")
    colour = {"passed": 32, "failed": 31}.get(result.status) if in_notebook else None
    first, *lines = result.text.split("\n")
    return "\n".join([f"\x1b[1;{colour}m{first}\x1b[0m" if colour else first, *lines])


def _lines(text: str, found: Found, told: set[str]) -> list[str]:
    """One claim in words. A mistake that has been told is not told again."""
    if found.kind == "holds":
        return [f"  ok  {text}", *([f"      {found.found}"] if found.found else [])]
    if (found.mistake or found.found) in told:
        return [f"  NO  {text}: for the same reason"]
    told.add(found.mistake or found.found)
    lines = [f"  NO  {text}", f"      {found.found}"]
    if found.mistake:
        lines.append(f"      Likely mistake: {found.mistake}")
    if found.hint:
        lines.append(f'      See the hint "{found.hint}".')
    return lines


def _text(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {str(error)[:200]}".strip().rstrip(":.")
    except Exception:  # of the error's own __str__
        return type(error).__name__


def _own_parts(error: BaseException) -> list[TracebackType]:
    """The parts of an error's traceback that lie in what the student wrote, the outermost first."""
    parts, part = [], error.__traceback__
    while part:
        if not part.tb_frame.f_code.co_filename.startswith(NOT_STUDENTS):
            parts.append(part)
        part = part.tb_next
    return parts


def _unwritten(error: BaseException, own: list[TracebackType]) -> str:
    """The name of a function of the student's own, if a `raise` in it raised NotImplementedError; "" otherwise.

    PyTorch does so, too, for some dtypes.
    """
    if not isinstance(error, NotImplementedError) or not own or own[-1].tb_next:
        return ""
    code = own[-1].tb_frame.f_code
    return code.co_qualname if dis.opname[code.co_code[own[-1].tb_lasti]] == "RAISE_VARARGS" else ""


def _last_line(own: list[TracebackType]) -> str:
    """Where an error last came through; "" if nowhere."""
    if not own:
        return ""
    [line] = traceback.extract_tb(own[-1], limit=1)
    return f"line {line.lineno}: {line.line}".rstrip(": ")
