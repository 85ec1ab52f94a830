"""Runs that continue, are loaded, are refused, are interrupted."""

import pytest
import torch
from torch import nn

from lab1 import ResNet, checkpoints, training
from lab1.training.checkpoints import CheckpointError


def small_model(seed=0):
    torch.manual_seed(seed)
    return ResNet((1, 1), num_classes=4, width=4)


def states_equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


class Stop(Exception):
    pass


def stop_after(epoch):
    def log(numbers):
        if numbers["epoch"] == epoch:
            raise Stop

    return log


def fit_with_checkpoint(tiny, path, model=None, **options):
    model = model or small_model()
    options = {"num_epochs": 4, "batch_size": 16, "record_gradients": True, **options}
    history = training.fit(model, tiny(augment=True), tiny(seed=1), checkpoint=path, **options)
    return model, history


def without_times(history):
    return {k: v.tolist() if isinstance(v, torch.Tensor) else v for k, v in history.items() if k != "seconds"}


@pytest.mark.parametrize("stopped_after", [0, 1, 2])
def test_resumed_run_ends_bitwise_like_an_uninterrupted_one(tiny, tmp_path, stopped_after):
    uninterrupted, expected = fit_with_checkpoint(tiny, tmp_path / "whole.pt")
    with pytest.raises(Stop):
        fit_with_checkpoint(tiny, tmp_path / "a.pt", log=stop_after(stopped_after))
    logged = []
    resumed, history = fit_with_checkpoint(tiny, tmp_path / "a.pt", small_model(seed=9), log=logged.append)
    assert states_equal(uninterrupted, resumed)
    assert without_times(history) == without_times(expected)
    assert [numbers["epoch"] for numbers in logged] == [0, 1, 2, 3]


def test_resumes_a_run_whose_tensors_lie_otherwise_in_memory(tiny, tmp_path):
    uninterrupted, _ = fit_with_checkpoint(tiny, tmp_path / "whole.pt")
    with pytest.raises(Stop):
        fit_with_checkpoint(tiny, tmp_path / "a.pt", log=stop_after(1))
    checkpoint = checkpoints.load(tmp_path / "a.pt")
    for state in checkpoint["optimizer"]["state"].values():
        state["momentum_buffer"] = state["momentum_buffer"].contiguous()  # as on a GPU that computes in float32
    checkpoints.save(tmp_path / "a.pt", checkpoint)
    resumed, _ = fit_with_checkpoint(tiny, tmp_path / "a.pt", small_model(seed=9))
    assert states_equal(uninterrupted, resumed)


def test_finished_run_is_loaded_not_trained_again(tiny, tmp_path, capsys):
    path = tmp_path / "a.pt"
    model, history = fit_with_checkpoint(tiny, path)
    before = path.stat().st_mtime_ns
    loaded, again = fit_with_checkpoint(tiny, path, small_model(seed=9))
    assert "loaded a.pt: a finished run of 4 epochs" in capsys.readouterr().out
    assert states_equal(model, loaded)
    assert without_times(history) == without_times(again) and history["seconds"] == again["seconds"]
    assert path.stat().st_mtime_ns == before
    fit_with_checkpoint(tiny, path, retrain=True)
    assert path.stat().st_mtime_ns > before


def test_best_and_last_are_kept(tiny, tmp_path):
    model, history = fit_with_checkpoint(tiny, tmp_path / "a.pt", lr=1.0)
    stored = checkpoints.load(tmp_path / "a.pt")
    assert all(torch.equal(stored["model"][k], v) for k, v in model.state_dict().items())
    best = stored["best"]
    assert history["val/accuracy"][best["epoch"]] == max(history["val/accuracy"])
    model.load_state_dict(best["model"])
    assert training.evaluate(model, tiny(seed=1), batch_size=16)[1] == max(history["val/accuracy"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lr": 0.3}, "lr=0.1 instead of 0.3"),
        ({"seed": 4}, "seed=0 instead of 4"),
        ({"num_epochs": 5}, "num_epochs=4 instead of 5"),
        ({"config": {"skip": False}}, "skip=None instead of False"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(192, 4))}, "model='ResNet' instead of 'Sequential'"),
    ],
)
def test_checkpoint_of_another_configuration_is_refused_and_kept(tiny, tmp_path, change, said):
    path = tmp_path / "a.pt"
    fit_with_checkpoint(tiny, path)
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=said):
        fit_with_checkpoint(tiny, path, **change)
    assert path.read_bytes() == before


