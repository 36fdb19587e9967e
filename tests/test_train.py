"""Training: the same twice, resumed, interrupted, streamed, stopped, broken off."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from heldout.errors import InputError, ModelFileError, WorkError
from heldout.neural.estimators import MLPClassifier, MLPRegressor, NeuralClassifier
from heldout.neural.history import Epoch
from heldout.neural.layers import BatchNorm, Dense, Dropout, ReLU, Sequential
from heldout.neural.program import Rows, batch_of, order_of
from heldout.neural.schedules import Plateau
from heldout.neural.source import Source, filled

NETWORK = Sequential(Dense(8), BatchNorm(), ReLU(), Dropout(0.2), Dense())


def table(n: int = 300, p: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    return X, np.digitize(X @ np.arange(1.0, p + 1) + rng.normal(size=n), [-2.0, 2.0])


def learner(**parameters: Any) -> NeuralClassifier:
    given = {"max_iter": 6, "n_iter_no_change": 6, "batch_size": 32, "learning_rate_init": 0.01} | parameters
    return NeuralClassifier(NETWORK, **given)


def leaves(model: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves((model.params_, model.state_, model._last))]


def assert_same(one: Any, other: Any) -> None:
    for a, b in zip(leaves(one), leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


class Raises:
    """Ctrl-C at the end of an epoch."""

    def __init__(self, at: int) -> None:
        self.at = at

    def on_epoch_end(self, epoch: Epoch) -> None:
        if epoch.epoch == self.at:
            raise KeyboardInterrupt


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    X, y = table()
    one, two, other = (learner(seed=seed).fit(X, y) for seed in (3, 3, 4))
    assert_same(one, two)
    assert not np.array_equal(one.params_["dense_1"]["weights"], other.params_["dense_1"]["weights"])


@pytest.mark.parametrize("learning_rate", ["cosine", Plateau(patience=1)], ids=["cosine", "plateau"])
def test_a_resumed_training_is_the_uninterrupted_one(tmp_path: Path, learning_rate: Any) -> None:
    X, y = table()
    whole = learner(learning_rate=learning_rate).fit(X, y)
    path = tmp_path / "half.heldout"
    with pytest.warns(ConvergenceWarning, match="interrupted after 4 epochs"):
        learner(learning_rate=learning_rate, checkpoint=path).fit(X, y, callbacks=[Raises(4)])
    resumed = learner(learning_rate=learning_rate).fit(X, y, resume=path)
    assert_same(whole, resumed)
    assert len(resumed.history_) == 6
    np.testing.assert_array_equal(whole.history_.validation_loss, resumed.history_.validation_loss)
    np.testing.assert_array_equal(whole.history_.learning_rate, resumed.history_.learning_rate)
    assert whole.history_.best == resumed.history_.best


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    X, y = table()
    path = tmp_path / "some.heldout"
    learner(checkpoint=path, max_iter=2).fit(X, y)
    learner(max_iter=3).fit(X, y, resume=path)  # more epochs may be asked for
    for other in (
        lambda: learner(seed=1).fit(X, y, resume=path),
        lambda: learner(learning_rate_init=0.02).fit(X, y, resume=path),
        lambda: learner().fit(X + 1e-9, y, resume=path),
        lambda: learner().fit(X, y, resume=path, sample_weight=np.arange(1.0, len(y) + 1)),
    ):
        with pytest.raises(InputError, match="of another training"):
            other()
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ModelFileError):
        learner().fit(X, y, resume=path)
    with pytest.raises(ModelFileError, match="No such file"):
        learner().fit(X, y, resume=tmp_path / "none")


def test_a_checkpoint_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    X, y = table()
    with pytest.raises(WorkError, match="Could not write"):
        learner(checkpoint=tmp_path / "no folder" / "file").fit(X, y)


def test_an_interruption_keeps_the_best_weights_so_far() -> None:
    X, y = table()
    with pytest.warns(ConvergenceWarning, match="interrupted after 3 epochs; the best weights so far are kept"):
        model = learner().fit(X, y, callbacks=[Raises(3)])
    assert len(model.history_) == 3 and "interrupted" in model.history_.stopped
    best = int(np.argmin(model.history_.validation_loss)) + 1
    assert model.history_.best == best
    np.testing.assert_array_equal(
        model.params_["dense_1"]["weights"], learner(max_iter=best).fit(X, y).params_["dense_1"]["weights"]
    )


def test_the_best_epoch_on_ones_own_validation_rows_is_kept() -> None:
    X, y = table(200)
    V = table(80, seed=1)
    model = MLPClassifier(hidden_layer_sizes=30, learning_rate_init=0.02, alpha=0.0).fit(X, y, validation=V)
    history = model.history_
    assert history.best == int(np.argmin(history.validation_loss)) + 1 < len(history)
    probabilities = model.predict_proba(V[0])
    loss = -np.log(probabilities[np.arange(len(V[1])), V[1]]).mean()
    assert loss == pytest.approx(history.validation_loss[history.best - 1], rel=1e-9)
    assert model.best_loss_ == history.validation_loss.min()
    assert history.validation_metric[history.best - 1] == pytest.approx(model.score(*V))
    assert len(history) == history.best + 10 or history.stopped.startswith("all")
    weighted = MLPClassifier(hidden_layer_sizes=30, max_iter=3).fit(X, y, validation=(*V, np.arange(80.0)))
    assert not np.array_equal(weighted.history_.validation_loss[:3], history.validation_loss[:3])


def test_callbacks_see_each_epoch_and_may_end_it() -> None:
    seen: list[Epoch] = []

    class Sees:
        def on_epoch_end(self, epoch: Epoch) -> bool:
            seen.append(epoch)
            return epoch.epoch == 2

    X, y = table()
    model = learner().fit(X, y, callbacks=[Sees()])
    assert [epoch.epoch for epoch in seen] == [1, 2]
    assert [epoch.train_loss for epoch in seen] == model.loss_curve_
    assert model.history_.stopped == "a callback asked for it."


def test_plateaus_lower_the_rate() -> None:
    X, y = table()
    plateau = Plateau(patience=2, decay=0.1)
    model = learner(learning_rate=plateau, learning_rate_init=0.5, max_iter=25, n_iter_no_change=25).fit(X, y)
    rates, losses = model.history_.learning_rate, model.history_.validation_loss
    expected, best, waited, factor = [], np.inf, 0, 1.0
    for loss in losses:
        expected.append(0.5 * factor)
        waited = 0 if loss < best - 1e-4 else waited + 1
        best = min(best, loss)
        if waited == 2:
            factor, waited = factor * 0.1, 0
    np.testing.assert_allclose(rates, expected)
    assert rates[-1] < 0.5


def test_patience_ends_it() -> None:
    X, y = table()
    model = learner(max_iter=100, n_iter_no_change=3, tol=10.0).fit(X, y)
    assert len(model.history_) == 4 and model.history_.stopped == "no improvement for 3 epochs."


def test_each_epoch_sees_each_row() -> None:
    taken = jax.jit(batch_of, static_argnames="size")
    for n, capacity, size in ((10, 16, 4), (97, 97, 32)):
        seen = []
        for epoch in range(3):
            order = order_of(np.uint32(0), np.int32(epoch), n, capacity)
            steps = -(-n // size)
            rows = np.concatenate([np.asarray(taken(order, i, size, n)) for i in range(steps)])
            assert sorted(rows[:n]) == list(range(n))
            np.testing.assert_array_equal(rows[n:], rows[: steps * size - n])
            seen.append(rows.tolist())
        assert seen[0] != seen[1] != seen[2]


def test_rows_that_fill_up_count_for_nothing() -> None:
    X, y = table(33)
    rows = filled(Rows(X, y, np.ones(33)))
    assert len(rows.w) == 40 and rows.w.sum() == 33
    plain = MLPRegressor(hidden_layer_sizes=5, max_iter=5).fit(X, y)
    more = MLPRegressor(hidden_layer_sizes=5, max_iter=5).fit(
        np.r_[X, np.full((7, 4), 1e3)], np.r_[y, np.full(7, 9)], np.r_[np.ones(33), np.zeros(7)]
    )
    np.testing.assert_allclose(more.predict(X), plain.predict(X), rtol=1e-10)


def test_chunks_cover_the_rows_and_training_by_chunks_learns(tmp_path: Path) -> None:
    X, y = table(500)
    rows = Rows(X, np.arange(500.0), np.ones(500))
    source = Source.of(rows, jax.devices()[0], 150)
    assert source.chunk_sizes() == [125, 125, 125, 125]
    epochs = [[np.asarray(chunk.y) for chunk, n in source.chunks(0, epoch)] for epoch in (0, 1)]
    for chunks in epochs:
        assert sorted(np.concatenate(chunks)) == list(range(500))
    assert set(epochs[0][0]) != set(epochs[1][0])
    assert np.concatenate([np.asarray(chunk.y) for chunk, n in source.chunks(None)]).tolist() == list(range(500))
    np.save(tmp_path / "x.npy", X)
    on_disk = np.load(tmp_path / "x.npy", mmap_mode="r")
    model = MLPClassifier(hidden_layer_sizes=8, chunk_rows=150, learning_rate_init=0.02, max_iter=30).fit(on_disk, y)
    assert model.score(X, y) > 0.75
    assert_same(
        model, MLPClassifier(hidden_layer_sizes=8, chunk_rows=150, learning_rate_init=0.02, max_iter=30).fit(X, y)
    )


@pytest.mark.parametrize("rate", [1e20])
def test_a_loss_that_is_no_number_names_the_step_the_layer_and_the_cause(rate: float) -> None:
    X, y = table()
    with pytest.raises(
        WorkError, match=r"at step \d+ the loss was no finite number, first in layer dense_\d\. The learning rate"
    ):
        MLPClassifier(hidden_layer_sizes=(8, 8), solver="sgd", learning_rate_init=rate, precision="single").fit(X, y)

    class Jump(Plateau):
        def factor(self, done: np.ndarray) -> np.ndarray:
            return np.where(done < 0.5, 1.0, 1e25)

    with pytest.warns(ConvergenceWarning, match=r"broke off.*The weights of epoch \d+ are kept"):
        model = MLPClassifier(
            hidden_layer_sizes=8, solver="sgd", learning_rate=Jump(), learning_rate_init=0.05, max_iter=10,
            n_iter_no_change=10, precision="single",
        ).fit(X, y)  # fmt: skip
    assert model.score(X, y) > 0.5 and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(model.params_))
    assert "broke off" in model.history_.stopped


def test_inputs_too_large_are_said_to_be() -> None:
    X, _ = table()
    with pytest.raises(WorkError, match="standardise them"):
        MLPRegressor(
            hidden_layer_sizes=8, standardise=False, solver="sgd", learning_rate_init=1.0, precision="single"
        ).fit(X * 1e9, X[:, 0])


def test_no_setting_of_jax_is_changed() -> None:
    X, y = table(40)
    before, environment = dict(jax.config.values), dict(os.environ)
    MLPClassifier(hidden_layer_sizes=4, max_iter=2, device="cpu").fit(X, y).predict(X)
    assert dict(jax.config.values) == before and dict(os.environ) == environment
    assert jax.numpy.zeros(1).dtype == np.float32


def test_several_threads_at_once() -> None:
    X, y = table(60)
    expected = MLPClassifier(hidden_layer_sizes=4, max_iter=3).fit(X, y)
    found: list[Any] = []
    work = [
        threading.Thread(target=lambda: found.append(MLPClassifier(hidden_layer_sizes=4, max_iter=3).fit(X, y)))
        for _ in range(4)
    ]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert len(found) == 4
    for model in found:
        assert_same(expected, model)


def test_an_interruption_in_the_midst_of_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    from heldout.neural import train

    calls: list[int] = []

    def interrupted(*arguments: Any) -> Any:
        calls.append(len(calls))
        if len(calls) == 8:  # a chunk of the third epoch
            raise KeyboardInterrupt
        return run_epoch(*arguments)

    run_epoch = train.run_epoch
    monkeypatch.setattr(train, "run_epoch", interrupted)
    X, y = table(300)
    with pytest.warns(ConvergenceWarning, match="interrupted after 2 epochs"):
        model = learner(chunk_rows=100).fit(X, y, validation=table(50, seed=1))
    assert len(model.history_) == 2 and model.score(X, y) > 0.4


def test_an_interruption_before_there_is_anything_to_keep_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    from heldout.neural.train import Trainer

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "epoch", interrupted)
    X, y = table(40)
    with pytest.raises(KeyboardInterrupt):
        learner().fit(X, y)


def test_a_history_prints_and_plots() -> None:
    X, y = table()
    history = learner().fit(X, y).history_
    text = str(history)
    assert text.startswith("6 epochs in ") and "validation loss" in text and "were kept" in text
    assert "<table>" in history._repr_html_()
    assert {"hconcat", "title"} & set(history.plot().to_dict())
    bare = MLPRegressor(hidden_layer_sizes=4, max_iter=2).fit(X[:50], X[:50, 0]).history_
    assert not bare.judged and "validation" not in str(bare)


def test_the_range_test_finds_a_rate_that_learns() -> None:
    X, y = table()
    found = MLPClassifier(hidden_layer_sizes=8).learning_rate_range_test(X, y, steps=100)
    assert 1e-4 < found.suggested < 0.3 and "learning rate" in str(found)
    assert len(found.rates) == len(found.losses) == 100
    assert found.plot().to_dict()["layer"]
    with pytest.raises(InputError, match="low < high"):
        MLPClassifier().learning_rate_range_test(X, y, low=1.0, high=0.1)
