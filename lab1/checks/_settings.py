"""PyTorch's settings that hold for a whole process: told apart from what they should be, and put back."""

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from lab1.basics.device import default_device

SEED = 0x1AB1_0000_5EED  # nobody else's
AS_FOUND = object()


class Setting(NamedTuple):
    """How a setting is read and written, what it is during a check, and what to call a change of it."""

    get: Callable[[], Any]
    put: Callable[[Any], Any]
    during: Any
    change: str


def _put_cudnn(value: tuple[bool, bool]) -> None:
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = value


SETTINGS = (
    Setting(torch.is_grad_enabled, torch.set_grad_enabled, True, "gradients are switched off"),
    Setting(torch.get_default_dtype, torch.set_default_dtype, torch.float32, "the default dtype has changed"),
    Setting(
        torch.get_default_device,
        lambda device: torch.set_default_device(None if device.type == "cpu" else device),
        torch.device("cpu"),
        "the default device has changed",
    ),
    Setting(
        torch.get_deterministic_debug_mode,  # use_deterministic_algorithms, with and without warn_only
        torch.set_deterministic_debug_mode,  # takes seconds when it is first used
        AS_FOUND,
        "the deterministic flag has changed",
    ),
    Setting(
        lambda: (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark),
        _put_cudnn,
        AS_FOUND,
        "cuDNN's flags have changed",
    ),
    Setting(
        torch.get_num_threads,
        torch.set_num_threads,
        1,  # inputs are small, and a forked copy has no other threads: it would wait for them for ever
        "the number of threads has changed",
    ),
    Setting(torch.initial_seed, torch.manual_seed, SEED, "the seed of all random numbers has changed"),
)


def normalise() -> list:
    """Bring every setting to its value during a check, and begin with the same random numbers. Returns the values."""
    for setting in SETTINGS:
        if setting.during is not AS_FOUND and setting.get() != setting.during:
            setting.put(setting.during)
    torch.manual_seed(SEED)
    return [setting.get() for setting in SETTINGS]


def put_back(values: list) -> list[str]:
    """Give every setting such a value again. Returns what had another one, in words."""
    changes = []
    for setting, value in zip(SETTINGS, values, strict=True):
        if setting.get() != value:
            setting.put(value)
            changes.append(setting.change)
    return changes


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """Afterwards the settings and the states of the random numbers are again what they were."""
    values = [setting.get() for setting in SETTINGS]
    numpy_state, python_state = np.random.get_state(), random.getstate()
    accelerator = default_device().type.replace("cpu", "cuda")  # without any, CUDA with its zero devices
    devices = range(getattr(torch, accelerator).device_count())
    with torch.random.fork_rng(devices, device_type=accelerator):  # the initial seed is part of the state
        try:
            yield
        finally:
            put_back(values)
            np.random.set_state(numpy_state)
            random.setstate(python_state)
