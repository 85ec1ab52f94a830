"""Check of task 2, train_epoch, on a small classifier. The reference is the epoch written out."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lab1.checks import _harness
from lab1.checks._batches import (
    DEVICE,
    OFF,
    SWAPPED,
    WRONG_LOSSES,
    batches,
    draw_case,
    expect_mean,
    expect_moved,
    loss_mistakes,
    losses,
    swaps_arguments,
)
from lab1.checks._check import Check
from lab1.checks._student import Cause, Student, Wrong
from lab1.checks._values import Draw, Mistakes, expect_number, expect_same

LEARNS = "The loss does not move"
EVALUATING = "The model is in evaluation mode while it is trained."
NO_STEP = "The step finds no gradients: zero_grad stands between backward and step, or step before backward."


def _steps_before_backward(student: Student, draw: Draw) -> bool:
    """Whether a learning rate of zero, with which a step changes nothing, makes it run."""
    return student.can("train", draw_case(draw) | {"lr": 0.0})


train_epoch = Check(
    2,
    "train_epoch",
    hints=(LEARNS, OFF, DEVICE),
    causes=(
        Cause(
            r"element 0 of tensors does not require grad",
            "The loss is cut off from the gradient: computed without gradients (no_grad), or detached.",
            LEARNS,
        ),
        Cause(
            r"modified by an inplace operation", "step comes before backward, and changes what backward needs.", LEARNS
        ),
        Cause(
            r"loss|target|floating point|dtype|Long|Float|shape",
            SWAPPED,
            LEARNS,
            swaps_arguments(lambda s, case: s.train(case)),
        ),
    ),
)


def _epoch(case: dict, order=("zero", "backward", "step"), loss=F.cross_entropy, train=True, given=None) -> Tensor:
    """The parameters after an epoch that is written out, in one vector."""
    model = _harness.classifier(case).train(train)
    optimizer = _harness.SGD(model.parameters(), case["lr"])
    for images, labels in batches(case) if given is None else given:
        result = loss(model(images).as_subclass(Tensor), labels)
        for step in order:
            {"zero": optimizer.zero_grad, "backward": result.backward, "step": optimizer.step}[step]()
    return _vector(dict(model.named_parameters()))


def _vector(state: dict[str, Tensor]) -> Tensor:
    """The parameters among the values of a state, in one vector."""
    names = [name for name, _ in _harness.Classifier(32, 2).named_parameters()]
    return torch.cat([state[name].detach().flatten() for name in names])


def _epoch_mistakes(case: dict) -> Mistakes:
    mistakes = {
        "The gradients of earlier batches are still there: zero_grad is missing, or stands outside the loop.": (
            _epoch(case, order=("backward", "step"))
        ),
        EVALUATING: _epoch(case, train=False),
        "The epoch ends after the first batch, as with a return inside the loop.": _epoch(
            case, given=batches(case)[:1]
        ),
        "The batches are cut from loader.dataset: take them from the loader, which decides about their order.": (
            _epoch(case, given=batches(case, in_order=True))
        ),
    }
    return mistakes | {words: _epoch(case, loss=loss) for words, loss in WRONG_LOSSES.items()}


@train_epoch.claim("returns a number")
def _returns_loss(student, draw):
    expect_number(student.train(draw_case(draw))["value"], "What it returns", OFF)


@train_epoch.claim("one step of the given optimizer for each batch")
def _steps(student, draw):
    case = draw_case(draw)
    seen, count = student.train(case), len(batches(case))
    calls, steps = len(seen["calls"]), seen["steps"]
    if steps != count:
        mistakes = {
            (calls, 0): "The optimizer that is given makes no step.",
            (count, 1): "The step stands outside the loop.",
            (1, 1): "The epoch ends after the first batch.",
        }
        made = "1 step" if steps == 1 else f"{steps} steps"
        raise Wrong(f"{made} for {count} batches.", mistakes.get((calls, steps), ""), LEARNS)


@train_epoch.claim("the parameters afterwards are right")
def _learns(student, draw):
    case = draw_case(draw)
    seen = student.train(case)
    after = _vector(seen["state"])
    if torch.equal(after, _vector(case["state"])):
        backward = any(call["backward"] for call in seen["calls"])
        raise Wrong("No parameter has changed.", NO_STEP if backward else "backward is missing.", LEARNS)
    expect_same(after, _epoch(case), lambda: _epoch_mistakes(case), LEARNS, "A parameter")


@train_epoch.claim("the model is in training mode, also where it arrives in evaluation mode")
def _trains(student, draw):
    calls = student.train(draw_case(draw), training=False)["calls"]
    if not calls or not all(call["training"] for call in calls):
        text = "The model is not called." if not calls else "BatchNorm did not learn its statistics."
        raise Wrong(text, EVALUATING if calls else "", LEARNS)


@train_epoch.claim("returns the mean cross-entropy per example, over the epoch")
def _mean_loss(student, draw):
    case = draw_case(draw)
    seen, expected = student.train(case), [len(labels) for _, labels in batches(case)]
    logits = [call["logits"] for call in seen["calls"]]
    if [len(each) for each in logits] != expected:
        text = f"Calls of the model: {len(logits)}, batches: {len(expected)}."
        if len(logits) == len(expected):
            text = f"Batches of {', '.join(str(len(each)) for each in logits)} examples, expected {expected}."
        more = "The model is called more than once for a batch." if len(logits) == 2 * len(expected) else ""
        raise Wrong(text, more, OFF)
    returned = expect_number(seen["value"], "What it returns", OFF)
    mistakes = loss_mistakes(logits, case)
    expect_mean(returned, losses(logits, case), case, "The loss", mistakes, OFF)


@train_epoch.claim("every batch is moved to the device")
def _trains_on_device(student, draw):
    expect_moved(student.train(draw_case(draw)))
