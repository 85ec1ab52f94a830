"""The two halves of a check: what passes between them, and that the judge believes nothing and never fails."""

import inspect
import os
import struct
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from model_answers import ANSWERS as SOURCES
from solutions import ANSWERS, mean_iou
from torch import nn
from torch.nn import functional as F

from lab1 import checks
from lab1.checks import _isolation
from lab1.checks._memory import limited_memory
from lab1.checks._student import Raised
from lab1.checks.channel import LARGEST, MOST_JSON, MOST_TEXT, Ended, Other, Pipe, Queues, decode, encode, pipes
from lab1.checks.observer import serve


class Pretending(torch.Tensor):
    dtype = torch.int64


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 3, -0.5, "Ü", float("inf"), (), [], {}),
        [1, (2.0, {"a": [None]}), {3: "b"}],
        {"shape": torch.rand(2, 3), "empty": torch.zeros(0, 4), "scalar": torch.tensor(5)},
        torch.tensor([True, False]),
        torch.rand(3).to(torch.bfloat16),
        torch.rand(4, 5).T[1:],
        torch.tensor([1 + 2j]),
    ],
    ids=str,
)
def test_plain_values_arrive_as_they_are(value):
    arrived = decode(encode(value))
    assert type(arrived) is type(value)
    torch.testing.assert_close(arrived, value, rtol=0, atol=0) if isinstance(value, torch.Tensor) else None
    assert str(arrived) == str(value)


def test_subclasses_arrive_as_what_they_extend():
    assert type(decode(encode(np.float64(0.5)))) is float and type(decode(encode(np.int32(5)))) is int
    parameter = decode(encode(nn.Parameter(torch.ones(2))))
    assert type(parameter) is torch.Tensor and parameter.requires_grad
    pretending = decode(encode(torch.rand(2).as_subclass(Pretending)))
    assert type(pretending) is torch.Tensor and pretending.dtype == torch.float32


def test_what_is_not_plain_arrives_as_its_name():
    assert decode(encode(print)) == Other("builtin_function_or_method")
    assert decode(encode(np.zeros(2))) == Other("ndarray")
    assert decode(encode(torch.zeros(2, device="meta"))) == Other("Tensor", "lies on meta")
    assert decode(encode(torch.zeros(1).expand(LARGEST))).type == "Tensor"


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x80\x04\x95",
        struct.pack("<Q", 10**15) + b"{}",
        struct.pack("<Q", 4) + b"nope",
        struct.pack("<Q", 13) + b'{"code": "1"}',
        struct.pack("<Q", 43) + b'{"tensor": ["float32", [1000000], false]}  ',
        struct.pack("<Q", 37) + b'{"tensor": ["float32", [-1], false]} ',
        struct.pack("<Q", 40) + b'{"tensor": ["Tensor", [1], false], "a":1}',
        struct.pack("<Q", 40000) + b"[" * 40000,
        struct.pack("<Q", 42) + b'{"tensor": ["float32", [Infinity], false]}',
        struct.pack("<Q", 3 * MOST_JSON) + b'{"list": [' + b"0, " * MOST_JSON + b"0]}",
    ],
)
def test_anything_else_is_refused(message):
    with pytest.raises(Ended):
        decode(message)


def test_long_texts_are_cut_off_and_long_values_refused():
    assert decode(encode(["x" * 10**5, {"y" * 10**5: 1}])) == ["x" * MOST_TEXT, {"y" * MOST_TEXT: 1}]
    with pytest.raises(ValueError, match="far more than asked for"):
        encode([0] * MOST_JSON)


def test_an_error_of_any_length_is_short_before_it_is_explained():
    error = Raised({"text": "ambiguous" * 10**5, "line": [1] * 10**6} | dict.fromkeys(("type", "unwritten", "is_stub")))
    assert len(str(error)) < 3 * MOST_TEXT


