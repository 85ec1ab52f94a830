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


def test_a_profile_changes_how_much_but_not_what_is_shown():
    """2.1 shows epochs 0 to 10 in every budget, and each budget trains at least as much as the smaller one."""
    assert {profile.resnets.num_epochs for profile in profiles.PROFILES.values()} == {11}
    for smaller, larger in (("smoke", "cpu"), ("cpu", "full")):
        for study in ("baseline", "mlps", "cnns", "resnets", "fcns", "canvases", "shapes"):
            few, many = (getattr(profiles.PROFILES[name], study) for name in (smaller, larger))
            assert many.num_train is None or few.num_train <= many.num_train, study
            assert few.num_epochs <= many.num_epochs and few.num_seeds <= many.num_seeds, study
