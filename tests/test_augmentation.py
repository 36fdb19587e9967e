"""Augmentation: each layer beside NumPy and SciPy, nothing in evaluation, mixup beside its formula."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from numpy.testing import assert_allclose, assert_array_equal

from heldout.errors import InputError
from heldout.neural.convnets import ConvNetClassifier
from heldout.neural.layers import (
    Augmentation,
    Cutout,
    Dense,
    Flatten,
    Layer,
    RandomBrightness,
    RandomCrop,
    RandomFlip,
    RandomRotation,
    RandomShift,
    Sequential,
)
from heldout.neural.layers.augmentation import turned
from heldout.neural.layers.stored import from_json, to_json
from heldout.neural.losses import CrossEntropy, KLDivergence, SquaredError
from heldout.neural.optimizers import Optimizer
from heldout.neural.program import MIXING, Recipe, Rows, batch_loss, keys_of, mixed
from heldout.neural.train import Plan, fresh, train

N = 400
LAYERS: tuple[Augmentation, ...] = (
    RandomFlip(vertical=True),
    RandomShift((1, 2)),
    RandomCrop((3, 4)),
    RandomRotation(30.0),
    Cutout(3),
    RandomBrightness(0.5),
)
IDS = [type(layer).__name__ for layer in LAYERS]


def images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def changed(layer: Layer, x: np.ndarray, seed: int = 0) -> np.ndarray:
    return np.asarray(jax.jit(lambda x, key: layer.apply({}, {}, x, train=True, key=key)[0])(x, jax.random.key(seed)))


def found_in(y: np.ndarray, options: list[np.ndarray]) -> np.ndarray:
    """Which of the options (n, ...) each row of `y` is; every one of them is one."""
    same = np.stack([(y == option).all(axis=(1, 2, 3)) for option in options])
    assert same.any(axis=0).all()
    return same.argmax(axis=0)


def test_flips() -> None:
    x = images(N, 3, 4, 2)
    options = [x, x[:, :, ::-1], x[:, ::-1], x[:, ::-1, ::-1]]
    for layer, possible in ((RandomFlip(), 2), (RandomFlip(False, True), 2), (RandomFlip(True, True), 4)):
        counts = np.bincount(found_in(changed(layer, x), options), minlength=4)
        assert (counts > 0).sum() == possible and counts.max() < 1.4 * N / possible
    assert_array_equal(changed(RandomFlip(False, False), x), x)


def test_shifts() -> None:
    x = images(N, 4, 5, 2)
    wide = np.pad(x, [(0, 0), (1, 1), (2, 2), (0, 0)], mode="edge")
    options = [wide[:, i : i + 4, j : j + 5] for i in range(3) for j in range(5)]
    counts = np.bincount(found_in(changed(RandomShift((1, 2)), x), options), minlength=15)
    assert counts.min() > 10 and counts.max() < 50  # 26.7 expected


def test_crops() -> None:
    x = images(N, 5, 6, 2)
    options = [x[:, i : i + 3, j : j + 4] for i in range(3) for j in range(3)]
    counts = np.bincount(found_in(changed(RandomCrop((3, 4)), x), options), minlength=9)
    assert counts.min() > 20
    assert_array_equal(RandomCrop((3, 4)).apply({}, {}, jnp.asarray(x))[0], x[:, 1:4, 1:5])
    assert RandomCrop(3).out_shape((5, 6, 2)) == (3, 3, 2)


def test_turned_images() -> None:
    x = images(6, 8, 7, 2)
    angles = np.array([0.0, 5.0, -20.0, 45.0, 90.0, 180.0])
    found = jax.jit(turned)(x, np.radians(angles, dtype=np.float32)[:, None, None])
    for image, angle, y in zip(x, angles, found, strict=True):
        expected = scipy.ndimage.rotate(image, angle, axes=(0, 1), reshape=False, order=1, mode="nearest")
        assert_allclose(y, expected, atol=1e-4)


def test_rotations_are_as_far_as_asked_for() -> None:
    ramp = np.broadcast_to(np.arange(-5.0, 6.0, dtype=np.float32)[:, None, None], (N, 11, 11, 1))
    slopes = np.diff(changed(RandomRotation(40.0), ramp)[:, 5, 4:7, 0], axis=1).mean(axis=1)
    angles = np.degrees(np.arcsin(slopes))
    assert np.abs(angles).max() < 40.01 and np.abs(angles).max() > 38.0
    assert abs(angles.mean()) < 4.0 and angles.std() == pytest.approx(40.0 / np.sqrt(3.0), rel=0.1)


def test_cutouts() -> None:
    x = images(N, 6, 7, 2)
    y = changed(Cutout(3), x)
    hidden = y != x
    assert_array_equal(hidden[..., 0], hidden[..., 1])
    assert_allclose(y[hidden], np.broadcast_to(x.mean(axis=(1, 2), keepdims=True), x.shape)[hidden], atol=1e-6)
    heights, widths = hidden[..., 0].any(axis=2).sum(axis=1), hidden[..., 0].any(axis=1).sum(axis=1)
    assert_array_equal(hidden[..., 0].sum(axis=(1, 2)), heights * widths)  # a rectangle
    assert set(heights) == set(widths) == {2, 3}  # its middle is inside
    assert (hidden.any(axis=0)).all()


def test_brightness() -> None:
    x = images(N, 3, 3, 2)
    added = changed(RandomBrightness(0.5), x) - x
    assert np.ptp(added, axis=(1, 2, 3)).max() < 1e-6
    amounts = added[:, 0, 0, 0]
    assert 0.48 < np.abs(amounts).max() <= 0.5 and amounts.std() == pytest.approx(1.0 / np.sqrt(12.0), rel=0.1)


@pytest.mark.parametrize("layer", LAYERS, ids=IDS)
def test_what_they_share(layer: Augmentation) -> None:
    one = images(1, 5, 6, 2)
    x = np.repeat(one, 50, axis=0)
    first = changed(layer, x)
    assert_array_equal(first, changed(layer, x))
    assert (first != changed(layer, x, seed=1)).any()
    assert len(np.unique(first, axis=0)) > 3  # each row by its own draw
    still, _ = layer.apply({}, {}, jnp.asarray(x))
    assert_array_equal(still, x[:, 1:4, 1:5] if isinstance(layer, RandomCrop) else x)
    assert from_json(to_json(layer)) == layer and layer.random and not layer.joins_rows
    with pytest.raises(InputError, match="give apply a key"):
        layer.apply({}, {}, jnp.asarray(x), train=True)
    with pytest.raises(InputError, match=r"needs rows of shape \(height, width, channels\)"):
        layer.out_shape((5, 6))


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (RandomFlip(1), "horizontal of RandomFlip is 1 and must be True or False"),  # type: ignore[arg-type]
        (RandomShift(-1), "most of RandomShift is -1"),
        (RandomShift((1, 2, 3)), "most of RandomShift is (1, 2, 3)"),
        (RandomCrop(0), "size of RandomCrop is 0"),
        (RandomCrop((5, 7)), "no more than the image's, 5 by 6"),
        (RandomRotation(181.0), "degrees of RandomRotation is 181.0 and must be a number from 0 to 180"),
        (Cutout(0), "size of Cutout is 0"),
        (RandomBrightness(-0.1), "most of RandomBrightness is -0.1"),
        (RandomBrightness(True), "most of RandomBrightness is True"),
    ],
)
def test_nonsense_is_refused(layer: Layer, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        layer.out_shape((5, 6, 1))


# Mixup ------------------------------------------------------------------------------------------------------------

NETWORK = Sequential(Flatten(), Dense(3))
jitted_loss, jitted_mixed = (jax.jit(function, static_argnums=0) for function in (batch_loss, mixed))


def recipe(loss: Any, mixup: float = 0.4) -> Recipe:
    return Recipe(NETWORK, loss, "accuracy", Optimizer(), None, False, mixup)


def weighted_rows(n: int = 12) -> Rows:
    rng = np.random.default_rng(0)
    drawn = images(n, 2, 2, 1), rng.integers(0, 3, n).astype(np.int32), rng.uniform(0.5, 1.5, n).astype(np.float32)
    return Rows(*map(jnp.asarray, drawn))


def shares_of(rows: Rows, key: Any, alpha: float = 0.4) -> tuple[np.ndarray, np.ndarray, float]:
    """The mixed images, the order of the second ones, and λ, from what `mixed` gives."""
    x, ((_, own), (_, others)) = jitted_mixed(alpha, key, rows.x, rows)
    share = float(own[0] / rows.w[0])
    order = np.abs(np.asarray(rows.w)[:, None] - np.asarray(others) / (1.0 - share)).argmin(axis=0)
    return np.asarray(x), order, share


def test_mixup_is_its_formula() -> None:
    rows, key = weighted_rows(), jax.random.key(3)
    x, order, share = shares_of(rows, key)
    assert sorted(order) == list(range(12)) and 0.01 < share < 0.99
    assert_allclose(x, share * rows.x + (1.0 - share) * rows.x[order], rtol=1e-5, atol=1e-6)

    params, _ = NETWORK.init(jax.random.key(0), (2, 2, 1))
    key_of_step = jax.random.key(7)
    x, order, share = shares_of(rows, jax.random.fold_in(key_of_step, MIXING))
    loss, (_, sums) = jitted_loss(recipe(CrossEntropy()), params, {}, rows, 12, None, key_of_step)
    scores = x.reshape(12, 4) @ np.asarray(params["dense_1"]["weights"]) + np.asarray(params["dense_1"]["bias"])
    logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    hot = np.eye(3)[rows.y]
    w = np.asarray(rows.w)[:, None]
    targets = share * w * hot + (1.0 - share) * w[order] * hot[order]
    assert float(loss) == pytest.approx(-(targets * logs).sum() / 12, rel=1e-5)
    assert float(sums.weight) == pytest.approx(float(rows.w.sum()), rel=1e-5)
    right = scores.argmax(axis=1)
    assert float(sums.metric) == pytest.approx(targets[np.arange(12), right].sum(), rel=1e-5)


def test_proportions_of_mixup_are_of_the_beta_distribution() -> None:
    rows = weighted_rows(2)
    for alpha in (0.2, 1.0):
        keys = jax.random.split(jax.random.key(0), 2000)
        own = jax.jit(jax.vmap(lambda key, a=alpha: mixed(a, key, rows.x, rows)[1][0][1][0]))(keys)
        shares = np.asarray(own) / rows.w[0]
        assert shares.mean() == pytest.approx(0.5, abs=0.04)
        assert shares.var() == pytest.approx(0.25 / (2.0 * alpha + 1.0), rel=0.1)


def test_mixup_in_training_mixes_rows_that_count_with_no_others() -> None:
    rows = weighted_rows(33)  # 33 rows would be filled up
    plan = Plan(CrossEntropy(), "accuracy", learning_rate=1e-9, batch_size=64, max_epochs=1, mixup=0.4)
    begin = fresh(NETWORK, (2, 2, 1), plan.optimizer, 0)
    told = train(NETWORK, begin, Rows(*map(np.asarray, rows)), plan).history.train_loss[0]
    _, key = keys_of(np.uint32(0), np.int32(0))
    drawn = jax.random.fold_in(key, 0)
    loss, _ = jitted_loss(recipe(CrossEntropy()), begin.params, {}, rows, rows.w.sum(), None, drawn)
    assert told == pytest.approx(float(loss), rel=1e-5)


def test_mixup_goes_with_any_loss() -> None:
    rows = weighted_rows()
    params, _ = NETWORK.init(jax.random.key(0), (2, 2, 1))
    hot = rows._replace(y=jnp.eye(3)[rows.y])
    key = jax.random.key(5)
    codes, shares = (
        jitted_loss(recipe(loss), params, {}, given, 12, None, key)[0]
        for loss, given in ((CrossEntropy(), rows), (KLDivergence(), hot))
    )
    assert float(codes) == pytest.approx(float(shares), rel=1e-5)
    plan = Recipe(NETWORK, SquaredError(), "squared_error", Optimizer(), None, False, 0.4)
    assert np.isfinite(float(jitted_loss(plan, params, {}, hot, 12, None, key)[0]))


def test_rows_that_judge_are_left_as_they_are() -> None:
    X, y = images(60, 4, 4), np.arange(60) % 2
    network = Sequential(Flatten(), Dense())
    losses = []
    for bright in (0.0, 10.0):
        model = ConvNetClassifier(network, augment=[RandomBrightness(bright)], mixup=bright / 10, max_iter=1)
        model.fit(X, y, validation=(X, y))
        chances = model.predict_proba(X)[np.arange(60), y]
        assert model.history_.validation_loss[0] == pytest.approx(-np.log(chances).mean(), rel=1e-5)
        assert model.history_.validation_metric[0] == pytest.approx((model.predict(X) == y).mean())
        losses.append(model.history_.train_loss[0])
    assert losses[1] > losses[0] + 0.5
