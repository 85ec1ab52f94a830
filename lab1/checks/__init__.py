"""What the base notebook calls after each task: `checks.mlp(MLP)` and so on, and `checks.scorecard()`.

Each takes the student's own class or function, prints what holds, what does not and the likely mistake, and returns a
Result with `status` ("passed", "failed" or "not started"), `passed`, `points`, `max_points` and `text`.

A check has two halves. The **observer** runs where the student's code runs: it calls the code with given inputs and
returns plain data. The **judge** draws the inputs, compares with references that it computes itself, asks for further
observations where a likely mistake is to be confirmed, and finds the words. They exchange messages (see channel.py)
that no one can turn into code, over a Pipe or two Queues. In the notebook the observer is a forked copy of the process
(see _isolation.py). Elsewhere, such as in the grader, the halves are started like this:

    from lab1.checks.channel import Pipe
    from lab1.checks.observer import serve

    serve(answer, Pipe(read, write))                      # in the sandbox, after the student's cells: runs until the
                                                          # pipe is closed; read and write are file descriptors
    result = check.judge(Pipe(read, write, seconds=8), seed)   # outside, for each check in checks.CHECKS

`answer` is the object called `check.name`. The judge never raises because of what the other side does: it may send
anything, or stop. `seed` is any integer of up to 60 bits; it should be secret, because a student's code that knows it
could answer by heart. `judge` prints nothing and leaves `check.latest`. Call it with PyTorch's default settings (dtype,
grad mode), which are those of a fresh process. One serve() answers for one object; several may follow one another.

What a hostile answer can still forge is what its own process says about itself, the bookkeeping. These claims rest on
it, wholly or in part:

    train_epoch     one step for each batch; training mode; moved to the device
    evaluate        evaluation mode and not changed; without gradients; moved to the device
    ResidualBlock, cifar_resnet     how many layers of which kind there are; gradients
    MLP, FCNHead    parameters; gradients; lists stay as they were
    gradient_norms, label_map, to_conv1x1, paste_digits, mean_iou    inputs stay as they were
    grad_cam        mode restored; no hook and no gradient left behind

All values (outputs, losses, norms, maps, parameters after an epoch) are compared by the judge.
"""

from lab1.checks._cifar_resnet import cifar_resnet
from lab1.checks._evaluate import evaluate
from lab1.checks._fcn_head import fcn_head
from lab1.checks._grad_cam import grad_cam
from lab1.checks._gradient_norms import gradient_norms
from lab1.checks._label_map import label_map
from lab1.checks._mean_iou import mean_iou
from lab1.checks._mlp import mlp
from lab1.checks._paste_digits import paste_digits
from lab1.checks._residual_block import residual_block
from lab1.checks._result import Result as Result
from lab1.checks._result import Scorecard
from lab1.checks._to_conv1x1 import to_conv1x1
from lab1.checks._train_epoch import train_epoch

CHECKS = (
    mlp,
    train_epoch,
    evaluate,
    residual_block,
    cifar_resnet,
    gradient_norms,
    label_map,
    to_conv1x1,
    fcn_head,
    paste_digits,
    mean_iou,
    grad_cam,
)


def scorecard() -> Scorecard:
    """The latest result of each task: a table, HTML in a notebook and plain text elsewhere."""
    return Scorecard(tuple(check.latest for check in CHECKS))
