"""The page that a student gets: points, what to do next and what failed on the first screen, then everything else."""

import itertools
import re
from html import escape

import bleach

from lab1.grade.notebook import Cell, plain
from lab1.grade.report import borrowings
from lab1.grade.run import Grading
from lab1.grade.sandbox import limited_by
from lab1.grade.submissions import Submission

MOST_ERRORS = 10  # on the first screen
MOST_SAID = 20_000  # characters of what a check says
MOST_SHOWN = 10_000_000  # characters of the notebook
TAGS = {"table", "thead", "tbody", "tr", "th", "td", "b", "i", "p", "br", "ul", "ol", "li", "div"}  # kept of an output
ANSI = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.)")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'"
STYLE = """
body { font: 16px/1.45 sans-serif; max-width: 56em; margin: 1em auto; padding: 0 .8em; color: #222 }
h1 { font-size: 1.3em; overflow-wrap: anywhere } h2 { font-size: 1.1em; margin-top: 1.6em }
pre { font: 13px/1.4 monospace; white-space: pre-wrap; overflow-wrap: anywhere; margin: 0 }
table { border-collapse: collapse } td, th { padding: .15em .6em; text-align: left; border-bottom: 1px solid #ddd }
.points { font-size: 1.6em; margin: .2em 0 } .flag { background: #fff3cd; padding: .4em .8em; margin: .6em 0 }
.passed { color: #176b2c } .failed, .missing { color: #a11 } ul { padding-left: 1.2em } li { overflow-wrap: anywhere }
.task, .code { background: #f5f5f5; padding: .6em .8em; margin: .4em 0 } img { max-width: 100% }
.number { color: #777; font-size: 12px; margin-top: 1em } .error { background: #fdeaea; padding: .4em .8em }
.output { border-left: 3px solid #ccc; padding-left: .8em; margin: .3em 0; overflow-x: auto }
iframe { width: 100%; height: 90vh; border: 1px solid #ccc }
"""


def page(submission: Submission, grading: Grading, isolation: str) -> str:
    """A page in HTML. The notebook is in a frame where nothing is executed or loaded, and which covers nothing."""
    results = grading.results
    points, most = (sum(getattr(result, name) for result in results) for name in ("points", "max_points"))
    title = submission.name.rpartition("/")[2]
    memory = "watched, not limited" if limited_by() == "nothing" else f"limited by {limited_by()}"
    rows = [
        f'<tr><td>{r.task}</td><td>{r.name}</td><td class="{r.status}">{r.status}</td>'
        f"<td>{r.points} of {r.max_points}</td></tr>"
        for r in results
    ]
    parts = [
        f'<h1>{escape(clean(title))}</h1><p class="points"><b>{points} of {most}</b> points</p>',
        _flag("Not graded", [grading.failure] if grading.failure else []),
        "" if grading.failure else _section("What to do next", next_steps(grading)),
        _section("Cells that failed", [*grading.errors[:MOST_ERRORS], *_more(grading.errors)]),
        "<h2>Points</h2><table><tr><th>task</th><th>answer</th><th>status</th><th>points</th></tr>",
        *rows,
        "</table>",
        _section("Remarks", grading.remarks),
        _flag("The checks in the notebook were changed; the points come from the original ones", grading.changed),
        _flag("Answers that run lab1's own code instead of solving the task", borrowings(grading)),
        "<h2>What the checks say</h2><p>Indented lines may quote what your code says.</p>",
        *(f'<pre class="task">{escape(clean(result.text[:MOST_SAID]))}</pre>' for result in results),
        f'<h2>The notebook</h2><iframe sandbox title="The notebook" srcdoc="{escape(_frame(grading.cells))}"></iframe>',
        f'<p class="number">graded in {grading.seconds:.0f} s, isolation: {isolation}, memory {memory}</p>',
    ]
    return document(clean(title), "\n".join(parts))


def next_steps(grading: Grading) -> list[str]:
    """For each task that has points left, the first thing that its check says; at most five."""
    steps = []
    for result in grading.results:
        if result.points == result.max_points:
            continue
        words = {"not started": "not started yet", "missing": "not defined: its cell was deleted, renamed, or failed"}
        steps.append(f"{result.name}: {words.get(result.status) or _first_failure(result.text)}")
    more = [f"and {len(steps) - 5} more tasks below"] if len(steps) > 5 else []
    return [*steps[:5], *more] or ["Nothing: every task is solved."]


def _first_failure(text: str) -> str:
    """The first claim of a check that does not hold, with the likely mistake or hint, or else what was found."""
    lines = [line.strip() for line in text.split("\n")[1:]]
    while lines and not lines[0].startswith("NO "):
        lines.pop(0)
    about = list(itertools.takewhile(lambda line: not line.startswith(("ok ", "NO ", "-- ")), lines[1:]))
    helpful = [line for line in about if line.startswith(("Likely mistake", "See the hint"))]
    claim = [line.removeprefix("NO").strip() for line in lines[:1]]
    return plain(" - ".join([*claim, *(helpful or about[:1])]), 300)


def clean(text: str) -> str:
    """Text without escape sequences, control characters and such as hide text or turn its direction."""
    return CONTROL.sub("", ANSI.sub("", text))


def _more(errors: list[str]) -> list[str]:
    return [f"and {len(errors) - MOST_ERRORS} more"] if len(errors) > MOST_ERRORS else []


def _section(title: str, texts: list[str]) -> str:
    return f"<h2>{title}</h2>{_items(texts)}" if texts else ""


def _flag(title: str, texts: list[str]) -> str:
    return f'<div class="flag"><b>{escape(title)}</b>{_items(texts)}</div>' if texts else ""


def _items(texts: list[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(clean(text))}</li>' for text in texts)}</ul>"


def document(title: str, body: str) -> str:
    """A page that loads and executes nothing, readable on a phone."""
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    head += f"<title>{escape(title)}</title><style>{STYLE}</style>"
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'


def _frame(cells: list[Cell]) -> str:
    """The notebook as a page of its own, as far as a browser can show it."""
    parts, left = [], MOST_SHOWN
    for number, cell in enumerate(cells):
        parts.append(_cell(cell))
        left -= len(parts[-1])
        if left < 0:
            parts.append(f"<p>... and {len(cells) - number - 1} more cells</p>")
            break
    return document("", "\n".join(parts))


def _cell(cell: Cell) -> str:
    if cell.kind != "code":
        return f"<pre>{escape(clean(cell.source[:20_000]))}</pre>"
    parts = [f'<p class="number">cell {cell.number}</p><pre class="code">{escape(clean(cell.source[:20_000]))}</pre>']
    return "\n".join([*parts, *(_output(kind, content) for kind, content in cell.outputs)])


def _output(kind: str, content: str) -> str:
    if kind == "html":  # tables are kept, whatever else it holds is left out
        return f'<div class="output">{bleach.clean(clean(content), TAGS, {}, strip=True)}</div>'
    if kind.startswith("image/"):
        return f'<div class="output"><img alt="output of the cell" src="data:{kind};base64,{escape(content)}"></div>'
    return f'<pre class="output {"error" if kind == "error" else ""}">{escape(clean(content))}</pre>'
