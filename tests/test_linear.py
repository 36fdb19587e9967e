"""LinearRegression beside NIST's certified values, NumPy, SciPy and scikit-learn."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import sklearn.linear_model
import threadpoolctl
from numpy.testing import assert_allclose

from heldout.errors import InputError, WorkError
from heldout.linear import triangular
from heldout.linear.squares.least_squares import least_squares
from heldout.linear.squares.normal import products
from heldout.linear.squares.regression import LinearRegression


def problem(n: int, p: int, rank: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, rank)) @ rng.normal(size=(rank, p)) if rank < p else rng.normal(size=(n, p))
    return X + rng.normal(size=p), rng.normal(size=(n, 3))


SHAPES = [(200, 10, 10), (200, 30, 20), (20, 100, 100), (20, 100, 7), (50, 50, 50), (9000, 40, 40), (9000, 40, 12)]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize(("n", "p", "rank"), SHAPES)
def test_scikit_learn_and_numpy_agree(n: int, p: int, rank: int, fit_intercept: bool, weighted: bool) -> None:
    X, Y = problem(n, p, rank)
    weights = np.random.default_rng(1).uniform(0, 2, n) if weighted else None
    ours = LinearRegression(fit_intercept=fit_intercept).fit(X, Y, weights)
    theirs = sklearn.linear_model.LinearRegression(fit_intercept=fit_intercept, tol=1e-12).fit(X, Y, weights)
    assert ours.rank_ == theirs.rank_
    assert_allclose(ours.coef_, theirs.coef_, rtol=1e-9, atol=1e-12 * np.abs(theirs.coef_).max())
    assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-9, atol=1e-12)
    if not fit_intercept:
        root = np.sqrt(weights)[:, None] if weights is not None else 1.0
        expected, _, rank_, _ = np.linalg.lstsq(root * X, root * Y, rcond=1e-12)
        assert ours.rank_ == rank_
        assert_allclose(ours.coef_, expected.T, rtol=1e-9, atol=1e-12 * np.abs(expected).max())


def one_hot(n: int, sizes: list[int], numbers: int, *, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    parts = [np.eye(size)[np.arange(n) % size if i == 0 else rng.integers(0, size, n)] for i, size in enumerate(sizes)]
    return np.hstack([*parts, rng.normal(size=(n, numbers))])


def test_one_hot_columns_lose_one_rank_each_and_give_the_least_norm() -> None:
    X = one_hot(4000, [5, 12, 3, 30], 6)
    y = np.random.default_rng(2).normal(size=len(X))
    model = LinearRegression().fit(X, y)
    assert model.rank_ == X.shape[1] - 4
    expected = np.linalg.lstsq(X - X.mean(axis=0), y - y.mean(), rcond=1e-12)[0]
    assert_allclose(model.coef_, expected, atol=1e-12)
    assert_allclose([model.coef_[:5].sum(), model.coef_[5:17].sum()], 0.0, atol=1e-13)


@pytest.mark.parametrize("unit", [1e-9, 1e6])
def test_units_change_nothing_that_is_predicted(unit: float) -> None:
    X, Y = problem(300, 6, 6)
    scale = unit ** np.array([0, 1, 0, -1, 0.5, 0])
    plain, rescaled = LinearRegression().fit(X, Y), LinearRegression().fit(X * scale, Y * unit)
    assert plain.rank_ == rescaled.rank_ == 6
    assert_allclose(rescaled.coef_ * scale / unit, plain.coef_, rtol=1e-11)
    assert_allclose(rescaled.predict(X * scale) / unit, plain.predict(X), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("unit", [1e-8, 1e8])
def test_units_change_no_fitted_value_of_dependent_columns(unit: float) -> None:
    X = one_hot(500, [4, 3], 2)
    y = np.random.default_rng(3).normal(size=500)
    plain = LinearRegression().fit(X, y).predict(X)
    assert_allclose(
        LinearRegression().fit(X * np.r_[np.ones(8), unit], y).predict(X * np.r_[np.ones(8), unit]), plain, atol=1e-11
    )


def test_constant_and_duplicate_columns() -> None:
    x = np.linspace(0, 1, 40)
    model = LinearRegression().fit(np.column_stack([np.full(40, 0.1), x, x, np.zeros(40)]), 3.0 + 4.0 * x)
    assert model.rank_ == 1
    assert_allclose(model.coef_, [0.0, 2.0, 2.0, 0.0], atol=1e-14)
    assert_allclose(model.intercept_, 3.0, rtol=1e-14)


def test_nothing_but_constants() -> None:
    model = LinearRegression().fit(np.full((7, 2), 0.1), np.arange(7.0))
    assert (model.rank_, model.intercept_, model.coef_.tolist()) == (0, 3.0, [0.0, 0.0])


def test_small_variation_on_a_large_mean_is_seen() -> None:
    x = np.arange(50.0)
    model = LinearRegression().fit(1.7e9 + x[:, None], 5.0 + 2.0 * x)
    assert model.rank_ == 1
    assert_allclose(model.predict(1.7e9 + x[:, None]), 5.0 + 2.0 * x, rtol=1e-6)
    assert_allclose(model.coef_, 2.0, rtol=1e-13)


def test_very_large_and_small_numbers() -> None:
    X, Y = problem(30, 2, 2)
    model = LinearRegression().fit(X * [1e200, 1e-200], Y[:, 0])
    assert_allclose(model.coef_ * [1e200, 1e-200], LinearRegression().fit(X, Y[:, 0]).coef_, rtol=1e-12)


def test_one_row() -> None:
    model = LinearRegression().fit([[1.0, 2.0]], [3.0])
    assert (model.rank_, model.intercept_, model.coef_.tolist()) == (0, 3.0, [0.0, 0.0])


def test_one_target_gives_vectors_and_several_give_matrices() -> None:
    X, Y = problem(30, 4, 4)
    one, three = LinearRegression().fit(X, Y[:, 0]), LinearRegression().fit(X, Y)
    assert isinstance(one.intercept_, float) and one.coef_.shape == (4,) and one.predict(X).shape == (30,)
    assert three.intercept_.shape == (3,) and three.coef_.shape == (3, 4) and three.predict(X).shape == (30, 3)
    assert_allclose(three.predict(X)[:, 0], one.predict(X), rtol=1e-11)


def test_tolerance_decides_the_rank() -> None:
    X, Y = problem(100, 3, 3)
    X[:, 2] = X[:, 1] + 1e-6 * X[:, 2]
    assert LinearRegression().fit(X, Y).rank_ == 3
    assert LinearRegression(tol=1e-4).fit(X, Y).rank_ == 2


@pytest.mark.parametrize("tol", [-1e-3, 1.0, float("nan")])
def test_bad_tolerance(tol: float) -> None:
    with pytest.raises(InputError, match="tol is"):
        LinearRegression(tol=tol).fit([[1.0], [2.0]], [1.0, 2.0])


def test_weights_all_zero() -> None:
    with pytest.raises(ValueError, match="zero"):
        LinearRegression().fit([[1.0], [2.0]], [1.0, 2.0], sample_weight=[0.0, 0.0])


@pytest.mark.parametrize("block_size", [2**9, triangular.BLOCK_SIZE], ids=["many blocks", "as it is"])
@pytest.mark.parametrize(("n", "p"), [(50, 3), (3, 5), (5, 5), (6000, 20), (3001, 7)])
def test_the_triangle_keeps_every_product(n: int, p: int, block_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triangular, "BLOCK_SIZE", block_size)
    rng = np.random.default_rng(0)
    X, Y, root = rng.normal(size=(n, p)), rng.normal(size=(n, 2)), rng.uniform(0, 1, n)
    R, C = triangular.reduce(triangular.Rows(X, Y, np.ones(p), np.zeros(2), root**2))
    A, B = root[:, None] * (X - 1.0), root[:, None] * Y
    assert R.shape == (min(n, p), p)
    assert_allclose(R.T @ R, A.T @ A, rtol=1e-10, atol=1e-10 * n)
    assert_allclose(R.T @ C, A.T @ B, rtol=1e-10, atol=1e-10 * n)
    if n > p:
        assert_allclose(np.tril(R, -1), 0.0, atol=0)


def test_the_cut_into_blocks_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    X, Y = problem(3001, 7, 7)
    weights = np.random.default_rng(5).uniform(0, 1, 3001)
    whole = LinearRegression().fit(X, Y, weights)
    monkeypatch.setattr(triangular, "BLOCK_SIZE", 2**9)
    cut = LinearRegression().fit(X, Y, weights)
    assert_allclose(cut.coef_, whole.coef_, rtol=1e-11)
    assert_allclose(cut.intercept_, whole.intercept_, rtol=1e-11)


def test_the_number_of_threads_changes_no_bit() -> None:
    X, Y = problem(30000, 40, 38)  # four runs of rows
    results = []
    for limit in (1, 2, 3):
        with threadpoolctl.threadpool_limits(limit, user_api="blas"):
            results.append(LinearRegression().fit(X, Y).coef_)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


@pytest.mark.parametrize(("n", "p"), [(40000, 30), (3000, 300), (600, 3000)])
def test_memory(n: int, p: int) -> None:
    X, Y = problem(n, p, p)
    y = np.ascontiguousarray(Y[:, 0])
    LinearRegression().fit(X[:100], y[:100])
    tracemalloc.start()
    with threadpoolctl.threadpool_limits(2, user_api="blas"):  # every further thread has its own block of rows
        LinearRegression().fit(X, y)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= 1.5 * X.nbytes


def test_least_squares_is_what_it_says() -> None:
    X, Y = problem(80, 5, 5)
    weights = np.random.default_rng(4).uniform(0, 1, 80)
    found = least_squares(X, Y, weights, fit_intercept=True, tol=None)
    residual = weights[:, None] * (Y - X @ found.coef - found.intercept)
    assert_allclose(X.T @ residual, 0.0, atol=1e-12)
    assert_allclose(residual.sum(axis=0), 0.0, atol=1e-12)


SOLVERS = ["qr", "svd", "cholesky"]


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("n", "p"), [(300, 8), (12, 40), (9000, 40)])
def test_every_solver_finds_the_same(n: int, p: int, solver: str, fit_intercept: bool) -> None:
    X, Y = problem(n, p, p)
    weights = np.random.default_rng(1).uniform(0.5, 2, n)
    expected = LinearRegression(fit_intercept=fit_intercept).fit(X, Y, weights)
    found = LinearRegression(fit_intercept=fit_intercept, solver=solver).fit(X, Y, weights)
    assert (found.solver_, expected.solver_) == (solver, "cholesky")
    assert found.rank_ == expected.rank_ == min(n - fit_intercept, p)
    assert_allclose(found.coef_, expected.coef_, rtol=1e-9, atol=1e-13)
    assert_allclose(found.intercept_, expected.intercept_, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("solver", ["qr", "svd"])
def test_orthogonal_solvers_find_the_rank_and_the_least_norm(solver: str) -> None:
    X, Y = problem(200, 30, 20)
    found = LinearRegression(solver=solver).fit(X, Y)
    assert found.rank_ == 20
    expected = np.linalg.lstsq(X - X.mean(axis=0), Y - Y.mean(axis=0), rcond=1e-12)[0].T
    assert_allclose(found.coef_, expected, atol=1e-11)


def test_auto_leaves_the_fast_route_where_it_would_lose_digits() -> None:
    X, Y = problem(500, 4, 4)
    X[:, 3] = X[:, 2] + 1e-6 * X[:, 3]
    assert LinearRegression().fit(X, Y).solver_ == "qr"
    with pytest.raises(WorkError, match="solver='qr'"):
        LinearRegression(solver="cholesky").fit(X, Y)
    assert LinearRegression().fit(X[:, :3], Y).solver_ == "cholesky"


@pytest.mark.parametrize("far", [1e3, 1e6])
def test_means_far_from_zero_lose_nothing_on_the_fast_route(far: float) -> None:
    X, Y = problem(4000, 5, 5)
    moved = LinearRegression(solver="cholesky").fit(X + far, Y)
    assert_allclose(moved.coef_, LinearRegression(solver="qr").fit(X, Y).coef_, rtol=far * 1e-13)


def test_one_block_far_from_the_rest_loses_nothing() -> None:
    X, Y = problem(60_000, 5, 5)
    X[:52_000, 0] += 1e7
    fast, careful = (LinearRegression(solver=solver).fit(X, Y) for solver in ("cholesky", "qr"))
    assert_allclose(fast.coef_, careful.coef_, rtol=1e-9, atol=1e-16)


def test_an_unknown_solver_is_refused_and_the_nearest_named() -> None:
    with pytest.raises(InputError, match="Did you mean 'cholesky'"):
        LinearRegression(solver="choleski").fit([[1.0], [2.0]], [1.0, 2.0])


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("cuts", [[400], [1, 2, 3, 300], [7, 7, 250]])
def test_blocks_of_rows_give_what_all_rows_give(cuts: list[int], weighted: bool, fit_intercept: bool) -> None:
    X, Y = problem(500, 6, 6)
    weights = np.random.default_rng(1).uniform(0, 2, 500) if weighted else None
    model = LinearRegression(fit_intercept=fit_intercept)
    for rows in np.split(np.arange(500), cuts):
        if len(rows):
            model.partial_fit(X[rows], Y[rows], None if weights is None else weights[rows])
    whole = LinearRegression(fit_intercept=fit_intercept).fit(X, Y, weights)
    assert model.rank_ == 6
    assert_allclose(model.coef_, whole.coef_, rtol=1e-11)
    assert_allclose(model.intercept_, whole.intercept_, rtol=1e-11, atol=1e-14)


def test_blocks_of_dependent_columns_give_the_least_norm() -> None:
    X = one_hot(600, [4, 3], 2)
    y = np.random.default_rng(2).normal(size=600)
    model = LinearRegression()
    for rows in np.array_split(np.arange(600), 5):
        model.partial_fit(X[rows], y[rows])
    whole = LinearRegression().fit(X, y)
    assert model.rank_ == whole.rank_ == 7
    assert_allclose(model.coef_, whole.coef_, atol=1e-13)


def test_fit_forgets_the_blocks_and_other_blocks_must_match() -> None:
    X, Y = problem(80, 3, 3)
    model = LinearRegression().partial_fit(X[:40], Y[:40])
    with pytest.raises(InputError, match="1 targets, the blocks before it 3"):
        model.partial_fit(X[40:], Y[40:, 0])
    with pytest.raises(ValueError, match="features"):
        model.partial_fit(X[40:, :2], Y[40:])
    model.fit(X[:40], Y[:40])
    assert_allclose(model.partial_fit(X[40:], Y[40:]).coef_, LinearRegression().fit(X[40:], Y[40:]).coef_, rtol=1e-11)
    for solver in ("svd", "cholesky", "gradient"):
        assert not hasattr(LinearRegression(solver=solver), "partial_fit")


@pytest.mark.parametrize("solver", ["auto", "cholesky", "qr", "svd", "gradient"])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(40_000, 8), (50, 3), (4, 9)])
def test_what_is_not_finite_is_refused_by_every_solver(shape: tuple[int, int], wrong: float, solver: str) -> None:
    X = np.random.default_rng(0).normal(size=shape)
    y = X.sum(axis=1)
    X[shape[0] // 2, 1] = wrong
    with pytest.raises(ValueError, match="Input X contains"):
        LinearRegression(solver=solver).fit(X, y)
    if solver in ("auto", "qr"):
        with pytest.raises(ValueError, match="Input X contains"):
            LinearRegression(solver=solver).partial_fit(X, y)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("move", [0.0, 0.5, 3.0])
def test_the_products_beside_numpy(move: float, weighted: bool) -> None:
    X, Y = problem(30_000, 7, 7)
    X += move - X.mean(axis=0)
    weights = np.random.default_rng(1).uniform(0.5, 2, len(X)) if weighted else None
    for fit_intercept in (False, True):
        found = products(X, Y, weights, fit_intercept=fit_intercept)
        center = fit_intercept * np.average(X, axis=0, weights=weights)
        y_center = fit_intercept * np.average(Y, axis=0, weights=weights)
        v = np.ones(len(X)) if weights is None else weights
        assert_allclose(found.mean_x, center, atol=1e-14)
        assert_allclose(found.xx, (X - center).T @ (v[:, None] * (X - center)), rtol=1e-11, atol=1e-9)
        assert_allclose(found.xy, (X - center).T @ (v[:, None] * (Y - y_center)), rtol=1e-10, atol=1e-8)
        assert found.total == pytest.approx(v.sum(), rel=1e-14)


def test_very_many_targets() -> None:
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(40, 2)), rng.normal(size=(40, 30_000))  # all products of targets would take 7 GB
    model = LinearRegression().fit(X, Y)
    expected = np.linalg.lstsq(X - X.mean(axis=0), Y - Y.mean(axis=0), rcond=None)[0].T
    assert_allclose(model.coef_, expected, atol=1e-13)
