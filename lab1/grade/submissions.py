"""Who has handed in what: folders, single files, and what nbgrader, Moodle and Canvas give, also as their zip.

A submission is a notebook with the files beside it, or the lack of a notebook. Nothing of it is believed or followed:
links, pipes and giants are left out, and said to be.
"""

import hashlib
import os
import re
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from lab1.grade.layouts import place_of, whose
from lab1.grade.notebook import Unreadable, read_bytes
from lab1.grade.zips import IGNORED, MOST_UNPACKED, unpack

MOST_BESIDE = 20 * 2**20  # bytes of all files beside a notebook
MOST_FILES = 100  # beside a notebook
MOST_IN_FOLDER = 2**29  # bytes of a zip in a folder
PROVIDED = {"lab1", "data"}  # beside a notebook: the sandbox has its own


@dataclass(frozen=True)
class Submission:
    """name: what the table calls it, a path. student: an identifier; "" if there is none. path: of the notebook; None
    where a student has handed in none, or where it is unreadable, which then says why. others: names of notebooks of
    the same student that do not count. attempt: see layouts.whose. handed_in: in seconds since 1970; 0 if unknown.
    zipped: the zip's own name, where another name inside says whose it is; else None. lost: the files beside the
    notebook that could not be unpacked, and why."""

    name: str
    student: str
    path: Path | None
    others: tuple[str, ...] = field(default=())
    attempt: tuple[int, int] = (0, 0)
    handed_in: float = 0.0
    unreadable: str = ""
    zipped: str | None = None
    lost: dict[str, str] = field(default_factory=dict)

    @property
    def order(self) -> tuple:
        """Later attempts come later, by their number or else by the time of the file."""
        return self.path is not None, *self.attempt, self.handed_in

    @property
    def key(self) -> str:
        """A file name for the page: the same in every grading, and no two submissions have the same."""
        words = [re.sub(r"[^\w.-]+", "-", part) for part in PurePosixPath(self.name).with_suffix("").parts[-3:]]
        base = unicodedata.normalize("NFKD", "-".join(words)).encode("ascii", "ignore").decode().strip("-.")[:100]
        return f"{base or 'notebook'}-{hashlib.sha256(self.name.encode('utf-8', 'replace')).hexdigest()[:6]}"

    def content(self) -> bytes:
        """Raises Unreadable."""
        if self.path is None:
            raise Unreadable(self.unreadable or "there is no notebook (*.ipynb) in this submission")
        return read_bytes(self.path)

    def beside(self) -> tuple[dict[str, bytes], dict[str, str]]:
        """The files beside the notebook and below, as far as they are small, and why the others are left out."""
        if self.path is None or _is_shared(self.path.parent):
            return {}, {}
        found, left_out, total = {}, dict(self.lost), 0
        for file in _files(self.path.parent):
            name = file.relative_to(self.path.parent).as_posix()
            if file.suffix == ".ipynb":
                continue
            if len(found) == MOST_FILES:
                left_out[name] = "there are too many files"
                continue
            try:
                found[name] = read_bytes(file, MOST_BESIDE - total)
                total += len(found[name])
            except Unreadable as error:
                left_out[name] = str(error)
        return found, left_out


def _is_shared(folder: Path) -> bool:
    """Whether several notebooks lie in a folder: then the files in it are nobody's."""
    return len(list(folder.glob("*.ipynb"))) > 1


def digest(content: bytes, beside: dict[str, bytes]) -> str:
    """Changes with the notebook and what came with it."""
    whole = hashlib.sha256(content)
    for name, each in sorted(beside.items()):
        whole.update(name.encode("utf-8", "replace") + b"\0" + hashlib.sha256(each).digest())
    return whole.hexdigest()[:16]


def find(paths: Iterable[Path], student: re.Pattern | None, unpacked: Path) -> list[Submission]:
    """All submissions in files, folders and zips. Of a student with several notebooks, the latest attempt counts.

    student: finds the group `student_id` in a path; where it is None, the known layouts are tried. unpacked: a folder
    for what comes out of zips.
    """
    paths = list(dict.fromkeys(paths))
    alone = len(paths) == 1
    side_by_side = len({path.parent for path in paths if not path.is_dir()}) == 1
    reader, found = _Reader(student, unpacked, alone), []
    for path in paths:
        is_zip = path.suffix.lower() == ".zip"
        may_be_everybodys = alone and is_zip  # then its name tells nothing
        place = place_of(path, side_by_side and not may_be_everybodys)
        if student:
            place = "" if may_be_everybodys else path.as_posix()
        if path.is_dir():
            several = reader.folder(path)
        elif is_zip:
            several = reader.zip(path, path.as_posix(), place, 2, side_by_side, is_somebodys=True)
        else:
            several = [reader.notebook(path, path.as_posix(), place)]
        found += [(path, each) for each in several]
    return _latest(_told_apart(found))


