"""What a grading found, in the files that other tools read: Gradescope, Moodle, Canvas, and JUnit for anything else.

Each function takes the details of all submissions (see report.details). Nothing is made up: a student whom a gradebook
does not know, and a column that it does not have, are told and not added.
"""

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from lab1.basics.files import atomic
from lab1.grade.notebook import Unreadable, read_bytes
from lab1.grade.page import clean
from lab1.grade.report import latest, safe

MOODLE = ("Identifier", "Grade", "Last modified (grade)")  # columns without which Moodle takes no worksheet
MOODLE_FEEDBACK = "Feedback comments"
CANVAS = ("Student", "ID")
SEPARATORS = ",;\t"


@dataclass
class Table:
    """A gradebook as it was exported, with the sign between its columns."""

    header: list[str]
    rows: list[dict[str, str]]
    separator: str


def gradescope(every: list[dict], path: Path) -> None:
    """results.json of the one submission that Gradescope's autograder has run."""
    if len(every) != 1:
        words = f"Hand in one notebook: there are {len(every)}."
        return _write(path, json.dumps({"score": 0, "output": words, "tests": []}))
    row, results = every[0]["row"], every[0]["results"]
    tests = [
        {
            "name": f"Task {result['task']}, {result['name']}",
            "score": result["points"],
            "max_score": result["max_points"],
            "status": "passed" if result["points"] == result["max_points"] else "failed",
            "output": clean(result["text"]),
            "visibility": "visible",
        }
        for result in results
    ]
    found = {"score": row["points"], "visibility": "visible", "stdout_visibility": "hidden", "tests": tests}
    found["output"] = "\n".join([str(row["error"]), *map(clean, every[0]["errors"][1:])]).strip()
    found["execution_time"] = round(float(row["seconds"]))
    return _write(path, json.dumps(found, indent=1))


def junit(every: list[dict], path: Path) -> None:
    """JUnit XML: a suite for each submission, a test case for each task."""
    suites = ElementTree.Element("testsuites")
    for each in every:
        row = each["row"]
        lost = [result for result in each["results"] if result["points"] < result["max_points"]]
        suite = ElementTree.SubElement(suites, "testsuite", name=row["notebook"], time=str(row["seconds"]))
        suite.set("tests", str(len(each["results"])))
        suite.set("failures", str(len(lost) if row["status"] == "graded" else 0))
        suite.set("errors", str(0 if row["status"] == "graded" else len(each["results"])))
        for result in each["results"]:
            case = ElementTree.SubElement(suite, "testcase", classname=row["notebook"], name=result["name"])
            message = f"{result['points']} of {result['max_points']} points"
            if row["status"] != "graded":
                ElementTree.SubElement(case, "error", message=str(row["error"]))
            elif result in lost:
                ElementTree.SubElement(case, "failure", message=message).text = clean(result["text"])
    ElementTree.indent(suites)
    _write(path, ElementTree.tostring(suites, encoding="unicode", xml_declaration=True))


def moodle(every: list[dict], worksheet: Path, path: Path) -> list[str]:
    """Moodle's grading worksheet with grades and feedback. Returns the students that it does not know.

    Raises:
        ValueError: it is none.
    """
    table = _table(worksheet, MOODLE)

    def fill(row: dict, found: dict) -> None:
        if found["row"]["status"] == "graded":
            row["Grade"] = _scaled(found["row"], _number(row.get("Maximum grade", "")))
        if MOODLE_FEEDBACK in row:
            row[MOODLE_FEEDBACK] = feedback(found)

    return _fill(every, table, lambda row: re.sub(r"\D", "", row["Identifier"]), fill, path)


def canvas(every: list[dict], gradebook: Path, title: str, path: Path) -> list[str]:
    """Canvas's exported gradebook with the grades of one assignment. Returns the students that it does not know.

    Raises:
        ValueError: it is none, or has no such assignment; Canvas would make a new one.
    """
    table = _table(gradebook, CANVAS)
    assignments = [name for name in table.header if re.search(r"\(\d+\)$", name)]
    if title not in assignments:
        raise ValueError(f"{gradebook} has no assignment {title!r}; it has: {', '.join(assignments) or 'none'}")
    possible = [_number(row[title]) for row in table.rows if not row["ID"].strip()]  # of "Points Possible"
    most = next((number for number in possible if number), None)

    def fill(row: dict, found: dict) -> None:
        if found["row"]["status"] == "graded":
            row[title] = _scaled(found["row"], most)

    return _fill(every, table, lambda row: row["ID"].strip(), fill, path)


def feedback(found: dict) -> str:
    """One line: points for each task, and why there are none."""
    tasks = ", ".join(f"{r['name']} {r['points']} of {r['max_points']}" for r in found["results"])
    return str(safe(f"{found['row']['error']} - {tasks}" if found["row"]["status"] != "graded" else tasks))


def _fill(every: list[dict], table: Table, key: Callable, fill: Callable, path: Path) -> list[str]:
    students = {each["row"]["student"]: each for each in latest(every) if each["row"]["student"]}
    known = set()
    for row in table.rows:
        if found := students.get(key(row)):
            known.add(key(row))
            fill(row, found)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, table.header, delimiter=table.separator)
    writer.writeheader()
    writer.writerows(table.rows)
    _write(path, text.getvalue())
    return sorted(set(students) - known)


def _table(path: Path, columns: tuple[str, ...]) -> Table:
    """Raises ValueError: the file is no such table."""
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except Unreadable as error:
        raise ValueError(f"{path}: {error}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: download it anew, or save it as 'CSV UTF-8'") from error
    separator = max(SEPARATORS, key=text.partition("\n")[0].count)
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    header = list(rows.fieldnames or [])
    if missing := [name for name in columns if name not in header]:
        raise ValueError(f"{path} has no column {missing[0]!r}: download it anew, as CSV in English")
    if twice := [name for name in header if header.count(name) > 1]:
        raise ValueError(f"{path} has two columns {twice[0]!r}: rename one of them")
    return Table(header, [{name: row.get(name) or "" for name in header} for row in rows], separator)


def _number(text: str) -> float | None:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return None


def _scaled(row: dict, most: float | None) -> str:
    """The points, scaled to the most that the gradebook gives."""
    points = row["points"] if most is None else row["points"] / row["max_points"] * most
    return f"{points:.2f}".rstrip("0").rstrip(".")


def _write(path: Path, text: str) -> None:
    with atomic(path) as file:
        file.write(text.encode("utf-8", "replace"))
