"""Layers: gradients beside central differences and plain formulas, outputs beside PyTorch, what the docstrings say."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from numpy.testing import assert_allclose, assert_array_equal

from gradients import computed, differences, error, moved
from heldout.errors import InputError
from heldout.neural import layers
from heldout.neural.layers import (
    ELU,
    GELU,
    GRU,
    LAYERS,
    LSTM,
    RNN,
    AdaptiveAveragePool,
    AveragePool1D,
    AveragePool2D,
    BatchNorm,
    Conv1D,
    Conv2D,
    ConvTranspose1D,
    ConvTranspose2D,
    Cutout,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Embedding,
    Flatten,
    Frozen,
    GlobalAveragePool,
    GlobalMaxPool,
    Identity,
    Layer,
    LayerNorm,
    LeakyReLU,
    Masking,
    Maxout,
    MaxPool1D,
    MaxPool2D,
    MultiHeadAttention,
    Parallel,
    Positions,
    RandomBrightness,
    RandomCrop,
    RandomFlip,
    RandomRotation,
    RandomShift,
    ReLU,
    Reshape,
    Residual,
    Sequential,
    Sigmoid,
    SiLU,
    Softmax,
    Steps,
    Tanh,
)
from heldout.neural.layers.initialization import INITIALIZATIONS, initial_weights

SHAPES, FEWER = 20, 8  # fewer of what is made of layers that have their own, and beside PyTorch

MADE: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Layer]] = {
    "Dense": lambda rng, row: Dense(int(rng.integers(1, 4)), use_bias=bool(rng.integers(2))),
    "Sigmoid": lambda rng, row: Sigmoid(),
    "Tanh": lambda rng, row: Tanh(),
    "ReLU": lambda rng, row: ReLU(),
    "LeakyReLU": lambda rng, row: LeakyReLU(float(rng.uniform())),
    "ELU": lambda rng, row: ELU(float(rng.uniform(0.5, 2.0))),
    "GELU": lambda rng, row: GELU(approximate=bool(rng.integers(2))),
    "SiLU": lambda rng, row: SiLU(),
    "Identity": lambda rng, row: Identity(),
    "Softmax": lambda rng, row: Softmax(),
    "Maxout": lambda rng, row: Maxout(row[-1] if row[-1] > 2 else 1),
    "Dropout": lambda rng, row: Dropout(float(rng.integers(0, 900) / 1024)),
    "BatchNorm": lambda rng, row: BatchNorm(float(rng.uniform()), 10.0 ** -int(rng.integers(1, 4))),
    "LayerNorm": lambda rng, row: LayerNorm(10.0 ** -int(rng.integers(1, 4))),
    "Conv1D": lambda rng, row: Conv1D(2, 2, int(rng.integers(1, 3)), "same"),
    "Conv2D": lambda rng, row: Conv2D(2, 2, int(rng.integers(1, 3)), 1),
    "DepthwiseConv2D": lambda rng, row: DepthwiseConv2D(2, padding="same"),
    "ConvTranspose1D": lambda rng, row: ConvTranspose1D(2, 2, int(rng.integers(1, 3))),
    "ConvTranspose2D": lambda rng, row: ConvTranspose2D(2, 2, int(rng.integers(1, 3)), "same"),
    "MaxPool1D": lambda rng, row: MaxPool1D(2, padding=1),
    "MaxPool2D": lambda rng, row: MaxPool2D(2, 1, "same"),
    "AveragePool1D": lambda rng, row: AveragePool1D(2, padding=1),
    "AveragePool2D": lambda rng, row: AveragePool2D(2, 1, "same", count_padding=False),
    "GlobalAveragePool": lambda rng, row: GlobalAveragePool(),
    "GlobalMaxPool": lambda rng, row: GlobalMaxPool(),
    "AdaptiveAveragePool": lambda rng, row: AdaptiveAveragePool(int(rng.integers(1, 4))),
    "Masking": lambda rng, row: Masking(),
    "RNN": lambda rng, row: RNN(2, activation="relu"),
    "LSTM": lambda rng, row: LSTM(2, layers=2, return_sequences=True),
    "GRU": lambda rng, row: GRU(3, bidirectional=True, truncation=2),
    "Embedding": lambda rng, row: Embedding(5, 3, padding=0),
    "Positions": lambda rng, row: Positions(learned=True),
    "MultiHeadAttention": lambda rng, row: MultiHeadAttention(1, causal=True, positions="alibi"),
    "Steps": lambda rng, row: Steps(LayerNorm(), 1),
    "Flatten": lambda rng, row: Flatten(),
    "Reshape": lambda rng, row: Reshape((*row[::-1], 1) if rng.integers(2) else (row[0], -1)),
    "RandomFlip": lambda rng, row: RandomFlip(vertical=True),
    "RandomShift": lambda rng, row: RandomShift(1),
    "RandomCrop": lambda rng, row: RandomCrop(1),
    "RandomRotation": lambda rng, row: RandomRotation(20.0),
    "Cutout": lambda rng, row: Cutout(2),
    "RandomBrightness": lambda rng, row: RandomBrightness(0.5),
    "Frozen": lambda rng, row: Frozen(Sequential(Dense(2), BatchNorm(epsilon=0.01))),
    "Residual": lambda rng, row: Residual(
        Sequential(Dense(2), Tanh(), Dense(row[-1])), [None, Dense(row[-1])][rng.integers(2)]
    ),
    "Sequential": lambda rng, row: Sequential(Dense(2), BatchNorm(epsilon=0.01), SiLU(), Flatten(), Dense(2)),
    "Parallel": lambda rng, row: Parallel(
        Dense(2), Sequential(Tanh(), Dense(2)), join=["concatenate", "sum", "mean", "product"][rng.integers(4)]
    ),
}
ELSEWHERE = {kind for kind in MADE if "Conv" in kind or "Pool" in kind}  # in test_convolution.py and test_pooling.py
ELSEWHERE |= {kind for kind in MADE if "Random" in kind or kind == "Cutout"}  # in test_augmentation.py
ELSEWHERE |= {"Masking", "RNN", "LSTM", "GRU"}  # in test_recurrent.py
ELSEWHERE |= {"Embedding", "Positions", "MultiHeadAttention", "Steps"}  # in test_attention.py
CONTAINERS = {"Frozen", "Residual", "Sequential", "Parallel"}
CASES = [(kind, True) for kind in MADE if kind not in ELSEWHERE]
CASES += [(kind, False) for kind in ("Dropout", "BatchNorm", "Sequential")]


@dataclasses.dataclass
class Case:
    """A layer with random weights and statistics, a batch away from kinks and ties, and a gradient from above."""

    layer: Layer
    params: dict[str, Any]
    state: dict[str, Any]
    x: np.ndarray
    upstream: np.ndarray


def cases(kind: str, dtype: type = np.float64, least_batch: int = 1) -> list[Case]:
    rng = np.random.default_rng(list(MADE).index(kind))
    made = []
    for _ in range(FEWER if dtype is np.float32 or kind in CONTAINERS else SHAPES):
        batch, *row = (int(i) for i in rng.integers(1, 4, rng.integers(2, 5)))
        batch = max(batch, least_batch)
        layer = MADE[kind](rng, tuple(row))
        forms = jax.eval_shape(lambda key, layer=layer, row=row: layer.init(key, tuple(row)), jax.random.key(0))
        params = jax.tree.map(lambda form: rng.normal(size=form.shape).astype(dtype), forms[0])
        state = jax.tree.map(lambda form: rng.uniform(0.5, 2.0, form.shape).astype(dtype), forms[1])
        size = batch * int(np.prod(row))
        x = rng.permutation(np.arange(size) + 0.3 - size // 2).reshape(batch, *row) * rng.uniform(2.0, 6.0) / size
        upstream = rng.normal(size=(batch, *layer.out_shape(tuple(row))))
        made.append(Case(layer, params, state, x.astype(dtype), upstream.astype(dtype)))
    return made


def plain(xp: Any, layer: Layer, params: Any, state: Any, x: Any, train: bool, dropped: Any) -> Any:
    """The formulas as the books have them, of NumPy or JAX (`xp`), with no rule of differentiation of our own."""
    if isinstance(layer, Residual):
        beside = x
        if layer.shortcut is not None:
            beside = plain(xp, layer.shortcut, params["shortcut"], {}, x, train, None)
        return beside + plain(xp, layer.layer, params["layer"], {}, x, train, None)
    if isinstance(layer, Parallel):
        names = ("dense_1", "sequential_1")
        outputs = [
            plain(xp, inner, params[name], {}, x, train, None) for name, inner in zip(names, layer.layers, strict=True)
        ]
        joins = {"sum": sum, "mean": lambda y: (y[0] + y[1]) / 2, "product": lambda y: y[0] * y[1]}
        return xp.concatenate(outputs, axis=-1) if layer.join == "concatenate" else joins[layer.join](outputs)
    if isinstance(layer, Frozen):
        return plain(xp, layer.layer, state["params"], state["state"], x, False, None)
    if isinstance(layer, Sequential):
        for name, inner in zip(layer.names, layer.layers, strict=True):
            x = plain(xp, inner, params.get(name), state.get(name), x, train, dropped)
        return x
    return PLAIN[type(layer).__name__](xp, layer, params, state, x, train, dropped)


def plain_batch_norm(xp: Any, layer: BatchNorm, params: Any, state: Any, x: Any, train: bool, dropped: Any) -> Any:
    mean, variance = state["mean"], state["variance"]
    if train:
        axes, count = tuple(range(x.ndim - 1)), x.size // x.shape[-1]
        mean = x.sum(axes) / count
        variance = ((x - mean) ** 2).sum(axes) / count
    return params["scale"] * (x - mean) / (variance + layer.epsilon) ** 0.5 + params["shift"]


def plain_layer_norm(xp: Any, layer: LayerNorm, params: Any, state: Any, x: Any, train: bool, dropped: Any) -> Any:
    mean, variance = xp.mean(x, -1, keepdims=True), xp.var(x, -1, keepdims=True)
    return params["scale"] * (x - mean) / xp.sqrt(variance + layer.epsilon) + params["shift"]


def plain_gelu(xp: Any, layer: GELU, params: Any, state: Any, x: Any, train: bool, dropped: Any) -> Any:
    if layer.approximate:
        return 0.5 * x * (1 + xp.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + scipy.special.erf(x / np.sqrt(2)))


def plain_dropout(xp: Any, layer: Dropout, params: Any, state: Any, x: Any, train: bool, dropped: Any) -> Any:
    return x * ~dropped / (1 - layer.rate) if train else x


PLAIN: dict[str, Callable[..., Any]] = {
    "Dense": lambda xp, layer, p, s, x, train, dropped: x @ p["weights"] + p.get("bias", 0.0),
    "Sigmoid": lambda xp, layer, p, s, x, train, dropped: 1 / (1 + xp.exp(-x)),
    "Tanh": lambda xp, layer, p, s, x, train, dropped: 1 - 2 / (1 + xp.exp(2 * x)),
    "ReLU": lambda xp, layer, p, s, x, train, dropped: x * (x > 0),
    "LeakyReLU": lambda xp, layer, p, s, x, train, dropped: xp.maximum(x, layer.negative_slope * x),
    "ELU": lambda xp, layer, p, s, x, train, dropped: xp.where(x > 0, x, layer.alpha * (xp.exp(x) - 1)),
    "GELU": plain_gelu,
    "SiLU": lambda xp, layer, p, s, x, train, dropped: x / (1 + xp.exp(-x)),
    "Identity": lambda xp, layer, p, s, x, train, dropped: x,
    "Softmax": lambda xp, layer, p, s, x, train, dropped: xp.exp(x) / xp.exp(x).sum(-1, keepdims=True),
    "Maxout": lambda xp, layer, p, s, x, train, dropped: xp.stack(
        [x[..., k :: layer.pieces] for k in range(layer.pieces)]
    ).max(0),
    "Dropout": plain_dropout,
    "BatchNorm": plain_batch_norm,
    "LayerNorm": plain_layer_norm,
    "Flatten": lambda xp, layer, p, s, x, train, dropped: x.reshape(len(x), int(np.prod(x.shape[1:]))),
    "Reshape": lambda xp, layer, p, s, x, train, dropped: x.reshape(len(x), *layer.shape),
}
RULED = ("Dense", "BatchNorm", "Residual", "Sequential", "Parallel")  # with rules of their own, or made of such


def test_every_layer_is_tested() -> None:
    assert set(MADE) == set(LAYERS)
    assert set(LAYERS) <= set(layers.__all__)


@pytest.mark.long
@pytest.mark.parametrize(("kind", "train"), CASES[:-1])
def test_gradients(kind: str, train: bool) -> None:
    key = jax.random.key(3, impl="unsafe_rbg")  # the quickest to compile
    made = cases(kind)
    batches = [(case.params, case.state, case.x, case.upstream, moved((case.params, case.x))) for case in made]

    def everything(batches: list[Any]) -> list[Any]:
        results = []
        for number, (case, (params, state, x, upstream, near)) in enumerate(zip(made, batches, strict=True)):
            layer, dropped = case.layer, dropped_by(case.layer, x.shape, key)

            def ours(params: Any, x: Any, layer: Layer = layer, state: Any = state) -> Any:
                return layer.apply(params, state, x, train=train, key=key)[0]

            def theirs(params: Any, x: Any, layer: Layer = layer, state: Any = state, dropped: Any = dropped) -> Any:
                return plain(jnp, layer, params, state, x, train, dropped)

            y, pull = jax.vjp(ours, params, x)
            found = [pull(upstream)]
            if type(layer).backward is not Layer.backward or number < 3:
                found.append(layer.backward(params, state, x, upstream, train=train, key=key))
            if kind in RULED:
                found.append(jax.vjp(theirs, params, x)[1](upstream))
            results.append((y, dropped, found, jax.vmap(ours)(*near)))
        return results

    with jax.enable_x64(True):
        results = computed(everything, batches)
    for case, (y, dropped, gradients, values) in zip(made, results, strict=True):
        numeric = differences((case.params, case.x), (values * case.upstream).reshape(len(values), -1).sum(axis=1))
        assert y.dtype == np.float64
        assert error(y, plain(np, case.layer, case.params, case.state, case.x, train, dropped)) <= 1e-12
        for found in gradients:
            assert error(found, gradients[-1]) <= 1e-11
            assert error(found, numeric) <= 1e-6


def dropped_by(layer: Layer, shape: tuple[int, ...], key: Any) -> Any:
    """What dropout sets to 0."""
    if not isinstance(layer, Dropout):
        return False
    size = math.prod(shape)
    words = jax.random.bits(key, (-(-size // 2),), jnp.uint32)
    halves = jnp.concatenate([words & 0xFFFF, words >> 16])[:size]
    return halves.reshape(shape) < layer.rate * 2**16


def beside_torch(torch: Any, layer: Layer, p: Any, s: Any, x: Any, train: bool, y: np.ndarray) -> Any:
    """The same layer by PyTorch; its running statistics are changed in place. `y` only shows what was dropped."""
    F = torch.nn.functional
    kind = type(layer).__name__
    if isinstance(layer, Residual):
        beside = x if layer.shortcut is None else beside_torch(torch, layer.shortcut, p["shortcut"], s, x, train, y)
        return beside + beside_torch(torch, layer.layer, p["layer"], s, x, train, y)
    if isinstance(layer, Frozen):
        return beside_torch(torch, layer.layer, s["params"], s["state"], x, False, y)
    if isinstance(layer, Sequential):
        for name, inner in zip(layer.names, layer.layers, strict=True):
            x = beside_torch(torch, inner, p.get(name, {}), s.get(name, {}), x, train, y)
        return x
    if isinstance(layer, Parallel):
        names = ("dense_1", "sequential_1")
        both = [
            beside_torch(torch, inner, p[name], {}, x, train, y)
            for name, inner in zip(names, layer.layers, strict=True)
        ]
        joins = {"sum": sum, "mean": lambda z: torch.stack(z).mean(0), "product": lambda z: z[0] * z[1]}
        return torch.cat(both, dim=-1) if layer.join == "concatenate" else joins[layer.join](both)
    if isinstance(layer, BatchNorm):
        given = (s["mean"], s["variance"], p["scale"], p["shift"], train, 1 - layer.momentum, layer.epsilon)
        return F.batch_norm(x.movedim(-1, 1), *given).movedim(1, -1)
    if isinstance(layer, Dropout):
        return x * torch.tensor(y != 0) / (1 - layer.rate) if train else F.dropout(x, layer.rate, training=False)
    made = {
        "Dense": lambda: F.linear(x, p["weights"].T, p.get("bias")),
        "Sigmoid": lambda: torch.sigmoid(x),
        "Tanh": lambda: torch.tanh(x),
        "ReLU": lambda: F.relu(x),
        "LeakyReLU": lambda: F.leaky_relu(x, layer.negative_slope),
        "ELU": lambda: F.elu(x, layer.alpha),
        "GELU": lambda: F.gelu(x, approximate="tanh" if layer.approximate else "none"),
        "SiLU": lambda: F.silu(x),
        "Identity": lambda: torch.nn.Identity()(x),
        "Softmax": lambda: F.softmax(x, dim=-1),
        "Maxout": lambda: x.unflatten(-1, (-1, layer.pieces)).amax(-1),
        "LayerNorm": lambda: F.layer_norm(x, x.shape[-1:], p["scale"], p["shift"], layer.epsilon),
        "Flatten": lambda: torch.flatten(x, 1),
        "Reshape": lambda: torch.reshape(x, (len(x), *layer.shape)),
    }
    return made[kind]()


@pytest.mark.parametrize(("kind", "train"), CASES)
def test_beside_pytorch(kind: str, train: bool) -> None:
    torch = pytest.importorskip("torch")
    key = jax.random.key(3)
    alone = 2 if train and kind in ("BatchNorm", "Sequential") else 1  # PyTorch refuses a single row there
    made = cases(kind, np.float32, alone)
    batches = [(case.params, case.state, case.x, case.upstream) for case in made]

    def everything(batches: list[Any]) -> list[Any]:
        results = []
        for case, (params, state, x, upstream) in zip(made, batches, strict=True):
            apply = case.layer.apply
            y, pull, after = jax.vjp(
                lambda p, x, apply=apply, s=state: apply(p, s, x, train=train, key=key), params, x, has_aux=True
            )
            results.append((y, after, pull(upstream)))
        return results

    for case, (y, after, gradients) in zip(made, computed(everything, batches), strict=True):
        tensors, state, x = jax.tree.map(torch.tensor, (case.params, case.state, case.x))
        leaves = [leaf.requires_grad_() for leaf in jax.tree.leaves((tensors, x))]
        theirs = beside_torch(torch, case.layer, tensors, state, x, train, y)
        theirs.backward(torch.tensor(case.upstream))
        expected = jax.tree.structure(gradients).unflatten([leaf.grad.numpy() for leaf in leaves])
        assert y.dtype == np.float32
        assert error(y, theirs.detach().numpy()) <= 1e-5
        assert error(gradients, expected, share=1.0) <= 1e-5
        assert error(after, jax.tree.map(lambda tensor: tensor.numpy(), state)) <= 1e-5


def test_running_statistics_over_many_batches() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    theirs = torch.nn.BatchNorm1d(3)
    ours = BatchNorm()
    params, state = ours.init(None, (3,))
    for _ in range(30):
        x = rng.normal([0.0, 5.0, -100.0], [1.0, 3.0, 0.1], (7, 3)).astype(np.float32)
        _, state = ours.apply(params, state, x, train=True)
        theirs(torch.tensor(x))
    assert_allclose(state["mean"], theirs.running_mean, rtol=1e-5)
    assert_allclose(state["variance"], theirs.running_var, rtol=1e-5)
    evaluated, kept = ours.apply(params, state, x)
    assert_allclose(evaluated, theirs.eval()(torch.tensor(x)).detach(), atol=1e-4)
    assert kept is state


def test_batch_norm_survives_a_large_mean_and_a_single_row() -> None:
    params, state = BatchNorm().init(None, (1,))
    x = np.float32([[1e4 - 1], [1e4 + 1]])
    assert_allclose(BatchNorm().apply(params, state, x, train=True)[0], [[-1.0], [1.0]], rtol=1e-4)
    y, after = BatchNorm().apply(params, state, x[:1], train=True)
    assert_array_equal(y, [[0.0]])
    assert np.isfinite(after["variance"]).all()


def test_dropout_keeps_the_mean_and_is_the_classic_form_in_expectation() -> None:
    x = np.random.default_rng(0).normal(3.0, 1.0, (500, 400)).astype(np.float32)
    y, _ = Dropout(0.3).apply({}, {}, jnp.asarray(x), train=True, key=jax.random.key(0))
    y = np.asarray(y)
    dropped = y == 0
    assert abs(dropped.mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / x.size)
    assert_allclose(y[~dropped], x[~dropped] / 0.7, rtol=1e-5)  # p is rounded
    assert abs(y.mean() - x.mean()) < 5 * y.std() / np.sqrt(x.size)
    classic = np.where(dropped, 0.0, x)  # unscaled in training, times 1 - p in evaluation
    assert abs(classic.mean() - 0.7 * x.mean()) < 5 * classic.std() / np.sqrt(x.size)
    assert_allclose(y * 0.7, classic, rtol=1e-5)
    again, _ = Dropout(0.3).apply({}, {}, jnp.asarray(x), train=True, key=jax.random.key(1))
    assert ((np.asarray(again) == 0) != dropped).mean() > 0.4  # 2 p (1 - p) = 0.42


def test_even_where_dropout_leaves_hardly_anything_the_mean_stays() -> None:
    y, _ = Dropout(1.0 - 1e-9).apply({}, {}, jnp.ones((1000, 4001)), train=True, key=jax.random.key(0))
    assert float(y.mean()) == pytest.approx(1.0, abs=0.6)  # 61 of 4 million stay, give or take 8


def test_every_dropout_of_a_network_draws_for_itself() -> None:
    x, key = jnp.ones((40, 5)), jax.random.key(0)
    network = Parallel(Dropout(0.5), Dropout(0.5), Sequential(Identity(), Dropout(0.5)))
    parts = np.split(np.asarray(network.apply({}, {}, x, train=True, key=key)[0]) == 0, 3, axis=1)
    assert all(0.3 < part.mean() < 0.7 for part in parts)
    assert all(0.3 < (parts[i] != parts[j]).mean() < 0.7 for i, j in ((0, 1), (0, 2), (1, 2)))
    both = Sequential(Dropout(0.5), Dropout(0.5)).apply({}, {}, x, train=True, key=key)[0]
    assert 0.1 < (np.asarray(both) == 4).mean() < 0.4 and set(np.unique(both)) == {0.0, 4.0}


def test_dropout_in_evaluation_does_nothing() -> None:
    x = jnp.ones((3, 4))
    assert Dropout(0.9).apply({}, {}, x)[0] is x
    assert Dropout(0.0).apply({}, {}, x, train=True)[0] is x
    assert not Dropout(0.0).random and Sequential(Dense(1), Residual(Dropout(0.1))).random
    with pytest.raises(InputError, match="Dropout draws random numbers in training"):
        Sequential(Dropout(0.1)).apply({}, {}, x, train=True)


@pytest.mark.parametrize(("name", "variance"), [("he", 2 / 600), ("lecun", 1 / 600), ("xavier", 2 / 1000)])
def test_initial_variances(name: str, variance: float) -> None:
    weights = np.asarray(Dense(400, initialization=name).init(jax.random.key(0), (600,))[0]["weights"], np.float64)
    assert abs(weights.mean()) < 5 * np.sqrt(variance / weights.size)
    kurtosis = 1.8 if name == "xavier" else 3.0
    assert abs(weights.var() / variance - 1) < 5 * np.sqrt((kurtosis - 1) / weights.size)
    assert abs((weights**4).mean() / weights.var() ** 2 - kurtosis) < 0.1
    if name == "xavier":
        assert np.abs(weights).max() <= np.sqrt(6 / 1000)


@pytest.mark.parametrize("shape", [(40, 30), (30, 40), (1, 5), (5, 1), (3, 3, 4, 8)])
def test_orthogonal_weights(shape: tuple[int, ...]) -> None:
    fans = int(np.prod(shape[:-1])), shape[-1]
    W = np.asarray(initial_weights("orthogonal", jax.random.key(0), shape, *fans), np.float64).reshape(fans)
    small = W.T @ W if fans[0] >= fans[1] else W @ W.T
    assert_allclose(small, np.eye(min(fans)), atol=1e-6)


def test_weights_have_the_type_that_is_asked_for() -> None:
    for name in INITIALIZATIONS:
        layer = Sequential(Dense(2, initialization=name), BatchNorm(), LayerNorm())
        for double, expected in ((False, np.float32), (True, np.float64)):
            with jax.enable_x64(double):
                weights = jax.eval_shape(lambda key, layer=layer: layer.init(key, (3,)), jax.random.key(0))
            assert {leaf.dtype for leaf in jax.tree.leaves(weights)} == {np.dtype(expected)}


WRONG: list[tuple[Layer, tuple[int, ...], str]] = [
    (Dense(), (3,), "units to an estimator"),
    (Dense(0), (3,), "units of Dense is 0"),
    (Dense(2.5), (3,), "units of Dense is 2.5"),  # type: ignore[arg-type]
    (Dense(True), (3,), "units of Dense is True"),
    (Dense(3), (), "Dense needs rows with at least one axis"),
    (Softmax(), (), "Softmax needs rows with at least one axis"),
    (Maxout(3), (4,), "Maxout takes the largest of every 3"),
    (Maxout(0), (4,), "pieces of Maxout is 0"),
    (Maxout(2), (), "Maxout takes the largest"),
    (Dropout(1.0), (3,), "rate of Dropout is 1.0"),
    (Dropout(float("nan")), (3,), "rate of Dropout is nan"),
    (BatchNorm(1.0), (3,), "momentum of BatchNorm is 1.0"),
    (BatchNorm(epsilon=0.0), (3,), "epsilon of BatchNorm is 0.0"),
    (BatchNorm(), (), "BatchNorm needs rows"),
    (LayerNorm(float("nan")), (3,), "epsilon of LayerNorm is nan"),
    (LayerNorm(), (), "LayerNorm needs rows"),
    (LSTM(0), (5, 2), "units of LSTM is 0"),
    (GRU(2, layers=0), (5, 2), "layers of GRU is 0"),
    (LSTM(2, truncation=0), (5, 2), "truncation of LSTM is 0"),
    (LSTM(2, dropout=1.0), (5, 2), "dropout of LSTM is 1.0"),
    (RNN(2), (5,), r"RNN takes sequences \(steps, channels\), not rows of shape \(5\)"),
    (RNN(2, activation="tan"), (5, 2), r"There is no activation 'tan' of RNN. Did you mean 'tanh'"),
    (Masking(), (5,), "Masking takes sequences"),
    (MultiHeadAttention(3), (5, 4), "3 heads, which do not divide 4 channels"),
    (MultiHeadAttention(2, positions="rotary"), (5, 2), "a head has 1 of them"),
    (MultiHeadAttention(1, positions="rotating"), (5, 2), "There are no positions 'rotating'"),
    (MultiHeadAttention(1, dropout=1.0), (5, 2), "dropout of MultiHeadAttention is 1.0"),
    (MultiHeadAttention(1, memory=5), (5, 2), "memory of MultiHeadAttention is 5, and rows have only 5 steps"),
    (MultiHeadAttention(1, memory=2, causal=True), (5, 2), "takes neither causal nor positions"),
    (Embedding(3, 0), (5,), "width of Embedding is 0"),
    (Embedding(3, 2, padding=3), (5,), "padding of Embedding is 3"),
    (Embedding(3, 2, scale=0.0), (5,), "scale of Embedding is 0.0"),
    (Embedding(3, 2), (5, 1), "Embedding takes codes"),
    (Positions(), (5,), "Positions takes sequences"),
    (Steps(Dense(3)), (5, 2), r"a layer that makes \(5, 3\) of \(5, 2\)"),
    (Steps(Identity(), 2, 6), (5, 2), r"no steps from 2 to 6 in rows of shape \(5, 2\)"),
    (Reshape((2, 2)), (5,), "Reshape cannot arrange 5 numbers"),
    (Reshape((2, -1)), (5,), "a multiple of 2"),
    (Reshape((-1, -1)), (4,), "at most one is -1"),
    (Reshape((0, 4)), (4,), "lengths are above 0"),
    (Residual(Dense(3)), (2,), r"Residual adds \(3\) to a shortcut of \(2\)"),
    (Residual(Dense(3), Dense(4)), (2,), r"Residual adds \(3\) to a shortcut of \(4\)"),
    (Parallel(Dense(2), Dense(3), join="sum"), (2,), "Parallel cannot take the sum"),
    (Parallel(Dense(2), Flatten()), (2, 2), "Parallel cannot join"),
    (Parallel(Dense(2), join="outer"), (2,), "There is no join 'outer'"),
]


@pytest.mark.parametrize(("layer", "row", "said"), WRONG, ids=lambda value: str(value)[:40])
def test_what_does_not_fit_is_said(layer: Layer, row: tuple[int, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        layer.out_shape(row)
    if row:
        name = f"{type(layer).__name__.lower()}_2"
        network = Sequential(ReLU(), type(layer)() if type(layer) in (Softmax, Flatten) else Identity(), layer)
        network = Sequential(Residual(Identity()) if isinstance(layer, Residual) else Identity(), *network.layers)
        with pytest.raises(InputError, match=rf"{said}.*\(layer {name if isinstance(layer, Residual) else name[:-1]}"):
            network.out_shape(row)


def test_unknown_initialization() -> None:
    with pytest.raises(InputError, match=r"There is no initialization 'hee'. Did you mean 'he'\?"):
        Dense(3, initialization="hee").init(jax.random.key(0), (2,))


@pytest.mark.parametrize("container", [Sequential, Parallel])
def test_containers_are_made_of_layers(container: Any) -> None:
    with pytest.raises(InputError, match="needs at least one layer"):
        container()
    with pytest.raises(InputError, match=r"is none; write ReLU\(\)"):
        container(ReLU)
    with pytest.raises(InputError, match="3 is none"):
        container(Dense(2), 3)


def test_layers_are_hashable_and_equal_by_value() -> None:
    rows = [(1,), (3,), (2, 3), (1, 2, 3)]
    for kind, make in MADE.items():
        for row in rows:
            one, same = (make(np.random.default_rng(1), row) for _ in range(2))
            assert one == same and hash(one) == hash(same) and one is not same, kind
            assert eval(repr(one), dict(LAYERS)) == one
    assert Dense(3) != Dense(4) and ReLU() != Identity()
    assert Parallel(Dense(1), join="sum") != Parallel(Dense(1))
    assert Sequential(Dense(1)) != Parallel(Dense(1))
    assert hash(Reshape([2, 3])) == hash(Reshape((2, 3)))  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        Dense(3).units = 4  # type: ignore[misc]


def test_names_in_a_sequence() -> None:
    network = Sequential(Dense(4), ReLU(), Dense(3), BatchNorm(), Sequential(Dense(2), ReLU()), Dense(1))
    assert network.names == ("dense_1", "relu_1", "dense_2", "batchnorm_1", "sequential_1", "dense_3")
    params, state = network.init(jax.random.key(0), (5,))
    assert list(params) == ["dense_1", "dense_2", "batchnorm_1", "sequential_1", "dense_3"]
    assert list(params["sequential_1"]) == ["dense_1"] and list(state) == ["batchnorm_1"]
    assert not np.array_equal(params["dense_2"]["weights"][:3, :2], params["sequential_1"]["dense_1"]["weights"])


def test_summary_counts() -> None:
    network = Sequential(
        Flatten(), Dense(8), BatchNorm(), Residual(Sequential(Dense(8), Tanh())), Sequential(Dense(4), Maxout(2))
    )
    summary = network.summary((2, 3))
    assert [(line.name, line.out_shape, line.parameters) for line in summary.lines] == [
        ("flatten_1", (6,), 0),
        ("dense_1", (8,), 6 * 8 + 8),
        ("batchnorm_1", (8,), 16),
        ("residual_1", (8,), 8 * 8 + 8),
        ("sequential_1.dense_1", (4,), 8 * 4 + 4),
        ("sequential_1.maxout_1", (2,), 0),
    ]
    assert summary.parameters == sum(leaf.size for leaf in jax.tree.leaves(network.init(jax.random.key(0), (2, 3))[0]))
    assert summary.activations == 6 + 8 + 8 + 8 + 4 + 2
    assert "180 parameters, 720 bytes" in str(summary)
    with pytest.raises(InputError, match=r"\(layer maxout_1\)"):
        Sequential(Dense(3), Maxout(2)).summary((2,))


def test_an_empty_batch_has_an_empty_output() -> None:
    for layer in (Flatten(), Reshape((-1, 2)), Maxout(2), Softmax(), Dense(4), BatchNorm()):
        params, state = layer.init(jax.random.key(0), (3, 4))
        assert layer.apply(params, state, jnp.zeros((0, 3, 4)))[0].shape == (0, *layer.out_shape((3, 4)))
