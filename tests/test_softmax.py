"""SoftmaxClassifier beside scikit-learn's LogisticRegression, and its derivatives beside automatic ones."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import threadpoolctl
from numpy.testing import assert_allclose
from scipy import sparse
from scipy.stats import entropy
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from heldout.errors import InputError, WorkError
from heldout.linear import triangular
from heldout.linear.softmax import classifier as softmax_module
from heldout.linear.softmax import standardise as standardise_module
from heldout.linear.softmax.classifier import SoftmaxClassifier, choose_solver
from heldout.linear.softmax.divergence import cross_entropy, kl_divergence
from heldout.linear.softmax.inference import logistic_inference
from heldout.linear.softmax.loss import class_differences, log_loss, log_softmax, slopes
from heldout.linear.softmax.objective import Objective
from heldout.linear.softmax.rows import SparseRows, TableRows
from heldout.linear.softmax.separation import separation
from heldout.linear.softmax.singles import merge_singles


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


@pytest.mark.parametrize("solver", ["newton", "newton-cg", "lbfgs"])
@pytest.mark.parametrize("C", [0.01, 1.0, 10.0])
@pytest.mark.parametrize("name", ["iris", "wine", "cancer"])
def test_scikit_learn_agrees(name: str, C: float, solver: str) -> None:
    compare(SoftmaxClassifier(C=C, solver=solver, tol=1e-9), *data(name))


@pytest.mark.parametrize("solver", ["newton", "newton-cg", "lbfgs"])
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


@pytest.mark.parametrize("solver", ["newton", "newton-cg", "lbfgs"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("name", ["iris", "cancer"])
def test_sparse_rows_give_what_dense_ones_do(name: str, fit_intercept: bool, solver: str) -> None:
    X, y = data(name)
    X = np.where(np.abs(X) < 0.7, 0.0, X)
    dense = SoftmaxClassifier(solver=solver, fit_intercept=fit_intercept, tol=1e-8).fit(X, y)
    thin = SoftmaxClassifier(solver=solver, fit_intercept=fit_intercept, tol=1e-8).fit(sparse.csr_array(X), y)
    assert_allclose(thin.coef_, dense.coef_, atol=1e-5)
    assert_allclose(thin.predict_proba(sparse.csr_matrix(X)), dense.predict_proba(X), atol=1e-6)


def objective(n_classes: int, *, pieces: int = 3) -> tuple[Objective, np.ndarray, tuple[Any, ...]]:
    rng = np.random.default_rng(n_classes)
    X, codes, v = rng.normal(size=(31, 4)), rng.integers(0, n_classes, 31), rng.dirichlet(np.ones(31))
    basis, penalty = class_differences(n_classes), rng.uniform(0, 1, 4)
    blocks = [TableRows(X[k::pieces], codes[k::pieces], v[k::pieces]) for k in range(pieces)]
    plain = Objective(blocks, basis, penalty, lambda work, items: [work(item) for item in items])
    return plain, rng.normal(size=(n_classes - 1, 4)), (X, codes, v, basis, penalty)


@pytest.mark.long
@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_derivatives_are_those_of_automatic_differentiation(n_classes: int) -> None:
    jax = pytest.importorskip("jax")
    plain, coef, (X, codes, v, basis, penalty) = objective(n_classes)
    enable_x64 = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64
    with enable_x64(True):

        def by_jax(V: Any) -> Any:
            chances = jax.nn.log_softmax(X @ V.T @ basis.T, axis=1)
            return -(v * chances[np.arange(31), codes]).sum() + 0.5 * (penalty * V**2).sum()

        value, gradient = jax.jit(jax.value_and_grad(by_jax))(coef)
        hessian = np.asarray(jax.jit(jax.hessian(by_jax))(coef)).reshape(coef.size, coef.size)
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


@pytest.mark.parametrize("solver", ["newton", "newton-cg", "lbfgs"])
def test_the_cut_into_blocks_does_not_show(solver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = data("iris")
    whole = SoftmaxClassifier(solver=solver, tol=1e-9).fit(X, y)
    monkeypatch.setattr(triangular, "BLOCK_SIZE", 2**7)
    assert_allclose(SoftmaxClassifier(solver=solver, tol=1e-9).fit(X, y).coef_, whole.coef_, atol=1e-6)


@pytest.mark.parametrize("solver", ["newton", "newton-cg", "lbfgs"])
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
    loss, chances = log_loss(scores[:, :2], np.array([0, 0]), np.ones(2))
    assert loss == 2e4
    assert_allclose(slopes(chances, np.array([0, 0]), np.ones(2)), [[0.0, -1.0], [0.0, 1.0], [0.0, 0.0]])
    assert np.isfinite(log_softmax(scores)).all()
    model = SoftmaxClassifier().fit([[0.0], [1.0]], [0, 1])
    chances = model.predict_proba([[-1e6], [1e6]])
    assert_allclose(chances, [[1.0, 0.0], [0.0, 1.0]])
    assert np.isfinite(model.predict_log_proba([[-1e6], [1e6]])).all()


@pytest.mark.parametrize("solver", ["newton", "newton-cg", "lbfgs"])
@pytest.mark.parametrize("C", [1.0, 1e4])
def test_perfect_separation(C: float, solver: str) -> None:
    X = np.linspace(-1, 1, 40)[:, None] + 5.0
    model = SoftmaxClassifier(C=C, solver=solver).fit(X, X[:, 0] > 5.0)
    assert model.score(X, X[:, 0] > 5.0) == 1.0
    assert np.isfinite(model.coef_).all()


@pytest.mark.parametrize("solver", ["newton", "newton-cg", "lbfgs"])
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


@pytest.mark.parametrize("solver", ["newton", "newton-cg", "lbfgs"])
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
        ("C", 0.0, "C is 0.0 and must be a number above 0"),
        ("C", float("nan"), "C is nan"),
        ("l1_ratio", 1.5, "l1_ratio is 1.5 and must be a number from 0 to 1"),
        ("l1_ratio", None, "l1_ratio is None"),
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
    def choose(x: Any, n_classes: int, absolute: bool = False) -> str:
        n, width = x.shape
        return choose_solver(n, width, x.nnz if sparse.issparse(x) else n * width, n_classes, absolute)

    assert choose(np.empty((20000, 110)), 2) == "newton"
    assert choose(np.empty((200, 5)), 3) == "newton"
    assert choose(np.empty((200, 5)), 3, absolute=True) == "newton-cg"
    assert choose(np.empty((1800, 65)), 10) == "newton-cg"
    assert choose(np.empty((100, 20000)), 2) == "newton-cg"
    assert choose(sparse.csr_array((1000, 400)), 2) == "newton-cg"


@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_class_differences_keep_the_penalty(n_classes: int) -> None:
    basis = class_differences(n_classes)
    assert_allclose(basis.sum(axis=0), 0.0, atol=1e-15)
    if n_classes > 2:
        assert_allclose(basis.T @ basis, np.eye(n_classes - 1), atol=1e-15)


def penalised(model: Any, X: Any, y: np.ndarray, C: float, l1_ratio: float) -> float:
    chances = model.predict_log_proba(X)[np.arange(len(y)), np.searchsorted(model.classes_, y)]
    ridge = 0.5 * (1.0 - l1_ratio) * np.sum(model.coef_**2)
    return float(-C * chances.sum() + ridge + l1_ratio * np.abs(model.coef_).sum())


@pytest.mark.parametrize("l1_ratio", [0.3, 1.0])
@pytest.mark.parametrize("C", [0.05, 1.0])
@pytest.mark.parametrize("name", ["iris", "wine", "cancer"])
def test_l1_reaches_an_objective_no_higher_than_scikit_learn(name: str, C: float, l1_ratio: float) -> None:
    X, y = data(name)
    theirs = LogisticRegression(C=C, l1_ratio=l1_ratio, solver="saga", tol=1e-7, max_iter=2000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        best = penalised(theirs.fit(X, y), X, y, C, l1_ratio)
    for table in (X, sparse.csr_array(X)):
        ours = SoftmaxClassifier(C=C, l1_ratio=l1_ratio, tol=1e-8).fit(table, y)
        assert penalised(ours, X, y, C, l1_ratio) <= best * (1 + 1e-8)
        assert ((ours.coef_ == 0.0) == (theirs.coef_ == 0.0)).mean() > 0.9


def test_l1_meets_the_conditions_of_its_optimum() -> None:
    X, y = data("wine")
    C = 0.3
    model = SoftmaxClassifier(C=C, l1_ratio=1.0, tol=1e-10).fit(X, y)
    slopes_ = C * (model.predict_proba(X) - (y[:, None] == model.classes_)).T @ X
    zero = model.coef_ == 0.0
    assert_allclose(slopes_[~zero], -np.sign(model.coef_[~zero]), atol=1e-6)
    assert (np.abs(slopes_[zero]) <= 1.0 + 1e-6).all() and zero.any()


def test_a_strong_l1_penalty_leaves_only_the_intercept() -> None:
    X, y = data("iris")
    model = SoftmaxClassifier(C=1e-4, l1_ratio=1.0).fit(X, y)
    assert not model.coef_.any()
    assert_allclose(model.predict_proba(X[:1]), np.full((1, 3), 1 / 3), atol=1e-12)


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_l1_needs_its_solver(solver: str) -> None:
    with pytest.raises(InputError, match=f"Solver '{solver}' cannot do L1: take 'newton-cg'"):
        SoftmaxClassifier(solver=solver, l1_ratio=0.5).fit([[0.0], [1.0]], [0, 1])


@pytest.mark.parametrize("n_classes", [2, 4])
def test_products_with_the_hessian_are_those_of_the_matrix(n_classes: int) -> None:
    plain, coef, _ = objective(n_classes)
    here, direction = plain.evaluate(coef), np.random.default_rng(7).normal(size=coef.shape)
    hessian = plain.hessian(coef)
    assert_allclose(plain.product(here, direction).ravel(), hessian @ direction.ravel(), atol=1e-14)
    assert_allclose(plain.diagonal(here).ravel(), hessian.diagonal(), atol=1e-14)
    thin = [replace(block, x=sparse.csr_array(block.x)) for block in plain.blocks]
    rare = replace(plain, blocks=thin)
    assert_allclose(rare.product(rare.evaluate(coef), direction), plain.product(here, direction), atol=1e-14)
    assert_allclose(rare.diagonal(rare.evaluate(coef)), plain.diagonal(here), atol=1e-14)


def test_single_precision_products_do_not_limit_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = data("cancer")
    exact = SoftmaxClassifier(solver="newton", tol=1e-11).fit(X, y)
    monkeypatch.setattr(standardise_module, "LARGE", 0)
    quick = SoftmaxClassifier(solver="newton-cg", tol=1e-10).fit(X, y)
    assert_allclose(quick.coef_, exact.coef_, atol=1e-7)


@pytest.mark.parametrize("how", ["dense", "csr"])
def test_newton_cg_gives_the_same_bits_whatever_the_threads(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = load_digits(return_X_y=True)
    monkeypatch.setattr(triangular, "BLOCK_SIZE", 2**12)
    monkeypatch.setattr(softmax_module, "SPARSE_WORK", 1)
    results = []
    for limit in (1, 2):
        with threadpoolctl.threadpool_limits(limit, user_api="blas"):
            table = sparse.csr_array(X) if how == "csr" else X
            results.append(SoftmaxClassifier(solver="newton-cg", C=1e-3, tol=1e-5).fit(table, y).coef_)
    np.testing.assert_array_equal(results[0], results[1])


@pytest.mark.parametrize("l1_ratio", [0.0, 1.0])
def test_rows_without_weight_are_as_if_absent(l1_ratio: float) -> None:
    X, y = data("wine")
    wild = np.vstack([X, np.full((1, X.shape[1]), 1e200)])
    fitted = SoftmaxClassifier(l1_ratio=l1_ratio).fit(wild, np.append(y, 0), np.append(np.ones(len(y)), 0.0))
    np.testing.assert_array_equal(fitted.coef_, SoftmaxClassifier(l1_ratio=l1_ratio).fit(X, y).coef_)


def overlapping(n: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3)) * [1.0, 10.0, 0.1] + [0.0, 5.0, 1.0]
    return X, (X @ [1.0, -0.1, 3.0] - 2.5 + rng.logistic(size=n) > 0).astype(int)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_inference_is_that_of_statsmodels(fit_intercept: bool) -> None:
    api = pytest.importorskip("statsmodels.api")
    X, y = overlapping()
    design = api.add_constant(X) if fit_intercept else X
    theirs = api.Logit(y, design).fit(disp=0, method="newton", tol=1e-14, maxiter=100)
    model = SoftmaxClassifier(C=np.inf, fit_intercept=fit_intercept).fit(X, y)
    ours = logistic_inference(model, X, y)
    assert_allclose(ours.coef, theirs.params, rtol=1e-8)
    assert_allclose(ours.standard_errors, theirs.bse, rtol=1e-8)
    assert_allclose(ours.z, theirs.tvalues, rtol=1e-8)
    assert_allclose(ours.p, theirs.pvalues, rtol=1e-7)
    assert_allclose(np.column_stack([ours.low, ours.high]), theirs.conf_int(), rtol=1e-8)
    assert_allclose(ours.covariance, theirs.cov_params(), rtol=1e-8)
    assert_allclose([ours.log_likelihood, ours.aic, ours.bic], [theirs.llf, theirs.aic, theirs.bic], rtol=1e-10)
    generalised = api.GLM(y, design, family=api.families.Binomial()).fit(tol=1e-14)
    assert_allclose(ours.deviance, generalised.deviance, rtol=1e-10)
    if fit_intercept:
        assert_allclose([ours.r2, ours.null_log_likelihood], [theirs.prsquared, theirs.llnull], rtol=1e-9)
        assert_allclose([ours.likelihood_ratio, ours.likelihood_ratio_p], [theirs.llr, theirs.llr_pvalue], rtol=1e-8)


def test_inference_counts_weights_as_repeated_rows() -> None:
    X, y = overlapping()
    times = np.random.default_rng(1).integers(0, 4, len(y))
    repeated_X, repeated_y = np.repeat(X, times, axis=0), np.repeat(y, times)
    weighted = logistic_inference(SoftmaxClassifier(C=np.inf).fit(X, y, times), X, y, times)
    repeated = logistic_inference(SoftmaxClassifier(C=np.inf).fit(repeated_X, repeated_y), repeated_X, repeated_y)
    assert weighted.n == repeated.n == times.sum()
    assert_allclose(weighted.standard_errors, repeated.standard_errors, rtol=1e-10)
    assert_allclose([weighted.bic, weighted.r2], [repeated.bic, repeated.r2], rtol=1e-10)


def test_inference_prints_as_a_table() -> None:
    X, y = overlapping()
    found = logistic_inference(SoftmaxClassifier(C=np.inf).fit(X, y), X, y)
    assert "Logistic regression, 80 rows" in str(found) and "McFadden R2" in str(found)
    assert [line.split()[0] for line in str(found).splitlines()[4:8]] == ["intercept", "x0", "x1", "x2"]
    assert found._repr_html_().startswith("<table>")


def test_inference_refuses_what_has_no_standard_errors() -> None:
    X, y = overlapping()
    with pytest.raises(InputError, match="fit with C=inf"):
        logistic_inference(SoftmaxClassifier().fit(X, y), X, y)
    double = np.column_stack([X, X[:, 0]])
    with pytest.raises(WorkError, match="Columns depend on each other"):
        logistic_inference(SoftmaxClassifier(C=np.inf).fit(double, y), double, y)
    with pytest.raises(InputError, match="3 classes"):
        logistic_inference(SoftmaxClassifier(C=np.inf).fit(X, np.arange(len(y)) % 3), X, y)


@pytest.mark.parametrize(
    ("y", "kind"), [([0, 0, 0, 1, 1, 1], "perfect"), ([0, 0, 1, 0, 1, 1], "none"), ([0, 0, 2, 2, 1, 1], "perfect")]
)
def test_separation_is_named(y: list[int], kind: str) -> None:
    X = np.arange(6.0)[:, None]
    codes = np.array(y)
    found = separation(X, codes, max(y) + 1, fit_intercept=True)
    assert (found.kind, found.rows) == (kind, 0 if kind == "none" else 6)
    if kind != "none":
        with pytest.warns(ConvergenceWarning, match="perfectly separated"):
            model = SoftmaxClassifier(C=np.inf).fit(X, codes)
        assert model.score(X, codes) == 1.0


def test_quasi_complete_separation_is_named() -> None:
    X, y = np.array([[0.0], [1.0], [2.0], [2.0], [3.0]]), np.array([0, 0, 0, 1, 1])
    found = separation(X, y, 2, fit_intercept=True)
    assert (found.kind, found.rows) == ("quasi", 3)
    with pytest.warns(ConvergenceWarning, match=r"quasi-completely \(3 of 5 rows\) separated"):
        model = SoftmaxClassifier(C=np.inf).fit(X, y)
    with pytest.raises(WorkError, match=r"quasi-completely .* no standard errors"):
        logistic_inference(model, X, y)


def test_cross_entropy_and_divergence_are_scipys() -> None:
    rng = np.random.default_rng(0)
    p, scores = rng.dirichlet(np.ones(4), 7), rng.normal(size=(7, 4))
    q = np.exp(log_softmax(scores.T).T)
    assert_allclose(kl_divergence(p, q), entropy(p, q, axis=1), rtol=1e-12)
    assert_allclose(kl_divergence(p, scores=scores), entropy(p, q, axis=1), rtol=1e-12)
    assert_allclose(cross_entropy(p, q), entropy(p, q, axis=1) + entropy(p, axis=1), rtol=1e-12)
    assert_allclose(cross_entropy(p, scores=scores + 1e4), cross_entropy(p, q), rtol=1e-10)
    np.testing.assert_array_equal(kl_divergence(p, p), 0.0)


def test_divergence_bears_scores_of_any_size() -> None:
    assert cross_entropy([1.0, 0.0], scores=[-1e4, 1e4]) == 2e4
    assert cross_entropy([1.0, 0.0], scores=[3.0, -np.inf]) == 0.0
    assert kl_divergence([1.0, 0.0], scores=[3.0, -np.inf]) == 0.0
    assert kl_divergence([0.5, 0.5], scores=[3.0, -np.inf]) == np.inf
    assert kl_divergence([0.5, 0.5], [1.0, 0.0]) == np.inf


@pytest.mark.parametrize(
    ("p", "given", "words"),
    [
        ([0.5, 0.5], {}, "either q or scores"),
        ([0.5, 0.6], {"q": [0.5, 0.5]}, "p must hold probabilities"),
        ([0.5, 0.5], {"q": [-0.5, 1.5]}, "q must hold probabilities"),
        ([0.5, 0.5], {"scores": [np.nan, 0.0]}, "scores must be numbers below infinity"),
        ([0.5, 0.5], {"scores": [0.0, 0.0, 0.0]}, "p has shape \\(2,\\)"),
    ],
)
def test_what_is_no_distribution_is_refused(p: Any, given: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        kl_divergence(p, **given)


@pytest.mark.parametrize("ones", [True, False])
@pytest.mark.parametrize("n_classes", [2, 3, 8, 13])
def test_sparse_rows_are_the_table_s_rows(n_classes: int, ones: bool) -> None:
    rng = np.random.default_rng(n_classes)
    x = sparse.random_array((40, 9), density=0.3, rng=rng, format="csr", dtype=np.float64)
    codes, v = rng.integers(0, n_classes, 40), rng.random(40)
    here = SparseRows(x, codes, v, ones)
    table = TableRows(here.features(), codes, v)
    for basis in (class_differences(n_classes), np.eye(n_classes) if n_classes > 2 else class_differences(2)):
        coef, ahead = rng.standard_normal((2, basis.shape[1], 9 + ones))
        found, expected = here.evaluate(basis, coef), table.evaluate(basis, coef)
        assert found[0] == pytest.approx(expected[0], rel=1e-13)
        assert_allclose(found[1], expected[1], rtol=0, atol=1e-12)
        assert_allclose(found[2], expected[2], rtol=0, atol=1e-14)
        assert_allclose(here.product(basis, found[2], ahead), table.product(basis, found[2], ahead), rtol=0, atol=1e-12)
        curvature = rng.random((basis.shape[1], 40))
        assert_allclose(here.squares(curvature), table.squares(curvature), rtol=0, atol=1e-12)


def test_columns_of_single_numbers_are_merged_without_a_trace() -> None:
    rng = np.random.default_rng(0)
    often = (rng.random((60, 5)) < 0.4) * rng.standard_normal((60, 5))
    seldom = np.zeros((60, 90))
    seldom[rng.integers(0, 40, 90), np.arange(90)] = rng.standard_normal(90)
    X, y = sparse.csr_array(np.hstack([seldom, often])), rng.integers(0, 3, 60)
    X.data[3] = 0.0  # stored, and nothing
    merged = merge_singles(X)
    assert merged is not None and merged.x.shape[1] < 50
    assert_allclose(merged.x.power(2).sum(axis=1), X.power(2).sum(axis=1), rtol=1e-13)
    coef = rng.standard_normal((2, merged.x.shape[1]))
    assert_allclose(X @ merged.undo(coef).T, merged.x @ coef.T, rtol=0, atol=1e-13)
    assert merge_singles(sparse.csr_array(often)) is None
    found = SoftmaxClassifier(tol=1e-10).fit(X, y)
    expected = SoftmaxClassifier(tol=1e-10, solver="newton").fit(X.toarray(), y)
    assert_allclose(found.coef_, expected.coef_, rtol=0, atol=1e-8)
    assert_allclose(found.intercept_, expected.intercept_, rtol=0, atol=1e-8)
    assert_allclose(found.coef_.sum(axis=0), 0.0, atol=1e-12)
