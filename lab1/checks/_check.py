"""The judging half of a check: claims about a student's answer, tried one after the other, and the words for them."""

import difflib
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from lab1.checks import _settings
from lab1.checks._isolation import isolated
from lab1.checks._result import Result, headline
from lab1.checks._student import Cause, Raised, Student, Wrong, matches
from lab1.checks._values import Draw
from lab1.checks.channel import Ended, Pipe, Queues

SECONDS = 8.0  # for all claims of a check together; a right answer takes less than one
UNKNOWN = " No single mistake that this check knows explains it: there may be two at once."
ROUNDS = 3  # draws that each claim has to hold for
MOST_FOUND = 1000  # characters that are told of what was found
UNREADABLE = (
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    RuntimeError,
    ArithmeticError,
    MemoryError,
)  # of odd replies


def _has_no(method: str) -> Callable[[Student, Draw], bool | str]:
    """An experiment: whether the class has no such method, and if so the name that looks like it."""

    def experiment(student: Student, draw: Draw) -> bool | str:
        names = student.begin()["names"]
        close = difflib.get_close_matches(method, names, 1, 0.7)
        return method not in names and (f" It has one called {close[0]}." if close else True)

    return experiment


COMMON_CAUSES = (  # whatever the task
    Cause(r"before Module.__init__\(\) call", "super().__init__() is missing in __init__, or comes too late."),
    Cause(r'missing the required "forward"', "The class has no method called forward.", "", _has_no("forward")),
    Cause(r"__init__\(\) takes 1 positional", "The class has no method called __init__.", "", _has_no("__init__")),
    Cause(r"CUDA|NVIDIA driver|cuda", "A device is fixed in the code."),
    Cause(r"can't allocate memory|MemoryError", "It asks for far more memory than the task needs."),
    Cause(r"SystemExit", "The code calls exit(), which would end your notebook."),
    Cause(r"RecursionError", "A function calls itself again and again and never stops."),
)
WRONG_ARGUMENTS = Cause(r"TypeError: .*argument", "It does not take the arguments that the task names.")


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
        f"Stopped after {SECONDS:.0f} seconds, which all claims may take together; a right answer takes less than one.",
        "A loop that never ends, or far more work than the task needs.",
    ),
    "gone": Found("wrong", "Your code ended the Python process.", "It calls os._exit, or takes all the memory."),
}


