"""What a notebook might do to harm others, with planted stand-ins for secrets and rivals: it reaches nothing."""

import os
import resource
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from grading import ALL, IN_A_SANDBOX, POINTS, graded, notebook, points, sources

import lab1
from lab1.grade import launch
from lab1.grade.page import page
from lab1.grade.submissions import Submission

ROOT = Path(lab1.__file__).parent.parent
needs_sandbox = pytest.mark.skipif(not IN_A_SANDBOX, reason="THERE IS NO BUBBLEWRAP HERE: the sandbox is NOT tested")


def probe(code, **options):
    """Run code in a notebook; it prints what it could do."""
    grading = graded(notebook(*sources(first=[textwrap.dedent(code)])), **options)
    said = "\n".join(text for cell in grading.cells for _, text in cell.outputs)
    return grading, said


@needs_sandbox
def test_nothing_of_the_account_is_seen(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "planted-canary")
    monkeypatch.setenv("LAB1_DATA", str(tmp_path / "none"))  # which would be seen
    (tmp_path / "rival.ipynb").write_text("planted-canary")
    code = f"""
        import os, pathlib, subprocess
        found = []
        places = [{str(tmp_path)!r}, {str(ROOT / "tests")!r}, {str(Path.home())!r}, "/root", "/home", "/work", "/mnt"]
        for path in places:
            for file in pathlib.Path(path).rglob("*") if pathlib.Path(path).exists() else []:
                if file.is_file() and "/.venv/" not in str(file) and "/.pyenv/" not in str(file):
                    found.append(str(file))
        for name in os.listdir("/proc"):
            if name.isdigit():
                for part in ("environ", "cmdline"):
                    found += ["canary"] * (b"planted-canary" in pathlib.Path(f"/proc/{{name}}/{{part}}").read_bytes())
        found += ["environment"] * ("WANDB_API_KEY" in os.environ)
        print("processes", sum(name.isdigit() for name in os.listdir("/proc")))
        print("found", found[:5])
    """
    grading, said = probe(code)
    assert "found []" in said, said
    assert sum(points(grading).values()) == ALL


@needs_sandbox
def test_nothing_outside_can_be_written(tmp_path, monkeypatch):
    (tmp_path / "cifar10.npz").write_bytes(b"")
    monkeypatch.setenv("LAB1_DATA", str(tmp_path))
    code = """
        import os, pathlib, sys, lab1, torch
        written = []
        places = [pathlib.Path(lab1.__file__), pathlib.Path(torch.__file__).parent.parent / "x.pth"]
        places += [pathlib.Path(sys.prefix) / "x", pathlib.Path("/usr/x"), pathlib.Path("/x"), pathlib.Path("/dev/x")]
        places += [pathlib.Path("/proc/sys/kernel/core_pattern"), pathlib.Path("/proc/sysrq-trigger")]
        places += [pathlib.Path("/sys/x"), pathlib.Path("/etc/x")]
        places += [pathlib.Path(os.environ["LAB1_DATA"]) / "cifar10.npz", pathlib.Path(f"/proc/{os.getppid()}/mem")]
        for place in places:
            try:
                place.open("a").write("")
                written.append(str(place))
            except OSError:
                pass
        print("written", written)
        status = pathlib.Path("/proc/self/status").read_text()
        print("capabilities", [line for line in status.splitlines() if line.startswith("CapEff")])
    """
    grading, said = probe(code)
    assert "written []" in said and "CapEff:\t0000000000000000" in said.replace("\\t", "\t"), said
    assert sum(points(grading).values()) == ALL


@needs_sandbox
def test_no_network_and_no_way_back_to_it(tmp_path):
    code = """
        import ctypes, os, socket, subprocess
        reached = []
        for address in (("1.1.1.1", 53), ("127.0.0.1", 22), ("169.254.169.254", 80)):
            connection = socket.socket()
            connection.settimeout(3)
            if connection.connect_ex(address) == 0:
                reached.append(address)
        libc = ctypes.CDLL(None, use_errno=True)
        for name in ("net", "mnt", "user", "pid"):
            for process in (1, os.getppid()):
                if process != os.getpid():
                    file = os.open(f"/proc/{process}/ns/{name}", os.O_RDONLY)
                    same = os.readlink(f"/proc/{process}/ns/{name}") == os.readlink(f"/proc/self/ns/{name}")
                    if not same and libc.setns(file, 0) == 0:
                        reached.append(name)
        if libc.unshare(0x10000000) == 0:
            reached.append("user namespace")
        if libc.mount(b"none", b"/lab/tmp", b"tmpfs", 0, None) == 0:
            reached.append("mount")
        print("reached", reached)
    """
    _, said = probe(code)
    assert "reached []" in said, said


@needs_sandbox
def test_nothing_outlives_its_notebook(tmp_path):
    code = """
        import os
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execv("/bin/sleep", ["sleep", "4321"])
            os._exit(0)
    """
    probe(code)
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "sleep 4321" not in running


@needs_sandbox
def test_a_chain_of_processes_ends_with_its_notebook():
    code = """
        import ctypes, os, time
        if os.fork() == 0:
            os.setsid()
            ctypes.CDLL(None).prctl(15, b"chain4321")  # its name, which its children have, too
            end = time.monotonic() + 20
            while time.monotonic() < end:
                if os.fork():
                    os._exit(0)
                time.sleep(0.002)
            os._exit(0)
    """
    grading, _ = probe(code)
    assert sum(points(grading).values()) == ALL
    running = subprocess.run(["ps", "-eo", "comm"], capture_output=True, text=True, check=True).stdout
    assert "chain4321" not in running


