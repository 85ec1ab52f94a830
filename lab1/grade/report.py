"""What a grader reads: one row of scores.csv and one page for each notebook."""

import csv
import io
from collections.abc import Iterable
from html import escape
from pathlib import Path

from nbconvert import HTMLExporter
from nbformat import v4

from lab1.checks import CHECKS
from lab1.grade.run import Grading

COLUMNS = (
    *("notebook", "status", "points", "max_points", *(check.name for check in CHECKS)),
    *("checks_changed", "from_lab1", "failed_cells", "error", "seconds", "page"),
)
MOST_TEXT = 5000  # characters of an output on the page
MOST_OUTPUTS = 50  # of a cell
STYLE = """
body { font: 15px/1.45 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222 }
pre { font: 13px/1.4 monospace; white-space: pre-wrap; overflow-wrap: anywhere; margin: 0 }
table { border-collapse: collapse } td, th { padding: .2em .8em; text-align: left; border-bottom: 1px solid #ddd }
.flag { background: #fff3cd; padding: .4em .8em } .passed { color: #176b2c } .failed { color: #a11 }
.task, .input_area { background: #f5f5f5; padding: .6em .8em; margin: .4em 0 } img { max-width: 100% }
.prompt { color: #888; font-size: 12px } .output_stderr, .output_error { background: #fdeaea }
.ansi-bold { font-weight: bold } .ansi-green-intense-fg { color: #176b2c } .ansi-red-intense-fg { color: #a11 }
iframe { width: 100%; height: 90vh; border: 1px solid #ccc }
"""


def row(notebook: Path, page: str, grading: Grading) -> dict[str, str | int]:
    """A notebook's values, by the names in COLUMNS."""
    values = {
        "notebook": notebook.as_posix(),
        "status": "not graded" if grading.failure else "graded",
        "points": sum(result.points for result in grading.results),
        "max_points": sum(result.max_points for result in grading.results),
        **{result.name: result.points for result in grading.results},
        "checks_changed": "; ".join(grading.changed),
        "from_lab1": "; ".join(borrowings(grading)),
        "failed_cells": len(grading.errors),
        "error": grading.failure or next(iter(grading.errors), ""),
        "seconds": f"{grading.seconds:.1f}",
        "page": page,
    }
    return {name: safe(value) for name, value in values.items()}


def safe(value: str | int) -> str | int:
    """Text that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value


def borrowings(grading: Grading) -> list[str]:
    """The answers that lean on lab1, such as "ResidualBlock uses lab1.models.resnet.BasicBlock"."""
    return [f"{name} uses {', '.join(used)}" for name, used in grading.borrowed.items() if used]


def table(rows: Iterable[dict]) -> str:
    """The rows as CSV."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def row_and_page(notebook: Path, name: str, grading: Grading) -> tuple[dict[str, str | int], str]:
    """`row` and `page`; where the scores are so odd that these cannot be written, the notebook is not graded."""
    try:
        return row(notebook, name, grading), page(notebook, grading)
    except Exception as error:
        failed = Grading(failure=f"no report can be written: {type(error).__name__}: {error}", seconds=grading.seconds)
        return row(notebook, name, failed), page(notebook, failed)


def page(notebook: Path, grading: Grading) -> str:
    """A page in HTML: points, what every check says, errors, and the notebook with its new outputs.

    The student's part is in a frame where nothing is executed or loaded, and which cannot cover the points.
    """
    results = grading.results
    flags = [
        ("Not graded", [grading.failure] if grading.failure else []),
        ("The checks in the notebook were changed; the points come from the original ones", grading.changed),
        ("Answers that lean on lab1 instead of solving the task", borrowings(grading)),
        ("Cells that failed", grading.errors),
    ]
    rows = [("", "all", "", sum(r.points for r in results), sum(r.max_points for r in results))]
    rows = [*((r.task, r.name, r.status, r.points, r.max_points) for r in results), *rows]
    parts = [
        f"<h1>{escape(notebook.name)}</h1><p>{escape(str(notebook))}, {grading.seconds:.0f} s</p>",
        *(f'<div class="flag"><b>{title}</b>{_items(texts)}</div>' for title, texts in flags if texts),
        "<h2>Points</h2><table><tr><th>task</th><th>answer</th><th>status</th><th>points</th></tr>",
        *(
            f"<tr><td>{task}</td><td>{name}</td>"
            f'<td class="{escape(status)}">{escape(status)}</td><td>{points} of {most}</td></tr>'
            for task, name, status, points, most in rows
        ),
        "</table><h2>What the checks say</h2>",
        *(f'<pre class="task">{escape(result.text)}</pre>' for result in results),
        f'<h2>The notebook</h2><iframe sandbox srcdoc="{escape(_frame(grading))}"></iframe>',
    ]
    return _document(notebook.name, "\n".join(parts))


def _items(texts: list[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>"


def _document(title: str, body: str, policy: str = "") -> str:
    head = f'<meta charset="utf-8">{policy}<title>{escape(title)}</title><style>{STYLE}</style>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'


def _frame(grading: Grading) -> str:
    """The notebook as a page of its own, long outputs cut."""
    exporter = HTMLExporter(template_name="basic", exclude_anchor_links=True)
    try:
        for cell in grading.cells:
            if cell.cell_type == "code":
                cell.outputs = cell.outputs[:MOST_OUTPUTS]
                for output in cell.outputs:
                    _cut(output)
        body, _ = exporter.from_notebook_node(v4.new_notebook(cells=grading.cells))
    except Exception as error:  # whatever is wrong with the outputs: the points above stand
        body = f"<pre>This notebook cannot be shown: {escape(str(error)[:MOST_TEXT])}</pre>"
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return _document("", body, f'<meta http-equiv="Content-Security-Policy" content="{policy}">')


def _cut(output) -> None:
    texts = output.get("data", output)
    for kind in ("text", "text/plain", "text/html"):
        if len(text := texts.get(kind, "")) > MOST_TEXT and (kind != "text/html" or len(text) > 20 * MOST_TEXT):
            texts[kind] = f"{text[:MOST_TEXT]}\n... and {len(text) - MOST_TEXT:,} more characters"
    if output.output_type == "error":
        output.traceback = [line[:MOST_TEXT] for line in output.traceback[-MOST_OUTPUTS:]]
