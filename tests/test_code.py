"""A checkpoint is refused when the code of its model or its loss function has changed, and not for less."""

import functools
import linecache

import nbclient
import nbformat
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lab1 import ResNet, checkpoints, training
from lab1.training import code
from lab1.training.checkpoints import CheckpointError

NET = '''
import torch
from torch import nn


def activation(x):
    return torch.relu(x)


class Net(nn.Module):
    """A network."""

    slope = 0.1

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(192, 4)

    def forward(self, x):
        # flat images
        return activation(self.fc(x.flatten(1)))


def loss(logits, targets, scale=1.0):
    return scale * nn.functional.cross_entropy(logits, targets)
'''


def module_of(source, tmp_path, name="net.py"):
    """What is defined in a file with that source, as a namespace."""
    path = tmp_path / name
    path.write_text(source)
    namespace = {"__name__": path.stem}
    exec(compile(source, str(path), "exec"), namespace)
    return namespace


def described(source, tmp_path, name="net.py"):
    namespace = module_of(source, tmp_path, name)
    return code.description(namespace["Net"](), namespace["loss"], True)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("torch.relu(x)", "torch.tanh(x)", "class Net"),  # a function that the class calls
        ("activation(self.fc(", "activation(-self.fc(", "class Net"),
        ("slope = 0.1", "slope = 0.2", "class Net"),
        ("(nn.Module):", "(nn.Module, object):", "class Net"),
        ("return scale *", "return 2 * scale *", "loss_function"),
        ("scale=1.0", "scale=2.0", "loss_function"),
    ],
)
def test_what_is_computed_counts(tmp_path, old, new, what):
    before, after = described(NET, tmp_path), described(NET.replace(old, new), tmp_path)
    assert [key for key in before if before[key] != after[key]] == [what]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("        # flat images\n", ""),
        ('    """A network."""\n', '    """A network\n\n    of one layer."""\n'),
        ("    def forward(self, x):\n", '    def forward(self, x):\n        """Logits."""\n'),
        ("(self.fc(x.flatten(1)))", "(\n            self.fc(x.flatten(1))\n        )"),
        ("import torch\n", "import torch\nunused = 3\n\n\n"),
    ],
)
def test_how_it_is_written_does_not(tmp_path, old, new):
    before, after = described(NET, tmp_path), described(NET.replace(old, new), tmp_path, "moved.py")
    assert before == after and None not in before.values()


def test_settings_of_pytorchs_layers_count():
    def net(layer):
        return code.description(nn.Sequential(nn.Linear(2, 2), layer), F.cross_entropy, True)

    before = net(nn.ReLU())
    assert code.differences(before, net(nn.ReLU())) == []
    assert code.differences(before, net(nn.Tanh())) == ["layer 1='ReLU()' instead of 'Tanh()'"]
    assert code.differences(net(nn.Dropout(0.1)), net(nn.Dropout(0.5)))


class Weighted(nn.Module):
    def __init__(self, gamma, weight=None):
        super().__init__()
        self.gamma, self.inner = gamma, nn.CrossEntropyLoss(weight)

    def forward(self, logits, targets):
        return self.gamma * self.inner(logits, targets)


def closure(weight):
    seen = []

    def loss(logits, targets):
        seen.append(len(targets))
        return F.cross_entropy(logits, targets, weight=weight)

    return loss


LOSSES = [  # each is made twice: the two of a line are the same, those of different lines are not
    lambda: F.cross_entropy,
    lambda: F.multi_margin_loss,
    lambda: functools.partial(F.cross_entropy, label_smoothing=0.1),
    lambda: functools.partial(F.cross_entropy, label_smoothing=0.2),
    lambda: functools.partial(F.cross_entropy, weight=torch.ones(4)),
    lambda: nn.CrossEntropyLoss(),
    lambda: nn.CrossEntropyLoss(label_smoothing=0.1),
    lambda: nn.CrossEntropyLoss(weight=torch.ones(4)),
    lambda: nn.CrossEntropyLoss(weight=torch.full((4,), 2.0)),
    lambda: Weighted(2.0),
    lambda: Weighted(3.0),
    lambda: Weighted(2.0, torch.ones(4)),
    lambda: Weighted(2.0).forward,
    lambda: closure(torch.ones(4)),
    lambda: closure(torch.zeros(4)),
    lambda: [lambda x, y: F.cross_entropy(x, y), lambda x, y: 2 * F.cross_entropy(x, y)][0],
    lambda: [lambda x, y: F.cross_entropy(x, y), lambda x, y: 2 * F.cross_entropy(x, y)][1],
]


def test_loss_functions_are_told_apart_by_code_and_arguments():
    model = nn.Linear(2, 2)
    texts = [[code.description(model, make(), True)["loss_function"] for _ in range(2)] for make in LOSSES]
    assert all(a == b for a, b in texts)
    assert len({a for a, _ in texts}) == len(LOSSES)
    assert not any(" at 0x" in text or "object" in text for text, _ in texts)


