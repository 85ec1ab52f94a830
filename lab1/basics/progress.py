"""Progress bars, in notebooks and terminals, and how to do without."""

import contextlib
import io
import os
from collections.abc import Iterator
from contextvars import ContextVar

from tqdm.auto import tqdm

_SILENT = ContextVar("silent", default=False)


def progress(iterable=None, *, disable: bool = False, **options) -> tqdm:
    """A tqdm bar, with tqdm's options, that TQDM_DISABLE=1 switches off; tqdm's own bar of notebooks ignores that."""
    is_off = os.environ.get("TQDM_DISABLE", "").strip().lower() not in ("", "0", "false")
    return tqdm(iterable, disable=disable or is_off or _SILENT.get(), **options)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Inside the `with`, nothing is printed and no bar is shown: for hundreds of short trainings under one bar."""
    token = _SILENT.set(True)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        _SILENT.reset(token)
