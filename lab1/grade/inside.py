"""What runs in a student's kernel beside the notebook: the kernel's start, and what is noted after each cell.

It is the student's process: whatever is here serves those who had an accident. Nothing that comes from it is believed
where points are given.
"""

import ast
import contextlib
import gc
import io
import os
import shutil
import signal
import sys
import threading
from pathlib import Path

PROCESSES = 512  # threads included
DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
VALUES = (ast.Assign, ast.AnnAssign)


def defines(statement: ast.stmt) -> bool:
    """Whether a statement is an import, a definition, or a value that takes no call: a moment's work."""
    if isinstance(statement, VALUES):
        return not any(isinstance(each, ast.Call) for each in ast.walk(statement))
    return isinstance(statement, DEFINITIONS)


class Said(dict):
    """What the grader is told when it asks."""

    def _repr_json_(self) -> dict:
        return dict(self)


class Notebook:
    """What the grader asks of the kernel. names: those for which there are points."""

    def __init__(self, shell, names: list[str]):
        self.shell = shell
        self.answers = {name: [] for name in names}  # [(cell, object)], each that was an answer, in order
        self.lost = {}  # name -> the cell after which it was no answer any more
        self.cell, self.source = 0, ""
        self.running, self.left_running = count_running(), []
        shell.events.register("pre_run_cell", lambda info: self._begin(info.raw_cell))
        shell.events.register("post_run_cell", self._end)

    def _begin(self, source: str) -> None:
        if (running := count_running()) > self.running:  # than ever: some come and go
            self.left_running.append(self.cell)
            self.running = running
        self.cell = self.shell.kernel.get_parent("shell").get("metadata", {}).get("lab1_cell", 0)
        self.source = source

    def _end(self, result) -> None:
        if self.cell == 0:
            return
        if error := result.error_in_exec:
            self.define(self.source, _failed_line(error))
        self.note()

    def define(self, source: str, after: int = 0) -> None:
        """Execute what a cell defines below a line, statement by statement, each on its own."""
        with contextlib.suppress(Exception):
            tree = ast.parse(self.shell.transform_cell(source))
            for statement in tree.body:
                if statement.lineno > after and defines(statement):
                    name = self.shell.compile.cache(source, self.cell)
                    with contextlib.suppress(Exception):
                        exec(compile(ast.Module([statement], []), name, "exec"), self.shell.user_ns)

    def define_only(self, source: str, cell: int) -> None:
        """Instead of a cell that cannot be run."""
        self.cell = cell
        self.define(source)
        self.note()

    def note(self) -> None:
        """Remember each new answer, and when its name came to stand for something else."""
        for name, answers in self.answers.items():
            value = self.shell.user_ns.get(name)
            if is_answer(value):
                self.lost.pop(name, None)
                if not answers or answers[-1][1] is not value:
                    answers.append((self.cell, value))
            elif answers:
                self.lost.setdefault(name, self.cell)

    def suspects(self) -> Said:
        """The cells that have left something running; the last one perhaps only for a moment, so it comes first."""
        last = [self.cell] if count_running() > self.running else []
        return Said(cells=[*last, *self.left_running])

    def finish(self) -> Said:
        """Have every answer checked that has not passed yet. Returns the cells that made and overwrote the answers."""
        from lab1.grade import observe

        self.note()
        with contextlib.redirect_stdout(io.StringIO()):
            observe.check_the_rest(self)
        made = {name: [cell for cell, _ in answers] for name, answers in self.answers.items()}
        return Said(made=made, lost=self.lost)


def count_running() -> int:
    """What may act during later cells: threads, processes, an alarm."""
    children = ""
    with contextlib.suppress(OSError):
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    alarm = hasattr(signal, "getitimer") and signal.getitimer(signal.ITIMER_REAL)[0] > 0
    return threading.active_count() + len(children.split()) + alarm


def is_answer(value: object) -> bool:
    """A class or a function, as the tasks ask for; not a network or another object that can be called."""
    return isinstance(value, type) or (callable(value) and not hasattr(value, "parameters"))


def _failed_line(error: BaseException) -> int:
    """The line of the cell in which it failed; 0 if unknown."""
    trace = error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_name == "<module>" and "ipykernel" in trace.tb_frame.f_code.co_filename:
            return trace.tb_lineno
        trace = trace.tb_next
    return 0


def offline() -> None:
    """Refuse what Python itself would send, where the system cannot cut a kernel off. Programs are not refused."""

    def refuse(event, arguments):
        if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            address = arguments[1]
            if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
                raise OSError("there is no network while notebooks are graded")

    sys.addaudithook(refuse)


def limit_processes() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_NPROC, (PROCESSES, PROCESSES))


def main(connection_file: str, isolation: str, channel: str, names: str) -> None:
    gc.disable()  # it looks through all objects again and again, of which imports make many that stay
    sys.modules["debugpy"] = None  # Jupyter's debugger: not used here, and takes time to import
    from ipykernel.kernelapp import IPKernelApp

    from lab1 import data
    from lab1.grade import lazy, observe

    lazy.install()
    data.load.__kwdefaults__["download"] = False  # there is no network, and to try it takes seconds
    shutil.copytree("../given", "..", dirs_exist_ok=True)
    if isolation == "bubblewrap":
        limit_processes()
    if isolation == "none":
        offline()
    app = IPKernelApp.instance()
    app.initialize(["-f", connection_file])
    app.shell.ask_exit = lambda: None  # exit() is not the end of the other cells
    app.kernel.lab1 = Notebook(app.shell, names.split(","))
    observe.connect(app.kernel.lab1, int(channel))
    gc.freeze()
    gc.enable()
    app.start()


if __name__ == "__main__":
    main(*sys.argv[1:])
