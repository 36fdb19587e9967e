"""MarginClassifier beside scikit-learn, its losses beside automatic differentiation, and what theory promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sklearn.linear_model
import sklearn.svm
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import expit
from sklearn.calibration import _sigmoid_calibration
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.exceptions import ConvergenceWarning

from heldout import persist
from heldout.errors import InputError
from heldout.linear.margin.calibration import sigmoid
from heldout.linear.margin.classifier import MarginClassifier
from heldout.linear.margin.losses import LOSSES, OPTIMISED, losses_plot, margin_loss
from heldout.linear.margin.solvers import STEEPEST


def table(n: int = 300, p: int = 6, *, noise: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) + 0.3
    return X, np.where(X @ rng.normal(size=p) + noise * rng.normal(size=n) > 0.5, 1, 0)


def objective(model: Any, X: Any, y: np.ndarray, v: Any, loss: str, *, penalised: bool) -> float:
    w, b = model.coef_[0], float(np.ravel(model.intercept_)[0])
    margins = np.where(y == 1, 1.0, -1.0) * (X @ w + b)
    return float(0.5 * (w @ w + penalised * b * b) + np.sum(v * margin_loss(loss, margins)))


@pytest.mark.long
@pytest.mark.parametrize("kind", ["dense", "csr"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("loss", ["hinge", "squared-hinge"])
@pytest.mark.parametrize("C", [0.01, 1.0, 20.0])
def test_the_dual_reaches_scikit_learns_minimum(
    C: float, loss: str, fit_intercept: bool, weighted: bool, kind: str
) -> None:
    X, y = table()
    v = np.random.default_rng(1).uniform(0.2, 2.0, len(y)) if weighted else np.ones(len(y))
    given = X if kind == "dense" else sparse.csr_matrix(X)
    ours = MarginClassifier(loss=loss, solver="dual", C=C, fit_intercept=fit_intercept, tol=1e-10, max_iter=20_000)
    ours.fit(given, y, v)
    theirs = sklearn.svm.LinearSVC(
        loss=loss.replace("-", "_"), C=C, fit_intercept=fit_intercept, dual=True, tol=1e-9, max_iter=2_000_000
    ).fit(X, y, v)
    found, best = (objective(model, X, y, C * v, loss, penalised=True) for model in (ours, theirs))
    assert found <= best * (1 + 1e-8)
    assert -1e-12 <= ours.dual_gap_ <= 1e-10
    assert_allclose(ours.coef_, theirs.coef_, atol=1e-4)


@pytest.mark.parametrize("loss", ["log", "squared-hinge", "exponential"])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("kind", ["dense", "csr"])
def test_smooth_losses_end_where_the_slope_is_zero(kind: str, fit_intercept: bool, loss: str) -> None:
    X, y = table()
    v = np.random.default_rng(1).uniform(0.2, 2.0, len(y))
    given = X if kind == "dense" else sparse.csr_array(X)
    model = MarginClassifier(loss=loss, C=0.7, fit_intercept=fit_intercept, tol=1e-8).fit(given, y, v)
    signs = np.where(y == 1, 1.0, -1.0)
    pull = 0.7 * v * LOSSES[loss].slope(signs * model.decision_function(X)) * signs
    size = 0.7 * v.sum()
    assert_allclose(model.coef_[0] + X.T @ pull, 0.0, atol=1e-6 * size)
    assert abs(pull.sum() * fit_intercept) < 1e-6 * size
    assert bool(model.intercept_[0]) == fit_intercept


def test_log_is_logistic_regression() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    ours = MarginClassifier(loss="log", C=0.3, tol=1e-9).fit(X, y)
    theirs = sklearn.linear_model.LogisticRegression(C=0.3, tol=1e-10, max_iter=10_000).fit(X, y)
    assert_allclose(ours.coef_, theirs.coef_, rtol=1e-5, atol=1e-7)
    assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-5)


@pytest.mark.parametrize("name", OPTIMISED)
def test_slopes_are_those_of_automatic_differentiation(name: str) -> None:
    import jax
    import jax.numpy as jnp

    formulas = {
        "log": lambda m: jnp.logaddexp(0.0, -m),
        "hinge": lambda m: jnp.maximum(0.0, 1.0 - m),
        "squared-hinge": lambda m: jnp.maximum(0.0, 1.0 - m) ** 2,
        "exponential": lambda m: jnp.exp(-m),
        "perceptron": lambda m: jnp.maximum(0.0, -m),
    }
    margins = np.array([-20.0, -2.0, -0.3, 0.4, 0.999, 1.7, 20.0])
    with jax.enable_x64(True):
        slope = jax.vmap(jax.grad(formulas[name]))
        curvature = jax.vmap(jax.grad(jax.grad(formulas[name])))
        expected = [np.asarray(f(jnp.asarray(margins))) for f in (formulas[name], slope, curvature)]
    assert_allclose(LOSSES[name].value(margins), expected[0], rtol=1e-14)
    assert_allclose(LOSSES[name].slope(margins), expected[1], rtol=1e-14)
    if LOSSES[name].curvature is not None:
        assert_allclose(LOSSES[name].curvature(margins), expected[2], rtol=1e-6)


@pytest.mark.parametrize("name", OPTIMISED)
def test_the_compiled_slopes_are_the_same(name: str) -> None:
    from heldout.linear.margin.kernels import slope

    margins = np.array([-20.0, -0.5, 0.5, 0.99, 1.5, 20.0])
    found = [slope(OPTIMISED.index(name), m) for m in margins]
    assert_allclose(found, LOSSES[name].slope(margins), rtol=1e-12)
    assert STEEPEST.keys() == set(OPTIMISED)


def test_every_loss_bounds_the_zero_one_loss_or_says_that_it_is_none() -> None:
    margins = np.linspace(-3, 3, 601)
    errors = margin_loss("zero-one", margins)
    for name in ("hinge", "squared-hinge", "exponential"):
        assert np.all(margin_loss(name, margins) >= errors)
    assert np.all(margin_loss("log", margins) / np.log(2) >= errors)
    assert not LOSSES["perceptron"].consistent


def test_zero_one_is_refused_and_the_error_says_why() -> None:
    with pytest.raises(InputError, match=r"slope is zero.*NP-hard"):
        MarginClassifier(loss="zero-one").fit(*table())


def test_the_hinge_of_separable_classes_has_the_widest_margin() -> None:
    X = np.array([[0.0, 0.0], [0.0, 1.0], [2.0, 0.0], [2.0, 1.0]])
    model = MarginClassifier(C=1e4, intercept_scaling=10.0, max_iter=100_000).fit(X, [0, 0, 1, 1])
    assert_allclose(model.coef_[0], [1.0, 0.0], atol=0.02)
    assert_allclose(model.intercept_, -1.0, atol=0.02)


def test_the_perceptron_makes_no_error_on_separable_rows() -> None:
    X, y = table(200, 4, noise=0.0)
    score = X @ np.linalg.lstsq(X, 2.0 * y - 1.0, rcond=None)[0]
    kept = np.abs(score) > 0.1
    separable = np.where(score > 0, 1, 0)[kept]
    model = MarginClassifier(loss="perceptron", C=1e6, max_iter=200, average=False).fit(X[kept], separable)
    assert model.score(X[kept], separable) == 1.0


@pytest.mark.parametrize("loss", ["hinge", "log"])
def test_stochastic_descent_comes_near_the_minimum(loss: str) -> None:
    X, y = table(2000)
    exact = MarginClassifier(loss=loss, C=0.01).fit(X, y)
    model = MarginClassifier(loss=loss, C=0.01, solver="sgd", max_iter=60).fit(X, y)
    best, found = (objective(m, X, y, 0.01, loss, penalised=False) for m in (exact, model))
    assert found <= best * 1.01
    as_csr = MarginClassifier(loss=loss, C=0.01, solver="sgd", max_iter=60).fit(sparse.csr_array(X), y)
    assert_allclose(as_csr.coef_, model.coef_, rtol=1e-6)
    assert_array_equal(model.coef_, MarginClassifier(loss=loss, C=0.01, solver="sgd", max_iter=60).fit(X, y).coef_)


def test_many_classes_are_one_against_the_rest() -> None:
    X, y = load_iris(return_X_y=True)
    model = MarginClassifier(C=0.5).fit(X, y)
    for k in range(3):
        single = MarginClassifier(C=0.5).fit(X, y == k)
        assert_allclose(model.coef_[k], single.coef_[0], rtol=1e-7, atol=1e-9)
    assert_array_equal(model.predict(X), model.decision_function(X).argmax(axis=1))


def test_class_weights_are_row_weights() -> None:
    X, y = table()
    weighted = MarginClassifier(class_weight={0: 3.0, 1: 0.5}).fit(X, y)
    assert_allclose(weighted.coef_, MarginClassifier().fit(X, y, np.where(y == 0, 3.0, 0.5)).coef_, rtol=1e-8)
    balanced = MarginClassifier(class_weight="balanced").fit(X, y)
    counts = np.bincount(y)
    assert_allclose(balanced.coef_, MarginClassifier().fit(X, y, (len(y) / 2 / counts)[y]).coef_, rtol=1e-7)


def test_the_sigmoid_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    scores, v = rng.normal(size=500) * 3.0, rng.uniform(0.5, 2.0, 500)
    positive = rng.random(500) < 1 / (1 + np.exp(-0.7 * scores + 0.4))
    slope, offset = sigmoid(scores, positive, v)
    a, b = _sigmoid_calibration(scores, positive.astype(float), sample_weight=v)
    assert_allclose([slope, offset], [-a, -b], rtol=1e-3)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_sigmoid_where_its_slope_is_zero(scale: float) -> None:
    """The likelihood's slope at what is found is rounding alone, although the likelihood is flat to 1e-16 around it."""
    rng = np.random.default_rng(0)
    for n in (20, 50, 200):
        scores, w = scale * rng.normal(size=n), rng.random(n)
        positive = scores + 0.5 * scale * rng.normal(size=n) > 0.0
        a, b = sigmoid(scores, positive, w)
        plus, minus = w[positive].sum(), w[~positive].sum()
        off = w * (expit(a * scores + b) - np.where(positive, (plus + 1.0) / (plus + 2.0), 1.0 / (minus + 2.0)))
        assert abs(off.sum()) < 1e-14 * n
        assert abs(off @ scores) < 1e-14 * n * scale


