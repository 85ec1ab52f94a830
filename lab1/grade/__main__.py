"""python -m lab1.grade NOTEBOOK... --out report/

Grades notebooks, several at a time, each in a process and a folder of its own with a fresh copy of lab1, without the
network and without the environment's credentials. Writes report/scores.csv and one HTML page for each notebook, and
prints one line at the end. Notebooks are programs: grade them in a container or an account that may be lost.

columns of scores.csv:
  notebook              the file
  status                "graded" or "not graded"; then `error` says why, and there are no points
  points, max_points    all tasks together
  MLP, train_epoch ...  points for each task
  checks_changed        what differs from the original checks, with which the points were given; else empty
  from_lab1             answers that use lab1's own classes and functions; their points count, look at them; else empty
  failed_cells          how many cells raised an error, or were interrupted or left out because they took too much
  error                 the first of these, or why there are no points; else empty
  seconds               what the grading took
  page                  the HTML page, in the same folder

exit status: 0 all notebooks were graded, 1 some could not be, 2 wrong use.
"""

import argparse
import asyncio
import os
import sys
from pathlib import Path

from tqdm import tqdm

from lab1.basics.files import atomic
from lab1.grade import report
from lab1.grade.kernel import Limits
from lab1.grade.run import grade

MOST_NAME = 200  # bytes of a page's name; systems allow 255, with an ending
FLAGS = {  # in the last line: words for rows in which a column is not empty
    "with failed cells": "failed_cells",
    "with changed checks": "checks_changed",
    "with answers from lab1": "from_lab1",
}


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"{self.prog}: {message}; --help shows how it is used\n")


def positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError
    return number


def arguments(words: list[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m lab1.grade", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("notebooks", nargs="+", type=Path, metavar="NOTEBOOK", help="a notebook, or a folder of them")
    parser.add_argument("--out", type=Path, default=Path("report"), help="folder for the report (default: report)")
    jobs = max(1, (os.cpu_count() or 1) // 2)
    parser.add_argument("--jobs", type=int, default=jobs, help=f"notebooks at a time (default here: {jobs})")
    parser.add_argument("--seconds", type=positive, default=600, help="limit for a notebook's cells (default: 600)")
    parser.add_argument("--cell-seconds", type=positive, default=120, help="limit for one cell (default: 120)")
    parser.add_argument("--memory", type=positive, default=4, help="limit for a notebook, in GB (default: 4)")
    options = parser.parse_args(words)
    if options.jobs < 1:
        parser.error(f"--jobs {options.jobs}: at least one notebook at a time")
    for path in options.notebooks:
        if not path.exists():
            parser.error(f"there is no file {path}: check the name")
    options.notebooks = list(dict.fromkeys(file for path in options.notebooks for file in notebooks_in(path)))
    if not options.notebooks:
        parser.error("no notebook (*.ipynb) in the folder: name another one")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"cannot write to {options.out} ({error.strerror}): choose another folder with --out")
    return options


def notebooks_in(path: Path) -> list[Path]:
    """The file itself, or all notebooks in a folder and below it."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.rglob("*.ipynb") if ".ipynb_checkpoints" not in file.parts)


def page_names(notebooks: list[Path]) -> dict[Path, str]:
    """A file name for each notebook's page: its path below the folder that all have in common."""
    common = os.path.commonpath([path.absolute().parent for path in notebooks])
    names: dict[Path, str] = {}
    for path in notebooks:
        base = "-".join(path.absolute().relative_to(common).with_suffix("").parts)
        name = base = base.encode("utf-8", "replace")[:MOST_NAME].decode("utf-8", "ignore")
        while f"{name}.html".lower() in {other.lower() for other in names.values()}:
            name = f"{base}-{len(names)}"
        names[path] = f"{name}.html"
    return names


async def grade_all(options: argparse.Namespace) -> dict[Path, dict]:
    """Grade all notebooks and write the report, which is complete after each of them. Returns its rows."""
    several = min(options.jobs, len(options.notebooks)) > 1
    limits = Limits(options.seconds, options.cell_seconds, options.memory * 2**30, threads=1 if several else 0)
    places, names, rows = asyncio.Semaphore(options.jobs), page_names(options.notebooks), {}

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)  # what nbclient's tasks say when they are cancelled

    async def one(path):
        async with places:
            return path, await grade(path, limits)

    with tqdm(total=len(options.notebooks), desc="grading", unit="notebook") as bar:
        for each in asyncio.as_completed([one(path) for path in options.notebooks]):
            path, grading = await each
            rows[path], page = report.row_and_page(path, names[path], grading)
            write(options.out / names[path], page)
            write(options.out / "scores.csv", report.table(rows[p] for p in options.notebooks if p in rows))
            bar.update()
    return rows


def write(path: Path, text: str) -> None:
    with atomic(path) as file:
        file.write(text.encode("utf-8", "replace"))


def main(words: list[str] | None = None) -> int:
    options = arguments(words)
    try:
        rows = asyncio.run(grade_all(options)).values()
    except KeyboardInterrupt:
        print(f"interrupted; {options.out / 'scores.csv'} holds what was graded before", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"cannot write the report to {options.out} ({error.strerror}): make room there", file=sys.stderr)
        return 2
    graded = sum(row["status"] == "graded" for row in rows)
    flagged = {word: sum(bool(row[column]) for row in rows) for word, column in FLAGS.items()}
    words = [f"{graded} of {len(rows)} notebooks graded", *(f"{n} {word}" for word, n in flagged.items() if n)]
    print(f"{', '.join(words)}: {options.out / 'scores.csv'}")
    return 0 if graded == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
