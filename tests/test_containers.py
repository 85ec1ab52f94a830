"""What other programs read: VS Code, containers, GitHub. They are not run here, so what they rely on is looked up."""

import json
import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_vs_code_recommends_and_finds_the_interpreter():
    recommended = json.loads((ROOT / ".vscode/extensions.json").read_text())["recommendations"]
    settings = json.loads((ROOT / ".vscode/settings.json").read_text())
    assert {"ms-python.python", "ms-toolsai.jupyter"} <= set(recommended)
    assert settings["python.defaultInterpreterPath"].endswith("/.venv/bin/python")
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert set(container["customizations"]["vscode"]["extensions"]) == set(recommended)


def test_the_container_has_no_root_and_the_files_that_it_copies():
    instructions = re.findall(r"^([A-Z]+) (.*(?:\\\n.*)*)", DOCKERFILE, re.MULTILINE)
    names = [name for name, _ in instructions]
    assert names.index("USER") < names.index("WORKDIR") < names.index("COPY")
    assert dict(instructions)["USER"] == "student"
    for copied in (shlex.split(rest)[1:-1] for name, rest in instructions if name == "COPY"):
        assert all((ROOT / file).exists() for file in copied)
    assert "CPU=1" in DOCKERFILE and "bubblewrap" in DOCKERFILE
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert (ROOT / ".devcontainer" / container["build"]["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert container["remoteUser"] == dict(instructions)["USER"]
    assert "/lab1/.venv/" in container["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"]


def test_makefile_names_the_cpu_build():
    makefile = (ROOT / "Makefile").read_text()
    assert "--torch-backend cpu" in makefile and "$(if $(CPU)," in makefile
