"""Where the work runs: the device, the number format and memory format that pay there, and its name."""

import os
import platform
import re
from pathlib import Path

import torch


def default_device() -> torch.device:
    """The device that the environment variable LAB1_DEVICE names, such as "cpu" or "cuda:1"; else CUDA, MPS or the CPU.

    Raises:
        ValueError: LAB1_DEVICE names no device, or one that PyTorch does not find here.
    """
    if name := os.environ.get("LAB1_DEVICE"):
        return _device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _device(name: str) -> torch.device:
    counts = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    found = re.fullmatch(r"(cpu|cuda|mps)(?::(\d+))?", name)
    if not found:
        raise ValueError(f"LAB1_DEVICE is {name!r}: write cpu, cuda, cuda:1 or mps, or unset it")
    if int(found[2] or 0) >= counts[found[1]]:
        raise ValueError(f"LAB1_DEVICE is {name!r}, but PyTorch finds no such device here: unset it, or write cpu")
    return torch.device(name)


def gains_from_bf16(device: torch.device) -> bool:
    """Whether bf16 autocast is faster than fp32 there; on a CPU without units for it, it is 20 times slower."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and (has_amx() or _cpu_has("_is_avx512_bf16_supported"))


def has_amx() -> bool:
    """Whether the CPU has units for whole matrix products (Intel's AMX)."""
    return _cpu_has("_is_amx_tile_supported")


def _cpu_has(question: str) -> bool:
    """The answer of torch.cpu, whose questions are private; False from a torch that does not know this one."""
    return hasattr(torch.cpu, question) and getattr(torch.cpu, question)()


def memory_format(device: torch.device, autocast: bool) -> torch.memory_format:
    """How a model's weights should lie in memory there: channels_last on CPUs, and on a GPU that computes in bf16."""
    return torch.channels_last if autocast or device.type == "cpu" else torch.preserve_format


def hardware() -> str:
    """The device's name as a reader would say it, such as "AMD EPYC, 2 cores, bf16" or "NVIDIA H100 80GB HBM3".

    "bf16" stands where a CPU has units for it: the same name is sold with and without.
    """
    device = default_device()
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name, cpuinfo = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line.split(":")[1] for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        name = " ".join(models[0].split()) if models else name
    return f"{name}, {os.cpu_count()} cores{', bf16' if gains_from_bf16(torch.device('cpu')) else ''}"
