"""Progress bars, in notebooks and terminals."""

import os

from tqdm.auto import tqdm


def progress(iterable=None, *, disable: bool = False, **options) -> tqdm:
    """A tqdm bar, with tqdm's options, that TQDM_DISABLE=1 switches off; tqdm's own bar of notebooks ignores that."""
    is_off = os.environ.get("TQDM_DISABLE", "").strip().lower() not in ("", "0", "false")
    return tqdm(iterable, disable=disable or is_off, **options)
