"""python -m lab1.submit --student ID

Hands in Lab1-CNNs.ipynb: runs the notebook from top to bottom in a new kernel, says what is missing, and writes ID.zip
with the executed notebook and the student's figures: those in student-images/, and those that the notebook names.
The notebook itself is only read. An earlier ID.zip stays as it is until the new one is complete.

exit status: 0 the zip is written; 1 something is missing (--incomplete hands in all the same); 2 wrong use.
"""

import argparse
import re
import sys
import zipfile
from pathlib import Path

import nbclient
import nbformat
from nbformat import NotebookNode

from lab1.basics.files import atomic
from lab1.basics.progress import progress

TO_FILL_IN = re.compile(r"\s*\*\*Your (prediction|report):\*\*\s*(?:\*[^*]*\*)?\s*")  # the whole cell, if nobody wrote
FIGURE = re.compile(r"(?:student-)?\bimages/[\w./-]+?\.(?:png|jpe?g|svg)\b")
TASK = re.compile(r"^Task (\d+), (.+): (not started|failed)", re.MULTILINE)
COLOUR = re.compile(r"\x1b\[[\d;]*m")
FOLDER = "submitted/{student}/lab1-cnns"  # inside the zip: nbgrader's layout, which lab1.grade knows


class Parser(argparse.ArgumentParser):
    def error(self, message):  # one line, without the usage
        self.exit(2, f"{self.prog}: {message}\n")


def arguments(words: list[str] | None) -> argparse.Namespace:
    style = argparse.RawDescriptionHelpFormatter
    parser = Parser(prog="python -m lab1.submit", description=__doc__, formatter_class=style)
    parser.add_argument("notebook", nargs="?", type=Path, default=Path("Lab1-CNNs.ipynb"), help="default: %(default)s")
    parser.add_argument("--student", required=True, metavar="ID", help="your identifier; the zip is named by it")
    parser.add_argument("--no-run", action="store_true", help="hand in the notebook with the outputs that it has")
    parser.add_argument("--incomplete", action="store_true", help="hand in although something is missing")
    parser.add_argument("--out", type=Path, default=Path(), help="folder for the zip; default: this one")
    options = parser.parse_args(words)
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", options.student):
        parser.error(f"--student {options.student!r}: use letters, digits, '-', '_' and '.' only")
    return options


def main(words: list[str] | None = None) -> int:
    options = arguments(words)
    try:
        return submit(options)
    except KeyboardInterrupt:
        print("interrupted: nothing was written. --no-run hands in the notebook as it is", file=sys.stderr)
        return 130
    except (OSError, ValueError) as error:
        print(f"not handed in: {error}", file=sys.stderr)
        return 2


def submit(options: argparse.Namespace) -> int:
    notebook = read(options.notebook)
    if not options.no_run:
        run(notebook, options.notebook.absolute().parent)
    figures = named_figures(notebook, options.notebook.parent)
    faults = [*unfinished(notebook), *(f"{name} is named but not there" for name, path in figures.items() if not path)]
    if faults:
        print(f"{len(faults)} missing:", *faults, sep="\n  ")
    if faults and not options.incomplete:
        print("Nothing was handed in. Complete the notebook and save it, or add --incomplete to hand it in as it is.")
        return 1
    path = options.out / f"{options.student}.zip"
    write(path, FOLDER.format(student=options.student), options.notebook.name, notebook, figures)
    print(f"{path}: hand in this file")
    return 0


def read(path: Path) -> NotebookNode:
    """Raises OSError or ValueError, with the reason."""
    if not path.exists():
        raise ValueError(f"there is no {path}: run this in the folder of the notebook, or name it")
    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception as error:  # of many kinds: a file can be damaged anywhere
        raise ValueError(f"{path} is not a notebook ({reason(error)}): save it again") from error
    for number, cell in enumerate(notebook.cells):
        cell.setdefault("id", f"cell-{number}")  # notebooks of other programs may have none
    return notebook


def reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:100]


def run(notebook: NotebookNode, folder: Path) -> None:
    """Execute all cells in a new kernel; one that raises an error keeps it as its output, and the others follow.

    Raises:
        ValueError: the kernel died, or could not be started.
    """
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in code:
        cell.outputs, cell.execution_count = [], None
    with progress(total=len(code), desc="running", unit="cell") as bar:
        client = nbclient.NotebookClient(
            notebook,
            timeout=None,
            allow_errors=True,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
            on_cell_executed=lambda cell, cell_index, execute_reply: bar.update(),
        )
        try:
            client.execute()
        except (RuntimeError, nbclient.exceptions.DeadKernelError) as error:
            cell = f"cell {bar.n + 1} of {len(code)}"
            raise ValueError(f"{cell} stopped the kernel ({reason(error)}). --no-run does without it") from error


def unfinished(notebook: NotebookNode) -> list[str]:
    """One line for each cell that was not run or failed, each task that is open, each text that nobody wrote."""
    found, heading = [], "the beginning"
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            if empty := TO_FILL_IN.fullmatch(cell.source):
                found.append(f"no {empty[1]} below {heading!r}")
            if headings := re.findall(r"^#+ (.+)", cell.source, re.MULTILINE):
                heading = headings[-1]
        elif cell.cell_type == "code" and cell.source.strip():
            first = cell.source.strip().splitlines()[0][:60]
            if cell.execution_count is None:
                found.append(f"not run: {first}")
            for output in cell.outputs:
                if output.output_type == "error":
                    found.append(f"{output.ename} in the cell: {first}")
                text = COLOUR.sub("", output.get("text", ""))
                found += [f"task {number}, {name}, is {state}" for number, name, state in TASK.findall(text)]
    return list(dict.fromkeys(found))  # a check that ran twice counts once


def named_figures(notebook: NotebookNode, folder: Path) -> dict[str, Path | None]:
    """All files in student-images/, and the files images/... that sources name; None where one does not exist."""
    names = {name for cell in notebook.cells for name in FIGURE.findall(cell.source)}
    names |= {path.relative_to(folder).as_posix() for path in folder.glob("student-images/*") if path.is_file()}
    return {name: path if (path := folder / name).is_file() else None for name in sorted(names)}


def write(path: Path, folder: str, name: str, notebook: NotebookNode, figures: dict[str, Path | None]) -> None:
    with atomic(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{folder}/{name}", nbformat.writes(notebook))
        for figure, source in figures.items():
            if source and ".." not in figure:
                archive.write(source, f"{folder}/{figure}")


if __name__ == "__main__":
    sys.exit(main())