@dataclass(frozen=True)
class _Reader:
    """Looks into folders and zips. alone: whether one path was named; only then may zips in it tell by their names."""

    student: re.Pattern | None
    unpacked: Path
    alone: bool

    def folder(self, folder: Path, levels: int = 1, lost: dict[str, str] | None = None) -> list[Submission]:
        """The submissions in a folder, and in zips so many levels down.

        lost: where a zip was unpacked into the folder, what is missing, see zips.unpack; else None.
        """
        prefix = "submitted/" if folder.name == "submitted" else ""
        start = "submitted/" if (folder / "submitted").is_dir() else ""
        homes = [home.name for home in sorted((folder / start).iterdir()) if home.is_dir()]
        files = dict.fromkeys((file.relative_to(folder).as_posix() for file in _files(folder)), "") | (lost or {})
        are_files = any(name.endswith(".ipynb") and "/" not in name for name in files)
        found = []
        for name, why in sorted(files.items()):
            path, place, is_top = folder / name, prefix + name, "/" not in name
            if name.endswith(".ipynb"):
                here = self.notebook(None if why else path, name, place, why)
                found.append(replace(here, lost=_below(PurePosixPath(name).parent, lost or {})))
            elif name.lower().endswith(".zip") and levels and not why:
                found += self.zip(path, name, place, levels, self.alone and is_top, is_top and not are_files)
            elif is_top and self.student is None and whose(place, None)[0]:  # perhaps all that was handed in
                found.append(self.notebook(None, name, place))
        full = {each.name.removeprefix(start).split("/")[0] for each in found if each.name.startswith(start)}
        is_students_zip = lost is not None and not (self.alone and levels)
        for home in [] if are_files else homes:  # every folder is somebody's, unless one student has made it
            identifier, _ = whose(f"{prefix}{start}{home}/-/-", self.student)
            is_home = bool(identifier) or not is_students_zip
            if is_home and home not in full | IGNORED | PROVIDED and not home.startswith("."):
                found.append(Submission(f"{start}{home}", identifier, None))
        return found

    def notebook(self, path: Path | None, name: str, place: str, unreadable: str = "") -> Submission:
        identifier, attempt = whose(place, self.student)
        handed_in = path.lstat().st_mtime if path else 0.0
        return Submission(name, identifier, path, attempt=attempt, handed_in=handed_in, unreadable=unreadable)

    def zip(
        self, path: Path, name: str, place: str, levels: int, side_by_side: bool, is_somebodys: bool
    ) -> list[Submission]:
        """The submissions in a zip. Its place tells whose they are, or else what is inside, or else the zip's name.

        side_by_side: whether its name may tell. is_somebodys: whether it has a row even if no notebook is in it.
        """
        outer, attempt = whose(place, self.student)
        own_name = re.sub(r" \(\d+\)$", "", path.stem)
        by_name = own_name if side_by_side and not self.student else ""
        itself = Submission(name, outer or by_name, None, attempt=attempt)
        folder = Path(tempfile.mkdtemp(dir=self.unpacked))
        try:
            lost = unpack(path, folder, MOST_UNPACKED if levels > 1 else MOST_IN_FOLDER)
        except Unreadable as error:
            return [replace(itself, unreadable=str(error))]
        found = self.folder(folder, levels - 1, lost)
        if not found:
            return [itself] if outer or is_somebodys else []
        if levels == 1:
            found = [replace(each, name=f"{name}/{each.name}") for each in found]
        if outer:
            return [replace(each, student=outer, attempt=attempt) for each in found]
        is_everybodys = self.alone and levels > 1
        if not is_everybodys:
            found = _without_lone_numbers(found)
        if len(found) == 1 and not found[0].student:
            return [replace(found[0], student=by_name)]
        if is_everybodys:
            return found
        own = {part.casefold() for part in (*PurePosixPath(name).parts, own_name)}
        return [each if each.student.casefold() in own else replace(each, zipped=by_name) for each in found]


def _below(folder: PurePosixPath, lost: dict[str, str]) -> dict[str, str]:
    """The files in a folder and below it, by their paths from there, without notebooks."""
    paths = {PurePosixPath(name): why for name, why in lost.items() if not name.endswith(".ipynb")}
    return {path.relative_to(folder).as_posix(): why for path, why in paths.items() if path.is_relative_to(folder)}


def _without_lone_numbers(found: list[Submission]) -> list[Submission]:
    """Without the identifier of the only student in Canvas's layout: its files lie side by side, so this is none."""
    if len({each.student for each in found if any(each.attempt)}) != 1:
        return found
    return [replace(each, student="", attempt=(0, 0)) if any(each.attempt) else each for each in found]


def _told_apart(found: list[tuple[Path, Submission]]) -> list[Submission]:
    """Submissions of different names. What a zip of another name holds of a student is not that student's, if the
    student's own is there, too."""
    own = {(each.student if each.zipped is None else each.zipped).casefold() for _, each in found}
    names, several = set(), []
    for path, each in found:
        is_taken = each.zipped is not None and each.student and each.student.casefold() in own
        if is_taken or each.name in names:
            each = replace(each, name=f"{path.as_posix()}/{each.name}")
        names.add(each.name)
        several.append(replace(each, student=each.zipped) if is_taken else each)
    return several


def _latest(found: list[Submission]) -> list[Submission]:
    kept, students = [each for each in found if not each.student], {}
    for each in found:
        if each.student:
            students.setdefault(each.student, []).append(each)
    for several in students.values():
        *others, latest = sorted(several, key=lambda each: (each.order, each.name))
        names = tuple(each.name for each in others if each.path or each.unreadable)
        kept.append(replace(latest, others=names))
    return sorted(kept, key=lambda each: each.name)


def _files(folder: Path) -> Iterator[Path]:
    """All files in a folder and below it, in order; no links to folders."""
    for here, folders, files in os.walk(folder):
        beside_notebook = any(name.endswith(".ipynb") for name in files)
        left_out = IGNORED | PROVIDED if beside_notebook else IGNORED
        folders[:] = sorted(name for name in folders if name not in left_out)
        yield from (Path(here) / name for name in sorted(files))