class Check:
    """Called with a student's own object: tries every claim, prints what was found, and returns a Result.

    A claim is a function (student, draw) that asks for observations, raises Wrong where what they show is not right,
    and may return a remark. It is tried with several draws, which decide about shapes and values. Where the first
    claim does not hold, the others are not tried.

    Args:
        task, name: the task's number, and what the student writes.
        hints: the titles of the task's hints in the notebook.
        causes: what an error in this task may come from, and the experiments that confirm it.
    """

    def __init__(self, task: int, name: str, hints: tuple[str, ...], causes: tuple[Cause, ...] = ()):
        self.task, self.name, self.hints, self.causes = task, name, hints, causes
        self.claims: list[tuple[str, Callable]] = []

    def claim(self, text: str) -> Callable:
        """A decorator that adds a claim, worth one point."""

        def add(function):
            self.claims.append((text, function))
            self.latest = self._result("not started", 0, [])
            return function

        return add

    def __call__(self, answer: Any) -> Result:
        self.latest = self._result("failed", 0, ["  The check was interrupted: run it again."])
        with _settings.restored(), torch.inference_mode(False):
            _settings.normalise()
            with isolated(answer, SECONDS) as channel:
                self.latest = self.judge(channel)
        print(_coloured(self.latest))
        return self.latest

    def judge(self, channel: Pipe | Queues, seed: int = 0) -> Result:
        """The result for the answer that is observed at the other end of the channel.

        Inputs are drawn from the seed. Nothing is printed, and `latest` stays. The thread's autograd and default dtype
        have to be PyTorch's defaults.
        """
        student, founds = Student(channel), []
        try:
            kind = student.begin()
            if not isinstance(kind, dict) or kind.get("callable") is not True:
                text = f"The check was given a {kind.get('type') if isinstance(kind, dict) else kind}."
                founds.append(Found("wrong", text, f"It takes {self.name} itself, not something else or its result."))
            else:
                for number, (_, claim) in enumerate(self.claims):
                    founds.append(self._try(claim, student, seed, is_first=number == 0))
                    if number == 0 and founds[0].kind != "holds":
                        break
        except Ended as ended:
            founds.append(ENDINGS[str(ended)])
        except (Raised, Wrong) as error:  # before any claim
            founds.append(Found("wrong", str(error)))
        return self._summary(founds, student.printed)

    def _try(self, claim: Callable, student: Student, seed: int, is_first: bool) -> Found:
        failures, held = [], Found("holds")
        for round_ in range(ROUNDS):
            outcome = self._once(claim, student, Draw(ROUNDS * seed + round_), is_first)
            if isinstance(outcome, Wrong):
                failures.append(outcome)
            elif outcome.kind == "not started":
                return outcome
            else:
                held = outcome
        if not failures:
            return held
        first, *others = failures
        told = [m for m in dict.fromkeys(first.mistakes) if m and all(m in other.mistakes for other in others)]
        if len(told) > 1 and len(others) == 0:  # one failure is too little to tell them apart
            told = []
        if told:
            return Found("wrong", first.found, told[0], first.hint)
        smallest = self._once(claim, student, Draw(ROUNDS * seed, small=True), is_first)
        shown = smallest if isinstance(smallest, Wrong) else first
        more = UNKNOWN if any(failure.is_unknown for failure in failures) else ""
        return Found("wrong", shown.found + more, "", shown.hint)

    def _once(self, claim: Callable, student: Student, draw: Draw, is_first: bool) -> Found | Wrong:
        try:
            student.begin()
            return Found("holds", claim(student, draw) or "")
        except Wrong as wrong:
            return wrong
        except Raised as error:
            return Found("not started") if is_first and error.is_stub else self._explained(error, student, draw)
        except UNREADABLE as error:
            return Wrong(f"What your code has done cannot be read ({type(error).__name__}: {error}).")

    def _explained(self, error: Raised, student: Student, draw: Draw) -> Wrong:
        """An error in words: a mistake only where an experiment confirms it, otherwise at most a hint."""
        if error.unwritten:
            return Wrong(str(error), f"It needs {error.unwritten}, which is not written yet.")
        causes = [cause for cause in self.causes + COMMON_CAUSES if matches(cause, error)]
        if not error.line and matches(WRONG_ARGUMENTS, error):
            causes.append(WRONG_ARGUMENTS)
        for cause in causes:
            confirmed = cause.experiment is None or _confirms(cause, student, draw)
            if confirmed:
                more = confirmed if isinstance(confirmed, str) else ""
                return Wrong(str(error), cause.mistake + more, cause.hint)
        return Wrong(str(error), hint=causes[0].hint if causes else "")

    def _summary(self, founds: list[Found], printed: str) -> Result:
        if founds[0].kind == "not started":
            return self._result("not started", 0, [])
        lines, told = [], set()
        for (text, _), found in zip(self.claims, founds, strict=False):
            lines += _lines(text, found, told)
        if untried := len(self.claims) - len(founds):
            lines.append(f"  --  {untried} more to be tried when this is solved")
        if printed:
            lines.append(f"  Your code printed: {_indented(printed.rstrip())}")
        points = sum(found.kind == "holds" for found in founds)
        return self._result("passed" if points == len(self.claims) else "failed", points, lines)

    def _result(self, status: str, points: int, lines: list[str]) -> Result:
        result = Result(self.task, self.name, status, points, len(self.claims), "")
        return replace(result, text="\n".join([headline(result), *lines]))


def _confirms(cause: Cause, student: Student, draw: Draw) -> bool | str:
    try:
        student.begin()
        return cause.experiment(student, draw)
    except (Raised, Wrong, *UNREADABLE):
        return False


def _coloured(result: Result) -> str:
    """The text; in a notebook its first line is green where the answer passed, and red where it failed."""
    ipython = sys.modules.get("IPython")
    in_notebook = hasattr(ipython and ipython.get_ipython(), "kernel")
    colour = {"passed": 32, "failed": 31}.get(result.status) if in_notebook else None
    first, *lines = result.text.split("\n")
    return "\n".join([f"\x1b[1;{colour}m{first}\x1b[0m" if colour else first, *lines])


def _lines(text: str, found: Found, told: set[str]) -> list[str]:
    """One claim in words. What has been told is not told again."""
    seen, mistake = _indented(found.found[:MOST_FOUND]), _indented(found.mistake)
    if found.kind == "holds":
        return [f"  ok  {text}", *([f"      {seen}"] if seen else [])]
    reasons = {found.mistake, found.found} - {""}
    if told & reasons:
        return [f"  NO  {text}: for the same reason"]
    told |= reasons
    lines = [f"  NO  {text}", f"      {seen}"]
    if mistake:
        lines.append(f"      Likely mistake: {mistake}")
    if found.hint:
        lines.append(f'      See the hint "{found.hint}".')
    return lines


def _indented(text: str) -> str:
    """What may quote the student's code: none of its lines can look like one of the check's own."""
    return "\n      ".join(text.splitlines())
