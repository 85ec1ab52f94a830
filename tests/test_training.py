import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassAccuracy

from lab1 import ResNet, checkpoints, training
from lab1.analysis.gradients import epoch_rows
from lab1.basics.device import gains_from_bf16
from lab1.data import ImageSet
from lab1.training.checkpoints import CheckpointError


def small_model(seed=0):
    torch.manual_seed(seed)
    return ResNet((1, 1), num_classes=4, width=4)


def states_equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_learns(tiny):
    model = small_model()
    history = training.fit(model, tiny(128), tiny(64, seed=1), num_epochs=5, batch_size=16)
    assert history["train/loss"][-1] < 0.3 < history["train/loss"][0]
    assert history["val/accuracy"][-1] > 0.95
    assert history["epoch"] == [0, 1, 2, 3, 4]
    assert not model.training
    assert training.evaluate(model, tiny(64, seed=1)) == pytest.approx(
        (history["val/loss"][-1], history["val/accuracy"][-1])
    )


def test_overfits_label_maps_with_the_same_loop(tiny):
    labelled = tiny(24)
    maps = (labelled.images.float().mean(1) > 120).long()  # (N, 8, 8): bright or dark
    data = ImageSet(labelled.images, maps, (0.3,) * 3, (0.25,) * 3)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1))
    history = training.fit(model, data, data, num_epochs=10, batch_size=8)
    assert history["val/accuracy"][-1] > 0.97
    logits, targets = training.predict(model, data, batch_size=7)
    assert logits.shape == (24, 2, 8, 8)
    assert history["val/accuracy"][-1] == pytest.approx((logits.argmax(1) == targets).float().mean().item())


