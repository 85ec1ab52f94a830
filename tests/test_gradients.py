import copy
import gc

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lab1 import GradNormLogger, ResNet
from lab1.analysis.gradients import gradient_norms, layer_groups, smoothness, weight_parameters


def by_hand(model):
    return [p.grad.double().square().sum().sqrt().item() for p in model.parameters() if p.ndim >= 2]


def backward(model, seed=0):
    torch.manual_seed(seed)
    loss = F.cross_entropy(model(torch.randn(8, 3, 8, 8)), torch.randint(10, (8,)))
    loss.backward()
    return loss


@pytest.fixture
def model():
    torch.manual_seed(0)
    return ResNet((1, 1), width=4)


def test_every_weight_at_every_step_in_depth_order(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    logger, expected = GradNormLogger(model, optimizer), []
    for seed in range(3):
        optimizer.zero_grad()
        backward(model, seed)
        expected.append(by_hand(model))
        optimizer.step()
    assert logger.layers == [
        "stem.0.weight",
        "layer1.0.conv1.weight",
        "layer1.0.conv2.weight",
        "layer2.0.conv1.weight",
        "layer2.0.conv2.weight",
        "layer2.0.projection.0.weight",
        "fc.weight",
    ]
    assert logger.to_numpy().shape == (3, 7)
    np.testing.assert_allclose(logger.to_numpy(), expected, rtol=1e-5)


def test_sees_what_the_step_sees_after_clipping_and_accumulation(model):
    optimizer = torch.optim.AdamW(model.parameters())
    logger = GradNormLogger(model, optimizer)
    backward(model, 0), backward(model, 1)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.01)
    expected = by_hand(model)
    optimizer.step()
    optimizer.zero_grad()
    np.testing.assert_allclose(logger.to_numpy()[0], expected, rtol=1e-5)


def test_weight_norms_are_those_before_the_step(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=10)
    logger = GradNormLogger(model, optimizer)
    before = [p.norm().item() for p in model.parameters() if p.ndim >= 2]
    backward(model)
    optimizer.step()
    np.testing.assert_allclose(logger.weight_norms()[0], before, rtol=1e-5)


@pytest.mark.parametrize("as_keyword", [False, True])
def test_step_with_a_closure(model, as_keyword):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    logger, expected = GradNormLogger(model, optimizer), []

    def closure():
        optimizer.zero_grad()
        loss = backward(model)
        expected.append(by_hand(model))
        return loss

    loss = optimizer.step(closure=closure) if as_keyword else optimizer.step(closure)
    assert loss.item() > 0
    assert len(expected) == 1
    np.testing.assert_allclose(logger.to_numpy(), expected, rtol=1e-5)


def test_lbfgs_evaluates_often_but_steps_once(model):
    model.eval()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4)
    logger = GradNormLogger(model, optimizer)

    def closure():
        optimizer.zero_grad()
        return backward(model)

    optimizer.step(closure)
    optimizer.step(closure)
    assert len(logger.to_numpy()) == 2


