"""Checks of train_epoch (task 2), evaluate (3) and gradient_norms (6), on small models of this file's own."""

import copy
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lab1.checks._check import Check
from lab1.checks._values import Draw, Mistakes, Wrong, agree, expect_number, expect_same

LEARNS = "The loss does not move"
OFF = "The number is a little off"
DEVICE = "Expected all tensors to be on the same device"
EVALUATING = "The model is in evaluation mode while it is trained."
train_epoch = Check(
    2,
    "train_epoch",
    hints=(LEARNS, OFF, DEVICE),
    errors=(
        (r"does not require grad", "The forward pass is computed without gradients (no_grad).", LEARNS),
        (r"modified by an inplace operation", "step comes before backward, and changes what backward needs.", LEARNS),
    ),
)

SWITCH = "Another result at every call"
TRAINING = "The model is evaluated in training mode: eval() is missing."
evaluate = Check(
    3,
    "evaluate",
    hints=(SWITCH, OFF, DEVICE),
    errors=((r"size of tensor", "argmax is taken over the wrong dimension: the classes are dimension 1.", OFF),),
)


class Call(NamedTuple):
    """How the model was called."""

    training: bool
    with_gradient: bool
    moved: bool
    logits: Tensor


class Placed(Tensor):
    """A tensor whose class tells where it would be on a computer with a GPU. Ordinary tensors may be anywhere."""

    mixed = False  # whether a call was given both Loaded and OnDevice tensors, and would have failed there

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        arguments = (*args, *(kwargs or {}).values())
        with torch._C.DisableTorchFunctionSubclass():  # numbers, as tensors without a dimension are, may be anywhere
            places = {type(each) for each in arguments if isinstance(each, Placed) and each.ndim}
        if len(places) == 2 and func not in (Tensor.to, Tensor.__getitem__):
            Placed.mixed = True
        place = OnDevice if OnDevice in types else Loaded
        result = super(Placed, place).__torch_function__(func, (), args, kwargs)
        return result.as_subclass(Tensor) if place.is_left_by(func, arguments) else result

    def __format__(self, spec: str) -> str:
        return format(self.as_subclass(Tensor), spec)

    def __repr__(self) -> str:
        return repr(self.as_subclass(Tensor))


class Loaded(Placed):
    """As the loader gives it, on the CPU, and what is computed from that; until it is moved to a torch.device."""

    @staticmethod
    def is_left_by(func: Callable, arguments: tuple) -> bool:
        return any(isinstance(each, torch.device) for each in arguments)


class OnDevice(Placed):
    """What the model gives, and what is computed from that; until it is moved."""

    @staticmethod
    def is_left_by(func: Callable, arguments: tuple) -> bool:
        return func in (Tensor.to, Tensor.cpu)


class Recorder(nn.Module):
    """A classifier with BatchNorm that keeps how it was called."""

    def __init__(self, num_features: int, num_classes: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(num_features, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, num_classes)
        )
        self.calls: list[Call] = []
        self.backward_passes = 0

    def forward(self, images: Tensor) -> Tensor:
        moved = not isinstance(images, Loaded)
        logits = self.layers(images.as_subclass(Tensor))
        self.calls.append(Call(self.layers[2].training, torch.is_grad_enabled(), moved, logits.detach()))
        if logits.requires_grad:
            logits.register_hook(self._count)
        return logits.as_subclass(OnDevice)

    def _count(self, gradient: Tensor) -> None:
        self.backward_passes += 1


class SGD(torch.optim.Optimizer):
    """Gradient descent with momentum that counts its steps. (torch.optim.SGD takes seconds when it is first used.)"""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.9):
        self.param_groups = [{"params": list(parameters), "lr": lr, "momentum": momentum}]
        self.defaults, self.state = {"lr": lr, "momentum": momentum}, {}
        self.steps = 0

    def zero_grad(self, set_to_none: bool = True) -> None:
        for p in self.param_groups[0]["params"]:
            p.grad = None if set_to_none or p.grad is None else torch.zeros_like(p)

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> Tensor | None:
        with torch.enable_grad():
            loss = closure() if closure else None
        self.steps += 1
        [group] = self.param_groups
        for p in group["params"]:
            if p.grad is not None:
                self.state[p] = group["momentum"] * self.state.get(p, 0) + p.grad
                p -= group["lr"] * self.state[p]
        return loss


class Case(NamedTuple):
    """A classifier, and what the loader gives."""

    model: Recorder
    loader: DataLoader
    batches: list[tuple[Tensor, Tensor]]
    lr: float


