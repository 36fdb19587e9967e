"""The kernels of affine maps and of perceptrons beside their formulas: outputs, gradients, rows of any number."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from gradients import computed, error
from heldout.neural.layers import (
    GELU,
    Dense,
    Layer,
    LayerNorm,
    MultiHeadAttention,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    affine,
    perceptron,
)
from heldout.neural.native import amx
from heldout.neural.native.products import (
    BLOCK,
    LEFT,
    SQUARE,
    begin,
    end,
    laid,
    lay,
    multiply,
    pack,
)
from heldout.neural.native.tiles import LINE, WIDE

MAPS = [  # rows, inputs, outputs, what comes before
    (77, 37, 65, LayerNorm(1e-3)),
    (3, 9, 5, GELU(approximate=True)),
    (453, 130, 3, ReLU()),
    (70, 5, WIDE, Sigmoid()),
    (900, 2 * WIDE, 3 * WIDE, LayerNorm()),
]
PERCEPTRONS = [  # rows, inputs, hidden units, what comes before, activation
    (77, WIDE, 2 * WIDE, (LayerNorm(),), GELU(approximate=True)),
    (910, 2 * WIDE, WIDE, (), ReLU()),
]


@pytest.fixture(params=["matrix units", "registers"])
def always(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few products there are, they are done by kernels: by matrix units, where there are any, or without."""
    if request.param == "matrix units" and not amx.ready():
        pytest.skip("This processor has no matrix units, or the operating system does not lend them.")
    monkeypatch.setattr(amx, "ready", lambda: request.param == "matrix units")
    monkeypatch.setattr(affine, "LEAST_PRODUCTS", 1)
    monkeypatch.setattr(perceptron, "LEAST_PRODUCTS", 1)


def found(networks: list[Layer], given: list[Any]) -> list[Any]:
    """Outputs and gradients of all."""
    results = []
    for network, (params, x, upstream) in zip(networks, given, strict=True):
        y, pull = jax.vjp(lambda params, x, network=network: network.apply(params, {}, x)[0], params, x)
        results.append((y, pull(upstream)))
    return results


def drawn(networks: list[Layer], shapes: list[tuple[int, ...]], scale: float = 1.0) -> list[Any]:
    """Weights, inputs and gradients by the outputs, of no special form."""
    rng, given = np.random.default_rng(0), []
    for network, shape in zip(networks, shapes, strict=True):
        params = jax.eval_shape(lambda network=network, shape=shape: network.init(jax.random.key(0), shape[1:])[0])
        params = jax.tree.map(lambda leaf: rng.normal(scale=scale, size=leaf.shape).astype(np.float32), params)
        outputs = (shape[0], *network.out_shape(shape[1:]))
        given.append((params, *(rng.normal(size=size).astype(np.float32) for size in (shape, outputs))))
    return given


def traced(network: Layer, given: Any) -> str:
    return str(jax.make_jaxpr(lambda given: found([network], [given]))(given))


def check(
    networks: list[Layer],
    shapes: list[tuple[int, ...]],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    scale: float = 1.0,
) -> None:
    given = drawn(networks, shapes, scale)
    assert all(name in traced(network, one) for network, one in zip(networks, given, strict=True))
    ours = computed(lambda given: found(networks, given), given)
    for module in (affine, perceptron):
        monkeypatch.setattr(module, "LEAST_PRODUCTS", 2**40)
    formula = computed(lambda given: found(networks, given), given)
    assert all(error(one, other) < 1e-5 for one, other in zip(ours, formula, strict=True))


@pytest.mark.usefixtures("always")
def test_affine_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    networks: list[Layer] = [Sequential(before, Dense(outputs)) for _, _, outputs, before in MAPS]
    networks += 2 * [Sequential(LayerNorm(), MultiHeadAttention(2, causal=True))]  # whose weights are three matrices
    shapes: list[tuple[int, ...]] = [(rows, inputs) for rows, inputs, _, _ in MAPS]
    check(networks, [*shapes, (3, 11, 6), (9, 10, WIDE)], "heldout_affine", monkeypatch)


@pytest.mark.usefixtures("always")
def test_shortcuts_around_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    """With weights that are small enough for softmax to be no step."""
    networks: list[Layer] = 3 * [Residual(Sequential(LayerNorm(), MultiHeadAttention(2, causal=True)))]
    check(networks, [(3, 11, 6), (9, 10, WIDE), (1, 7, 6)], "heldout_affine", monkeypatch, scale=0.3)


@pytest.mark.usefixtures("always")
def test_the_kernels_of_attention_add_the_shortcut_around_it() -> None:
    """Forward and back: no sum is left to XLA, as it is where no norm is between them."""
    attention, shape = MultiHeadAttention(2, causal=True), (9, 10, WIDE)
    for inside, left in ((Sequential(LayerNorm(), attention), 0), (attention, 2)):
        network = Residual(inside)
        assert traced(network, drawn([network], [shape])[0]).count(f"f32[9,10,{WIDE}] = add") == left


@pytest.mark.usefixtures("always")
def test_perceptrons(monkeypatch: pytest.MonkeyPatch) -> None:
    networks: list[Layer] = [
        Residual(Sequential(*first, Dense(hidden), between, Dense(width)))
        for _, width, hidden, first, between in PERCEPTRONS
    ]
    check(networks, [(rows, width) for rows, width, *_ in PERCEPTRONS], "heldout_perceptron", monkeypatch)


@pytest.mark.usefixtures("always")
def test_what_the_kernels_leave_to_others() -> None:
    many, no_kernel = Sequential(Dense(2**15), ReLU(), Dense(WIDE)), Sequential(Dense(WIDE), Sigmoid(), Dense(WIDE))
    for network, width in ((Residual(many), WIDE), (Residual(no_kernel), WIDE), (Dense(2**15), 9)):
        text = traced(network, drawn([network], [(2, width)])[0])
        assert "heldout_perceptron" not in text
    assert "heldout_affine" not in text


def test_products_of_matrix_units_are_of_single_precision() -> None:
    """No farther from exact products than sums of single-precision ones, whose parts have as many digits."""
    if not amx.ready():
        pytest.skip("This processor has no matrix units, or the operating system does not lend them.")
    rng = np.random.default_rng(0)
    x, weights = (rng.normal(size=size).astype(np.float32) for size in ((BLOCK, 512), (512, WIDE)))
    left, right = (np.zeros(laid(True, given.size) + LINE, np.float32) for given in (x, weights))
    room, out = np.zeros(SQUARE, np.float32), np.zeros(BLOCK * WIDE, np.float32)
    lay(True, LEFT, x.ravel(), 512, 512, left)
    pack(True, weights.ravel(), 512, WIDE, room, right)
    begin(True)
    multiply(True, left, BLOCK, 512, right, out, WIDE, False)
    end(True)
    exact = x.astype(np.float64) @ weights.astype(np.float64)
    size = np.abs(x).astype(np.float64) @ np.abs(weights).astype(np.float64)
    off = np.abs(out.reshape(BLOCK, WIDE) - exact) / size
    assert off.max() < 2e-7
    assert np.sqrt(np.square(off).mean()) < 2e-8  # sums of rounded products, term by term, are at 2.8e-8
