"""Ridge, the lasso and the elastic net beside scikit-learn, the conditions for a minimum, and their invariances."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import sklearn.linear_model
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, ShuffleSplit

from heldout.dealing import folds
from heldout.errors import InputError, WorkError
from heldout.linear.penalised import problem as problems
from heldout.linear.penalised.lasso import ElasticNet, Lasso
from heldout.linear.penalised.path import solutions
from heldout.linear.penalised.problem import make_problem
from heldout.linear.penalised.ridge import Ridge
from heldout.linear.squares.regression import LinearRegression


def table(n: int, p: int, *, shared: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * rng.uniform(0.5, 3.0, p) + rng.normal(size=p)
    X += shared * rng.normal(size=(n, 1))
    w = np.where(np.arange(p) % 5 == 0, rng.normal(size=p), 0.0)
    return X, 3.0 + X @ w + rng.normal(size=n)


def objective(model: Any, X: np.ndarray, y: np.ndarray, v: np.ndarray | None, alpha: float, l1_ratio: float) -> float:
    v = np.ones(len(y)) if v is None else v
    residual = y - X @ model.coef_ - model.intercept_
    penalty = l1_ratio * np.abs(model.coef_).sum() + 0.5 * (1 - l1_ratio) * model.coef_ @ model.coef_
    return float(v @ residual**2 / (2 * v.sum()) + alpha * penalty)


SHAPES = [(200, 12), (60, 60), (30, 90), (500, 450)]


@pytest.mark.long
@pytest.mark.parametrize("kind", ["dense", "csr"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("l1_ratio", [1.0, 0.3])
@pytest.mark.parametrize(("n", "p"), SHAPES)
def test_the_minimum_is_scikit_learns_or_lower(
    n: int, p: int, l1_ratio: float, fit_intercept: bool, weighted: bool, kind: str
) -> None:
    X, y = table(n, p, shared=0.5)
    if kind == "csr":
        X = np.where(np.abs(X) > 1.0, X, 0.0)
    given = X if kind == "dense" else sparse.csr_matrix(X)
    v = np.random.default_rng(1).uniform(0.2, 2.0, n) if weighted else None
    alpha = 0.1
    ours = ElasticNet(alpha=alpha, l1_ratio=l1_ratio, fit_intercept=fit_intercept, tol=1e-12).fit(given, y, v)
    theirs = sklearn.linear_model.ElasticNet(
        alpha=alpha, l1_ratio=l1_ratio, fit_intercept=fit_intercept, tol=1e-12, max_iter=200_000
    ).fit(X, y, v)
    found, best = (objective(model, X, y, v, alpha, l1_ratio) for model in (ours, theirs))
    assert found <= best * (1 + 1e-10)
    assert_allclose(ours.coef_, theirs.coef_, rtol=1e-6, atol=1e-7)
    assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-6, atol=1e-7)
    assert_conditions(ours, X, y, v, alpha, l1_ratio)


def assert_conditions(model: Any, X: Any, y: Any, v: Any, alpha: float, l1_ratio: float) -> None:
    """Those of Karush, Kuhn and Tucker: the slope is the penalty's where w is not zero, and below it elsewhere."""
    share = np.full(len(y), 1 / len(y)) if v is None else v / v.sum()
    residual = share * (y - X @ model.coef_ - model.intercept_)
    slope = X.T @ residual - alpha * (1 - l1_ratio) * model.coef_
    inside = model.coef_ == 0.0
    assert_allclose(slope[~inside], alpha * l1_ratio * np.sign(model.coef_[~inside]), rtol=1e-7)
    assert np.all(np.abs(slope[inside]) <= alpha * l1_ratio * (1 + 1e-9))
    if model.fit_intercept:
        assert abs(residual.sum()) < 1e-12


