"""The code that runs, kept beside the runs that it made: this package, and the notebook without its outputs."""

import hashlib
import os
import shutil
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent


def copy(folder: Path) -> dict[str, Path]:
    """Names and copies of lab1's files and of the running notebook; copied once for each state, below `folder`."""
    files = {f"lab1/{path.relative_to(PACKAGE).as_posix()}": path.read_bytes() for path in PACKAGE.rglob("*.py")}
    notebook = running_notebook()
    if notebook is not None:
        files[notebook.name] = _without_outputs(notebook)
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(name.encode() + files[name])
    target = folder / digest.hexdigest()[:12]
    if not target.exists():
        part = folder / f"{target.name}.{os.getpid()}.tmp"
        for name, content in files.items():
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            (part / name).write_bytes(content)
        try:
            part.rename(target)
        except OSError:  # another process was faster
            shutil.rmtree(part)
    return {name: target / name for name in sorted(files)}


def running_notebook() -> Path | None:
    """The notebook whose kernel this is, as Jupyter's server or VS Code names it; None in a script or if unknown."""
    if "IPython" not in sys.modules or (shell := sys.modules["IPython"].get_ipython()) is None:
        return None
    name = os.environ.get("JPY_SESSION_NAME") or shell.user_ns.get("__vsc_ipynb_file__")
    paths = [Path(name), Path(Path(name).name)] if name else []  # the former is relative to the server's folder
    return next((path for path in paths if path.suffix == ".ipynb" and path.is_file()), None)


def _without_outputs(notebook: Path) -> bytes:
    import nbformat

    content = nbformat.read(notebook, as_version=4)
    for cell in content.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return nbformat.writes(content).encode()