def test_probabilities_are_calibrated_on_new_rows() -> None:
    X, y = table(6000, 5, noise=2.0)
    model = MarginClassifier(C=0.1, probability=True).fit(X[:3000], y[:3000])
    chance = model.predict_proba(X[3000:])
    assert_allclose(chance.sum(axis=1), 1.0, rtol=1e-14)
    for low in np.arange(0.1, 0.9, 0.2):
        inside = (chance[:, 1] >= low) & (chance[:, 1] < low + 0.2)
        assert abs(y[3000:][inside].mean() - chance[inside, 1].mean()) < 0.08
    assert not hasattr(MarginClassifier().fit(X[:100], y[:100]), "predict_proba")


def test_too_few_epochs_are_said() -> None:
    X, y = table(30_000, 20)
    with pytest.warns(ConvergenceWarning, match="raise max_iter"):
        MarginClassifier(C=100.0, tol=1e-12, max_iter=5).fit(X, y)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (MarginClassifier(loss="huber"), "no loss 'huber'"),
        (MarginClassifier(solver="newtn"), "no solver 'newtn'"),
        (MarginClassifier(solver="lbfgs"), "cannot minimise loss='hinge': take 'dual' or 'sgd'"),
        (MarginClassifier(C=0.0), "C is 0.0"),
        (MarginClassifier(tol=-1.0), "tol is -1.0"),
        (MarginClassifier(seed=-1), "seed is -1"),
        (MarginClassifier(class_weight={7: 1.0}), "class 7"),
    ],
)
def test_wrong_parameters_are_refused_in_a_sentence(model: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        model.fit(*table(30, 2))


def test_stored_and_restored_with_weights_and_probabilities() -> None:
    X, y = table(60, 3)
    model = MarginClassifier(probability=True, class_weight={0: 2.0}).fit(X, y)
    again = persist.loads(persist.dumps(model), expected=MarginClassifier)
    assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    assert again.get_params() == model.get_params()


def test_the_plot_names_its_axes_and_losses() -> None:
    chart = losses_plot().to_dict()
    assert chart["title"] == "Losses of the margin"
    assert "margin" in chart["encoding"]["x"]["title"] and "loss" in chart["encoding"]["y"]["title"]
    assert chart["encoding"]["color"]["scale"]["domain"] == list(LOSSES)
