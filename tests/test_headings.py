"""The notebooks' headings are unique, and every link to a heading or a file hits."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
INSTRUCTIONS, *WORKED = NOTEBOOKS = sorted(ROOT.glob("Lab1-CNNs*.ipynb"), key=lambda path: path.stem)


def prose(path):  # the Markdown cells without code blocks, whose comments look like headings
    cells = nbformat.read(path, as_version=4).cells
    return [re.sub(r"```.*?```", "", c.source, flags=re.DOTALL) for c in cells if c.cell_type == "markdown"]


def headings(path):  # pairs (level, anchor); JupyterLab and GitHub make the anchor from the text in this way
    found = re.findall(r"^(#+) (.+?)\s*$", "\n\n".join(prose(path)), re.MULTILINE)
    return [(len(marks), text.replace("`", "").replace(" ", "-")) for marks, text in found]


def parts(path):  # the anchors of the highest level below the title
    _title, *below = headings(path)
    top = min(level for level, _ in below)
    return [anchor for level, anchor in below if level == top]


def links(text):  # pairs (file, anchor) of the links that do not leave the project
    targets = [urlsplit(target) for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    return [(unquote(target.path), unquote(target.fragment)) for target in targets if not target.scheme]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_headings_are_unique(path):
    anchors = [anchor for _, anchor in headings(path)]
    assert len(anchors) > 5
    assert not {anchor for anchor in anchors if anchors.count(anchor) > 1}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_contents_link_every_part(path):
    contents = "\n".join(prose(path)[:3])
    assert {("", anchor) for anchor in parts(path)} <= set(links(contents))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_links_hit(path):
    for file, anchor in links("\n\n".join(prose(path))):
        target = ROOT / file if file else path
        assert target.exists(), file
        if anchor and target.suffix == ".ipynb":
            assert anchor in [a for _, a in headings(target)], f"{target.name} has no heading {anchor}"


def test_instructions_and_worked_parts_link_each_other():
    worked_links = {link for path in WORKED for link in links("\n\n".join(prose(path)))}
    exercises = [anchor for anchor in parts(INSTRUCTIONS) if anchor.startswith("Exercise")]
    assert {(INSTRUCTIONS.name, anchor) for anchor in exercises} <= worked_links
    instruction_links = links("\n\n".join(prose(INSTRUCTIONS)))
    assert {(path.name, anchor) for path in WORKED for anchor in parts(path)} <= set(instruction_links)
