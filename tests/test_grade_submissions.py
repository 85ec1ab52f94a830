"""The grader's reading of folders and zips: who has handed in what, in the layouts of nbgrader, Moodle and Canvas."""

import os
import re
import zipfile

import pytest
from grading import GOOD

from lab1.grade import submissions, work
from lab1.grade.notebook import Unreadable
from lab1.grade.submissions import Submission, find
from lab1.grade.work import inputs_of, prepare, remarks


def test_every_student_has_a_row(tmp_path):
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "lab.ipynb").write_bytes(GOOD)
    (tmp_path / "ann" / "helpers.py").write_text("x = 1")
    (tmp_path / "bob" / "empty").mkdir(parents=True)
    (tmp_path / "eve").mkdir()
    (tmp_path / "eve" / "lab.ipynb").symlink_to(tmp_path / "ann" / "lab.ipynb")
    found = find([tmp_path], None, tmp_path)
    assert [each.name for each in found] == ["ann/lab.ipynb", "bob", "eve/lab.ipynb"]
    jobs = [prepare(each) for each in found]
    assert [job.unreadable[:12] for job in jobs] == ["", "there is no ", "it is a link"]
    assert jobs[0].beside == {"helpers.py": b"x = 1"}


def test_what_does_not_come_along_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(submissions, "MOST_BESIDE", 2**20)
    monkeypatch.setattr(submissions, "MOST_FILES", 3)
    home = tmp_path / "ann"
    home.mkdir()
    (home / "lab.ipynb").write_bytes(GOOD)
    (home / "a link").symlink_to(home / "lab.ipynb")
    (home / "big.pt").write_bytes(b"0" * 2**21)
    for number in range(5):
        (home / f"helper{number}.py").write_text("x = 1")
    job = prepare(*find([tmp_path], None, tmp_path))
    assert list(job.beside) == ["helper0.py", "helper1.py", "helper2.py"]
    assert remarks(job) == [
        "files beside the notebook were left out: a link (it is a link: hand in the file itself), big.pt (it has 2 MB, "
        "and 1 are allowed), helper3.py (there are too many files), helper4.py (there are too many files)"
    ]
    monkeypatch.setattr(work, "MOST_NAMED", 3)
    assert remarks(job)[0].endswith(", helper3.py (there are too many files), and 1 more")


def test_each_notebook_has_inputs_of_its_own(tmp_path):
    (tmp_path / "ann.ipynb").write_bytes(GOOD)
    (tmp_path / "bob.ipynb").write_bytes(GOOD + b" ")
    ann, bob = (prepare(each) for each in find([tmp_path], None, tmp_path))
    assert len({inputs_of(ann, 5), inputs_of(bob, 5), inputs_of(ann, 6)}) == 3 and inputs_of(ann, 5) == inputs_of(
        ann, 5
    )


LAYOUTS = {
    "nbgrader": ("submitted/ann/lab1/Lab1-CNNs.ipynb", "submitted/bob/lab1/Lab1-CNNs.ipynb"),
    "Moodle": ("Ann Lee_12345_assignsubmission_file/lab.ipynb", "Bob_678_assignsubmission_file_/a b/lab.ipynb"),
    "Moodle, without folders": ("Ann_12345_assignsubmission_file_lab.ipynb", "Bo 2_678_assignsubmission_file_l.ipynb"),
    "Canvas": ("leeann_123_456_lab.ipynb", "bobby_LATE_77_459_lab-1.ipynb"),
}
IDENTIFIERS = {"nbgrader": ["ann", "bob"], "Canvas": ["123", "77"]}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("zipped", [False, True])
def test_layouts_of_the_tools(layout, zipped, tmp_path):
    folder = tmp_path / "given"
    for name in LAYOUTS[layout]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(GOOD)
    source = folder
    if zipped:
        source = tmp_path / "all.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for name in LAYOUTS[layout]:
                archive.write(folder / name, name)
    found = find([source], None, tmp_path)
    assert sorted(each.student for each in found) == IDENTIFIERS.get(layout, ["12345", "678"])
    assert all(each.content() == GOOD for each in found)


