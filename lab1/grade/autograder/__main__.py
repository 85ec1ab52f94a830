"""python -m lab1.grade.autograder autograder.zip: what Gradescope wants of a programming assignment's autograder."""

import sys
import zipfile
from pathlib import Path

SCRIPTS = Path(__file__).parent
ROOT = SCRIPTS.parents[2]
BESIDE = ("requirements.txt", "constraints.txt", "pyproject.toml", "README.md", "LICENSE")


def main(words: list[str]) -> int:
    if len(words) != 1:
        print("python -m lab1.grade.autograder FILE: name the zip to write", file=sys.stderr)
        return 2
    with zipfile.ZipFile(words[0], "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("setup.sh", "run_autograder"):
            archive.write(SCRIPTS / name, name)
        for name in BESIDE:
            archive.write(ROOT / name, name)
        for file in sorted((ROOT / "lab1").rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                archive.write(file, file.relative_to(ROOT).as_posix())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
