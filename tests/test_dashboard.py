"""The views for a reviewer, built and validated without an account, and the names in them, which have to be logged."""

import json
import re
from pathlib import Path

import pytest

from lab1 import dashboard

ROOT = Path(__file__).resolve().parent.parent


def test_workspace_and_report_are_valid(capsys):
    assert dashboard.main(["--entity", "course", "--check"]) == 0
    assert "valid" in capsys.readouterr().out
    for made in (dashboard.workspace("course", "lab1-cnns"), dashboard.report("course", "lab1-cnns")):
        text = made._to_model().model_dump_json()
        for name in ("val/accuracy", "grad_norm/", "segmentations/", "tables/heatmaps", "depth", "skip"):
            assert name in text, name


def test_every_picture_in_the_views_is_logged_by_a_notebook():
    notebooks = [json.loads(path.read_text(encoding="utf-8")) for path in ROOT.glob("Lab1-CNNs-Exercise*.ipynb")]
    code = "\n".join("".join(cell["source"]) for notebook in notebooks for cell in notebook["cells"])
    keys = {key for _, panels in dashboard.sections().values() for p in panels for key in getattr(p, "media_keys", [])}
    assert len(keys) >= 10
    for key in keys:
        kind, _, name = key.partition("/")
        assert kind in ("figures", "segmentations", "tables")
        assert re.search(rf"[\"']{re.escape(name)}[\"']", code) or f"{name}.png" in code, key


def test_without_an_account_one_line_says_so(monkeypatch, capsys):
    def fail(self):
        raise ValueError("api_key not configured (no-tty)")

    monkeypatch.setattr(dashboard.ws.Workspace, "save", fail)
    with pytest.raises(SystemExit) as end:
        dashboard.main(["--entity", "course"])
    assert end.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_it_is_saved_with_an_account(monkeypatch, capsys):
    saved = []
    for kind in (dashboard.ws.Workspace, dashboard.wr.Report):
        monkeypatch.setattr(kind, "save", lambda self: saved.append(self))
        monkeypatch.setattr(kind, "url", "https://example.org", raising=False)
    assert dashboard.main(["--entity", "course", "--project", "other"]) == 0
    assert [each.project for each in saved] == ["other", "other"]
