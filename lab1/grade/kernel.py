"""A kernel of its own for one notebook: in a sandbox, with limits on each cell, and killed with all it has started."""

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import psutil
import zmq
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.connect import write_connection_file

import lab1
from lab1.grade import sandbox
from lab1.grade.judge import CHECKS, Judge
from lab1.grade.outputs import Outputs

START_SECONDS = 120
INTERRUPT_SECONDS = 5  # for a cell to end after it was interrupted
LARGEST_MESSAGE = 40 * 2**20  # bytes; a larger one is not received, and its output not shown
PACKAGE = Path(lab1.__file__).parent
KEPT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH")  # of the environment: nothing secret
NOBODY = "http://127.0.0.1:9"
OFFLINE = {  # so that nothing waits for a network that is not there; torch.compile needs a compiler and minutes
    **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), NOBODY),
    **dict.fromkeys(("PIP_NO_INDEX", "PIP_DISABLE_PIP_VERSION_CHECK", "HF_HUB_OFFLINE", "TORCHDYNAMO_DISABLE"), "1"),
    "WANDB_MODE": "disabled",
    "WANDB_INIT_TIMEOUT": "10",
}


@dataclass(frozen=True)
class Limits:
    """What a notebook may take: seconds in all and for a cell, bytes of memory."""

    seconds: float
    cell_seconds: float
    memory: float

    @property
    def time_is_over(self) -> str:
        return f"the {self.seconds:g} s of the notebook were over"


class Stopped(Exception):
    """A cell that was killed with its kernel, or ended it; says why. from_thread: perhaps an earlier one did it."""


@contextlib.contextmanager
def kernel(beside: dict[str, bytes], limits: Limits, seed: int, folder: Path) -> Iterator["Kernel"]:
    """A kernel that works in the folder; when the block ends it and all that it has started are killed.

    beside: the files that came with the notebook, by their relative paths.
    """
    root, mark = sandbox.root(folder), secrets.token_hex(16)
    lay_out(folder, beside)
    connection = _connection(folder, root)
    ours, theirs = socket.socketpair()
    read, write = os.pipe()
    group = sandbox.Group(limits.memory)
    data = data_folder()
    start = [sys.executable, "-P", f"{root}/work/lab1/grade/inside.py", f"{root}/kernel.json", sandbox.isolation()]
    words = [*sandbox.scope(limits.memory), *sandbox.command(folder, data, write), *start]
    process = subprocess.Popen(
        [*words, str(theirs.fileno()), ",".join(CHECKS)],
        cwd=folder / "work",
        env=environment_of(root, data, mark),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(folder / "stderr").open("wb"),
        pass_fds=[theirs.fileno(), write],
        preexec_fn=sandbox.limiter(group),
        start_new_session=True,
    )
    theirs.close()
    os.close(write)
    running = Kernel(process, limits, group, Judge(ours.fileno(), seed))
    try:
        running.connect(connection, folder, read)
        yield running
    finally:
        running.close()
        kill_all(mark)
        group.remove()
        ours.close()
        os.close(read)


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
        "LAB1_PROFILE": os.environ.get("LAB1_PROFILE") or "smoke",
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


