"""The kernel for chains of dense layers, beside the same epochs by XLA."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from heldout.errors import WorkError
from heldout.neural.chain import epoch, kernel, links
from heldout.neural.chain.epoch import run_chain
from heldout.neural.chain.links import links_of, takes_over
from heldout.neural.estimators import MLPClassifier, MLPRegressor
from heldout.neural.layers import (
    BatchNorm,
    Dense,
    Dropout,
    Layer,
    LeakyReLU,
    ReLU,
    Sequential,
    Sigmoid,
    Tanh,
)
from heldout.neural.losses import CrossEntropy, Hinge, Logistic, Loss, SquaredError
from heldout.neural.optimizers import Optimizer
from heldout.neural.program import Carried, Outcome, Recipe, Rows, Scaling, order_of, run_epoch
from heldout.neural.train import fresh

SEED, NUMBER = np.uint32(5), np.int32(2)
CASES: dict[str, tuple[Layer, Loss, str, Optimizer, int, tuple[float, float]]] = {
    "two hidden layers, Adam": (
        Sequential(Dense(50), ReLU(), Dense(20), ReLU(), Dense(7)),
        CrossEntropy(0.1),
        "accuracy",
        Optimizer(),
        64,
        (0.0, 0.0),
    ),
    "AdamW and penalties": (
        Sequential(Dense(33), ReLU(), Dense(20), Tanh(), Dense(4)),
        CrossEntropy(),
        "accuracy",
        Optimizer("adamw", weight_decay=0.1),
        30,
        (1e-3, 1e-2),
    ),
    "squares, Nesterov": (
        Sequential(Dense(50), Sigmoid(), Dense(33), LeakyReLU(0.1), Dense(3)),
        SquaredError(),
        "squared_error",
        Optimizer("nesterov"),
        100,
        (0.0, 0.0),
    ),
    "several labels, RMSProp": (
        Sequential(Dense(20), Dense(13), LeakyReLU(0.1), Dense(3)),
        Logistic(),
        "label_accuracy",
        Optimizer("rmsprop", epsilon=1e-2),
        32,
        (0.0, 1e-2),
    ),
    "one layer, momentum": (
        Sequential(Dense(1)),
        Logistic(),
        "accuracy",
        Optimizer("momentum", weight_decay=0.01),
        32,
        (0.0, 0.0),
    ),
    "plain descent": (
        Sequential(Dense(40), ReLU(), Dense(1)),
        SquaredError(),
        "squared_error",
        Optimizer("sgd"),
        9,
        (0.0, 0.0),
    ),
}


def rows_for(network: Layer, loss: Loss, n: int = 300, p: int = 37) -> tuple[Rows, Carried]:
    rng = np.random.default_rng(0)
    (m,) = network.out_shape((p,))
    x, w = rng.normal(size=(n, p)).astype(np.float32), rng.uniform(0.5, 1.5, n).astype(np.float32)
    y = rng.integers(0, m, n).astype(np.int32) if loss.targets == "codes" else rng.integers(0, 2, (n, m))
    y = y if loss.targets == "codes" else y.astype(np.float32)
    return jax.device_put(Rows(x, y, w)), fresh(network, (p,), Optimizer(), 1)


def both(case: str, steps: int = 12) -> tuple[Outcome, Outcome]:
    network, loss, metric, optimizer, size, penalties = CASES[case]
    rows, start = rows_for(network, loss)
    start = fresh(network, (37,), optimizer, 1)
    recipe = Recipe(network, loss, metric, optimizer, size, any(penalties))
    rates, n = np.geomspace(1e-2, 1e-3, steps), len(rows.w)
    asked = np.asarray(penalties, np.float32)
    count = np.int32(steps)
    drawn = np.int32(n), order_of(SEED, NUMBER, np.int32(n), n)
    by_xla = run_epoch(recipe, start, rows, *drawn, None, rates.astype(np.float32), asked, count, SEED, NUMBER)
    return by_xla, run_chain(recipe, start, rows, n, None, rates, asked, SEED, NUMBER)


def assert_close(one: Any, other: Any, tolerance: float = 1e-4) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(map(np.asarray, jax.tree.leaves(one)), map(np.asarray, jax.tree.leaves(other)), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(b, a, rtol=0, atol=tolerance * max(np.abs(a).max(), 1e-3))


@pytest.mark.parametrize("case", CASES)
def test_the_same_steps_as_by_xla(case: str) -> None:
    by_xla, ours = both(case)
    assert_close(by_xla.carried, ours.carried)
    assert int(ours.steps) == int(by_xla.steps)
    np.testing.assert_allclose(ours.losses, by_xla.losses, rtol=1e-5)
    np.testing.assert_allclose(np.array(ours.sums), np.array(by_xla.sums), rtol=1e-5)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    network = Sequential(Dense(130), ReLU(), Dropout(0.3), Dense(40), Tanh(), Dropout(0.1), Dense(3))
    rows, start = rows_for(network, CrossEntropy())
    recipe = Recipe(network, CrossEntropy(), "accuracy", Optimizer(), 50, False)
    found = []
    for number in (2, threads):
        monkeypatch.setattr(epoch, "allowed_threads", lambda number=number: number)
        found.append(run_chain(recipe, start, rows, 300, None, np.full(9, 0.01), np.zeros(2), SEED, NUMBER))
    for a, b in zip(*(jax.tree.leaves((each.carried, each.sums, each.losses)) for each in found), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_dropout_has_the_mean_and_the_gradient_of_the_layers() -> None:
    # Steps of almost no length add up to the mean gradient, over the same mini-batches but other draws.
    network = Sequential(Dense(64), Tanh(), Dropout(0.4), Dense(40), LeakyReLU(0.2), Dropout(0.2), Dense(2))
    rows, start = rows_for(network, SquaredError(), n=64)
    start = Carried(start.params, start.state, Optimizer("sgd").transformation().init(start.params))
    recipe = Recipe(network, SquaredError(), "squared_error", Optimizer("sgd"), 32, False)
    rates, none = np.full(3000, 1e-7), np.zeros(2, np.float32)
    drawn = np.int32(64), order_of(SEED, NUMBER, np.int32(64), 64)
    by_xla = run_epoch(recipe, start, rows, *drawn, None, rates.astype(np.float32), none, np.int32(3000), SEED, NUMBER)
    ours = run_chain(recipe, start, rows, 64, None, rates, none, SEED, NUMBER)
    assert float(ours.sums.loss) == pytest.approx(float(by_xla.sums.loss), rel=0.01)
    for name in ("dense_1", "dense_2", "dense_3"):
        a, b = (
            np.ravel(np.asarray(each.carried.params[name]["weights"]) - np.asarray(start.params[name]["weights"]))
            for each in (by_xla, ours)
        )
        assert a @ b / np.sqrt((a @ a) * (b @ b)) > 0.99
        assert np.linalg.norm(b) == pytest.approx(np.linalg.norm(a), rel=0.03)


def test_bytes_are_read_through_the_scale() -> None:
    network = Sequential(Dense(20), ReLU(), Dense(3))
    rows, start = rows_for(network, CrossEntropy())
    x = np.random.default_rng(3).integers(0, 256, rows.x.shape).astype(np.uint8)
    shift, factor = np.linspace(100.0, 140.0, 37, dtype=np.float32), np.full(37, 0.02, np.float32)
    recipe = Recipe(network, CrossEntropy(), "accuracy", Optimizer(), 64, False)
    given = (np.full(8, 0.01), np.zeros(2), SEED, NUMBER)
    scaled = Rows(jax.device_put((x.astype(np.float32) - shift) * factor), rows.y, rows.w)
    coded = Rows(jax.device_put(x), rows.y, rows.w)
    one = run_chain(recipe, start, scaled, 300, None, *given)
    other = run_chain(recipe, start, coded, 300, Scaling(shift, factor), *given)
    assert_close(one.carried, other.carried, 1e-6)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The kernel takes over whatever it can; how many steps it was asked for, epoch by epoch."""
    asked: list[int] = []
    take_part = kernel.take_part

    def counted(part: int, *others: Any) -> None:
        if part == 0:
            asked.append(len(others[9]))
        take_part(part, *others)

    monkeypatch.setattr(links, "LEAST_WORK", 0)
    monkeypatch.setattr(kernel, "take_part", counted)
    return asked


