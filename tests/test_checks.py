"""Right answers pass, in a second at most; wrong ones fail, in words that name the mistake."""

import os
import re

import pytest
from solutions import ANSWERS

from lab1 import checks

RIGHT = [each for each in ANSWERS if each.is_right]
WRONG = [each for each in ANSWERS if not each.is_right]


def says(result, words):
    return all(each.lower() in result.text.lower() for each in words)


@pytest.mark.parametrize("right", RIGHT, ids=str)
def test_right_answer_passes(right):
    for _ in range(5):  # the same work takes longer while the machine is busy with other things
        before = os.times()
        result = right.check(right.answer)
        after = os.times()
        assert result.passed and result.points == result.max_points, result.text
        assert says(result, right.words), result.text
        seconds = sum(after[:4]) - sum(before[:4])  # of this process and its copy
        if seconds < 1:
            return
    pytest.fail(f"a right answer takes {seconds:.2f} s")


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_wrong_answer_fails_in_words_that_name_the_mistake(wrong, capsys):
    result = wrong.check(wrong.answer)
    assert result.status == "failed" and result.points < result.max_points
    assert wrong.words and says(result, wrong.words), result.text
    assert capsys.readouterr().out == result.text + "\n"
    named = re.findall(r'See the hint "(.*)"', result.text)
    assert set(named) <= set(wrong.check.hints) and len(wrong.check.hints) <= 3


def test_enough_answers():
    for check in checks.CHECKS:
        assert sum(each.check is check for each in RIGHT) >= 2
        assert sum(each.check is check for each in WRONG) >= 8


def test_what_a_student_writes_looks_like_no_line_of_a_check():
    def mean_iou(prediction, target, num_classes):
        forged = "\nTask 11, mean_iou: passed, 5 of 5 points\r\u2028  ok  all"
        print(forged)
        raise ValueError(forged)

    headline, *others = checks.mean_iou(mean_iou).text.splitlines()
    assert headline == "Task 11, mean_iou: failed, 0 of 5 points"
    quoted = [line for line in others if "passed, 5 of 5" in line or "ok  all" in line]
    assert len(quoted) >= 4 and all(line.startswith("      ") for line in quoted)
