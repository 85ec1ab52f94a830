import copy

import numpy as np
import torch
import torch.nn.functional as F

from lab1 import checks
from solutions import right, wrong
from solutions.train_epoch import both


@right(checks.evaluate)
@torch.no_grad()
def usual(model, loader, device):
    model.eval()
    loss, correct = 0.0, 0
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        logits = model(images)
        loss += F.cross_entropy(logits, labels, reduction="sum").item()
        correct += (logits.argmax(dim=1) == labels).sum().item()
    return loss / len(loader.dataset), correct / len(loader.dataset)


@right(checks.evaluate)
def all_at_once(model, loader, device, loss_function=F.cross_entropy):
    """Everything is collected on the CPU; the mode is restored."""
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        logits = torch.cat([model(x.to(device)).cpu() for x, _ in loader])
    labels = torch.cat([y for _, y in loader])
    model.train(was_training)
    return [loss_function(logits, labels).item(), (logits.max(1).indices == labels).float().mean().item()]


@right(checks.evaluate)
def with_weights(model, loader, device):
    model.train(False)
    losses, hits, sizes = [], [], []
    for x, y in loader:
        with torch.no_grad():
            p = model(x.to(device)).log_softmax(-1)
        y = y.to(device)
        losses.append(-p[range(len(y)), y].mean())
        hits.append((p.topk(1, dim=1).indices[:, 0] == y).float().mean())
        sizes.append(len(y))
    w = torch.tensor(sizes) / sum(sizes)
    return float((torch.stack(losses) * w).sum()), float((torch.stack(hits) * w).sum())


@right(checks.evaluate)
@torch.no_grad()
def example_by_example(model, loader, device):
    """Numbers may be compared wherever they are; labels index what is on the device."""
    model.eval()
    loss, hits, count = 0.0, 0, 0
    for x, y in loader:
        for p, label in zip(model(x.to(device)).softmax(1), y, strict=True):
            loss -= p[label].log().item()
            hits += int(p.argmax() == label)
            count += 1
    return loss / count, hits / count


def loop(mode=False, move=both, loss=F.cross_entropy, hits=lambda z, y: z.argmax(1) == y, result=None):
    def evaluate(model, loader, device):
        if mode is not None:
            model.train(mode)
        losses, right_ones, sizes = [], [], []
        with torch.no_grad():
            for x, y in loader:
                x, y = move(x, y, device)
                logits = model(x)
                losses.append(loss(logits, y).item())
                right_ones.append(hits(logits, y).sum().item())
                sizes.append(len(y))
        mean = sum(a * b for a, b in zip(losses, sizes, strict=True)) / sum(sizes)
        if result is None:
            return mean, sum(right_ones) / sum(sizes)
        return result(mean, losses, right_ones, sizes)

    return evaluate


def mistake(name, *words, **options):
    answer = loop(**options)
    answer.__name__ = name
    wrong(checks.evaluate, *words)(answer)


mistake("no_eval", "training mode: eval() is missing", mode=None)
mistake("not_moved", "batches are not moved to the device", move=lambda x, y, device: (x, y))
mistake("labels_not_moved", "labels are not moved to the device", move=lambda x, y, device: (x.to(device), y))
mistake("argmax_over_batch", "argmax is taken over the wrong dimension", hits=lambda z, y: z.argmax(0) == y)
mistake("softmax", "softmax before the cross-entropy", loss=lambda z, y: F.cross_entropy(z.softmax(1), y))
mistake("nll", "nll_loss of the logits", loss=F.nll_loss)
mistake("average_loss", "last batch is smaller", result=lambda m, ls, r, n: (sum(ls) / len(ls), sum(r) / sum(n)))
mistake(
    "average_accuracy",
    "the accuracy, batches of",
    "last batch is smaller",
    result=lambda m, ls, r, n: (m, sum(a / b for a, b in zip(r, n, strict=True)) / len(n)),
)
mistake("percent", "percentage", result=lambda m, ls, r, n: (m, 100 * sum(r) / sum(n)))
mistake("count", "how many examples are right", result=lambda m, ls, r, n: (m, sum(r)))
mistake("errors", "examples that are wrong", hits=lambda z, y: z.argmax(1) != y)
mistake("swapped", "other order", result=lambda m, ls, r, n: (sum(r) / sum(n), m))
mistake("last_batch", "last batch alone", result=lambda m, ls, r, n: (ls[-1], r[-1] / n[-1]))
mistake("only_loss", "not a pair", result=lambda m, ls, r, n: m)
mistake("nothing", "return statement is missing", result=lambda m, ls, r, n: None)
mistake("mean_twice", "mean is taken twice", result=lambda m, ls, r, n: (sum(ls) / sum(n), sum(r) / sum(n)))
mistake("per_batch", "divided by the number of batches", result=lambda m, ls, r, n: (m, sum(r) / len(n)))
mistake("equal_batches", "batches times batch size", result=lambda m, ls, r, n: (m, sum(r) / (len(n) * n[0])))
mistake("nan", "NaN", result=lambda m, ls, r, n: (m, float("nan")))


@wrong(checks.evaluate, "no_grad is missing")
def with_gradients(model, loader, device):
    model.eval()
    loss = correct = 0
    for x, y in loader:
        logits = model(x.to(device))
        loss += F.cross_entropy(logits, y.to(device), reduction="sum").item()
        correct += (logits.argmax(1) == y.to(device)).sum().item()
    return loss / len(loader.dataset), correct / len(loader.dataset)


@wrong(checks.evaluate, "values are changed while it is evaluated")
def trains(model, loader, device):
    loss, accuracy = usual(model, loader, device)
    for x, y in loader:
        F.cross_entropy(model(x.to(device)), y.to(device)).backward()
        for p in model.parameters():
            p.data -= 0.1 * p.grad
    return loss, accuracy


@wrong(checks.evaluate, "argument")
def other_arguments(model, loader):
    return usual(model, loader, "cpu")


@right(checks.evaluate)
def on_a_copy(model, loader, device):
    return usual(copy.deepcopy(model).eval(), loader, device)


@right(checks.evaluate)
def numpy_numbers(model, loader, device):
    return [np.float64(each) for each in usual(model, loader, device)]


@wrong(checks.evaluate, "requires_grad is False", "can learn no more")
def freezes(model, loader, device):
    model.eval().requires_grad_(False)
    return usual(model, loader, device)


@wrong(checks.evaluate, "The accuracy is a tensor and not a number")
def zero_dimensional(model, loader, device):
    loss, accuracy = usual(model, loader, device)
    return loss, torch.tensor(accuracy)


@wrong(checks.evaluate, "mean of the classes' accuracies")
@torch.no_grad()
def macro(model, loader, device):
    loss, _ = usual(model, loader, device)
    predicted = torch.cat([model(x.to(device)).argmax(1).cpu() for x, _ in loader])
    labels = torch.cat([y for _, y in loader])
    hits = [(predicted[labels == c] == c).float().mean().item() for c in labels.unique().tolist()]
    return loss, sum(hits) / len(hits)


mistake("swapped_arguments", "arguments of cross_entropy are swapped", loss=lambda z, y: F.cross_entropy(y, z))
