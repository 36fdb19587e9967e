"""SoftmaxClassifier beside scikit-learn's LogisticRegression, and its derivatives beside automatic ones."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import threadpoolctl
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from heldout.errors import InputError
from heldout.linear import triangular
from heldout.linear.loss import class_differences, cross_entropy, log_softmax
from heldout.linear.objective import Block, Objective
from heldout.linear.softmax import SoftmaxClassifier, choose_solver


def data(name: str) -> tuple[np.ndarray, np.ndarray]:
    X, y = {"iris": load_iris, "wine": load_wine, "cancer": load_breast_cancer}[name](return_X_y=True)
    return StandardScaler().fit_transform(X), y


def criterion(model: Any, X: np.ndarray, y: np.ndarray, weights: np.ndarray, C: float) -> float:
    chances = model.predict_log_proba(X)[np.arange(len(y)), np.searchsorted(model.classes_, y)]
    return float(-C * weights @ chances + 0.5 * np.sum(model.coef_**2))


def compare(ours: SoftmaxClassifier, X: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None) -> None:
    theirs = LogisticRegression(
        C=ours.C, fit_intercept=ours.fit_intercept, class_weight=ours.class_weight, tol=1e-11, max_iter=20000
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it runs into rounding before 1e-11
        theirs.fit(X, y, weights)
    ours.fit(X, y, weights)
    assert ours.coef_.shape == theirs.coef_.shape and ours.intercept_.shape == theirs.intercept_.shape
    assert_allclose(ours.coef_, theirs.coef_, atol=1e-5)
    assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-5)
    assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-5)
    assert_allclose(ours.decision_function(X), theirs.decision_function(X), atol=1e-4)
    if ours.class_weight is None:
        v = np.ones(len(y)) if weights is None else weights
        mine, other = criterion(ours, X, y, v, ours.C), criterion(theirs, X, y, v, ours.C)
        assert mine <= other * (1 + 1e-10)


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
@pytest.mark.parametrize("C", [0.01, 1.0, 10.0])
@pytest.mark.parametrize("name", ["iris", "wine", "cancer"])
def test_scikit_learn_agrees(name: str, C: float, solver: str) -> None:
    compare(SoftmaxClassifier(C=C, solver=solver, tol=1e-9), *data(name))


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
@pytest.mark.parametrize("name", ["iris", "cancer"])
def test_scikit_learn_agrees_without_intercept(name: str, solver: str) -> None:
    X, y = data(name)
    compare(SoftmaxClassifier(fit_intercept=False, solver=solver, tol=1e-9), X + 0.3, y)


@pytest.mark.parametrize("class_weight", ["balanced", {0: 3.0, 1: 0.5}, None])
@pytest.mark.parametrize("name", ["iris", "cancer"])
def test_scikit_learn_agrees_with_weights(name: str, class_weight: Any) -> None:
    X, y = data(name)
    weights = np.random.default_rng(0).uniform(0, 2, len(y))
    compare(SoftmaxClassifier(class_weight=class_weight, tol=1e-9), X, y, weights)


def test_ten_classes() -> None:
    X, y = load_digits(return_X_y=True)
    model = SoftmaxClassifier(C=0.1).fit(X / 16, y)
    reference = SoftmaxClassifier(C=0.1, solver="newton", tol=1e-10).fit(X / 16, y)
    assert_allclose(model.coef_, reference.coef_, atol=1e-3)
    assert_allclose(reference.coef_.sum(axis=0), 0.0, atol=1e-12)
    assert_allclose(reference.intercept_.sum(), 0.0, atol=1e-12)
    assert model.score(X / 16, y) > 0.95


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("name", ["iris", "cancer"])
def test_sparse_rows_give_what_dense_ones_do(name: str, fit_intercept: bool, solver: str) -> None:
    X, y = data(name)
    X = np.where(np.abs(X) < 0.7, 0.0, X)
    dense = SoftmaxClassifier(solver=solver, fit_intercept=fit_intercept, tol=1e-9).fit(X, y)
    thin = SoftmaxClassifier(solver=solver, fit_intercept=fit_intercept, tol=1e-9).fit(sparse.csr_array(X), y)
    assert_allclose(thin.coef_, dense.coef_, atol=1e-6)
    assert_allclose(thin.predict_proba(sparse.csr_matrix(X)), dense.predict_proba(X), atol=1e-7)


def objective(n_classes: int, *, pieces: int = 3) -> tuple[Objective, np.ndarray, tuple[Any, ...]]:
    rng = np.random.default_rng(n_classes)
    X, codes, v = rng.normal(size=(31, 4)), rng.integers(0, n_classes, 31), rng.dirichlet(np.ones(31))
    basis, penalty = class_differences(n_classes), rng.uniform(0, 1, 4)
    blocks = [Block(X[k::pieces], codes[k::pieces], v[k::pieces]) for k in range(pieces)]
    plain = Objective(blocks, basis, penalty, lambda work, items: [work(item) for item in items])
    return plain, rng.normal(size=(n_classes - 1, 4)), (X, codes, v, basis, penalty)


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_derivatives_are_those_of_automatic_differentiation(n_classes: int) -> None:
    jax = pytest.importorskip("jax")
    plain, coef, (X, codes, v, basis, penalty) = objective(n_classes)
    enable_x64 = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64
    with enable_x64(True):

        def by_jax(V: Any) -> Any:
            chances = jax.nn.log_softmax(X @ V.T @ basis.T, axis=1)
            return -(v * chances[np.arange(31), codes]).sum() + 0.5 * (penalty * V**2).sum()

        value, gradient = jax.value_and_grad(by_jax)(coef)
        hessian = np.asarray(jax.hessian(by_jax)(coef)).reshape(coef.size, coef.size)
    ours = plain.value_gradient(coef)
    assert_allclose(ours[0], float(value), rtol=1e-13)
    assert_allclose(ours[1], np.asarray(gradient), atol=1e-14)
    assert_allclose(plain.hessian(coef), hessian, atol=1e-14)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_derivatives_are_those_of_differences(n_classes: int) -> None:
    plain, coef, _ = objective(n_classes)
    gradient, hessian = plain.value_gradient(coef)[1].ravel(), plain.hessian(coef)
    for j in range(coef.size):
        step = np.zeros(coef.size)
        step[j] = 1e-5
        up, down = (plain.value_gradient(coef + sign * step.reshape(coef.shape)) for sign in (1, -1))
        assert_allclose((up[0] - down[0]) / 2e-5, gradient[j], atol=1e-9)
        assert_allclose((up[1] - down[1]).ravel() / 2e-5, hessian[j], atol=1e-9)


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_the_cut_into_blocks_does_not_show(solver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = data("iris")
    whole = SoftmaxClassifier(solver=solver, tol=1e-9).fit(X, y)
    monkeypatch.setattr(triangular, "BLOCK_SIZE", 2**7)
    assert_allclose(SoftmaxClassifier(solver=solver, tol=1e-9).fit(X, y).coef_, whole.coef_, atol=1e-6)


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_the_number_of_threads_changes_no_bit(solver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triangular, "BLOCK_SIZE", 2**10)
    X, y = data("cancer")
    results = []
    for limit in (1, 2, 3):
        with threadpoolctl.threadpool_limits(limit, user_api="blas"):
            results.append(SoftmaxClassifier(solver=solver).fit(X, y).coef_)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_two_classes_are_logistic_regression() -> None:
    X, y = data("cancer")
    model = SoftmaxClassifier().fit(X, y)
    score = model.decision_function(X)
    assert_allclose(model.predict_proba(X)[:, 1], 1.0 / (1.0 + np.exp(-score)), rtol=1e-12)
    chances = np.exp(log_softmax(np.vstack([-score / 2, score / 2])))
    assert_allclose(model.predict_proba(X), chances.T, atol=1e-15)
    np.testing.assert_array_equal(model.predict(X), (score > 0).astype(int))


def test_one_number_added_to_all_scores_changes_nothing() -> None:
    scores = np.random.default_rng(0).normal(size=(4, 9))
    assert_allclose(log_softmax(scores + 1000.0), log_softmax(scores), atol=1e-12)


def test_extreme_scores_stay_finite() -> None:
    scores = np.array([[1e4, -1e4, 1e308], [-1e4, 1e4, -1e307], [0.0, 0.0, 0.0]])
    loss, gradient = cross_entropy(scores[:, :2], np.array([0, 0]), np.ones(2))
    assert loss == 2e4
    assert_allclose(gradient, [[0.0, -1.0], [0.0, 1.0], [0.0, 0.0]])
    assert np.isfinite(log_softmax(scores)).all()
    model = SoftmaxClassifier().fit([[0.0], [1.0]], [0, 1])
    chances = model.predict_proba([[-1e6], [1e6]])
    assert_allclose(chances, [[1.0, 0.0], [0.0, 1.0]])
    assert np.isfinite(model.predict_log_proba([[-1e6], [1e6]])).all()


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
@pytest.mark.parametrize("C", [1.0, 1e4])
def test_perfect_separation(C: float, solver: str) -> None:
    X = np.linspace(-1, 1, 40)[:, None] + 5.0
    model = SoftmaxClassifier(C=C, solver=solver).fit(X, X[:, 0] > 5.0)
    assert model.score(X, X[:, 0] > 5.0) == 1.0
    assert np.isfinite(model.coef_).all()


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_units_of_one_column_only_change_what_the_penalty_says(solver: str) -> None:
    X, y = data("cancer")
    scale = np.r_[1e9, np.ones(29)]
    model = SoftmaxClassifier(solver=solver, tol=1e-9).fit(X * scale + scale, y)
    free = SoftmaxClassifier(solver="newton", tol=1e-9).fit(X * np.r_[1e4, np.ones(29)], y)
    assert_allclose(model.coef_[0, 1:], free.coef_[0, 1:], atol=1e-5)
    assert_allclose(model.coef_[0, 0] * 1e9, free.coef_[0, 0] * 1e4, rtol=1e-4)


def test_numbers_too_large_to_square_are_named() -> None:
    with pytest.raises(InputError, match="Column 1 holds numbers above 1e150"):
        SoftmaxClassifier().fit([[0.0, 1e200], [1.0, -1e200]], [0, 1])


def test_a_class_without_weight_gets_no_probability() -> None:
    X, y = data("iris")
    model = SoftmaxClassifier().fit(X, y, sample_weight=(y != 2).astype(float))
    assert model.predict_proba(X)[:, 2].max() < 1e-4
    assert set(model.predict(X)) == {0, 1}


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_too_few_iterations_are_said(solver: str) -> None:
    X, y = data("cancer")
    with pytest.warns(ConvergenceWarning, match="stopped after 1 iterations .* above tol=1e-06: raise max_iter"):
        SoftmaxClassifier(solver=solver, max_iter=1).fit(X, y)


def test_a_tolerance_below_rounding_is_said() -> None:
    X, y = data("iris")
    with pytest.warns(ConvergenceWarning, match="rounding allows no further step"):
        SoftmaxClassifier(solver="newton", tol=1e-30).fit(X, y)


@pytest.mark.parametrize(
    ("parameter", "value", "words"),
    [
        ("C", 0.0, "C is 0.0 and must be a finite number above 0"),
        ("C", float("inf"), "C is inf"),
        ("C", "big", "C is 'big'"),
        ("tol", -1.0, "tol is -1.0"),
        ("max_iter", 0, "max_iter is 0"),
        ("solver", "newtn", "no solver 'newtn'. Did you mean 'newton'"),
        ("class_weight", "equal", "class_weight is 'equal'"),
        ("class_weight", {"c": 1.0}, "the class 'c', which the data does not have"),
        ("class_weight", {"a": -1.0}, "class_weight\\['a'\\] is -1.0"),
    ],
)
def test_bad_parameters(parameter: str, value: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        SoftmaxClassifier(**{parameter: value}).fit([[0.0], [1.0]], ["a", "b"])


def test_one_class_is_refused() -> None:
    with pytest.raises(InputError, match="All rows belong to one class, 'a'"):
        SoftmaxClassifier().fit([[0.0], [1.0]], ["a", "a"])


def test_the_solver_follows_the_size() -> None:
    assert choose_solver(np.empty((20000, 110)), 2) == "newton"
    assert choose_solver(np.empty((200, 5)), 3) == "newton"
    assert choose_solver(np.empty((1800, 65)), 10) == "lbfgs"
    assert choose_solver(np.empty((100, 20000)), 2) == "lbfgs"
    assert choose_solver(sparse.csr_array((1000, 400)), 2) == "lbfgs"


@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_class_differences_keep_the_penalty(n_classes: int) -> None:
    basis = class_differences(n_classes)
    assert_allclose(basis.sum(axis=0), 0.0, atol=1e-15)
    if n_classes > 2:
        assert_allclose(basis.T @ basis, np.eye(n_classes - 1), atol=1e-15)
