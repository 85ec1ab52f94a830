"""Checkpoints: written whole or not at all, read without executing anything."""

import tempfile
import zlib
from pathlib import Path

import numpy as np
import torch

from lab1.basics.files import atomic, sweep

_MARK = "lab1 checkpoint, version 1"


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used; the message names the file, the fault and what to do."""


def save(path: str | Path, checkpoint: dict) -> None:
    """Write a checkpoint: a dict of tensors and plain values (numbers, strings, None, lists, tuples, dicts of them).

    It is written to a temporary file beside `path` and renamed, so that `path` is at every moment the old checkpoint
    or the new one, whole.

    Raises:
        TypeError: something that is neither a tensor nor a plain value; nothing is written.
        CheckpointError: the folder cannot be written to, or is full; an old checkpoint stays as it was.
    """
    check_plain(checkpoint, "checkpoint")
    path = Path(path)
    try:
        with atomic(path) as file:
            torch.save({"format": _MARK, **checkpoint}, file)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
        raise CheckpointError(f"cannot write the checkpoint {path}: {_reason(error)}") from error


def load(path: str | Path) -> dict:
    """Read a checkpoint onto the CPU. Only tensors and plain values are accepted: code in the file never runs.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is truncated, holds something other than tensors and plain values, or was not
            written by `save`.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    advice = "Remove the file to train anew, or name another one"
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many types, one for each way in which a file can be damaged
        raise CheckpointError(f"{path} is not a complete checkpoint ({_reason(error)}). {advice}") from error
    if not isinstance(checkpoint, dict) or checkpoint.pop("format", None) != _MARK:
        raise CheckpointError(f"{path} was not written by lab1.training.checkpoints.save. {advice}")
    return checkpoint


def check_writable(path: str | Path) -> None:
    """Raise CheckpointError unless a checkpoint could be written at `path`: before an hour of training, not after.

    What a killed process left half written beside it is removed.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            sweep(path)
    except OSError as error:
        raise CheckpointError(f"cannot write the checkpoint {path}: {_reason(error)}") from error
    if path.is_dir():
        raise CheckpointError(f"cannot write the checkpoint {path}: it is a folder")


def fingerprint(model: torch.nn.Module) -> int:
    """A CRC-32 of all weights and buffers: equal for equal states, on whatever device."""
    crc = 0
    for tensor in model.state_dict().values():
        crc = zlib.crc32(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy(), crc)
    return crc


def check_plain(value, where: str) -> None:
    """Raise TypeError unless a checkpoint can hold the value; the message says `where` it stands."""
    if isinstance(value, dict):
        for key, item in value.items():
            check_plain(key, f"the key {key!r} of {where}")
            check_plain(item, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            check_plain(item, f"{where}[{i}]")
    elif type(value) not in (torch.Tensor, torch.nn.Parameter, bool, int, float, str, type(None)):
        number = "; .item() makes a plain number of it" if isinstance(value, np.generic) else ""
        raise TypeError(
            f"{where} is a {type(value).__name__}: a checkpoint holds tensors and plain values only{number}"
        )


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