@needs_sandbox
def test_neither_grader_nor_other_kernels_can_be_reached():
    """Two notebooks at a time: one stops whatever it can, and looks for the connection of the other."""
    stop = """
        import os, pathlib, signal
        seen = [int(path.name) for path in pathlib.Path("/proc").glob("[0-9]*")]
        for number in {os.getppid(), *seen} - {os.getpid()}:
            try:
                os.kill(number, signal.SIGSTOP)
            except (ProcessLookupError, PermissionError):
                pass
        found = [str(path) for path in pathlib.Path("/").glob("**/kernel*.json") if not str(path).startswith("/proc")]
        print("connections", [path for path in found if "/share/" not in path and "/site-packages/" not in path])
        print("sockets", sorted(path.name for path in pathlib.Path("/lab/ipc").iterdir()))
    """
    with ThreadPoolExecutor(2) as pool:
        (grading, said), (other, _) = pool.map(probe, (stop, "import time\ntime.sleep(5)"))
    assert "connections ['/lab/kernel.json']" in said and "['k-1', 'k-2', 'k-3', 'k-4', 'k-5']" in said, said
    assert points(grading) == points(other) == POINTS, (grading.errors, other.errors)


@needs_sandbox
@pytest.mark.parametrize(
    "code",
    [
        "kept = [bytearray(2**26) for _ in range(100)]",
        """
        import os
        file = os.memfd_create("x")
        for _ in range(100):
            os.write(file, bytes(2**26))
        """,
        """
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                kept = []
                for _ in range(100):
                    kept.append(b"1" * 2**26)
                time.sleep(60)
            os._exit(0)
        time.sleep(15)
        """,
    ],
    ids=["process", "memfd", "daemon"],
)
def test_memory_is_limited(code, tmp_path):
    grading, _ = probe(code, memory=1)
    assert sum(points(grading).values()) == ALL and grading.seconds < 100, grading.errors


@needs_sandbox
def test_disk_and_processes_are_limited(tmp_path):
    code = """
        import os
        try:
            with open("big", "wb") as file:
                for _ in range(3000):
                    file.write(bytes(2**20))
            print("disk", "is free")
        except OSError as error:
            print("disk", error)
        os.remove("big")
        import threading
        wait = threading.Event()
        try:
            for _ in range(600):
                threading.Thread(target=wait.wait, daemon=True).start()
            print("processes", "are free")
        except RuntimeError as error:
            print("fork", error)
        wait.set()
    """
    grading, said = probe(code)
    assert "disk [Errno" in said and "fork can't" in said and " free" not in said, said
    assert sum(points(grading).values()) == ALL


def test_folders_that_cannot_be_deleted_are_gone(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = """
        import os
        for _ in range(3000):
            os.mkdir("d"); os.chdir("d")
        open("x", "w").close(); os.chmod(".", 0)
    """
    grading, _ = probe(code)
    assert sum(points(grading).values()) == ALL
    assert not list(tmp_path.glob("lab1-grade-*"))


def test_nothing_deep_or_locked_stays_in_the_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "file").write_text("x")
    here = Path.cwd()
    with launch.own_folder() as folder:
        (folder / "link").symlink_to(tmp_path / "victim")
        os.chdir(folder)
        for _ in range(2000):  # more than Python's recursion can follow
            Path("d").mkdir()
            os.chdir("d")
        Path().chmod(0)
        os.chdir(here)
    assert [path.name for path in tmp_path.iterdir()] == ["victim"] and (tmp_path / "victim" / "file").exists()


# What a notebook shows


def test_outputs_fill_neither_memory_nor_page(tmp_path):
    first = ["print('x' * 12_000_000)"] * 8
    first += [
        f"from IPython.display import {kind}\n{kind}('x' * 9_000_000)" for kind in ("SVG", "Latex", "Markdown", "HTML")
    ]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grading = graded(notebook(*sources(first=first)))
    assert sum(points(grading).values()) == ALL
    assert len(page(Submission("x.ipynb", "", None), grading, "none")) < 2_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600_000  # KB


def test_one_output_of_a_gigabyte():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grading = graded(notebook(*sources(first=["print('x' * 10**9)"])), memory=5)
    assert sum(points(grading).values()) == ALL
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


def test_hostile_texts_do_nothing_on_the_page():
    html = '<script>steal()</script><img src=x onerror=steal()><form action="http://a">x</form><table><tr><td>1</td></tr></table>'
    first = [
        f"from IPython.display import HTML\nHTML({html!r})",
        "raise ValueError('</pre></iframe><script>steal()</script>')",
    ]
    first += ["print('\\x1b]0;title\\x07\\x1b[2Jhidden\\u202e')"]
    grading = graded(notebook(*sources(first=first)))
    text = page(Submission("x.ipynb", "", None), grading, "none")
    assert "<script" not in text and "\x1b" not in text and "\u202e" not in text
    assert "&lt;img" not in text and "&lt;form" not in text  # in the frame, which escapes once more
    assert "http-equiv" in text and "<iframe sandbox" in text and text.count("</iframe>") == 1


def test_a_full_disk_is_named(tmp_path):
    """With no room for temporary files nothing can be graded, and the table says why."""
    (tmp_path / "small").mkdir()
    (tmp_path / "lab.ipynb").write_bytes(notebook(*sources()))
    grade = f"{sys.executable} -m lab1.grade {tmp_path}/lab.ipynb --out {tmp_path}/report"
    mount = f"mount -t tmpfs -o size=64k none {tmp_path}/small && TMPDIR={tmp_path}/small {grade}"
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", mount], cwd=ROOT, capture_output=True, text=True
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip("no file system can be mounted here")
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "No space left" in (tmp_path / "report" / "scores.csv").read_text(encoding="utf-8-sig")
