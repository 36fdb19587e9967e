"""Neural learners: what they predict, what they take, what they refuse; invariances."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.utils.validation import check_is_fitted

from heldout import load, save
from heldout.errors import InputError, ModelFileError
from heldout.neural import choices
from heldout.neural.estimators import MLPClassifier, MLPRegressor, NeuralClassifier, NeuralRegressor, perceptron
from heldout.neural.layers import Dense, Dropout, Flatten, Layer, LayerNorm, Parallel, ReLU, Residual, Sequential, Tanh
from heldout.neural.losses import CrossEntropy, Hinge, Huber, KLDivergence, SquaredError


def table(n: int = 90, p: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    return X, np.array(["a", "b", "c"])[np.digitize(X @ np.arange(1.0, p + 1), [-1.5, 1.5])]


SMALL: dict[str, Any] = {"hidden_layer_sizes": 6, "max_iter": 20}


def test_outputs_are_the_formula() -> None:
    X, y = table()
    for names, activation in (("relu", lambda z: np.maximum(z, 0)), ("tanh", np.tanh), ("logistic", expit)):
        model = MLPClassifier(hidden_layer_sizes=(6, 5), activation=names, max_iter=3).fit(X, y)
        a = (X - model.input_mean_) / model.input_scale_
        for W, b in zip(model.coefs_[:-1], model.intercepts_[:-1], strict=True):
            a = activation(a @ W + b)
        z = a @ model.coefs_[-1] + model.intercepts_[-1]
        np.testing.assert_allclose(model.decision_function(X), z, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(model.predict_proba(X), softmax(z, axis=1), rtol=1e-9)
        np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), model.predict_proba(X))
    numbers = MLPRegressor(**SMALL).fit(X, 1000 + 50 * X[:, 0])
    a = np.maximum((X - numbers.input_mean_) / numbers.input_scale_ @ numbers.coefs_[0] + numbers.intercepts_[0], 0)
    z = a @ numbers.coefs_[1] + numbers.intercepts_[1]
    np.testing.assert_allclose(numbers.predict(X), (z * numbers.target_scale_ + numbers.target_mean_)[:, 0], rtol=1e-9)


@pytest.mark.long
@pytest.mark.parametrize(
    ("make", "data", "least"),
    [
        (lambda: MLPClassifier(), load_iris, 0.93),
        (lambda: MLPClassifier(), load_breast_cancer, 0.95),
        (lambda: MLPClassifier(dropout=0.2, batch_norm=True), load_breast_cancer, 0.95),
        (lambda: MLPClassifier(hidden_layer_sizes=(100, 50)), load_digits, 0.96),
    ],
    ids=["iris", "breast cancer", "dropout and batch norm", "digits"],
)
def test_defaults_do_well(make: Any, data: Any, least: float) -> None:
    X, y = data(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    assert make().fit(X_train, y_train).score(X_test, y_test) > least


def test_a_regressor_is_about_as_good_as_a_line_where_a_line_is_best() -> None:
    X, y = load_diabetes(return_X_y=True)
    assert cross_val_score(MLPRegressor(), X, y, cv=4).mean() > 0.4  # ridge regression: 0.46


@pytest.mark.long
def test_fashion_images(real_data: Path) -> None:
    import gzip

    folder = real_data / "fashion_mnist"
    parts = {}
    for name, file, offset in (("X", "images-idx3", 16), ("y", "labels-idx1", 8)):
        for part, prefix in (("train", "train"), ("test", "t10k")):
            content = gzip.decompress((folder / f"{prefix}-{file}-ubyte.gz").read_bytes())
            parts[f"{name}_{part}"] = np.frombuffer(content, np.uint8, offset=offset)
    X, V = (parts[f"X_{part}"].reshape(-1, 784) for part in ("train", "test"))
    model = MLPClassifier(max_iter=2).fit(X[:32_000], parts["y_train"][:32_000])
    assert model.precision_ == "single" and model.input_scale_ == 255.0
    assert model.score(V, parts["y_test"]) > 0.8


def test_a_network_of_any_layers() -> None:
    X, y = load_digits(return_X_y=True)
    images = (X.reshape(-1, 8, 8, 1) * 15.9).astype(np.uint8)
    block = Residual(Sequential(Dense(32), ReLU(), Dropout(0.1), Dense(32)))
    network = Sequential(
        Flatten(), Dense(32), LayerNorm(), ReLU(), block, Parallel(Dense(8), Dense(8)), Tanh(), Dense()
    )
    model = NeuralClassifier(network).fit(images[::2], y[::2])
    assert model.score(images[1::2], y[1::2]) > 0.93
    assert model.in_shape_ == (8, 8, 1) and model.network_.out_shape((8, 8, 1)) == (10,)
    assert model.summary().parameters == sum(leaf.size for leaf in _leaves(model.params_))
    assert model.n_features_in_ == 8
    with pytest.raises((ValueError, InputError)):
        model.predict(images[:, :4])


def _leaves(tree: Any) -> list[np.ndarray]:
    return [leaf for value in tree.values() for leaf in (_leaves(value) if isinstance(value, dict) else [value])]


def test_permuted_columns_with_permuted_first_weights_change_nothing() -> None:
    X, y = table()
    order = [2, 0, 1]
    begin = NeuralClassifier(perceptron(6), max_iter=1).fit(X, y)
    params = {name: dict(values) for name, values in begin.params_.items()}
    turned = {**params, "dense_1": {**params["dense_1"], "weights": params["dense_1"]["weights"][order]}}
    one = NeuralClassifier(perceptron(6), max_iter=30).fit(X, y, start=(params, {}))
    other = NeuralClassifier(perceptron(6), max_iter=30).fit(X[:, order], y, start=(turned, {}))
    np.testing.assert_allclose(one.predict_proba(X), other.predict_proba(X[:, order]), rtol=1e-7)
    with pytest.raises(InputError, match="start must be"):
        NeuralClassifier(perceptron(7)).fit(X, y, start=(params, {}))


def test_units_of_measurement_change_nothing() -> None:
    X, y = table()
    one = MLPClassifier(**SMALL).fit(X, y)
    other = MLPClassifier(**SMALL).fit(X * [1e3, 1e-3, 7.0] + [5.0, 0.0, -100.0], y)
    np.testing.assert_allclose(
        one.predict_proba(X), other.predict_proba(X * [1e3, 1e-3, 7.0] + [5.0, 0.0, -100.0]), rtol=1e-6
    )
    numbers = MLPRegressor(**SMALL).fit(X, X[:, 0])
    scaled = MLPRegressor(**SMALL).fit(X, 1e4 * X[:, 0] + 3e6)
    np.testing.assert_allclose(1e4 * numbers.predict(X) + 3e6, scaled.predict(X), rtol=1e-7)
    assert scaled.history_.train_metric[-1] == pytest.approx(1e4 * numbers.history_.train_metric[-1], rel=1e-4)


def test_balanced_classes_equal_weights() -> None:
    X, y = table()
    counts = {label: int((y == label).sum()) for label in "abc"}
    weights = np.array([len(y) / (3 * counts[label]) for label in y])
    balanced = MLPClassifier(class_weight="balanced", **SMALL).fit(X, y)
    weighted = MLPClassifier(**SMALL).fit(X, y, sample_weight=weights)
    named = MLPClassifier(class_weight={k: len(y) / (3 * v) for k, v in counts.items()}, **SMALL).fit(X, y)
    np.testing.assert_allclose(balanced.predict_proba(X), weighted.predict_proba(X), rtol=1e-9)
    np.testing.assert_allclose(balanced.predict_proba(X), named.predict_proba(X), rtol=1e-9)


def test_two_classes_with_one_output_or_two() -> None:
    X, y = table()
    two = y == "a"
    one = NeuralClassifier(Sequential(Dense(6), ReLU(), Dense())).fit(X, two)
    both = NeuralClassifier(Sequential(Dense(6), ReLU(), Dense(2))).fit(X, two)
    smooth = NeuralClassifier(Sequential(Dense(6), ReLU(), Dense()), loss=CrossEntropy(0.1)).fit(X, two)
    assert [m.network_.out_shape((3,)) for m in (one, both, smooth)] == [(1,), (2,), (2,)]
    for model in (one, both, smooth):
        chances = model.predict_proba(X)
        np.testing.assert_allclose(chances.sum(axis=1), 1.0)
        assert ((model.decision_function(X) > 0) == model.predict(X)).all()
        np.testing.assert_array_equal(model.predict(X), chances[:, 1] > 0.5)
        assert model.score(X, two) > 0.9


def test_losses_of_classes() -> None:
    X, y = table()
    for loss in ("hinge", Hinge()):
        model = MLPClassifier(hidden_layer_sizes=6, loss=loss).fit(X, y)
        assert not hasattr(model, "predict_proba") and model.score(X, y) > 0.9
        assert MLPClassifier(hidden_layer_sizes=6, loss=loss).fit(X, y == "a").score(X, y == "a") > 0.9
    smooth = MLPClassifier(hidden_layer_sizes=6, loss=CrossEntropy(0.2)).fit(X, y).predict_proba(X)
    plain = MLPClassifier(hidden_layer_sizes=6).fit(X, y).predict_proba(X)
    assert smooth.max() < plain.max()
    shares = MLPClassifier(hidden_layer_sizes=6, loss=KLDivergence()).fit(X, y).predict_proba(X)
    np.testing.assert_allclose(shares, plain, atol=1e-4)  # with shares of 0 and 1 it is the cross-entropy


def test_losses_of_numbers() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 1))
    y = 3.0 * X[:, 0]
    y[::10] += 60.0  # outliers
    errors = {}
    for name, loss in (("squared", "squared_error"), ("absolute", "absolute_error"), ("huber", Huber(0.1))):
        model = MLPRegressor(hidden_layer_sizes=8, loss=loss, learning_rate_init=0.01).fit(X, y)
        errors[name] = np.abs(model.predict(X) - 3.0 * X[:, 0]).mean()
    assert errors["absolute"] < 0.5 * errors["squared"] and errors["huber"] < 0.5 * errors["squared"]


def test_several_targets_and_several_labels() -> None:
    X, _ = table(150)
    Y = np.c_[X[:, 0], X[:, 1] * 10, X.sum(axis=1) + 100]
    numbers = MLPRegressor(hidden_layer_sizes=20, learning_rate_init=0.01).fit(X, Y)
    assert numbers.predict(X).shape == (150, 3) and numbers.score(X, Y) > 0.97
    labels = np.c_[X[:, 0] > 0, X[:, 1] > 1, X[:, 2] < X[:, 0]].astype(int)
    several = MLPClassifier(hidden_layer_sizes=20, learning_rate_init=0.01).fit(X, labels)
    chances = several.predict_proba(X)
    assert chances.shape == (150, 3) and (several.predict(X) == labels).mean() > 0.95
    np.testing.assert_array_equal(several.predict(X), chances > 0.5)
    assert several.history_.metric == "label_accuracy"


def test_partial_fit_goes_on(tmp_path: Path) -> None:
    X, y = table(400)
    model = MLPClassifier(hidden_layer_sizes=10, learning_rate_init=0.05)
    for _ in range(12):
        for part in np.array_split(np.arange(400), 4):
            model.partial_fit(X[part], y[part], classes=["a", "b", "c"])
    assert model.score(X, y) > 0.9 and model.n_iter_ == 48
    again = load(save(model, tmp_path / "model.heldout"))
    assert again.partial_fit(X, y).score(X, y) > 0.9 and again.n_iter_ == 49
    with pytest.raises(InputError, match="not the same as on the last call"):
        model.partial_fit(X, y, classes=["a", "b"])
    with pytest.raises(InputError, match="'d', which is none"):
        model.partial_fit(X, np.full(400, "d"))
    with pytest.raises(InputError, match="first call"):
        MLPClassifier().partial_fit(X, y)
    numbers = MLPRegressor(hidden_layer_sizes=10, learning_rate_init=0.05)
    for _ in range(30):
        numbers.partial_fit(X, X[:, 0])
    assert numbers.score(X, X[:, 0]) > 0.9


def test_warm_start_goes_on_and_fit_begins_anew() -> None:
    X, y = table()
    cold = MLPClassifier(**SMALL)
    first = cold.fit(X, y).history_.train_loss
    np.testing.assert_array_equal(cold.fit(X, y).history_.train_loss, first)
    warm = MLPClassifier(warm_start=True, **SMALL)
    warm.fit(X, y)
    assert warm.fit(X, y).history_.train_loss[0] < first[-1]
    with pytest.raises(InputError, match="none of the classes"):
        warm.fit(X, np.where(y == "a", "z", y))
    with pytest.raises(ValueError, match="2 features"):
        warm.fit(X[:, :2], y)
    before = warm.predict_proba(X)
    warm.set_params(solver="momentum", learning_rate_init=1e-6).fit(X, y)
    np.testing.assert_allclose(warm.predict_proba(X), before, atol=1e-3)
    with pytest.raises(InputError, match="describe another"):
        warm.set_params(hidden_layer_sizes=7).fit(X, y)
    images = NeuralClassifier(Sequential(Flatten(), Dense()), warm_start=True, max_iter=2)
    images.fit(np.zeros((9, 2, 3)) + np.arange(9)[:, None, None], np.arange(9) % 3)
    with pytest.raises(InputError, match="rows of the shape"):
        images.fit(np.ones((9, 2, 4)), np.arange(9) % 3)


def test_rows_that_repeat_are_held_out_together() -> None:
    rng = np.random.default_rng(0)
    X = np.repeat(rng.normal(size=(200, 3)), 2, axis=0)
    y = np.repeat(rng.integers(0, 2, 200), 2)
    learn, judge = choices.held_out(X, y, np.ones(400), 0.1, 0, True)  # type: ignore[misc]
    assert np.array_equal(learn[::2], learn[1::2]) and not np.any(learn * judge) and np.all(learn + judge == 1)
    assert 20 < judge.sum() < 60
    large = choices.held_out(rng.normal(size=(30_000, 2)), rng.integers(0, 3, 30_000), np.ones(30_000), 0.1, 0, True)
    assert large is not None and large[1].sum() == pytest.approx(3000, abs=3)


def test_what_auto_means() -> None:
    X, y = table(100)
    model = MLPClassifier(hidden_layer_sizes=4, max_iter=2).fit(X, y)
    assert model.precision_ == "double" and not model.history_.judged
    assert model.coefs_[0].dtype == np.float64
    assert MLPClassifier(hidden_layer_sizes=4, max_iter=2).fit(X.astype(np.float32), y).precision_ == "single"
    assert MLPClassifier(hidden_layer_sizes=4, early_stopping=True, max_iter=2).fit(X, y).history_.judged
    more = table(300)
    assert MLPClassifier(hidden_layer_sizes=4, max_iter=2).fit(*more).history_.judged
    assert not MLPClassifier(hidden_layer_sizes=4, max_iter=2, early_stopping=False).fit(*more).history_.judged
    constant = np.c_[X, np.full(100, 7.0)]
    assert MLPClassifier(hidden_layer_sizes=4, max_iter=2).fit(constant, y).input_scale_[3] == 1.0
    assert MLPClassifier(hidden_layer_sizes=4, max_iter=2, standardise=False).fit(X, y).input_scale_ == 1.0


def test_files_give_the_same_predictions(tmp_path: Path) -> None:
    X, y = table()
    single, double = {"precision": "single", "max_iter": 3}, {"precision": "double", "max_iter": 3}
    network = Sequential(Dense(5), Residual(Sequential(Dense(5), ReLU())), Dropout(0.1), Dense())
    for model in (
        NeuralClassifier(network, loss=CrossEntropy(0.1), learning_rate="cosine", **single).fit(X, y),
        NeuralRegressor(network, loss=Huber(0.5), **double).fit(X, np.c_[X[:, 0], X[:, 1]]),
        MLPClassifier(hidden_layer_sizes=(4,), batch_norm=True, **double).fit(X, y == "a"),
        MLPClassifier(hidden_layer_sizes=(4,), **single).fit(X, np.c_[X[:, 0] > 0, X[:, 1] > 0] * 1),
    ):
        again = load(save(model, tmp_path / "model.heldout"))
        np.testing.assert_array_equal(again.predict(X), model.predict(X))
        check_is_fitted(again)
        assert again.get_params() == model.get_params()


def test_networks_of_ones_own_layers_are_fitted_but_not_stored(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Square(Layer):
        def apply(self, params: Any, state: Any, x: Any, *, train: bool = False, key: Any = None) -> Any:
            return jnp.square(x), state

    X, y = table()
    model = NeuralClassifier(Sequential(Dense(6), Square(), Dense())).fit(X, y)
    assert model.score(X, y) > 0.9
    with pytest.raises(InputError, match="layer Square cannot be stored"):
        save(model, tmp_path / "model.heldout")


def test_files_with_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = table()
    model = MLPClassifier(**SMALL).fit(X, y)
    state = model.to_state()
    wrong = {**state["params"], "dense_1": {**state["params"]["dense_1"], "weights": np.zeros((3, 7))}}
    monkeypatch.setattr(MLPClassifier, "to_state", lambda self: {**state, "params": wrong})
    with pytest.raises(ModelFileError, match="shape"):
        load(save(model, tmp_path / "model.heldout"))


def test_folds_share_a_program() -> None:
    from heldout.neural.program import run_epoch

    X, y = load_iris(return_X_y=True)
    before = run_epoch._cache_size()
    # Folds of 128 and 129 rows.
    scores = cross_val_score(MLPClassifier(hidden_layer_sizes=7, learning_rate_init=0.03, max_iter=40), X, y, cv=7)
    assert scores.mean() > 0.9
    assert run_epoch._cache_size() - before <= 2


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"hidden_layer_sizes": (0,)}, "hidden_layer_sizes is (0,)"),
    ({"activation": "rely"}, "Did you mean 'relu'"),
    ({"dropout": 1.0}, "dropout is 1.0"),
    ({"initialization": "hi"}, "Did you mean 'he'"),
    ({"loss": "squared_error"}, "no loss 'squared_error' for classes"),
    ({"loss": SquaredError()}, "does not go with classes"),
    ({"solver": "adm"}, "Did you mean 'adam'"),
    ({"alpha": -1.0}, "alpha is -1.0"),
    ({"l1": np.inf}, "l1 is inf"),
    ({"learning_rate_init": 0.0}, "learning_rate_init is 0.0"),
    ({"learning_rate": "cosin"}, "Did you mean 'cosine'"),
    ({"batch_size": 0}, "batch_size is 0"),
    ({"max_iter": "many"}, "max_iter is 'many'"),
    ({"n_iter_no_change": 1.5}, "n_iter_no_change is 1.5"),
    ({"tol": -1e-4}, "tol is -0.0001"),
    ({"early_stopping": "yes"}, "early_stopping is 'yes'"),
    ({"early_stopping": True, "validation_fraction": 1.0}, "validation_fraction is 1.0"),
    ({"standardise": "no"}, "standardise is 'no'"),
    ({"precision": "half"}, "no precision 'half'"),
    ({"device": "abacus"}, "no device 'abacus'"),
    ({"chunk_rows": 0}, "chunk_rows is 0"),
    ({"class_weight": {"d": 1.0}}, "the class 'd'"),
    ({"clip_norm": -1.0}, "clip_norm is -1.0"),
]


@pytest.mark.parametrize(("parameters", "match"), WRONG, ids=[" ".join(parameters) for parameters, _ in WRONG])
def test_nonsense_is_refused(parameters: dict[str, Any], match: str) -> None:
    X, y = table(30)
    with pytest.raises(InputError, match=re.escape(match)):
        MLPClassifier(**parameters).fit(X, y)


def test_other_nonsense() -> None:
    X, y = table(30)
    with pytest.raises(
        InputError, match=r"The network gives \(5\) for a row, and there are 3 classes: end it with Dense"
    ):
        NeuralClassifier(Sequential(Dense(5))).fit(X, y)
    with pytest.raises(InputError, match="layer dense_2"):
        NeuralClassifier(Sequential(Dense(5), Dense(-1), Dense())).fit(X, y)
    with pytest.raises(InputError, match="must be a layer"):
        NeuralClassifier(Dense).fit(X, y)
    with pytest.raises(InputError, match="validation must be"):
        MLPClassifier().fit(X, y, validation=X)
    with pytest.raises(InputError, match="none of the classes"):
        MLPClassifier().fit(X, y, validation=(X, np.full(30, "z")))
    with pytest.raises(InputError, match="one class"):
        MLPClassifier().fit(X, np.zeros(30))
    with pytest.raises(InputError, match="too few to hold any out"):
        MLPClassifier(early_stopping=True).fit(X[:2], y[:2] if y[0] != y[1] else ["a", "b"])
    with pytest.raises(InputError, match="no loss 'log_loss' for numbers"):
        MLPRegressor(loss="log_loss").fit(X, X[:, 0])
    with pytest.raises(ValueError, match="NaN"):
        MLPClassifier().fit(np.where(X > 2, np.nan, X) * np.nan, y)
