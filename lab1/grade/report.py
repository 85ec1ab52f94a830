"""What a grader reads: one row of scores.csv for each submission."""

import csv
import io
import json
import re
import time
from collections.abc import Iterable
from pathlib import Path

from filelock import FileLock

from lab1.basics.files import atomic
from lab1.grade.notebook import plain
from lab1.grade.run import Grading
from lab1.grade.submissions import Submission

FORMULA = r"['\"\s]*[=+\-@\uff1d\uff0b\uff0d\uff20]"  # what spreadsheets take for one, also in full width
BEFORE = ("notebook", "student", "status", "points", "max_points")
AFTER = ("checks_changed", "from_lab1", "failed_cells", "error", "remarks", "isolation", "seconds", "page", "digest")


def details(submission: Submission, grading: Grading, isolation: str, digest: str) -> dict:
    """All that is known of a submission, as plain values: its row, and what every check says."""
    results = [_bounded(vars(result)) for result in grading.results]
    row = {"notebook": submission.name, "student": submission.student}
    row["status"] = "not graded" if grading.failure else "graded"
    row["points"] = sum(result["points"] for result in results)
    row["max_points"] = sum(result["max_points"] for result in results)
    for result in results:
        row[result["name"]] = result["points"]
    row["checks_changed"] = ", ".join(grading.changed)
    row["from_lab1"] = ", ".join(borrowings(grading))
    row["failed_cells"] = len(grading.errors)
    row["error"] = grading.failure or next(iter(grading.errors), "")
    row["remarks"] = ", ".join(grading.remarks)
    row["isolation"] = isolation
    row["seconds"] = round(grading.seconds, 1)
    row["page"] = f"{submission.key}.html"
    row["digest"] = digest
    order = [*submission.order, time.time()]
    row = {name: safe(value) for name, value in row.items()}
    return {"row": row, "results": results, "errors": grading.errors, "order": order}


def latest(every: list[dict]) -> list[dict]:
    """The details that count: of each student those of the latest attempt, or else of the one that was graded last.

    A report's folder may hold several of one student: each handing in, and each grading, may use another name.
    """
    unknown = [each for each in every if not each["row"]["student"]]
    known = sorted((each for each in every if each["row"]["student"]), key=lambda each: each.get("order", []))
    return [*unknown, *{each["row"]["student"]: each for each in known}.values()]


def _bounded(result: dict) -> dict:
    most = int(result["max_points"])
    return result | {"points": max(0, min(int(result["points"]), most)), "text": str(result["text"])[:20_000]}


def safe(value: str | int | float) -> str | int | float:
    """Text on one line that no spreadsheet takes for a formula, whichever sign separates its columns."""
    if not isinstance(value, str):
        return value
    text = re.sub(rf"[;,|](?={FORMULA})", ", '", plain(value)).replace(";", ",")
    return f"'{text}" if re.match(FORMULA, text) else text


def borrowings(grading: Grading) -> list[str]:
    """The answers that run lab1's own code, such as "ResidualBlock uses lab1.models.resnet.BasicBlock.forward"."""
    return [f"{name} uses {' and '.join(used)}" for name, used in grading.borrowed.items()]


class Report:
    """The folder of a grading: a page and a file of details for each submission, and the table of all of them.

    Several gradings may write into one folder, one after the other or at once: the table holds the rows of all.
    """

    def __init__(self, folder: Path):
        self.folder, self.details = folder, folder / "details"
        self.details.mkdir(parents=True, exist_ok=True)
        self._read: dict[Path, tuple[int, dict]] = {}

    def digest(self, submission: Submission) -> str:
        """Of what was graded under this name before; "" if nothing was."""
        path = self.details / f"{submission.key}.json"
        return self._details(path).get("row", {}).get("digest", "") if path.exists() else ""

    def write(self, submission: Submission, found: dict, page: str) -> None:
        self._write(self.folder / f"{submission.key}.html", page)
        self._write(self.details / f"{submission.key}.json", json.dumps(found, indent=1))
        self.write_table()

    def write_table(self) -> None:
        with FileLock(self.details / ".lock"):
            self._write(self.folder / "scores.csv", "\ufeff" + table(each["row"] for each in self.all()))  # for Excel

    def all(self) -> list[dict]:
        """The details of all submissions, by the notebook's name."""
        found = [self._details(path) for path in self.details.glob("*.json")]
        return sorted((each for each in found if "row" in each), key=lambda each: each["row"]["notebook"])

    def _details(self, path: Path) -> dict:
        changed = path.stat().st_mtime_ns
        if self._read.get(path, (0,))[0] != changed:
            try:
                self._read[path] = changed, json.loads(path.read_text(encoding="utf-8"))
            except (ValueError, OSError):  # of a grading that was cut off
                self._read[path] = changed, {}
        return self._read[path][1]

    @staticmethod
    def _write(path: Path, text: str) -> None:
        with atomic(path) as file:
            file.write(text.encode("utf-8", "replace"))


def table(rows: Iterable[dict]) -> str:
    """The rows as CSV; the columns of the tasks are those of the first one."""
    rows = list(rows)
    tasks = [name for row in rows[:1] for name in row if name not in BEFORE + AFTER]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [*BEFORE, *tasks, *AFTER], extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
