"""The learners of nearest neighbours beside scikit-learn's, the choice of k, and weights of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from heldout import NearestNeighborsClassifier, NearestNeighborsRegressor, persist
from heldout.errors import InputError
from heldout.neighbors import choice as choices


def table(n: int = 300, p: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    return X, np.digitize(X[:, 0] + rng.normal(size=n), [-0.5, 0.5]), X[:, 0] + rng.normal(size=n)


@pytest.mark.long
@pytest.mark.parametrize("p", [5, 30])
@pytest.mark.parametrize("weights", ["uniform", "distance", lambda far: np.exp(-far)])
@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "chebyshev", "cosine"])
@pytest.mark.parametrize("k", [1, 4, 11])
def test_predictions_are_scikit_learns(k: int, metric: str, weights: Any, p: int) -> None:
    X, codes, y = table(n=1300, p=p)
    new = table(n=80, p=p, seed=1)[0]
    new[:3] = X[:3]  # at distance 0
    given: dict[str, Any] = {"n_neighbors": k, "weights": weights, "metric": metric}
    ours = NearestNeighborsClassifier(**given).fit(X, codes)
    theirs = KNeighborsClassifier(**given).fit(X, codes)
    if weights != "distance" or metric != "cosine":  # where theirs has distances to itself of 1e-16
        assert_array_equal(ours.predict(new), theirs.predict(new))
        assert_allclose(ours.predict_proba(new), theirs.predict_proba(new), rtol=1e-7, atol=1e-12)
        both = (NearestNeighborsRegressor(**given).fit(X, y), KNeighborsRegressor(**given).fit(X, y))
        assert_allclose(*(model.predict(new) for model in both), rtol=1e-7)
    for one, other in zip(ours.kneighbors(new), theirs.kneighbors(new), strict=True):
        assert_allclose(one, other, rtol=1e-6, atol=2e-8)


def test_several_targets_and_the_graph_of_neighbours() -> None:
    X, codes, y = table()
    both = np.column_stack([y, 2.0 * y + 1.0])
    model = NearestNeighborsRegressor().fit(X, both)
    assert_allclose(model.predict(X[:7]), KNeighborsRegressor().fit(X, both).predict(X[:7]))
    theirs = KNeighborsClassifier().fit(X, codes)
    ours = NearestNeighborsClassifier().fit(X, codes)
    for mode in ("connectivity", "distance"):
        assert_allclose(ours.kneighbors_graph(mode=mode).toarray(), theirs.kneighbors_graph(mode=mode).toarray())
        assert_allclose(ours.kneighbors_graph(X[:9]).toarray(), theirs.kneighbors_graph(X[:9]).toarray())
    for one, other in zip(ours.radius_neighbors(radius=1.0, sort_results=True),
                          theirs_radius(X, 1.0), strict=True):  # fmt: skip
        for a, b in zip(one, other, strict=True):
            assert_allclose(a, b)
    with pytest.raises(InputError, match="no mode 'distances'"):
        ours.kneighbors_graph(mode="distances")


def theirs_radius(X: np.ndarray, radius: float) -> Any:
    from sklearn.neighbors import NearestNeighbors

    return NearestNeighbors().fit(X).radius_neighbors(radius=radius, sort_results=True)


def test_ties_go_to_the_smaller_index_and_the_first_class() -> None:
    model = NearestNeighborsClassifier(n_neighbors=2).fit([[0.0], [2.0], [2.0], [0.0]], ["d", "c", "b", "a"])
    assert model.kneighbors([[1.0]])[1].tolist() == [[0, 1]]
    assert model.predict([[1.0]]).tolist() == ["c"]


@pytest.mark.parametrize("weights", ["uniform", "distance"])
def test_a_part_of_a_row_counts_in_part(weights: str) -> None:
    model = NearestNeighborsRegressor(n_neighbors=2, weights=weights)
    model.fit([[0.0], [1.0], [5.0]], [0.0, 10.0, 99.0], sample_weight=[1.5, 4.0, 1.0])
    expected = {"uniform": 0.5 * 10.0 / 2.0, "distance": (0.5 / 0.75 * 10.0) / (1.5 / 0.25 + 0.5 / 0.75)}
    assert_allclose(model.predict([[0.25]]), expected[weights])


@pytest.mark.parametrize("weighted", [False, True])
def test_the_errors_of_all_k_are_those_of_a_fit_for_each(weighted: bool) -> None:
    X, codes, y = table()
    new, new_codes, new_y = table(seed=1)
    v = np.random.default_rng(2).integers(1, 4, len(X)) if weighted else None
    path = NearestNeighborsClassifier().fit(X, codes, v).errors_by_k(new, new_codes, 30)
    regression = NearestNeighborsRegressor(weights="distance").fit(X, y, v).errors_by_k(new, new_y, 30)
    for at, k in enumerate(path.k.tolist()):
        model = NearestNeighborsClassifier(n_neighbors=k).fit(X, codes, v)
        assert_allclose(path.mean[at], np.mean(model.predict(new) != new_codes))
        other = NearestNeighborsRegressor(n_neighbors=k, weights="distance").fit(X, y, v)
        assert_allclose(regression.mean[at], np.mean((other.predict(new) - new_y) ** 2))
    assert path.mean[path.best - 1] == path.mean.min()
    assert path.one_se >= path.best
    assert "least" in str(path)
    assert "neighbours" in str(path.plot().to_dict())


def test_k_is_chosen_by_leaving_one_out() -> None:
    X, codes, _ = table(n=120)
    X = np.vstack([X, X[:20]])  # twins, which leave together
    codes = np.r_[codes, codes[:20]]
    model = NearestNeighborsClassifier(n_neighbors="auto").fit(X, codes)
    wrong = np.zeros(70)
    for i in range(len(X)):
        others = np.any(X[i] != X, axis=1)
        nearest = KNeighborsClassifier(70).fit(X[others], codes[others]).kneighbors(X[[i]], return_distance=False)[0]
        votes = np.cumsum(np.eye(3)[codes[others][nearest]], axis=0)  # (70, 3): of the first k
        wrong += votes.argmax(axis=1) != codes[i]
    errors = wrong / len(X)
    assert_allclose(model.choice_.mean, errors)
    assert model.n_neighbors_ == np.flatnonzero(errors == errors.min())[-1] + 1


def test_labels_drawn_at_random_want_many_neighbours() -> None:
    X, *_ = table(n=600)
    codes = (np.random.default_rng(3).random(600) < 0.3).astype(int)
    assert NearestNeighborsClassifier(n_neighbors="auto").fit(X, codes).n_neighbors_ > 10


def test_rows_spread_evenly_are_left_out_of_large_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "MOST_ROWS", 50)
    X, codes, _ = table()
    assert NearestNeighborsClassifier(n_neighbors="auto").fit(X, codes).choice_.mean[0] * 50 % 1 == pytest.approx(0)


def test_a_graph_finds_most_and_says_how_many() -> None:
    pytest.importorskip("faiss", reason="the extra faiss is not installed")
    X, codes, _ = table(n=2000, p=20)
    for metric in ("euclidean", "cosine"):
        model = NearestNeighborsClassifier(algorithm="hnsw", metric=metric).fit(X, codes)
        assert model.index_.recall > 0.95
        assert "% of the nearest" in str(model.index_)
        exact = NearestNeighborsClassifier(metric=metric).fit(X, codes)
        assert np.mean(model.kneighbors(X[:100])[1] == exact.kneighbors(X[:100])[1]) > 0.95
    restored = persist.loads(persist.dumps(model))
    assert_array_equal(restored.predict(X[:50]), model.predict(X[:50]))
    with pytest.raises(InputError, match="euclidean and cosine"):
        NearestNeighborsClassifier(algorithm="hnsw", metric="l1").fit(X, codes)
    with pytest.raises(InputError, match="within a radius"):
        model.radius_neighbors(X[:2])


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"n_neighbors": 0}, "n_neighbors is 0"),
        ({"n_neighbors": True}, "n_neighbors is True"),
        ({"n_neighbors": 301}, "n_samples = 300: take fewer"),
        ({"weights": "near"}, "no weights 'near'"),
        ({"algorithm": "ball"}, "no algorithm 'ball'"),
        ({"metric": "l3"}, "no metric 'l3'"),
        ({"metric": "minkowski", "p": 0.3}, r"p is 0\.3"),
        ({"p": "two"}, "p is 'two'"),
    ],
)
def test_wrong_parameters_are_refused_in_a_sentence(wrong: dict[str, Any], sentence: str) -> None:
    X, codes, _ = table()
    with pytest.raises(InputError, match=sentence):
        NearestNeighborsClassifier(**wrong).fit(X, codes)


def test_wrong_questions_are_refused_in_a_sentence() -> None:
    X, codes, _ = table()
    model = NearestNeighborsClassifier(weights=lambda far: -1.0 - far).fit(X, codes)
    with pytest.raises(InputError, match="function for weights must give"):
        model.predict(X[:2])
    with pytest.raises(InputError, match="cannot be stored"):
        persist.dumps(model)
    with pytest.raises(InputError, match="from 1 to 299"):
        model.kneighbors(n_neighbors=300)
    with pytest.raises(InputError, match="from 1 to 300"):
        model.kneighbors(X, n_neighbors=0)


@pytest.mark.long
def test_accuracy_on_images(real_data: Any) -> None:
    import gzip

    parts = []
    for kind in ("train", "t10k"):
        with gzip.open(real_data / "fashion_mnist" / f"{kind}-images-idx3-ubyte.gz") as file:
            parts.append(np.frombuffer(file.read(), dtype=np.uint8, offset=16).reshape(-1, 784).astype(np.float32))
        with gzip.open(real_data / "fashion_mnist" / f"{kind}-labels-idx1-ubyte.gz") as file:
            parts.append(np.frombuffer(file.read(), dtype=np.uint8, offset=8))
    X, y, X_test, y_test = parts
    for metric, least in (("manhattan", 0.83), ("euclidean", 0.82)):
        model = NearestNeighborsClassifier(n_neighbors=5, weights="distance", metric=metric).fit(X[:20_000], y[:20_000])
        assert model.score(X_test[:2000], y_test[:2000]) >= least
