"""What a network and a loss function compute, told from their code: a checkpoint compares it with that of its run.

Code is compared as a syntax tree: comments, docstrings, line breaks and the file it stands in do not count. PyTorch's
own code is known by its name.
"""

import ast
import contextlib
import functools
import inspect
import sys
import types

import numpy as np
import torch
from torch import Tensor, nn

from lab1.training.syntax import NoSource, syntax_tree, text_hash, tree_hash

LIBRARIES = {"torch", "numpy", "builtins", *sys.stdlib_module_names}
PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, np.generic)


def description(model: nn.Module, loss_function) -> dict[str, str | None]:
    """What there is to compare, each by its name for a reader; None for code whose source is not at hand.

    "class Net": a hash of every class of the model's modules and of their bases, PyTorch's excepted. "layer conv1": the
    kind of every module, with its settings if it is PyTorch's. "loss_function": its name, with a hash of its code and
    the plain values and tensors that it was made with.
    """
    classes = {cls for module in model.modules() for cls in _own_classes(type(module))}
    found = {}
    for name in sorted({cls.__name__ for cls in classes}):
        found[f"class {name}"] = _or_none(_hash_of_classes, [cls for cls in classes if cls.__name__ == name])
    for name, module in model.named_modules():
        settings = module.extra_repr() if _is_from_library(type(module)) else ""
        found[f"layer {name}" if name else "network"] = f"{type(module).__name__}({settings})"
    return found | {"loss_function": _or_none(_describe, loss_function)}


def differences(stored: dict[str, str | None], now: dict[str, str | None]) -> list[str]:
    """How two descriptions differ, in words. What has no source on one side is not compared."""
    said = []
    for what in stored | now:
        before, after = stored.get(what, "nothing"), now.get(what, "nothing")
        if before != after and None not in (before, after):
            is_hash = what.startswith("class ")
            said.append(f"other code of {what}" if is_hash else f"{what}={before!r} instead of {after!r}")
    return said


def _or_none(describe, value) -> str | None:
    try:
        return describe(value, set())
    except NoSource:
        return None


def _is_from_library(value) -> bool:
    return str(getattr(value, "__module__", None) or "builtins").split(".")[0] in LIBRARIES


def _own_classes(cls: type) -> list[type]:
    return [base for base in cls.__mro__ if not _is_from_library(base)]


# `seen` holds the ids of functions and objects that were described before: again, they are only named


def _hash_of_classes(classes: list[type], seen: set[int]) -> str:
    return text_hash("\n".join(sorted(_class_text(cls, set(seen)) for cls in classes)))


def _class_text(cls: type, seen: set[int]) -> str:
    """The names of the bases; methods and other attributes, in alphabetical order."""
    lines = [", ".join(base.__name__ for base in cls.__bases__)]
    for name, member in sorted(vars(cls).items()):
        member = getattr(member, "__func__", member)  # of a staticmethod or classmethod
        if isinstance(member, property | functools.cached_property):
            parts = [getattr(member, part, None) for part in ("fget", "fset", "func")]
        elif isinstance(member, types.FunctionType):
            is_generated = member.__code__.co_filename == "<string>" or member.__name__.startswith("__annotate")
            parts = [] if is_generated else [member]
        else:
            parts = [] if name.startswith("__") else [member]
        lines += [f"{name}: {_describe(part, seen)}" for part in parts if part is not None]
    return "\n".join(lines)


def _describe(value, seen: set[int]) -> str:
    """A value in words that are the same in every process: code and tensors as hashes, never an address.

    Raises NoSource.
    """
    if isinstance(value, np.generic):
        return repr(value.item())
    if isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, Tensor | np.ndarray):
        return f"{value.dtype} {tuple(value.shape)} {text_hash(repr(value.tolist()))}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_describe(item, seen) for item in value)}]"
    if isinstance(value, set | frozenset):
        return f"[{', '.join(sorted(_describe(item, seen) for item in value))}]"
    if isinstance(value, dict):
        return _call("dict", [], {str(key): item for key, item in value.items()}, seen)
    if isinstance(value, functools.partial):
        return _call(_describe(value.func, seen), value.args, value.keywords, seen)
    if isinstance(value, types.MethodType):
        return f"{_describe(value.__func__, seen)} of {_describe(value.__self__, seen)}"
    if isinstance(value, type | types.BuiltinFunctionType | types.ModuleType):
        return value.__name__
    if id(value) in seen:
        return getattr(value, "__name__", type(value).__name__)
    seen.add(id(value))
    if isinstance(value, types.FunctionType):
        return value.__name__ if _is_from_library(value) else _describe_function(inspect.unwrap(value), seen)
    return _describe_object(value, seen)


def _call(name: str, args, keywords: dict, seen: set[int]) -> str:
    said = [_describe(arg, seen) for arg in args]
    said += [f"{key}={_describe(arg, seen)}" for key, arg in sorted(keywords.items())]
    return f"{name}({', '.join(said)})"


def _describe_function(function: types.FunctionType, seen: set[int]) -> str:
    """Its name, a hash of its code, and what it takes from around it: values, functions and loss modules."""
    tree = syntax_tree(function)
    given = {name: value for name, value in _from_around(function, tree).items() if _counts(value)}
    given |= {f"default {i}": value for i, value in enumerate(function.__defaults__ or ())}
    return _call(f"{function.__name__} {tree_hash(tree)}", [], given | (function.__kwdefaults__ or {}), seen)


def _describe_object(value, seen: set[int]) -> str:
    """An object of a class, such as a loss module: its code, and its plain attributes.

    The tensors of a module count if it learns nothing, such as the class weights of a loss; a network's do not.
    """
    name = type(value).__name__
    if own := _own_classes(type(value)):
        name += f" {_hash_of_classes(own, seen)}"
    attributes = {k: v for k, v in getattr(value, "__dict__", {}).items() if not k.startswith("_") and k != "training"}
    given = {key: attribute for key, attribute in attributes.items() if _counts(attribute)}
    if isinstance(value, nn.Module):
        given |= dict(value.named_children())
        if not list(value.parameters()):
            given |= dict(value.named_buffers(recurse=False))
    return _call(name, [], given, seen)


def _counts(value) -> bool:
    """Whether code is made of it, and not only uses it, like a data set; classes of the model are compared anyway."""
    if isinstance(value, dict):
        return all(_counts(item) for item in value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return all(_counts(item) for item in value)
    is_function = isinstance(value, types.FunctionType | types.BuiltinFunctionType | functools.partial)
    return is_function or isinstance(value, PLAIN + (Tensor, np.ndarray, nn.Module))


def _from_around(function: types.FunctionType, tree: ast.AST) -> dict:
    """The values of names that a function reads but does not define, by name.

    What it changes is its state and left out: names that it assigns to, and lists, dicts and sets whose methods it
    calls or whose items it replaces.
    """
    read, bound, changed = set(), set(), set()
    for node in ast.walk(tree):
        replaces = isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store)
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.ExceptHandler):
            bound.add(node.name)
        elif (replaces or isinstance(node, ast.Attribute)) and isinstance(node.value, ast.Name):
            changed.add(node.value.id)
    around = dict(function.__globals__)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # nothing is in it yet
            around[name] = cell.cell_contents
    found = {name: around[name] for name in sorted(read - bound) if name in around}
    return {k: v for k, v in found.items() if not (k in changed and isinstance(v, list | dict | set))}
