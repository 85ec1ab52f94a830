"""The code that is kept beside the runs: once for each state, with the notebook that runs, without its outputs."""

import json
import sys
import types

import nbclient
import pytest
from nbformat import v4, write

from lab1.experiment import source

RUN = """
from lab1.experiment import tracking
with tracking.run("a", group="b", run_id="id") as run:
    run.log({"epoch": 0, "val/loss": 1.0})
print("secret output")
"""


def test_a_state_is_copied_once(tmp_path):
    first = source.copy(tmp_path)
    assert first["lab1/models/resnet.py"].read_bytes() == (source.PACKAGE / "models" / "resnet.py").read_bytes()
    times = {path: path.stat().st_mtime_ns for path in first.values()}
    assert source.copy(tmp_path) == first
    assert times == {path: path.stat().st_mtime_ns for path in first.values()}
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("editor", ["JupyterLab", "VS Code"])
def test_the_running_notebook_is_found(editor, tmp_path, monkeypatch):
    notebook = tmp_path / "my notebook.ipynb"
    write(v4.new_notebook(), notebook)
    names = {"__vsc_ipynb_file__": str(notebook)} if editor == "VS Code" else {}
    shell = types.SimpleNamespace(get_ipython=lambda: types.SimpleNamespace(user_ns=names))
    monkeypatch.setitem(sys.modules, "IPython", shell)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    if editor == "JupyterLab":
        monkeypatch.setenv("JPY_SESSION_NAME", f"course/lab/{notebook.name}")
    assert source.running_notebook().name == notebook.name


def test_a_notebook_is_kept_without_its_outputs(tmp_path, monkeypatch):
    for variable, value in {"LAB1_OUTPUT": "outputs", "LAB1_PROFILE": "smoke", "WANDB_MODE": "offline"}.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("JPY_SESSION_NAME", "lab.ipynb")
    monkeypatch.setenv("PYTHONPATH", str(source.PACKAGE.parent))
    notebook = v4.new_notebook(cells=[v4.new_code_cell(RUN), v4.new_code_cell(RUN)])  # two runs, one after the other
    notebook.cells[0].outputs = [v4.new_output("stream", text="secret output")]
    write(notebook, tmp_path / "lab.ipynb")
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": tmp_path}}).execute()
    [kept] = (tmp_path / "outputs" / "wandb" / "code").glob("*/lab.ipynb")
    text = kept.read_text()
    assert "run.log" in text and '"outputs": []' in text and "secret output\\n" not in text.replace("print(", "")
    assert json.loads(text)["cells"][0]["execution_count"] is None
    assert "finished, and logged already" in notebook.cells[1].outputs[0].text