@pytest.mark.parametrize("shared", [0.0, 3.0])
@pytest.mark.parametrize(("n", "p"), [(300, 40), (50, 120)])
def test_the_path_is_scikit_learns(n: int, p: int, shared: float) -> None:
    X, y = table(n, p, shared=shared)
    found = Lasso(tol=1e-10, n_alphas=40).path(X, y)
    centred, target = X - X.mean(axis=0), y - y.mean()
    alphas, coefs, _ = sklearn.linear_model.lasso_path(centred, target, alphas=found.alphas, tol=1e-12, max_iter=10**6)
    assert_allclose(found.alphas, alphas)
    assert_allclose(found.coefs, coefs.T, rtol=1e-4, atol=1e-5 * np.abs(coefs).max())
    losses = [
        np.sum((target[:, None] - centred @ w) ** 2, axis=0) / (2 * n) + alphas * np.abs(w).sum(axis=0)
        for w in (found.coefs.T, coefs)
    ]
    assert np.all(losses[0] <= losses[1] * (1 + 1e-9))
    assert found.dual_gaps.max() <= 1e-10
    assert not found.coefs[0].any() and found.n_nonzero[-1] > found.n_nonzero[5]


def test_the_duality_gap_bounds_the_distance_to_the_minimum() -> None:
    X, y = table(80, 30, shared=1.0)
    alpha, square = 0.05, np.mean((y - y.mean()) ** 2)
    best = objective(Lasso(alpha=alpha, tol=1e-14).fit(X, y), X, y, None, alpha, 1.0)
    problem = make_problem(X, y, None, fit_intercept=True, standardise=False)
    for tol in (1e-2, 1e-4, 1e-6):
        (found,) = solutions(problem, np.array([alpha]), 1.0, tol=tol, max_iter=10_000)
        coef, intercept = problem.coefficients(found.w[None])
        value = np.mean((y - X @ coef[0] - intercept) ** 2) / 2 + alpha * np.abs(coef).sum()
        assert best - 1e-13 <= value <= best + found.gap * square + 1e-13
        assert found.gap <= tol


def test_the_least_penalty_that_leaves_nothing() -> None:
    X, y = table(100, 8)
    largest = np.abs((X - X.mean(axis=0)).T @ (y - y.mean())).max() / 100
    assert not Lasso(alpha=largest * (1 + 1e-12)).fit(X, y).coef_.any()
    assert np.count_nonzero(Lasso(alpha=largest * 0.999).fit(X, y).coef_) == 1


