"""The lab's website, built by `make book` from README.md, CONTRIBUTING.md, docs/ and the notebooks as they were run.

The source folder is the repository itself, so that links are the same on GitHub, in JupyterLab and on the website.
"""

import re
import shutil
import urllib.parse
from pathlib import Path

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

html_theme = "furo"
html_title = "Lab 1: CNNs"
html_theme_options = {"navigation_with_keys": True}
copybutton_exclude = ".linenos, .gp, .go"


def github_anchors(app, docname, source):
    """A notebook's links to headings, as JupyterLab wants them (#The-loss), become the website's (#the-loss)."""
    if docname.startswith("Lab1-CNNs"):
        source[0] = re.sub(r"\]\((\S*?)#([^)\s]+)\)", lambda m: f"]({m[1]}#{slug(m[2])})", source[0])


def slug(anchor: str) -> str:
    return re.sub(r"[^\w-]", "", urllib.parse.unquote(anchor).lower())


def front_page(app, exception):
    """README.md is what a visitor sees first."""
    if exception is None and app.builder.name == "html":
        shutil.copy(Path(app.outdir) / "README.html", Path(app.outdir) / "index.html")


def setup(app):
    app.connect("source-read", github_anchors)
    app.connect("build-finished", front_page)
