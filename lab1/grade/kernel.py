"""Run the cells of one notebook in its kernel, within limits, and have its checks answered."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import zmq
from jupyter_client.blocking.client import BlockingKernelClient

from lab1.grade import sandbox
from lab1.grade.judge import Judge
from lab1.grade.outputs import Outputs

START_SECONDS = 120
INTERRUPT_SECONDS = 5  # for a cell to end after it was interrupted
LARGEST_MESSAGE = 40 * 2**20  # bytes; a larger one is not received, and its output not shown


@dataclass(frozen=True)
class Limits:
    """What a notebook may take: seconds in all and for a cell, bytes of memory."""

    seconds: float
    cell_seconds: float
    memory: float

    @property
    def time_is_over(self) -> str:
        return f"the notebook's time limit of {self.seconds:g} s was reached"


class Stopped(Exception):
    """A cell that was killed with its kernel, or ended it; says why."""


class Kernel:
    """Runs cells, one after the other, and answers the checks in them."""

    def __init__(self, process: subprocess.Popen, limits: Limits, group: sandbox.Group, judge: Judge):
        self.process, self.limits, self.group, self.judge = process, limits, group, judge
        self.client = None
        self.open = {judge.channel.fileno(), process.stderr.fileno()}  # besides the channels

    def connect(self, connection: dict, info: int) -> None:
        """Wait for the kernel, and open the channels.

        Raises:
            RuntimeError: it does not start.
        """
        place = _place(connection["ip"], info)
        end = time.monotonic() + START_SECONDS
        while not all(Path(f"{place}-{number}").exists() for number in range(1, 6)):
            if self.process.poll() is not None or time.monotonic() > end:
                self.process.kill()
                said = self.process.stderr.read().decode(errors="replace").strip().split("\n")[-1]
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
        log = self.process.stderr.fileno()
        for each in (*sockets, *self.open):
            poller.register(each, zmq.POLLIN)
        ready = dict(poller.poll(200))
        if log in ready and not os.read(log, 2**16):  # what nobody reads would stop the kernel one day
            self.open.remove(log)
        if self.judge.channel.fileno() in ready and not self.judge.answer():
            self.open.remove(self.judge.channel.fileno())
            self.judge.give_up()
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
        self.process.stderr.close()
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
            if str(descriptor.readlink()).startswith("/memfd:"):
                status = descriptor.stat()
                found[status.st_ino] = status.st_blocks * 512
    return found
