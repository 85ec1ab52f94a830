"""What a check returns, and the table of the latest results."""

from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Result:
    """The outcome of one check.

    status: "passed", "failed" or "not started". points: one for each claim that holds, out of max_points. text: all
    that was said.
    """

    task: int
    name: str
    status: str
    points: int
    max_points: int
    text: str

    @property
    def passed(self) -> bool:
        return self.status == "passed"

    def __repr__(self) -> str:
        return f"<{headline(self)}>"


def headline(result: Result) -> str:
    """For example "Task 2, train_epoch: failed, 3 of 6 points"."""
    return f"Task {result.task}, {result.name}: {result.status}, {result.points} of {result.max_points} points"


@dataclass(frozen=True)
class Scorecard:
    """The latest result of each task. A table: HTML in a notebook, plain text elsewhere."""

    results: tuple[Result, ...]

    @property
    def points(self) -> int:
        return sum(result.points for result in self.results)

    @property
    def max_points(self) -> int:
        return sum(result.max_points for result in self.results)

    def _rows(self) -> list[tuple[str, ...]]:
        rows = [(str(r.task), r.name, r.status, f"{r.points} of {r.max_points}") for r in self.results]
        return [
            ("task", "you write", "status", "points"),
            *rows,
            ("", "all", "", f"{self.points} of {self.max_points}"),
        ]

    def __repr__(self) -> str:
        rows = self._rows()
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        )

    def _repr_html_(self) -> str:
        head, *body = self._rows()
        lines = ["".join(f"<th>{escape(cell)}</th>" for cell in head)]
        lines += ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in body]
        return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
