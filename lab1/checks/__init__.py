"""What the base notebook calls after each task: `checks.mlp(MLP)` and so on, and `checks.scorecard()`.

Each takes the student's own class or function, prints what holds, what does not and the likely mistake, and returns a
Result with `status` ("passed", "failed" or "not started"), `passed`, `points`, `max_points` and `text`.
"""

from lab1.checks._fcn import fcn_head, to_conv1x1
from lab1.checks._gradcam import grad_cam
from lab1.checks._maps import label_map, mean_iou, paste_digits
from lab1.checks._mlp import mlp
from lab1.checks._residual import cifar_resnet, residual_block
from lab1.checks._result import Result, Scorecard
from lab1.checks._training import evaluate, gradient_norms, train_epoch

CHECKS = (
    *(mlp, train_epoch, evaluate, residual_block, cifar_resnet, gradient_norms),
    *(label_map, to_conv1x1, fcn_head, paste_digits, mean_iou, grad_cam),
)


def scorecard() -> Scorecard:
    """The latest result of each task: a table, HTML in a notebook and plain text elsewhere."""
    return Scorecard(tuple(check.latest for check in CHECKS))


__all__ = [
    "CHECKS",
    "Result",
    "Scorecard",
    "cifar_resnet",
    "evaluate",
    "fcn_head",
    "grad_cam",
    "gradient_norms",
    "label_map",
    "mean_iou",
    "mlp",
    "paste_digits",
    "residual_block",
    "scorecard",
    "to_conv1x1",
    "train_epoch",
]
