"""What honest students hand in by accident, and what they deserve all the same."""

import json

import pytest
from grading import ALL, IMPORTS, POINTS, graded, notebook, points, sources
from model_answers import ANSWERS

KILL = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"
LATER = "import os, threading, time\nthreading.Thread(target=lambda: (time.sleep(1), os._exit(1))).start()"
SLOW_TEST = f"{ANSWERS['mean_iou'].strip()}\n\nimport time\ntime.sleep(3)"
TRAINING = "import time\nfrom tqdm import tqdm\nfor _ in tqdm(range(1200)):\n    time.sleep(1)"
BUSY = """
import threading
def work():
    while True:
        torch.rand(400, 400) @ torch.rand(400, 400)
for _ in range(2):
    threading.Thread(target=work, daemon=True).start()
"""
CHATTY = """
import threading, time
def say():
    while True:
        print("epoch")
        time.sleep(0.01)
threading.Thread(target=say, daemon=True).start()
"""
FLOOD = """
import threading
def say():
    while True:
        print("x" * 10_000)
threading.Thread(target=say, daemon=True).start()
"""
LOCK = """
import logging, threading, time
def hold():
    while True:
        with logging._lock:
            time.sleep(0.05)
threading.Thread(target=hold, daemon=True).start()
"""
NOISE = """
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Image
import io
b = io.BytesIO(); plt.imsave(b, np.random.rand({size}, {size}, 4)); Image(b.getvalue(), format="png")
"""
KAGGLE = """
import numpy as np
import pandas as pd
import os
for dirname, _, filenames in os.walk("/kaggle/input"):
    for filename in filenames:
        print(os.path.join(dirname, filename))
"""
WORKERS = """
from torch.utils.data import DataLoader, TensorDataset
loader = DataLoader(TensorDataset(torch.rand(8)), num_workers=2, persistent_workers=True)
iterator = iter(loader)
next(iterator)
"""
ENDED = "import sys\nsys.exit()"
NESTED = f"""
import functools
def make():
{"".join(f"    {line}{chr(10)}" for line in ANSWERS["mean_iou"].strip().splitlines())}
    return mean_iou
mean_iou = functools.partial(make())
"""
IN_CLASS = f"""
class Answers:
    @staticmethod
{"".join(f"    {line}{chr(10)}" for line in ANSWERS["mean_iou"].strip().splitlines())}
mean_iou = Answers.mean_iou
"""
IN_IF = "if True:\n" + "\n".join(f"    {line}" for line in ANSWERS["mean_iou"].strip().splitlines())
WRONG_LATER = "def label_map(images, labels, threshold=0.5, background=10):\n    return labels"
SCRIPTABLE = """
def label_map(images: torch.Tensor, labels: torch.Tensor, threshold: float = 0.5, background: int = 10) -> torch.Tensor:
    return torch.where(images[:, 0] > threshold, labels[:, None, None], background)
""".strip()
OWN = ANSWERS["mean_iou"].strip()

