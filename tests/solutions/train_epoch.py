import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lab1 import GradNormLogger, checks
from solutions import right, wrong


@right(checks.train_epoch)
def usual(model, loader, optimizer, device):
    model.train()
    total = 0.0
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        optimizer.zero_grad()
        loss = nn.CrossEntropyLoss()(model(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item() * images.size(0)
    return total / len(loader.dataset)


@right(checks.train_epoch)
def without_waiting(model, loader, optimizer, device, log=None):
    """zero_grad at the end, log-softmax and nll_loss, and no .item() in the loop."""
    model = model.to(device).train()
    losses, count = torch.zeros((), device=device), 0
    for batch in loader:
        x, y = (t.to(device, non_blocking=True) for t in batch)
        log_p = F.log_softmax(model(x), dim=1)
        loss = -log_p.gather(1, y[:, None]).sum() / len(y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        losses += loss.detach() * len(y)
        count += len(y)
    return float(losses / count)


@right(checks.train_epoch)
def with_closure(model, loader, optimizer, device):
    model.train(True)
    sums = []
    for x, y in loader:
        x, y = x.to(device), y.to(device)

        def closure(x=x, y=y):
            optimizer.zero_grad()
            per_example = F.cross_entropy(model(x), y, reduction="none")
            sums.append((per_example.sum().item(), len(y)))
            per_example.mean().backward()
            return per_example.mean()

        optimizer.step(closure)
    return sum(s for s, _ in sums) / sum(n for _, n in sums)


@right(checks.train_epoch)
def prints_and_mixes(model, loader, optimizer, device):
    """Prints tensors, collects on the CPU where the labels are, and moves in other ways."""
    model.train()
    logits, labels = [], []
    for x, y in loader:
        optimizer.zero_grad()
        z = model(x.to(device=device, dtype=torch.float32))
        loss = F.cross_entropy(z, y.to(z.device))
        loss.backward()
        optimizer.step()
        print(f"loss {loss:.3f}", loss, f"{z.argmax(1)[0] == y[0]}")
        logits.append(z.detach().to("cpu"))
        labels.append(y.cpu())
    return F.cross_entropy(torch.cat(logits), torch.cat(labels)).item()


def both(x, y, device):
    return x.to(device), y.to(device)


def epoch(before=(), after=("backward", "step"), loss=F.cross_entropy, move=both, mode=True, result="mean"):
    """A training loop with its steps in any order."""

    def train_epoch(model, loader, optimizer, device):
        if mode is not None:
            model.train(mode)
        steps = {"zero": optimizer.zero_grad, "step": optimizer.step}
        losses, sizes = [], []
        for images, labels in loader:
            images, labels = move(images, labels, device)
            for name in before:
                steps[name]()
            value = loss(model(images), labels)
            for name in after:
                (steps | {"backward": value.backward})[name]()
            losses.append(value.item())
            sizes.append(len(labels))
            if result == "first":
                return losses[0]
        weighted = sum(a * b for a, b in zip(losses, sizes, strict=True))
        return {
            "mean": weighted / sum(sizes),
            "average": sum(losses) / len(losses),
            "sum": sum(losses),
            "total": weighted,
            "per dataset": sum(losses) / sum(sizes),
            "last": losses[-1],
            "batch size": sum(losses) * sizes[0] / sum(sizes),
            "equal batches": weighted / (len(loader) * loader.batch_size),
            "none": None,
            "list": losses,
        }[result]

    return train_epoch


def mistake(name, *words, **options):
    answer = epoch(**({"before": ["zero"]} | options))
    answer.__name__ = name
    wrong(checks.train_epoch, *words)(answer)


mistake("no_zero_grad", "zero_grad is missing", before=[])
mistake("zero_grad_before_step", "between backward and step", before=[], after=["backward", "zero", "step"])
mistake("step_before_backward", "step comes before backward", before=[], after=["step", "zero", "backward"])
mistake("no_step", "makes no step", after=["backward"])
mistake("no_backward", "backward is missing", after=["step"])
mistake("softmax", "softmax before the cross-entropy", loss=lambda z, y: F.cross_entropy(z.softmax(1), y))
mistake("summed", "summed over the batch", loss=lambda z, y: F.cross_entropy(z, y, reduction="sum"))
mistake("nll", "nll_loss of the logits", loss=F.nll_loss)
mistake("squared", "squared error", loss=lambda z, y: F.mse_loss(z, F.one_hot(y, z.shape[1]).float()))
mistake("eval_mode", "evaluation mode", mode=False)
mistake("no_train", "evaluation mode", mode=None)
mistake("not_moved", "batches are not moved to the device", move=lambda x, y, device: (x, y))
mistake("labels_not_moved", "labels are not moved to the device", move=lambda x, y, device: (x.to(device), y))
mistake("labels_stay_on_cpu", "labels are not moved", move=lambda x, y, device: (x.to(device), y.to("cpu")))
mistake("cpu", "not moved to the device that is given", move=lambda x, y, device: (x.cpu(), y.cpu()))
mistake("only_dtype", "not moved to the device", move=lambda x, y, device: (x.to(torch.float32), y.to(torch.int64)))
mistake("average", "last batch is smaller", result="average")
mistake("sum_", "never divided by their number", result="sum")
mistake("total", "not divided by their number", result="total")
mistake("per_dataset", "mean is taken twice", result="per dataset")
mistake("last", "last batch alone", result="last")
mistake("first", "first batch", result="first")
mistake("batch_size", "as large as the first", result="batch size")
mistake("equal_batches", "batches times batch size", result="equal batches")
mistake("step_after_forward", "or step before backward", after=["step", "backward"])
mistake("none", "return statement is missing", result="none")
mistake("list_", "of type list", result="list")


@wrong(checks.train_epoch, "not turned into a number", "graph of its gradient")
def keeps_graph(model, loader, optimizer, device):
    model.train()
    total = 0
    for images, labels in loader:
        loss = F.cross_entropy(model(images.to(device)), labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss * len(labels)
    return total / len(loader.dataset)


@wrong(checks.train_epoch, "step stands outside the loop")
def step_after_loop(model, loader, optimizer, device):
    optimizer.zero_grad()
    loss = epoch(after=["backward"])(model, loader, optimizer, device)
    optimizer.step()
    return loss


@wrong(checks.train_epoch, "called more than once for a batch")
def forward_twice(model, loader, optimizer, device):
    return epoch(["zero"])(Twice(model), loader, optimizer, device)


class Twice(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        self.model(x)
        return self.model(x)


@wrong(checks.train_epoch, "between backward and step")
def model_zero_grad_before_step(model, loader, optimizer, device):
    model.train()
    total = 0.0
    for x, y in loader:
        loss = F.cross_entropy(model(x.to(device)), y.to(device))
        loss.backward()
        model.zero_grad()
        optimizer.step()
        total += loss.item() * len(y)
    return total / len(loader.dataset)


@wrong(checks.train_epoch, "optimizer that is given makes no step")
def own_step(model, loader, optimizer, device, lr=0.01):
    model.train()
    total = 0.0
    for x, y in loader:
        model.zero_grad()
        loss = F.cross_entropy(model(x.to(device)), y.to(device))
        loss.backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= lr * p.grad
        total += loss.item() * len(y)
    return total / len(loader.dataset)


@wrong(checks.train_epoch, "without gradients", "no_grad")
@torch.no_grad()
def no_grad(model, loader, optimizer, device):
    return usual(model, loader, optimizer, device)


@wrong(checks.train_epoch, "device is fixed in the code")
def cuda(model, loader, optimizer, device):
    return usual(model.to("cuda:7"), loader, optimizer, "cuda:7")


@right(checks.train_epoch)
def asks_the_optimizer(model, loader, optimizer, device):
    """More of the optimizer than step and zero_grad: its state, its groups, and a logger that hooks into it."""
    state, logger = optimizer.state_dict(), GradNormLogger(model, optimizer)
    optimizer.load_state_dict(state)
    for group in optimizer.param_groups:
        group["lr"] = float(group["lr"])
    loss = usual(model, loader, optimizer, device)
    assert len(logger.to_numpy()) == len(loader)
    logger.close()
    return loss


@right(checks.train_epoch)
def numpy_number(model, loader, optimizer, device):
    return np.float64(usual(model, loader, optimizer, device))


def from_dataset(model, loader, optimizer, device):
    """Batches that are cut by hand."""
    model.train()
    images, labels = loader.dataset.tensors
    total = 0.0
    for x, y in zip(images.split(loader.batch_size), labels.split(loader.batch_size), strict=True):
        x, y = x.to(device), y.to(device)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(y)
    return total / len(images)


wrong(checks.train_epoch, "cut from loader.dataset")(from_dataset)
mistake("swapped", "arguments of cross_entropy are swapped", loss=lambda z, y: F.cross_entropy(y, z))
