"""What `fit` refuses or remarks, in one sentence and before it trains where that is possible."""

import functools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from lab1 import ResNet, checkpoints, training


def small_model():
    torch.manual_seed(0)
    return ResNet((1, 1), num_classes=4, width=4)


def fit(model, *data, **options):
    return training.fit(model, *data, **{"num_epochs": 1, "batch_size": 16, **options})


def no_epoch(numbers):
    pytest.fail("it trained")


# optimizers and schedules ---------------------------------------------------------------------------------------------


def test_optimizer_that_holds_nothing_trainable_is_refused(tiny):
    model = small_model()
    frozen = small_model()
    frozen.fc.requires_grad_(False)
    for optimizer, network in (
        (torch.optim.SGD(small_model().parameters(), lr=0.1), model),
        (torch.optim.AdamW(frozen.fc.parameters()), frozen),
    ):
        with pytest.raises(ValueError, match="holds none of the model's trainable parameters"):
            fit(network, tiny(), optimizer=optimizer, log=no_epoch)


def test_model_without_trainable_parameters_is_refused(tiny):
    with pytest.raises(ValueError, match="no trainable parameters"):
        fit(small_model().requires_grad_(False), tiny())


@pytest.mark.parametrize("record_gradients", [False, True])
def test_parameters_that_the_optimizer_leaves_out_are_told_once(tiny, capsys, record_gradients):
    model = small_model()
    optimizer = torch.optim.SGD([*model.fc.parameters(), model.stem[0].weight], lr=0.1)
    fit(model, tiny(), num_epochs=2, optimizer=optimizer, record_gradients=record_gradients)
    assert (
        capsys.readouterr().out.count("the optimizer does not hold stem.1, layer1, layer2: no step changes them") == 1
    )


def test_nothing_is_told_of_frozen_parameters(tiny, capsys):
    model = small_model()
    model.layer1.requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    fit(model, tiny(), optimizer=optimizer, record_gradients=True)
    assert "does not hold" not in capsys.readouterr().out


def test_optimizer_with_a_closure_is_refused(tiny):
    model = small_model()
    with pytest.raises(ValueError, match="LBFGS evaluates the loss several times a step"):
        fit(model, tiny(), optimizer=torch.optim.LBFGS(model.parameters()), log=no_epoch)


@pytest.mark.parametrize(
    ("schedule", "error", "said"),
    [
        (lambda optimizer, steps: torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer), ValueError, "waits for a"),
        (lambda optimizer, steps: None, TypeError, "made a NoneType, not a scheduler"),
        ("cosine", TypeError, "schedule is a str"),
    ],
)
def test_schedules_that_do_not_work_are_refused(tiny, schedule, error, said):
    with pytest.raises(error, match=said):
        fit(small_model(), tiny(), schedule=schedule, log=no_epoch)


def test_scheduler_instead_of_a_schedule_is_refused(tiny):
    model = small_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(TypeError, match="schedule is a StepLR"):
        fit(model, tiny(), optimizer=optimizer, schedule=torch.optim.lr_scheduler.StepLR(optimizer, 3))


class Stop(Exception):
    pass


def test_tensor_learning_rate_trains_and_resumes_like_a_number(tiny, tmp_path):
    def run(lr, path, log=None):
        model = small_model()
        optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
        return fit(model, tiny(), num_epochs=3, optimizer=optimizer, checkpoint=path, log=log), model

    def stop(numbers):
        if numbers["epoch"] == 1:
            raise Stop

    expected, _ = run(torch.tensor(1e-3).item(), tmp_path / "number.pt")
    with pytest.raises(Stop):
        run(torch.tensor(1e-3), tmp_path / "tensor.pt", stop)
    history, _ = run(torch.tensor(1e-3), tmp_path / "tensor.pt")
    assert checkpoints.load(tmp_path / "tensor.pt")["config"]["lr"] == pytest.approx(1e-3)
    assert history["lr"] == pytest.approx(expected["lr"])
    assert history["train/loss"] == pytest.approx(expected["train/loss"], rel=1e-4)


# data -----------------------------------------------------------------------------------------------------------------


class Stream(IterableDataset):
    def __iter__(self):
        return iter([])


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda data: data.batches(16), TypeError, "is a generator, which can be gone through once only"),
        (lambda data: iter(list(data.batches(16))), TypeError, "once only"),
        (lambda data: zip([1], [2], strict=True), TypeError, "once only"),
        (lambda data: torch.utils.data.TensorDataset(*data.batch(range(4))), TypeError, "wrap the TensorDataset"),
        (lambda data: data.batch(range(4))[0], TypeError, "is a Tensor"),
        (lambda data: 7, TypeError, "is a int"),
        (lambda data: [], ValueError, "nothing to train on"),
    ],
)
@pytest.mark.parametrize("as_val", [False, True])
def test_data_that_do_not_work_are_refused(tiny, make, error, said, as_val):
    with pytest.raises(error, match=said):
        fit(small_model(), *((tiny(), make(tiny())) if as_val else (make(tiny()),)), log=no_epoch)


