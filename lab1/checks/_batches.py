"""What the checks of train_epoch and evaluate share: a classifier, batches, and means over examples."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lab1.checks import _harness
from lab1.checks._student import Student, Wrong
from lab1.checks._values import Draw, Mistakes, expect_same

OFF = "The number is a little off"
DEVICE = "Expected all tensors to be on the same device"


def draw_case(draw: Draw) -> dict:
    """A classifier's state, and what its loader gives. The last batch is smaller than the others, and harder."""
    num_classes, batch_size, num_batches = draw.integer(3, 6), draw.integer(7, 11), draw.integer(3, 5)
    count = batch_size * num_batches + draw.integer(2, batch_size - 3)
    images, labels = draw.normal(count, 2, 4, 4), draw.integers((count,), 0, num_classes - 1)
    order = draw.order(count)
    images[order[num_batches * batch_size :]] *= 3
    return {
        "num_classes": num_classes,
        "batch_size": batch_size,
        "images": images,
        "labels": labels,
        "order": order.tolist(),
        "state": _state(draw, num_classes),
        "lr": 0.05 * draw.integer(2, 6),
    }


def _state(draw: Draw, num_classes: int) -> dict[str, Tensor]:
    """Random values for the classifier, about as PyTorch draws them."""
    state = _harness.Classifier(32, num_classes).state_dict()
    for name, value in state.items():
        if name.endswith("var"):
            state[name] = 0.5 + draw.uniform(*value.shape)
        elif name.endswith("mean"):
            state[name] = draw.normal(*value.shape)
        elif value.is_floating_point() and not name.startswith("layers.2"):
            state[name] = (2 * draw.uniform(*value.shape) - 1) * (0.18 if name.startswith("layers.1") else 0.33)
    return state


def batches(case: dict, in_order: bool = False) -> list[tuple[Tensor, Tensor]]:
    """As the loader gives them; or in the order of the data set."""
    order = torch.arange(len(case["order"])) if in_order else torch.tensor(case["order"])
    return [(case["images"][part], case["labels"][part]) for part in order.split(case["batch_size"])]


def expect_moved(seen: dict) -> None:
    if not all(call["moved"] for call in seen["calls"]):
        text = "The images reach the model where the loader left them."
        raise Wrong(text, "The batches are not moved to the device that is given: on a GPU this fails.", DEVICE)
    if seen["mixed"]:
        text = "The labels meet the logits where the loader left them."
        raise Wrong(text, "The labels are not moved to the device that is given: on a GPU this fails.", DEVICE)


def _after_softmax(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits.softmax(1), labels)


def _summed(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, reduction="sum")


def _squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    return F.mse_loss(logits, F.one_hot(labels, logits.shape[1]).float())


def _binary(logits: Tensor, labels: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, F.one_hot(labels, logits.shape[1]).float())


WRONG_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "A softmax before the cross-entropy, which contains one already.": _after_softmax,
    "The loss is summed over the batch: its step is too large.": _summed,
    "nll_loss of the logits: it needs their log-softmax.": F.nll_loss,
    "A squared error instead of the cross-entropy.": _squared_error,
    "A binary cross-entropy for each class instead of the cross-entropy.": _binary,
}


def losses(logits: list[Tensor], case: dict, loss: Callable = F.cross_entropy) -> Tensor:
    """The mean loss of each batch, (batches,)."""
    return torch.stack([loss(each, labels) for each, (_, labels) in zip(logits, batches(case), strict=True)])


def loss_mistakes(logits: list[Tensor], case: dict) -> Mistakes:
    each = {words: losses(logits, case, loss) for words, loss in WRONG_LOSSES.items() if loss is not _summed}
    return {words: [mean(values, case), values.mean()] for words, values in each.items()}


def sizes(case: dict) -> Tensor:
    return torch.tensor([len(labels) for _, labels in batches(case)])


def mean(values: Tensor, case: dict) -> Tensor:
    """Over all examples, of values that are means over batches."""
    return (values * sizes(case)).sum() / sizes(case).sum()


def expect_mean(seen: float, values: Tensor, case: dict, what: str, mistakes: dict, hint: str) -> None:
    """What is seen is the mean over all examples of values that are means over batches."""
    n = sizes(case)
    total, count = (values * n).sum(), n.sum()
    mistakes |= {
        "The batches' means are averaged, but the last batch is smaller and must count less.": values.mean(),
        "The batches' means are added up and never divided by their number.": values.sum(),
        "The sum over all examples is not divided by their number.": total,
        "Means of batches are divided by the number of examples: the mean is taken twice.": values.sum() / count,
        "The sum over all examples is divided by the number of batches.": total / len(values),
        "Every batch counts as if it were as large as the first.": (values * n[0]).sum() / count,
        "It is divided by batches times batch size, but the last batch is smaller.": total / (len(values) * n[0]),
        "It is the value of the last batch alone.": values[-1],
        "It is the value of the first batch alone, as with a return inside the loop.": values[0],
        "The last batch is left out.": (values * n)[:-1].sum() / n[:-1].sum(),
    }
    batch_sizes = f"batches of {', '.join(map(str, n.tolist()))} examples"
    expect_same(seen, mean(values, case), mistakes, hint, f"{what}, {batch_sizes}")


def swaps_arguments(observe: Callable[[Student, dict], Any]) -> Callable[[Student, Draw], bool]:
    """Whether the code runs where labels are probabilities, and then gives the cross-entropy of these arguments."""

    def experiment(student: Student, draw: Draw) -> bool:
        case = draw_case(draw)
        case["labels"] = draw.normal(len(case["labels"]), case["num_classes"]).softmax(1)
        case["batch_size"] = len(case["labels"])
        seen = observe(student, case)
        [(_, probabilities)] = batches(case)
        value = seen["value"][0] if isinstance(seen["value"], list | tuple) else seen["value"]
        swapped = F.cross_entropy(probabilities, seen["calls"][0]["logits"])
        return abs(float(value) - float(swapped)) < 1e-3 * abs(float(swapped))

    return experiment


SWAPPED = "The arguments of cross_entropy are swapped: the logits come first, then the labels."
