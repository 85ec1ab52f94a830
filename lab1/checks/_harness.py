"""What the observing half hands to train_epoch, evaluate, gradient_norms and grad_cam: models, loader and optimizer.

The judging half builds the same models from the same case, a dict of plain data.
"""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


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


class Classifier(nn.Module):
    """A network with BatchNorm that keeps how it was called, in a list that its copies share."""

    def __init__(self, num_features: int, num_classes: int, calls: list | None = None):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(num_features, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, num_classes)
        )
        self.calls: list[dict] = [] if calls is None else calls

    def forward(self, images: Tensor) -> Tensor:
        moved = not isinstance(images, Loaded)
        logits = self.layers(images.as_subclass(Tensor))
        call = {"training": self.layers[2].training, "gradient": logits.requires_grad, "moved": moved}
        self.calls.append(call | {"logits": logits.detach(), "backward": 0})
        if logits.requires_grad:
            logits.register_hook(self._count)
        return logits.as_subclass(OnDevice)

    def _count(self, gradient: Tensor) -> None:
        self.calls[-1]["backward"] += 1

    def __deepcopy__(self, memo: dict) -> "Classifier":
        linear = self.layers[-1]
        copy = Classifier(self.layers[1].in_features, linear.out_features, self.calls).train(self.training)
        copy.load_state_dict(self.state_dict())
        for p, q in zip(copy.parameters(), self.parameters(), strict=True):
            p.requires_grad_(q.requires_grad)
        return copy

    def seen(self) -> dict:
        """How it was called, what it is now, and whether labels met logits at another place."""
        flags = [p.requires_grad for p in self.parameters()]
        return {"calls": self.calls, "state": self.state_dict(), "flags": flags, "mixed": Placed.mixed}


def classifier(case: dict) -> Classifier:
    """The case's state in a Classifier."""
    Placed.mixed = False
    model = Classifier(case["images"][0].numel(), case["num_classes"])
    model.load_state_dict(case["state"])
    return model


def loader(case: dict) -> DataLoader:
    """The case's images and labels in its own order, which is not that of the data set."""
    images, labels = (case[name].as_subclass(Loaded) for name in ("images", "labels"))
    return DataLoader(TensorDataset(images, labels), case["batch_size"], sampler=case["order"])


class SGD(torch.optim.Optimizer):
    """Gradient descent with momentum that counts its steps.

    A real optimizer, but without PyTorch's compiler around its methods, whose import takes seconds.
    """

    add_param_group, zero_grad, state_dict, load_state_dict = (
        inspect.unwrap(getattr(torch.optim.Optimizer, name))
        for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    )

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.9):
        super().__init__(parameters, {"lr": lr, "momentum": momentum})
        self.steps = 0

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> Any:
        with torch.enable_grad():
            loss = closure() if closure else None
        self.steps += 1
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    state = self.state[p]
                    state["momentum"] = group["momentum"] * state.get("momentum", 0) + p.grad
                    p -= group["lr"] * state["momentum"]
        return loss


class Mixing(nn.Module):
    """A matrix that is not called weight."""

    def __init__(self, size: int):
        super().__init__()
        self.matrix = nn.Parameter(torch.zeros(size, size))


class Layers(nn.Module):
    """Kernels of several kinds. It notes whether it is called, or asked for its state_dict."""

    def __init__(self, sizes: list[int], blocks: int):
        super().__init__()
        a, b, c, d = sizes
        self.called = self.asked = False
        self.stem = nn.Sequential(nn.Conv2d(3, a, 3), nn.BatchNorm2d(a))
        self.blocks = nn.Sequential(nn.Conv2d(a, b, 3), *(nn.Conv2d(b, b, 3) for _ in range(blocks)))
        self.attention = Mixing(b)
        self.audio = nn.Conv1d(b, c, 5)
        self.fc = nn.Linear(c, d)

    def forward(self, *inputs: Any) -> None:
        self.called = True
        raise RuntimeError("the model was called, but its backward pass is over")

    def state_dict(self, *arguments, **options) -> dict[str, Tensor]:
        self.asked = True
        return super().state_dict(*arguments, **options)


def layers(case: dict) -> Layers:
    """A model with the case's values and gradients."""
    model = Layers(case["sizes"], case["blocks"])
    for name, p in model.named_parameters():
        p.data.copy_(case["values"][name])
        p.grad = case["gradients"][name].clone()
    return model


class Network(nn.Module):
    """Three stages, the second of stride 2, and a linear layer of the mean."""

    def __init__(self, num_classes: int):
        super().__init__()
        sizes = ((3, 6, 1), (6, 8, 2), (8, 7, 1))
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, stride, padding=1), nn.BatchNorm2d(b), nn.ReLU()) for a, b, stride in sizes
        )
        self.fc = nn.Linear(7, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.logits(self.maps(images, 2), 2)

    def maps(self, images: Tensor, last: int) -> Tensor:
        """The feature maps after stage `last`."""
        for stage in self.stages[: last + 1]:
            images = stage(images)
        return images

    def logits(self, maps: Tensor, last: int) -> Tensor:
        for stage in self.stages[last + 1 :]:
            maps = stage(maps)
        return self.fc(maps.mean((2, 3)))


def network(case: dict) -> Network:
    """The case's state in a Network."""
    model = Network(case["num_classes"])
    model.load_state_dict(case["state"])
    return model.eval()
