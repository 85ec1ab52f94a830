"""A kernel of its own for one notebook: in an empty folder with a fresh lab1, offline, and killed at its limits."""

import asyncio
import contextlib
import functools
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import psutil
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.client import CellExecutionComplete
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode, v4

import lab1

MOST_PRINTED = 20_000_000  # characters that a cell may print or show
SCORING_SECONDS = 180  # twelve checks, of at most ten seconds each
INTERRUPT_SECONDS = 5  # for a cell to end after it was interrupted
PACKAGE = Path(lab1.__file__).parent
KEPT = (  # of the environment: nothing that could be a credential
    *("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
    *("SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT"),
)
SETUP = "get_ipython().ask_exit = lambda: None  # exit() is not the end of the other cells"
REFUSE = """
def _setup():
    import socket

    def refuse(self, address, real=socket.socket.connect):
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError("there is no network while notebooks are graded")
        return real(self, address)

    socket.socket.connect = refuse

_setup()
del _setup
"""


@dataclass(frozen=True)
class Limits:
    """What a notebook may take: seconds in all and for a cell, bytes of memory, threads (0: as many as it wants)."""

    seconds: float
    cell_seconds: float
    memory: float
    threads: int

    @property
    def time_is_over(self) -> str:
        return f"the {self.seconds:g} s of the notebook were over"


class Stopped(Exception):
    """A cell that was killed with its kernel, or ended it; says why."""


class Interpreter(KernelSpecManager):
    """The kernel is this Python, whatever a notebook or the system calls its kernels, cut off from the network."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        argv = [*offline(), sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name=kernel_name, language="python")


@functools.cache
def offline() -> list[str]:
    """The words before a command that cut it off from the network; none where the system has or allows none."""
    for options in (["--net"], ["--user", "--map-root-user", "--net"]):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(["unshare", *options, "true"], capture_output=True, timeout=10, check=True)
            return ["unshare", *options]
    return []


@contextlib.asynccontextmanager
async def kernel(cells: list[NotebookNode], limits: Limits, folder: Path) -> AsyncIterator["Client"]:
    """A kernel that works in folder/work; when the block ends it and all that it has started are killed."""
    for name in ("work", "home", "tmp"):
        (folder / name).mkdir()
    copy_package(folder / "work")
    environment = environment_of(folder, limits)
    manager = AsyncKernelManager(
        kernel_spec_manager=Interpreter(),
        connection_file=str(folder / "kernel.json"),
        transport="tcp" if sys.platform == "win32" else "ipc",  # needs no network
    )
    client = Client(
        v4.new_notebook(cells=list(cells)), km=manager, allow_errors=True, timeout=None, startup_timeout=120
    )
    client.folder, client.limits = folder, limits
    try:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        await client.async_start_new_kernel(cwd=str(folder / "work"), env=environment, **quiet)
        await client.async_start_new_kernel_client()
        client.nb.cells.append(v4.new_code_cell(SETUP if offline() else SETUP + REFUSE))
        await client.run(-1, SCORING_SECONDS)
        yield client
    finally:
        kill_all(environment["LAB1_GRADE"])
        await manager.shutdown_kernel(now=True)
        if client.kc:
            client.kc.stop_channels()


def copy_package(work: Path) -> None:
    """Write lab1 anew; one that is there already, be it read-only or a link, gets another name."""
    with contextlib.suppress(FileNotFoundError):
        (work / "lab1").rename(work / secrets.token_hex(16))
    shutil.copytree(PACKAGE, work / "lab1", ignore=shutil.ignore_patterns("__pycache__"))


def environment_of(folder: Path, limits: Limits) -> dict[str, str]:
    """The environment of the kernel; LAB1_GRADE marks every process that comes from it."""
    home, tmp, work = (str(folder / name) for name in ("home", "tmp", "work"))
    for fonts in Path(matplotlib.get_cachedir()).glob("fontlist-*.json"):  # to list them anew takes seconds
        shutil.copy(fonts, home)
    data = Path(os.environ.get("LAB1_DATA") or "data").absolute()
    return {
        **{name: os.environ[name] for name in KEPT if name in os.environ},
        **dict.fromkeys(("HOME", "USERPROFILE", "MPLCONFIGDIR", "IPYTHONDIR"), home),
        **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), tmp),
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9"),  # nobody
        **({"LAB1_DATA": str(data)} if data.is_dir() else {}),
        **(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(limits.threads)) if limits.threads else {}),
        "LAB1_PROFILE": os.environ.get("LAB1_PROFILE") or "smoke",
        "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        "PYTHONPATH": work,
        "WANDB_MODE": "disabled",
        "LAB1_GRADE": secrets.token_hex(16),
    }


def kill_all(mark: str) -> None:
    """Kill every process with this LAB1_GRADE in its environment, also those that left the kernel's group."""
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


def memory_of(pid: int) -> int:
    """Bytes that a process and its descendants take; what they share counts once where the system can tell."""
    total = 0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                memory = each.memory_full_info()
                total += getattr(memory, "pss", memory.uss)
    return total


class Client(NotebookClient):
    """nbclient's, with limits on each cell, and a last cell that scores."""

    folder: Path
    limits: Limits
    printed = 0

    def process_message(self, msg, cell, cell_index):
        if msg["msg_type"] != "status":
            self.printed += len(str(msg["content"]))
            if self.printed > MOST_PRINTED:
                return None
        try:
            return super().process_message(msg, cell, cell_index)
        except CellExecutionComplete:
            raise
        except Exception:  # a malformed output is not shown
            return None

    async def run(self, i: int, seconds: float, end: float = float("inf")) -> None:
        """Run a cell, for so many seconds at most, and until `end` on the monotonic clock; then it is interrupted.

        Raises:
            Stopped: it went on, reached another limit, or has ended the kernel. The kernel is of no more use.
        """
        self.printed, deadline, interrupted = 0, time.monotonic() + seconds, ""
        task = asyncio.create_task(self.async_execute_cell(self.nb.cells[i], i))
        try:
            while not (await asyncio.wait({task}, timeout=0.5))[0]:
                if time.monotonic() > min(deadline, end):
                    if interrupted:
                        raise Stopped(interrupted)
                    is_end = time.monotonic() > end
                    interrupted = self.limits.time_is_over if is_end else f"it took longer than {seconds:g} s"
                    await self.km.interrupt_kernel()
                    deadline, end = time.monotonic() + INTERRUPT_SECONDS, float("inf")
                if memory_of(self.km.provisioner.pid) > self.limits.memory:
                    raise Stopped(f"it took more than {self.limits.memory / 2**30:g} GB of memory")
                if self.printed > MOST_PRINTED:
                    raise Stopped(f"it printed more than {MOST_PRINTED:,} characters")
            task.result()
        except DeadKernelError as error:
            raise Stopped("it ended the kernel") from error
        finally:
            task.cancel()
        if interrupted:
            error = v4.new_output(
                "error", ename="Interrupted", evalue=interrupted, traceback=[f"Interrupted: {interrupted}"]
            )
            outputs = self.nb.cells[i].outputs
            self.nb.cells[i].outputs = [*(each for each in outputs if each.output_type != "error"), error]

    async def score(self) -> dict:
        """What score.py finds: `results`, what was `changed` (files of lab1, too), and what is `borrowed`.

        Raises:
            RuntimeError: it found nothing.
        """
        copy, target = self.folder / "work" / "lab1", self.folder / f"{secrets.token_hex(16)}.json"
        originals = [file.relative_to(PACKAGE) for file in PACKAGE.rglob("*.py")]
        changed = [f"lab1/{file.as_posix()}" for file in originals if not same(PACKAGE / file, copy / file)]
        copy_package(copy.parent)
        call = f"__import__('runpy').run_path({str(copy / 'grade' / 'score.py')!r})['main']({str(target)!r})"
        self.nb.cells.append(v4.new_code_cell(call))
        try:
            await self.run(-1, SCORING_SECONDS)
        except Stopped as stopped:
            raise RuntimeError(f"scoring was stopped: {stopped}") from stopped
        if not target.exists():
            words = [f"{each.ename}: {each.evalue}" for each in self.nb.cells[-1].outputs if "ename" in each]
            raise RuntimeError(f"the checks could not be run: {' '.join(words)}")
        scores = json.loads(target.read_text())
        return {**scores, "changed": scores["changed"] + changed}


def same(original: Path, copy: Path) -> bool:
    try:
        return copy.is_file() and original.read_bytes() == copy.read_bytes()
    except OSError:
        return False
