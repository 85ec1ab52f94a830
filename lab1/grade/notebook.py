"""A student's notebook, read as data: out of whatever file come cells of text, or one sentence that says why not."""

import json
import os
import re
import stat
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

MOST_BYTES = 100 * 2**20  # of a notebook's file; one with every figure of the lab takes 2 MB
MOST_CELLS = 5000
MOST_SOURCE = 500_000  # characters of a cell
LANGUAGES = {"ir": "R", "r": "R"}  # how kernels call them, how people do
BEGINNINGS = (  # of files that are no notebooks
    (rb"PK\x03\x04", "it is a zip file: unpack it and hand in the notebook itself"),
    (rb"\s*<(!doctype|html|\?xml)", "it is a web page: download the notebook itself ('Download raw file' on GitHub)"),
    (rb"%PDF", "it is a PDF: hand in the notebook itself"),
)


class Unreadable(Exception):
    """What is wrong with a file, in words that its author understands."""


@dataclass
class Cell:
    """kind: "code", "markdown" or "raw". number: of a code cell, from 1. outputs: what it shows when it is run."""

    kind: str
    source: str
    number: int = 0
    outputs: list[dict] = field(default_factory=list)


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """The content of a regular file; links, pipes, devices and giants are not followed, waited for or loaded.

    Raises:
        Unreadable: it is none of these, or cannot be read.
    """
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        if path.is_symlink():
            raise Unreadable("it is a link: hand in the file itself") from error
        raise Unreadable(f"it cannot be opened: {error.strerror}") from error
    with os.fdopen(file, "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("it is no regular file")
        if status.st_size > most:
            raise Unreadable(f"it has {status.st_size / 2**20:,.0f} MB, and {most / 2**20:,.0f} are allowed")
        return stream.read(most)


def parse(content: bytes) -> tuple[list[Cell], list[str]]:
    """The cells of a notebook of any version, and remarks on what had to be mended.

    Raises:
        Unreadable: there is no notebook for Python in it.
    """
    text, remarks = _text(content)
    try:
        notebook = json.loads(text)
    except RecursionError as error:
        raise Unreadable("not a notebook: it is nested too deeply") from error
    except ValueError as error:
        raise Unreadable(f"not a notebook: {_why_no_json(text, error)}") from error
    cells = _raw_cells(notebook)
    _expect_python(notebook.get("metadata"))
    if len(cells) > MOST_CELLS:
        raise Unreadable(f"it has {len(cells):,} cells, and {MOST_CELLS:,} are allowed")
    read, count = [], 0
    for place, raw in enumerate(cells, 1):
        cell, remark = _cell(raw)
        if cell.kind == "code":
            count += 1
            cell.number = count
        read.append(cell)
        remarks += [f"cell {place} of the file {remark}"] * bool(remark)
    return read, remarks


def plain(text: object, most: int = 1000) -> str:
    """One line of text without characters that control a terminal, hide text or turn its direction."""
    words = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in str(text)[: 2 * most])
    words = " ".join(words.split())
    return words if len(words) <= most else f"{words[: most - 4]} ..."


def _text(content: bytes) -> tuple[str, list[str]]:
    if not content.strip(b"\0 \t\r\n"):
        raise Unreadable("the file is empty: the upload broke off, hand it in again")
    for pattern, words in BEGINNINGS:
        if re.match(pattern, content, re.IGNORECASE):
            raise Unreadable(f"not a notebook: {words}")
    encoding = json.detect_encoding(content)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace"), ["the file is not UTF-8; it was read as cp1252"]
    return text, [] if encoding.startswith("utf-8") else [f"the file is {encoding}, not UTF-8"]


def _why_no_json(text: str, error: ValueError) -> str:
    if re.search(r"^<<<<<<< ", text, re.M):
        return "it holds the marks of a merge conflict of git (<<<<<<<): choose one side and save it again"
    if not text.lstrip().startswith("{"):
        return "it is another kind of file, under the name of a notebook"
    at = getattr(error, "pos", 0)
    if at >= len(text.rstrip()) - 1 or "Unterminated" in str(error):
        return "the file ends too early: the upload broke off, hand it in again"
    return f"it is damaged in line {text.count(chr(10), 0, at) + 1} ({plain(error)})"


def _raw_cells(notebook: object) -> list:
    if not isinstance(notebook, dict):
        raise Unreadable(f"not a notebook: it holds {plain(json.dumps(notebook), 40)} and no cells")
    cells = notebook.get("cells")
    if cells is None and isinstance(sheets := notebook.get("worksheets"), list):  # version 3
        cells = [cell for sheet in sheets if isinstance(sheet, dict) for cell in sheet.get("cells") or []]
    if not isinstance(cells, list):
        raise Unreadable("not a notebook: it has no cells")
    return cells


def _expect_python(metadata: object) -> None:
    metadata = metadata if isinstance(metadata, dict) else {}
    spec, info = (metadata.get(key) for key in ("kernelspec", "language_info"))
    named = [each.get(key) for each, key in ((spec, "language"), (info, "name")) if isinstance(each, dict)]
    if named and isinstance(spec, dict) and not any(named):
        named = [spec.get("name")]
    language = next((plain(name, 30) for name in named if name), "python")
    if "python" not in language.lower():
        raise Unreadable(f"it is a notebook for {LANGUAGES.get(language.lower(), language)}, not a Python notebook")


def _cell(raw: object) -> tuple[Cell, str]:
    """A cell, and what is wrong with it, if anything. What cannot be read is an empty one."""
    if not isinstance(raw, dict):
        return Cell("raw", ""), "is none"
    kind, remark = raw.get("cell_type"), ""
    source = raw.get("source", raw.get("input"))  # version 3 calls it input
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    if not isinstance(source, str):
        source, remark = "", "has no source"
    if len(source) > MOST_SOURCE:
        source, remark = "", f"has more than {MOST_SOURCE:,} characters"
    source = source.encode("utf-8", "replace").decode().replace("\r\n", "\n")  # no lone surrogates
    if kind == "heading":
        level = raw.get("level")
        kind, source = "markdown", f"{'#' * (level if level in range(1, 7) else 1)} {source}"
    if kind not in ("code", "markdown", "raw"):
        kind, remark = "raw", f"is of an unknown kind, {plain(kind, 30)}"
    return Cell(kind, source), remark
