"""Check of task 3, evaluate, on a small classifier. The reference is the loop written out."""

import torch
from torch import Tensor

from lab1.checks import _harness
from lab1.checks._batches import (
    DEVICE,
    OFF,
    SWAPPED,
    batches,
    draw_case,
    expect_mean,
    expect_moved,
    loss_mistakes,
    losses,
    mean,
    sizes,
    swaps_arguments,
)
from lab1.checks._check import Check
from lab1.checks._student import Cause, Student, Wrong
from lab1.checks._values import Draw, agree, expect_number, type_name

SWITCH = "Another result at every call"
TRAINING = "The model is evaluated in training mode: eval() is missing, or comes too late."
WRONG_DIMENSION = "argmax is taken over the wrong dimension: the classes are dimension 1."


def _compares_classes(student: Student, draw: Draw) -> bool:
    """Whether it runs where a batch has as many examples as there are classes."""
    case = draw_case(draw)
    kept = len(case["order"]) // case["num_classes"] * case["num_classes"]
    return student.can("evaluate", case | {"batch_size": case["num_classes"], "order": case["order"][:kept]})


evaluate = Check(
    3,
    "evaluate",
    hints=(SWITCH, OFF, DEVICE),
    causes=(
        Cause(r"size of tensor", WRONG_DIMENSION, OFF, _compares_classes),
        Cause(
            r"loss|target|floating point|dtype|Long|Float|shape",
            SWAPPED,
            OFF,
            swaps_arguments(lambda s, case: s.evaluate(case)),
        ),
    ),
)


@evaluate.claim("returns two numbers, loss and accuracy")
def _returns_pair(student, draw):
    _evaluate(student, draw_case(draw))


def _evaluate(student: Student, case: dict) -> tuple[float, float, dict]:
    """The two numbers, and what else was seen."""
    seen = student.evaluate(case)
    pair = seen["value"]
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        mistake = "A return statement is missing." if pair is None else ""
        raise Wrong(f"What it returns is of type {type_name(pair)}, not a pair (loss, accuracy).", mistake, OFF)
    loss, accuracy = expect_number(pair[0], "The loss", OFF), expect_number(pair[1], "The accuracy", OFF)
    return loss, accuracy, seen


@evaluate.claim("the model is in evaluation mode, and is not changed")
def _evaluates(student, draw):
    case = draw_case(draw)
    *_, seen = _evaluate(student, case)
    if any(call["training"] for call in seen["calls"]):
        raise Wrong("BatchNorm used the statistics of the batch.", TRAINING, SWITCH)
    before, after = case["state"], seen["state"]
    if changed := [name for name in before if not torch.equal(before[name], after[name])]:
        text = f"Changed: {', '.join(changed)}."
        raise Wrong(text, "The model's values are changed while it is evaluated.", SWITCH)
    if not all(seen["flags"]):
        text = "After the call the parameters' requires_grad is False."
        raise Wrong(text, "Gradients are switched off in the model itself, so that it can learn no more.", SWITCH)


@evaluate.claim("without gradients")
def _no_gradients(student, draw):
    *_, seen = _evaluate(student, draw_case(draw))
    if any(call["gradient"] for call in seen["calls"]):
        text = "The forward pass recorded what a backward pass would need."
        raise Wrong(text, "no_grad is missing: time and memory are lost.", SWITCH)


def _logits(case: dict, train: bool) -> list[Tensor]:
    model = _harness.classifier(case).train(train)
    return [model(images).detach().as_subclass(Tensor) for images, _ in batches(case)]


def _right(logits: list[Tensor], case: dict) -> Tensor:
    """The accuracy within each batch, (batches,)."""
    return losses(logits, case, lambda each, labels: (each.argmax(1) == labels).float().mean())


def _macro(logits: list[Tensor], case: dict) -> Tensor:
    """The mean of the classes' accuracies."""
    labels = torch.cat([labels for _, labels in batches(case)])
    hits = (torch.cat(logits).argmax(1) == labels).float()
    return torch.stack([hits[labels == c].mean() for c in labels.unique()]).mean()


@evaluate.claim("the loss is the mean cross-entropy per example")
def _evaluated_loss(student, draw):
    case = draw_case(draw)
    loss, accuracy, _ = _evaluate(student, case)
    logits = _logits(case, train=False)
    values, training = losses(logits, case), losses(_logits(case, train=True), case)
    if agree(accuracy, mean(values, case)):
        raise Wrong("The second number is the loss.", "Loss and accuracy are returned in the other order.", OFF)
    mistakes = {TRAINING: [mean(training, case), training.mean()], **loss_mistakes(logits, case)}
    expect_mean(loss, values, case, "The loss", mistakes, OFF)


@evaluate.claim("the accuracy is the part of the examples that are right, in 0..1")
def _evaluated_accuracy(student, draw):
    case = draw_case(draw)
    _, accuracy, _ = _evaluate(student, case)
    logits = _logits(case, train=False)
    values, training = (_right(each, case) for each in (logits, _logits(case, train=True)))
    counts = sizes(case) * values
    mistakes = {
        "It is a percentage: the accuracy lies in 0..1.": 100 * mean(values, case),
        "It is how many examples are right, not which part of them.": counts.sum(),
        "It is the part of the examples that are wrong.": 1 - mean(values, case),
        "It is the mean of the classes' accuracies (macro), not that over all examples.": _macro(logits, case),
        TRAINING: [mean(training, case), training.mean()],
    }
    expect_mean(accuracy, values, case, "The accuracy", mistakes, OFF)


@evaluate.claim("every batch is moved to the device")
def _evaluates_on_device(student, draw):
    *_, seen = _evaluate(student, draw_case(draw))
    expect_moved(seen)
