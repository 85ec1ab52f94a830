"""A student's view of the notebooks, in a real JupyterLab in a real headless Chromium."""

import json
import os
import platform
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from model_answers import ANSWERS

ROOT = Path(__file__).resolve().parent.parent
MINUTES = 8  # for everything together
SETTINGS = {  # JupyterLab draws every cell, not only the visible ones, and nothing pops up
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
BAR = ".jp-OutputArea-output .widget-hbox:has(.widget-hprogress)"
RED_BOX = "[data-mime-type='application/vnd.jupyter.stderr']"  # an error, or harmless words on stderr
SOME = "[...document.querySelectorAll(`{}`)].some(element => /{}/ms.test(element.innerText))"


@pytest.fixture
def page():
    """A tab of a headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium or Chrome on the PATH")
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with playwright.sync_playwright() as p, p.chromium.launch(executable_path=chromium, args=options) as browser:
        yield browser.new_page(viewport={"width": 1400, "height": 1000})


@pytest.fixture
def jupyterlab(tmp_path, request):
    """The address of a copy of the named notebook in a JupyterLab of its own, and the path of that copy."""
    folder, private = tmp_path / "lab", tmp_path / "jupyter"
    shutil.copytree(ROOT / "lab1", folder / "lab1", ignore=shutil.ignore_patterns("__pycache__"))
    name = request.param
    notebook = nbformat.read(ROOT / name, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":  # committed outputs must not pass for new ones
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, folder / name)
    for setting, values in SETTINGS.items():
        file = private / "settings" / "@jupyterlab" / f"{setting}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(values))

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR")
    environment = os.environ | {variable: str(private / variable) for variable in own}
    environment |= {"JUPYTERLAB_SETTINGS_DIR": str(private / "settings"), "JUPYTER_TOKEN": secrets.token_hex(16)}
    environment |= {"LAB1_PROFILE": "smoke", "LAB1_OUTPUT": str(folder / "outputs"), "WANDB_MODE": "offline"}
    environment["LAB1_DATA"] = str(Path(os.environ.get("LAB1_DATA") or ROOT / "data").absolute())
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.root_dir={folder}"]
    command += ["--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    command += [f"--NotebookNotary.data_dir={private}"]
    log = tmp_path / "server.log"
    with log.open("w") as out:
        server = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
    try:
        for _ in range(120):
            assert server.poll() is None, log.read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/lab/tree/{name}?token={environment['JUPYTER_TOKEN']}", folder / name
    finally:
        server.terminate()  # so that it ends its kernel, which is not in its process group
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


class Tab:
    """What a student does with a notebook that is open in a tab. An error in a cell, or the time limit, fails."""

    def __init__(self, page, address: str):
        self.page, self.end = page, time.monotonic() + 60 * MINUTES
        page.goto(address)
        self.wait_for(SOME.format(".jp-StatusBar-TextItem", r"\| Idle$"))  # before, "Run All Cells" opens a dialog

    def wait_for(self, condition: str) -> None:
        """Until the JavaScript condition holds."""
        failed, left = SOME.format(RED_BOX, r"Traceback|^\w*Error\b"), self.end - time.monotonic()
        self.page.wait_for_function(f"{failed} || {condition}", polling=200, timeout=1000 * max(1, left))
        assert not self.page.evaluate(failed), self.page.locator(RED_BOX).all_inner_texts()

    def menu(self, name: str, command: str) -> None:
        self.page.locator(".lm-MenuBar-item", has_text=re.compile(f"^{name}$")).click()
        self.page.locator(f".lm-Menu [data-command='{command}']").click()

    def run_all(self) -> None:
        self.menu("Run", "runmenu:run-all")

    def wait_for_all(self) -> None:
        self.wait_for("!" + SOME.format(".jp-CodeCell .jp-InputPrompt", r"\[\D"))  # "[ ]:" and "[*]:": no number yet

    def save(self) -> None:
        self.menu("File", "docmanager:save")
        self.wait_for("!document.querySelector('.jp-mod-dirty')")


@pytest.mark.slow
@pytest.mark.parametrize("jupyterlab", ["Lab1-CNNs-Exercise2.ipynb"], indirect=True)
def test_a_student_runs_a_worked_notebook(page, jupyterlab, tmp_path):
    address, path = jupyterlab
    try:
        tab = Tab(page, address)
        tab.run_all()

        tab.wait_for(SOME.format(BAR, "step.*loss"))
        bar = page.locator(BAR, has_text="step")
        bar.scroll_into_view_if_needed()
        assert bar.locator(".progress-bar").is_visible()
        page.screenshot(path=tmp_path / "training.png")

        tab.wait_for_all()
        outputs = "\n".join(page.locator(".jp-OutputArea-output").all_inner_texts())
        assert "HBox(children=" not in outputs and "Error displaying widget" not in outputs
        figures = page.locator(".jp-OutputArea-output img")
        assert figures.count() >= 6
        figures.last.scroll_into_view_if_needed()
        tab.save()
    finally:
        page.screenshot(path=tmp_path / "end.png")

    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for output in outputs if output.output_type == "error"]
    assert len([output for output in outputs if "image/png" in output.get("data", {})]) >= 6


@pytest.mark.slow
@pytest.mark.parametrize("jupyterlab", ["Lab1-CNNs.ipynb"], indirect=True)
def test_a_student_solves_a_task(page, jupyterlab, tmp_path):
    address, path = jupyterlab
    said = "Task 7, label_map: {}"
    output, stub = ".jp-OutputArea-output", page.locator(".jp-CodeCell", has_text="def label_map(")
    try:
        tab = Tab(page, address)
        tab.run_all()
        tab.wait_for_all()
        assert page.locator(output, has_text=re.compile(r"^Task \d+, .*: not started")).count() == 12
        page.locator(output, has_text=said.format("not started")).scroll_into_view_if_needed()
        page.screenshot(path=tmp_path / "not started.png")

        stub.locator(".cm-content").click()
        page.keyboard.press("Control+A")
        page.keyboard.insert_text(ANSWERS["label_map"].strip())
        for _ in ("the answer", "its check"):
            page.keyboard.press("Shift+Enter")
        tab.wait_for(SOME.format(output, said.format("passed")))
        check = page.locator(output, has_text=said.format("passed"))
        assert check.locator("[class*=ansi-green]").count() >= 1
        check.scroll_into_view_if_needed()
        tab.save()
    finally:
        page.screenshot(path=tmp_path / "end.png")

    cells = {cell.id: cell for cell in nbformat.read(path, as_version=4).cells}
    assert (
        "passed" in cells["task-07-check"].outputs[0].text and "NotImplementedError" not in cells["task-07-stub"].source
    )


@pytest.mark.slow
@pytest.mark.parametrize("jupyterlab", sorted(path.name for path in ROOT.glob("Lab1-CNNs*.ipynb")), indirect=True)
def test_opening_a_notebook_does_not_change_it(page, jupyterlab):
    """JupyterLab writes the kernel's language_info into the metadata, and compares all of it, Python's version too."""
    address, path = jupyterlab
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.language_info.version = platform.python_version()
    nbformat.write(notebook, path)
    Tab(page, address)
    page.wait_for_timeout(3000)  # the kernel's answer arrives after it is idle
    assert not page.evaluate("!!document.querySelector('.jp-mod-dirty')")
