"""A student's answer as the judging half sees it: every request goes to an observer, wherever that runs."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from lab1.checks.channel import MOST_TEXT, Ended, Pipe, Queues, decode, encode

MOST_CHANGES = 20  # of settings


class Wrong(Exception):
    """A claim that does not hold: what was seen, the likely mistake in words, and the title of a hint.

    mistake: may be all that would have given what was seen. is_unknown: none of those that were compared would.
    """

    def __init__(self, found: str, mistake: str | list[str] = "", hint: str = "", is_unknown: bool = False):
        super().__init__(found)
        self.found, self.hint, self.is_unknown = found, hint, is_unknown
        self.mistakes = [mistake] if isinstance(mistake, str) else mistake


class Raised(Exception):
    """The student's code raised an error: what the observer has described."""

    def __init__(self, error: dict):
        self.type, self.text, self.line, self.unwritten = (
            str(error[key])[:MOST_TEXT] for key in ("type", "text", "line", "unwritten")
        )
        self.is_stub = error["is_stub"] is True
        super().__init__(self.text)

    def __str__(self) -> str:
        return f"{self.text}{self.line and f' (in {self.line})'}."


class Cause(NamedTuple):
    """What an error comes from, if the experiment with the student's code confirms it.

    The pattern is looked for in the error's text, with the student's line after it. The experiment, with new inputs,
    may return words to add to the mistake; without one the text itself says it.
    """

    pattern: str
    mistake: str
    hint: str = ""
    experiment: Callable[["Student", Any], bool | str] | None = None


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
                self.given, self.printed = reply["given"], str(reply["printed"])[:MOST_TEXT]
                changes = [str(each)[:200] for each in reply["changes"][:MOST_CHANGES]]
                error = Raised(reply["error"]) if reply.get("error") is not None else None
                value = None if error else reply["value"]
            except (LookupError, TypeError, AttributeError) as broken:
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

    def values(self) -> dict:
        """The parameters' values by their names."""
        return {p["name"]: p["value"].detach() for p in self.parameters()}

    def matrices(self) -> list:
        """The parameters with two or more dimensions that are larger than one, without the others."""
        values = [value.squeeze() for value in self.values().values()]
        return [value for value in values if value.ndim >= 2]


def matches(cause: Cause, error: Raised) -> bool:
    return re.search(cause.pattern, str(error)) is not None