def _case(draw: Draw) -> Case:
    """A fresh model and loader. The last batch is smaller than the others, and harder."""
    num_classes, batch_size, num_batches = draw.integer(3, 6), draw.integer(7, 11), draw.integer(3, 5)
    count = batch_size * num_batches + draw.integer(2, batch_size - 3)
    images, labels = draw.normal(count, 2, 4, 4), draw.integers((count,), 0, num_classes - 1)
    images[num_batches * batch_size :] *= 3
    model = Recorder(32, num_classes)
    model.layers[2].running_mean.copy_(draw.normal(9))
    model.layers[2].running_var.copy_(0.5 + draw.uniform(9))
    loader = DataLoader(TensorDataset(images.as_subclass(Loaded), labels.as_subclass(Loaded)), batch_size)
    batches = list(zip(images.split(batch_size), labels.split(batch_size), strict=True))
    return Case(model, loader, batches, lr=0.05 * draw.integer(2, 6))


def _expect_moved(run: Callable[[], Recorder]) -> None:
    Placed.mixed = False
    model = run()
    if not all(call.moved for call in model.calls):
        text = "The images reach the model where the loader left them."
        raise Wrong(text, "The batches are not moved to the device that is given: on a GPU this fails.", DEVICE)
    if Placed.mixed:
        text = "The labels meet the logits where the loader left them."
        raise Wrong(text, "The labels are not moved to the device that is given: on a GPU this fails.", DEVICE)


def _epoch(case: Case, order=("zero", "backward", "step"), loss=F.cross_entropy, train=True, most=None) -> Tensor:
    """The parameters after an epoch that is written out, in one vector."""
    model = copy.deepcopy(case.model).train(train)
    optimizer = SGD(model.parameters(), case.lr)
    for images, labels in case.batches[:most]:
        result = loss(model(images), labels)
        for step in order:
            {"zero": optimizer.zero_grad, "backward": result.backward, "step": optimizer.step}[step]()
    return _vector(model)