def table(n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 6)).astype(np.float32)
    return X, np.digitize(X[:, 0] - X[:, 1] + 0.3 * rng.normal(size=n), [-0.5, 0.5])


def test_estimators_learn_by_it(always: list[int]) -> None:
    X, y = table()
    model = MLPClassifier(hidden_layer_sizes=(20,), batch_size=32, max_iter=30, learning_rate_init=0.01).fit(X, y)
    assert model.score(X, y) > 0.85
    assert set(always) == {8}
    number = MLPRegressor(hidden_layer_sizes=(20,), batch_size=32, max_iter=60, learning_rate_init=0.01).fit(
        X, X[:, 0] - X[:, 1]
    )
    assert number.score(X, X[:, 0] - X[:, 1]) > 0.95


def test_resumed_is_uninterrupted(always: list[int], tmp_path: Path) -> None:
    X, y = table()
    given: dict[str, Any] = {"hidden_layer_sizes": (20,), "batch_size": 32, "dropout": 0.2, "tol": 0.0}
    whole = MLPClassifier(max_iter=5, **given).fit(X, y)
    path = tmp_path / "part.heldout"

    class Stops:
        def on_epoch_end(self, epoch: Any) -> bool:
            return bool(epoch.epoch == 3)

    MLPClassifier(max_iter=5, checkpoint=path, **given).fit(X, y, callbacks=[Stops()])
    resumed = MLPClassifier(max_iter=5, **given).fit(X, y, resume=path)
    for a, b in zip(jax.tree.leaves(whole.params_), jax.tree.leaves(resumed.params_), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(always) == 10


def test_a_loss_that_is_no_number_ends_it(always: list[int]) -> None:
    X, y = table()
    with pytest.raises(WorkError, match=r"at step 2 .*layer dense_2.*learning rate of 1e\+30"):
        MLPClassifier(hidden_layer_sizes=(20,), batch_size=32, learning_rate_init=1e30, solver="sgd", momentum=0.0).fit(
            X, y
        )


def test_an_interruption_leaves_nobody_waiting(always: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(working: Any) -> None:
        raise KeyboardInterrupt

    X, y = table()
    before = threading.active_count()
    monkeypatch.setattr(epoch, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        MLPClassifier(hidden_layer_sizes=(20,), batch_size=32, max_iter=1, early_stopping=False).fit(X, y)
    assert threading.active_count() == before


def test_threads_that_cannot_be_started_leave_nobody_waiting(
    always: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    class OneThread(ThreadPoolExecutor):
        def submit(self, work: Any, part: int, *others: Any) -> Any:
            if part == 1:
                raise RuntimeError("can't start new thread")
            return super().submit(work, part, *others)

    monkeypatch.setattr(epoch, "allowed_threads", lambda: 2)
    monkeypatch.setattr(epoch, "ThreadPoolExecutor", OneThread)
    X, y = table()
    with pytest.raises(RuntimeError, match="start new thread"):
        MLPClassifier(hidden_layer_sizes=(70,), batch_size=32, max_iter=1, early_stopping=False).fit(X, y)


def test_an_interruption_in_the_midst_keeps_the_best(always: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(working: Any) -> None:
        if len(always) > 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(epoch, "wait", interrupted)
    X, y = table()
    with pytest.warns(ConvergenceWarning, match="interrupted after 2 epochs"):
        MLPClassifier(hidden_layer_sizes=(20,), batch_size=32, max_iter=9).fit(X, y)


def test_what_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    assert links_of(Sequential(Dense(3), ReLU(), Dropout(0.1), Dense(2))) is not None
    for network in (
        Dense(2),
        Sequential(ReLU(), Dense(2)),
        Sequential(Dense(3), BatchNorm(), Dense(2)),
        Sequential(Dense(3), Dropout(0.1), ReLU(), Dense(2)),
        Sequential(Dense(3), ReLU(), Tanh(), Dense(2)),
        Sequential(Dense(3, use_bias=False), Dense(2)),
        Sequential(Dense(3), ReLU()),
    ):
        assert links_of(network) is None
    network = Sequential(Dense(20), ReLU(), Dense(3))
    rows, start = rows_for(network, CrossEntropy())
    recipe = Recipe(network, CrossEntropy(), "accuracy", Optimizer(), 64, False)
    assert not takes_over(recipe, start.params, rows)  # little work
    monkeypatch.setattr(links, "LEAST_WORK", 0)
    assert takes_over(recipe, start.params, rows)
    for other in (
        Recipe(network, CrossEntropy(), "accuracy", Optimizer(clip_norm=1.0), 64, False),
        Recipe(network, CrossEntropy(), "accuracy", Optimizer(), None, False),
        Recipe(network, Hinge(), "accuracy", Optimizer(), 64, False),
        Recipe(network, CrossEntropy(), "squared_error", Optimizer(), 64, False),
        Recipe(network, CrossEntropy(), "accuracy", Optimizer(), 64, False, mixup=0.2),
    ):
        assert not takes_over(other, start.params, rows)
    with jax.enable_x64(True):
        assert not takes_over(
            recipe, start.params, jax.device_put(Rows(*(np.asarray(part, np.float64) for part in rows)))
        )
