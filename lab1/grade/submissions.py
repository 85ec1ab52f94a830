"""Who has handed in what: folders, single files, and what nbgrader, Moodle and Canvas give, also as their zip.

A submission is a notebook with the files beside it, or the lack of a notebook. Nothing of it is believed or followed:
links, pipes and giants are left out.
"""

import hashlib
import os
import re
import tempfile
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from lab1.grade.notebook import Unreadable, plain, read_bytes

MOST_BESIDE = 20 * 2**20  # bytes of all files beside a notebook; larger ones are left out
MOST_FILES = 100
MOST_UNPACKED = 4 * 2**30  # bytes of a zip
IGNORED = {".ipynb_checkpoints", "__pycache__", "__MACOSX", ".git", ".venv"}
PROVIDED = {"lab1", "data"}  # beside a notebook: the sandbox has its own
LAYOUTS = (  # how the tools name files: student, number, attempt
    re.compile(r"^submitted/(?P<student_id>[^/]+)/"),  # nbgrader
    re.compile(r"(^|/)[^/]+?_(?P<student_id>\d+)_assignsubmission_[a-z]+(_[^/]*)?(/|$)"),  # Moodle, files and texts
    re.compile(r"(^|/)[^/_]+(_LATE)?_(?P<student_id>\d+)_(?P<attempt>\d+)_[^/]*$"),  # Canvas
)


@dataclass(frozen=True)
class Submission:
    """name: what the table calls it, a path. student: an identifier; "" if there is none. path: of the notebook; None
    where a student has handed in none. others: names of notebooks of the same student that do not count."""

    name: str
    student: str
    path: Path | None
    others: tuple[str, ...] = field(default=())

    @property
    def key(self) -> str:
        """A file name for the page: the same in every grading, and no two submissions have the same."""
        words = [re.sub(r"[^\w.-]+", "-", part) for part in PurePosixPath(self.name).with_suffix("").parts[-3:]]
        base = unicodedata.normalize("NFKD", "-".join(words)).encode("ascii", "ignore").decode().strip("-.")[:100]
        return f"{base or 'notebook'}-{hashlib.sha256(self.name.encode('utf-8', 'replace')).hexdigest()[:6]}"

    def content(self) -> bytes:
        """Raises Unreadable."""
        if self.path is None:
            raise Unreadable("there is no notebook (*.ipynb) in this submission")
        return read_bytes(self.path)

    def beside(self) -> dict[str, bytes]:
        """The files beside the notebook and below, by their relative paths, as far as they are small."""
        if self.path is None or _is_shared(self.path.parent):
            return {}
        found, total = {}, 0
        for file in _files(self.path.parent):
            if file.suffix != ".ipynb" and len(found) < MOST_FILES:
                try:
                    content = read_bytes(file, MOST_BESIDE - total)
                except Unreadable:
                    continue
                found[file.relative_to(self.path.parent).as_posix()] = content
                total += len(content)
        return found


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

    Raises:
        Unreadable: a zip is damaged or too large.
    """
    found, names = [], set()
    for path in dict.fromkeys(paths):
        if path.suffix.lower() == ".zip":
            folder = Path(tempfile.mkdtemp(dir=unpacked))
            unpack(path, folder)
            several = _in_folder(folder, student)
        elif path.is_dir():
            several = _in_folder(path, student)
        else:
            place = path.as_posix()
            before, mark, after = place.partition("/submitted/")
            if mark and not _match(f"{before}/", student)[0]:
                place = f"submitted/{after}"
            several = [(Submission(path.as_posix(), _match(place, student)[0], path), place)]
        for each, place in several:
            name = f"{path.as_posix()}/{each.name}" if each.name in names else each.name  # two folders, the same names
            found.append((replace(each, name=name), place))
            names.add(name)
    return _latest(found, student)


def _in_folder(folder: Path, student: re.Pattern | None) -> list[tuple[Submission, str]]:
    """The submissions in a folder, each with the path that tells whose it is."""
    prefix = "submitted/" if folder.name == "submitted" else ""
    homes = folder / "submitted" if (folder / "submitted").is_dir() else folder
    found, full, are_files = [], set(), False
    for file in _files(folder):
        name = file.relative_to(folder).as_posix()
        identifier = _match(prefix + name, student)[0]
        if file.suffix == ".ipynb":
            found.append((Submission(name, identifier, file), prefix + name))
            full |= {file.relative_to(homes).parts[0]} if file.is_relative_to(homes) else set()
            are_files |= file.parent == folder
        elif file.parent == folder and identifier and student is None:  # perhaps all that somebody has handed in
            found.append((Submission(name, identifier, None), prefix + name))
    for home in [] if are_files else sorted(homes.iterdir()):  # every folder is somebody's
        if home.is_dir() and home.name not in full | IGNORED | PROVIDED and not home.name.startswith("."):
            name = home.relative_to(folder).as_posix()
            path = f"{prefix}{name}/-/-"
            found.append((Submission(name, _match(path, student)[0], None), path))
    return found


def _match(path: str, student: re.Pattern | None) -> tuple[str, int]:
    """The student's identifier ("" if unknown) and the number of the attempt."""
    matches = [found for pattern in ([student] if student else LAYOUTS) if (found := pattern.search(path))]
    if not matches:
        return "", 0
    first = min(matches, key=re.Match.start)  # what stands further back, a student may have chosen
    groups = first.groupdict()
    attempt = re.sub(r"\D", "", groups.get("attempt") or "")
    return plain(groups.get("student_id") or "", 100), int(attempt or 0)


