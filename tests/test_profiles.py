import pytest
import torch

from lab1.experiment import profiles


def test_profile_from_the_environment(monkeypatch):
    for name in ("smoke", "cpu", "full"):
        monkeypatch.setenv("LAB1_PROFILE", name)
        assert profiles.current().name == name
    monkeypatch.setenv("LAB1_PROFILE", "huge")
    with pytest.raises(ValueError, match=r"'huge' is not a profile: choose one of smoke, cpu, full"):
        profiles.current()


@pytest.mark.parametrize(("cuda", "name"), [(True, "full"), (False, "cpu")])
def test_profile_without_the_environment(monkeypatch, cuda, name):
    monkeypatch.delenv("LAB1_PROFILE")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    assert profiles.current().name == name


def test_smoke_writes_below_the_ignored_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LAB1_OUTPUT")
    monkeypatch.setenv("LAB1_PROFILE", "smoke")
    assert profiles.output_folder("images").resolve() == tmp_path / "outputs" / "images"
    monkeypatch.setenv("LAB1_PROFILE", "cpu")
    assert profiles.output_folder("images").resolve() == tmp_path / "images"
    monkeypatch.setenv("LAB1_OUTPUT", str(tmp_path / "elsewhere"))
    assert profiles.output_folder("images") == tmp_path / "elsewhere" / "images"
    assert (tmp_path / "elsewhere" / "images").is_dir()