# name: cells, points lost, failed cells (at least, at most), words in the errors or remarks
CASES = {
    "nothing special": (sources(), (), (0, 0), ""),
    "colab mounts a drive above the imports": (
        sources(imports=f"from google.colab import drive\ndrive.mount('/content')\n{IMPORTS}"),
        *((), (1, 1), "google"),
    ),
    "unknown magic above the imports": (sources(imports=f"%nb_black\n{IMPORTS}"), (), (1, 1), ""),
    "matplotlib widget above the imports": (sources(imports=f"%matplotlib widget\n{IMPORTS}"), (), (1, 1), ""),
    "unknown magics": (sources(first=["%tensorboard --logdir runs", "%nb_black"]), (), (2, 2), ""),
    "rm -rf": (sources(first=["!rm -rf lab1", "!rm -rf *"]), (), (0, 0), ""),
    "pip install": (sources(first=["!pip install nothing_of_this_name", "%pip install -q other"]), (), (0, 1), ""),
    "apt": (sources(first=["!apt-get install -y graphviz"]), (), (0, 0), ""),
    "kernel killed": (sources(first=[KILL]), (), (1, 1), "ended the kernel"),
    "kernel shut down": (sources(first=["get_ipython().kernel.do_shutdown(True)"]), (), (0, 1), ""),
    "two kills, then an answer with a call": (
        sources(first=[KILL, "import os\nos._exit(3)"], mean_iou=f"{OWN}\nprint(torch.rand(2))"),
        *((), (2, 2), "ended the kernel"),
    ),
    "exit later, in an innocent cell": (sources(first=[LATER], mean_iou=SLOW_TEST), (), (1, 1), "left running"),
    "thread floods": (sources(first=[FLOOD]), (), (1, 1), "left"),
    "thread prints": (sources(first=[CHATTY]), (), (0, 0), ""),
    "busy threads": (sources(first=[BUSY]), (), (0, 0), ""),
    "thread holds a lock": (sources(first=[LOCK]), (), (0, 0), ""),
    "alarm": (sources(first=["import signal\nsignal.alarm(2)"], mean_iou=SLOW_TEST), (), (1, 1), ""),
    "32 threads": (
        sources(first=["torch.set_num_threads(32)\ntorch.rand(999, 999) @ torch.rand(999, 999)"]),
        (),
        (0, 0),
        "",
    ),
    "spawn": (sources(first=["import torch.multiprocessing as mp\nmp.set_start_method('spawn')"]), (), (0, 0), ""),
    "persistent workers": (sources(first=[WORKERS]), (), (0, 0), ""),
    "long training": (sources(first=["import time\ntime.sleep(1200)"]), (), (1, 1), "longer"),
    "long training with a bar": (sources(first=[TRAINING]), (), (1, 1), "longer"),
    "star imports": (sources(first=["from numpy import *\nfrom torch import *"]), ("mean_iou",), (0, 9), ""),
    "names of builtins": (sources(first=["sum = 3\nlist = 4\nmax = str = 5"]), ("mean_iou",), (0, 9), ""),
    "a wrong one later": (sources(last=[WRONG_LATER]), ("label_map",), (0, 0), "label_map passed in cell"),
    "result under its own name": (
        sources(last=["mean_iou = mean_iou(torch.zeros(1, 2, 2).long(), torch.zeros(1, 2, 2).long(), 3)"]),
        *((), (0, 0), "mean_iou of cell 22 was overwritten or deleted in cell 27"),
    ),
    "loop over maps": (sources(last=["for label_map in [1, 2]:\n    pass"]), (), (0, 0), "label_map of cell"),
    "instance": (sources(last=["MLP = MLP([784, 10])"]), (), (0, 0), "MLP of cell"),
    "deleted": (sources(last=["del mean_iou"]), (), (0, 0), "mean_iou of cell"),
    "deleted without a check": (sources(last=["del mean_iou"], check=False), (), (0, 0), "mean_iou of cell"),
    "torch.compile": (sources(mean_iou=f"@torch.compile\n{OWN}"), (), (0, 0), ""),
    "torch.jit": (sources(first=["@torch.jit.script\ndef double(x):\n    return 2 * x"]), (), (0, 1), ""),
    "in if": (sources(mean_iou=IN_IF), (), (0, 0), ""),
    "in a class": (sources(mean_iou=IN_CLASS), (), (0, 0), ""),
    "made by a function": (sources(mean_iou=NESTED), (), (0, 0), ""),
    "syntax error": (sources(first=["for i in range(3) print(i)"]), (), (1, 1), "SyntaxError"),
    "exits": (sources(first=[ENDED, "quit()", "raise SystemExit"]), (), (2, 3), ""),
    "raises at the end": (sources(last=["1 / 0", "[][1]", "nothing"]), (), (3, 3), "ZeroDivisionError"),
    "raises below the answer": (sources(mean_iou=f"{OWN}\n\nmean_iou(1, 2, 3)"), (), (1, 1), ""),
    "definition below an error": (sources(mean_iou=f"nothing_here\n\n{OWN}"), (), (1, 1), "NameError"),
    "download": (
        sources(first=["import urllib.request\nurllib.request.urlopen('http://example.com')"]),
        *((), (1, 1), "there is no network"),
    ),
    "W&B online": (
        sources(
            first=["%env WANDB_MODE=online\n%env WANDB_API_KEY=" + 40 * "a", "import wandb\nwandb.init(project='x')"]
        ),
        *((), (0, 1), ""),
    ),
    "a file that is not there": (sources(first=["torch.load('mlp.pt')"]), (), (1, 1), "mlp.pt"),
    "cuda": (sources(first=["torch.zeros(1).to('cuda')"]), (), (1, 1), ""),
    "chdir": (sources(first=["import os\nos.chdir('..')", "%cd .."]), (), (0, 0), ""),
    "working folder deleted": (
        sources(first=["import os\nos.makedirs('x')\nos.chdir('x')\nos.rmdir('../x')"]),
        (),
        (0, 0),
        "",
    ),
    "magics": (sources(first=["%%bash\nls", "%%html\n<b>x</b>", "%%js\nalert(1)", "%lsmagic"]), (), (0, 0), ""),
    "time on an answer": (sources(mean_iou=f"%%time\n{OWN}"), (), (0, 0), ""),
    "capture on a check": (sources(last=["%%capture\nchecks.mlp(MLP)"]), (), (0, 0), ""),
    "debug log": (sources(first=["import logging\nlogging.basicConfig(level=logging.DEBUG)"]), (), (0, 0), ""),
    "warnings are errors": (sources(first=["import warnings\nwarnings.simplefilter('error')"]), (), (0, 0), ""),
    "matplotlib notebook": (
        sources(first=["%matplotlib notebook\nimport matplotlib.pyplot as plt\nplt.plot([1])"]),
        (),
        (0, 1),
        "",
    ),
    "a picture of 8 MB": (sources(first=[NOISE.format(size=1450)]), (), (0, 1), ""),
    "a picture of 25 MB": (sources(first=[NOISE.format(size=2600)]), (), (0, 1), ""),
    "in try": (sources(mean_iou=IN_IF.replace("if True:", "try:") + "\nfinally:\n    pass"), (), (0, 0), ""),
    "cached": (sources(mean_iou=f"import functools\n\n\n@functools.lru_cache\n{OWN}"), (), (0, 0), ""),
    "without gradients": (sources(mean_iou=f"@torch.no_grad()\n{OWN}"), (), (0, 0), ""),
    "scripted": (sources(label_map=f"@torch.jit.script\n{SCRIPTABLE}"), (), (0, 0), ""),
    "timeit on a definition": (sources(first=["%%timeit -n 1 -r 1\ndef unused():\n    pass"]), (), (0, 0), ""),
    "Kaggle's first cell": (sources(first=[KAGGLE]), (), (0, 1), ""),
    "interop threads": (sources(first=["torch.set_num_interop_threads(8)"]), (), (0, 1), ""),
    "LaTeX": (sources(first=["%%latex\n$x$"]), (), (0, 0), ""),
    "torchvision's download": (
        sources(first=["from torchvision.datasets import MNIST\nMNIST('images', download=True)"]),
        *((), (1, 1), "network"),
    ),
    "1,000 cells": (sources(last=["x = 1"] * 975), (), (0, 0), ""),
}


