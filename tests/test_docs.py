"""README, CONTRIBUTING and docs: short where they should be, true to the measured numbers, without a dead link."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NOTEBOOKS = sorted(ROOT.glob("Lab1-CNNs*.ipynb"))
ORIGINAL_FIGURES = (  # the file names of the original description
    "grads_no_skip_connections_epoch0.png",
    "grads_no_skip_connections_epoch10.png",
    "grads_skip_connections_epoch0.png",
    "grads_skip_connections_epoch10.png",
    "loss_skip_connection.png",
    "fcn_model.jpg",
    "result-exercise2.png",
    "result-exercise2_2.png",
    "result-exercise2_3.png",
    "grad-cam_model.png",
    "result-exercise3.png",
)


def name(path):
    return path.relative_to(ROOT).as_posix()


def prose(path):
    """The text of a page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def images(text):
    """(alt text, target) of every image; of HTML's images, too."""
    markdown = re.findall(r"!\[(.*?)\]\(([^)\s]+)", text, re.DOTALL)
    html = re.findall(r"<img\b[^>]*>", text)
    attributes = [{key: re.search(rf'\b{key}="(.*?)"', tag) for key in ("alt", "src")} for tag in html]
    return markdown + [tuple(found[1] if found else "" for found in tag.values()) for tag in attributes]


def anchors(path):
    """What GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def is_a_description(alt, target):
    """One sentence that says what is to be seen."""
    return (
        re.fullmatch(r"[A-Z][^\n]{19,}\.", alt)
        and alt.count(". ") == 0
        and re.sub(r"\W|_", " ", Path(target).stem).lower() != alt.lower().rstrip(".")
    )


def test_readme_is_a_landing_page():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 1000


def test_readme_shows_the_original_figures():
    shown = [Path(target).name for _, target in images(prose(ROOT / "README.md"))]
    assert [figure for figure in shown if figure in ORIGINAL_FIGURES] == list(ORIGINAL_FIGURES)


def test_pages_show_the_measured_numbers():
    command = [sys.executable, "tools/readme_tables.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_table_with_results_is_generated():
    """Outside of the markers no table holds a result with its spread."""
    for path in PAGES:
        by_hand = re.sub(r"<!-- begin (\S+) -->.*?<!-- end \1 -->", "", path.read_text("utf-8"), flags=re.DOTALL)
        assert not re.search(r"^\|.*\d ± \d", by_hand, re.MULTILINE), name(path)


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_links_and_figures_exist(path):
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", prose(path)):
        file, _, anchor = target.partition("#")
        page = (path.parent / file).resolve() if file else path
        assert page.is_file(), f"{target} is no file"
        if anchor:
            assert anchor in anchors(page), f"{target} is no heading"


def test_every_figure_is_shown():
    text = prose(ROOT / "docs/results.md") + prose(ROOT / "docs/speed.md")
    shown = {Path(target).name for _, target in images(text)}
    made = {path.name for folder in ("images", "benchmarks") for path in (ROOT / folder).glob("*.*g")}  # png and jpg
    assert made - shown == set()


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_every_picture_of_a_page_is_described(path):
    for alt, target in images(prose(path)):
        if "colab-badge" not in target:
            assert is_a_description(alt, target), f"{target}: {alt!r}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_every_picture_of_a_notebook_is_described(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            assert all(is_a_description(*image) for image in images(cell.source) if "colab-badge" not in image[1])
        for output in cell.get("outputs", []):
            for kind in {"image/png", "image/jpeg"} & set(output.get("data", {})):
                alt = output.metadata.get("alt") or output.metadata.get(kind, {}).get("alt", "")
                assert is_a_description(alt, "output"), f"cell {cell.id}: {alt!r}"


def test_pictures_without_a_description_are_found():
    assert images('![](a.png) <img src="b.png"> ![One two](c.png)') == [
        ("", "a.png"),
        ("One two", "c.png"),
        ("", "b.png"),
    ]
    for alt in ("", "Learning curves", "mlp_depth.", "Two. Sentences are in here."):
        assert not is_a_description(alt, "images/mlp_depth.png")
    assert not is_a_description("Mlp gradients initialisation.", "images/mlp_gradients_initialisation.png")


def test_every_room_is_on_the_map():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rooms = [path.parent.name for path in (ROOT / "lab1").glob("*/__init__.py")]
    assert len(rooms) >= 9
    assert all(f"`{room}/`" in text for room in rooms)


def test_every_target_of_make_is_explained():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    text = "".join(path.read_text(encoding="utf-8") for path in PAGES)
    assert [target for target in targets if f"`make {target}" not in text] == []
