"""Recurrent layers beside PyTorch with padding, and beside automatic differentiation; what masks do to networks."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import heldout
from gradients import computed, error
from heldout import persist
from heldout.errors import InputError
from heldout.neural import recursion
from heldout.neural.gradients import check_gradients
from heldout.neural.layers import (
    GRU,
    LSTM,
    RNN,
    Conv1D,
    Dense,
    Flatten,
    GlobalAveragePool,
    GlobalMaxPool,
    LayerNorm,
    Masking,
    Parallel,
    Residual,
    Sequential,
    Tanh,
    recurrence,
)
from heldout.neural.layers.recurrent import Recurrent
from heldout.neural.layers.stored import from_json, to_json

STEPS, CHANNELS, LENGTHS = 6, 3, (6, 1, 4)
KINDS: list[Recurrent] = [
    RNN(4),
    RNN(2, layers=2, return_sequences=True, activation="relu"),
    RNN(3, bidirectional=True),
    LSTM(4),
    LSTM(3, layers=2, bidirectional=True, return_sequences=True),
    LSTM(2, bidirectional=True),
    GRU(4, return_sequences=True),
    GRU(3, layers=3, bidirectional=True),
]
CASES = [(layer, ragged) for layer in KINDS for ragged in (False, True)]


def made(layer: Any, dtype: Any = np.float32) -> tuple[Any, Any, Any]:
    """Random weights, a batch, and a gradient from above."""
    rng = np.random.default_rng(layer.units)
    forms = jax.eval_shape(lambda key: layer.init(key, (STEPS, CHANNELS))[0], jax.random.key(0))
    params = jax.tree.map(lambda form: rng.normal(scale=0.7, size=form.shape).astype(dtype), forms)
    shapes = (STEPS, CHANNELS), layer.out_shape((STEPS, CHANNELS))
    return params, *(rng.normal(size=(len(LENGTHS), *shape)).astype(dtype) for shape in shapes)


def mask_of(ragged: bool) -> Any:
    return jnp.arange(STEPS) < jnp.array(LENGTHS)[:, None] if ragged else None


def ours(cases: list[Any], given: list[Any], apply: Any) -> list[Any]:
    """Outputs and gradients by weights and input, of all cases in one program."""

    def everything(given: list[Any]) -> list[Any]:
        results = []
        for (layer, ragged), (params, x, upstream) in zip(cases, given, strict=True):
            y, pull = jax.vjp(functools.partial(apply, layer, mask_of(ragged)), params, x)
            results.append((y, pull(upstream)))
        return results

    return computed(everything, given)


def masked(layer: Any, mask: Any, params: Any, x: Any) -> Any:
    return layer.apply_masked(params, {}, x, mask)[0]


def beside_torch(torch: Any, layer: Recurrent, params: Any, x: Any, ragged: bool) -> tuple[Any, Any]:
    """The same layer of PyTorch with the same weights: its output, and itself."""
    kind = {"RNN": torch.nn.RNN, "LSTM": torch.nn.LSTM, "GRU": torch.nn.GRU}[type(layer).__name__]
    more = {"nonlinearity": layer.activation} if isinstance(layer, RNN) else {}
    module = kind(CHANNELS, layer.units, layer.layers, batch_first=True, bidirectional=layer.bidirectional, **more)
    with torch.no_grad():
        for name, weights in to_torch(layer, params).items():
            getattr(module, name).copy_(torch.tensor(weights))
    if ragged:
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, list(LENGTHS), batch_first=True, enforce_sorted=False)
        states, last = module(packed)
        states, _ = torch.nn.utils.rnn.pad_packed_sequence(states, batch_first=True)
    else:
        states, last = module(x)
    last = last[0] if isinstance(last, tuple) else last
    top = last[-2:] if layer.bidirectional else last[-1:]
    return (states if layer.return_sequences else torch.cat(list(top), dim=-1)), module


def to_torch(layer: Recurrent, params: Any) -> dict[str, Any]:
    """Weights by PyTorch's names; of its two biases the second is 0, but for the GRU's new state."""
    found = {}
    for number in range(layer.layers):
        for side, own in params[f"layer_{number + 1}"].items():
            end = f"l{number}{'_reverse' if side == 'backward' else ''}"
            found[f"weight_ih_{end}"] = own["weights"].T
            found[f"weight_hh_{end}"] = own["recurrent"].T
            found[f"bias_ih_{end}"] = own["bias"]
            second = np.zeros_like(own["bias"])
            if "recurrent_bias" in own:
                second[-layer.units :] = own["recurrent_bias"]
            found[f"bias_hh_{end}"] = second
    return found


def test_beside_pytorch() -> None:
    torch = pytest.importorskip("torch")
    given = [made(layer) for layer, _ in CASES]
    for (layer, ragged), (params, x, upstream), (y, gradients) in zip(
        CASES, given, ours(CASES, given, masked), strict=True
    ):
        rows = torch.tensor(x, requires_grad=True)
        expected, module = beside_torch(torch, layer, params, rows, ragged)
        expected.backward(torch.tensor(upstream))
        assert y.dtype == np.float32
        assert error(y, expected.detach().numpy()) <= 1e-5, (layer, ragged)
        theirs = {name: value.grad.numpy() for name, value in module.named_parameters()}
        pulled = to_torch(layer, gradients[0])
        for name in [name for name in pulled if "bias_hh" in name]:
            if isinstance(layer, GRU):  # of the new state alone
                pulled[name], theirs[name] = pulled[name][-layer.units :], theirs[name][-layer.units :]
            else:
                del pulled[name], theirs[name]
        both = (pulled, gradients[1]), (theirs, rows.grad.numpy())
        assert error(*both, share=1.0) <= 1e-5, (layer, ragged)


def plainly(layer: Any, mask: Any, params: Any, x: Any) -> Any:
    """The formulas step by step, with no rule of differentiation of our own."""
    there = jnp.ones(x.shape[:2], bool) if mask is None else mask
    for number in range(layer.layers):
        own = params[f"layer_{number + 1}"]
        sides = [plain_states(layer, own["forward"], x, there)]
        if layer.bidirectional:
            sides += [plain_states(layer, own["backward"], x[:, ::-1], there[:, ::-1])[:, ::-1]]
        x = jnp.concatenate(sides, axis=-1)
    if layer.return_sequences:
        return x * there[..., None]
    return jnp.concatenate([sides[0][:, -1], *(side[:, 0] for side in sides[1:])], axis=-1)


def plain_states(layer: Any, p: Any, x: Any, mask: Any) -> Any:
    gates = p["bias"].size // layer.units

    def step(before: Any, at: Any) -> Any:
        count, now, there = at
        stopped = jax.lax.stop_gradient(before)
        if layer.truncation:
            before = jax.tree.map(lambda a, b: jnp.where(count % layer.truncation, a, b), before, stopped)
        h, c = before
        a = jnp.split(now @ p["weights"] + p["bias"], gates, axis=-1)
        b = jnp.split(h @ p["recurrent"], gates, axis=-1)
        if isinstance(layer, RNN):
            h = jnp.tanh(a[0] + b[0]) if layer.activation == "tanh" else jnp.maximum(a[0] + b[0], 0.0)
        elif isinstance(layer, LSTM):
            i, f, o = (1 / (1 + jnp.exp(-a[k] - b[k])) for k in (0, 1, 3))
            c = f * c + i * jnp.tanh(a[2] + b[2])
            h = o * jnp.tanh(c)
        else:
            r, z = (1 / (1 + jnp.exp(-a[k] - b[k])) for k in (0, 1))
            h = (1 - z) * jnp.tanh(a[2] + r * (b[2] + p["recurrent_bias"])) + z * h
        after = jax.tree.map(lambda new, old: jnp.where(there[:, None], new, old), (h, c), before)
        return after, after[0]

    zeros = jnp.zeros((len(x), layer.units))
    steps = jnp.arange(x.shape[1]), x.swapaxes(0, 1), mask.T
    return jax.lax.scan(step, (zeros, zeros), steps)[1].swapaxes(0, 1)


def test_beside_automatic_differentiation() -> None:
    cases: list[tuple[Recurrent, bool]] = [
        (RNN(3, bidirectional=True, return_sequences=True), True),
        (RNN(3, activation="relu", truncation=2), False),
        (LSTM(3, layers=2, bidirectional=True, truncation=4), True),
        (LSTM(3), False),
        (GRU(3, bidirectional=True, truncation=1, return_sequences=True), True),
        (GRU(3), True),
    ]
    given = [made(layer, np.float64) for layer, _ in cases]
    with jax.enable_x64(True):
        found, expected = ours(cases, given, masked), ours(cases, given, plainly)
    for case, one, other in zip(cases, found, expected, strict=True):
        assert one[0].dtype == np.float64
        assert error(one, other) <= 1e-12, case


@pytest.mark.parametrize("layer", [RNN(128), LSTM(48, bidirectional=True), GRU(64, return_sequences=True)])
def test_large_recursions_on_the_cpu_go_through_the_kernel(layer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = 120
    params, _ = layer.init(jax.random.key(0), (steps, CHANNELS))
    rng = np.random.default_rng(0)
    x, upstream = (
        rng.normal(size=(3, *shape)).astype(np.float32) for shape in ((steps, 3), layer.out_shape((steps, 3)))
    )
    mask = np.arange(steps) < np.array([steps, 3, 70])[:, None]

    def run(params: Any, x: Any) -> Any:
        y, pull = jax.vjp(functools.partial(masked, layer, mask), params, x)
        return y, pull(upstream)

    programs = []
    results = []
    for least in (recurrence.LEAST_PRODUCTS, 2**40):
        monkeypatch.setattr(recurrence, "LEAST_PRODUCTS", least)
        lowered = jax.jit(functools.partial(run)).lower(params, x)
        programs.append("heldout_recur_back" in lowered.as_text())
        results.append(lowered.compile()(params, x))
    assert programs == [jax.default_backend() == "cpu", False]
    assert error(*results) <= 1e-5


@pytest.fixture(scope="module")
def ragged() -> tuple[Any, Any, Any, Any]:
    """A network, its weights, rows with padding of NaN, and a gradient from above."""
    last = Parallel(GRU(3), GlobalMaxPool(), GlobalAveragePool())
    between = Residual(Sequential(LayerNorm(), Dense(4), Tanh()))
    network = Sequential(Masking(), LSTM(2, bidirectional=True, return_sequences=True), between, last, Dense(2))
    params, _ = network.init(jax.random.key(0), (STEPS, CHANNELS))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, STEPS, CHANNELS)).astype(np.float32)
    x[np.arange(STEPS) >= np.array(LENGTHS)[:, None]] = np.nan
    return network, params, x, rng.normal(size=(3, 2)).astype(np.float32)


def test_padding_changes_nothing(ragged: Any) -> None:
    network, params, x, upstream = ragged
    apply = jax.jit(lambda p, x: network.apply(p, {}, x)[0])
    pull = jax.jit(lambda p, x, d: jax.vjp(lambda p: network.apply(p, {}, x)[0], p)[1](d)[0])
    whole, gradients = apply(params, x), pull(params, x, upstream)
    longer = np.concatenate([x, np.full((3, 2, CHANNELS), np.nan, np.float32)], axis=1)
    earlier = np.concatenate([x[:1], np.roll(x[1:2], 3, axis=1), np.roll(x[2:], 2, axis=1)])
    apart = x.copy()
    apart[2, 2:] = np.stack([apart[2, 5], apart[2, 2], apart[2, 4], apart[2, 3]])  # padding within the sequence
    for other in (longer, earlier, apart):
        assert_allclose(apply(params, other), whole, atol=1e-6)
        assert error(pull(params, other, upstream), gradients) <= 1e-6
    for row, length in enumerate(LENGTHS):
        assert_allclose(apply(params, x[row : row + 1, :length])[0], whole[row], atol=1e-6)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_padding_may_hold_any_numbers() -> None:
    given = made(LSTM(3, layers=2, bidirectional=True, return_sequences=True))
    apply = jax.jit(functools.partial(masked, LSTM(3, layers=2, bidirectional=True, return_sequences=True)))
    mask = mask_of(True)
    other = np.where(mask[..., None], given[1], 1e6).astype(np.float32)
    first, second = apply(mask, *given[:2]), apply(mask, given[0], other)
    assert_array_equal(first, second)
    assert not np.asarray(first)[~np.asarray(mask)].any()


def test_the_passes_layer_by_layer_know_of_padding(ragged: Any) -> None:
    network, params, x, upstream = ragged

    def both(params: Any, x: Any, upstream: Any) -> Any:
        node = recursion.forward(network, params, {}, x)
        y, pull = jax.vjp(lambda p: network.apply(p, {}, x)[0], params)
        return (y, pull(upstream)[0]), (node.y, recursion.backward(node, upstream)[0])

    expected, found = computed(both, params, x, upstream)
    assert error(found, expected) <= 1e-5


def test_rows_without_a_step() -> None:
    x = np.full((1, 3, 2), np.nan, np.float32)
    network = Sequential(Masking(), Parallel(LSTM(2), GlobalAveragePool(), GlobalMaxPool()))
    params, _ = network.init(jax.random.key(0), (3, 2))
    assert_array_equal(network.apply(params, {}, x)[0], np.zeros((1, 6)))


@pytest.mark.parametrize("layer", [Conv1D(2, 2), Flatten()])
def test_layers_that_would_take_padding_for_steps_say_so(layer: Any) -> None:
    network = Sequential(Masking(), layer)
    params, state = network.init(jax.random.key(0), (3, 2))
    with pytest.raises(InputError, match=f"{type(layer).__name__} takes padding for steps"):
        network.apply(params, state, jnp.ones((1, 3, 2)))


@pytest.mark.parametrize("variational", [True, False])
def test_dropout_between_layers(variational: bool) -> None:
    layer = RNN(200, layers=2, dropout=0.5, variational=variational, return_sequences=True)
    params, _ = layer.init(jax.random.key(0), (3, 1))
    below, above = (params[f"layer_{i}"]["forward"] for i in (1, 2))
    below |= {"recurrent": below["recurrent"] * 0, "bias": below["bias"] + 0.5, "weights": below["weights"] * 0}
    above |= {"weights": jnp.eye(200) * 0.1, "recurrent": above["recurrent"] * 0}
    x = jnp.zeros((2, 3, 1))
    y = np.arctanh(np.asarray(layer.apply(params, {}, x, train=True, key=jax.random.key(1))[0])) / 0.1
    assert_allclose(np.unique(np.round(y, 3)), [0.0, np.round(2 * np.tanh(0.5), 3)])
    assert abs((y == 0).mean() - 0.5) < 0.1
    same = (y == y[:, :1]).mean()
    assert same == 1.0 if variational else 0.5 < same < 0.8  # 1/3 + 2/3 · 1/2
    assert ((y[0] == 0) != (y[1] == 0)).mean() > 0.4
    assert_allclose(layer.apply(params, {}, x)[0], np.tanh(0.1 * np.tanh(0.5)) * np.ones((2, 3, 200)), rtol=1e-5)
    assert layer.random and not RNN(2, dropout=0.5).random
    with pytest.raises(InputError, match="give apply a key"):
        layer.apply(params, {}, x, train=True)


def test_weights_begin_as_they_should() -> None:
    params, _ = LSTM(5, layers=2, bidirectional=True).init(jax.random.key(0), (4, 3))
    assert list(params) == ["layer_1", "layer_2"] and list(params["layer_2"]) == ["forward", "backward"]
    assert params["layer_2"]["forward"]["weights"].shape == (10, 20)
    for own in (side for layer in params.values() for side in layer.values()):
        assert_array_equal(own["bias"].reshape(4, 5), np.eye(4)[1][:, None] * np.ones(5))
        for matrix in np.split(np.asarray(own["recurrent"]), 4, axis=1):
            assert_allclose(matrix @ matrix.T, np.eye(5), atol=1e-5)
        assert np.abs(own["weights"]).max() <= np.sqrt(6 / (len(own["weights"]) + 5))
    leaves = jax.tree.leaves(params)
    gates = [gate for leaf in leaves if leaf.ndim == 2 for gate in np.split(np.asarray(leaf), 4, axis=1)]
    assert len({gate.tobytes() for gate in gates}) == 32


def test_gradients_of_a_network_and_json() -> None:
    check_gradients(Sequential(Masking(), GRU(2), Dense(1)), (3, 2)).raise_if_wrong()
    network = Sequential(Masking(), LSTM(2, truncation=3), Dense(2))
    for layer in (network, *KINDS):
        assert from_json(to_json(layer)) == layer


def test_learners_take_sequences_of_several_lengths() -> None:
    """Scales, fit and predictions know of padding; a model's file gives the same; what is no padding is refused."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 9, 240)
    X = rng.normal(5.0, 3.0, size=(240, 8, 2))
    y = np.array([row[:length, 0].mean() > 5.0 for row, length in zip(X, lengths, strict=True)])
    X[np.arange(8) >= lengths[:, None]] = np.nan
    model = heldout.NeuralClassifier(Sequential(Masking(), GRU(6), Dense()), max_iter=15, learning_rate_init=0.03)
    model.fit(X, y, validation=(X, y))
    assert_allclose(model.input_mean_, np.broadcast_to(np.nanmean(X, axis=(0, 1)), (8, 2)))
    assert_allclose(model.input_scale_, np.broadcast_to(np.nanstd(X, axis=(0, 1)), (8, 2)))
    assert model.score(X, y) > 0.85 and model.__sklearn_tags__().input_tags.allow_nan
    assert_array_equal(persist.loads(persist.dumps(model)).predict_proba(X), model.predict_proba(X))
    earlier = X[:1].copy()
    earlier[0, -lengths[0] :], earlier[0, : -lengths[0]] = X[0, : lengths[0]], np.nan
    assert_allclose(model.predict_proba(earlier), model.predict_proba(X[:1]))
    model.set_params(early_stopping=True, max_iter=1).fit(X, y)  # rows with padding are held out by their contents
    assert model.history_.judged
    X[7, 1, 0] = np.nan
    with pytest.raises(InputError, match="Row 7 has only some of its numbers at step 1"):
        model.predict(X)
    with pytest.raises(ValueError, match="contains NaN"):
        heldout.NeuralClassifier(Sequential(GRU(2), Dense())).fit(X, y)
