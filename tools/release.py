"""Build the two editions of the lab as zips in dist/; the same files give the same bytes.

python tools/release.py                 dist/lab1-students-VERSION.zip: instructions and lab1, no answers
                                        dist/lab1-VERSION.zip: everything that git tracks
python tools/release.py --with-worked   the students' edition with the worked notebooks, for after the deadline
"""

import argparse
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
STUDENTS = re.compile(
    r"Lab1-CNNs\.ipynb|lab1/.*|tests/(conftest|test_\w+|data/\w+)\.py|tools/execute\.py"
    r"|docs/(install|weights-and-biases)\.md"
    r"|model_states/README\.md|requirements\.txt|constraints\.txt|pyproject\.toml|conftest\.py|Makefile|LICENSE"
    r"|\.gitignore|\.vscode/.*|\.devcontainer/.*|Dockerfile|\.dockerignore|sweep\.yaml"
)
WORKED = re.compile(r"Lab1-CNNs-.*\.ipynb|images/.*")
README = "tools/students.md"  # becomes the students' README.md, which has no results
# a test that names what students do not get is not for them
FOR_MAINTAINERS = re.compile(
    r"model_answers|solutions|test_browser|benchmarks|lab1\.grade|grading|Exercise|README|docs/|\.github|tools/(?!execute)"
)


def tracked() -> list[str]:
    """The paths of all files in git, in order."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return sorted(name for name in listed.split("\0") if name and (ROOT / name).is_file())


def everything() -> dict[str, Path]:
    return {name: ROOT / name for name in tracked()}


def students(with_worked: bool) -> dict[str, Path]:
    """The names in the zip, and the files behind them."""
    chosen = {"README.md": ROOT / README}
    for name in tracked():
        path = ROOT / name
        if name.startswith("tests/") and FOR_MAINTAINERS.search(path.read_text(encoding="utf-8")):
            continue
        if STUDENTS.fullmatch(name) or (with_worked and WORKED.fullmatch(name)):
            chosen[name] = path
    return chosen


def write(path: Path, files: dict[str, Path]) -> None:
    """A zip with one folder, named like the zip; times and permissions are fixed, so equal files give equal bytes."""
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(f"{path.stem}/{name}", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o100644 << 16
            archive.writestr(entry, files[name].read_bytes())
    print(f"{path.relative_to(ROOT)}: {len(files)} files, {path.stat().st_size / 1e6:.1f} MB")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--with-worked", action="store_true", help="add the worked notebooks to the students' edition")
    args = parser.parse_args()
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    worked = "-with-worked" if args.with_worked else ""
    write(DIST / f"lab1-students-{version}{worked}.zip", students(args.with_worked))
    write(DIST / f"lab1-{version}.zip", everything())
    return 0


if __name__ == "__main__":
    sys.exit(main())
