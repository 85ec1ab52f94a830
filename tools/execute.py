"""Execute notebooks top to bottom, cell by cell, with progress.

python tools/execute.py                 all notebooks, smoke budget, results below outputs/run/
python tools/execute.py --in-place      all notebooks at a real budget; their outputs, images/ and
                                        images/results.json are replaced (LAB1_PROFILE chooses the budget)
"""

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

import nbclient
import nbformat

ROOT = Path(__file__).resolve().parent.parent
WIDGET = "application/vnd.jupyter.widget-view+json"


def execute(notebook: Path, target: Path) -> bool:
    """Run one notebook in the repository root and write it, with outputs, to `target`; False if a cell failed."""
    content = nbformat.read(notebook, as_version=4)
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

    print(f"{notebook.name}", flush=True)
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
    tidy(content)
    if error is None or target != notebook:  # a failed run does not replace a notebook that worked
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(content, target)
    print(f"  {'FAILED' if error else 'done'} in {time.perf_counter() - begin:.0f} s", flush=True)
    if error:
        print(error, file=sys.stderr)
    return error is None


def tidy(content) -> None:
    """Drop progress bars, which are empty without their kernel, and what changes from run to run."""
    content.metadata.pop("widgets", None)
    content.metadata.language_info = {"name": "python"}
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
