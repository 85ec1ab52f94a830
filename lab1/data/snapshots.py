"""Image sets as files hold them: what arrays must look like, and snapshots, which are NumPy archives of them."""

import zipfile
from pathlib import Path

import numpy as np

KEYS = ("x_train", "y_train", "x_test", "y_test")


class DataError(RuntimeError):
    """Images that cannot be used; the message names the file, the fault and what to do."""


def fault(arrays: dict[str, np.ndarray], image_shape: tuple[int, ...]) -> str | None:
    """What is wrong with the arrays of an image set, in words; None if nothing is.

    They are right with uint8 images (N, *image_shape) as x_train and x_test, and uint8 labels (N,) from 0 to 9 as
    y_train and y_test.
    """
    if missing := [key for key in KEYS if not isinstance(arrays.get(key), np.ndarray)]:
        return f"{', '.join(missing)} missing"
    for split in ("train", "test"):
        x, y = arrays[f"x_{split}"], arrays[f"y_{split}"]
        for key, array in ((f"x_{split}", x), (f"y_{split}", y)):
            if array.dtype != np.uint8:
                return f"{key} is {array.dtype}, not uint8"
        if x.shape[1:] != image_shape or x.ndim != len(image_shape) + 1:
            return f"x_{split} has the shape {x.shape}"
        if y.ndim != 1 or len(x) != len(y):
            return f"x_{split} has the shape {x.shape} but y_{split} {y.shape}"
        if len(y) == 0:
            return f"x_{split} is empty"
        if y.max() > 9:
            return f"y_{split} holds the label {y.max()}"
    return None


def read_snapshot(path: Path, image_shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """x_train, y_train, x_test, y_test of a snapshot, checked.

    Raises:
        DataError: naming the file and what is wrong with it.
    """

    def refuse(fault: str) -> DataError:
        layout = f"uint8 images (N, {', '.join(map(str, image_shape))}) and uint8 labels (N,) from 0 to 9"
        return DataError(f"{path}: {fault}. A snapshot holds {layout} as {', '.join(KEYS)}; replace or remove the file")

    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise ValueError("it is no zip file, or only a part of one")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                arrays = {key: archive[key] for key in (*KEYS, "note") if key in archive.files}
    except OSError as error:
        raise refuse(f"cannot be read ({error.strerror or error})") from error
    except Exception as error:  # zipfile, zlib and NumPy have a dozen kinds for as many kinds of damage
        raise refuse(f"not a complete NumPy archive ({str(error) or type(error).__name__})") from error
    if found := fault(arrays, image_shape):
        raise refuse(found)
    return tuple(arrays[key] for key in KEYS)


def note_of(path: Path) -> str:
    """What a snapshot that `read_snapshot` accepts says under the key `note`, in one line; often nothing."""
    with np.load(path, allow_pickle=False) as archive:
        note = archive["note"] if "note" in archive.files else ""
    return " ".join(str(note).split())[:80]
