"""What runs inside a student's kernel after the last cell: the original checks, on what the student has defined.

It belongs to no package while it runs, because all of lab1 is imported anew from the files beside it: what the cells
may have replaced in the modules is noted and not used.
"""

import contextlib
import dataclasses
import dis
import functools
import importlib
import inspect
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any


def main(target: str) -> None:
    """Write the results of all checks, what was changed in lab1.checks, and which answers lean on lab1, as JSON."""
    from IPython import get_ipython

    student = get_ipython().user_ns
    live = {name: module for name, module in sys.modules.items() if is_ours(name)}
    for name in live:
        del sys.modules[name]
    sys.path.insert(0, str(Path(__file__).parents[2]))
    importlib.invalidate_caches()
    checks = importlib.import_module("lab1.checks")
    changed = changes(live, sys.modules)
    if "checks" in student and student["checks"] is not live.get("lab1.checks"):
        changed.insert(0, "the name checks, which is not lab1.checks")
    scores = {
        "results": [score(check, student) for check in checks.CHECKS],
        "changed": changed,
        "borrowed": {c.name: borrowings(student[c.name]) for c in checks.CHECKS if c.name in student},
    }
    Path(target).write_text(json.dumps(scores))


def is_ours(module: Any) -> bool:
    return isinstance(module, str) and (module == "lab1" or module.startswith("lab1."))


def score(check: Any, student: dict) -> dict:
    """The fields of the check's Result; its status is "missing" where the student's name does not exist."""
    result = check.latest  # not started, no points
    if check.name not in student:
        text = f"{result.text}\n  {check.name} is not defined: its cell was deleted or renamed, or it failed."
        return dataclasses.asdict(dataclasses.replace(result, status="missing", text=text))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return dataclasses.asdict(check(student[check.name]))
    except Exception as error:
        text = f"{result.text}\n  The check came to no end: {type(error).__name__}: {error}"
        return dataclasses.asdict(dataclasses.replace(result, status="failed", text=text))


def changes(live: dict[str, ModuleType], fresh: dict[str, ModuleType]) -> list[str]:
    """What in the live modules of lab1.checks is no longer what their files define."""
    return [
        f"{name}.{key}"
        for name, module in live.items()
        if name.startswith("lab1.checks") and name in fresh
        for key, value in vars(fresh[name]).items()
        if not key.startswith("__") and differ(vars(module).get(key), value)
    ]


def differ(value: Any, original: Any) -> bool:
    """Whether two values have different fingerprints; one that cannot be looked into is not the original."""
    try:
        return fingerprint(value) != fingerprint(original)
    except Exception:
        return True


def fingerprint(value: Any) -> Any:
    """What a value consists of, comparable between two imports of the same file. Results of checks are left out."""
    value = inspect.unwrap(value)
    if isinstance(value, FunctionType):
        return value.__code__, fingerprint(value.__defaults__)
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, tuple | list):
        return [fingerprint(each) for each in value]
    if isinstance(value, dict):
        return {key: fingerprint(each) for key, each in value.items() if key != "latest"}
    if isinstance(value, property):
        return fingerprint(value.fget)
    if isinstance(value, type):
        return value.__qualname__, fingerprint(dict(vars(value))) if is_ours(value.__module__) else ""
    if is_ours(type(value).__module__):
        return type(value).__qualname__, fingerprint(vars(value))
    return type(value).__qualname__


def borrowings(answer: Any) -> list[str]:
    """`borrowed`, in order; what cannot be looked into has borrowed nothing."""
    try:
        return sorted(borrowed(answer))
    except Exception:
        return []


def borrowed(value: Any, seen: set[int] | None = None) -> set[str]:
    """The names in lab1 that a value is, inherits from or uses; what the student has defined is followed."""
    if isinstance(value, ModuleType):
        return {value.__name__} if is_ours(value.__name__) else set()
    seen = set() if seen is None else seen
    if id(value) in seen:
        return set()
    seen.add(id(value))
    module = getattr(value, "__module__", None)
    if is_ours(module):
        return {f"{module}.{getattr(value, '__qualname__', type(value).__qualname__)}"}
    parts = []
    if isinstance(value, dict):
        parts = [*value.values()]
    elif isinstance(value, tuple | list):
        parts = [*value]
    elif isinstance(value, functools.partial):
        parts = [value.func, value.args, value.keywords]
    elif isinstance(value, property):
        parts = [value.fget]
    elif hasattr(value, "__wrapped__"):
        parts = [value.__wrapped__]
    if module == "__main__" and isinstance(value, type):
        parts = [*value.__bases__, *vars(value).values()]
    elif module == "__main__" and isinstance(value, FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or () if cell != CellType()]
        parts += [*loaded(value.__code__, value.__globals__), *cells, value.__defaults__, value.__kwdefaults__]
    return set().union(*(borrowed(part, seen) for part in parts))


def loaded(code: CodeType, namespace: dict) -> Iterator[Any]:
    """The global values that a function's code loads, `module.name` resolved, and the modules that it imports."""
    value = None
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_ATTR", "LOAD_METHOD") and isinstance(value, ModuleType):
            value = getattr(value, step.argval, None)
            continue
        yield value
        value = namespace.get(step.argval) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME") else None
        if step.opname == "IMPORT_NAME":
            yield ModuleType(step.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from loaded(constant, namespace)
