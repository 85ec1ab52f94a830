"""python -m lab1.grade SUBMISSIONS... --out report/

Grades notebooks, as many at a time as there are cores, each in a sandbox of its own: without the network, without the
files and credentials of the account. SUBMISSIONS are notebooks, folders, or the zips that nbgrader, Moodle and Canvas
give. Writes report/scores.csv and one HTML page for each notebook, and prints one line at the end.

columns of scores.csv:
  notebook              the file
  student               who has handed it in, where the path says so
  status                "graded" or "not graded"; then `error` says why, and there are no points
  points, max_points    all tasks together
  MLP, train_epoch ...  points for each task
  checks_changed        calls of checks that are gone from the notebook; the checks are made all the same; else empty
  from_lab1             answers that run lab1's own code; their points count, look at them; else empty
  failed_cells          how many cells raised an error, or were interrupted or left out because they took too much
  error                 the first of these, or why there are no points; else empty
  remarks               what else there is to know, such as an answer that was overwritten later; else empty
  isolation             "bubblewrap", "namespaces" (no network, but the account's files) or "none"
  seconds               what the grading took
  page                  the HTML page, in the same folder
  digest                changes with the notebook

exit status: 0 all notebooks were graded, 1 some could not be, 2 wrong use.
"""

import argparse
import os
import re
import secrets
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

FLAGS = {  # in the last line: words for rows in which a column is not empty
    "with failed cells": "failed_cells",
    "with changed checks": "checks_changed",
    "with answers from lab1": "from_lab1",
}
SEED = "seed.txt"


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"{self.prog}: {message}; --help shows how it is used\n")


def positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError
    return number


def with_student(text: str) -> re.Pattern:
    pattern = re.compile(text)
    if "student_id" not in pattern.groupindex:
        raise ValueError
    return pattern


def arguments(words: list[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m lab1.grade", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("submissions", nargs="+", type=Path, metavar="SUBMISSIONS", help="notebooks, folders or zips")
    parser.add_argument("--out", type=Path, default=Path("report"), help="folder for the report (default: report)")
    jobs = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser.add_argument("--jobs", type=int, default=jobs, help=f"notebooks at a time (default here: {jobs})")
    parser.add_argument("--seconds", type=positive, default=600, help="limit for a notebook's cells (default: 600)")
    parser.add_argument("--cell-seconds", type=positive, default=120, help="limit for one cell (default: 120)")
    parser.add_argument("--memory", type=positive, default=4, help="limit for a notebook, in GB (default: 4)")
    parser.add_argument("--resume", action="store_true", help="skip what was graded and has not changed since")
    parser.add_argument("--regrade", metavar="ID", action="append", help="only this student or notebook; repeatable")
    parser.add_argument("--student", type=with_student, metavar="REGEX", help="finds (?P<student_id>...) in a path")
    parser.add_argument("--require-sandbox", action="store_true", help="grade nothing where bubblewrap does not work")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="grade on a Dask cluster instead of this machine")
    parser.add_argument("--seed", type=int, help=f"of the checks' inputs (default: OUT/{SEED}, drawn once)")
    parser.add_argument("--gradescope", type=Path, metavar="FILE", help="write results.json for Gradescope")
    parser.add_argument("--moodle", type=Path, metavar="CSV", help="fill in this grading worksheet, as OUT/moodle.csv")
    parser.add_argument("--canvas", type=Path, metavar="CSV", help="fill in this gradebook, as OUT/canvas.csv")
    parser.add_argument("--assignment", metavar="TITLE", help="the column of the gradebook, such as 'Lab 1 (1234)'")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write a JUnit XML file, a test for each task")
    parser.add_argument("--stats", action="store_true", help="write OUT/stats.html: what the class has solved")
    options = parser.parse_args(words)
    if options.jobs < 1:
        parser.error(f"--jobs {options.jobs}: at least one notebook at a time")
    if bool(options.canvas) != bool(options.assignment):
        parser.error("--canvas and --assignment belong together")
    for path in [*options.submissions, options.moodle, options.canvas]:
        if path and not (path.exists() or path.is_symlink()):
            parser.error(f"there is no file {path}: check the name")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"cannot write to {options.out} ({error.strerror}): choose another folder with --out")
    options.error = parser.error
    return options


