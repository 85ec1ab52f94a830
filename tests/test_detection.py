import pytest
import torch

from lab1.analysis.detection import correct, detection_scores, find_digits
from lab1.analysis.segmentation import Boxes, digit_canvas


def boxes(*rows) -> Boxes:
    """(left, top, right, bottom, label, image) each."""
    table = torch.tensor(rows, dtype=torch.int64).reshape(-1, 6)
    return Boxes(table[:, :4], table[:, 4], table[:, 5])


def test_components_become_boxes():
    maps = torch.full((3, 12, 20), 10)
    maps[0, 2:6, 3:8] = 4
    maps[0, 2:4, 3:5] = 9  # a minority within the component
    maps[0, 6:9, 8:12] = 1  # touches the first by a corner: 12 pixels against 4 and 16
    maps[2, 0:12, 0:1] = 0
    maps[2, 5, 10] = 7  # too small
    found = find_digits(maps)
    assert found.boxes.tolist() == [[3, 2, 12, 9], [0, 0, 1, 12]]
    assert found.labels.tolist() == [4, 0] and found.image.tolist() == [0, 2]
    assert len(find_digits(maps, min_pixels=1).labels) == 3
    assert len(find_digits(torch.full((2, 5, 5), 10)).labels) == 0


def test_scores_by_hand():
    truth = boxes((0, 0, 10, 10, 3, 0), (20, 20, 30, 30, 5, 0), (0, 0, 10, 10, 3, 1))
    found = boxes(
        (0, 0, 10, 8, 3, 0),  # right: IoU 0.8
        (0, 2, 10, 10, 3, 0),  # the same digit again: wrong
        (20, 20, 30, 30, 6, 0),  # wrong label
        (0, 0, 10, 10, 3, 2),  # wrong image
        (0, 0, 4, 10, 3, 1),  # IoU 0.4
    )
    assert detection_scores(found, truth) == pytest.approx({"precision": 1 / 5, "recall": 1 / 3, "F1": 2 / 8})
    assert correct(found, truth).tolist() == [True, False, False, False, False]
    scores = detection_scores(found, truth, min_iou=0.4)
    assert scores == pytest.approx({"precision": 2 / 5, "recall": 2 / 3, "F1": 4 / 8})


def test_the_best_pairing_counts():
    """Each detection fits the left digit, one the right one as well: greedily from the first, only one would pair."""
    truth = boxes((0, 0, 10, 10, 3, 0), (3, 0, 13, 10, 3, 0))
    found = boxes((1, 0, 11, 10, 3, 0), (0, 0, 8, 10, 3, 0))
    assert detection_scores(found, truth)["F1"] == 1


def test_nothing_found_or_nothing_there():
    some, none = boxes((0, 0, 10, 10, 3, 0)), boxes()
    for found, truth in ((none, some), (some, none), (none, none)):
        assert detection_scores(found, truth) == {"precision": 0, "recall": 0, "F1": 0}


def test_true_label_maps_are_found_again(digits):
    """What the detector could reach at best: some digits fall into pieces at the threshold of brightness."""
    canvases = digit_canvas(*digits, num_canvases=60)
    assert detection_scores(find_digits(canvases.targets), canvases.digits)["F1"] > 0.95


def test_bad_input_is_refused_in_words():
    with pytest.raises(TypeError, match="predicted must be label maps of integers, not torch.float32"):
        find_digits(torch.rand(2, 5, 5))
    with pytest.raises(ValueError, match=r"predicted must be label maps \(N, H, W\), not \(5, 5\)"):
        find_digits(torch.zeros(5, 5).long())
    with pytest.raises(ValueError, match="0 or more, not -1 to -1"):
        find_digits(torch.full((1, 5, 5), -1))
    some = boxes((0, 0, 10, 10, 3, 0))
    with pytest.raises(ValueError, match=r"found must hold boxes \(M, 4\)"):
        detection_scores(some._replace(labels=torch.zeros(2).long()), some)
    with pytest.raises(ValueError, match="min_iou=50"):
        detection_scores(some, some, min_iou=50)
