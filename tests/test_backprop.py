"""Backpropagation: beside jax.grad, beside the book's formulas in NumPy, and what is found in networks."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from heldout import backprop
from heldout.errors import InputError
from heldout.neural.backprop import Backpropagation
from heldout.neural.layers import (
    ELU,
    GELU,
    LSTM,
    RNN,
    BatchNorm,
    Dense,
    Dropout,
    Flatten,
    Identity,
    Layer,
    LayerNorm,
    LeakyReLU,
    Masking,
    Maxout,
    Parallel,
    ReLU,
    Reshape,
    Residual,
    Sequential,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
)
from heldout.neural.losses import loss_of

EVERYTHING = Sequential(
    Reshape((2, 3)),
    LayerNorm(),
    Dense(4),
    Flatten(),
    Sequential(Dense(8), BatchNorm(), ReLU(), Sequential(Dropout(0.3), Dense(8, use_bias=False), LeakyReLU())),
    Residual(Sequential(Dense(8), Tanh(), Dropout(0.2))),
    Parallel(Dense(3), Sequential(Dense(3), GELU()), join="product"),
    Residual(Sequential(Dense(4), ELU()), Dense(4)),
    Parallel(Sequential(Dense(2), SiLU()), Identity(), Sigmoid()),
    Parallel(Dense(6), Residual(Parallel(Dense(10), Dense(10), join="mean"), Identity()), join="concatenate"),
    Parallel(Dense(6), Dense(6), join="sum"),
    Maxout(2),
    Softmax(),
)


def made(
    network: Layer, in_shape: tuple[int, ...], double: bool = False, initialization: str = "he"
) -> tuple[Any, Any]:
    """Weights of He's or Xavier's variance, biases that are not 0, and a state, drawn by NumPy: nothing is compiled."""
    rng = np.random.default_rng(0)
    dtype = np.float64 if double else np.float32

    def draw(leaf: Any) -> Any:
        fans = leaf.shape[0] + (leaf.shape[-1] if initialization == "xavier" else 0)
        scale = 0.1 if leaf.ndim == 1 else np.sqrt(2.0 / fans)
        return (scale * rng.normal(size=leaf.shape)).astype(dtype)

    shapes, states = jax.eval_shape(lambda key: network.init(key, in_shape), jax.random.key(0))
    params = jax.tree_util.tree_map_with_path(lambda path, leaf: draw(leaf) + ("scale" in str(path)), shapes)
    return params, jax.tree.map(lambda leaf: np.full(leaf.shape, 0.75, dtype), states)


def rows(n: int, p: int, classes: int, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, p)), rng.integers(0, classes, n)


def scaled(params: Any, factor: float) -> Any:
    return {name: own | {"weights": own["weights"] * np.float32(factor)} for name, own in params.items()}


def chain(depth: int, width: int, activation: Layer, initialization: str = "he", classes: int = 3) -> Sequential:
    hidden = [part for _ in range(depth) for part in (Dense(width, initialization=initialization), activation)]
    return Sequential(*hidden, Dense(classes, initialization=initialization))


def codes(found: Backpropagation) -> list[tuple[str, str]]:
    return [(finding.code, finding.evidence["layer"]) for finding in found.findings]


@pytest.mark.parametrize(
    ("network", "train", "weighted"), [(EVERYTHING, True, True), (Sequential(*EVERYTHING.layers[:5]), False, False)]
)
def test_gradients_are_those_of_automatic_differentiation(network: Layer, train: bool, weighted: bool) -> None:
    params, state = made(network, (6,), double=True)
    X, y = rows(12, 6, 3)
    w = np.random.default_rng(1).random(12) if weighted else None
    key = jax.random.key(3) if train else None
    found = backprop(network, params, X, y, state=state, sample_weight=w, train=train, key=key)
    shares = np.ones(12) / 12 if w is None else w / w.sum()

    def mean_loss(params: Any, X: Any) -> Any:
        outputs, _ = network.apply(params, state, X, train=train, key=key)
        return (loss_of("cross_entropy")(outputs, jnp.asarray(y)) * shares).sum()

    with jax.enable_x64(True):
        loss, (gradients, by_x) = jax.jit(jax.value_and_grad(mean_loss, argnums=(0, 1)))(params, X)
    assert_allclose(found.loss, loss, rtol=1e-14)
    assert jax.tree.structure(found.gradients) == jax.tree.structure(params)
    largest = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(gradients))
    for own, automatic in zip(jax.tree.leaves(found.gradients), jax.tree.leaves(gradients), strict=True):
        assert own.dtype == np.float64
        assert_allclose(own, automatic, rtol=1e-12, atol=1e-13 * largest)
    assert_allclose(found.by_input, by_x, rtol=1e-12, atol=1e-13 * np.abs(by_x).max())
    count = 39 if network is EVERYTHING else 10  # by hand: Residual and Parallel stand after what is in them
    assert len(found.layers) == count
    assert found["sequential_1.sequential_1.dense_1"].gradients.keys() == {"weights"}


def test_by_hand_for_two_layers() -> None:
    """The book's four equations, a row as a column, and the table's norms."""
    network = Sequential(Dense(4), Sigmoid(), Dense(3))
    params, _ = made(network, (2,), double=True)
    X, y = rows(5, 2, 3)
    found = backprop(network, params, X, y)
    W1, b1 = params["dense_1"]["weights"].T, params["dense_1"]["bias"]  # the book's: a unit a row
    W2, b2 = params["dense_2"]["weights"].T, params["dense_2"]["bias"]
    sums = [np.zeros_like(W1), np.zeros_like(b1), np.zeros_like(W2), np.zeros_like(b2)]
    losses, deltas_1, deltas_2, hidden = [], [], [], []
    for x, k in zip(X, y, strict=True):
        z1 = W1 @ x + b1
        a1 = 1 / (1 + np.exp(-z1))
        z2 = W2 @ a1 + b2
        p = np.exp(z2) / np.exp(z2).sum()
        losses.append(-np.log(p[k]))
        delta_2 = (p - np.eye(3)[k]) / len(X)
        delta_1 = (W2.T @ delta_2) * a1 * (1 - a1)
        for total, part in zip(sums, (np.outer(delta_1, x), delta_1, np.outer(delta_2, a1), delta_2), strict=True):
            total += part
        deltas_1.append(delta_1)
        deltas_2.append(delta_2)
        hidden.append(a1)
    assert_allclose(found.loss, np.mean(losses), rtol=1e-13)
    assert_allclose(found["dense_1"].delta, deltas_1, rtol=1e-12)
    assert_allclose(found["dense_2"].delta, deltas_2, rtol=1e-12)
    assert_allclose(found["sigmoid_1"].output, hidden, rtol=1e-12)
    assert_allclose(found.gradients["dense_1"]["weights"], sums[0].T, rtol=1e-11)
    assert_allclose(found.gradients["dense_1"]["bias"], sums[1], rtol=1e-11)
    assert_allclose(found.gradients["dense_2"]["weights"], sums[2].T, rtol=1e-11)
    assert_allclose(found.gradients["dense_2"]["bias"], sums[3], rtol=1e-11)
    one = found["dense_1"]
    assert_allclose(one.output_rms, np.sqrt(np.mean(one.output**2)))
    assert_allclose(one.delta_norm, np.linalg.norm(deltas_1))
    assert_allclose(one.gradient_norm, np.sqrt((sums[0] ** 2).sum() + (sums[1] ** 2).sum()))
    assert_allclose(one.weight_norm, np.sqrt((W1**2).sum() + (b1**2).sum()))
    assert_allclose(one.ratio, one.gradient_norm / one.weight_norm)
    assert np.isnan(found["sigmoid_1"].ratio)


@pytest.mark.parametrize("loss", ["squared_error", "huber", "logistic", "kl_divergence", "absolute_error", "hinge"])
def test_every_loss(loss: str) -> None:
    network = Sequential(Dense(2))
    params, _ = made(network, (3,), double=True)
    X, y = rows(6, 3, 2)
    targets = y if loss == "hinge" else np.eye(2)[y]
    found = backprop(network, params, X, targets, loss=loss)
    with jax.enable_x64(True):
        outputs = X @ params["dense_1"]["weights"] + params["dense_1"]["bias"]
        delta = jax.grad(lambda z: loss_of(loss)(z, jnp.asarray(targets)).mean())(jnp.asarray(outputs))
    delta = np.asarray(delta)
    assert_allclose(found["dense_1"].delta, delta, rtol=1e-12, atol=1e-16)
    assert_allclose(found.gradients["dense_1"]["weights"], X.T @ delta, rtol=1e-12, atol=1e-16)


def test_names_of_single_layers_and_precision() -> None:
    X, y = rows(4, 3, 3)
    params, _ = made(Dense(3), (3,))
    found = backprop(Dense(3), params, X, y)
    assert [layer.name for layer in found.layers] == ["dense"]
    assert found.gradients.keys() == {"weights", "bias"}
    assert found.gradients["weights"].dtype == np.float32
    double = backprop(Dense(3), params, X, y, precision="double")
    assert double.gradients["weights"].dtype == np.float64
    assert_allclose(double.gradients["weights"], found.gradients["weights"], rtol=1e-4)
    block = Residual(Dense(3))
    assert [layer.name for layer in backprop(block, {"layer": params}, X, y).layers] == ["layer", "residual"]
    numbers = backprop(Dense(1), made(Dense(1), (3,))[0], X, X[:, 0], loss="squared_error")  # y (n,) for one output
    assert numbers["dense"].delta.shape == (4, 1)


def test_rows_twice_are_rows_of_weight_two() -> None:
    network = chain(2, 5, Tanh())
    params, _ = made(network, (4,), double=True)
    X, y = rows(6, 4, 3)
    w = np.array([2.0, 1.0, 1.0, 2.0, 1.0, 0.0])
    twice = np.repeat(np.arange(6), w.astype(int))
    weighted = backprop(network, params, X, y, sample_weight=w)
    repeated = backprop(network, params, X[twice], y[twice])
    for a, b in zip(jax.tree.leaves(weighted.gradients), jax.tree.leaves(repeated.gradients), strict=True):
        assert_allclose(a, b, rtol=1e-11, atol=1e-15)


def test_a_sane_network_gives_no_finding() -> None:
    """He and ReLU, Xavier and tanh, 10 layers, on standardised rows."""
    X, y = rows(64, 32, 3)
    X = ((X - X.mean(axis=0)) / X.std(axis=0)).astype(np.float32)
    for activation, initialization in ((ReLU(), "he"), (Tanh(), "xavier")):
        network = chain(9, 32, activation, initialization)
        draw = jax.jit(network.init, static_argnums=1)
        for seed in range(30):
            params, _ = draw(jax.random.key(seed), (32,))
            assert not backprop(network, params, X, y).findings


def test_vanishing_gradients_are_found() -> None:
    X, y = rows(40, 8, 3)
    network = chain(20, 16, Sigmoid())
    found = backprop(network, scaled(made(network, (8,), initialization="xavier")[0], 0.1), X, y)
    (finding,) = found.findings
    assert finding.code == "H401"
    assert finding.evidence["layers"] == [f"dense_{i}" for i in range(1, 20)]
    assert found["dense_19"].delta_norm < 1e-3 * found["dense_21"].delta_norm < found["dense_20"].delta_norm
    assert "ReLU with He's initialization instead of Sigmoid" in finding.message
    # one layer's weights alone are small: it is named, and those before it
    network = chain(5, 32, ReLU())
    params = made(network, (8,))[0]
    params["dense_4"]["weights"] *= np.float32(1e-5)
    (finding,) = backprop(network, params, X, y).findings
    assert (finding.evidence["layer"], finding.evidence["layers"]) == ("dense_4", ["dense_1", "dense_2", "dense_3"])
    assert_allclose(finding.evidence["gain"], 1e-5, rtol=1.0)


def test_exploding_gradients_are_found() -> None:
    X, y = rows(40, 8, 3)
    network = chain(10, 32, ReLU())
    found = backprop(network, scaled(made(network, (8,))[0], 3.0), X, y)
    assert [finding.code for finding in found.findings] == ["H402"]
    evidence = found.findings[0].evidence
    over = [f"dense_{i}" for i in range(1, 12) if found[f"dense_{i}"].delta_norm > 1e3 * found.layers[-1].delta_norm]
    assert evidence["layers"] == over
    assert over[0] == "dense_1"
    assert evidence["outputs"][-1] == "dense_11"
    params = made(network, (8,))[0]
    params["dense_7"]["weights"] *= np.float32(1e4)
    (finding,) = backprop(network, params, X, y).findings
    assert (finding.code, finding.evidence["layer"]) == ("H402", "dense_7")
    assert finding.evidence["outputs"] == ["dense_7", "dense_8", "dense_9", "dense_10", "dense_11"]
    with np.errstate(all="ignore"):
        params["dense_7"]["weights"] *= np.float32(1e38)
        (finding,) = backprop(network, params, X, y).findings
    assert (finding.code, finding.severity, finding.evidence["layer"]) == ("H402", "error", "dense_7")


def test_raw_columns_before_batch_norm_do_not_count_as_exploding() -> None:
    X, y = rows(40, 8, 3)
    network = Sequential(BatchNorm(), Dense(16), ReLU(), Dense(3))
    params, state = made(network, (8,))
    assert not backprop(network, params, 1e-5 * X, y, state=state, train=True).findings
    assert not backprop(network, params, 1e5 * X, y, state=state, train=True).findings


def test_dead_units_are_found() -> None:
    X, y = rows(64, 8, 3)
    network = chain(6, 32, ReLU())
    params = made(network, (8,))[0]
    params["dense_3"]["bias"][:] = -10.0
    found = backprop(network, params, X, y)
    assert codes(found) == [("H401", "relu_3"), ("H403", "relu_3")]
    dead = found.findings[1]
    assert (dead.severity, dead.evidence["dead"], dead.evidence["units"]) == ("error", 32, 32)
    assert "32 of 32 units of relu_3 (ReLU) are off for all 64 rows" in dead.message
    params["dense_4"]["bias"][:] = -1.0  # off for all rows too, as these are all the same by now: not named
    again = backprop(network, params, X, y)
    assert again["relu_4"].units.stuck == 32
    assert codes(again) == codes(found)
    params["dense_4"]["bias"][:] = params["dense_3"]["bias"][:] = 0.0
    params["dense_3"]["bias"][:20] = -10.0
    found = backprop(network, params, X, y)
    assert codes(found) == [("H403", "relu_3")]
    assert found.findings[0].severity == "warning"
    off = int((found["relu_3"].output == 0.0).all(axis=0).sum())
    assert found.findings[0].evidence["dead"] == off >= 20
    assert not backprop(network, params, X[:20], y[:20]).findings  # 20 rows say little of all


def test_saturated_units_are_found() -> None:
    X, y = rows(64, 8, 3)
    for activation in (Tanh(), Sigmoid()):
        network = chain(3, 16, activation)
        params = made(network, (8,), initialization="xavier")[0]
        params["dense_2"]["bias"][:4] = [9.0, -9.0, 9.0, -9.0]
        name = type(activation).__name__.lower()
        found = backprop(network, params, X, y)
        assert codes(found) == [("H404", f"{name}_2")]
        assert (found.findings[0].evidence["saturated"], found.findings[0].evidence["units"]) == (4, 16)
    network = chain(3, 64, Tanh())
    found = backprop(network, scaled(made(network, (8,), initialization="xavier")[0], 4.0), X, y)
    assert ("H404", "tanh_2") in codes(found)


def test_it_prints_and_plots() -> None:
    network = Sequential(Dense(4), ReLU(), Residual(Dense(4)), Dense(3))
    found = backprop(network, made(network, (2,))[0], *rows(5, 2, 3))
    lines = str(found).splitlines()
    assert lines[0].startswith("Backpropagation of 5 rows: mean loss ")
    body = [line.split()[0] for line in lines[4:-1]]
    assert body == ["dense_1", "relu_1", "residual_1.layer", "residual_1", "dense_2"]
    assert "<td>relu_1</td>" in found._repr_html_()
    assert repr(found["dense_1"]).startswith("LayerSignals(dense_1: output (5, 4)")
    chart = found.plot().to_dict()
    assert [point["layer"] for point in chart["data"]["values"]] == body
    assert chart["encoding"]["y"]["scale"]["type"] == "log"
    for finding in found.findings:
        assert str(finding) in str(found)


def test_what_does_not_fit_is_said() -> None:
    network = Sequential(Dense(4), BatchNorm(), Dropout(0.5), Dense(3))
    params, state = made(network, (2,))
    X, y = rows(5, 2, 3)

    def refused(words: str, *, X: Any = X, y: Any = y, params: Any = params, **more: Any) -> None:
        with pytest.raises(InputError, match=words):
            backprop(network, params, X, y, **({"state": state} | more))

    refused("state do not fit the network: .*batchnorm_1.mean", state=None)
    refused("params do not fit the network: .*batchnorm_1.scale", params={})
    refused("dense_1.weights \\(3, 4\\), and given is \\(2, 4\\)", X=np.ones((5, 3)))
    refused("give backprop a key", train=True)
    refused("class codes \\(n,\\) from 0 to 2", y=y + 1)
    refused("class codes", y=y + 0.5)
    refused("There are 5 rows", y=y[:4])
    refused("the outputs' shape", loss="squared_error")
    refused("not finite", X=X * np.inf)
    refused("rows of numbers", X=X[0])
    refused("sample_weight has shape", sample_weight=[1.0])
    refused("above 0 for at least one row", sample_weight=np.zeros(5))
    refused("There is no precision 'half'", precision="half")
    refused("There is no loss 'cross'", loss="cross")
    found = backprop(network, params, X, y, state=state)
    with pytest.raises(InputError, match="There is no layer 'dense_3'"):
        found["dense_3"]


def test_state_and_weights_stay_as_they_are() -> None:
    network = Sequential(Dense(4), BatchNorm(), Dense(3))
    params, state = made(network, (2,))
    before = jax.tree.map(np.copy, (params, state))
    backprop(network, params, *rows(5, 2, 3), state=state, train=True)
    jax.tree.map(assert_array_equal, before, (params, state))


@pytest.mark.parametrize(("scale", "code"), [(0.5, "H405"), (3.0, "H406"), (1.0, None)])
def test_gradients_through_time(scale: float, code: str | None) -> None:
    """Of h_t = h_{t-1} R, with R a rotation times a number, its powers are left; padding hands on all."""
    network = Sequential(Masking(), RNN(2, activation="relu"), Dense(1))
    turn = scale * np.eye(2)
    inner = {"weights": np.ones((1, 2)), "recurrent": turn, "bias": np.full(2, 1e-3)}
    params = {
        "rnn_1": {"layer_1": {"forward": inner}},
        "dense_1": {"weights": np.ones((2, 1)), "bias": np.zeros(1)},
    }
    X, y = np.ones((4, 21, 1)), np.arange(4.0)
    found = backprop(network, params, X, y, loss="squared_error")
    left = found["rnn_1"].through_time["layer_1.forward"]
    assert_allclose(left, scale ** np.arange(21.0), rtol=1e-12)
    through = [finding for finding in found.findings if finding.code in ("H405", "H406")]
    assert [finding.code for finding in through] == ([code] if code else [])
    if code:
        evidence = through[0].evidence
        assert evidence["layer"] == "rnn_1" and evidence["recursion"] == "layer_1.forward"
        assert evidence["steps"] == {"H405": 10, "H406": 7}[code] and f"after {evidence['steps']} of 20" in str(through)
    X[:, 11:] = np.nan
    left = backprop(network, params, X, y, loss="squared_error")["rnn_1"].through_time["layer_1.forward"]
    assert_allclose(left, scale ** np.maximum(np.arange(21.0) - 10, 0.0), rtol=1e-12)
    assert found.plot_through_time().to_dict()["mark"]["type"] == "line"


def test_memory_through_time() -> None:
    """An LSTM whose gates stand still hands the gradient by c on times f, in both directions and truncated too."""
    network = Sequential(LSTM(1, bidirectional=True, truncation=2), Dense(1))
    params, _ = made(network, (9, 1), double=True)
    for side in params["lstm_1"]["layer_1"].values():
        side["recurrent"] = np.zeros((1, 4))
        side["weights"] = np.zeros((1, 4))
        side["bias"] = np.array([0.0, 0.4, 1.0, 50.0])
    X, y = rows(5, 9, 2)
    found = backprop(network, params, X[:, :, None], y * 1.0, loss="squared_error")
    f = 1 / (1 + np.exp(-0.4))
    for left in found["lstm_1"].through_time.values():
        assert_allclose(left[2:] / left[1:-1], f, rtol=1e-6)  # in the first step back h counts as well
    with pytest.raises(InputError, match="no recurrent layer"):
        backprop(
            Dense(1), {"weights": np.ones((9, 1)), "bias": np.zeros(1)}, X, y, loss="squared_error"
        ).plot_through_time()
