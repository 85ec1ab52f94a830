"""The folders of lab1 are rooms on floors: no room imports from a floor above, and no imports go in a circle."""

import ast
import graphlib
import itertools
from pathlib import Path

import pytest

LAB1 = Path(__file__).resolve().parent.parent / "lab1"
FLOORS = (  # from the ground up; rooms of one floor stand side by side
    ("basics",),
    ("data",),
    ("models",),
    ("analysis", "segmentation"),
    ("training", "checkpoints"),
    ("experiment", "plots"),
    ("checks",),
    ("grade", "submit", "doctor", "dashboard", "explore", "__main__"),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def modules(root):
    """Dotted name -> path of every module of the package at `root`, except its own __init__.

    A package's __init__ has the name of the package.
    """
    paths = [path for path in root.rglob("*.py") if path != root / "__init__.py"]
    named = {".".join(path.relative_to(root.parent).with_suffix("").parts): path for path in paths}
    return {name.removesuffix(".__init__"): path for name, path in named.items()}


def imported(path, package):
    """The dotted names that a file imports, anywhere in it: "a.b.c" for `from a.b import c` and for `import a.b.c`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = [*start, *([node.module] if node.module else [])]
            yield from (".".join([*base, alias.name]) for alias in node.names)


def imports(root):
    """Module -> the modules of the same package that it imports. A name that the package's own __init__ re-exports,
    such as lab1.MLP, counts as the module that it comes from."""
    known = modules(root)

    def found(name):
        """The module that holds `name`: itself, or the nearest package or module above it."""
        parts = name.split(".")
        longer = (".".join(parts[:length]) for length in range(len(parts), 1, -1))
        return next((candidate for candidate in longer if candidate in known), None)

    public = {name.rsplit(".", 1)[1]: name for name in imported(root / "__init__.py", root.name) if "." in name}
    graph = {}
    for module, path in known.items():
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        own = [name for name in imported(path, package) if name.split(".")[0] == root.name]
        own = [name if found(name) else public.get(name.partition(".")[2].split(".")[0], name) for name in own]
        graph[module] = {found(name) for name in own} - {None, module}
    return graph


def room(module):
    return module.split(".")[1]


def upwards(graph):
    return [
        f"{module} imports {other}"
        for module, others in graph.items()
        for other in sorted(others)
        if FLOOR[room(other)] > FLOOR[room(module)]
    ]


def circle(graph):
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def rooms_of(graph):
    between = {(room(module), room(other)) for module, others in graph.items() for other in others}
    return {a: {b for b in FLOOR if (a, b) in between and a != b} for a in FLOOR}


def test_every_room_has_a_floor():
    assert {room(module) for module in modules(LAB1)} == set(FLOOR)


def test_nothing_imports_upwards():
    assert upwards(imports(LAB1)) == []


def test_no_module_imports_in_a_circle():
    assert circle(imports(LAB1)) == []


def test_no_room_imports_in_a_circle():
    assert circle(rooms_of(imports(LAB1))) == []


# the tests above would see such imports:
WRONG = {
    "from a function": ("data", "def f():\n    from lab1.training import loop"),
    "the module": ("basics", "import lab1.plots.style"),
    "a public name": ("models", "from lab1 import GradCAM"),
    "a relative one": ("data", "from ..checks import mlp"),
    "under TYPE_CHECKING": ("basics", "if TYPE_CHECKING:\n    from lab1.data import ImageSet"),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_import_upwards_is_found(case, tmp_path):
    at, text = WRONG[case]
    for name in itertools.chain(*FLOORS):
        (tmp_path / "lab1" / name).mkdir(parents=True)
        (tmp_path / "lab1" / name / "__init__.py").write_text("")
    (tmp_path / "lab1/__init__.py").write_text("from lab1.analysis.gradcam import GradCAM")
    (tmp_path / f"lab1/{at}/module.py").write_text(text)
    assert len(upwards(imports(tmp_path / "lab1"))) == 1


def test_a_circle_is_found():
    graph = {"lab1.data.a": {"lab1.data.b"}, "lab1.data.b": {"lab1.data.c"}, "lab1.data.c": {"lab1.data.a"}}
    assert circle(graph)
    assert not circle(rooms_of(graph))
    assert circle(rooms_of({"lab1.plots.a": {"lab1.experiment.b"}, "lab1.experiment.c": {"lab1.plots.d"}}))