def test_numbers_equal_those_of_a_loop_written_out(tiny):
    """Without schedule and with its own optimizer, `fit` is the textbook loop."""
    batches = list(tiny().batches(10))  # 48 = 4 * 10 + 8: the last batch is smaller
    model, twin = small_model(), small_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    history = training.fit(model, batches, batches, num_epochs=2, optimizer=optimizer, schedule=False, autocast=False)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.05)
    for epoch in range(2):
        total = right = 0
        for images, labels in batches:
            logits = twin(images)
            loss = F.cross_entropy(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
            right += (logits.argmax(1) == labels).sum().item()
        assert history["train/loss"][epoch] == pytest.approx(total / 48, rel=1e-6)
        assert history["train/accuracy"][epoch] == pytest.approx(right / 48)
    for ours, theirs in zip(model.state_dict().values(), twin.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)  # the memory format changes the rounding
    assert history["lr"] == [0.05, 0.05]


def test_evaluate_against_torchmetrics_and_in_unequal_batches(tiny):
    model, data = small_model(), tiny()
    model.train()
    loss, accuracy = training.evaluate(model, data, batch_size=10)
    assert model.training
    logits, targets = training.predict(model, data, batch_size=48)
    assert accuracy == pytest.approx(MulticlassAccuracy(4, average="micro")(logits, targets).item())
    assert loss == pytest.approx(F.cross_entropy(logits, targets).item(), rel=1e-5)


def test_same_seed_gives_bitwise_the_same_losses(tiny):
    histories = [
        training.fit(small_model(), tiny(augment=True), tiny(seed=1), num_epochs=3, batch_size=16, seed=seed)
        for seed in (5, 5, 6)
    ]
    losses = [(h["train/loss"], h["val/loss"]) for h in histories]
    assert losses[0] == losses[1] != losses[2]


def test_global_random_state_is_left_as_found(tiny):
    model, train, val = small_model(), tiny(augment=True), tiny(seed=1)
    state = torch.get_rng_state()
    training.fit(model, train, val, num_epochs=1)
    assert torch.equal(torch.get_rng_state(), state)


def test_weight_decay_is_for_weights_only(tiny):
    """With all gradients zero, weights shrink; biases and BatchNorm stay."""
    model = small_model()
    nn.init.ones_(model.fc.bias)
    before = copy.deepcopy(model)

    def no_loss(logits, targets):
        return 0 * logits.sum()

    training.fit(model, tiny(), num_epochs=1, loss_function=no_loss, weight_decay=0.1)
    for (name, a), b in zip(before.named_parameters(), model.parameters(), strict=True):
        assert torch.equal(a, b) == (a.ndim < 2), name


def test_schedule_rises_and_falls_to_zero(tiny):
    history = training.fit(small_model(), tiny(), num_epochs=10, batch_size=48, lr=0.2)
    assert max(history["lr"]) == pytest.approx(0.2)
    assert history["lr"][-1] < 1e-5
    assert int(np.argmax(history["lr"])) == 1  # after a fifth of all ten steps
    assert history["lr"][1:] == sorted(history["lr"][1:], reverse=True)


def test_schedule_of_the_paper(tiny):
    model = small_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    history = training.fit(model, tiny(), num_epochs=4, batch_size=48, optimizer=optimizer, schedule=training.steps)
    assert history["lr"] == pytest.approx([0.1, 0.1, 0.01, 0.001])


def test_accepts_an_ordinary_dataloader(tiny):
    loader = DataLoader(tiny(), batch_size=16, shuffle=True)
    history = training.fit(small_model(), loader, DataLoader(tiny(seed=1), batch_size=20), num_epochs=2)
    again = training.fit(small_model(), loader, DataLoader(tiny(seed=1), batch_size=20), num_epochs=2)
    assert history["train/loss"] == again["train/loss"]


def test_gradients_are_recorded(tiny):
    history = training.fit(small_model(), tiny(), num_epochs=3, batch_size=16, record_gradients=True)
    assert history["grad_norm"].shape == history["weight_norm"].shape == (9, 7)
    assert history["epoch_ends"] == [3, 6, 9]
    assert torch.equal(epoch_rows(history, "grad_norm", 1), history["grad_norm"][3:6])
    assert (history["grad_norm"] > 0).all()


def test_log_gets_every_epoch(tiny):
    logged = []
    options = {"num_epochs": 2, "batch_size": 16, "record_gradients": True, "log": logged.append}
    history = training.fit(small_model(), tiny(), tiny(seed=1), **options)
    assert [entry["epoch"] for entry in logged] == [0, 1]
    assert [entry["val/loss"] for entry in logged] == history["val/loss"]
    mean = history["grad_norm"][3:].mean(dim=0)[-1].item()
    assert logged[1]["grad_norm/fc.weight"] == pytest.approx(mean)


# checkpoints ----------------------------------------------------------------------------------------------------------


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


# interrupts and bad input ---------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("wrong", [{"num_epochs": 0}, {"batch_size": 0}, {"lr": 0}])
def test_sizes_out_of_range_are_refused(tiny, wrong):
    with pytest.raises(ValueError, match="must be at least 1"):
        training.fit(small_model(), tiny(), **{"num_epochs": 1, **wrong})


def test_nothing_to_train_on(tiny):
    with pytest.raises(ValueError, match="nothing to train on"):
        training.fit(small_model(), [], num_epochs=1)


def test_bf16_only_where_the_cpu_has_units_for_it(monkeypatch, tiny):
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert not gains_from_bf16(torch.device("cpu"))
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert gains_from_bf16(torch.device("cpu"))


def test_autocast_trains_too(tiny):
    history = training.fit(small_model(), tiny(128), tiny(64, seed=1), num_epochs=5, batch_size=16, autocast=True)
    assert history["val/accuracy"][-1] > 0.9


def test_expected_minutes_leaves_the_model_alone(tiny):
    model = small_model()
    before = copy.deepcopy(model)
    minutes = training.expected_minutes(model, tiny(), tiny(seed=1), num_epochs=3, batch_size=16, runs=2)
    assert 0 < minutes < 1
    assert states_equal(model, before)


@pytest.mark.parametrize("num_steps", [1, 4, 5, 6])
def test_any_number_of_steps(num_steps):
    """PyTorch's one-cycle schedule divides by zero where its rise takes exactly no step: a fifth of 5."""
    batches = [(torch.randn(4, 3, 8, 8), torch.arange(4))] * num_steps
    history = training.fit(ResNet((1,), num_classes=4, width=4), batches, num_epochs=1)
    assert 0 <= history["lr"][0] <= 0.1


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
