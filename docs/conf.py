"""The lab's website, built by `make book` from README.md, CONTRIBUTING.md, docs/ and the notebooks as they were run.

The source folder is the repository itself, so that links are the same on GitHub, in JupyterLab and on the website.
"""

import json
import re
import shutil
import urllib.parse
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert

project = "Lab 1: convolutional neural networks"
author = "the authors of Lab 1"
extensions = ["myst_nb", "sphinx_copybutton"]
root_doc = "docs/index"
include_patterns = ["README.md", "CONTRIBUTING.md", "docs/*.md", "Lab1-CNNs*.ipynb", "lab1/assets/NOTICE.md"]
exclude_patterns = [".*", "outputs", "shared", "data", "wandb", "model_states", "tests", "benchmarks", "tools"]

nb_execution_mode = "off"
nb_merge_streams = True
nb_mime_priority_overrides = [("html", "text/markdown", 5)]  # a table's Markdown rather than its plain text
myst_enable_extensions = ["dollarmath", "amsmath", "html_image"]
myst_heading_anchors = 4
myst_dmath_double_inline = True

html_math_renderer = "mathml"  # read by every browser, also without a network
html_theme = "furo"
html_title = "Lab 1: CNNs"
html_theme_options = {"navigation_with_keys": True}
copybutton_exclude = ".linenos, .gp, .go"


def prepare_notebook(app, docname, source):
    """Links to headings, written as JupyterLab wants them (#The-loss), become the website's (#the-loss).

    The alt text of a cell's figures moves from the output's metadata to where MyST-NB reads it.
    """
    if not docname.startswith("Lab1-CNNs"):
        return
    notebook = json.loads(source[0])
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            text = "".join(cell["source"])
            cell["source"] = re.sub(r"\]\((\S*?)#([^)\s]+)\)", lambda m: f"]({m[1]}#{slug(m[2])})", text)
        found = [output.get("metadata", {}).get("image/png", {}).get("alt") for output in cell.get("outputs", [])]
        if alts := [alt for alt in found if alt]:
            cell["metadata"]["mystnb"] = {"image": {"alt": " ".join(alts)}}
    source[0] = json.dumps(notebook)


def slug(anchor: str) -> str:
    return re.sub(r"[^\w-]", "", urllib.parse.unquote(anchor).lower())


def inline_math(translator, node):
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def displayed_math(translator, node):
    translator.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def front_page(app, exception):
    """README.md is what a visitor sees first."""
    if exception is None and app.builder.name == "html":
        shutil.copy(Path(app.outdir) / "README.html", Path(app.outdir) / "index.html")


def setup(app):
    app.add_html_math_renderer("mathml", (inline_math, None), (displayed_math, None))
    app.connect("source-read", prepare_notebook)
    app.connect("build-finished", front_page)
