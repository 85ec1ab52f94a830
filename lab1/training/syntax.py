"""The syntax tree of a function: where its source stands does not matter, nor how it is commented and laid out."""

import ast
import functools
import hashlib
import linecache
import types


class NoSource(LookupError):
    """Code whose source is not at hand, such as what was typed into a bare `python`."""


def syntax_tree(function: types.FunctionType) -> ast.AST:
    """The tree of a function, method or lambda, from a file or a notebook cell.

    It is found by its name and its line. inspect.getsource knows no class of a notebook cell, and takes whole lines for
    a lambda. Raises NoSource.
    """
    code = function.__code__
    linecache.checkcache(code.co_filename)
    text = "".join(linecache.getlines(code.co_filename, function.__globals__))
    found = [node for node in _functions(text) if _is_source(node, code)]
    if not found:
        raise NoSource(function.__qualname__)
    return found[-1]  # of nested lambdas the innermost


@functools.lru_cache(maxsize=64)
def _functions(text: str) -> list[ast.AST]:
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return []
    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)]


def _is_source(node: ast.AST, code: types.CodeType) -> bool:
    if isinstance(node, ast.Lambda):
        begin, end = (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)
        places = [(line, column) for line, _, column, _ in code.co_positions() if line and column]
        is_lambda = code.co_name == "<lambda>" and node.lineno == code.co_firstlineno
        return is_lambda and all(begin <= place <= end for place in places)
    first_line = min(part.lineno for part in (node, *node.decorator_list))
    return node.name == code.co_name and first_line == code.co_firstlineno


def tree_hash(tree: ast.AST) -> str:
    """12 hexadecimal digits, the same in every version of Python."""
    return text_hash(_text(tree))


def text_hash(text: str) -> str:
    """12 hexadecimal digits of a text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _text(node) -> str:
    """A tree without docstrings, line numbers and what is empty, which depends on the version of Python."""
    if isinstance(node, list):
        return f"[{', '.join(map(_text, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = dict(ast.iter_fields(node))
    has_docstring = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    if has_docstring and ast.get_docstring(node, clean=False) is not None:
        fields["body"] = node.body[1:]
    said = [f"{key}={_text(value)}" for key, value in fields.items() if key == "value" or value not in (None, [])]
    return f"{type(node).__name__}({', '.join(said)})"