class Kernel:
    """Runs cells, one after the other, and answers the checks in them."""

    def __init__(self, process: subprocess.Popen, limits: Limits, group: sandbox.Group, judge: Judge):
        self.process, self.limits, self.group, self.judge = process, limits, group, judge
        self.client = None

    def connect(self, connection: dict, folder: Path, info: int) -> None:
        """Wait for the kernel, and open the channels.

        Raises:
            RuntimeError: it does not start.
        """
        place = _place(connection["ip"], info)
        end = time.monotonic() + START_SECONDS
        while not all(os.path.exists(f"{place}-{number}") for number in range(1, 6)):
            if self.process.poll() is not None or time.monotonic() > end:
                said = (folder / "stderr").read_bytes()[-2000:].decode(errors="replace").strip().split("\n")[-1]
                raise RuntimeError(f"the kernel does not start: {said}")
            time.sleep(0.02)
        context = zmq.Context()
        context.sockopts = {zmq.MAXMSGSIZE: LARGEST_MESSAGE, zmq.RCVHWM: 100, zmq.LINGER: 0}
        self.client = BlockingKernelClient(context=context)
        self.client.load_connection_info(connection | {"ip": place})
        self.client.start_channels(hb=False, stdin=False)
        self.run("", START_SECONDS, Outputs())

    def run(
        self,
        source: str,
        seconds: float,
        outputs: Outputs,
        end: float = float("inf"),
        cell: int = 0,
        expression: str = "",
    ) -> dict:
        """Run a cell for so many seconds at most, and until `end` on the monotonic clock; then it is interrupted.

        cell: its number; 0 for what the grader itself asks. expression: evaluated after it.

        Returns its reply: {"status": "ok" or "error", ...}.

        Raises:
            Stopped: it went on, reached another limit, or has ended the kernel. The kernel is of no more use.
        """
        request = self._request(source, cell, expression)
        deadline, interrupted, checked, reply, idle = time.monotonic() + seconds, "", time.monotonic(), None, False
        while reply is None or not (idle or time.monotonic() > deadline):
            for message in self._messages():
                if message["msg_type"] == "execute_reply" and message["parent_header"].get("msg_id") == request:
                    reply, deadline = message["content"], time.monotonic() + 1  # at most, for the outputs behind it
                elif message["msg_type"] == "status" and message["parent_header"].get("msg_id") == request:
                    idle = message["content"].get("execution_state") == "idle"
                elif message["msg_type"] not in ("status", "execute_input"):
                    outputs.add(message["msg_type"], message["content"])
            if outputs.too_many:
                raise Stopped(outputs.too_many)
            if reply is not None:
                continue
            if self.process.poll() is not None:
                raise Stopped(self._why_dead())
            now = time.monotonic()
            if now > min(deadline, end):
                if interrupted:
                    raise Stopped(interrupted)
                interrupted = self.limits.time_is_over if now > end else f"it took longer than {seconds:g} s"
                self._interrupt()
                deadline, end = now + INTERRUPT_SECONDS, float("inf")
            if now > checked + 0.5:
                checked = now
                if not self.group.folders and memory_of(self.process.pid) > self.limits.memory:
                    raise Stopped(f"it took more than {self.limits.memory / 2**30:g} GB of memory")
        return {"status": "error", "ename": "Interrupted", "evalue": interrupted} if interrupted else reply

    def _request(self, source: str, cell: int, expression: str) -> str:
        content = {"code": source, "silent": cell == 0, "store_history": cell > 0, "allow_stdin": False}
        content |= {"stop_on_error": False, "user_expressions": {"said": expression} if expression else {}}
        message = self.client.session.msg("execute_request", content, metadata={"lab1_cell": cell})
        self.client.shell_channel.send(message)
        return message["header"]["msg_id"]

    def _messages(self) -> Iterator[dict]:
        """What has come within a fifth of a second; a check that is asked for is answered meanwhile."""
        sockets = [self.client.iopub_channel.socket, self.client.shell_channel.socket]
        poller = zmq.Poller()
        for each in (*sockets, self.judge.descriptor):
            poller.register(each, zmq.POLLIN)
        ready = dict(poller.poll(200))
        if self.judge.descriptor in ready:
            self.judge.answer()
        for each in sockets:
            for _ in range(100):
                with contextlib.suppress(Exception):  # a malformed message, be it nested without end
                    _, message = self.client.session.recv(each, mode=zmq.NOBLOCK)
                    if message is None:
                        break
                    yield message

    def _interrupt(self) -> None:
        """Through the kernel's control thread: its process number is another one in there."""
        self.client.control_channel.send(self.client.session.msg("interrupt_request", {}))

    def _why_dead(self) -> str:
        if self.group.ran_out():
            return f"it took more than {self.limits.memory / 2**30:g} GB of memory"
        return "it ended the kernel"

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)
        self.process.kill()
        self.process.wait()
        if self.client:
            self.client.stop_channels()
            self.client.context.destroy(linger=0)


def _place(ip: str, info: int) -> str:
    """Where the kernel's sockets are for the grader: in bubblewrap's own file system."""
    if sandbox.isolation() != "bubblewrap":
        return ip
    with open(info, closefd=False) as file:  # ends when bubblewrap has written it
        return f"/proc/{json.load(file)['child-pid']}/root{ip}"


def memory_of(pid: int) -> int:
    """Bytes that a process and its descendants take; what they share counts once where the system can tell."""
    total, anonymous = 0, {}
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error, OSError):
                memory = each.memory_full_info()
                total += getattr(memory, "pss", memory.uss)
                anonymous |= _memory_files(each.pid)
    return total + sum(anonymous.values())


def _memory_files(pid: int) -> dict[int, int]:
    """Bytes of the files in memory (memfd) that a process holds open, by their numbers."""
    found = {}
    for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
        with contextlib.suppress(OSError):
            if os.readlink(descriptor).startswith("/memfd:"):
                status = os.stat(descriptor)
                found[status.st_ino] = status.st_blocks * 512
    return found
