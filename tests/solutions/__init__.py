"""Answers to the twelve tasks: right ones in several styles, and wrong ones with the mistakes that students make."""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

from lab1.checks._check import Check

TASKS = ["mlp", "train_epoch", "evaluate", "residual_block", "cifar_resnet", "gradient_norms"]
TASKS += ["label_map", "to_conv1x1", "fcn_head", "paste_digits", "mean_iou", "grad_cam"]


class Answer(NamedTuple):
    check: Check
    answer: Any
    words: tuple[str, ...]  # what the text about it has to say, ignoring case
    is_right: bool = False

    def __str__(self) -> str:
        return f"{self.check.name}-{self.answer.__name__}"


ANSWERS: list[Answer] = []


def right(check: Check, *words: str) -> Callable:
    """A decorator for a right answer, about which the check remarks these words."""
    return wrong(check, *words, is_right=True)


def wrong(check: Check, *words: str, is_right: bool = False) -> Callable:
    """A decorator for a wrong answer, about which the check says these words."""

    def note(answer):
        ANSWERS.append(Answer(check, answer, words, is_right))
        return answer

    return note


for task in TASKS:
    importlib.import_module(f"solutions.{task}")
