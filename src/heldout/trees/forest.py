"""Random forests: many trees on bootstrapped rows, each node looking at a few random columns."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted

from heldout.errors import InputError, suggest
from heldout.linear.blocks import allowed_threads, in_threads, split_rows, threads
from heldout.linear.states import (
    class_weight_from_state,
    class_weight_to_state,
    class_weights,
    columns_from_state,
    labels_from_state,
    labels_to_state,
    row_weights,
)
from heldout.trees.binning import bin_columns
from heldout.trees.building import Limits, Target, build
from heldout.trees.columns import categories_from_state, rows_of
from heldout.trees.nodes import Tree
from heldout.trees.tree import (
    CLASS_CRITERIA,
    NUMBER_CRITERIA,
    TreeBase,
    importances,
    is_number,
    is_share,
    is_whole,
    labels_of,
    numbers_of,
    parameters_from_state,
    parameters_to_state,
    shares_of,
)

if TYPE_CHECKING:
    from heldout.persist import State

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

CUTS = ("best", "random")
MOST_ROWS, LEAST_ROWS = 10_000, 256  # that a thread predicts at a time: a tree stays in its cache for them


@dataclass(frozen=True)
class Grove:
    """Trees one after the other in the same arrays, for prediction; children and sets count from the beginning."""

    arrays: tuple[Array, ...]  # as `Tree.walk`
    nodes: Array  # the same, packed, for rows without gaps
    value: Array
    roots: Array

    @classmethod
    def of(cls, trees: Sequence[Tree]) -> Grove:
        """The trees in their order."""
        from heldout.trees.predict import packed

        starts = np.cumsum([0, *(tree.n_nodes for tree in trees)])
        sets = np.cumsum([0, *(len(tree.sets) for tree in trees)])
        left = [np.where(t.left >= 0, t.left + start, -1) for t, start in zip(trees, starts, strict=False)]
        rows = [np.where(t.categories >= 0, t.categories + at, -1) for t, at in zip(trees, sets, strict=False)]

        def joined(name: str) -> Array:
            return np.concatenate([getattr(tree, name) for tree in trees])

        arrays = (
            joined("feature"), joined("threshold"), np.concatenate(left), joined("missing_left"), np.concatenate(rows),
            joined("sets"),
        )  # fmt: skip
        nodes = packed(arrays[0], arrays[1], arrays[2])
        return cls(arrays, nodes, joined("value"), starts[:-1].astype(np.uint32))

    def mean(self, X: Array, which: Array | None = None) -> Array:
        """The mean of the trees' values (n, K)."""
        from heldout.trees.predict import add_plain_values, add_values

        out, roots = np.zeros((len(X), self.value.shape[1])), self.roots if which is None else self.roots[which]

        plain = not len(self.arrays[-1]) and not np.isnan(X).any()

        def fill(run: slice) -> None:
            if plain:
                add_plain_values(X[run], self.nodes, self.value, roots, out[run])
            else:
                add_values(X[run], *self.arrays, self.value, roots, out[run])

        parts = max(-(-len(X) // MOST_ROWS), min(allowed_threads(), len(X) // LEAST_ROWS), 1)
        in_threads(fill, split_rows(len(X), parts))
        return out / len(roots)


class _Forest(TreeBase):
    """What both forests share."""

    def __init__(
        self,
        *,
        n_estimators: int = 100,
        criterion: str,
        splitter: str = "auto",
        cuts: str = "best",
        max_depth: int | None = None,
        min_samples_split: int | float = 2,
        min_samples_leaf: int | float = 1,
        min_weight_fraction_leaf: float = 0.0,
        max_features: Any,
        max_leaf_nodes: int | None = None,
        min_impurity_decrease: float = 0.0,
        bootstrap: bool = True,
        max_samples: int | float | None = None,
        oob_score: bool = False,
        monotonic_cst: ArrayLike | None = None,
        categorical_features: Any = "from_dtype",
        warm_start: bool = False,
        time_limit: float | None = None,
        seed: int = 0,
    ) -> None:
        self.n_estimators = n_estimators
        self.criterion = criterion
        self.splitter = splitter
        self.cuts = cuts
        self.max_depth = max_depth
        self.min_samples_split = min_samples_split
        self.min_samples_leaf = min_samples_leaf
        self.min_weight_fraction_leaf = min_weight_fraction_leaf
        self.max_features = max_features
        self.max_leaf_nodes = max_leaf_nodes
        self.min_impurity_decrease = min_impurity_decrease
        self.bootstrap = bootstrap
        self.max_samples = max_samples
        self.oob_score = oob_score
        self.monotonic_cst = monotonic_cst
        self.categorical_features = categorical_features
        self.warm_start = warm_start
        self.time_limit = time_limit
        self.seed = seed

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if not is_whole(self.n_estimators, 1):
            raise InputError(f"n_estimators is {self.n_estimators!r} and must be a whole number from 1 up.")
        if self.cuts not in CUTS:
            raise InputError(f"There are no cuts {self.cuts!r}.{suggest(str(self.cuts), CUTS)}")
        for name in ("bootstrap", "oob_score", "warm_start"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                raise InputError(f"{name} is {getattr(self, name)!r} and must be True or False.")
        if self.oob_score and not self.bootstrap:
            raise InputError("oob_score needs bootstrap=True: without it no row is out of any bag.")
        most = self.max_samples
        if most is not None and not is_whole(most, 1) and not is_share(most):
            raise InputError(
                f"max_samples is {most!r} and must be None, a whole number from 1 up, or a share of the rows."
            )
        if self.time_limit is not None and (not is_number(self.time_limit) or not self.time_limit > 0.0):
            raise InputError(f"time_limit is {self.time_limit!r} and must be None or seconds above 0.")

    def _grow(self, X: Array, target: Target, v: Array, factors: Callable[[Array], Array]) -> None:
        """Grow what is missing to `n_estimators` trees; `factors` (n,) of a bag are multiplied to its weights."""
        p = X.shape[1]
        limits = self._limits(len(X), p, float(v.sum()))
        limits = Limits(**{**vars(limits), "at_random": self.cuts == "random"})
        monotonic = self._monotonic(p, target.n_classes)
        binned = bin_columns(X, most_bins=self._bins(len(X)), categorical=self._categorical_mask(p))
        kept: list[Tree] = getattr(self, "estimators_", []) if self.warm_start else []
        if len(kept) > self.n_estimators:
            raise InputError(f"n_estimators is {self.n_estimators}, and {len(kept)} trees are grown already.")
        todo = range(len(kept), int(self.n_estimators))

        def grown(i: int) -> Tree:
            bag = v * factors(self._bag(i, len(X)))
            return build(binned, monotonic, target, bag, limits, tree_seed(int(self.seed), i))

        self.estimators_ = [*kept, *self._in_time(grown, todo)]
        self.max_features_ = limits.n_tried
        self._grove = Grove.of(self.estimators_)

    def _in_time(self, grown: Callable[[int], Tree], todo: Sequence[int]) -> list[Tree]:
        """The trees, or those that the time limit or an interruption leaves: at least one."""
        began, found = time.perf_counter(), list[Tree]()
        with threads(len(todo)) as map_:
            at_once = 2 * len(todo) if self.time_limit is None else 8
            for at in range(0, len(todo), at_once):
                found += map_(grown, todo[at : at + at_once])
                late = self.time_limit is not None and time.perf_counter() - began > self.time_limit
                if late and len(found) < len(todo):
                    warnings.warn(
                        f"The time limit of {self.time_limit:g} s was reached after {len(found)} of {len(todo)} trees: "
                        "the forest is smaller, and valid.",
                        UserWarning,
                        stacklevel=4,
                    )
                    break
        return found

    def _bag(self, i: int, n: int) -> Array:
        """How often each of n rows is in the bag of tree i (n,)."""
        most = self.max_samples
        size = n if most is None else min(int(most), n) if is_whole(most, 1) else max(1, round(most * n))
        rng = np.random.default_rng([int(self.seed), i, 1])
        if not self.bootstrap:
            bag = np.ones(n)
            if size < n:
                bag[rng.permutation(n)[size:]] = 0.0
            return bag
        return np.bincount(rng.integers(0, n, size), minlength=n).astype(np.float64)

    def _out_of_bag(self, X: Array) -> tuple[Array, Array]:
        """The mean value (n, K) of each training row over the trees that did not see it, and their number (n,)."""
        total, count = np.zeros((len(X), self._grove.value.shape[1])), np.zeros(len(X))
        for i in range(len(self.estimators_)):
            out = np.flatnonzero(self._bag(i, len(X)) == 0.0)
            total[out] += self._grove.mean(X[out], np.array([i]))
            count[out] += 1.0
        return total / np.maximum(count, 1.0)[:, None], count

    def _mean(self, X: Any) -> Array:
        check_is_fitted(self)
        return self._grove.mean(rows_of(self, X))

    @property
    def feature_importances_(self) -> Array:
        """By how much each column lessens the impurity (p,), the mean of the trees, as shares of 1.

        Columns with many values are favoured, and the training rows speak: permutation on validation rows says more.
        """
        check_is_fitted(self)
        found = [shares_of(importances(tree, self.n_features_in_)) for tree in self.estimators_]
        return shares_of(np.mean(found, axis=0))

    def to_state(self) -> dict[str, Any]:
        """What a model file stores of a fitted forest."""
        check_is_fitted(self)
        return {
            **parameters_to_state(self),
            "n_estimators": int(self.n_estimators),
            "cuts": self.cuts,
            "bootstrap": bool(self.bootstrap),
            "max_samples": self.max_samples,
            "oob_score": bool(self.oob_score),
            "warm_start": bool(self.warm_start),
            "time_limit": None if self.time_limit is None else float(self.time_limit),
            "trees": [tree.to_state(self.n_features_in_) for tree in self.estimators_],
            **({"oob": self.oob_score_} if self.oob_score else {}),
        }

    @classmethod
    def _restored(cls, state: State, n_values: int, **more: Any) -> Any:
        learner = cls(
            **parameters_from_state(state, cls.criteria),
            n_estimators=state.integer("n_estimators", low=1),
            cuts=state.choice("cuts", CUTS),
            bootstrap=state.boolean("bootstrap"),
            max_samples=state.json("max_samples") if state.optional("max_samples") else None,
            oob_score=state.boolean("oob_score"),
            warm_start=state.boolean("warm_start"),
            time_limit=state.number("time_limit") if state.optional("time_limit") else None,
            **more,
        )
        p = columns_from_state(learner, state)
        learner.categories_ = categories_from_state(state, p)
        learner.estimators_ = [Tree.from_state(part, p, n_values) for part in state.parts("trees")]
        if not 0 < len(learner.estimators_) <= learner.n_estimators:
            state.fail(f"it has {len(learner.estimators_)} trees of {learner.n_estimators}")
        learner._check_restored(state, p, n_values)
        if learner.oob_score:
            learner.oob_score_ = state.number("oob")
        learner._grove = Grove.of(learner.estimators_)
        return learner


def tree_seed(seed: int, i: int) -> int:
    """Of the columns that tree i draws."""
    return int(np.random.default_rng([seed, i, 0]).integers(2**62))


class RandomForestClassifier(ClassifierMixin, _Forest):  # type: ignore[misc]
    r"""The mean of many trees, each grown on rows drawn with replacement, each node of it looking at a few columns.

    .. math:: p(y = c \mid x) = \frac{1}{B} \sum_{b=1}^{B} p_b(y = c \mid x)

    The trees' errors cancel as far as they are not alike; random rows and columns make them less alike.

    Parameters
    ----------
    n_estimators : int from 1 up, default 100
        B.
    criterion, splitter, max_depth, min_samples_split, min_samples_leaf, min_weight_fraction_leaf, max_leaf_nodes,
    min_impurity_decrease, monotonic_cst, categorical_features : as in `DecisionTreeClassifier`
    cuts : {"best", "random"}, default "best"
        "random": in each column that a node looks at, one cut at a value drawn between its least and greatest
        (extremely randomised trees).
    max_features : int, share, "sqrt", "log2" or None, default "sqrt"
        How many columns a node looks at.
    bootstrap : bool, default True
        Draw the rows of a tree with replacement; otherwise each tree sees all.
    max_samples : int, share of the rows or None, default None
        How many rows are drawn; None: as many as there are.
    oob_score : bool, default False
        Score every row by the trees that did not see it: `oob_score_`, `oob_decision_function_`.
    class_weight : dict from label to a number, "balanced", "balanced_subsample" or None, default None
        "balanced_subsample" balances each tree's bag by itself.
    warm_start : bool, default False
        Keep the trees of the last fit, and grow those that are missing.
    time_limit : float above 0 or None, default None
        Seconds after which no further trees are begun; the forest is then smaller, with a warning.
    seed : int, not negative, default 0
        The same seed gives the same forest, whatever the number of threads.

    Attributes
    ----------
    classes_ : array (K,), the class labels, sorted
    estimators_ : list of Tree
    feature_importances_ : float64 array (p,)
    oob_score_ : float, the accuracy out of bag; oob_decision_function_ : float64 array (n, K), NaN for rows that every
        tree saw; with oob_score=True
    categories_ : dict from the number of a column to its categories
    max_features_ : int
    n_features_in_ : int, p; feature_names_in_ : object array (p,), where the data had column names

    Raises
    ------
    InputError : a parameter is out of range, there is a column of more than 255 categories, or texts outside a frame.
    ValueError : the data is empty, infinite, or of another width than at fit.

    References
    ----------
    L. Breiman, Machine Learning 45, 2001. P. Geurts, D. Ernst and L. Wehenkel, Machine Learning 63, 2006.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> X, y = load_wine(return_X_y=True)
    >>> model = RandomForestClassifier(oob_score=True).fit(X, y)
    >>> len(model.estimators_), round(model.oob_score_, 2)
    (100, 0.98)
    """

    criteria = CLASS_CRITERIA

    def __init__(
        self,
        *,
        n_estimators: int = 100,
        criterion: str = "gini",
        splitter: str = "auto",
        cuts: str = "best",
        max_depth: int | None = None,
        min_samples_split: int | float = 2,
        min_samples_leaf: int | float = 1,
        min_weight_fraction_leaf: float = 0.0,
        max_features: Any = "sqrt",
        max_leaf_nodes: int | None = None,
        min_impurity_decrease: float = 0.0,
        bootstrap: bool = True,
        max_samples: int | float | None = None,
        oob_score: bool = False,
        class_weight: dict[Any, float] | str | None = None,
        monotonic_cst: ArrayLike | None = None,
        categorical_features: Any = "from_dtype",
        warm_start: bool = False,
        time_limit: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            n_estimators=n_estimators,
            criterion=criterion,
            splitter=splitter,
            cuts=cuts,
            max_depth=max_depth,
            min_samples_split=min_samples_split,
            min_samples_leaf=min_samples_leaf,
            min_weight_fraction_leaf=min_weight_fraction_leaf,
            max_features=max_features,
            max_leaf_nodes=max_leaf_nodes,
            min_impurity_decrease=min_impurity_decrease,
            bootstrap=bootstrap,
            max_samples=max_samples,
            oob_score=oob_score,
            monotonic_cst=monotonic_cst,
            categorical_features=categorical_features,
            warm_start=warm_start,
            time_limit=time_limit,
            seed=seed,
        )
        self.class_weight = class_weight

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> RandomForestClassifier:
        """Grow the forest on `X` (n, p), numbers with gaps or a frame, labels `y` (n,), and weights (n,) if wanted."""
        self._check_parameters()
        X = rows_of(self, X, reset=True)
        labels, v = labels_of(y, X), row_weights(sample_weight, X)
        v = np.ones(len(X)) if v is None else v
        seen = v > 0.0
        self.classes_, codes = np.unique(labels, return_inverse=True)
        k, each = len(self.classes_), self.class_weight == "balanced_subsample"
        if not each:
            v = v * class_weights(self.class_weight, self.classes_, codes, v)[codes]
            seen = v > 0.0
        own = codes[seen]

        def factors(bag: Array) -> Array:
            return bag * class_weights("balanced", self.classes_, own, bag * v[seen])[own] if each else bag

        rows = X if seen.all() else X[seen]
        self._grow(rows, Target.of_classes(own, k), v[seen], factors)
        if self.oob_score:
            value, count = self._out_of_bag(rows)
            self.oob_decision_function_ = np.full((len(X), k), np.nan)
            self.oob_decision_function_[seen] = np.where(count[:, None] > 0.0, value, np.nan)
            told = count > 0.0
            if not told.any():
                raise InputError("Every row is in every bag: grow more trees for an out-of-bag score.")
            self.oob_score_ = float(np.mean(value[told].argmax(axis=1) == own[told]))
        return self

    def predict_proba(self, X: Any) -> Array:
        """The mean of the trees' shares of the classes (m, K)."""
        return self._mean(X)

    def predict(self, X: Any) -> Array:
        """The class (m,) with the greatest mean share; of equal ones the first."""
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def to_state(self) -> dict[str, Any]:
        """What a model file stores of a fitted forest."""
        return {
            **super().to_state(),
            "class_weight": class_weight_to_state(self.class_weight),
            **labels_to_state(self.classes_),
        }

    @classmethod
    def from_state(cls, state: State) -> RandomForestClassifier:
        """The fitted forest that `to_state` described; ModelFileError where the values do not fit together."""
        classes, stored = labels_from_state(state, at_least=1), None
        if state.optional("class_weight"):
            stored = state.json("class_weight")
        weight = stored if stored == "balanced_subsample" else class_weight_from_state(state)
        learner: RandomForestClassifier = cls._restored(state, len(classes), class_weight=weight)
        learner.classes_ = classes
        return learner


class RandomForestRegressor(RegressorMixin, _Forest):  # type: ignore[misc]
    r"""The mean of many trees, each grown on rows drawn with replacement, each node of it looking at a few columns.

    .. math:: \hat y(x) = \frac{1}{B} \sum_{b=1}^{B} \hat y_b(x)

    Parameters
    ----------
    criterion : {"squared_error", "poisson"}, default "squared_error"
    max_features : int, share, "sqrt", "log2" or None, default 1.0
        How many columns a node looks at; 1.0 is all.
    n_estimators, splitter, cuts, max_depth, min_samples_split, min_samples_leaf, min_weight_fraction_leaf,
    max_leaf_nodes, min_impurity_decrease, bootstrap, max_samples, oob_score, monotonic_cst, categorical_features,
    warm_start, time_limit, seed : as in `RandomForestClassifier`

    Attributes
    ----------
    oob_score_ : float, R^2 out of bag; oob_prediction_ : float64 array (n,), NaN for rows that every tree saw; with
        oob_score=True
    estimators_, feature_importances_, categories_, max_features_, n_features_in_, feature_names_in_ : as there

    Raises
    ------
    InputError : a parameter is out of range, there is a column of more than 255 categories, or texts outside a frame.
    ValueError : the data is empty, infinite, or of another width than at fit.

    References
    ----------
    L. Breiman, Machine Learning 45, 2001.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> RandomForestRegressor(min_samples_leaf=5, oob_score=True).fit(X, y).oob_score_ > 0.4
    True
    """

    criteria = NUMBER_CRITERIA

    def __init__(
        self,
        *,
        n_estimators: int = 100,
        criterion: str = "squared_error",
        splitter: str = "auto",
        cuts: str = "best",
        max_depth: int | None = None,
        min_samples_split: int | float = 2,
        min_samples_leaf: int | float = 1,
        min_weight_fraction_leaf: float = 0.0,
        max_features: Any = 1.0,
        max_leaf_nodes: int | None = None,
        min_impurity_decrease: float = 0.0,
        bootstrap: bool = True,
        max_samples: int | float | None = None,
        oob_score: bool = False,
        monotonic_cst: ArrayLike | None = None,
        categorical_features: Any = "from_dtype",
        warm_start: bool = False,
        time_limit: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            n_estimators=n_estimators,
            criterion=criterion,
            splitter=splitter,
            cuts=cuts,
            max_depth=max_depth,
            min_samples_split=min_samples_split,
            min_samples_leaf=min_samples_leaf,
            min_weight_fraction_leaf=min_weight_fraction_leaf,
            max_features=max_features,
            max_leaf_nodes=max_leaf_nodes,
            min_impurity_decrease=min_impurity_decrease,
            bootstrap=bootstrap,
            max_samples=max_samples,
            oob_score=oob_score,
            monotonic_cst=monotonic_cst,
            categorical_features=categorical_features,
            warm_start=warm_start,
            time_limit=time_limit,
            seed=seed,
        )

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> RandomForestRegressor:
        """Grow the forest on `X` (n, p), numbers with gaps or a frame, numbers `y` (n,), and weights (n,) if wanted."""
        self._check_parameters()
        X = rows_of(self, X, reset=True)
        numbers, v = numbers_of(y, X, self.criterion), row_weights(sample_weight, X)
        v = np.ones(len(X)) if v is None else v
        seen = v > 0.0
        rows = X if seen.all() else X[seen]
        self._grow(rows, Target.of_numbers(numbers[seen], self.criterion), v[seen], lambda bag: bag)
        if self.oob_score:
            value, count = self._out_of_bag(rows)
            told = count > 0.0
            if told.sum() < 2:
                raise InputError("Every row is in every bag: grow more trees for an out-of-bag score.")
            self.oob_prediction_ = np.full(len(X), np.nan)
            self.oob_prediction_[seen] = np.where(told, value[:, 0], np.nan)
            self.oob_score_ = float(r2_score(numbers[seen][told], value[told, 0], sample_weight=v[seen][told]))
        return self

    def predict(self, X: Any) -> Array:
        """The mean of the trees' means (m,)."""
        return self._mean(X)[:, 0]

    @classmethod
    def from_state(cls, state: State) -> RandomForestRegressor:
        """The fitted forest that `to_state` described; ModelFileError where the values do not fit together."""
        learner: RandomForestRegressor = cls._restored(state, 1)
        return learner