def _vector(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def _epoch_mistakes(case: Case) -> Mistakes:
    return {
        "The gradients of earlier batches are still there: zero_grad is missing, or stands outside the loop.": (
            _epoch(case, order=("backward", "step"))
        ),
        **{words: _epoch(case, loss=loss) for words, loss in WRONG_LOSSES.items()},
        EVALUATING: _epoch(case, train=False),
        "The epoch ends after the first batch: the return is inside the loop.": _epoch(case, most=1),
    }


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


def _train(answer: Callable, case: Case, train: bool = True) -> tuple[Any, Recorder, SGD]:
    """What the answer returns, the trained copy of the model, and its optimizer."""
    model = copy.deepcopy(case.model).train(train)
    optimizer = SGD(model.parameters(), case.lr)
    return answer(model, case.loader, optimizer, torch.device("cpu")), model, optimizer


@train_epoch.claim("returns a number")
def _returns_loss(answer, draw):
    expect_number(_train(answer, _case(draw))[0], "What it returns", OFF)


@train_epoch.claim("one step of the given optimizer for each batch")
def _steps(answer, draw):
    case = _case(draw)
    _, model, optimizer = _train(answer, case)
    seen, steps = len(model.calls), optimizer.steps
    if steps != len(case.batches):
        mistakes = {
            (seen, 0): "The optimizer that is given makes no step.",
            (len(case.batches), 1): "The step stands outside the loop.",
            (1, 1): "The epoch ends after the first batch.",
        }
        raise Wrong(f"{steps} steps with {len(case.batches)} batches.", mistakes.get((seen, steps), ""), LEARNS)


@train_epoch.claim("the parameters afterwards are right")
def _learns(answer, draw):
    case = _case(draw)
    _, model, _ = _train(answer, case)
    if torch.equal(_vector(model), _vector(case.model)):
        mistake = "No gradient reaches the step: backward is missing."
        if model.backward_passes:
            mistake = (
                "The step finds no gradients: zero_grad stands between backward and step, or step before backward."
            )
        raise Wrong("No parameter has changed.", mistake, LEARNS)
    expect_same(_vector(model), _epoch(case), lambda: _epoch_mistakes(case), LEARNS, "A parameter")


@train_epoch.claim("the model is in training mode, also where it arrives in evaluation mode")
def _trains(answer, draw):
    _, model, _ = _train(answer, _case(draw), train=False)
    if not model.calls or not all(call.training for call in model.calls):
        raise Wrong("BatchNorm did not learn its statistics.", EVALUATING, LEARNS)


@train_epoch.claim("returns the mean cross-entropy per example, over the epoch")
def _mean_loss(answer, draw):
    case = _case(draw)
    returned, model, _ = _train(answer, case)
    logits = [call.logits for call in model.calls]
    if [len(each) for each in logits] != [len(labels) for _, labels in case.batches]:
        more = len(logits) > len(case.batches)
        mistake = "The model is called more than once for a batch." if more else "The epoch ends before the last batch."
        raise Wrong(f"The model was called {len(logits)} times, with {len(case.batches)} batches.", mistake, OFF)
    loss = expect_number(returned, "What it returns", OFF)
    _expect_mean(loss, _losses(logits, case), case, "The loss", _loss_mistakes(logits, case), OFF)


@train_epoch.claim("every batch is moved to the device")
def _trains_on_device(answer, draw):
    _expect_moved(lambda: _train(answer, _case(draw))[1])


def _losses(logits: list[Tensor], case: Case, loss=F.cross_entropy) -> Tensor:
    """The mean loss of each batch, (batches,)."""
    return torch.stack([loss(each, labels) for each, (_, labels) in zip(logits, case.batches, strict=True)])


def _loss_mistakes(logits: list[Tensor], case: Case) -> Mistakes:
    each = {words: _losses(logits, case, loss) for words, loss in WRONG_LOSSES.items()}
    return {words: [_mean(values, case), values.mean()] for words, values in each.items()}


def _sizes(case: Case) -> Tensor:
    return torch.tensor([len(labels) for _, labels in case.batches])


def _mean(values: Tensor, case: Case) -> Tensor:
    """Over all examples, of values that are means over batches."""
    return (values * _sizes(case)).sum() / _sizes(case).sum()


def _expect_mean(seen: float, values: Tensor, case: Case, what: str, mistakes: dict, hint: str) -> None:
    """What is seen is the mean over all examples of values that are means over batches."""
    sizes = _sizes(case)
    total, count = (values * sizes).sum(), sizes.sum()
    mistakes |= {
        "The batches' means are averaged, but the last batch is smaller and must count less.": values.mean(),
        "The batches' means are added up and never divided by their number.": values.sum(),
        "The sum over all examples is not divided by their number.": total,
        "Means of batches are divided by the number of examples: the mean is taken twice.": values.sum() / count,
        "The sum over all examples is divided by the number of batches.": total / len(values),
        "Every batch counts as if it were as large as the first.": (values * sizes[0]).sum() / count,
        "It is divided by batches times batch size, but the last batch is smaller.": total / (len(values) * sizes[0]),
        "It is the value of the last batch alone.": values[-1],
        "It is the value of the first batch alone: the return is inside the loop.": values[0],
        "The last batch is left out.": (values * sizes)[:-1].sum() / sizes[:-1].sum(),
    }
    expect_same(seen, _mean(values, case), mistakes, hint, what)


@evaluate.claim("returns two numbers, loss and accuracy")
def _returns_pair(answer, draw):
    _evaluate(answer, _case(draw))


def _evaluate(answer: Callable, case: Case) -> tuple[list[float], Recorder]:
    """The two numbers, and the model, which arrives in training mode."""
    model = copy.deepcopy(case.model).train()
    pair = answer(model, case.loader, torch.device("cpu"))
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        mistake = "A return statement is missing." if pair is None else "It is not the pair (loss, accuracy)."
        raise Wrong(f"What it returns is {type(pair).__name__}.", mistake, OFF)
    numbers = [x.item() if isinstance(x, Tensor) and x.ndim == 0 and not x.requires_grad else x for x in pair]
    return [expect_number(x, name, OFF) for x, name in zip(numbers, ("The loss", "The accuracy"), strict=True)], model


@evaluate.claim("the model is in evaluation mode, and is not changed")
def _evaluates(answer, draw):
    case = _case(draw)
    _, model = _evaluate(answer, case)
    if not model.calls or any(call.training for call in model.calls):
        raise Wrong("BatchNorm used the statistics of the batch.", TRAINING, SWITCH)
    before, after = case.model.state_dict(), model.state_dict()
    if changed := [name for name in before if not torch.equal(before[name], after[name])]:
        raise Wrong(f"Changed: {', '.join(changed)}.", "The model is trained while it is evaluated.", SWITCH)


@evaluate.claim("without gradients")
def _no_gradients(answer, draw):
    _, model = _evaluate(answer, _case(draw))
    if any(call.with_gradient for call in model.calls):
        text = "The forward pass recorded what a backward pass would need."
        raise Wrong(text, "no_grad is missing: time and memory are lost.", SWITCH)


def _logits(case: Case, train: bool) -> list[Tensor]:
    model = copy.deepcopy(case.model).train(train)
    return [model(images).detach() for images, _ in case.batches]


def _right(logits: list[Tensor], case: Case) -> Tensor:
    """The accuracy within each batch, (batches,)."""
    return _losses(logits, case, lambda each, labels: (each.argmax(1) == labels).float().mean())


@evaluate.claim("the loss is the mean cross-entropy per example")
def _evaluated_loss(answer, draw):
    case = _case(draw)
    (loss, accuracy), _ = _evaluate(answer, case)
    logits = _logits(case, train=False)
    values, training = _losses(logits, case), _losses(_logits(case, train=True), case)
    if agree(accuracy, _mean(values, case)):
        raise Wrong("The second number is the loss.", "Loss and accuracy are returned in the other order.", OFF)
    mistakes = {TRAINING: [_mean(training, case), training.mean()], **_loss_mistakes(logits, case)}
    _expect_mean(loss, values, case, "The loss", mistakes, OFF)


@evaluate.claim("the accuracy is the part of the examples that are right, in 0..1")
def _evaluated_accuracy(answer, draw):
    case = _case(draw)
    (_, accuracy), _ = _evaluate(answer, case)
    logits = _logits(case, train=False)
    values, training = (_right(each, case) for each in (logits, _logits(case, train=True)))
    counts = _sizes(case) * values
    mistakes = {
        "It is a percentage: the accuracy lies in 0..1.": 100 * _mean(values, case),
        "It is how many examples are right, not which part of them.": counts.sum(),
        "It is the part of the examples that are wrong.": 1 - _mean(values, case),
        TRAINING: [_mean(training, case), training.mean()],
    }
    _expect_mean(accuracy, values, case, "The accuracy", mistakes, OFF)


@evaluate.claim("every batch is moved to the device")
def _evaluates_on_device(answer, draw):
    _expect_moved(lambda: _evaluate(answer, _case(draw))[1])


BIASES = "Too many names, or too few"
NORMS = "Names agree, norms do not"
NONE = "A gradient is None, or not what it was"
DELETED = "The gradients are read after zero_grad has deleted them, or are deleted by the function."
gradient_norms = Check(6, "gradient_norms", hints=(BIASES, NORMS, NONE), errors=((r"NoneType", DELETED, NONE),))


class Mixing(nn.Module):
    """A matrix that is not called weight."""

    def __init__(self, size: int):
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(size, size))


