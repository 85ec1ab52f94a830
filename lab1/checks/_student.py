"""A student's answer as the judging half sees it: every request goes to an observer, wherever that runs."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from lab1.checks.channel import Ended, Pipe, Queues, decode, encode


class Wrong(Exception):
    """A claim that does not hold: what was seen, the likely mistake in words, and the title of a hint.

    mistakes: all mistakes that would have given what was seen; one of them is told if it is the only one.
    """

    def __init__(self, found: str, mistake: str | list[str] = "", hint: str = ""):
        super().__init__(found)
        self.found, self.hint = found, hint
        self.mistakes = [mistake] if isinstance(mistake, str) else mistake


class Raised(Exception):
    """The student's code raised an error: what the observer has described."""

    def __init__(self, error: dict):
        super().__init__(error["text"])
        self.type, self.text, self.line = str(error["type"]), str(error["text"]), str(error["line"])
        self.unwritten, self.is_stub = str(error["unwritten"]), bool(error["is_stub"])

    def __str__(self) -> str:
        return f"{self.text}{self.line and f' (in {self.line})'}."


class Cause(NamedTuple):
    """What an error comes from, if the experiment with the student's code confirms it.

    The pattern is looked for in the error's text, with the student's line behind it.
    """

    pattern: str
    mistake: str
    hint: str = ""
    experiment: Callable[["Student", Any], bool] | None = None  # with new inputs; None where the text itself says it


class Student:
    """student.call(x) asks for the observation `call`, and so on: see Observer.

    given: the arguments of the latest observation, as they are after it. printed: what the code has printed so far.
    """

    def __init__(self, channel: Pipe | Queues):
        self._channel, self.given, self.printed = channel, [], ""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def ask(*arguments, **options):
            self._channel.send(encode([name, list(arguments), options]))
            reply = decode(self._channel.receive())
            try:
                self.given, self.printed = reply["given"], str(reply["printed"])[:1000]
                changes, error = [str(each) for each in reply["changes"]], reply.get("error")
                value = None if error else reply["value"]
                error = error and Raised(error)
            except (KeyError, TypeError, AttributeError) as broken:
                raise Ended("gone") from broken
            if changes:
                text = f"After your code has run, {', and '.join(changes)}."
                raise Wrong(text, "It changes a setting of PyTorch that holds for the whole notebook.")
            if error:
                raise error
            return value

        return ask

    def build(self, *arguments, hint: str = "", **options) -> None:
        """`make`, and the result is a model.

        Raises:
            Wrong: it is none.
        """
        kind = self.make(*arguments, **options)
        if not kind["is_module"]:
            mistake = "A return statement is missing." if kind["type"] == "NoneType" else ""
            raise Wrong(f"What it returns is {kind['type']}, not an nn.Module.", mistake, hint)

    def can(self, name: str, *arguments, **options) -> bool:
        """Whether an observation raises no error."""
        try:
            getattr(self, name)(*arguments, **options)
        except Raised:
            return False
        return True

    def matrices(self) -> list:
        """The parameters with two or more dimensions that are larger than one, without the others."""
        values = [p["value"].detach().squeeze() for p in self.parameters()]
        return [value for value in values if value.ndim >= 2]


def matches(cause: Cause, error: Raised) -> bool:
    return re.search(cause.pattern, str(error)) is not None