@pytest.mark.parametrize("name", ["lab1", "data"])
def test_an_assignment_may_be_called_like_a_folder_of_the_lab(name, tmp_path):
    home = tmp_path / "submitted" / "ann" / name
    for path in (home / "Lab1-CNNs.ipynb", home / "lab1" / "own.ipynb", home / "data" / "own.ipynb"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(GOOD)
    (tmp_path / "submitted" / "data").mkdir()
    (home / "lab1" / "mlp.py").write_text("x = 1")
    (home / "helpers.py").write_text("x = 1")
    [found] = find([tmp_path], None, tmp_path)
    assert found.path == home / "Lab1-CNNs.ipynb" and list(found.beside()[0]) == ["helpers.py"]


@pytest.mark.parametrize(
    ("name", "student"),
    [
        ("Bob_14_assignsubmission_file_/submitted/13/lab1/x.ipynb", "14"),
        ("Bob_14_assignsubmission_file_/Eve_13_assignsubmission_file_/x.ipynb", "14"),
        ("Bob_14_assignsubmission_file_Eve_13_assignsubmission_file_x.ipynb", "14"),
        ("bob_14_2_eve_13_99_x.ipynb", "14"),
        ("submitted/bob/lab1/Eve_13_assignsubmission_file_/x.ipynb", "bob"),
        ("submitted/bob/submitted/eve/lab1/x.ipynb", "bob"),
    ],
)
def test_nobody_hands_in_for_somebody_else(name, student, tmp_path):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(GOOD)
    assert [each.student for each in find([tmp_path], None, tmp_path)] == [student]
    [named] = find([tmp_path / name], None, tmp_path)
    assert named.student == student


@pytest.mark.skipif(os.name == "nt", reason="no pipes")
def test_what_looks_like_a_zip_or_never_ends_is_a_notebook_by_its_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.ipynb", "w") as archive:
        archive.writestr("submitted/eve/lab1/x.ipynb", GOOD)
    os.mkfifo(tmp_path / "b.ipynb")
    jobs = [prepare(each) for each in find([tmp_path / "a.ipynb", tmp_path / "b.ipynb"], None, tmp_path)]
    assert [job.submission.student for job in jobs] == ["", ""] and "no regular file" in jobs[1].unreadable


HANDED_IN = {  # by the tool: files, and what they are: student, notebook, whether it is one
    "Moodle": {
        "Jürgen Ödön O'Néil_12_assignsubmission_file_/Übung 1 (final).ipynb": "12",
        "Jürgen Ödön O'Néil_12_assignsubmission_onlinetext_/onlinetext.html": "",
        "Ann 2_13_assignsubmission_onlinetext/onlinetext.html": "13 without",
        "Bob_14_assignsubmission_file/report.pdf": "14 without",
    },
    "Canvas": {
        "mülleränn_1_10_lab.ipynb": "",
        "mülleränn_1_10_lab-2.ipynb": "",
        "mülleränn_LATE_1_12_lab-1.ipynb": "1",
        "bob_2_9_report.pdf": "2 without",
        "eve_3_9_report.pdf": "",
        "eve_3_8_lab.ipynb": "3",
    },
}


@pytest.mark.parametrize("tool", HANDED_IN)
def test_every_student_of_a_tool_has_one_row(tool, tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in HANDED_IN[tool]:
            archive.writestr(name, GOOD)
    found = find([tmp_path / "all.zip"], None, tmp_path)
    rows = sorted(each.student + ("" if each.path else " without") for each in found)
    assert rows == sorted(filter(None, HANDED_IN[tool].values()))
    assert all(HANDED_IN[tool][each.name] == each.student for each in found if each.path)


def test_two_folders_with_the_same_names_lose_nobody(tmp_path):
    for group in ("a", "b"):
        (tmp_path / group / "ann").mkdir(parents=True)
        (tmp_path / group / "ann" / "lab.ipynb").write_bytes(GOOD)
    found = find([tmp_path / "a", tmp_path / "b", tmp_path / "b"], None, tmp_path)
    assert [each.path.parent.parent.name for each in found] == ["b", "a"] and len({each.key for each in found}) == 2


def test_the_latest_attempt_counts(tmp_path):
    for name in ("ann_1_10_lab.ipynb", "ann_1_12_lab.ipynb", "ann_1_11_lab-3.ipynb", "bob_2_9_lab-1.ipynb"):
        (tmp_path / name).write_bytes(GOOD)
    found = {each.student: each for each in find([tmp_path], None, tmp_path)}
    assert {student: each.name for student, each in found.items()} == {
        "1": "ann_1_12_lab.ipynb",
        "2": "bob_2_9_lab-1.ipynb",
    }
    assert len(found["1"].others) == 2
    own = re.compile(r"(?P<student_id>[a-z]+)_")
    assert sorted(each.student for each in find([tmp_path], own, tmp_path)) == ["ann", "bob"]


@pytest.mark.parametrize(
    "names",
    [
        ("ann/Lab1-CNNs_2026_11_03.ipynb", "bob/Lab1-CNNs_2026_11_05.ipynb"),
        ("ann/lab_1_2_final.ipynb", "bob/lab_1_2_final.ipynb"),
        ("ann_2026_11_03.ipynb", "bob_2026_11_05_new.ipynb"),
        ("ann_3_11_2026.ipynb", "bob_3_11_2026.ipynb"),
    ],
)
def test_numbers_in_a_name_merge_no_students(names, tmp_path):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(GOOD)
    for paths in ([tmp_path], [tmp_path / name for name in names]):
        assert [each.student for each in find(paths, None, tmp_path)] == ["", ""]


def test_a_page_has_one_name_whatever_else_is_graded():
    names = ("ann/lab.ipynb", "bob/lab.ipynb", "bob-lab.ipynb", "Bob-lab.ipynb", "ü" * 200 + ".ipynb", "=1/../x.ipynb")
    keys = [Submission(name, "", None).key for name in names]
    assert len({key.lower() for key in keys}) == len(names) and max(map(len, keys)) < 120
    assert all(re.fullmatch(r"[\w.-]+", key, re.ASCII) and not key.startswith(".") for key in keys)


def test_damaged_zip(tmp_path):
    with pytest.raises(Unreadable, match="cannot be unpacked"):
        (tmp_path / "x.zip").write_bytes(b"PK\x03\x04")
        submissions.unpack(tmp_path / "x.zip", tmp_path)