def _with_gradients(draw: Draw) -> nn.Module:
    """A model after a backward pass, with random gradients. Kernels of several kinds; ten blocks and more."""
    sizes = draw.distinct(4, 2, 9)
    blocks = [nn.Conv2d(sizes[1], sizes[1], 3) for _ in range(draw.integer(11, 13))]
    model = nn.Sequential()
    model.stem = nn.Sequential(nn.Conv2d(3, sizes[0], 3), nn.BatchNorm2d(sizes[0]))
    model.blocks = nn.Sequential(nn.Conv2d(sizes[0], sizes[1], 3), *blocks)
    model.attention = Mixing(sizes[1])
    model.audio = nn.Conv1d(sizes[1], sizes[2], 5)
    model.fc = nn.Linear(sizes[2], sizes[3])
    for p in model.parameters():
        p.data.copy_(draw.normal(*p.shape))
        p.grad = draw.normal(*p.shape) * 0.1 * draw.integer(1, 30)
    return model


def _norms_of(model: nn.Module, norm: Callable[[nn.Parameter], Tensor] = lambda p: p.grad.norm()) -> dict[str, Tensor]:
    return {name: norm(p).detach() for name, p in model.named_parameters() if p.ndim >= 2}


def _names_and_norms(answer: Callable, model: nn.Module) -> dict[str, float]:
    norms = answer(model)
    if not isinstance(norms, dict):
        mistake = "A return statement is missing." if norms is None else "It is of another type than asked for."
        raise Wrong(f"What it returns is {type(norms).__name__}, not a dict.", mistake, BIASES)
    return {name: expect_number(norm, f"The norm of {name!r}", NORMS) for name, norm in norms.items()}


@gradient_norms.claim("a dict from names to numbers")
def _is_dict(answer, draw):
    _names_and_norms(answer, _with_gradients(draw))


