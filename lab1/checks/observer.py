"""The observing half of a check: it runs where the student's code runs, knows inputs, and never references.

Each public method of `Observer` is one observation. It takes and returns plain data only (see channel).
"""

import contextlib
import dis
import io
import sys
import sysconfig
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lab1.checks import _harness, _settings
from lab1.checks.channel import Ended, Pipe, Queues, decode, encode

CHECKS = Path(_settings.__file__).parent
LIBRARIES = [Path(module.__file__).parent for module in (torch, np)] + [CHECKS, CHECKS.parent / "grade"]
NOT_STUDENTS = (*map(str, LIBRARIES), *(sysconfig.get_path(name) for name in ("stdlib", "purelib")))


class Interrupted(BaseException):
    """The time is up. Raised inside a thread; nobody but `serve` may catch it."""


def serve(answer: Any, channel: Pipe | Queues) -> None:
    """Observe the student's own class or function, one request after the other, until the channel ends.

    A request is [name, arguments, options]. The reply is a dict: value or error, what the arguments are afterwards
    (given), the settings that the student's code has changed (changes), and what it has printed so far (printed).
    """
    observer, printed = Observer(answer), Printed()
    settings = _settings.normalise()
    with contextlib.suppress(Ended), torch.inference_mode(False):
        while True:
            name, arguments, options = decode(channel.receive())
            if name == "begin":
                observer, settings = Observer(answer), _settings.normalise()
            reply: dict[str, Any] = {}
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                try:
                    reply["value"] = getattr(observer, name)(*arguments, **options)
                except Interrupted:
                    return
                except BaseException as error:
                    reply["error"] = described(error)
            reply |= {"given": arguments, "changes": _settings.put_back(settings), "printed": printed.text()}
            channel.send(_encoded(reply))


def _encoded(reply: dict) -> bytes:
    try:
        return encode(reply)
    except BaseException as error:  # a value whose own methods fail, or that is nested without end
        return encode({"error": described(error), "given": [], "changes": [], "printed": ""})


class Observer:
    """What can be done with an answer, and with the one model that it has made last."""

    def __init__(self, answer: Any):
        self.answer, self.model = answer, None

    def begin(self) -> dict:
        """What the answer is. Settings and random numbers start anew."""
        is_function = callable(self.answer) and not isinstance(self.answer, nn.Module)
        names = list(vars(self.answer)) if isinstance(self.answer, type) else []
        return {"type": type(self.answer).__name__, "callable": is_function, "names": names}

    def run(self, *arguments, **options) -> Any:
        """What the answer itself returns."""
        return self.answer(*arguments, **options)

    def make(self, *arguments, **options) -> dict:
        """Keep the model that the answer makes. Returns its kind."""
        self.model = self.answer(*arguments, **options)
        return _kind(self.model)

    def call(self, *inputs) -> Any:
        """The model's output."""
        return self.model(*inputs)

    def trace(self, *inputs) -> dict:
        """The model's output or error, and the layers that it has computed, in this order."""
        names = {id(p): name for name, p in self.model.named_parameters()}
        with Used(names) as used:
            try:
                return {"out": self.model(*inputs), "layers": used.layers}
            except Exception as error:
                return {"error": described(error), "layers": used.layers}

    def mode(self, training: bool) -> None:
        """Training or evaluation mode."""
        self.model.train(training)

    def parameters(self) -> list[dict]:
        """Name, layer (such as "BatchNorm2d.weight"; "" if it is in none of PyTorch's) and value of each."""
        owners = {
            id(p): f"{_torch_class(module)}.{name}"
            for module in self.model.modules()
            for name, p in module.named_parameters(recurse=False)
            if _torch_class(module)
        }
        return [{"name": n, "layer": owners.get(id(p), ""), "value": p} for n, p in self.model.named_parameters()]

    def buffers(self) -> dict[str, Tensor]:
        return dict(self.model.named_buffers())

    def load(self, values: dict[str, Tensor]) -> None:
        """Write values into parameters and buffers."""
        own = dict(self.model.named_parameters()) | dict(self.model.named_buffers())
        for name, value in values.items():
            own[name].data.copy_(value)

    def gradients(self, inputs: list, weights: Tensor | None = None) -> dict[str, Tensor | None]:
        """The parameters' gradients of (output * weights).sum(), weights all one if not given; None where none is."""
        out = self.model(*inputs)
        (out.sum() if weights is None else (out * weights).sum()).backward()
        return {name: p.grad for name, p in self.model.named_parameters()}

    # What only one task needs. The models are described in _harness.

    def train(self, case: dict, training: bool = True) -> dict:
        """Task 2: train_epoch on the case's classifier and batches."""
        model, loader = _harness.classifier(case).train(training), _harness.loader(case)
        optimizer = _harness.SGD(model.parameters(), case["lr"])
        value = self.answer(model, loader, optimizer, torch.device("cpu"))
        return {"value": value, "steps": optimizer.steps, **model.seen()}

    def evaluate(self, case: dict) -> dict:
        """Task 3: evaluate, with the case's classifier in training mode."""
        model = _harness.classifier(case).train()
        value = self.answer(model, _harness.loader(case), torch.device("cpu"))
        return {"value": value, **model.seen()}

    def norms(self, case: dict) -> dict:
        """Task 6: gradient_norms of the case's model, whose gradients are filled in."""
        model, seen = _harness.layers(case), {}
        try:
            seen["value"] = self.answer(model)
        except Exception as error:
            seen["error"] = described(error)
        seen["after"] = {name: [p, p.grad] for name, p in model.named_parameters()}
        return seen | {"called": model.called, "state_dict": model.asked}

    def surgery(self, weight: Tensor, bias: Tensor | None) -> dict:
        """Task 8: keep the convolution that to_conv1x1 makes of a linear layer."""
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
        linear.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
        self.model = self.answer(linear)
        places = {p.data_ptr() for p in linear.parameters()}
        own = self.model.parameters() if isinstance(self.model, nn.Module) else []
        shares = any(p.data_ptr() in places for p in own)
        return {**_kind(self.model), "linear": linear.state_dict(), "shares": shares}

    def explain(self, case: dict, stage: int, images: Tensor, *targets: Tensor, training: bool = False) -> dict:
        """Task 12: grad_cam of a stage of the case's network."""
        model = _harness.network(case).train(training)
        flags = [p.requires_grad for p in model.parameters()]
        value = self.answer(model, model.stages[stage], images, *targets)
        kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        return {
            "value": value,
            "modes": [module.training for module in model.modules()],
            "state": model.state_dict(),
            "hooks": sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds),
            "gradients": any(p.grad is not None and bool(p.grad.any()) for p in (*model.parameters(), images)),
            "frozen": [p.requires_grad for p in model.parameters()] != flags or images.requires_grad,
            "graph": isinstance(value, Tensor) and value.requires_grad,
        }


