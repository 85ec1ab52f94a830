"""The explorers as a student sees them: in a real JupyterLab in a real headless Chromium."""

import time

import nbformat
import pytest
import test_browser
from nbformat import v4
from test_browser import Tab, jupyterlab, page  # noqa: F401

CELLS = (
    "import numpy as np, torch\nfrom lab1 import ResNet18, ResNet18FCN, data, explore",
    "kinds = ['skip, BatchNorm', 'no skip, BatchNorm', 'skip, no BatchNorm', 'no skip, no BatchNorm']\n"
    "initial = {(k, d): np.random.uniform(0.1, 10, (2, d)) for k in kinds for d in (8, 20, 110)}\n"
    "explore.gradients(initial, 'made up')",
    "shapes = data.load('shapes10', 100, 20)\n"
    "explore.gradcam(ResNet18(width=8), shapes.test, shapes.classes, shapes.source)",
    "mnist = data.load('mnist', 100, 100)\nexplore.segmentation(ResNet18FCN(width=8), mnist.test, mnist.source)",
)
PICTURES = "[...document.querySelectorAll('.lab1-explorer img')].map(image => image.src).join()"


@pytest.fixture(autouse=True)
def notebook(tmp_path, monkeypatch):
    """A folder with the package and a notebook of the three explorers, in place of the repository."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "lab1").symlink_to(test_browser.ROOT / "lab1")
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cells = [v4.new_code_cell(cell) for cell in CELLS]
    nbformat.write(v4.new_notebook(cells=cells, metadata=kernel), root / "explorers.ipynb")
    monkeypatch.setattr(test_browser, "ROOT", root)


@pytest.mark.slow
@pytest.mark.parametrize("jupyterlab", ["explorers.ipynb"], indirect=True)
def test_a_student_moves_the_sliders(page, jupyterlab, tmp_path):  # noqa: F811
    address, _ = jupyterlab
    try:
        tab = Tab(page, address)
        tab.run_all()
        tab.wait_for("document.querySelectorAll('.lab1-explorer img').length == 3")
        for i, name in enumerate(("gradients", "gradcam", "segmentation")):
            explorer = page.locator(".lab1-explorer").nth(i)
            explorer.scroll_into_view_if_needed()
            before = page.evaluate(PICTURES)
            start = time.monotonic()
            handle = explorer.locator(".noUi-handle").first
            handle.focus()
            handle.press("ArrowRight")
            tab.wait_for(f"{PICTURES} != `{before}`")
            print(f"{name}: a new picture after {time.monotonic() - start:.2f} s")
            assert explorer.locator("img").is_visible()
            explorer.screenshot(path=tmp_path / f"{name}.png")
    finally:
        page.screenshot(path=tmp_path / "end.png")
