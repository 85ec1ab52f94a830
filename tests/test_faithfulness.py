"""Measures of heatmaps on cases whose answer is known."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from lab1.analysis import faithfulness


class LeftHalf(nn.Module):
    """Class 1 is as likely as the left half of the first channel is bright."""

    def forward(self, images):
        seen = images[:, 0, :, : images.shape[3] // 2].mean(dim=(1, 2))
        return torch.stack([torch.zeros_like(seen), 10 * seen - 5], dim=1)


@pytest.fixture
def bright():
    return torch.ones(3, 1, 8, 8), torch.ones(3, dtype=torch.long)


def test_deletion_follows_the_heat(bright):
    images, targets = bright
    used, unused = torch.zeros(2, 3, 8, 8)
    used[:, :, :4] = 1
    unused[:, :, 4:] = 1
    curves = {
        name: faithfulness.deletion_curve(LeftHalf(), images, heat, targets, num_steps=4)
        for name, heat in (("used", used), ("unused", unused))
    }
    likely, gone = torch.tensor([5.0, -5.0]).sigmoid().tolist()
    assert curves["used"].shape == (3, 5)
    torch.testing.assert_close(curves["used"][0], torch.tensor([likely, 0.5, gone, gone, gone]))
    torch.testing.assert_close(curves["unused"][0], torch.tensor([likely, likely, likely, 0.5, gone]))


def test_fall_when_the_hottest_sixth_is_blurred():
    """The model sees the left half only: blurring there changes its answer, blurring elsewhere does not."""
    torch.manual_seed(0)
    images, targets = torch.rand(2, 3, 12, 12), torch.tensor([1, 0])
    images[:, :, :2] += 1  # bright, so that blurring makes it darker
    heat = torch.zeros(2, 12, 12)
    heat[:, :2] = 1  # a sixth of the pixels
    mixed = torch.where(heat[:, None] > 0, faithfulness.blurred(images, 3.0), images)
    before, after = (LeftHalf()(i).softmax(1).gather(1, targets[:, None])[:, 0] for i in (images, mixed))
    fall = faithfulness.fall_when_blurred(LeftHalf(), images, heat, targets)
    torch.testing.assert_close(fall, before - after)
    assert fall.abs().min() > 0.01
    nothing = torch.zeros(2, 12, 12)
    nothing[:, :4, 6:] = 1  # a sixth of the pixels, which the model does not see
    assert (faithfulness.fall_when_blurred(LeftHalf(), images, nothing, targets) == 0).all()


def test_insertion_is_deletion_from_a_blurred_image():
    torch.manual_seed(0)
    images, targets = torch.rand(2, 3, 16, 16), torch.tensor([1, 0])
    curve = faithfulness.insertion_curve(LeftHalf(), images, torch.rand(2, 16, 16), targets, num_steps=3)
    ends = [LeftHalf()(i).softmax(1).gather(1, targets[:, None])[:, 0] for i in (faithfulness.blurred(images), images)]
    torch.testing.assert_close(curve[:, [0, -1]], torch.stack(ends, dim=1))


def test_the_hottest_pixel_goes_first():
    images, heat = torch.ones(1, 1, 4, 4), torch.arange(16.0).view(1, 4, 4)
    seen = []

    class Look(nn.Module):
        def forward(self, images):
            seen.extend(images)
            return images.mean(dim=(2, 3)).repeat(1, 2)

    faithfulness.deletion_curve(Look(), images, heat, torch.tensor([0]), num_steps=4)
    for step, image in enumerate(seen):
        assert torch.equal(image[0].flatten() == 0, torch.arange(16) >= 16 - 4 * step)


def test_equally_hot_pixels_go_in_one_random_order(bright):
    images, targets = bright
    curves = faithfulness.deletion_curve(LeftHalf(), images, torch.zeros(3, 8, 8), targets, num_steps=8)
    assert (curves == curves[0]).all()
    assert 0.1 < curves[0, 4] < 0.9  # from left to right it would be all gone


def test_blur_is_a_gaussian():
    images = torch.zeros(1, 2, 41, 41)
    images[0, 1, 20, 20] = 1
    found = faithfulness.blurred(images, sigma=2)
    assert not found[0, 0].any()
    place = torch.arange(-20.0, 21)
    assert found[0, 1].sum() == pytest.approx(1, abs=1e-5)
    assert (found[0, 1].sum(0) * place**2).sum() == pytest.approx(4, rel=0.03)
    constant = torch.full((1, 3, 32, 32), 0.7)
    torch.testing.assert_close(faithfulness.blurred(constant), constant)


def test_area_is_the_mean_height():
    curves = torch.stack([torch.linspace(1, 0, 11), torch.full((11,), 0.25)])
    torch.testing.assert_close(faithfulness.area_under(curves), torch.tensor([0.5, 0.25]))


def test_rank_correlation_is_spearmans():
    torch.manual_seed(0)
    a = torch.randint(0, 9, (4, 8, 8)).float()  # with ties
    b = torch.stack([a[0] ** 3, -a[1], torch.rand(8, 8), torch.zeros(8, 8)])
    found = faithfulness.rank_correlation(a, b).numpy()
    assert found[:2] == pytest.approx([1, -1])
    assert found[2] == pytest.approx(spearmanr(a[2].flatten(), b[2].flatten())[0])
    assert np.isnan(found[3])


def test_pointing_game():
    masks = torch.zeros(5, 9, 9, dtype=torch.bool)
    masks[:, 4, 4] = True
    heat = torch.zeros(5, 9, 9)
    heat[0, 4, 4] = heat[1, 4, 6] = heat[2, 3, 6] = 1  # on it; 2 pixels away; sqrt(5) pixels away
    heat[3, 4, 4] = heat[3, 0, 0] = 1  # one of two hits
    chance = faithfulness.grown(masks, 2)[0].float().mean()
    assert faithfulness.pointing_game(heat, masks).tolist() == pytest.approx([1, 1, 0, 0.5, float(chance)])
    assert chance == 13 / 81


def test_chance_is_what_random_maps_score():
    torch.manual_seed(0)
    masks = torch.zeros(4000, 16, 16, dtype=torch.bool)
    masks[:, 5:9, 6:12] = True
    hits = faithfulness.pointing_game(torch.rand(4000, 16, 16), masks).mean()
    assert float(hits) == pytest.approx(float(faithfulness.grown(masks, 2).float().mean()), abs=0.03)


def test_filled():
    ring = torch.zeros(1, 7, 7, dtype=torch.bool)
    ring[0, 1:6, 1:6] = True
    whole = ring.clone()
    ring[0, 3, 3] = False
    assert torch.equal(faithfulness.filled(ring), whole)


def test_energy_in_mask():
    heat = torch.tensor([[[3.0, 1.0]], [[0.0, 0.0]]])
    masks = torch.tensor([[[True, False]]] * 2)
    found = faithfulness.energy_in_mask(heat, masks)
    assert found[0] == 0.75 and found[1].isnan()


def test_bad_input_is_refused_in_words(bright):
    images, targets = bright
    heat = torch.rand(3, 8, 8)
    for wrong, match in (
        ((heat[:2], targets), r"heat must be \(3, 8, 8\), a map for each image, not \(2, 8, 8\)"),
        ((heat[:, None], targets), r"not \(3, 1, 8, 8\)"),
        ((heat, targets[:1]), "3 images need as many classes"),
        ((heat, targets.float()), "not torch.float32"),
        ((heat, targets + 5), r"lie in 0\.\.1: the model has 2 classes"),
        ((heat, targets, 0), "num_steps above 0"),
    ):
        with pytest.raises(ValueError, match=match):
            faithfulness.deletion_curve(LeftHalf(), images, *wrong)
    with pytest.raises(ValueError, match="8x8 are too small to be blurred with sigma=3.0: use more than 9 pixels"):
        faithfulness.insertion_curve(LeftHalf(), images, heat, targets)
    for measure in (faithfulness.pointing_game, faithfulness.energy_in_mask):
        with pytest.raises(ValueError, match=r"masks must be \(3, 8, 8\)"):
            measure(heat, heat[:1] > 0)
        with pytest.raises(ValueError, match="of dtype bool, not .* torch.float32"):
            measure(heat, heat)
    with pytest.raises(ValueError, match="other must be"):
        faithfulness.rank_correlation(heat, heat[:, :4])
