"""Pooling beside PyTorch and central differences: outputs, gradients, and who gets them where numbers are equal."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from gradients import computed, differences, error, moved
from heldout.errors import InputError
from heldout.neural.layers import (
    AdaptiveAveragePool,
    AveragePool1D,
    AveragePool2D,
    GlobalAveragePool,
    GlobalMaxPool,
    Layer,
    MaxPool1D,
    MaxPool2D,
)
from heldout.neural.layers.stored import from_json, to_json
from test_convolution import MANY, Case, compare, made, several


@st.composite
def pools(draw: Any) -> Case:
    """A layer with random hyperparameters, and a row that it fits."""
    axes = draw(st.integers(1, 2))
    sizes = tuple(draw(st.integers(1, 4)) for _ in range(axes))
    channels = draw(st.integers(1, 3))
    kind = draw(st.sampled_from(["max", "max", "average", "adaptive", "global average", "global max"]))
    if kind == "adaptive":
        return AdaptiveAveragePool(sizes), (*(draw(st.integers(1, 9)) for _ in range(axes)), channels)
    if kind.startswith("global"):
        layer: Layer = GlobalMaxPool() if kind == "global max" else GlobalAveragePool()
        return layer, (*sizes, channels)
    stride = draw(st.sampled_from([None, tuple(draw(st.integers(1, 3)) for _ in range(axes))]))
    padding = tuple(draw(st.integers(0, size // 2)) for size in sizes)  # PyTorch takes no more
    row = (*(draw(st.integers(size, size + 5)) for size in sizes), channels)
    if kind == "max":
        return (MaxPool1D if axes == 1 else MaxPool2D)(sizes, stride, padding), row
    return (AveragePool1D if axes == 1 else AveragePool2D)(sizes, stride, padding, draw(st.booleans())), row


def torch_pool(torch: Any, layer: Any, params: Any, x: Any) -> Any:
    F = torch.nn.functional
    if isinstance(layer, GlobalAveragePool):
        return x.flatten(2).mean(-1)
    if isinstance(layer, GlobalMaxPool):
        return x.flatten(2).max(-1).values
    name = {"Ma": "max_pool", "Av": "avg_pool", "Ad": "adaptive_avg_pool"}[type(layer).__name__[:2]]
    function = getattr(F, f"{name}{x.ndim - 2}d")
    if isinstance(layer, AdaptiveAveragePool):
        return function(x, layer.output_size)
    given = (x, layer.kernel_size, layer.stride, layer.padding)
    if name == "max_pool":
        return function(*given)
    return function(*given, count_include_pad=layer.count_padding)


@several
@given(st.lists(pools(), min_size=MANY, max_size=MANY))
def test_pooling_beside_pytorch(cases: list[Case]) -> None:
    compare(cases, torch_pool)


@several
@given(st.lists(pools(), min_size=MANY, max_size=MANY))
def test_ties_go_where_they_go_in_pytorch(cases: list[Case]) -> None:
    compare([case for case in cases if "Max" in type(case[0]).__name__], torch_pool, whole=True)


def test_the_first_of_equal_numbers_gets_the_gradient() -> None:
    x = jnp.array([[0.0, 2.0, 1.0, 1.0], [2.0, 2.0, 1.0, 1.0]])[None, ..., None]
    for layer, first in ((MaxPool2D(), [[0, 1, 1, 0], [0, 0, 0, 0]]), (GlobalMaxPool(), [[0, 1, 0, 0], [0] * 4])):
        found = jax.grad(lambda x, layer=layer: layer.apply({}, {}, x)[0].sum())(x)
        assert_array_equal(found[0, ..., 0], first)


def test_what_is_not_a_number_stays_so() -> None:
    x = np.zeros((1, 4, 4, 1), np.float32)
    x[0, 0, 1] = np.nan
    y = MaxPool2D().apply({}, {}, x)[0]
    assert np.isnan(y[0, 0, 0, 0]) and np.isnan(y).sum() == 1


EXACT: list[Case] = [
    (MaxPool1D(3, 2, 1), (7, 2)),
    (MaxPool2D(), (5, 4, 2)),
    (MaxPool2D((2, 3), (1, 2), "same"), (3, 5, 1)),
    (AveragePool1D(3, 2, 1, False), (6, 2)),
    (AveragePool2D((2, 1), (3, 1), 0), (5, 3, 2)),
    (AveragePool2D(3, 1, "same", False), (3, 4, 1)),
    (GlobalAveragePool(), (3, 2, 2)),
    (GlobalMaxPool(), (3, 2, 2)),
    (AdaptiveAveragePool((2, 4)), (5, 3, 2)),
]


def test_gradients_beside_central_differences() -> None:
    rng = np.random.default_rng(0)
    batches = []
    for case in EXACT:
        _, x, upstream = made(*case, 1, np.float64)
        batches.append((rng.permutation(x.size).reshape(x.shape) / 7.0, upstream))  # far from ties
    near = [moved(x) for x, _ in batches]

    def everything(batches: list[Any], near: list[Any]) -> list[Any]:
        results = []
        for (layer, _), (x, upstream), points in zip(EXACT, batches, near, strict=True):
            _, pull = jax.vjp(lambda x, layer=layer: layer.apply({}, {}, x)[0], x)
            values = jax.vmap(lambda x, layer=layer: layer.apply({}, {}, x)[0])(points)
            results.append((pull(upstream)[0], values))
        return results

    with jax.enable_x64(True):
        results = computed(everything, batches, near)
    for case, (x, upstream), (gradient, values) in zip(EXACT, batches, results, strict=True):
        numeric = differences(x, (values * upstream).reshape(len(values), -1).sum(axis=1))
        assert error(gradient, numeric) <= 1e-6, case


def test_padding_counts_or_not() -> None:
    x = jnp.ones((1, 4, 4, 1))
    assert float(AveragePool2D(2, padding=1).apply({}, {}, x)[0][0, 0, 0, 0]) == 0.25
    assert_allclose(AveragePool2D(2, padding=1, count_padding=False).apply({}, {}, x)[0], 1.0)
    assert_allclose(MaxPool2D(2, padding=1).apply({}, {}, -x)[0], -1.0)


def test_adaptive_pooling_to_one_is_the_mean() -> None:
    x = np.random.default_rng(0).normal(size=(2, 5, 3, 4)).astype(np.float32)
    one = AdaptiveAveragePool(1).apply({}, {}, x)[0]
    assert_allclose(one[:, 0, 0], GlobalAveragePool().apply({}, {}, x)[0], atol=1e-6)


WRONG: list[tuple[Layer, tuple[int, ...], str]] = [
    (MaxPool2D(3), (2, 4, 1), r"height 2: \(W - F \+ 2P\) / S \+ 1 = \(2 - 3 \+ 0\) / 3 \+ 1 = 0"),
    (MaxPool2D(2, padding=2), (4, 4, 1), "padding of MaxPool2D is 2 and must be below kernel_size"),
    (MaxPool2D(2), (4, 4), "needs rows of shape"),
    (MaxPool1D(0), (4, 1), "kernel_size of MaxPool1D is 0"),
    (AveragePool2D(2, 0), (4, 4, 1), "stride of AveragePool2D is 0"),
    (AveragePool1D(2, padding="full"), (4, 1), "padding of AveragePool1D is 'full'"),
    (AveragePool2D(2, count_padding="no"), (4, 4, 1), "count_padding of AveragePool2D is 'no'"),  # type: ignore[arg-type]
    (GlobalAveragePool(), (4,), "GlobalAveragePool needs rows of at least one axis"),
    (GlobalMaxPool(), (4,), "GlobalMaxPool needs rows of at least one axis"),
    (AdaptiveAveragePool((2, 2)), (4, 1), r"output_size of AdaptiveAveragePool is \(2, 2\)"),
    (AdaptiveAveragePool(0), (4, 4, 1), "output_size of AdaptiveAveragePool is 0"),
]


@pytest.mark.parametrize(("layer", "row", "said"), WRONG, ids=lambda value: str(value)[:40])
def test_what_does_not_fit_is_said(layer: Layer, row: tuple[int, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        layer.out_shape(row)
    with pytest.raises(InputError, match=said):
        from_json(to_json(layer)).out_shape(row)


def test_stored_layers_come_back() -> None:
    for layer, _ in EXACT:
        assert from_json(to_json(layer)) == layer
