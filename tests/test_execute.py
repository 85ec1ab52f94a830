"""tools/execute.py with notebooks that are damaged and kernels that die; nbval with a kernel that dies."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools import execute

ROOT = Path(__file__).resolve().parent.parent
DIE = "import os; os.kill(os.getpid(), 9)"


def code(source, **others):
    return {"cell_type": "code", "metadata": {}, "source": source, "outputs": [], "execution_count": None} | others


def notebook(*cells, **others):
    return {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 4} | others


def read(path, content, encoding="utf-8"):
    path.write_bytes(content.encode(encoding) if isinstance(content, str) else content)
    found, mended = execute.read(path)
    return [(cell.cell_type, cell.source) for cell in found.cells], mended


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_encodings(encoding, tmp_path):
    text = json.dumps(notebook(code("x = 'Grüße'"), code("y = 2")), ensure_ascii=False)
    cells, mended = read(tmp_path / "a.ipynb", text, encoding)
    assert cells == [("code", "x = 'Grüße'"), ("code", "y = 2")]
    assert len(mended) == (not encoding.startswith("utf-8"))
    assert not mended or encoding[:6] in mended[0]


@pytest.mark.parametrize("minor", [4, 5])
def test_what_is_missing_is_completed(tmp_path, minor):
    whole = code("x = 1", id="a") if minor == 5 else code("x = 1")
    cells = [whole, {"cell_type": "code"}, {"cell_type": "heading", "source": "Title"}, {"source": ["y\n", "z"]}]
    cells.append({"cell_type": "markdown", "source": None})
    found, mended = read(tmp_path / "a.ipynb", json.dumps({"cells": cells}))
    assert found == [("code", "x = 1"), ("code", ""), ("raw", "Title"), ("raw", "y\nz"), ("markdown", "")]
    assert len(mended) == 5 and "nbformat is missing" in mended[0] and "cell 2: of the unknown type" in mended[2]


def test_lone_surrogates(tmp_path):
    found, mended = read(tmp_path / "a.ipynb", json.dumps(notebook(code("x = '\ud800'"), code("y = '😀'"))))
    assert found == [("code", "x = '\ufffd'"), ("code", "y = '😀'")]
    assert len(mended) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"{}", b"\x00\x01", b'{"cells": 3}', b'{"cells": [1]}'])
def test_what_is_no_notebook_fails_in_one_line(content, tmp_path, capsys):
    path = tmp_path / "a.ipynb"
    path.write_bytes(content)
    assert not execute.execute(path, tmp_path / "out.ipynb")
    name, line = capsys.readouterr().out.splitlines()
    assert name == "a.ipynb" and "cannot be read as a notebook" in line


@pytest.mark.slow
def test_a_killed_kernel_is_one_line_and_the_next_notebook_runs(tmp_path, monkeypatch):
    for name, source in (("a", DIE), ("b", "print('alive', '\\ud800'.encode('utf-8', 'replace'))")):
        (tmp_path / f"{name}.ipynb").write_text(json.dumps(notebook(code("x = 1"), code(source))))
    monkeypatch.setenv("LAB1_OUTPUT", str(tmp_path))
    command = [sys.executable, "tools/execute.py", tmp_path / "a.ipynb", tmp_path / "b.ipynb"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    [line] = [line for line in done.stderr.splitlines() if line]
    assert line.startswith(f"a.ipynb: the kernel died in the cell that begins with {DIE.splitlines()[0]!r}")
    outputs = [json.loads((tmp_path / "notebooks" / f"{name}.ipynb").read_text())["cells"] for name in "ab"]
    assert outputs[0][0]["execution_count"] == 1  # what ran before is kept
    assert "alive" in outputs[1][1]["outputs"][0]["text"][0]


@pytest.mark.slow
def test_nbval_does_not_wait_for_a_dead_kernel(tmp_path):
    (tmp_path / "dies.ipynb").write_text(json.dumps(notebook(code(DIE, execution_count=1))))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval", "--nbval-current-env"]
    command += ["--nbval-cell-timeout=50", "--confcutdir", ROOT, "-c", ROOT / "pyproject.toml", "-p", "conftest"]
    begin = time.monotonic()
    done = subprocess.run([*command, tmp_path / "dies.ipynb"], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1 and "the kernel died in this cell" in done.stdout
    assert time.monotonic() - begin < 40
