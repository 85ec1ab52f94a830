"""The observing half of the checks in a student's kernel: it does what the judge in the grader asks, and says it.

`checks.mlp(MLP)` in a cell forks as it always does; what the copy observes goes to the grader, which answers with the
result. There are no references here.
"""

import ast
import contextlib
import functools
import json
import mmap
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType

import lab1
from lab1 import checks
from lab1.checks import Result, _check, _isolation, observer
from lab1.checks.channel import Ended, Pipe, Queues

OWN_SECONDS = 8  # of the answer's own time; other threads of the notebook do not count
WALL_SECONDS = 60  # for an answer that sleeps
SHORT = 100  # bytes of code that anybody would write in the same way
PACKAGE = Path(lab1.__file__).parent
OURS = ("basics/", "grade/", "checks/observer.py", "checks/_harness.py", "checks/_isolation.py")  # what observes
CALL, ASK, REPLY, END, RESULT, USED = b"caresu"
serve = observer.serve


def connect(notebook, descriptor: int) -> None:
    """Let every check be judged through the socket, from now on."""
    relay = Relay(notebook, descriptor)
    call = _check.Check.__call__

    def call_and_note(check, answer):
        codes()  # before the copy is made, which would do it anew each time
        relay.given = answer
        return call(check, answer)

    _check.Check.__call__ = call_and_note
    _check.Check.judge = lambda check, channel: relay.judge(check, channel)
    _check.SECONDS = WALL_SECONDS
    _isolation.serve = relay.serve
    for name, observation in list(vars(observer.Observer).items()):
        if not name.startswith("_"):
            setattr(observer.Observer, name, relay.watched(observation))
    notebook.relay = relay


def check_the_rest(notebook) -> None:
    for check in checks.CHECKS:
        answers = notebook.answers.get(check.name)
        if answers and (check.name, len(answers) - 1) not in notebook.relay.passed:
            check(answers[-1][1])


class Relay:
    """Hands the judge's requests to the copy of this process that observes, and its replies back."""

    def __init__(self, notebook, descriptor: int):
        self.notebook, self.pipe, self.number = notebook, Pipe(descriptor, descriptor), 0
        self.given, self.passed, self.shared = None, set(), mmap.mmap(-1, 2**14)
        self.watch = None

    def judge(self, check, channel: Pipe | Queues) -> Result:
        """In place of Check.judge: the result comes from the grader."""
        self.number += 1
        self.shared[:] = bytes(len(self.shared))
        self.notebook.note()
        objects = [answer for _, answer in self.notebook.answers[check.name]]
        index = next((i for i, each in enumerate(objects) if each is self.given), -1)
        call = {"name": check.name, "cell": self.notebook.cell, "answer": index}
        self.send(CALL, json.dumps(call).encode())
        try:
            result = self.result(channel)
        except BaseException:  # an interrupt: the grader waits for both of these
            self.send(END, b"gone")
            self.send(USED, b"[]")
            raise
        if result.passed:
            self.passed.add((check.name, index))
        used = bytes(self.shared).strip(b"\0").decode().split("\n")[1:]
        self.send(USED, json.dumps(used).encode())
        return result

    def result(self, channel: Pipe | Queues) -> Result:
        """Observe what the grader asks for, until it sends the result."""
        while True:
            kind, number, content = self.receive()
            if number == self.number and kind == ASK:
                self.ask(channel, content)
            elif number == self.number and kind == RESULT:
                return Result(**json.loads(content))

    def ask(self, channel: Pipe | Queues, request: bytes) -> None:
        try:
            channel.send(request)
            self.send(REPLY, channel.receive())
        except Ended as ended:
            self.send(END, b"too slow" if self.shared[0] else str(ended).encode())

    def send(self, kind: int, content: bytes) -> None:
        self.pipe.send(kind.to_bytes(1) + self.number.to_bytes(4, "little") + content)

    def receive(self) -> tuple[int, int, bytes]:
        message = self.pipe.receive()
        return message[0], int.from_bytes(message[1:5], "little"), message[5:]

    def serve(self, answer, channel: Pipe | Queues) -> None:
        """In place of observer.serve, in the copy: its own time is limited, and what it runs of lab1's is noted."""
        known = codes()
        seen, found = set(), []

        def watch(frame, event, argument):
            code = frame.f_code
            if id(code) in seen:
                return
            seen.add(id(code))
            if (name := borrowed(code, known)) and name not in found:
                found.append(name)
                text = "\n".join(["", *found]).encode()[: len(self.shared) - 1]
                self.shared[1 : 1 + len(text)] = text

        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGXCPU, self.too_slow)
            used = int(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))
            resource.setrlimit(resource.RLIMIT_CPU, (used + OWN_SECONDS, used + OWN_SECONDS + 5))
        self.watch = watch
        serve(answer, channel)

    def watched(self, observation: Callable) -> Callable:
        """The observation, with `watch` called for each call of a Python function in it."""

        @functools.wraps(observation)
        def observe(*arguments, **options):
            for settrace in (sys.settrace, threading.settrace):  # of this thread, and of those that it starts
                settrace(self.watch)
            try:
                return observation(*arguments, **options)
            finally:
                sys.settrace(None)
                threading.settrace(None)

        return observe

    def too_slow(self, *_) -> None:
        self.shared[0] = 1
        os._exit(0)


def borrowed(code: CodeType, known: dict) -> str:
    """The name in lab1 of a piece of code, or of that of which it is a copy; "" if it is neither."""
    file = Path(code.co_filename)
    if file.is_relative_to(PACKAGE):
        return "" if is_ours(file) else name_of(code, file)
    is_own = len(code.co_code) < SHORT or code.co_name.startswith("<")  # such as a comprehension
    return "" if is_own or shape(code) not in known else f"a copy of {known[shape(code)]}"


def is_ours(file: Path) -> bool:
    """Whether a file of lab1 holds what observes. The other checks hold references, which are answers."""
    return file.relative_to(PACKAGE).as_posix().startswith(OURS)


def name_of(code: CodeType, file: Path) -> str:
    """Such as "lab1.models.resnet.BasicBlock.forward"."""
    return ".".join(("lab1", *file.relative_to(PACKAGE).with_suffix("").parts, code.co_qualname))


def shape(code: CodeType) -> tuple:
    """What a piece of code does, whatever it is called and wherever it stands."""
    constants = tuple(str(each) for each in code.co_consts[1:] if not isinstance(each, CodeType))
    return code.co_code, code.co_names, code.co_varnames, constants


@functools.cache
def codes() -> dict[tuple, str]:
    """The names of all functions in lab1, by what they do."""
    found = {}
    for file in PACKAGE.rglob("*.py"):
        if not is_ours(file):
            with contextlib.suppress(OSError, SyntaxError):
                found |= {shape(code): name_of(code, file) for code in compiled(file)}
    return found


def compiled(file: Path) -> Iterator[CodeType]:
    """The functions in a file; those of checks, which nobody writes by chance, also as in a cell without imports.

    Python compiles torch.tensor(...) in another way where the same file imports torch.
    """
    tree = ast.parse(file.read_bytes())
    yield from inner(compile(tree, "", "exec"))
    if file.parent.name == "checks":
        tree.body = [each for each in tree.body if not isinstance(each, ast.Import | ast.ImportFrom)]
        yield from inner(compile(tree, "", "exec"))


def inner(code: CodeType) -> Iterator[CodeType]:
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield each
            yield from inner(each)
