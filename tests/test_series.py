"""Learners of series: benchmark series, one channel or several, several lengths, what is refused, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from heldout import RecurrentClassifier, RecurrentRegressor, persist
from heldout.errors import InputError
from heldout.neural.series import recurrent_network

LEAST = {"GunPoint": 0.95, "BasicMotions": 0.95}


def series(real_data: Path, name: str) -> tuple[Any, ...]:
    """The archive's own split, as (n, T, C)."""
    found = np.load(real_data / "time_series_ucr" / f"{name}.npz")
    X, V = (np.ascontiguousarray(found[part].transpose(0, 2, 1)) for part in ("X_train", "X_test"))
    return X, found["y_train"], V, found["y_test"]


@pytest.mark.long
@pytest.mark.parametrize("name", LEAST)
def test_benchmark_series(real_data: Path, name: str) -> None:
    X, y, V, truth = series(real_data, name)
    assert RecurrentClassifier(max_iter=40).fit(X, y).score(V, truth) >= LEAST[name]


@pytest.fixture(scope="module")
def fitted() -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(0)
    X = rng.normal(3.0, 2.0, size=(80, 7, 2))
    X[np.arange(7) >= rng.integers(2, 8, 80)[:, None]] = np.nan
    y = np.nanmax(X[..., 1], axis=1)
    return RecurrentRegressor(units=8, max_iter=60).fit(X, y), X, y


def test_series_of_several_lengths(fitted: Any) -> None:
    model, X, y = fitted
    assert model.score(X, y) > 0.9
    assert_allclose(model.input_mean_[0], np.nanmean(X, axis=(0, 1)))
    behind = np.concatenate([np.full((80, 3, 2), np.nan), X], axis=1)[:, :7]
    moved = np.isnan(X[:, 4:, 0]).all(axis=1)  # those of which nothing is cut off
    assert moved.any()
    assert_allclose(model.predict(behind[moved]), model.predict(X[moved]), atol=1e-4)
    again = persist.loads(persist.dumps(model))
    assert_array_equal(again.predict(X), model.predict(X))
    assert again.get_params() == model.get_params()


def test_one_channel_may_come_as_a_table() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 6)).cumsum(axis=1)
    y = np.where(X[:, -1] > 0, "up", "down")
    flat = RecurrentClassifier(units=4, max_iter=3, pooling="last", layers=2, dropout=0.1, cell="lstm", filters=0).fit(
        X, y
    )
    deep = RecurrentClassifier(units=4, max_iter=3, pooling="last", layers=2, dropout=0.1, cell="lstm", filters=0).fit(
        X[..., None], y
    )
    assert flat.network_.names == ("masking_1", "lstm_1", "dropout_1", "dense_1")
    assert_array_equal(flat.predict_proba(X), deep.predict_proba(X[..., None]))
    assert flat.in_shape_ == (6, 1) and flat.n_features_in_ == 6


def test_what_does_not_fit_is_said(fitted: Any) -> None:
    model, X, y = fitted
    with pytest.raises(InputError, match=r"Series are \(7, 1\) and must be \(7, 2\)"):
        model.predict(X[..., :1])
    with pytest.raises(InputError, match="must be series"):
        RecurrentRegressor().fit(X[..., None], y)
    with pytest.raises(InputError, match=r"There is no cell 'gur'\. Did you mean 'gru'"):
        RecurrentRegressor(cell="gur").fit(X, y)
    with pytest.raises(InputError, match="There is no pooling 'first'"):
        RecurrentRegressor(pooling="first").fit(X, y)
    with pytest.raises(InputError, match="dropout is 1"):
        RecurrentRegressor(dropout=1.0).fit(X, y)
    with pytest.raises(InputError, match="units of GRU is 0"):
        RecurrentRegressor(units=0).fit(X, y)
    holed = X.copy()
    holed[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="Row 0 has only some of its numbers at step 0"):
        model.predict(holed)


def test_differences_to_the_last_number() -> None:
    """As if the difference had been learned, and had been added afterwards; padding is no last number."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 6, 2))
    X[::3, 4:] = np.nan
    last = np.where(np.arange(30) % 3 == 0, X[:, 3, 0], X[:, 5, 0])
    y = 2.0 * last + rng.normal(size=30)
    small: dict[str, Any] = {"units": 2, "max_iter": 2, "batch_size": 10, "early_stopping": True}
    plain, found = RecurrentRegressor(**small).fit(X, y - last), RecurrentRegressor(difference=True, **small).fit(X, y)
    assert_allclose(found.predict(X), plain.predict(X) + last)
    assert found.history_.validation_loss.tolist() == plain.history_.validation_loss.tolist()
    again = persist.loads(persist.dumps(found), source="file", expected=RecurrentRegressor)
    np.testing.assert_array_equal(again.predict(X), found.predict(X))
    with pytest.raises(InputError, match="difference=True is for series"):
        RecurrentRegressor(difference=True).fit(["a cat", "a dog"], [1.0, 2.0])


def test_padding_changes_nothing_behind_convolutions() -> None:
    """Convolutions and batch norm of padded series are those of each series without its padding."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(6, 9, 2)).astype(np.float32)
    X[:, 6:] = np.nan
    network = recurrent_network(units=3, filters=4, outputs=2)
    params, state = network.init(jax.random.key(0), (9, 2))
    for train in (False, True):
        long, long_state = network.apply(params, state, X, train=train)
        short, short_state = network.apply(params, state, X[:, :6], train=train)
        assert_allclose(long, short, atol=1e-5)
        jax.tree.map(lambda a, b: assert_allclose(a, b, atol=1e-6), long_state, short_state)