def _latest(found: list[tuple[Submission, str]], student: re.Pattern | None) -> list[Submission]:
    unknown, attempts = [], {}
    for submission, path in found:
        if submission.student:
            attempts.setdefault(submission.student, []).append((_order(submission, path, student), submission))
        else:
            unknown.append(submission)
    kept = {submission.name: submission for submission in unknown}
    for several in attempts.values():
        *others, (_, latest) = sorted(several, key=lambda each: (each[0], each[1].name))
        names = tuple(other.name for _, other in others if other.path)
        kept[latest.name] = replace(latest, others=names)
    return sorted(kept.values(), key=lambda each: each.name)


def _order(submission: Submission, path: str, student: re.Pattern | None) -> tuple:
    """Later attempts come later, by their number or else by the time of the file."""
    if submission.path is None:
        return -1, 0, 0.0
    return *attempt(path, student), submission.path.lstat().st_mtime


def attempt(path: str, student: re.Pattern | None = None) -> tuple[int, int]:
    """The number of an attempt in a path, and Canvas's "-1" at its end."""
    again = re.search(r"-(\d+)\.ipynb$", path)
    return _match(path, student)[1], int(again[1]) if again else 0


def _files(folder: Path) -> Iterator[Path]:
    """All files in a folder and below it, in order; no links to folders."""
    for here, folders, files in os.walk(folder):
        beside_notebook = any(name.endswith(".ipynb") for name in files)
        left_out = IGNORED | PROVIDED if beside_notebook else IGNORED
        folders[:] = sorted(name for name in folders if name not in left_out)
        yield from (Path(here) / name for name in sorted(files))


def unpack(path: Path, folder: Path) -> None:
    """A zip's files, as far as they lie inside it.

    Raises:
        Unreadable: it is damaged or too large.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if sum(entry.file_size for entry in entries) > MOST_UNPACKED:
                raise Unreadable(f"{path} is larger than {MOST_UNPACKED / 2**30:.0f} GB when it is unpacked")
            for entry in archive.infolist():
                archive.extract(entry, folder)  # which leaves out "..", drives and a leading "/"
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as error:
        raise Unreadable(f"{path} cannot be unpacked: {plain(error)}") from error
