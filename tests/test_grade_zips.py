"""Zips in the grader: of one student or of the whole course, damaged ones, and whose they are."""

import os
import time
import zipfile

import pytest
from grading import GOOD

from lab1.grade import submissions
from lab1.grade.notebook import Unreadable
from lab1.grade.submissions import find
from lab1.grade.zips import unpack

EARLY, LATE = (2026, 11, 3, 12, 0, 0), (2026, 11, 5, 12, 0, 0)


def inside(student, name="Lab1-CNNs.ipynb"):
    """The files of the zip that lab1.submit writes."""
    folder = f"submitted/{student}/lab1-cnns"
    return {f"{folder}/{name}": GOOD, f"{folder}/student-images/a.png": b"picture"}


def make(path, files, date=EARLY, method=zipfile.ZIP_STORED):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, date)
            entry.compress_type = method
            archive.writestr(entry, content)
    return path


def spoil(path, kind):
    content = bytearray(path.read_bytes())
    if kind == "truncated":
        content = content[: len(content) // 2]
    elif kind == "empty":
        content = b""
    elif kind == "flipped":
        start = 30 + int.from_bytes(content[26:28], "little")  # behind the first file's name
        content[start : start + 30] = bytes(byte ^ 0xFF for byte in content[start : start + 30])
    else:  # the flag, or the method, of each file: in its own header, and in the directory at the end
        place, value = {"encrypted": (6, 1), "unknown method": (8, 77)}[kind]
        for sign, start in ((b"PK\x03\x04", place), (b"PK\x01\x02", place + 2)):
            at = -1
            while (at := content.find(sign, at + 1)) >= 0:
                content[at + start] = value
    path.write_bytes(content)


def found(paths, tmp_path, student=None):
    (tmp_path / "unpacked").mkdir(exist_ok=True)
    return find(paths, student, tmp_path / "unpacked")


def students(paths, tmp_path):
    """Student -> the end of the notebook's name; only those with a notebook that can be read."""
    return {each.student: each.name for each in found(paths, tmp_path) if each.content() == GOOD}


@pytest.mark.parametrize("kind", ["truncated", "empty", "flipped", "encrypted", "unknown method"])
@pytest.mark.parametrize("in_folder", [False, True])
def test_a_damaged_zip_costs_only_its_owner(kind, in_folder, tmp_path):
    inbox = tmp_path / "inbox"
    for name in ("ann", "bob", "eve"):
        make(inbox / f"{name}.zip", inside(name), method=zipfile.ZIP_DEFLATED)
    spoil(inbox / "bob.zip", kind)
    rows = {each.student: each for each in found([inbox] if in_folder else sorted(inbox.iterdir()), tmp_path)}
    assert set(rows) == {"ann", "bob", "eve"} and rows["ann"].content() == rows["eve"].content() == GOOD
    with pytest.raises(Unreadable, match=r"cannot be unpacked \(.+\): hand"):
        rows["bob"].content()


def test_one_damaged_notebook_of_the_whole_course(tmp_path):
    make(
        tmp_path / "all.zip",
        {"Ann_12_assignsubmission_file_/a.ipynb": b"a" * 99} | {"Bob_13_assignsubmission_file_/b.ipynb": GOOD},
    )
    spoil(tmp_path / "all.zip", "flipped")
    ann, bob = found([tmp_path / "all.zip"], tmp_path)
    assert (ann.student, bob.student, bob.content()) == ("12", "13", GOOD)
    assert "cannot be unpacked (Bad CRC-32" in ann.unreadable


def test_a_damaged_file_beside_a_notebook_is_said_to_be(tmp_path):
    files = {"ann/images/a.png": b"a" * 99, "ann/lab.ipynb": GOOD, "bob/lab.ipynb": GOOD}
    spoil(make(tmp_path / "all.zip", files), "flipped")
    ann, bob = found([tmp_path / "all.zip"], tmp_path)
    assert bob.beside() == ({}, {}) and ann.content() == GOOD
    assert [*ann.beside()[1]] == ["images/a.png"] and "Bad CRC-32" in ann.beside()[1]["images/a.png"]


@pytest.mark.parametrize(
    ("name", "student"),
    [
        ("Ann_12_assignsubmission_file_/ann.zip", "12"),
        ("Ann_12_assignsubmission_file_ann.zip", "12"),
        ("leeann_12_456_ann.zip", "12"),
        ("submitted/bob/lab1/ann.zip", "bob"),
        ("week 1/Lab.ZIP", "ann"),
        ("ann (2).zip", "ann"),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_a_students_zip_in_a_folder_or_in_the_tools_zip(name, student, zipped, tmp_path):
    path = make(tmp_path / "inbox" / name, inside("ann"))
    if zipped:
        [each] = found([make(tmp_path / "all.zip", {name: path.read_bytes()})], tmp_path)
    else:
        [each] = found([tmp_path / "inbox"], tmp_path)
    assert each.student == student and each.content() == GOOD
    assert each.name == f"{name}/submitted/ann/lab1-cnns/Lab1-CNNs.ipynb"
    assert each.beside() == ({"student-images/a.png": b"picture"}, {})


def test_a_zip_tells_by_its_name_what_nothing_else_tells(tmp_path):
    make(tmp_path / "inbox" / "ann.zip", {"Lab1-CNNs.ipynb": GOOD, "images/a.png": b"x"})
    make(tmp_path / "inbox" / "bob.zip", {"report.pdf": b"x"})
    make(tmp_path / "inbox" / "eve.zip", {"fay.zip": make(tmp_path / "fay.zip", inside("fay")).read_bytes()})
    rows = [(each.student, bool(each.path)) for each in found([tmp_path / "inbox"], tmp_path)]
    assert rows == [("ann", True), ("bob", False), ("eve", False)]


def test_zips_of_the_same_name_are_not_one_students(tmp_path):
    for name in ("ann", "bob"):
        make(tmp_path / "inbox" / name / "lab.zip", {"lab.ipynb": GOOD})
    assert len(found([tmp_path / "inbox"], tmp_path)) == 2
    assert len(found(sorted((tmp_path / "inbox").iterdir()), tmp_path)) == 2
    assert len(found(sorted((tmp_path / "inbox").glob("*/*")), tmp_path)) == 2


@pytest.mark.parametrize("in_folder", [False, True])
def test_numbers_in_one_file_of_a_zip_are_no_students(in_folder, tmp_path):
    for name in ("ann", "bob"):
        make(tmp_path / "inbox" / f"{name}.zip", {"Lab1/lab.ipynb": GOOD, "images/a.png": b"x"})
    make(tmp_path / "inbox" / "eve.zip", {"Lab_1_2_final.ipynb": GOOD})
    make(tmp_path / "inbox" / "fay.zip", {"Lab_1_2_final.ipynb": GOOD})
    inbox = tmp_path / "inbox"
    rows = found([inbox] if in_folder else sorted(inbox.iterdir()), tmp_path)
    assert sorted(each.student for each in rows if each.content()) == ["ann", "bob", "eve", "fay"]


def test_two_sections_of_canvas(tmp_path):
    first = make(tmp_path / "first.zip", {"ann_1_10_lab.ipynb": GOOD, "bob_2_11_lab.ipynb": GOOD})
    second = make(tmp_path / "second.zip", {"ann_1_12_lab.ipynb": GOOD, "eve_3_9_lab.pdf": GOOD})
    rows = {each.student: each.name for each in found([first, second], tmp_path)}
    assert rows == {"1": "ann_1_12_lab.ipynb", "2": "bob_2_11_lab.ipynb", "3": "eve_3_9_lab.pdf"}


def test_other_zips_beside_a_notebook_have_no_row(tmp_path):
    make(tmp_path / "inbox" / "images.zip", {"a.png": b"x"})
    make(tmp_path / "inbox" / "data" / "data.zip", {"lab.ipynb": GOOD})
    (tmp_path / "inbox" / "lab.ipynb").write_bytes(GOOD)
    assert [each.name for each in found([tmp_path / "inbox"], tmp_path)] == ["lab.ipynb"]


def test_a_zip_is_bounded(monkeypatch, tmp_path):
    monkeypatch.setattr(submissions, "MOST_IN_FOLDER", 1000)
    make(tmp_path / "inbox" / "ann.zip", inside("ann") | {"large": bytes(1000), ".venv/x": bytes(1000)})
    make(tmp_path / "inbox" / "bob.zip", inside("bob") | {".venv/x": bytes(1000)})
    ann, bob = found([tmp_path / "inbox"], tmp_path)
    assert "ann.zip has more than" in ann.unreadable and bob.content() == GOOD


@pytest.mark.parametrize(
    "name", ["../x.ipynb", "/x.ipynb", "a/../../x.ipynb", "x.ipynb/x.ipynb", "ä\\x:*?.ipynb", "x" * 300 + ".ipynb"]
)
def test_nothing_leaves_the_folder(name, tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    unpack(make(tmp_path / "x.zip", {name: b"x", "x.ipynb": GOOD}), tmp_path / "a" / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "x.zip"]
    assert (tmp_path / "a" / "b" / "x.ipynb").exists() and len(list((tmp_path / "a").iterdir())) == 1


@pytest.mark.parametrize("names", [("ann.zip", "ann (1).zip"), ("ann (1).zip", "ann.zip")])
def test_the_latest_zip_counts(names, tmp_path):
    for name, date in zip(names, (EARLY, LATE), strict=True):
        make(tmp_path / "inbox" / name, inside("ann"), date)
    [each] = found([tmp_path / "inbox"], tmp_path)
    assert each.name.startswith(f"{names[1]}/") and each.others[0].startswith(f"{names[0]}/")
    assert each.handed_in == each.path.stat().st_mtime == time.mktime((*LATE, 0, 0, -1))


def test_impossible_dates_are_the_earliest(tmp_path):
    make(tmp_path / "inbox" / "ann.zip", inside("ann"))
    make(tmp_path / "inbox" / "ann (1).zip", inside("ann"), (1980, 0, 0, 31, 63, 62))
    [each] = found([tmp_path / "inbox"], tmp_path)
    assert each.name.startswith("ann.zip/")


def test_only_canvas_counts_by_the_end_of_a_name(tmp_path):
    for name, second in (("Lab1-CNNs-9.ipynb", 1), ("Lab1-CNNs.ipynb", 2), ("x_99_99_y-9.ipynb", 1)):
        path = tmp_path / "inbox" / "submitted" / "ann" / "lab1" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(GOOD)
        os.utime(path, (second, second))
    assert students([tmp_path / "inbox"], tmp_path) == {"ann": "submitted/ann/lab1/Lab1-CNNs.ipynb"}


@pytest.mark.parametrize("thief", ["amy", "zed"])
@pytest.mark.parametrize("victim", ["bob", "Bob"])
@pytest.mark.parametrize("in_folder", [False, True])
def test_a_zip_does_not_speak_for_who_has_handed_in_one(thief, victim, in_folder, tmp_path):
    inbox = tmp_path / "inbox"
    make(inbox / "bob.zip", inside("bob"))
    make(inbox / f"{thief}.zip", inside(victim, "Lab1-CNNs-9.ipynb"), LATE)
    rows = students([inbox] if in_folder else sorted(inbox.iterdir()), tmp_path)
    assert set(rows) == {"bob", thief}
    assert rows["bob"].endswith("submitted/bob/lab1-cnns/Lab1-CNNs.ipynb") and f"{thief}.zip" in rows[thief]


def test_nor_do_zips_in_folders_of_their_own(tmp_path):
    paths = [make(tmp_path / "inbox" / "1" / "bob.zip", inside("bob"))]
    paths += [make(tmp_path / "inbox" / "2" / "zed.zip", inside("bob", "Lab1-CNNs-9.ipynb"), LATE)]
    paths += [make(tmp_path / "inbox" / "3" / "eve" / "lab.zip", inside("eve"))]
    paths += [make(tmp_path / "inbox" / "3" / "yan" / "lab.zip", inside("eve", "Lab1-CNNs-9.ipynb"), LATE)]
    for named in (paths, [tmp_path / "inbox"]):
        rows = {each.student: each for each in found(named, tmp_path)}
        assert not rows["bob"].others and rows["bob"].name.endswith("submitted/bob/lab1-cnns/Lab1-CNNs.ipynb")
        assert not rows["eve"].others and rows["eve"].name.endswith("submitted/eve/lab1-cnns/Lab1-CNNs.ipynb")


def test_what_the_whole_course_has_handed_in_and_who_was_late(tmp_path):
    make(tmp_path / "all_1_2_x.zip", inside("ann") | inside("bob") | inside("eve"))
    every = students([tmp_path / "all_1_2_x.zip"], tmp_path)
    assert set(every) == {"ann", "bob", "eve"}
    make(tmp_path / "eve.zip", inside("eve", "late.ipynb"), LATE)
    rows = students([tmp_path / "all_1_2_x.zip", tmp_path / "eve.zip"], tmp_path)
    assert rows["eve"].endswith("late.ipynb")