def judged(answers, check=checks.mean_iou):
    """The result where the other side sends these messages, whatever it is asked."""
    with pipes(2.0) as (channel, (read, write)):
        theirs = Pipe(read, write)
        for answer in answers:
            theirs.send(answer)
        os.close(write)
        try:
            return check.judge(channel, seed=5)
        finally:
            os.close(read)


ERROR = {"type": "E", "text": "ambiguous" * 100, "line": "== a" * 100, "unwritten": "", "is_stub": False}
BEGIN = {"value": {"type": "function", "callable": True, "names": []}, "given": [], "changes": [], "printed": ""}


@pytest.mark.parametrize(
    "answers",
    [
        [],
        [b"rubbish"],
        [encode(3)],
        [encode(torch.ones(2))],
        [encode({"value": 3})],
        [encode(BEGIN | {"value": None})],
        [encode(BEGIN)] * 3,
        [encode(BEGIN | {"changes": 3})],
        [encode(BEGIN | {"error": "no"})],
        [encode(BEGIN | {"error": torch.ones(2)})],
        [encode(BEGIN | {"changes": ["all"]})],
        [encode(BEGIN | {"error": ERROR})],
        [encode(BEGIN), encode(BEGIN), *[encode(BEGIN | {"value": 3, "error": ERROR})] * 20],
        *([[encode(BEGIN), *[encode(BEGIN | {"value": value})] * 200]] for value in (1.0, [], {"a": 1}, torch.ones(2))),
    ],
)
@pytest.mark.parametrize("check", [checks.mean_iou, checks.train_epoch, checks.mlp, checks.grad_cam], ids=str)
def test_judge_survives_whatever_the_other_side_sends(answers, check):
    result = judged([each for part in answers for each in (part if isinstance(part, list) else [part])], check)
    assert result.status == "failed" and result.points < result.max_points and len(result.text) < 20_000


@pytest.mark.parametrize("seed", [1, 2**59 + 12345])
@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.name)
def test_right_answers_pass_with_any_seed(check, seed):
    """As a grader does it: the observer at the other end of two pipes, the judge with a seed of its own."""
    namespace = {"nn": nn, "F": F, "torch": torch}
    for source in SOURCES.values():
        exec(source, namespace)
    before = check.latest
    with _isolation.isolated(namespace[check.name], 60) as channel:
        assert check.judge(channel, seed).passed
    assert check.latest is before


def test_a_secret_seed_draws_other_inputs():
    seen = []

    def notes(prediction, target, num_classes):
        seen.append(prediction.tolist())
        return mean_iou.loop(prediction, target, num_classes)

    inputs = []
    for seed in (0, 0, 7):
        seen.clear()
        ours, theirs = Queues.ends(60)
        thread = threading.Thread(target=serve, args=(notes, theirs))
        thread.start()
        assert checks.mean_iou.judge(ours, seed).passed
        ours.send(None)
        thread.join()
        inputs.append(list(seen))
    assert inputs[0] == inputs[1] != inputs[2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_nothing_expected_can_be_found_on_the_call_stack():
    """An answer that takes any number it finds in its callers, or replaces what compares, gets no points for it."""

    def peeks(prediction, target, num_classes):
        frame, numbers = inspect.currentframe(), []
        while frame := frame.f_back:
            numbers += [value for value in frame.f_locals.values() if type(value) is float and 0 < value < 1]
        return numbers[0] if numbers else 0.123

    def replaces(prediction, target, num_classes):
        values = sys.modules["lab1.checks._values"]
        values.agree = values.expect_same = values.expect_number = lambda *args, **options: True
        torch.equal = torch.allclose = lambda *args, **options: True
        return 0.123

    for answer in (peeks, replaces):
        result = checks.mean_iou(answer)
        assert result.points <= 1, result.text  # that it returns a number


def test_counts():
    """Wrong answers outnumber right ones, and every check has both."""
    assert len(ANSWERS) >= 330


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the limit is Linux's")
def test_a_judge_takes_no_gigabytes():
    with limited_memory(), pytest.raises(RuntimeError, match="memory"):
        torch.empty(2**31, dtype=torch.uint8)
    torch.empty(2**31, dtype=torch.uint8)