def _torch_class(module: nn.Module) -> str:
    """The first of PyTorch's own layers among the classes of a module; "" for a module of another kind."""
    names = [c.__name__ for c in type(module).__mro__ if c.__module__.startswith("torch.nn.") and c is not nn.Module]
    return names[0] if names else ""


def _kind(value: Any) -> dict:
    shape = list(value.weight.shape) if isinstance(value, nn.Conv2d) else []
    return {"type": type(value).__name__, "is_module": isinstance(value, nn.Module), "kernel": shape}


class Used(TorchFunctionMode):
    """Notes the layers that are computed: weight, its name, whether it is no parameter of the model, and shapes."""

    def __init__(self, names: dict[int, str]):
        super().__init__()
        self.names, self.layers = names, []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func not in (F.conv2d, F.batch_norm, F.linear):
            return func(*args, **kwargs)
        at = 3 if func is F.batch_norm else 1
        weight = kwargs["weight"] if "weight" in kwargs else args[at] if len(args) > at else None
        x = kwargs.get("input", args[0] if args else None)
        name = self.names.get(id(weight), "")
        layer = {"is": func.__name__, "weight": weight, "name": name, "in": list(x.shape)}
        layer["unseen"] = isinstance(weight, nn.Parameter) and not name
        self.layers.append(layer)
        result = func(*args, **kwargs)
        layer["out"] = list(result.shape)
        return result


def described(error: BaseException) -> dict:
    """An error in plain data: its text, where it last came through the student's code, and what is not written yet."""
    own = _own_parts(error)
    unwritten = _unwritten(error, own)
    return {
        "type": type(error).__name__,
        "text": _text(error),
        "line": _last_line(own),
        "unwritten": unwritten,
        "is_stub": bool(unwritten) and len(own) == 1,
    }


def _text(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {str(error)[:200]}".strip().rstrip(":.")
    except Exception:  # of the error's own __str__
        return type(error).__name__


def _own_parts(error: BaseException) -> list[TracebackType]:
    """The parts of an error's traceback that lie in what the student wrote, the outermost first."""
    parts, part = [], error.__traceback__
    while part:
        if not part.tb_frame.f_code.co_filename.startswith(NOT_STUDENTS):
            parts.append(part)
        part = part.tb_next
    return parts


def _unwritten(error: BaseException, own: list[TracebackType]) -> str:
    """The name of a function of the student's own, if a `raise` in it raised NotImplementedError; "" otherwise.

    PyTorch does so, too, for some dtypes.
    """
    if not isinstance(error, NotImplementedError) or not own or own[-1].tb_next:
        return ""
    code = own[-1].tb_frame.f_code
    return code.co_qualname if dis.opname[code.co_code[own[-1].tb_lasti]] == "RAISE_VARARGS" else ""


def _last_line(own: list[TracebackType]) -> str:
    """Where an error last came through, in a notebook with the number of the cell; "" if nowhere."""
    if not own:
        return ""
    [line] = traceback.extract_tb(own[-1], limit=1)
    ipython = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    cell = shell and shell.compile.format_code_name(line.filename)  # such as ("Cell", "In[3]")
    where = f"cell {cell[1]}, " if cell and cell[0] == "Cell" else ""
    return f"{where}line {line.lineno}: {line.line}".rstrip(": ")


class Printed(io.TextIOBase):
    """Keeps the beginning of what is written to it, and counts the rest."""

    def __init__(self, most: int = 300):
        self._beginning, self._length, self._most = "", 0, most

    def write(self, text: str) -> int:
        self._beginning += text[: self._most - len(self._beginning)]
        self._length += len(text)
        return len(text)

    def text(self) -> str:
        more = self._length - len(self._beginning)
        return self._beginning + (f" ... and {more:,} more characters" if more else "")
