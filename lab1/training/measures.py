"""What is measured while a network is trained or evaluated."""

import torch
from torch import Tensor

from lab1.training import distributed


class RunningMean:
    """Mean loss per example and accuracy, summed on the device."""

    def __init__(self):
        self.num_examples = self.num_targets = 0
        self._loss = self._correct = 0.0

    def add(self, loss: Tensor, logits: Tensor, targets: Tensor) -> None:
        self.num_examples += len(targets)
        self.num_targets += targets.numel()
        self._loss = self._loss + loss.detach() * len(targets)
        self._correct = self._correct + (logits.detach().argmax(1) == targets).sum()

    def add_other_processes(self, device: torch.device) -> None:
        mine = (self.num_examples, self.num_targets, self._loss, self._correct)
        self.num_examples, self.num_targets, self._loss, self._correct = distributed.summed(*mine, device=device)

    def result(self) -> tuple[float, float]:
        if self.num_examples == 0:
            raise ValueError("there is nothing to evaluate: the data are empty")
        return float(self._loss) / self.num_examples, float(self._correct) / self.num_targets