@pytest.mark.parametrize("name", CASES)
def test_accident(name):
    cells, lost, (least, most), words = CASES[name]
    grading = graded(notebook(*cells), cell_seconds=10)
    said = [*grading.errors, *grading.remarks]
    assert grading.failure == ""
    assert points(grading) | dict.fromkeys(lost, 0) == POINTS | dict.fromkeys(lost, 0), said
    assert least <= len(grading.errors) <= most, said
    assert words in " ".join(said)


def test_many_accidents_at_once():
    """One notebook for `make test-slow`: what can be put together."""
    names = ("colab mounts a drive above the imports",)
    cells = CASES[names[0]][0]
    first = ["!rm -rf lab1", "%nb_black", ENDED, "for i in range(3) print(i)", "torch.load('mlp.pt')"]
    last = ["mean_iou = 3", "del MLP", "for label_map in [1]:\n    pass", "1 / 0"]
    grading = graded(notebook(cells[0], *first, *cells[1:], *last))
    assert sum(points(grading).values()) == ALL and len(grading.errors) == 6, grading.errors


def test_files_beside_the_notebook_come_along():
    cells = sources(first=["import helpers\nassert helpers.x == 1", "open('data/a.txt').read()", "!pwd; ls"])
    grading = graded(notebook(*cells), {"helpers.py": b"x = 1", "data/a.txt": b"a"})
    assert points(grading) == POINTS and grading.errors == []


def test_json_of_old_and_new_versions():
    def variant(change):
        found = json.loads(notebook(*sources()))
        change(found)
        return json.dumps(found).encode()

    def version(minor):
        def change(found):
            found["nbformat_minor"] = minor
            for cell in found["cells"]:
                del cell["id"]

        return change

    def strip(found):
        for cell in found["cells"]:
            for key in ("metadata", "outputs", "execution_count", "id"):
                del cell[key]

    def deepnote(found):
        found["metadata"] = {"deepnote_notebook_id": "x"}
        for cell in found["cells"]:
            cell |= {"deepnote_cell_type": "code", "outputs": [{"output_type": "execute_result", "data": float("nan")}]}

    for change in (version(2), version(9), strip, deepnote, lambda found: found.pop("nbformat")):
        assert points(graded(variant(change))) == POINTS