def test_what_a_loss_function_changes_is_not_its_argument():
    loss, model = closure(None), nn.Linear(2, 2)
    before = code.description(model, loss, True)
    loss(torch.zeros(3, 2), torch.zeros(3, dtype=torch.long))
    assert code.description(model, loss, True) == before


def test_code_without_source_is_not_compared():
    namespace = {"__name__": "typed"}
    exec(NET, namespace)
    described = code.description(namespace["Net"](), namespace["loss"], True)
    assert described["class Net"] is described["loss_function"] is None
    assert code.differences(described, described | {"class Net": "123", "loss_function": "other"}) == []


def test_hash_is_the_same_in_every_version_of_python(tmp_path):
    found = described(NET, tmp_path)
    assert (found["class Net"], found["loss_function"]) == ("dbb48f9b7a42", "loss 47484f9cd6a8(default 0=1.0)")


def test_classes_of_a_cell_are_found_like_those_of_a_file(tmp_path):
    def cell(source, name):  # as IPython does it: there is no file, the lines are in linecache
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        namespace = {"__name__": "__main__"}
        exec(compile(source, name, "exec"), namespace)
        return code.description(namespace["Net"](), namespace["loss"], True)

    assert cell(NET, "/tmp/ipykernel_1/2.py") == described(NET, tmp_path)
    changed = cell(NET.replace("torch.relu", "torch.tanh"), "/tmp/ipykernel_1/3.py")
    assert code.differences(described(NET, tmp_path), changed) == ["other code of class Net"]


@pytest.mark.slow
def test_classes_of_a_real_notebook():
    cells = [
        NET,
        "from lab1.training import code\ndescribe = lambda: code.description(Net(), loss, True)\nbefore = describe()",
        NET.replace("        # flat images\n", "").replace("A network", "A net"),
        "same = describe()",
        NET.replace("torch.relu", "torch.tanh"),
        "print([before == same, before['class Net'] is not None, [k for k in before if before[k] != describe()[k]]])",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    assert notebook.cells[-1].outputs[0].text == "[True, True, ['class Net']]\n"


# in fit ---------------------------------------------------------------------------------------------------------------


def fit(tiny, path, model=None, **options):
    torch.manual_seed(0)
    model = model or ResNet((1, 1), num_classes=4, width=4)
    return training.fit(model, tiny(), num_epochs=1, batch_size=16, checkpoint=path, **options)


def test_other_code_is_refused_and_the_advice_loses_nothing(tiny, tmp_path):
    path = tmp_path / "a.pt"
    fit(tiny, path, module_of(NET, tmp_path)["Net"]())
    before = path.read_bytes()
    changed = module_of(NET.replace("torch.relu", "torch.tanh"), tmp_path)["Net"]
    with pytest.raises(CheckpointError, match=r"other code of class Net\. Name another file .* or pass retrain=True"):
        fit(tiny, path, changed())
    assert path.read_bytes() == before
    fit(tiny, path, changed(), retrain=True)


def test_another_loss_function_is_refused(tiny, tmp_path):
    fit(tiny, tmp_path / "a.pt")
    smoothed = functools.partial(F.cross_entropy, label_smoothing=0.1)
    with pytest.raises(CheckpointError, match=r"loss_function='cross_entropy' instead of .*label_smoothing=0.1"):
        fit(tiny, tmp_path / "a.pt", loss_function=smoothed)


def test_another_schedule_of_the_same_name_is_refused(tiny, tmp_path):
    def schedules(power):
        return lambda optimizer, steps: torch.optim.lr_scheduler.PolynomialLR(optimizer, steps, power)

    fit(tiny, tmp_path / "a.pt", schedule=schedules(1))
    fit(tiny, tmp_path / "a.pt", schedule=schedules(1))
    with pytest.raises(CheckpointError, match=r"schedule=.*power=1.* instead of .*power=2"):
        fit(tiny, tmp_path / "a.pt", schedule=schedules(2))


def test_checkpoint_without_code_is_not_compared(tiny, tmp_path, capsys):
    fit(tiny, tmp_path / "a.pt")
    stored = checkpoints.load(tmp_path / "a.pt")
    del stored["config"]["code"], stored["initial_weights"]
    checkpoints.save(tmp_path / "a.pt", stored)
    fit(tiny, tmp_path / "a.pt", loss_function=nn.CrossEntropyLoss(label_smoothing=0.1))
    assert "1 epochs, 0.0 minutes\n" in capsys.readouterr().out


def test_other_initial_weights_are_told_not_refused(tiny, tmp_path, capsys):
    fit(tiny, tmp_path / "a.pt")
    fit(tiny, tmp_path / "a.pt")
    assert "other initial weights" not in capsys.readouterr().out
    torch.manual_seed(1)
    fit(tiny, tmp_path / "a.pt", ResNet((1, 1), num_classes=4, width=4))
    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if "other initial weights" in line][0].startswith("loaded a.pt")
