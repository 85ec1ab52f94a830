"""Where a student's code runs: bubblewrap where it is installed, else namespaces of Linux, else nothing that isolates.

In bubblewrap (https://github.com/containers/bubblewrap) a notebook sees a read-only system, Python, lab1 and the data,
and a folder in memory of its own; no network, no other process, nothing of the grader's, no privileges, a cleared
environment. `unshare` takes away the network and the other processes, not the files. Memory and the number of
processes are limited by a control group where one can be had; otherwise the grader looks, twice a second.
"""

import contextlib
import functools
import os
import secrets
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

DISK = 2**30  # bytes that a notebook may write in all, in a sandbox
PROCESSES = 512  # threads included
FILES = 4096  # open at once, by a process
SYSTEM = (  # read-only in the sandbox, as far as they exist
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/alternatives", "/etc/fonts", "/etc/ld.so.cache"),
    *("/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/mime.types", "/etc/nsswitch.conf"),
)
GROUPS = {"memory": Path("/sys/fs/cgroup/memory"), "pids": Path("/sys/fs/cgroup/pids")}  # version 1, as root
SCOPE = ("systemd-run", "--scope", "--quiet", "--collect")
BUS = ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")  # of the environment: what systemd-run needs, and nobody else
PASSWD = "student:x:1000:1000::/lab/home:/bin/sh\n"


@functools.cache
def isolation() -> str:
    """What there is: "bubblewrap", "namespaces" (no network, own processes, but the account's files) or "none"."""
    for words, name in ((_bubblewrap([]), "bubblewrap"), (_namespaces("--user", "--map-root-user"), "namespaces")):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run([*words, "true"], capture_output=True, timeout=20, check=True)
            return name
    return "none"


def root(folder: Path) -> str:
    """The path of the notebook's folder as its kernel sees it; it holds work, home, tmp and ipc."""
    return "/lab" if isolation() == "bubblewrap" else str(folder)


def command(folder: Path, data: Path | None, info: int) -> list[str]:
    """The words before a command that runs in the sandbox. folder: holds kernel.json, lab1 and given.

    info: the file descriptor to which bubblewrap writes its process ids.
    """
    if isolation() == "none":
        return []
    if isolation() == "namespaces":
        return _namespaces("--user", "--map-root-user")
    shown = [word for path in _python_paths() for word in ("--ro-bind", path, path)]
    places = [(folder / "lab1", "/lab/work/lab1"), (folder / "given", "/lab/given")]
    places += [(folder / "kernel.json", "/lab/kernel.json"), (folder / "passwd", "/etc/passwd")]
    places += [(data, str(data))] if data else []
    (folder / "passwd").write_text(PASSWD)
    return _bubblewrap([*shown, *(str(word) for source, to in places for word in ("--ro-bind", source, to))], info)


def _bubblewrap(binds: list[str], info: int | None = None) -> list[str]:
    words = ["bwrap", "--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL", "--new-session"]
    words += ["--die-with-parent", "--uid", "1000", "--gid", "1000", "--hostname", "lab1"]
    for path in SYSTEM:
        words += ["--ro-bind-try", path, path]
    words += ["--proc", "/proc", "--dev", "/dev", "--size", str(DISK // 4), "--tmpfs", "/dev/shm"]
    words += ["--size", str(DISK // 4), "--tmpfs", "/tmp"]
    words += ["--size", str(DISK), "--tmpfs", "/lab", "--size", str(2**20), "--tmpfs", "/lab/ipc"]
    for name in ("work", "home", "tmp"):
        words += ["--dir", f"/lab/{name}"]
    words += binds
    for path in ("/proc", "/dev", "/"):  # /proc/sys is root's to write even without privileges
        words += ["--remount-ro", path]
    words += ["--chdir", "/lab/work" if info is not None else "/"]
    return [*words, *(["--info-fd", str(info)] if info is not None else []), "--"]


def _namespaces(*user: str) -> list[str]:
    return ["unshare", *user, "--net", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]


def _python_paths() -> list[str]:
    """Where this Python and its packages lie, links as they are named and as they end."""
    named = {sys.prefix, sys.base_prefix, sys.exec_prefix, *(sysconfig.get_path(n) for n in ("purelib", "platlib"))}
    paths = {*named, *(os.path.realpath(path) for path in named)}
    return sorted(path for path in paths if not path.startswith("/usr/") and Path(path).exists())


@functools.cache
def limited_by() -> str:
    """What limits memory and the number of processes here: "control groups", "systemd" or "nothing". It is tried."""
    group, words = Group(2**30), _scope(2**30)
    ways = [("control groups", [], group.enter)] if group.folders else []
    try:
        for name, before, enter in [*ways, ("systemd", words, None)]:
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                command = [*before, "true"]
                environment = {"PATH": os.environ.get("PATH", os.defpath)} | _bus()
                subprocess.run(command, env=environment, preexec_fn=enter, capture_output=True, timeout=20, check=True)
                return name
    finally:
        group.remove()
    return "nothing"


class Group:
    """A control group for one notebook, whose limits nothing in it can leave. Has no folders where there is none.

    memory: in bytes; 0 for none.
    """

    def __init__(self, memory: float):
        self.folders = []
        if not memory:
            return
        name = f"lab1-{secrets.token_hex(8)}"
        limits = {"memory": ("memory.limit_in_bytes", int(memory)), "pids": ("pids.max", PROCESSES)}
        with contextlib.suppress(OSError):
            for kind, (file, value) in limits.items():
                (GROUPS[kind] / name).mkdir()
                self.folders.append(GROUPS[kind] / name)
                (GROUPS[kind] / name / file).write_text(str(value))
            return
        self.remove()

    def enter(self) -> None:
        """Called in the process that is to be limited."""
        for folder in self.folders:
            (folder / "cgroup.procs").write_text("0")

    def ran_out(self) -> bool:
        """Whether the system has killed a process of the group because it wanted too much memory."""
        with contextlib.suppress(OSError):
            return any("oom_kill 0" not in (f / "memory.oom_control").read_text() for f in self.folders[:1])
        return False

    def remove(self) -> None:
        for folder in self.folders:
            for _ in range(50):  # a killed process leaves it a moment later
                with contextlib.suppress(OSError):
                    folder.rmdir()
                    break
                time.sleep(0.02)
        self.folders = []


def scope(memory: float) -> list[str]:
    """The words that put a command into a group of systemd's, where the account has no control groups of its own."""
    return _scope(memory) if limited_by() == "systemd" else []


def _scope(memory: float) -> list[str]:
    limits = ["-p", f"MemoryMax={int(memory)}", "-p", "MemorySwapMax=0", "-p", f"TasksMax={PROCESSES}"]
    user = [] if os.geteuid() == 0 else ["--user"]
    return [*SCOPE, *user, *limits, "--", "env", *(word for name in BUS for word in ("-u", name))]


def bus() -> dict[str, str]:
    """What systemd-run needs of the environment, and takes away from the command."""
    return _bus() if limited_by() == "systemd" else {}


def _bus() -> dict[str, str]:
    return {name: os.environ[name] for name in BUS if name in os.environ}


def limiter(group: Group) -> Callable[[], None]:
    """What the process calls before it becomes the sandbox: it enters the group, and has the limits of a process."""
    import resource

    limits = {resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: DISK, resource.RLIMIT_NOFILE: FILES}

    def limit():
        group.enter()
        for kind, value in limits.items():
            _, most = resource.getrlimit(kind)
            value = value if most < 0 else min(value, most)
            resource.setrlimit(kind, (value, value))

    return limit
