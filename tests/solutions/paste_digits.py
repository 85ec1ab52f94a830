import numpy as np
import torch

from lab1 import checks
from solutions import right, wrong


@right(checks.paste_digits)
def slices(digits, labels, positions, size, background=10):
    canvas = torch.zeros(size)
    target = torch.full(size, background)
    for digit, label, (top, left) in zip(digits, labels, positions, strict=True):
        h, w = digit.shape
        window = canvas[top : top + h, left : left + w]
        marks = target[top : top + h, left : left + w]
        brighter = digit > window
        marks[brighter & (digit > 0.5)] = label
        window[brighter] = digit[brighter]
    return canvas, target


@right(checks.paste_digits)
def layers(digits, labels, positions, size, background=10, threshold=0.5):
    """One layer for each digit, then the maximum; the first of equals wins."""
    k, h, w = digits.shape
    stack = torch.zeros(k, *size)
    for i in range(k):
        top, left = int(positions[i][0]), int(positions[i][1])
        stack[i, top : top + h, left : left + w] = digits[i]
    canvas, which = stack.max(dim=0)
    which = (stack == canvas).int().argmax(dim=0)
    return canvas, torch.where(canvas > threshold, labels[which], background)


@right(checks.paste_digits)
def numpy_loops(digits, labels, positions, size, background=10):
    canvas, target = np.zeros(size, np.float32), np.full(size, background, np.int64)
    for digit, label, place in zip(digits.numpy(), labels.tolist(), positions, strict=True):
        for (i, j), value in np.ndenumerate(digit):
            y, x = place[0] + i, place[1] + j
            if value > canvas[y, x]:
                canvas[y, x] = value
                target[y, x] = label if value > 0.5 else background
    return torch.from_numpy(canvas), torch.from_numpy(target)


@right(checks.paste_digits)
def list_of_pairs(digits, labels, positions, size, background=10):
    """Reads positions as a list of pairs only."""
    places = {pair: k for k, pair in reversed(list(enumerate(positions)))}
    assert all(isinstance(pair, tuple) for pair in places)
    return slices(digits, labels, positions, size, background)


def mistake(name, *words):
    def note(inner):
        def paste_digits(digits, labels, positions, size, background=10):
            canvas, target = torch.zeros(size), torch.full(size, background)
            for digit, label, (top, left) in zip(digits, labels, positions.tolist(), strict=True):
                h, w = digit.shape
                place = slice(top, top + h), slice(left, left + w)
                inner(canvas[place], target[place], digit, label, background)
            return canvas, target

        paste_digits.__name__ = name
        wrong(checks.paste_digits, *words)(paste_digits)

    return note


@mistake("overwrites", "overwrites the earlier ones, with its dark pixels")
def _(canvas, target, digit, label, background):
    canvas[:] = digit
    target[:] = torch.where(digit > 0.5, label, background)


@mistake("only_bright", "Only pixels over the threshold")
def _(canvas, target, digit, label, background):
    canvas[digit > 0.5] = digit[digit > 0.5]
    target[digit > 0.5] = label


@mistake("overwrites_where_not_black", "wherever it is not black")
def _(canvas, target, digit, label, background):
    canvas[digit > 0] = digit[digit > 0]
    target[digit > 0.5] = label


@mistake("adds", "brightnesses are added")
def _(canvas, target, digit, label, background):
    target[(digit > canvas) & (digit > 0.5)] = label
    canvas += digit


@mistake("adds_and_clips", "brightnesses are added")
def _(canvas, target, digit, label, background):
    target[(digit > canvas) & (digit > 0.5)] = label
    canvas += digit
    canvas.clamp_(max=1)


@mistake("last_label", "last digit over the threshold")
def _(canvas, target, digit, label, background):
    target[digit > 0.5] = label
    canvas[:] = torch.maximum(canvas, digit)


@mistake("first_label", "first digit over the threshold")
def _(canvas, target, digit, label, background):
    target[(digit > 0.5) & (target == background)] = label
    canvas[:] = torch.maximum(canvas, digit)


@mistake("dark_deletes", "dark pixels overwrite the labels")
def _(canvas, target, digit, label, background):
    canvas[:] = torch.maximum(canvas, digit)
    target[:] = torch.where(digit > 0.5, label, background)


@mistake("later_on_tie", "On a tie the later")
def _(canvas, target, digit, label, background):
    wins = digit >= canvas
    target[wins] = torch.where(digit > 0.5, label, background)[wins]
    canvas[wins] = digit[wins]