@pytest.mark.parametrize("learner", [Ridge, Lasso, ElasticNet])
def test_no_penalty_is_least_squares(learner: Any) -> None:
    X, y = table(60, 5)
    plain = LinearRegression().fit(X, y)
    assert_allclose(learner(alpha=0.0).fit(X, y).coef_, plain.coef_, rtol=1e-12)
    assert_allclose(learner(alpha=1e-10).fit(X, y).coef_, plain.coef_, rtol=1e-6)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["dense", "csr"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("alpha", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize(("n", "p"), SHAPES)
def test_ridge_is_scikit_learns(n: int, p: int, alpha: float, fit_intercept: bool, weighted: bool, kind: str) -> None:
    X, y = table(n, p)
    given = X if kind == "dense" else sparse.csr_array(X)
    v = np.random.default_rng(1).uniform(0.2, 2.0, n) if weighted else None
    ours = Ridge(alpha=alpha, fit_intercept=fit_intercept).fit(given, y, v)
    theirs = sklearn.linear_model.Ridge(alpha=alpha, fit_intercept=fit_intercept, solver="svd").fit(X, y, v)
    assert_allclose(ours.coef_, theirs.coef_, rtol=1e-6, atol=1e-9)
    assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("learner", [Ridge, Lasso, ElasticNet])
def test_standardised_columns_are_penalised_alike(learner: Any) -> None:
    X, y = table(120, 6)
    scale = X.std(axis=0)
    plain = learner(alpha=0.2).fit(X / scale, y)
    ours = learner(alpha=0.2, standardise=True).fit(X, y)
    assert_allclose(ours.coef_ * scale, plain.coef_, rtol=1e-8)
    moved = learner(alpha=0.2, standardise=True).fit(X * [1e6, 1, 1e-6, 1, 1, 1] + 5.0, y)
    assert_allclose(moved.predict(X * [1e6, 1, 1e-6, 1, 1, 1] + 5.0), ours.predict(X), rtol=1e-8)


def test_scales_as_the_page_gives_them() -> None:
    X, y = table(90, 5)
    v = np.random.default_rng(0).uniform(0.5, 2, 90)
    net = ElasticNet(alpha=0.3, l1_ratio=1e-9).fit(X, y, v)
    assert_allclose(Ridge(alpha=0.3 * v.sum()).fit(X, y, v).coef_, net.coef_, rtol=1e-6)


@pytest.mark.parametrize("learner", [Lasso, Ridge])
@pytest.mark.parametrize(("n", "p"), [(150, 20), (40, 80)])
def test_the_choice_is_that_of_fits_to_each_fold(learner: Any, n: int, p: int) -> None:
    X, y = table(n, p)
    cv = KFold(4, shuffle=True, random_state=0)
    model = learner(cv=cv, n_alphas=12, rule="min").fit(X, y)
    errors = np.array([
        [np.mean((y[held] - learner(alpha=a).fit(X[train], y[train]).predict(X[held])) ** 2) for a in model.alphas_]
        for train, held in cv.split(X)
    ])  # fmt: skip
    assert_allclose(model.cv_mean_, errors.mean(axis=0), rtol=3e-3)
    assert_allclose(model.cv_se_, errors.std(axis=0, ddof=1) / 2.0, rtol=2e-2)
    best = int(np.argmin(model.cv_mean_))
    assert model.alpha_ == model.alpha_min_ == model.alphas_[best]
    within = model.cv_mean_ <= model.cv_mean_[best] + model.cv_se_[best]
    assert model.alpha_one_se_ == model.alphas_[within].max()
    assert_allclose(model.coef_, learner(alpha=model.alpha_).fit(X, y).coef_, rtol=1e-9, atol=1e-12)


def test_lasso_cv_chooses_as_scikit_learn_does() -> None:
    X, y = table(200, 30)
    cv = KFold(5)
    model = Lasso(cv=cv, rule="min", tol=1e-10).fit(X, y)
    theirs = sklearn.linear_model.LassoCV(alphas=model.alphas_, cv=cv, tol=1e-8, max_iter=10**5).fit(X, y)
    assert_allclose(theirs.mse_path_.mean(axis=1), model.cv_mean_, rtol=2e-4)
    assert model.alpha_min_ == pytest.approx(theirs.alpha_)


def test_one_split_takes_its_standard_errors_from_the_rows() -> None:
    X, y = table(120, 6)
    ((train, held),) = ShuffleSplit(1, test_size=0.4, random_state=0).split(X)
    model = Ridge(cv=[(train, held)], n_alphas=5).fit(X, y)
    inner = Ridge(alpha=float(model.alphas_[3])).fit(X[train], y[train])
    squares = (y[held] - inner.predict(X[held])) ** 2
    assert model.cv_mean_[3] == pytest.approx(squares.mean(), rel=1e-9)
    assert model.cv_se_[3] == pytest.approx(squares.std(ddof=1) / np.sqrt(len(held)), rel=1e-2)


def test_folds_depend_on_contents_alone() -> None:
    X, y = table(53, 4)
    rng = np.random.default_rng(3)
    rows, columns = rng.permutation(53), rng.permutation(4)
    plain = folds(X, y, None, 5)
    moved = folds(X[rows][:, columns], y[rows], None, 5)
    for (train, held), (other_train, other_held) in zip(plain, moved, strict=True):
        assert_array_equal(other_train, train[rows])
        assert_array_equal(other_held, held[rows])
        assert set(np.unique(held)) <= {0.0, 1.0} and held.sum() in (10.0, 11.0)
        assert_array_equal(train + held, 1.0)
    as_csr = folds(sparse.csr_array(X), y, None, 5)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(plain, as_csr, strict=True))


def test_folds_of_weights_are_folds_of_repeated_rows() -> None:
    X, y = table(20, 3)
    times = np.random.default_rng(0).integers(0, 5, 20)
    repeated = folds(np.repeat(X, times, axis=0), np.repeat(y, times), None, 4)
    for (_, weights), (_, rows) in zip(folds(X, y, times.astype(float), 4), repeated, strict=True):
        assert_array_equal(weights, [rows[np.repeat(np.arange(20), times) == i].sum() for i in range(20)])


@pytest.mark.parametrize("kind", ["dense", "csr"])
def test_no_row_is_fitted_and_validated_at_once(kind: str) -> None:
    X, y = table(40, 3)
    v = np.random.default_rng(0).uniform(0.2, 3.0, 120)
    X, y = np.tile(X, (3, 1)), np.tile(y, 3)
    parts = folds(X if kind == "dense" else sparse.csr_array(X), y, v, 5)
    for train, held in parts:
        assert not np.any((train > 0) & (held > 0))
        assert_array_equal(np.reshape(held > 0, (3, 40)), np.tile(held[:40] > 0, (3, 1)))
        assert np.count_nonzero(held[:40]) == 8
    assert_allclose(sum(held for _, held in parts), v)


def test_where_few_values_meet_every_fold_has_rows_of_each_kind() -> None:
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 8, 400)
    X, y = np.eye(8)[kinds], np.clip(np.round(3.0 + (kinds - 3.5) / 3.0 + rng.normal(size=400)), 1.0, 5.0)
    for _, held in folds(X, y, None, 5):
        assert held.sum() == 80.0 and set(y[held > 0]) == {1.0, 2.0, 3.0, 4.0, 5.0}
    shuffled = Ridge(cv=KFold(5, shuffle=True, random_state=0)).fit(X, y)
    assert Ridge().fit(X, y).cv_mean_.min() == pytest.approx(shuffled.cv_mean_.min(), rel=0.05)
    times = rng.integers(0, 4, 400)
    repeated = Ridge().fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    assert_allclose(Ridge().fit(X, y, times).cv_mean_, repeated.cv_mean_, rtol=1e-9)
    assert not any(np.any((train > 0) & (held > 0)) for train, held in folds(X, y, rng.uniform(0.2, 2.0, 400), 5))


