"""Write where the lab is published into everything that must know it.

python tools/publish.py owner/name   the GitHub repository, kept in CITATION.cff; or ...
python tools/publish.py              ... as it stands there

README.md gets a Colab badge for the instructions, and each notebook its own badge and, in its first code cell, the
address that Colab clones. Without a repository the notebooks have the same two cells, and nobody sees a link.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from lab1.basics.files import atomic  # noqa: E402

GITHUB = "https://github.com/"
COLAB = "https://colab.research.google.com/github/{repository}/blob/main/{notebook}"
BADGE = "[![Open {notebook} in Google Colab](https://colab.research.google.com/assets/colab-badge.svg)]({address})"

TEXT = """\
If the next cell cannot find `lab1`, open this notebook in the folder of the lab, where `make lab` starts JupyterLab. \
On Google Colab the cell fetches the lab first; Colab forgets your changes, so save a copy of the notebook in Drive."""
CODE = """\
import importlib.util
import sys

REPOSITORY = {address}
if "google.colab" in sys.modules and REPOSITORY and not importlib.util.find_spec("lab1"):
    ![ -d lab1-cnns ] || git clone --depth 1 {{REPOSITORY}} lab1-cnns
    %cd lab1-cnns
    %pip install -q torchinfo torchmetrics wandb
if not importlib.util.find_spec("lab1"):
    advice = "open this notebook in the lab's folder; on Colab, set REPOSITORY to the lab's git address"
    raise ModuleNotFoundError(f"lab1 is not beside this notebook: {{advice}}")"""


def badge(repository: str, notebook: str) -> str:
    """The badge's Markdown; nothing without a repository."""
    if not repository:
        return ""
    return BADGE.format(notebook=notebook, address=COLAB.format(repository=repository, notebook=notebook))


def citation(text: str, repository: str) -> str:
    """The text of CITATION.cff with the address of this repository, "owner/name"."""
    text = re.sub(r"^repository-code: .*\n", "", text, flags=re.MULTILINE)
    return text.replace("\ntype: software\n", f'\ntype: software\nrepository-code: "{GITHUB}{repository}"\n')


def published(text: str) -> str:
    """The repository, "owner/name", that the text of CITATION.cff names; "" if none."""
    found = re.search(rf'^repository-code: "{re.escape(GITHUB)}(.*)"$', text, re.MULTILINE)
    return found[1] if found else ""


def readme(text: str, repository: str) -> str:
    """The text of README.md with the badge of the instructions, or without a badge."""
    line = badge(repository, "Lab1-CNNs.ipynb")
    between = f"{line}\n" if line else ""
    return re.sub(
        r"(<!-- begin colab -->\n).*?(<!-- end colab -->)",
        lambda m: m[1] + between + m[2],
        text,
        flags=re.DOTALL,
    )


def notebook(text: str, name: str, repository: str) -> str:
    """The text of a notebook with the two cells after its title, and its code cells counted anew."""
    content = nbformat.reads(text, as_version=4)
    prose = f"{badge(repository, name)}\n\n{TEXT}" if repository else TEXT
    address = json.dumps(f"{GITHUB}{repository}" if repository else "")
    cells = [
        nbformat.v4.new_markdown_cell(prose, id="lab1-place"),
        nbformat.v4.new_code_cell(CODE.format(address=address), id="lab1-import"),
    ]
    others = [cell for cell in content.cells if cell.id not in ("lab1-place", "lab1-import")]
    content.cells = [others[0], *cells, *others[1:]]
    code = [cell for cell in content.cells if cell.cell_type == "code"]
    for count, cell in enumerate(code, start=1):
        cell.execution_count = count
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
    return nbformat.writes(content) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", nargs="?", metavar="owner/name", help="default: the one in CITATION.cff")
    repository = parser.parse_args().repository
    if repository and not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        parser.error(f"{repository!r} is not of the form owner/name")

    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "CITATION.cff", ROOT / "README.md")}
    cff, start = texts
    new = {cff: citation(texts[cff], repository) if repository else texts[cff]}
    repository = published(new[cff])
    new[start] = readme(texts[start], repository)
    for path in sorted(ROOT.glob("Lab1-CNNs*.ipynb")):
        texts[path] = path.read_text(encoding="utf-8")
        new[path] = notebook(texts[path], path.name, repository)
    for path in new:
        if new[path] != texts[path]:
            with atomic(path) as file:
                file.write(new[path].encode())
            print(f"written: {path.name}")
    print(f"published at {GITHUB}{repository}" if repository else "not published: no Colab badge is shown")


if __name__ == "__main__":
    main()
