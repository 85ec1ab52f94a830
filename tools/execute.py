"""Execute notebooks top to bottom, cell by cell, with progress.

python tools/execute.py                 all notebooks, smoke budget, results below outputs/run/
python tools/execute.py --in-place      all notebooks at a real budget; their outputs, images/ and
                                        images/results.json are replaced (LAB1_PROFILE chooses the budget)
"""

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

import nbclient
import nbformat
from jupyter_client.kernelspec import get_kernel_spec

ROOT = Path(__file__).resolve().parent.parent
WIDGET = "application/vnd.jupyter.widget-view+json"


def execute(notebook: Path, target: Path) -> bool:
    """Run one notebook in the repository root and write it, with outputs, to `target`; False if a cell failed."""
    print(f"{notebook.name}", flush=True)
    try:
        content, mended = read(notebook)
    except (OSError, ValueError, AttributeError, TypeError, KeyError) as error:
        print(f"  FAILED: it cannot be read as a notebook ({type(error).__name__}: {error})", flush=True)
        return False
    for what in mended:
        print(f"  {what}", flush=True)
    for cell in content.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    sources = [cell for cell in content.cells if cell.cell_type == "code" and cell.source.strip()]
    started = {}

    def on_start(cell, cell_index):
        started[cell_index] = time.perf_counter()

    def on_executed(cell, cell_index, execute_reply):
        seconds = time.perf_counter() - started[cell_index]
        first_line = cell.source.strip().splitlines()[0][:70]
        print(f"  [{cell.execution_count}/{len(sources)}] {seconds:6.1f} s  {first_line}", flush=True)

    client = nbclient.NotebookClient(
        content,
        timeout=None,
        coalesce_streams=True,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": ROOT}},
        on_cell_start=on_start,
        on_cell_executed=on_executed,
    )
    begin, error = time.perf_counter(), None
    try:
        client.execute()
    except nbclient.exceptions.CellExecutionError as failure:
        error = failure
    except RuntimeError:  # of nbclient, whose message does not say where
        cell = content.cells[max(started)].source.strip().splitlines()[0][:70] if started else ""
        died = f"in the cell that begins with {cell!r}" if cell else "before the first cell"
        error = f"{notebook.name}: the kernel died {died}. Was there too little memory? The next notebook is run now"
    tidy(content)
    if error is None or target != notebook:  # a failed run does not replace a notebook that worked
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(without_lone_surrogates(nbformat.writes(content)) + "\n", encoding="utf-8")
    print(f"  {'FAILED' if error else 'done'} in {time.perf_counter() - begin:.0f} s", flush=True)
    if error:
        print(error, file=sys.stderr)
    return error is None


def read(path: Path) -> tuple[nbformat.NotebookNode, list[str]]:
    """A notebook, with every cell that can be had of it, and a line for everything that had to be mended.

    Raises:
        ValueError, AttributeError, TypeError, KeyError: it is no JSON, or no notebook.
    """
    mended, content = [], path.read_bytes()
    encoding = json.detect_encoding(content)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        encoding = "cp1252"
        text = content.decode(encoding, errors="replace")
    if not encoding.startswith("utf-8"):
        mended.append(f"it is not UTF-8 and was read as {encoding}")
    notebook = json.loads(text)
    if "nbformat" not in notebook:
        notebook |= {"nbformat": 4, "nbformat_minor": 5 if any("id" in cell for cell in notebook["cells"]) else 4}
        mended.append("nbformat is missing and was taken to be 4")
    notebook.setdefault("nbformat_minor", 4)
    notebook.setdefault("metadata", {})
    for i, cell in enumerate(notebook.get("cells", [])):
        mended += [f"cell {i}: {what}" for what in mend(cell)]
        if notebook["nbformat_minor"] >= 5:
            cell.setdefault("id", f"cell-{i}")
    text = json.dumps(notebook, ensure_ascii=False)
    whole = without_lone_surrogates(text)
    if whole != text:
        mended.append("half a character (a lone surrogate) was replaced by U+FFFD")
    return nbformat.reads(whole, as_version=4), mended


def mend(cell: dict) -> list[str]:
    """Complete a cell in place, and say what was done."""
    mended = []
    if cell.get("cell_type") not in ("code", "markdown", "raw"):
        mended.append(f"of the unknown type {cell.get('cell_type')!r}, kept as it is but not run")
        cell["cell_type"] = "raw"
    if not isinstance(cell.get("source"), str | list):
        mended.append("it has no source and was taken to be empty")
        cell["source"] = ""
    cell.setdefault("metadata", {})
    if cell["cell_type"] == "code":
        cell.setdefault("outputs", [])
        cell.setdefault("execution_count", None)
    return mended


def without_lone_surrogates(text: str) -> str:
    """Halves of characters, which no file and no kernel can take, replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def tidy(content) -> None:
    """Drop progress bars, which are empty without their kernel, and what changes from run to run.

    The notebook's metadata are those that JupyterLab would write when it opens the notebook, so that it does not mark
    it as changed: the name of the kernel, and the language_info that nbclient has from the kernel. That holds for the
    Python version with which the notebook was executed; JupyterLab compares it, too.
    """
    content.metadata.pop("widgets", None)
    kernel = get_kernel_spec("python3")
    content.metadata.kernelspec = {"display_name": kernel.display_name, "language": "python", "name": "python3"}
    for cell in content.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):  # an explorer's: the picture stays
                    output.data.pop(WIDGET, None)
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all")
    parser.add_argument("--in-place", action="store_true", help="replace the notebooks' own outputs and images/")
    args = parser.parse_args()
    notebooks = args.notebooks or sorted(ROOT.glob("Lab1-CNNs*.ipynb"))
    if not args.in_place:
        os.environ.setdefault("LAB1_PROFILE", "smoke")
        os.environ.setdefault("WANDB_MODE", "offline")
        if "LAB1_OUTPUT" not in os.environ:
            os.environ["LAB1_OUTPUT"] = "outputs/run"
            shutil.rmtree(ROOT / "outputs/run", ignore_errors=True)  # so that every run really trains
    elif os.environ.get("LAB1_PROFILE") == "smoke":
        parser.error("the committed figures come from a real budget: use LAB1_PROFILE=cpu or full")
    output = Path(os.environ.get("LAB1_OUTPUT", "."))
    ok = True
    for notebook in notebooks:
        target = notebook if args.in_place else ROOT / output / "notebooks" / notebook.name
        ok = execute(notebook, target) and ok
    print(f"\nexecuted notebooks: {'in place' if args.in_place else output / 'notebooks'}")
    print(f"figures:            {output / 'images'}")
    print(f"run logs (W&B):     {output / 'wandb'}")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
