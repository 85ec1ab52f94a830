"""Check of task 10, paste_digits. The reference is a loop over pixels."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from lab1.checks._check import Check
from lab1.checks._label_map import draw_labels
from lab1.checks._student import Cause, Raised, Student, Wrong
from lab1.checks._values import Draw, expect_same, expect_tensor, expect_unchanged, type_name

WHERE = "Digits lie at other places"
OVERLAP = "Digits cut holes into each other"
LABELS = "The canvas is right, the target is not"


class Paste(NamedTuple):
    """The arguments of paste_digits."""

    digits: Tensor
    labels: Tensor
    positions: Tensor
    size: tuple[int, int]
    background: int = 10

    def only(self, which: list[int]) -> "Paste":
        """Some of the digits, in that order."""
        return self._replace(digits=self.digits[which], labels=self.labels[which], positions=self.positions[which])

    def pixels(self) -> Iterator[tuple[int, float, int, int]]:
        """(label, brightness, row, column) of every pixel on the canvas, one digit after the other."""
        every = zip(self.digits.tolist(), self.labels.tolist(), self.positions.tolist(), strict=True)
        for digit, label, (top, left) in every:
            for i, row in enumerate(digit):
                for j, brightness in enumerate(row):
                    if 0 <= top + i < self.size[0] and 0 <= left + j < self.size[1]:
                        yield label, brightness, top + i, left + j


def _separate(draw: Draw, background: int = 10, shape: tuple[int, int] | None = None) -> Paste:
    """Digits side by side on a wide canvas, of which none touches another."""
    count, (height, width) = draw.integer(2, 5), shape or draw.distinct(2, 3, 7)
    size = height + draw.integer(1, 6), count * (width + 2) + 9
    tops, shifts = draw.integers((count,), 0, size[0] - height), draw.integers((count,), 0, 2)
    positions = torch.stack([tops, torch.arange(count) * (width + 2) + shifts], 1)
    return Paste(draw.uniform(count, height, width), draw_labels(draw, count), positions, size, background)


def _overlapping(draw: Draw, grey_values: int = 0) -> Paste:
    """Digits one over the other; with grey values 0, 1 / grey_values, ..., 1 some are equally bright."""
    count, height, width = draw.integer(4, 6), *draw.distinct(2, 4, 8)
    size = height + 4, width + 5
    positions = torch.stack([draw.integers((count,), 0, 4), draw.integers((count,), 0, 5)], 1)
    digits, labels = draw.uniform(count, height, width), draw.order(10)[:count]
    digits *= draw.uniform(*digits.shape) < 0.7  # the others are black
    if grey_values:
        digits = draw.integers(digits.shape, 0, grey_values) / grey_values
    return Paste(digits, labels, positions, size)


def _brighter(new: float, old: float) -> bool:
    return new > old


def _pasted(case: Paste, wins=_brighter, marks=None, seen=lambda brightness: brightness > 0.5) -> tuple[Tensor, Tensor]:
    """Canvas and target. A pixel goes on the canvas where it `wins`, its label on the target where it `marks`."""
    canvas = [[0.0] * case.size[1] for _ in range(case.size[0])]
    target = [[case.background] * case.size[1] for _ in range(case.size[0])]
    for label, new, y, x in case.pixels():
        old = canvas[y][x]
        if wins(new, old):
            canvas[y][x] = new
        if (marks or wins)(new, old):
            target[y][x] = label if seen(new) else case.background
    return torch.tensor(canvas), torch.tensor(target)


def _added(case: Paste) -> Tensor:
    canvas = torch.zeros(case.size)
    for _, brightness, y, x in case.pixels():
        canvas[y, x] += brightness
    return canvas


# Each of these undoes one mistake: if the student's code pastes rightly what it is given then, that is the mistake.
REPAIRS: dict[str, Callable[[Paste], Paste]] = {
    "Top and left are mixed up.": lambda case: case._replace(positions=case.positions.flip(1)),
    "The positions are taken for the digits' centres.": lambda case: case._replace(
        positions=case.positions + torch.tensor([n // 2 for n in case.digits.shape[1:]])
    ),
    "Height and width of the canvas are mixed up.": lambda case: case._replace(size=case.size[::-1]),
}


def _repairs(student: Student, case: Paste) -> list[str]:
    """The mistakes that explain why the canvas of a case is not right."""
    expected, fitting = _pasted(case)[0], []
    for words, repair in REPAIRS.items():
        repaired = repair(case)
        if student.can("run", *repaired[:4]):
            pair = student.run(*repaired[:4])
            if isinstance(pair, tuple | list) and torch.equal(torch.as_tensor(pair[0]), expected):
                fitting.append(words)
    return fitting


def _fits_28(student: Student, draw: Draw) -> bool:
    """Whether only digits of 28x28 pixels are pasted rightly."""
    case = _separate(draw, shape=(28, 28))
    canvas, _ = student.run(*case[:4])
    return torch.equal(torch.as_tensor(canvas), _pasted(case)[0])


PLACES = r"size of tensor|expanded size|out of bounds|out of range|broadcast|shape mismatch|must match|Error"
paste_digits = Check(
    10,
    "paste_digits",
    hints=(WHERE, OVERLAP, LABELS),
    causes=(
        Cause(
            r"shape mismatch: value tensor of shape \[\d+, \d+\] cannot be broadcast .* of shape \[\d+\]",
            "A mask selects on one side of the assignment only: the other side has all pixels.",
            OVERLAP,
        ),
        Cause(PLACES, "Digits of 28x28 pixels are taken for granted: take h and w from the digits.", WHERE, _fits_28),
        *(
            Cause(PLACES, words, WHERE, lambda student, draw, words=words: words in _repairs(student, _separate(draw)))
            for words in REPAIRS
        ),
    ),
)


def _paste(student: Student, case: Paste) -> tuple[Tensor, Tensor]:
    """What the answer returns, with positions as a tensor or, if it can read only that, as a list of pairs."""
    options = {} if case.background == 10 else {"background": case.background}
    try:
        pair = student.run(*case[:4], **options)
    except Raised as error:
        pairs = [tuple(each) for each in case.positions.tolist()]
        try:
            pair = student.run(*case[:2], pairs, case.size, **options)
        except Raised:
            raise error from None
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        mistake = "A return statement is missing." if pair is None else ""
        raise Wrong(f"What it returns is of type {type_name(pair)}, not a pair (canvas, target).", mistake, WHERE)
    if isinstance(pair[0], Tensor) and tuple(pair[0].shape) == case.size[::-1] != case.size:
        raise Wrong(f"size={case.size} gives {tuple(pair[0].shape)}.", "Height and width are mixed up.", WHERE)
    canvas = expect_tensor(pair[0], case.size, torch.float32, "The canvas", WHERE)
    return canvas, expect_tensor(pair[1], case.size, torch.int64, "The target", LABELS)


@paste_digits.claim("canvas (H, W) float32 and target (H, W) int64")
def _shapes(student, draw):
    _paste(student, _separate(draw))


@paste_digits.claim("digits that do not touch stand where they belong; inputs stay as they were")
def _places(student, draw):
    case = _separate(draw)
    canvas, target = _paste(student, case)
    given, expected = student.given, _pasted(case)
    if not torch.equal(canvas, expected[0]) and (mistakes := _repairs(student, case)):
        raise Wrong(f"{_told(case)}: digits lie at other places.", mistakes, WHERE)
    expect_same(canvas, expected[0], _place_mistakes(case, 0), WHERE, f"{_told(case)}: the canvas")
    expect_same(target, expected[1], _place_mistakes(case, 1), LABELS, f"{_told(case)}: the target")
    expect_unchanged(case.digits, given[0], "the tensor of the digits", WHERE)
    expect_unchanged(case.labels, given[1], "the tensor of the labels", WHERE)


def _told(case: Paste) -> str:
    count, height, width = case.digits.shape
    positions = [tuple(each) for each in case.positions.tolist()]
    return f"{count} digits of {height}x{width} at {positions}, size={case.size}"


def _place_mistakes(case: Paste, which: int) -> dict[str, Tensor]:
    """What canvas (0) or target (1) would be if the places, the labels or the threshold were mistaken."""
    numbers, shifted = torch.arange(len(case.labels)), case._replace(labels=case.labels + 1, background=0)
    mistakes = {
        "The background is 0, but that is a digit, too.": _pasted(case._replace(background=0)),
        "The background is 0 and every label is larger by one; the labels stay, the background is 10.": _pasted(
            shifted
        ),
        "Only pixels over the threshold are pasted: the canvas lacks the darker ones.": _pasted(case, wins=_is_bright),
        "The target has the digits' numbers in the list, not their labels.": _pasted(case._replace(labels=numbers)),
        "Every pixel that is not black has the label, whatever the threshold.": _pasted(case, seen=bool),
        "Only the first digit is there, as with a return inside the loop.": _pasted(case.only([0])),
        "Only the last digit is there, as if the canvas were made anew for each.": _pasted(case.only([-1])),
    }
    right = _pasted(case)[which]
    return {words: pair[which] for words, pair in mistakes.items() if not pair[which].equal(right)}


def _always(*_) -> bool:
    return True


def _is_bright(new: float, old: float) -> bool:
    return new > 0.5


def _is_seen(new: float, old: float) -> bool:
    return new > 0


@paste_digits.claim("where digits overlap, the canvas has the brighter pixel")
def _canvas(student, draw):
    case = _overlapping(draw)
    canvas, _ = _paste(student, case)
    mistakes = {
        "A later digit overwrites the earlier ones, with its dark pixels, too.": _pasted(case, wins=_always)[0],
        "A later digit overwrites the earlier ones wherever it is not black.": _pasted(case, wins=_is_seen)[0],
        "A later digit overwrites the earlier ones wherever it is bright.": _pasted(case, wins=_is_bright)[0],
        "The first digit stays, however dark it is.": _pasted(case, wins=lambda new, old: old == 0)[0],
        "The brightnesses are added.": [_added(case), _added(case).clamp(max=1)],
    }
    expect_same(canvas, _pasted(case)[0], mistakes, OVERLAP, f"{_told(case)}: the canvas")


@paste_digits.claim("where digits overlap, the target has the label of the brighter pixel's digit")
def _target(student, draw):
    case = _overlapping(draw)
    _, target = _paste(student, case)
    mistakes = {
        "The label is that of the last digit over the threshold, not of the brightest.": (
            _pasted(case, marks=_is_bright)[1]
        ),
        "The label is that of the first digit over the threshold, not of the brightest.": _first_marks(case),
        "A later digit's dark pixels overwrite the labels of the earlier ones.": _pasted(case, wins=_always)[1],
        "The label is that of the last digit that is not black, not of the brightest.": (
            _pasted(case, marks=_is_seen)[1]
        ),
    }
    expect_same(target, _pasted(case)[1], mistakes, LABELS, f"{_told(case)}: the target")


def _first_marks(case: Paste) -> Tensor:
    """The target if the earlier of two digits over the threshold kept its label."""
    last_first = list(reversed(range(len(case.labels))))
    return _pasted(case.only(last_first), marks=_is_bright)[1]


@paste_digits.claim("on a tie the earlier digit's label; a pixel at 0.5 is background")
def _ties(student, draw):
    case = _overlapping(draw, grey_values=4)
    _, target = _paste(student, case)
    mistakes = {
        "On a tie the later digit's label is taken.": _pasted(case, wins=lambda new, old: new >= old)[1],
        "Pixels equal to the threshold count as brighter.": _pasted(case, seen=lambda brightness: brightness >= 0.5)[1],
    }
    expect_same(target, _pasted(case)[1], mistakes, LABELS, f"{_told(case)}: the target")


@paste_digits.claim("another background")
def _background(student, draw):
    case = _separate(draw, background=draw.integer(11, 255))
    mistakes = {"The background argument is not used.": _pasted(case._replace(background=10))[1]}
    expect_same(
        _paste(student, case)[1], _pasted(case)[1], mistakes, LABELS, f"background={case.background}: the target"
    )