def test_batches_without_a_length_are_refused(tiny):
    with pytest.raises(TypeError, match="train does not say how many batches it has"):
        fit(small_model(), DataLoader(Stream()))


def test_batches_that_are_no_pairs_are_refused(tiny):
    images, labels = tiny().batch(range(8))
    for batch in ((images, labels, labels), {"images": images}, images, (images, 3)):
        with pytest.raises(TypeError, match="no pair of tensors"):
            fit(small_model(), [batch], log=no_epoch)


@pytest.mark.parametrize("val", [False, True])
def test_batches_have_no_fingerprint_and_that_is_told(tiny, tmp_path, capsys, val):
    def loader():
        return DataLoader(tiny(), 16)

    for _ in range(2):
        fit(small_model(), *((tiny(), loader()) if val else (loader(),)), checkpoint=tmp_path / "a.pt")
        said = capsys.readouterr().out
        assert f"cannot tell whether the data changed: {'val' if val else 'train'} came as batches" in said
    fit(small_model(), loader())
    fit(small_model(), tiny(), tiny(), checkpoint=tmp_path / "b.pt")
    assert "cannot tell" not in capsys.readouterr().out


@pytest.mark.parametrize("where", ["config", "notes"])
@pytest.mark.parametrize("value", [np.float64(3), np.arange(2), [np.int64(3)], {1, 2}])
def test_values_that_are_not_plain_are_refused_before_training(tiny, tmp_path, where, value):
    with pytest.raises(TypeError, match=rf"{where}\['width'\].* holds tensors and plain values only"):
        fit(small_model(), tiny(), checkpoint=tmp_path / "a.pt", log=no_epoch, **{where: {"width": value}})


def test_numpy_numbers_as_arguments_are_plain_in_the_checkpoint(tiny, tmp_path):
    fit(
        small_model(),
        tiny(),
        seed=np.int64(3),
        num_epochs=np.int32(1),
        lr=np.float32(0.5),
        checkpoint=tmp_path / "a.pt",
    )
    config = checkpoints.load(tmp_path / "a.pt")["config"]
    assert (config["seed"], config["num_epochs"], config["lr"]) == (3, 1, 0.5)


# losses that are not finite -------------------------------------------------------------------------------------------


def poisoned(tiny, step, value):
    """Batches of which one makes the loss nan or infinite."""
    batches = list(tiny().batches(8))
    batches[step] = (torch.full_like(batches[step][0], value), batches[step][1])
    return batches


def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 4))


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("step", [0, 3, 5])
def test_loss_that_is_not_finite_is_told_once(tiny, capsys, tmp_path, step, value):
    train, options = poisoned(tiny, step, value), {"num_epochs": 3, "schedule": False, "lr": 0.03}
    fit(linear(), train, tiny(), checkpoint=tmp_path / "a.pt", **options)
    captured = capsys.readouterr()
    said = captured.out + captured.err
    assert said.count("the training loss is nan since epoch 0") == 1
    assert f"since epoch 0, step {step}, learning rate 0.03" in said
    assert checkpoints.load(tmp_path / "a.pt")["best"] is None


def test_weights_before_the_loss_was_nan_stay_the_best(tiny, capsys, tmp_path):
    calls = iter(range(1000))

    def loss(logits, targets):  # an epoch is three steps and three batches of validation
        return F.cross_entropy(logits, targets) * (math.nan if next(calls) >= 8 else 1)

    history = fit(linear(), tiny(), tiny(), num_epochs=3, loss_function=loss, checkpoint=tmp_path / "a.pt")
    best = checkpoints.load(tmp_path / "a.pt")["best"]
    assert best["epoch"] == 0 and all(torch.isfinite(t).all() for t in best["model"].values())
    assert math.isfinite(history["val/loss"][0]) and not math.isfinite(history["val/loss"][1])
    captured = capsys.readouterr()
    assert "the training loss is nan since epoch 1, step 2, learning rate" in captured.out + captured.err


def test_validation_loss_alone_is_told_too(tiny, capsys):
    val = poisoned(tiny, 1, math.nan)
    fit(linear(), tiny(), val, num_epochs=2)
    captured = capsys.readouterr()
    assert (captured.out + captured.err).count("the validation loss is nan since epoch 0, after its last step") == 1


# accuracy -------------------------------------------------------------------------------------------------------------


def test_nothing_is_trained_on_such_targets(tiny):
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 1))
    before = model[1].weight.clone()
    batches = [(tiny().batch(range(8))[0], torch.rand(8, 1))]
    with pytest.raises(ValueError, match="accuracy has no meaning"):
        fit(model, batches, loss_function=F.mse_loss)
    assert torch.equal(model[1].weight, before)


def test_loss_that_is_not_a_mean_is_refused(tiny):
    with pytest.raises(ValueError, match=r"loss_function returned \(16,\) numbers"):
        fit(small_model(), tiny(), loss_function=functools.partial(F.cross_entropy, reduction="none"))
