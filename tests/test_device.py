"""LAB1_DEVICE chooses the device."""

import pytest
import torch

from lab1.basics import device


@pytest.fixture
def two_gpus(monkeypatch):
    """PyTorch as it would answer on a computer with two NVIDIA GPUs, without touching one."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.parametrize(
    ("name", "chosen"), [(None, "cuda"), ("", "cuda"), ("cpu", "cpu"), ("cuda", "cuda"), ("cuda:1", "cuda:1")]
)
def test_lab1_device_decides(name, chosen, two_gpus, monkeypatch):
    monkeypatch.delenv("LAB1_DEVICE", raising=False)
    if name is not None:
        monkeypatch.setenv("LAB1_DEVICE", name)
    assert device.default_device() == torch.device(chosen)


def test_the_hardware_is_that_of_the_chosen_device(two_gpus, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda chosen: f"GPU {chosen}")
    monkeypatch.setenv("LAB1_DEVICE", "cuda:1")
    assert device.hardware() == "GPU cuda:1"
    monkeypatch.setenv("LAB1_DEVICE", "cpu")
    assert "cores" in device.hardware()


@pytest.mark.parametrize("name", ["gpu", "CPU", "cuda:", "cuda:x", "cuda:-1", "meta", " cpu"])
def test_a_name_that_is_no_device_is_told(name, two_gpus, monkeypatch):
    monkeypatch.setenv("LAB1_DEVICE", name)
    with pytest.raises(ValueError, match=f"^LAB1_DEVICE is '{name}': write cpu, cuda, cuda:1 or mps, or unset it$"):
        device.default_device()


@pytest.mark.parametrize("name", ["cuda:2", "mps", "cpu:1"])
def test_a_device_that_is_not_there_is_told(name, two_gpus, monkeypatch):
    monkeypatch.setenv("LAB1_DEVICE", name)
    with pytest.raises(ValueError, match=f"^LAB1_DEVICE is '{name}', but PyTorch finds no such device here: unset it"):
        device.default_device()