@mistake("inclusive", "equal to the threshold")
def _(canvas, target, digit, label, background):
    target[(digit > canvas) & (digit >= 0.5)] = label
    canvas[:] = torch.maximum(canvas, digit)


@mistake("no_threshold", "not black has the label")
def _(canvas, target, digit, label, background):
    wins = digit > canvas
    target[wins] = label
    canvas[wins] = digit[wins]


@mistake("changes_digits", "changed in place")
def _(canvas, target, digit, label, background):
    target[(digit > canvas) & (digit > 0.5)] = label
    canvas[:] = torch.maximum(canvas, digit)
    digit.zero_()


@mistake("mask_on_one_side", "mask selects on one side of the assignment only")
def _(canvas, target, digit, label, background):
    canvas[digit > canvas] = digit


@mistake("raises", "ValueError: too bad (in line")
def _(canvas, target, digit, label, background):
    """The error is its own, not that of a second attempt with other positions."""
    raise ValueError("too bad")


@wrong(checks.paste_digits, "as with a return inside the loop")
def returns_in_loop(digits, labels, positions, size, background=10):
    for digit, label, position in zip(digits, labels, positions, strict=True):
        return slices(digit[None], label[None], position[None], size, background)


@wrong(checks.paste_digits, "canvas were made anew for each")
def new_canvas_for_each(digits, labels, positions, size, background=10):
    for digit, label, position in zip(digits, labels, positions, strict=True):
        result = slices(digit[None], label[None], position[None], size, background)
    return result


@wrong(checks.paste_digits, "background is 0")
def zero_by_default(digits, labels, positions, size, background=0):
    return slices(digits, labels, positions, size, background)


@wrong(checks.paste_digits, "background is 0")
def zero_background(digits, labels, positions, size, background=10):
    return slices(digits, labels, positions, size, 0)


@wrong(checks.paste_digits, "background argument is not used")
def fixed_background(digits, labels, positions, size, background=10):
    return slices(digits, labels, positions, size)


@wrong(checks.paste_digits, "numbers in the list")
def numbers(digits, labels, positions, size, background=10):
    return slices(digits, torch.arange(len(digits)), positions, size, background)


@wrong(checks.paste_digits, "Top and left")
def left_top(digits, labels, positions, size, background=10):
    return slices(digits, labels, [(top, left) for left, top in positions], size, background)


@wrong(checks.paste_digits, "Height and width are mixed up")
def width_height(digits, labels, positions, size, background=10):
    return slices(digits, labels, [(left, top) for top, left in positions], size[::-1], background)


@wrong(checks.paste_digits, "centres")
def centres(digits, labels, positions, size, background=10):
    _, h, w = digits.shape
    big = slices(digits, labels, [(t - h // 2 + 9, p - w // 2 + 9) for t, p in positions], (99, 99), background)
    return tuple(t[9 : 9 + size[0], 9 : 9 + size[1]] for t in big)


@wrong(checks.paste_digits, "torch.float64, expected torch.float32")
def doubles(digits, labels, positions, size, background=10):
    canvas, target = slices(digits, labels, positions, size, background)
    return canvas.double(), target


@wrong(checks.paste_digits, "not a pair")
def only_canvas(digits, labels, positions, size, background=10):
    return slices(digits, labels, positions, size, background)[0]


@wrong(checks.paste_digits, "28x28 pixels are taken for granted")
def fixed_28(digits, labels, positions, size, background=10):
    canvas, target = torch.zeros(size), torch.full(size, background)
    for digit, label, (top, left) in zip(digits, labels, positions.tolist(), strict=True):
        window, marks = (t[top : top + 28, left : left + 28] for t in (canvas, target))
        wins = digit > window
        marks[wins] = torch.where(digit > 0.5, label, background)[wins]
        window[wins] = digit[wins]
    return canvas, target


@wrong(checks.paste_digits, "every label is larger by one")
def shifted(digits, labels, positions, size, background=10):
    return slices(digits, labels + 1, positions, size, 0)


@wrong(checks.paste_digits, "taken for the digits' centres")
def centres_pixel_by_pixel(digits, labels, positions, size, background=10):
    """Negative rows and columns are at the other border."""
    canvas, target = torch.zeros(size), torch.full(size, background)
    _, h, w = digits.shape
    for digit, label, (y, x) in zip(digits, labels, positions.tolist(), strict=True):
        for i in range(h):
            for j in range(w):
                place = y - h // 2 + i, x - w // 2 + j
                if digit[i, j] > canvas[place]:
                    canvas[place], target[place] = digit[i, j], label if digit[i, j] > 0.5 else background
    return canvas, target
