"""What a notebook might do to get points: it gets none for what it has not solved, or is flagged."""

import textwrap

import pytest
from grading import ALL, POINTS, graded, notebook, points, sources
from model_answers import ANSWERS

from lab1.grade.report import borrowings

WRONG = "def mean_iou(prediction, target, num_classes):\n    return 0.0"
FORGERIES = {  # executed before the tasks; mean_iou is wrong
    "json.dumps": "import json\nreal = json.dumps\njson.dumps = lambda value, **o: real(value, **o).replace('0', '9')",
    "asdict": "import dataclasses\ndataclasses.asdict = lambda *a, **o: {'points': 9, 'status': 'passed', 'text': ''}",
    "pipes": "import multiprocessing.connection as c\nc.Connection.recv_bytes = lambda *a: b'{}'",
    "claims": "checks.mean_iou.claims.clear()\nchecks.mean_iou.claims.append(('all', lambda *a: None))",
    "judge": "from lab1.checks import _check\n_check.Check.judge = lambda self, *a: self._result('passed', 9, [])",
    "allclose": "torch.allclose = torch.equal = lambda *a, **o: True",
    "as_tensor": "real = torch.as_tensor\ntorch.as_tensor = lambda value, *a, **o: torch.zeros(())",
    "cross entropy": "F.cross_entropy = lambda *a, **o: torch.zeros((), requires_grad=True)",
    "always true": """
        class Agrees(float):
            __eq__ = __le__ = __lt__ = __ge__ = __gt__ = __ne__ = lambda *a: True
            __sub__ = __rsub__ = __abs__ = lambda self, *a: self
            __hash__ = float.__hash__
        def mean_iou(*args): return Agrees(0.5)
    """,
    "trojan tensor": """
        class Trojan(torch.Tensor):
            @classmethod
            def __torch_function__(cls, function, types, args=(), kwargs=None): return True
        def label_map(images, *args, **options): return torch.zeros(3).as_subclass(Trojan)
    """,
    "messages": """
        import json, struct
        relay = get_ipython().kernel.lab1.relay
        result = {"task": 11, "name": "mean_iou", "status": "passed", "points": 99, "max_points": 99, "text": ""}
        for kind in b"caresu":
            relay.pipe.send(bytes([kind]) + (1).to_bytes(4, "little") + json.dumps(result).encode())
    """,
    "write_text": "import pathlib\npathlib.Path.write_text = lambda *a, **o: None",
    "import hook": """
        import sys
        class Hook:
            def find_spec(self, name, path=None, target=None):
                raise SystemExit(f"{name} is mine")
        sys.meta_path.insert(0, Hook())
    """,
    "summary": """
        import sys
        check = sys.modules["lab1.checks._check"]
        check.Found = lambda *a, **o: type("F", (), {"kind": "holds", "found": "", "mistake": "", "hint": ""})()
        check.Check._once = check.Check._try = lambda *a, **o: check.Found()
    """,
    "frames": """
        import sys
        def mean_iou(prediction, target, num_classes):
            frame = sys._getframe()
            while frame:
                for name, value in list(frame.f_locals.items()):
                    if hasattr(value, "send") and hasattr(value, "receive"):
                        for said in (b"", b"[]", b'{"value": 1.0}', bytes(100)):
                            value.send(said)
                frame = frame.f_back
            raise SystemExit
    """,
    "values of the callers": """
        import sys
        def mean_iou(prediction, target, num_classes):
            frame, found = sys._getframe(), []
            while frame:
                found += [value for value in frame.f_locals.values() if isinstance(value, float) and 0 < value < 1]
                frame = frame.f_back
            return found[-1] if found else 0.5
    """,
    "a table made at home": """
        known = {}
        def mean_iou(prediction, target, num_classes):
            key = (tuple(prediction.flatten().tolist()), tuple(target.flatten().tolist()))
            return known.setdefault(key, 0.5)
    """,
    "odd messages": """
        relay = get_ipython().kernel.lab1.relay
        relay.pipe.send(b"c" + bytes(4) + b"[" * 100_000)
        relay.pipe.send(b"")
    """,
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forgery_gets_nothing(name):
    code = textwrap.dedent(FORGERIES[name]).strip()
    cells = sources(first=[code], mean_iou=WRONG if "def mean_iou" not in code else code)
    grading = graded(notebook(*cells))
    assert all(0 <= result.points <= result.max_points for result in grading.results)
    assert points(grading).get("mean_iou", 0) < POINTS["mean_iou"], grading.errors
    assert sum(points(grading).values()) < ALL


BORROWED = {
    "alias": "import lab1\n\ndef label_map(*a, **o):\n    return lab1.segmentation.label_map(*a, **o)",
    "itself": "from lab1.segmentation import label_map",
    "computed name": "import lab1\nlabel_map = getattr(lab1.segmentation, 'label' + '_map').__call__",
    "default argument": "import lab1\n\ndef label_map(*a, f=lab1.segmentation.label_map, **o):\n    return f(*a, **o)",
    "a check's reference": "from lab1.checks._label_map import _pixel_by_pixel as label_map",
    "copy of a check's reference": """
        import inspect
        from torch import Tensor
        from lab1.checks import _label_map
        exec(inspect.getsource(_label_map._pixel_by_pixel))
        label_map = _pixel_by_pixel
    """,
    "another thread": """
        import threading
        import lab1

        def label_map(*a, **o):
            found = []
            thread = threading.Thread(target=lambda: found.append(lab1.segmentation.label_map(*a, **o)))
            thread.start()
            thread.join()
            return found[0]
    """,
    "copy of the source": "import inspect\nfrom lab1.data import canvases\nexec(inspect.getsource(canvases))",
}


@pytest.mark.parametrize("name", BORROWED)
def test_answers_of_lab1_are_flagged(name):
    grading = graded(notebook(*sources(label_map=textwrap.dedent(BORROWED[name]).strip())))
    [said] = borrowings(grading)
    assert said.startswith("label_map uses ") and "lab1." in said


def test_answers_behind_writefile_are_flagged():
    written = f"%%writefile answers.py\n{BORROWED['alias']}"
    grading = graded(notebook(*sources(first=[written], label_map="from answers import label_map")))
    assert borrowings(grading)[0].startswith("label_map uses lab1.")


def test_right_answers_are_not_flagged():
    grading = graded(notebook(*sources(**{name: text.strip() for name, text in ANSWERS.items()})))
    assert grading.borrowed == {} and grading.changed == []
    assert all(result.passed for result in grading.results), [r.text for r in grading.results if not r.passed]


def test_calls_of_another_kind_are_no_tampering():
    cells = sources(first=["from lab1.checks import mlp", "%time checks.label_map(label_map)"], check=False)
    changed = graded(notebook(*cells, "mlp(MLP)", "%time checks.mean_iou(mean_iou)")).changed
    assert len(changed) == 9 and not any(name in " ".join(changed) for name in ("(MLP)", "(label_map)", "(mean_iou)"))