@gradient_norms.claim("the names of all weights with two or more dimensions, in depth order")
def _names(answer, draw):
    model = _with_gradients(draw)
    every, weights = dict(model.named_parameters()), list(_norms_of(model))
    mistakes = {
        "Biases and BatchNorm's parameters are in it, but they have one dimension.": list(every),
        "They are chosen by the name `weight`, not by their dimensions.": [n for n in every if "weight" in n],
        "They are chosen by the name `weight`, too, but a matrix may have another name.": (
            [n for n in weights if "weight" in n]
        ),
        "They are chosen by the type of layer, not by their dimensions.": (
            [n for n in weights if isinstance(model.get_submodule(n.rpartition(".")[0]), nn.Conv2d | nn.Linear)]
        ),
        "Only convolutions are in it.": [n for n in weights if every[n].ndim > 2],
        "Only kernels with four dimensions are in it.": [n for n in weights if every[n].ndim == 4],
        "Only matrices are in it, no convolutions.": [n for n in weights if every[n].ndim == 2],
        "They are sorted by the alphabet, in which blocks.10 comes before blocks.2.": sorted(weights),
        "They are in the reverse order.": weights[::-1],
        "These are names of modules, without that of the parameter.": [n.rpartition(".")[0] for n in weights],
        DELETED: [],
    }
    names = list(_names_and_norms(answer, model))
    if names != weights:
        text = f"{len(names)} names, expected {len(weights)}."
        if len(names) == len(weights):
            text = next(f"{a!r}, expected {b!r}." for a, b in zip(names, weights, strict=True) if a != b)
        raise Wrong(text, next((words for words, wrong in mistakes.items() if wrong == names), ""), BIASES)


@gradient_norms.claim("the L2 norm of each gradient")
def _norms(answer, draw):
    model = _with_gradients(draw)
    expected = _norms_of(model, lambda p: p.grad.double().square().sum().sqrt())
    mistakes = {
        "These are the norms of the weights, not of their gradients.": lambda p: p.norm(),
        "The root of the sum of squares is not taken.": lambda p: p.grad.square().sum(),
        "This is the L1 norm, a sum of absolute values.": lambda p: p.grad.abs().sum(),
        "This is the mean of the absolute values, which is no norm.": lambda p: p.grad.abs().mean(),
        "This is the largest absolute value, not the L2 norm.": lambda p: p.grad.abs().max(),
        "This is the mean of squares, not the root of their sum.": lambda p: p.grad.square().mean(),
        "This is the root of the mean of squares, not of their sum.": lambda p: p.grad.square().mean().sqrt(),
        "This is the standard deviation, not the L2 norm.": lambda p: p.grad.std(),
        "This is the mean of the gradient, not its norm.": lambda p: p.grad.mean(),
        "This is the sum of the gradient, not its norm.": lambda p: p.grad.sum(),
        "This is the norm of gradient times weight.": lambda p: (p.grad * p).norm(),
        "The norm is divided by that of the weight.": lambda p: p.grad.norm() / p.norm(),
        "The norm is divided by the number of elements.": lambda p: p.grad.norm() / p.numel(),
        "This is the logarithm (base 10) of the norm.": lambda p: p.grad.norm().log10(),
        "This is the natural logarithm of the norm.": lambda p: p.grad.norm().log(),
        DELETED: lambda p: torch.tensor(0.0),
    }
    mistakes = {words: _norms_of(model, norm) for words, norm in mistakes.items()}
    norms = _names_and_norms(answer, model)
    common = [name for name in expected if name in norms]
    if not common:
        raise Wrong("No name of a weight is among the keys.", hint=BIASES)

    def vector(values: dict) -> Tensor:
        return torch.tensor([float(values[name]) for name in common])

    wrong = {words: vector(values) for words, values in mistakes.items()}
    expect_same(vector(norms), vector(expected), wrong, NORMS, "A norm")


@gradient_norms.claim("the gradients stay as they were")
def _gradients_stay(answer, draw):
    model = _with_gradients(draw)
    before = [(p.detach().clone(), p.grad.clone()) for p in model.parameters()]
    answer(model)
    for p, (value, gradient) in zip(model.parameters(), before, strict=True):
        if p.grad is None or not torch.equal(p.grad, gradient):
            text = "deleted" if p.grad is None else "changed"
            raise Wrong(f"After the call a gradient is {text}.", "The function changes or deletes the gradients.", NONE)
        if not torch.equal(p.detach(), value):
            raise Wrong("After the call a weight is no longer what it was.", "The function changes the weights.", NONE)