@pytest.mark.parametrize("fused", [False, True])
def test_grad_scaler_gradients_are_recorded_unscaled(model, fused):
    unscaled = copy.deepcopy(model)
    backward(unscaled)
    optimizer = torch.optim.Adam(model.parameters(), fused=fused)
    logger = GradNormLogger(model, optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    torch.manual_seed(0)
    loss = F.cross_entropy(model(torch.randn(8, 3, 8, 8)), torch.randint(10, (8,)))
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    np.testing.assert_allclose(logger.to_numpy()[0], by_hand(unscaled), rtol=1e-4)


def test_weight_without_gradient_is_nan(model):
    model.stem.requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    logger = GradNormLogger(model, optimizer)
    backward(model)
    optimizer.step()
    assert np.isnan(logger.to_numpy()[0]).tolist() == [True] + [False] * 6


def test_half_precision_gradients_do_not_overflow():
    model = nn.Linear(600, 600, bias=False, dtype=torch.float16)
    model.weight.grad = torch.full_like(model.weight, 200.0)  # the sum of squares is far beyond float16
    assert gradient_norms(model)["weight"] == pytest.approx(200 * 600, rel=1e-3)


def test_sparse_gradients():
    model = nn.Embedding(10, 3, sparse=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    logger = GradNormLogger(model, optimizer)
    model(torch.tensor([1, 1, 4])).sum().backward()
    optimizer.step()
    assert logger.to_numpy()[0, 0] == pytest.approx((3 * 2**2 + 3) ** 0.5)


def test_epochs_closing_and_many_steps():
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    logger = GradNormLogger(model, optimizer)
    assert logger.to_numpy().shape == (0, 1)
    for step in range(200):  # beyond the first allocation
        model.weight.grad = torch.full_like(model.weight, float(step))
        optimizer.step()
        if step % 50 == 49:
            logger.end_epoch()
    logger.close()
    logger.close()
    optimizer.step()
    assert logger.epoch_ends == [50, 100, 150, 200]
    np.testing.assert_allclose(logger.to_numpy()[:, 0], np.arange(200) * 6**0.5, rtol=1e-6)


def test_does_not_change_training(model):
    twin, losses = copy.deepcopy(model), {}
    for network, logged in ((model, True), (twin, False)):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        if logged:
            GradNormLogger(network, optimizer)
        for seed in range(3):
            optimizer.zero_grad()
            losses.setdefault(logged, []).append(backward(network, seed).item())
            optimizer.step()
    assert losses[True] == losses[False]


def test_memory_is_two_numbers_a_step_and_weight():
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    logger = GradNormLogger(model, optimizer)
    model.weight.grad = torch.ones_like(model.weight)
    for _ in range(70):
        optimizer.step()
    gc.collect()
    before = sum(type(o) is torch.Tensor for o in gc.get_objects())
    for _ in range(1000):
        optimizer.step()
    gc.collect()
    assert sum(type(o) is torch.Tensor for o in gc.get_objects()) <= before
    assert len(logger.to_numpy()) == 1070


def test_optimizer_of_another_model_is_refused(model):
    with pytest.raises(ValueError, match="none of the model's weights"):
        GradNormLogger(model, torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1))


def test_gradient_norms_leave_the_gradients_alone(model):
    backward(model)
    before = [p.grad.clone() for p in model.parameters()]
    assert list(gradient_norms(model).values()) == pytest.approx(by_hand(model), rel=1e-5)
    assert all(torch.equal(a, p.grad) for a, p in zip(before, model.parameters(), strict=True))


def test_smoothness():
    assert smoothness(np.full((5, 4), 3.0)) == (0.0, 0.0)
    layers = np.tile(np.array([[1.0, 10.0]]), (5, 1))  # half a power of ten above and below the mean, always
    assert smoothness(layers) == pytest.approx((0.5, 0.0))
    steps = 10.0 ** np.array([[0.0], [1.0], [0.0], [1.0], [0.0]])  # changes of +1, -1, +1, -1
    assert smoothness(steps) == pytest.approx((0.0, 1.0))
    assert np.isnan(smoothness(np.ones((1, 4)))[1])


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_step_that_a_grad_scaler_skips_is_nan(fused, value):
    """Without `fused` the scaler does not call the optimizer at all: then there is no step to record."""
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    optimizer = torch.optim.Adam(model.parameters(), fused=fused)
    logger = GradNormLogger(model, optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for factor in (1.0, value, 1.0):
        before = copy.deepcopy(model.state_dict())
        optimizer.zero_grad()
        scaler.scale((factor * model(torch.ones(4, 3))).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        if factor != 1:
            torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    rows = np.isnan(logger.to_numpy()).all(axis=1).tolist()
    assert rows == ([False, True, False] if fused else [False, False])
    assert np.isfinite(logger.to_numpy()[[0, -1]]).all() and np.isfinite(logger.weight_norms()).all()


def test_scaled_gradients_that_were_unscaled_and_clipped_before(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=True)
    logger = GradNormLogger(model, optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(F.cross_entropy(model(torch.randn(8, 3, 8, 8)), torch.randint(10, (8,)))).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), 0.01)
    expected = by_hand(model)
    scaler.step(optimizer)
    np.testing.assert_allclose(logger.to_numpy()[0], expected, rtol=1e-4)


def test_replaced_head_that_the_optimizer_does_not_hold_is_remarked(model, capsys):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.fc = nn.Linear(8, 10)
    logger = GradNormLogger(model, optimizer)
    for seed in range(3):
        backward(model, seed)
        optimizer.step()
        logger.end_epoch()
    assert capsys.readouterr().out == "the optimizer does not hold fc: no step changes them\n"
    assert np.isfinite(logger.to_numpy()).all()


@pytest.mark.parametrize("steps_before", [0, 3])
def test_layer_that_is_added_or_replaced_later_is_remarked_once(model, capsys, steps_before):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    logger = GradNormLogger(model, optimizer)
    for seed in range(steps_before):
        backward(model, seed)
        optimizer.step()
    assert capsys.readouterr().out == ""
    model.fc = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 10))
    optimizer.add_param_group({"params": model.fc.parameters()})
    for seed in range(2):
        backward(model, seed)
        optimizer.step()
        logger.end_epoch()
        logger.to_numpy()
    said = capsys.readouterr().out
    assert said.startswith("fc.0.weight, fc.1.weight: new in the model, not recorded") and said.count("\n") == 1


def test_frozen_weights_are_not_remarked(model, capsys):
    model.stem.requires_grad_(False)
    GradNormLogger(model, torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1))
    assert capsys.readouterr().out == ""


def test_groups_are_layers_before_a_batch_norm():
    layers = list(weight_parameters(ResNet((1, 1), width=4)))
    groups = [[layers[i] for i in group] for group in layer_groups(layers).values()]
    blocks = [f"layer{i}.0.conv{j}.weight" for i in (1, 2) for j in (1, 2)]
    assert groups[0] == blocks
    assert groups[1] == ["stem.0.weight", *blocks]
    assert groups[2] == layers[:-1] and layers[-1] == "fc.weight"
    assert len(layer_groups(list(weight_parameters(ResNet((1, 1), width=4, skip=False)))).popitem()[1]) == 5