def test_weights_do_not_make_the_errors_look_small() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 60))
    y, v = X[:, 0] + 2.0 * rng.normal(size=150), rng.uniform(0.3, 2.5, 150)
    assert Lasso(rule="min").fit(X, y, v).cv_mean_.min() > 3.2
    plain, threefold = Lasso().fit(X, y), Lasso().fit(X, y, np.full(150, 3.0))
    assert threefold.alpha_ == pytest.approx(plain.alpha_, rel=1e-12)
    assert_allclose(threefold.cv_mean_, plain.cv_mean_, rtol=1e-4)


def test_rows_of_weight_zero_change_no_choice() -> None:
    X, y = table(60, 4)
    v = np.random.default_rng(0).uniform(0.2, 2.0, 60)
    v[::4] = 0.0
    kept = v > 0.0
    for learner in (Ridge, Lasso):
        weighted, without = learner().fit(X, y, v), learner().fit(X[kept], y[kept], v[kept])
        assert_array_equal(weighted.cv_mean_, without.cv_mean_)
        assert_array_equal(weighted.coef_, without.coef_)


def test_rows_of_few_values_in_any_order_make_the_same_choice() -> None:
    rng = np.random.default_rng(0)
    X = (rng.random((200, 6)) < 0.4).astype(float)
    y = np.round(X @ [2.0, 1.0, -1.0, 0.0, 0.0, 0.0] + rng.normal(size=200))
    rows = rng.permutation(200)
    assert_allclose(Lasso().fit(X[rows], y[rows]).cv_mean_, Lasso().fit(X, y).cv_mean_, rtol=1e-9)


@pytest.mark.parametrize("learner", [Lasso, Ridge])
def test_outliers_and_rare_columns_cost_the_folds_no_digits(learner: Any) -> None:
    X, y = table(300, 4)
    X = np.column_stack([X, np.arange(300) == 7])
    X[11, 3], y[250] = 1e8, 1e7
    cv = KFold(5)
    model = learner(cv=cv, standardise=True, n_alphas=6).fit(X, y)
    inner = functools.partial(learner, standardise=True)
    errors = np.array([
        [np.mean((y[held] - inner(alpha=a).fit(X[train], y[train]).predict(X[held])) ** 2) for a in model.alphas_]
        for train, held in cv.split(X)
    ])  # fmt: skip
    assert_allclose(model.cv_mean_, errors.mean(axis=0), rtol=3e-3)


