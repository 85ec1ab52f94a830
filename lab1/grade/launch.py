"""Start a kernel of its own for one notebook, in a sandbox, and end it with all that it has started."""

import compileall
import contextlib
import functools
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import cache_from_source, find_spec
from pathlib import Path

import matplotlib
import psutil
from jupyter_client.connect import write_connection_file

import lab1
from lab1.grade import sandbox
from lab1.grade.judge import CHECKS, Judge
from lab1.grade.kernel import Kernel, Limits

PACKAGE = Path(lab1.__file__).parent
IMPORTED = (
    "ipykernel.kernelapp",
    "matplotlib_inline.backend_inline",
    "PIL.JpegImagePlugin",
)  # by kernels, among others
KEPT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH")  # of the environment: nothing secret
NOBODY = "http://127.0.0.1:9"
OFFLINE = {  # so that nothing waits for a network that is not there; torch.compile needs a compiler and minutes
    **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), NOBODY),
    **dict.fromkeys(("PIP_NO_INDEX", "PIP_DISABLE_PIP_VERSION_CHECK", "HF_HUB_OFFLINE", "TORCHDYNAMO_DISABLE"), "1"),
    "WANDB_MODE": "disabled",
    "WANDB_INIT_TIMEOUT": "10",
}


@contextlib.contextmanager
def kernel(beside: dict[str, bytes], limits: Limits, seed: int, folder: Path) -> Iterator[Kernel]:
    """A kernel that works in the folder; when the block ends it and all that it has started are killed.

    beside: the files that came with the notebook, by their relative paths.
    """
    root, mark = sandbox.root(folder), secrets.token_hex(16)
    compile_once()
    lay_out(folder, beside)
    connection = _connection(folder, root)
    ours, theirs = socket.socketpair()
    read, write = os.pipe()
    group = sandbox.Group(limits.memory if sandbox.limited_by() == "control groups" else 0)
    data = data_folder()
    start = [sys.executable, "-P", f"{root}/work/lab1/grade/inside.py", f"{root}/kernel.json", sandbox.isolation()]
    words = [*sandbox.scope(limits.memory), *sandbox.command(folder, data, write), *start]
    process = subprocess.Popen(
        [*words, str(theirs.fileno()), ",".join(CHECKS)],
        cwd=folder / "work",
        env=environment_of(root, data, mark) | sandbox.bus(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=[theirs.fileno(), write],
        preexec_fn=sandbox.limiter(group),
        start_new_session=True,
    )
    theirs.close()
    os.close(write)
    running = Kernel(process, limits, group, Judge(ours, seed))
    try:
        running.connect(connection, read)
        yield running
    finally:
        running.close()
        kill_all(mark)
        group.remove()
        ours.close()
        os.close(read)


@contextlib.contextmanager
def own_folder() -> Iterator[Path]:
    """A temporary folder that is gone afterwards, however deep or locked what a notebook has left in it."""
    folder = Path(tempfile.mkdtemp(prefix="lab1-grade-"))
    try:
        yield folder
    finally:
        for words in (["chmod", "-R", "u+rwX"], ["rm", "-rf"]):
            subprocess.run([*words, folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


@functools.cache
def compile_once() -> None:
    """Write the bytecode of lab1, and of the libraries where there is none: a sandbox would compile them each time."""
    compileall.compile_dir(PACKAGE, quiet=2)
    if not all(Path(cache_from_source(find_spec(name).origin)).exists() for name in IMPORTED):
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        subprocess.run(
            [sys.executable, "-c", f"import {', '.join(IMPORTED)}"], cwd=PACKAGE.parent, env=environment, check=False
        )


def lay_out(folder: Path, beside: dict[str, bytes]) -> None:
    """The kernel's folders, a copy of lab1, and what came with the notebook."""
    for name in ("work", "home", "tmp", "ipc", "given/work", "given/home"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    into_work = sandbox.isolation() != "bubblewrap"  # which shows lab1 read-only instead
    shutil.copytree(PACKAGE, folder / "work" / "lab1" if into_work else folder / "lab1")
    for path, content in beside.items():
        (folder / "given" / "work" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "given" / "work" / path).write_bytes(content)
    for fonts in Path(matplotlib.get_cachedir()).glob("fontlist-*.json"):  # to list them anew takes seconds
        shutil.copy(fonts, folder / "given" / "home")


def _connection(folder: Path, root: str) -> dict:
    place, ports = f"{root}/ipc/k", dict.fromkeys(("shell_port", "iopub_port", "stdin_port", "hb_port", "control_port"))
    ports = {name: number for number, name in enumerate(ports, 1)}
    key = secrets.token_hex(32).encode()
    _, connection = write_connection_file(str(folder / "kernel.json"), ip=place, key=key, transport="ipc", **ports)
    return connection


def data_folder() -> Path | None:
    """The folder of image data that the notebooks share, if there is one."""
    folder = Path(os.environ.get("LAB1_DATA") or "data").absolute()
    return folder if folder.is_dir() else None


def environment_of(root: str, data: Path | None, mark: str) -> dict[str, str]:
    """The environment of the kernel; LAB1_GRADE marks every process that comes from it."""
    return {
        **{name: os.environ[name] for name in KEPT if name in os.environ},
        **OFFLINE,
        **dict.fromkeys(("HOME", "MPLCONFIGDIR", "IPYTHONDIR"), f"{root}/home"),
        **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), f"{root}/tmp"),
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
        **({"LAB1_DATA": str(data)} if data else {}),
        "USER": "student",
        "LAB1_PROFILE": "smoke",  # whatever the account's own is, as in the container
        "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        "PYTHONPATH": f"{root}/work",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LAB1_GRADE": mark,
    }


def kill_all(mark: str) -> None:
    """Kill every process with this LAB1_GRADE in its environment; with a PID namespace there is none any more."""
    if sandbox.isolation() != "none":
        return
    for _ in range(100):  # they may start others meanwhile
        found = False
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("LAB1_GRADE") == mark:
                    found = True
                    process.kill()
        if not found:
            return
        time.sleep(0.02)
