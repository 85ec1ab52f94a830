"""Train one network: from a terminal, under torchrun on several devices, or as the agent of a W&B sweep.

python -m lab1 --model resnet --depth 56 --no-skip
torchrun --nproc-per-node 2 -m lab1 --model mlp --depth 16
wandb sweep sweep.yaml     and then the `wandb agent ...` that it prints
"""

import argparse
import contextlib
import io
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from lab1 import MLP, ResMLP, ResNet, ResNet18, data, experiment
from lab1.training import distributed
from lab1.training.checkpoints import CheckpointError


class Defaults(NamedTuple):
    data: str
    depth: int
    width: int
    plain: str  # name of a run without residual connections
    skip: str  # and with them


MODELS = {
    "mlp": Defaults(data="mnist", depth=2, width=64, plain="mlp", skip="resmlp"),
    "resnet": Defaults(data="cifar10", depth=20, width=16, plain="plain", skip="resnet"),
    "resnet18": Defaults(data="cifar10", depth=18, width=64, plain="resnet18-plain", skip="resnet18-skip"),
}


class Parser(argparse.ArgumentParser):
    def error(self, message):  # one line, without the usage
        self.exit(2, f"{self.prog}: {message}\n")


def above_zero(kind):
    def parse(text: str):
        with contextlib.suppress(ValueError):
            if 0 < (value := kind(text)) < float("inf"):
                return value
        expected = "whole number" if kind is int else "number"
        raise argparse.ArgumentTypeError(f"{text!r} is not a {expected} above 0")

    return parse


def seed(text: str) -> int:
    if not (text.isdecimal() and int(text) < 2**32):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {2**32 - 1}")
    return int(text)


def make_parser() -> Parser:
    style = argparse.RawDescriptionHelpFormatter
    parser = Parser(prog="python -m lab1", description=__doc__, formatter_class=style)
    add, count = parser.add_argument, above_zero(int)
    add("--model", choices=MODELS, default="resnet", help="default: resnet, the CIFAR networks of He et al.")
    add("--depth", type=count, help="hidden layers of an mlp (default 2); layers of a resnet, 6n + 2 (default 20)")
    add(
        "--width",
        type=count,
        help="of hidden layers (mlp: 64), or channels of the first stage (resnet: 16, resnet18: 64)",
    )
    add("--no-skip", action="store_true", help="without residual connections")
    add("--data", choices=("mnist", "cifar10", "shapes10"), help="default: mnist for an mlp, cifar10 for resnets")
    add("--num-train", type=count, help="images to train and validate with; default: all")
    add("--num-epochs", type=count, default=10, help="default: 10")
    add("--batch-size", type=count, default=128, help="of all processes together; default: 128")
    add("--lr", type=above_zero(float), default=0.1, help="the highest of the one-cycle schedule; default: 0.1")
    add("--seed", type=seed, default=0, help="of weights, batches and augmentation; default: 0")
    add("--name", help="of the W&B run, to which the seed is added; default: such as plain-56, for plain-56-seed0")
    add("--group", default="command-line", help="of the W&B run; default: command-line")
    add("--checkpoint", type=Path, help="file to keep the run in; an unfinished run in it continues")
    return parser


def build(name: str, depth: int, width: int, skip: bool, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Raises ValueError for a depth that the model does not have."""
    channels, height, breadth = shape
    if name == "mlp":
        in_features = channels * height * breadth
        if skip:
            return ResMLP(depth, width, in_features, num_classes)
        return MLP([in_features, *[width] * depth, num_classes])
    if name == "resnet18":
        if depth != 18:
            raise ValueError(
                f"--depth {depth}: resnet18 has 18 layers; --model resnet has 6n + 2, such as 20, 32 or 56"
            )
        return ResNet18(num_classes, channels, skip, width)
    n, rest = divmod(depth - 2, 6)
    if rest or n < 1:
        raise ValueError(f"--depth {depth}: a resnet has 6n + 2 layers, such as 8, 20, 32, 56 or 110")
    return ResNet((n, n, n), num_classes, channels, skip, width)


def main(arguments: list[str] | None = None) -> None:
    """Arguments default to those of the terminal."""
    parser = make_parser()
    args = parser.parse_args(arguments)
    defaults = MODELS[args.model]
    args.data = args.data or defaults.data
    args.depth = args.depth or defaults.depth
    args.width = args.width or defaults.width
    try:
        build(args.model, args.depth, args.width, not args.no_skip, (3, 32, 32), 10)
        device = distributed.start()
        with contextlib.nullcontext() if is_first() else contextlib.redirect_stdout(io.StringIO()):
            train(args, device)
    except (ValueError, OSError, CheckpointError, data.DataError) as error:
        parser.error(str(error)) if is_first() else parser.exit(2)
    except KeyboardInterrupt:
        parser.exit(130)
    finally:
        distributed.stop()


def is_first() -> bool:
    return distributed.rank_and_size()[0] == 0


def train(args: argparse.Namespace, device: torch.device) -> None:
    with distributed.one_at_first():
        dataset = data.load(args.data, args.num_train)
    skip, names = not args.no_skip, MODELS[args.model]
    shape, num_classes = dataset.train.shape, len(dataset.classes)
    experiment.train(
        args.name or f"{names.skip if skip else names.plain}-{args.depth}",
        lambda: build(args.model, args.depth, args.width, skip, shape, num_classes),
        dataset,
        group=args.group,
        seed=args.seed,
        config={"model": args.model, "depth": args.depth, "width": args.width, "skip": skip},
        num_epochs=args.num_epochs,
        batch_size=args.batch_size,
        lr=args.lr,
        device=device,
        checkpoint=args.checkpoint or False,
    )


if __name__ == "__main__":
    main()