def test_sparse_tables_are_left_as_they_were() -> None:
    ends, columns = np.array([0, 3, 4, 6]), np.array([0, 0, 1, 2, 1, 0])
    X = sparse.csr_matrix((np.ones(6), columns.copy(), ends.copy()), shape=(3, 3))
    for array in (X.data, X.indices, X.indptr):
        array.flags.writeable = False
    model = Lasso(alpha=0.1).fit(X, [1.0, 2.0, 3.0])
    model.path(X, [1.0, 2.0, 3.0])
    assert_array_equal(X.indices, columns)
    assert_array_equal(X.indptr, ends)
    assert_allclose(model.coef_, Lasso(alpha=0.1).fit(X.toarray(), [1.0, 2.0, 3.0]).coef_, atol=1e-12)


def test_a_path_leaves_the_fitted_learner_alone() -> None:
    X, y = table(40, 4)
    model = Lasso(alpha=0.1).fit(X, y)
    before = model.predict(X)
    model.path(X[:, :2], y)
    assert_array_equal(model.predict(X), before)


@pytest.mark.parametrize("learner", [Ridge, Lasso])
def test_weights_let_no_row_be_fitted_and_judged_at_once(learner: Any) -> None:
    X, y = table(90, 30)
    plain = learner(rule="min").fit(X, y)
    assert_allclose(learner(rule="min").fit(X, y, np.full(90, 3.0)).cv_mean_, plain.cv_mean_, rtol=1e-6)
    for v in (np.random.default_rng(0).uniform(0.3, 2.5, 90), np.full(90, 3.0)):
        assert not any(((train > 0) & (held > 0)).any() for train, held in folds(X, y, v, 5))


