import pytest

from lab1.basics.progress import progress, silent


@pytest.mark.parametrize(("value", "is_off"), [("1", True), ("true", True), ("0", False), ("", False)])
def test_bars_obey_the_environment(monkeypatch, value, is_off):
    monkeypatch.setenv("TQDM_DISABLE", value)
    assert progress([1, 2]).disable == is_off


def test_a_bar_that_is_switched_off_still_counts(monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    assert list(progress([1, 2])) == [1, 2]


def test_silent_hides_bars_and_lines_inside_only(capsys, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    with pytest.raises(ZeroDivisionError), silent():
        print("hidden")
        assert progress([1]).disable
        raise ZeroDivisionError
    print("shown")
    assert not progress([1]).disable
    assert capsys.readouterr().out == "shown\n"
