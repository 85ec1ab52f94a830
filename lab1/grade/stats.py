"""What a class has solved, as one page: points and states of each task, and the commonest likely mistakes."""

import base64
import io
from collections import Counter
from html import escape
from pathlib import Path

from lab1.basics.files import atomic
from lab1.grade.page import clean, document

STATES = {"passed": "#2a7f62", "failed": "#d55e00", "not started": "#bbbbbb", "missing": "#777777"}
MOST_MISTAKES = 20


def write(every: list[dict], path: Path) -> None:
    """every: the details of all submissions (see report.details)."""
    graded = [each for each in every if each["row"]["status"] == "graded"]
    parts = [f"<h1>{len(graded)} of {len(every)} submissions graded</h1>"]
    if graded:
        parts += [
            _picture(_tasks(graded), "For each task a bar: how many have passed, failed, not started or lost it.")
        ]
        parts += [_picture(_totals(graded), "A histogram of the points of all tasks together.")]
        parts += [
            "<h2>Points for each task</h2>",
            _table(("task", "answer", "mean points", "passed"), task_rows(graded)),
        ]
        parts += ["<h2>What to teach again: the commonest likely mistakes</h2>"]
        parts += [_table(("answer", "likely mistake", "students"), mistakes(graded))]
    with atomic(path) as file:
        file.write(document("What the class has solved", "\n".join(parts)).encode())


def task_rows(graded: list[dict]) -> list[tuple]:
    """(task, name, "mean of most", how many have passed), in the order of the tasks."""
    rows = []
    for results in zip(*(each["results"] for each in graded), strict=True):
        first, mean = results[0], sum(result["points"] for result in results) / len(results)
        passed = sum(result["status"] == "passed" for result in results)
        rows.append(
            (first["task"], first["name"], f"{mean:.1f} of {first['max_points']}", f"{passed / len(results):.0%}")
        )
    return rows


def mistakes(graded: list[dict]) -> list[tuple]:
    """(name, mistake, how many have made it), the commonest first."""
    found = Counter()
    for each in graded:
        for result in each["results"]:
            lines = {line.strip() for line in result["text"].split("\n") if line.strip().startswith("Likely mistake: ")}
            found.update((result["name"], line.removeprefix("Likely mistake: ")) for line in lines)
    return [(name, text, count) for (name, text), count in found.most_common(MOST_MISTAKES)]


def _tasks(graded: list[dict]):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    axis = figure.subplots()
    names = [result["name"] for result in graded[0]["results"]]
    left = [0] * len(names)
    for state, colour in STATES.items():
        counts = [sum(each["results"][i]["status"] == state for each in graded) for i in range(len(names))]
        axis.barh(names, counts, left=left, color=colour, label=state)
        left = [a + b for a, b in zip(left, counts, strict=True)]
    axis.invert_yaxis()
    axis.set(xlabel="students")
    axis.legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.12), frameon=False)
    return figure


def _totals(graded: list[dict]):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 2.5), layout="constrained")
    axis = figure.subplots()
    most = graded[0]["row"]["max_points"]
    axis.hist([each["row"]["points"] for each in graded], bins=min(most, 16), range=(0, most), color="#0072b2")
    axis.set(xlabel=f"points of {most}", ylabel="students")
    return figure


def _picture(figure, alt: str) -> str:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    return f'<img alt="{alt}" src="data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}">'


def _table(header: tuple, rows: list[tuple]) -> str:
    lines = ["".join(f"<th>{escape(name)}</th>" for name in header)]
    lines += ["".join(f"<td>{escape(clean(str(cell)))}</td>" for cell in row) for row in rows]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
