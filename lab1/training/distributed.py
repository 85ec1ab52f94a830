"""Training on several devices or machines: torchrun starts one process for each, and they share every batch.

Each process computes the gradients of its share of a batch; PyTorch's DistributedDataParallel averages them, so that
all take the same step. Without torchrun there is one process, and nothing here does anything.
"""

import contextlib
import os
from collections.abc import Iterator

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from lab1.basics.device import default_device


def start() -> torch.device:
    """Join the other processes, if torchrun started this one, and return the device to train on.

    Raises ValueError where there are more processes than GPUs.
    """
    device = default_device()
    if "RANK" in os.environ and not distributed.is_initialized():
        device, number = torch.device(device.type if device.type == "cuda" else "cpu"), int(os.environ["LOCAL_RANK"])
        if device.type == "cuda":
            if number >= (count := torch.cuda.device_count()):
                raise ValueError(f"there are more processes than GPUs here: use --nproc-per-node {count}")
            device = torch.device("cuda", number)
            torch.cuda.set_device(device)
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device


def stop() -> None:
    """Leave the other processes."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def rank_and_size() -> tuple[int, int]:
    """Which of the processes this is, 0, 1, ..., and how many there are."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


@contextlib.contextmanager
def one_at_first() -> Iterator[None]:
    """What is in the block is done by one process of each machine before the others, as suits a download."""
    is_later = rank_and_size()[1] > 1 and os.environ["LOCAL_RANK"] != "0"
    if is_later:
        distributed.barrier()
    yield
    if rank_and_size()[1] > 1 and not is_later:
        distributed.barrier()


def replicated(model: nn.Module, device: torch.device) -> nn.Module:
    """The model, called so that backward() leaves the same gradients in all processes; in a single one, itself.

    On CUDA the statistics of BatchNorm are taken over the shares of all processes; on the CPU, where PyTorch cannot do
    that, every process normalises by its own share.
    """
    if rank_and_size()[1] == 1:
        return model
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return DistributedDataParallel(model)


def share(images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, float]:
    """This process's examples of a batch, and a factor for their mean loss.

    With it, the average over the processes is the mean loss of the whole batch, however unequal their shares. Where
    there are fewer examples than processes, the others get the first one, and the factor 0.
    """
    rank, size = rank_and_size()
    if rank >= len(images):
        return images[:1], targets[:1], 0.0
    mine = slice(rank, None, size)
    return images[mine], targets[mine], size * len(targets[mine]) / len(targets)


def summed(*values: float, device: torch.device) -> list[float]:
    """The sums over all processes of numbers that each has of its own."""
    if rank_and_size()[1] == 1:
        return list(values)
    total = torch.tensor(values, dtype=torch.float64, device=device)
    distributed.all_reduce(total)
    return total.tolist()


def smallest(value: float, device: torch.device) -> float:
    """The smallest of a number that each process has of its own."""
    if rank_and_size()[1] == 1:
        return value
    value = torch.tensor(float(value), dtype=torch.float64, device=device)
    distributed.all_reduce(value, distributed.ReduceOp.MIN)
    return value.item()