def test_checkpoint_made_with_other_images_is_refused(tiny, tmp_path):
    training.fit(small_model(), tiny(), num_epochs=1, checkpoint=tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="train_data="):
        training.fit(small_model(), tiny(seed=1), num_epochs=1, checkpoint=tmp_path / "a.pt")


def test_checkpoint_with_weights_of_another_shape_is_refused(tiny, tmp_path):
    path = tmp_path / "a.pt"
    fit_with_checkpoint(tiny, path)
    stored = checkpoints.load(path)
    stored["model"]["fc.weight"] = torch.ones(3, 3)
    checkpoints.save(path, stored)
    with pytest.raises(CheckpointError, match=r"(?s)does not fit this model .*fc\.weight"):
        fit_with_checkpoint(tiny, path)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_damaged_checkpoint_is_refused_before_training(tiny, tmp_path, content):
    path = tmp_path / "a.pt"
    if content is None:
        checkpoints.save(path, {"other": 1})
        content = path.read_bytes()
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.pt"):
        fit_with_checkpoint(tiny, path, log=lambda numbers: pytest.fail("it trained"))
    assert path.read_bytes() == content


def test_unwritable_checkpoint_is_refused_before_training(tiny, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot write the checkpoint"):
        fit_with_checkpoint(tiny, tmp_path / "file" / "a.pt", log=lambda numbers: pytest.fail("it trained"))


# interrupts -----------------------------------------------------------------------------------------------------------


class InterruptedAt(nn.Module):
    """A model in which somebody presses the stop button at its n-th forward pass."""

    def __init__(self, n):
        super().__init__()
        self.model, self.left = small_model(), n

    def forward(self, x):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return self.model(x)


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("n", [1, 2, 4, 5, 8])  # an epoch is three training batches and three of validation
def test_interrupt_keeps_the_last_finished_epoch(tiny, tmp_path, n, checkpointed, capsys):
    path = tmp_path / "a.pt" if checkpointed else None
    expected = small_model()
    finished = (n - 1) // 6
    if finished:
        training.fit(expected, tiny(), tiny(seed=1), num_epochs=4, batch_size=16, log=None)
    model = InterruptedAt(n)
    options = {"num_epochs": 4, "batch_size": 16, "checkpoint": path}
    history = training.fit(model, tiny(), tiny(seed=1), **options)
    assert f"after {finished} epochs" in capsys.readouterr().out
    assert history["epoch"] == list(range(finished))
    if finished == 0:
        assert states_equal(model.model, expected)
    assert not model.training
    assert torch.isfinite(model(torch.rand(2, 3, 8, 8))).all()
    if checkpointed:
        history = training.fit(model, tiny(), tiny(seed=1), **options)
        assert history["epoch"] == [0, 1, 2, 3]
        uninterrupted = InterruptedAt(0)
        training.fit(uninterrupted, tiny(), tiny(seed=1), num_epochs=4, batch_size=16)
        assert states_equal(model, uninterrupted)


def test_history_says_whether_it_was_interrupted(tiny, tmp_path):
    options = {"num_epochs": 2, "batch_size": 16, "checkpoint": tmp_path / "a.pt"}
    assert training.fit(InterruptedAt(8), tiny(), tiny(seed=1), **options)["interrupted"] is True
    assert "interrupted" not in checkpoints.load(tmp_path / "a.pt")["history"]
    for _ in range(2):  # continued, then loaded
        assert training.fit(InterruptedAt(0), tiny(), tiny(seed=1), **options)["interrupted"] is False


def test_notes_are_those_of_the_beginning_and_not_compared(tiny, tmp_path):
    path = tmp_path / "a.pt"
    with pytest.raises(Stop):
        fit_with_checkpoint(tiny, path, notes={"run_id": "first"}, log=stop_after(1))
    for notes in ({"run_id": "second"}, None):
        fit_with_checkpoint(tiny, path, notes=notes)
        assert checkpoints.load(path)["notes"] == {"run_id": "first"}
    fit_with_checkpoint(tiny, path, notes={"run_id": "third"}, retrain=True)
    assert checkpoints.load(path)["notes"] == {"run_id": "third"}