def seed_of(options: argparse.Namespace) -> int:
    """The seed of a grading: given, or drawn once and kept beside the table. It stands on no student's page."""
    path = options.out / SEED
    if options.seed is not None:
        path.write_text(f"{options.seed}\n")
    elif not path.exists():
        path.write_text(f"{secrets.randbits(48)}\n")
        path.chmod(0o600)
    return int(path.read_text())


def grade_all(options: argparse.Namespace) -> list[dict]:
    """Grade all submissions and write the report, which is complete after each of them. Returns their details."""
    from lab1.grade import cluster, formats, submissions, work
    from lab1.grade.kernel import Limits
    from lab1.grade.report import Report

    report, seed = Report(options.out), seed_of(options)
    limits = Limits(options.seconds, options.cell_seconds, options.memory * 2**30)
    with tempfile.TemporaryDirectory(prefix="lab1-submissions-") as unpacked:
        found = submissions.find(options.submissions, options.student, Path(unpacked))
        if options.regrade:
            found = [each for each in found if {each.student, each.name} & set(options.regrade)]
        if not found:
            if options.gradescope:
                formats.gradescope([], options.gradescope)
            options.error("no submission is there: name another folder, or another --regrade")

        def jobs(bar) -> Iterator[cluster.Job]:
            for submission in found:
                job = work.prepare(submission)
                if options.resume and job.digest and job.digest == report.digest(submission):
                    bar.update()
                    continue
                yield submission, work.work, (job, limits, seed, options.require_sandbox)

        start, window = lambda: cluster.local(min(options.jobs, len(found))), options.jobs
        if options.scheduler:
            client, window = cluster.dask(options.scheduler)
            start = lambda: client.get_executor(pure=False, retries=cluster.MOST_TRIES)  # noqa: E731
        with tqdm(total=len(found), desc="grading", unit="notebook") as bar:
            for submission, result in cluster.results(jobs(bar), start, window):
                details, page = result if isinstance(result, tuple) else work.lost(submission, result)
                report.write(submission, details, page)
                bar.update()
    report.write_table()  # which a grading that was cut off may have left without its last rows
    keys = {each.key for each in found}
    return [each for each in report.all() if each["row"]["page"].removesuffix(".html") in keys]


def export(options: argparse.Namespace) -> None:
    """The files for other tools, from all that the report's folder holds."""
    from lab1.grade import formats
    from lab1.grade.report import Report, latest

    every = Report(options.out).all()
    if options.gradescope:
        formats.gradescope(every, options.gradescope)
    if options.junit:
        formats.junit(every, options.junit)
    unknown = []
    if options.moodle:
        unknown += formats.moodle(every, options.moodle, options.out / "moodle.csv")
    if options.canvas:
        unknown += formats.canvas(every, options.canvas, options.assignment, options.out / "canvas.csv")
    if unknown:
        print(f"not in the gradebook: {', '.join(unknown)}", file=sys.stderr)
    if options.stats:
        from lab1.grade import stats

        stats.write(latest(every), options.out / "stats.html")


def main(words: list[str] | None = None) -> int:
    options = arguments(words)
    from lab1.grade import sandbox

    isolation = sandbox.isolation()
    if options.require_sandbox and isolation != "bubblewrap" and not options.scheduler:
        options.error("there is no sandbox here, and --require-sandbox was given: install bubblewrap")
    try:
        rows = [each["row"] for each in grade_all(options)]
        export(options)
    except KeyboardInterrupt:
        print(f"interrupted; {options.out / 'scores.csv'} holds what was graded before", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"cannot write the report to {options.out} ({error.strerror}): make room there", file=sys.stderr)
        return 2
    except (ValueError, RuntimeError) as error:  # of a gradebook that does not fit, or a scheduler
        print(f"python -m lab1.grade: {error}", file=sys.stderr)
        return 2
    graded = sum(row["status"] == "graded" for row in rows)
    flagged = {word: sum(bool(row[column]) for row in rows) for word, column in FLAGS.items()}
    words = [f"{graded} of {len(rows)} notebooks graded", *(f"{n} {word}" for word, n in flagged.items() if n)]
    isolations = {row["isolation"] for row in rows} - {"bubblewrap", ""}
    words += [f"not isolated ({', '.join(sorted(isolations))})"] if isolations else []
    words += ["memory watched, not limited"] if not options.scheduler and sandbox.limited_by() == "nothing" else []
    print(f"{', '.join(words)}: {options.out / 'scores.csv'}")
    return 0 if graded == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
