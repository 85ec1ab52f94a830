"""Whose a file is: how nbgrader, Moodle and Canvas name what students hand in."""

import re
from pathlib import Path

from lab1.grade.notebook import plain

DATE = r"20\d\d_\d\d?_\d\d?(?!\d)|\d\d?_\d\d?_20\d\d(?!\d)"  # as in Lab1_2026_11_03.ipynb
LAYOUTS = (  # student, attempt, and Canvas's "-1" at the end of a name that was handed in again
    re.compile(r"^submitted/(?P<student_id>[^/]+)/"),  # nbgrader
    re.compile(r"(^|/)[^/]+?_(?P<student_id>\d+)_assignsubmission_[a-z]+(_[^/]*)?(/|$)"),  # Moodle, files and texts
    re.compile(  # Canvas, whose files lie side by side
        rf"^[^/_]+(_LATE)?_(?!{DATE})(?P<student_id>\d+)_(?P<attempt>\d+)_[^/]*?(-(?P<again>\d+))?(\.[^/.]*)?$"
    ),
)
STARTS = re.compile(r"(^|/)(?P<place>([^/]+_\d+_assignsubmission_|submitted/).*)")  # of the layouts with folders


def whose(place: str, student: re.Pattern | None) -> tuple[str, tuple[int, int]]:
    """The student's identifier ("" if unknown), and the number of the attempt with Canvas's "-1".

    place: a path below the folder that was named. student: finds the group `student_id`, instead of the layouts.
    """
    matches = [found for pattern in ([student] if student else LAYOUTS) if (found := pattern.search(place))]
    if not matches:
        return "", (0, 0)
    first = min(matches, key=re.Match.start)  # what stands further back, a student may have chosen
    groups = first.groupdict()
    attempt, again = (int(re.sub(r"\D", "", groups.get(name) or "") or 0) for name in ("attempt", "again"))
    return plain(groups.get("student_id") or "", 100), (attempt, again)


def place_of(path: Path, side_by_side: bool) -> str:
    """The end of a path that tells whose a file is.

    side_by_side: whether its name alone may tell, because all named files lie in one folder.
    """
    if start := STARTS.search(path.as_posix()):
        return start["place"]
    return path.name if side_by_side else f"{path.parent.name}/{path.name}"