def test_the_same_choice_in_any_order_of_rows_and_columns() -> None:
    X, y = table(100, 7)
    rows, columns = np.random.default_rng(1).permutation(100), [3, 0, 6, 1, 2, 5, 4]
    plain, moved = Lasso().fit(X, y), Lasso().fit(X[rows][:, columns], y[rows])
    assert moved.alpha_ == pytest.approx(plain.alpha_, rel=1e-12)
    assert_allclose(moved.coef_, plain.coef_[columns], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("learner", [Ridge, Lasso, ElasticNet])
def test_sparse_and_dense_tables_agree(learner: Any) -> None:
    X, y = table(80, 150)
    X = np.where(np.abs(X) > 1.5, X, 0.0)
    dense, csr = learner(n_alphas=20).fit(X, y), learner(n_alphas=20).fit(sparse.csr_array(X), y)
    assert csr.alpha_ == pytest.approx(dense.alpha_, rel=1e-10)
    assert_allclose(csr.coef_, dense.coef_, rtol=1e-6, atol=1e-9)
    assert_allclose(csr.predict(sparse.csr_array(X)), dense.predict(X), rtol=1e-8)


def test_all_products_and_some_of_them_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = table(90, 30, shared=1.0)
    fits = [functools.partial(Lasso(alpha=0.05).fit, X, y), functools.partial(Ridge(alpha=2.0).fit, X, y)]
    whole = [fit().coef_.copy() for fit in fits]
    for share in (3.0, 1e-9):  # all are made when many came to matter, or never
        monkeypatch.setattr(problems, "LARGE", 0)
        monkeypatch.setattr(problems, "MANY_ROWS", share)
        assert_allclose(fits[0]().coef_, whole[0], rtol=1e-8, atol=1e-12)
    monkeypatch.setattr(problems, "TALL_ENOUGH", 0.0)
    for fit, expected in zip(fits, whole, strict=True):
        assert_allclose(fit().coef_, expected, rtol=1e-8, atol=1e-12)


def test_constant_columns_and_copies() -> None:
    X, y = table(60, 4)
    X = np.column_stack([X, np.full(60, 0.1), X[:, 0]])
    for model in (Lasso(alpha=0.05).fit(X, y), ElasticNet(alpha=0.05).fit(X, y), Ridge(alpha=1.0).fit(X, y)):
        assert model.coef_[4] == 0.0
    assert_allclose(Ridge(alpha=1.0).fit(X, y).coef_[[0]], Ridge(alpha=1.0).fit(X, y).coef_[[5]], rtol=1e-9)


def test_a_target_that_does_not_vary() -> None:
    X, _ = table(30, 3)
    for learner in (Ridge, Lasso, ElasticNet):
        model = learner().fit(X, np.full(30, 7.0))
        assert_allclose(model.predict(X), 7.0)


def test_too_few_sweeps_are_said() -> None:
    X, y = table(60, 60, shared=5.0)
    with pytest.warns(ConvergenceWarning, match="raise max_iter"):
        Lasso(alpha=1e-3, max_iter=1, tol=1e-12).fit(X, y)
    with pytest.warns(ConvergenceWarning) as said:
        Lasso(max_iter=1).fit(X, y)
    assert "fits to choose alpha" in str(said[0].message) and said[0].filename == __file__


def test_a_penalty_too_small_for_dependent_columns_is_said() -> None:
    x = np.linspace(0.0, 1.0, 20)
    with pytest.raises(WorkError, match="larger alpha"):
        Ridge(alpha=1e-300).fit(np.column_stack([x, x]), x)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (Ridge(alpha=-1.0), "alpha is -1.0"),
        (Lasso(alpha="auto"), "must be 'cv'"),
        (Lasso(rule="1se"), "no rule '1se'"),
        (Lasso(n_alphas=1), "n_alphas is 1"),
        (Lasso(alpha=None), "alpha is None"),
        (Lasso(eps=1.0), "eps is 1.0"),
        (Lasso(max_iter=1.5), "max_iter is 1.5"),
        (Lasso(tol="small"), "tol is 'small'"),
        (Ridge(cv=None), "cv is None"),
        (Ridge(cv="loo"), "cv is 'loo'"),
        (Ridge(cv=True), "cv is True"),
        (Ridge(cv=[([0, 1], [99])]), "rows that are not there"),
        (Lasso(tol=0.0), "tol is 0.0"),
        (ElasticNet(l1_ratio=0.0), "take Ridge"),
        (Ridge(cv=1), "cv is 1"),
        (Ridge(cv=[]), "no splits"),
        (Ridge(cv=[([0, 1], [])]), "no rows to fit or none to validate"),
    ],
)
def test_wrong_parameters_are_refused_in_a_sentence(model: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        model.fit(*table(20, 3))


def test_it_prints_and_plots() -> None:
    X, y = table(80, 5)
    model = Lasso(n_alphas=20).fit(X, y)
    assert "one_se" in str(model.choice_)
    chart = model.choice_.plot().to_dict()
    assert "Cross-validated error" in str(chart) and "one standard error" in str(chart)
    found = model.path(X, y)
    assert str(found).splitlines()[0].split() == ["alpha", "columns"]
    chart = found.plot().to_dict()
    assert chart["encoding"]["x"]["scale"]["type"] == "log" and "penalty" in chart["encoding"]["x"]["title"]
    with pytest.raises(AttributeError, match="not chosen"):
        _ = Lasso(alpha=0.1).fit(X, y).choice_


@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_the_path_of_a_wide_sparse_table_is_the_dense_one_s(fit_intercept: bool, standardise: bool) -> None:
    rng = np.random.default_rng(3)
    X = sparse.random_array((60, 200), density=0.1, rng=rng, format="csr")
    X = sparse.csr_array(sparse.hstack([X, np.ones((60, 1))]))  # a constant column
    y = X @ np.where(np.arange(201) % 20 == 0, rng.normal(size=201), 0.0) + 0.1 * rng.normal(size=60) + 1.0
    model = ElasticNet(l1_ratio=0.8, fit_intercept=fit_intercept, standardise=standardise, tol=1e-11, n_alphas=30)
    v = rng.uniform(0.5, 2.0, 60)
    found, expected = model.path(X, y, v), model.path(X.toarray(), y, v)
    assert_allclose(found.coefs, expected.coefs, rtol=0, atol=1e-5 * np.abs(expected.coefs).max())
    assert_allclose(found.intercepts, expected.intercepts, rtol=1e-5)
    assert np.all(found.dual_gaps <= 1e-11)
