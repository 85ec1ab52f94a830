"""Whatever a student's code does, a check ends in time, says so, and leaves everything as it was."""

import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from solutions import mean_iou as solutions
from torch import nn

from lab1 import checks
from lab1.checks import _check, _isolation

torch.use_deterministic_algorithms(False)  # loads, once, what takes longer than the tests' limit of a second


OVER = threading.Event()  # ends the thread that nothing else ends


@pytest.fixture(params=["copy", "thread"])
def runner(request, monkeypatch):
    """Both ways to run a check, with a limit of one second."""
    if request.param == "copy" and not hasattr(os, "fork"):
        pytest.skip("this system cannot fork")
    monkeypatch.setattr(_check, "isolated", {"copy": _isolation.in_copy, "thread": _isolation.in_thread}[request.param])
    monkeypatch.setattr(_check, "SECONDS", 1.0)
    OVER.clear()
    yield request.param
    OVER.set()


def state():
    """Everything that a check must leave as it was."""
    return [
        torch.get_rng_state().tolist(),
        torch.initial_seed(),
        str(np.random.get_state()),
        random.getstate(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.get_deterministic_debug_mode(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
        torch.get_num_threads(),
        sys.stdout,
        sys.stderr,
        os._exit,
        Path.cwd(),
    ]


def outcome(answer, check=checks.mean_iou):
    """The result of a check that has left everything as it was."""
    before, start = state(), time.monotonic()
    result = check(answer)
    assert time.monotonic() - start < 10
    assert state() == before
    return result


def test_right_answer(runner, monkeypatch):
    monkeypatch.setattr(_check, "SECONDS", 8.0)
    assert outcome(solutions.loop).passed


HOSTILE = []


def hostile(*words):
    """A decorator for an answer to task 11 that does harm, about which the check says these words."""

    def note(answer):
        HOSTILE.append(pytest.param(answer, words, id=answer.__name__))
        return answer

    return note


@hostile("ValueError: too bad", 'raise ValueError("too bad")')
def raises(prediction, target, num_classes):
    raise ValueError("too bad")


@hostile("NO  a number\n      Unspeakable (in line")
def raises_what_cannot_be_printed(prediction, target, num_classes):
    class Unspeakable(Exception):
        def __str__(self):
            raise ValueError

    raise Unspeakable


@hostile("StatisticsError", "(in line", "statistics.mean([])")
def raises_in_the_standard_library(prediction, target, num_classes):
    return statistics.mean([])


@hostile("Stopped", "loop that never ends")
def endless(prediction, target, num_classes):
    while True:
        pass


@hostile("Stopped", "loop that never ends")
def endless_and_deaf(prediction, target, num_classes):
    while True:
        try:
            if OVER.is_set():
                break
        except BaseException:
            continue


@hostile("Stopped", "loop that never ends")
def sleeps(prediction, target, num_classes):
    time.sleep(5)


@hostile("None", "return statement is missing")
def nothing(prediction, target, num_classes):
    pass


@hostile("of type list, not a number")
def a_list(prediction, target, num_classes):
    return [0.5]


@hostile("nan", "divided by zero")
def nan(prediction, target, num_classes):
    return float("nan")


@hostile("tensor", "not turned into a number")
def on_another_device(prediction, target, num_classes):
    return torch.zeros((), device="meta")


@hostile("seed of all random numbers")
def seeds(prediction, target, num_classes):
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    return solutions.loop(prediction, target, num_classes)


@hostile("gradients are switched off")
def switches_gradients_off(prediction, target, num_classes):
    torch.set_grad_enabled(False)
    return solutions.loop(prediction, target, num_classes)


@hostile("default dtype")
def sets_default_dtype(prediction, target, num_classes):
    torch.set_default_dtype(torch.float64)
    return solutions.loop(prediction, target, num_classes)


@hostile("default device")
def sets_default_device(prediction, target, num_classes):
    torch.set_default_device("meta")
    return 0.5


@hostile("number of threads")
def sets_number_of_threads(prediction, target, num_classes):
    torch.set_num_threads(3)
    return solutions.loop(prediction, target, num_classes)


@hostile("deterministic flag", "cuDNN")
def deterministic(prediction, target, num_classes):
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = True
    return solutions.loop(prediction, target, num_classes)


@hostile("exit()")
def exits(prediction, target, num_classes):
    sys.exit(0)


@hostile("exit")
def exits_at_once(prediction, target, num_classes):
    os._exit(0)


@hostile("KeyboardInterrupt")
def interrupts(prediction, target, num_classes):
    raise KeyboardInterrupt


@hostile("calls itself again and again")
def recursion(prediction, target, num_classes):
    return recursion(prediction, target, num_classes)


@hostile("far more memory than the task needs")
def allocates(prediction, target, num_classes):
    return torch.zeros(10**14).sum().item()


@hostile("EOFError")
def asks(prediction, target, num_classes):
    return float(input("mean IoU? "))


@hostile("argument")
def takes_nothing():
    return 0.5


@pytest.mark.parametrize(("answer", "words"), HOSTILE)
def test_harm_is_reported_and_left_behind(answer, words, runner, monkeypatch):
    if runner == "thread" and answer in (asks, exits_at_once):
        words = ()  # reads the terminal, if there is one; _exit becomes an exception
    result = outcome(answer)
    assert result.status == "failed" and not result.passed and result.points < result.max_points
    assert all(word in result.text for word in words), result.text
    assert len(result.text.splitlines()) <= 20 and len(result.text) < 2000


def test_real_limit():
    """Without a shorter one: a check ends within ten seconds."""
    OVER.clear()
    assert "Stopped" in outcome(endless_and_deaf).text


def test_flood_is_cut_and_told(runner, monkeypatch):
    monkeypatch.setattr(_check, "SECONDS", 8.0)

    def floods(prediction, target, num_classes):
        for _ in range(1000):
            print("hello" * 200)
        print("error", file=sys.stderr)
        return solutions.loop(prediction, target, num_classes)

    result = outcome(floods)
    assert result.passed and "Your code printed: hellohello" in result.text and "more characters" in result.text
    assert len(result.text) < 2000


def test_memory_that_grows_is_stopped(monkeypatch):
    """Only a copy can be limited."""
    if _isolation.default_device().type != "cpu" or not hasattr(os, "fork"):
        pytest.skip("checks run in a thread here")

    def grows(prediction, target, num_classes):
        kept = []
        while True:
            kept.append(bytearray(2**26))

    assert "far more memory" in outcome(grows).text


def test_nothing_runs_on_in_the_background():
    if _isolation.default_device().type != "cpu" or not hasattr(os, "fork"):
        pytest.skip("checks run in a thread here")
    marker = f"sleep 12{os.getpid()}"

    def starts_a_process(prediction, target, num_classes):
        threading.Thread(target=time.sleep, args=(60,)).start()
        subprocess.Popen(["sh", "-c", marker])
        return solutions.loop(prediction, target, num_classes)

    assert outcome(starts_a_process).passed
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert marker not in running


def test_state_of_the_notebook_does_not_matter(runner, monkeypatch):
    """Right answers pass, and text is the same, whatever the student has set before."""
    monkeypatch.setattr(_check, "SECONDS", 8.0)
    text = checks.train_epoch(find("train_epoch")).text
    torch.set_default_dtype(torch.float64)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.no_grad():
            assert outcome(find("train_epoch"), checks.train_epoch).text == text
        with torch.inference_mode():
            assert outcome(find("mlp"), checks.mlp).passed
    finally:
        torch.set_default_dtype(torch.float32)
        torch.use_deterministic_algorithms(False)


def find(name):
    from solutions import ANSWERS

    return next(each.answer for each in ANSWERS if each.check is getattr(checks, name))


def stub(*args, **options):
    raise NotImplementedError


def stub_with_words(*args, **options):
    with torch.no_grad():
        raise NotImplementedError("your code here")


class StubClass(nn.Module):
    def __init__(self, *args, **options):
        super().__init__()

    def forward(self, *inputs):
        raise NotImplementedError("your code here")


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.name)
def test_stub_is_not_started(check):
    classes = {checks.mlp, checks.residual_block, checks.fcn_head}
    for answer in (stub, stub_with_words, *([StubClass] if check in classes else [])):
        result = outcome(answer, check)
        assert (result.status, result.points, result.passed) == ("not started", 0, False)
        assert result.text == f"Task {check.task}, {check.name}: not started, 0 of {len(check.claims)} points"


def test_only_a_stub_is_not_started():
    class NoForward(nn.Module):
        def __init__(self, widths):
            super().__init__()

    def wrong_dtype(prediction, target, num_classes):
        return prediction.softmax(0)  # PyTorch raises NotImplementedError here

    assert outcome(NoForward, checks.mlp).status == "failed"
    assert outcome(wrong_dtype).status == "failed"
    for not_an_answer in (None, 3, nn.Linear(2, 2)):
        assert "was given" in outcome(not_an_answer, checks.mlp).text


def test_interrupt_by_the_student_ends_the_check(tmp_path):
    """The stop button, while a check runs: the copy is killed, the interrupt goes on, and no earlier result stands."""
    if _isolation.default_device().type != "cpu" or not hasattr(os, "fork"):
        pytest.skip("checks run in a thread here")
    note = tmp_path / "pid"

    def waits(prediction, target, num_classes):
        note.with_suffix(".new").write_text(str(os.getpid()))
        note.with_suffix(".new").rename(note)
        time.sleep(60)

    def presses_stop():
        while not note.exists():
            time.sleep(0.01)
        signal.raise_signal(signal.SIGINT)

    assert checks.mean_iou(solutions.loop).passed
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    threading.Thread(target=presses_stop, daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            checks.mean_iou(waits)
    finally:
        signal.signal(signal.SIGINT, before)
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)
    assert not checks.mean_iou.latest.passed and "interrupted" in checks.mean_iou.latest.text


def test_scorecard():
    for check in checks.CHECKS:
        check(stub)
    checks.mean_iou(solutions.loop)
    checks.mlp(find("mlp"))
    result = checks.grad_cam(nothing)
    card = checks.scorecard()
    assert [r.task for r in card.results] == list(range(1, 13))
    assert card.points == 10 and card.max_points == sum(len(check.claims) for check in checks.CHECKS)
    assert "11    mean_iou        passed       5 of 5" in str(card)
    assert f"<td>grad_cam</td><td>failed</td><td>0 of {result.max_points}</td>" in card._repr_html_()
    assert repr(result) == f"<Task 12, grad_cam: failed, 0 of {result.max_points} points>"


def test_import_is_light():
    heavy = ("wandb", "matplotlib", "torchmetrics", "torchvision", "IPython", "scipy", "torch._dynamo")
    script = f"import sys; from lab1 import checks; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_threads_that_draw_random_numbers_do_not_stop_a_check():
    """They hold PyTorch's generator most of the time; a copy made then would wait for it for ever."""
    over = threading.Event()

    def draw():
        while not over.is_set():
            torch.rand(1_000_000)

    threads = [threading.Thread(target=draw) for _ in range(2)]
    try:
        for thread in threads:
            thread.start()
        for _ in range(5):
            with _isolation.in_copy(solutions.loop, 30) as channel:
                assert checks.mean_iou.judge(channel).passed
    finally:
        over.set()
        for thread in threads:
            thread.join()


EXPORTS_AND_CHECKS = """
import torch
from torch import nn

from lab1 import checks
from solutions import cifar_resnet, mean_iou

torch.export.export(nn.Linear(2, 2), (torch.ones(1, 2),))
torch.ones(1, requires_grad=True).sum().backward()
print(checks.mean_iou(mean_iou.loop).passed, checks.cifar_resnet(cifar_resnet.build).passed)
"""


@pytest.mark.slow
def test_checks_work_after_torch_export():
    """It gives autograd threads of its own, after which autograd works in no copy of the process."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    script = [sys.executable, "-c", EXPORTS_AND_CHECKS]
    done = subprocess.run(script, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split()[-2:] == ["True", "True"]
