"""Random forests: many trees on bootstrapped rows, each node looking at a few random columns."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted

from heldout.errors import InputError, suggest
from heldout.linear.blocks import in_order
from heldout.linear.states import (
    class_weight_from_state,
    class_weight_to_state,
    class_weights,
    columns_from_state,
    labels_from_state,
    labels_to_state,
    row_weights,
)
from heldout.progress import shown_progress
from heldout.trees.base import (
    CLASS_CRITERIA,
    NUMBER_CRITERIA,
    TreeBase,
    as_before_if_it_fails,
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
from heldout.trees.binning import bin_columns
from heldout.trees.building import Limits, Target, build
from heldout.trees.columns import categories_from_state, rows_of
from heldout.trees.grove import Grove
from heldout.trees.members import Members
from heldout.trees.nodes import Tree
from heldout.trees.out_of_bag import CHECKS, OutOfBag, Residuals, Settling, no_checks
from heldout.trees.prune import without_branches

if TYPE_CHECKING:
    from heldout.ensemble.diversity import NumberDiversity, VoteDiversity
    from heldout.persist import State

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

CUTS = ("best", "random")
VOTES = ("soft", "hard")


@dataclass(frozen=True)
class Growth:
    """What `fit` needs to know of how the trees were grown.

    `bag(i)` are the weights (n,) of the rows of tree i. An interruption is raised again when the forest stands.
    """

    judge: OutOfBag | None
    bag: Callable[[int], Array]
    stopped: KeyboardInterrupt | None


class _Forest(TreeBase):
    """What both forests share."""

    def __init__(
        self,
        *,
        n_estimators: int | str = 100,
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
        verbose: bool = False,
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
        self.verbose = verbose
        self.seed = seed

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if not is_whole(self.n_estimators, 1) and not self._by_itself:
            raise InputError(f"n_estimators is {self.n_estimators!r} and must be a whole number from 1 up, or 'auto'.")
        if self.cuts not in CUTS:
            raise InputError(f"There are no cuts {self.cuts!r}.{suggest(str(self.cuts), CUTS)}")
        for name in ("bootstrap", "oob_score", "warm_start", "verbose"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                raise InputError(f"{name} is {getattr(self, name)!r} and must be True or False.")
        if (self.oob_score or self._by_itself) and not self.bootstrap:
            wish = "oob_score" if self.oob_score else "n_estimators='auto'"
            raise InputError(f"{wish} needs bootstrap=True: without it no row is out of any bag.")
        most = self.max_samples
        if most is not None and not is_whole(most, 1) and not is_share(most):
            raise InputError(
                f"max_samples is {most!r} and must be None, a whole number from 1 up, or a share of the rows."
            )
        if self.time_limit is not None and (not is_number(self.time_limit) or not self.time_limit > 0.0):
            raise InputError(f"time_limit is {self.time_limit!r} and must be None or seconds above 0.")

    @property
    def _by_itself(self) -> bool:
        """Whether the forest stops when its out-of-bag error has settled."""
        return isinstance(self.n_estimators, str) and self.n_estimators == "auto"

    def _grow(self, X: Array, target: Target, v: Array, factors: Callable[[Array], Array]) -> Growth:
        """Grow the trees that are missing; `factors` makes weights of a bag's rows times their own."""
        p = X.shape[1]
        limits = self._limits(len(X), p)
        limits = Limits(**{**vars(limits), "at_random": self.cuts == "random"})
        monotonic = self._monotonic(p, target.n_classes)
        binned = bin_columns(X, most_bins=self._bins(len(X)), categorical=self._categorical_mask(p))
        kept: list[Tree] = list(getattr(self, "estimators_", [])) if self.warm_start else []
        most = CHECKS[-1] if self._by_itself else int(self.n_estimators)
        if len(kept) > most:
            raise InputError(f"n_estimators is {self.n_estimators}, and {len(kept)} trees are grown already.")

        def bag(i: int) -> Array:
            counts = v * self._bag(i, len(X))
            return np.asarray(factors(counts))

        def grown(i: int) -> Tree:
            return build(binned, monotonic, target, bag(i), limits, tree_seed(int(self.seed), i))

        judge = None
        if self._by_itself:
            self.settling_ = no_checks()
        if self.oob_score or self._by_itself:
            judge = OutOfBag(X, target, lambda i: self._bag(i, len(X)), self._hard)
        trees, stopped = self._in_time(grown, kept, most, judge, v)
        self.max_features_ = limits.n_tried
        self._stand(trees)
        return Growth(judge, bag, stopped)

    @property
    def _hard(self) -> bool:
        return getattr(self, "voting", "soft") == "hard"

    def _stand(self, trees: list[Tree]) -> None:
        self._grove = Grove.of(trees, hard=self._hard)
        self.estimators_ = self._grove.trees

    @property
    def _learned_from(self) -> list[Any]:
        """What trees that are kept must share with new ones: columns, categories and classes."""
        categories = {j: values.tolist() for j, values in getattr(self, "categories_", {}).items()}
        names = list(getattr(self, "feature_names_in_", []))
        return [getattr(self, "n_features_in_", 0), names, categories, list(getattr(self, "classes_", []))]

    def _check_same(self, before: list[Any]) -> None:
        if self.warm_start and hasattr(self, "estimators_") and self._learned_from != before:
            raise InputError(
                "warm_start=True keeps the trees, and these know other columns, categories or classes than the rows "
                "have: fit with warm_start=False."
            )

    def _in_time(
        self, grown: Callable[[int], Tree], trees: list[Tree], most: int, judge: OutOfBag | None, v: Array
    ) -> tuple[list[Tree], KeyboardInterrupt | None]:
        """`trees` and those up to `most`, or to when the forest has settled, or time is up, or an interruption came."""
        began, late, settling = time.perf_counter(), False, no_checks()
        stops = [check for check in CHECKS if check >= len(trees)] if self._by_itself else [most]
        try:
            with shown_progress(not self.verbose) as tell:
                for stop in stops:
                    for tree in in_order(grown, range(len(trees), stop)):
                        trees.append(tree)
                        if tell:
                            tell("Growing trees", len(trees), most)
                        late = self.time_limit is not None and time.perf_counter() - began > self.time_limit
                        if late:
                            break
                    if judge:
                        judge.add(trees)
                    if judge and self._by_itself and judge.can_tell:
                        settling = self.settling_ = settling.after(len(trees), *judge.squared_error(v))
                    if late or settling.settled:
                        break
        except KeyboardInterrupt:
            if not trees:
                raise
            if judge:
                judge.add(trees)
            sentence = f"the forest holds the {len(trees)} trees that had grown; warm_start=True grows the others"
            return trees, KeyboardInterrupt(sentence)
        if late and len(trees) < most:
            _warn(
                f"The time limit of {self.time_limit:g} s was reached after {len(trees)} of {most} trees: the forest "
                "is smaller, and valid."
            )
        elif self._by_itself and not settling.settled:
            _warn(f"The out-of-bag error has not settled at {len(trees)} trees, which are as many as there may be.")
        return trees, None

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

    def _mean(self, X: Any) -> Array:
        check_is_fitted(self)
        return self._grove.mean(rows_of(self, X))

    @property
    def can_be_cut_back(self) -> bool:
        """`cut_back` gives what growing anew would: nothing was kept that depends on how deep the trees are."""
        kept = self.oob_score or self._by_itself or getattr(self, "leaf_members", False)
        return hasattr(self, "_grove") and not kept and self.max_leaf_nodes is None

    def cut_back(self, min_samples_split: int) -> Any:
        """The forest that is left where nodes of fewer rows are leaves: one grown so, without growing it.

        A node's cut is drawn and chosen by its own rows, whatever becomes of its children, so the trees follow the law
        of those that `fit` grows with this `min_samples_split`; only the draws of columns are others.

        Parameters
        ----------
        min_samples_split : int from 2 up, rows of a node that is still cut

        Raises
        ------
        InputError : the forest keeps out-of-bag scores or the rows of its leaves, has been left to find its number of
            trees, or was grown best node first.

        Examples
        --------
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> forest = RandomForestRegressor(n_estimators=10).fit(X, X[:, 0])
        >>> smaller = forest.cut_back(40)
        >>> smaller.min_samples_split, smaller.estimators_[0].n_leaves < forest.estimators_[0].n_leaves / 4
        (40, True)
        """
        check_is_fitted(self)
        if not self.can_be_cut_back:
            raise InputError(
                "This forest cannot be cut back: oob_score, leaf_members, n_estimators='auto' and max_leaf_nodes "
                "depend on how deep its trees are. Fit it anew."
            )
        smaller = copy(self)
        smaller.min_samples_split = int(min_samples_split)
        smaller._check_parameters()
        smaller._stand([without_branches(tree, tree.count < smaller.min_samples_split) for tree in self.estimators_])
        return smaller

    @property
    def feature_importances_(self) -> Array:
        """By how much each column lessens the impurity (p,), the mean of the trees, as shares of 1.

        Columns with many values are favoured, and the training rows speak: permutation on validation rows says more.
        """
        check_is_fitted(self)
        found = [shares_of(importances(tree, self.n_features_in_)) for tree in self.estimators_]
        return shares_of(np.mean(found, axis=0))

    def _each(self, X: Any) -> tuple[Array, Array]:
        """Rows as the trees take them, and what each tree says of them (B, n)."""
        check_is_fitted(self)
        X = rows_of(self, X)
        return X, self._grove.each(X)

    def to_state(self) -> dict[str, Any]:
        """What a model file stores of a fitted forest."""
        check_is_fitted(self)
        return {
            **parameters_to_state(self),
            "n_estimators": self.n_estimators if self._by_itself else int(self.n_estimators),
            "cuts": self.cuts,
            "bootstrap": bool(self.bootstrap),
            "max_samples": self.max_samples,
            "oob_score": bool(self.oob_score),
            "warm_start": bool(self.warm_start),
            "time_limit": None if self.time_limit is None else float(self.time_limit),
            "verbose": bool(self.verbose),
            "trees": [tree.to_state(self.n_features_in_) for tree in self.estimators_],
            **({"oob": self.oob_score_} if self.oob_score else {}),
            **({"settling": self.settling_.to_state()} if self._by_itself else {}),
        }

    @classmethod
    def _restored(cls, state: State, n_values: int, **more: Any) -> Any:
        learner = cls(
            **parameters_from_state(state, cls.criteria),
            n_estimators=state.json("n_estimators"),
            cuts=state.choice("cuts", CUTS),
            bootstrap=state.boolean("bootstrap"),
            max_samples=state.json("max_samples") if state.optional("max_samples") else None,
            oob_score=state.boolean("oob_score"),
            warm_start=state.boolean("warm_start"),
            time_limit=state.number("time_limit") if state.optional("time_limit") else None,
            verbose=state.boolean("verbose"),
            **more,
        )
        p = columns_from_state(learner, state)
        learner.categories_ = categories_from_state(state, p)
        trees = [Tree.from_state(part, p, n_values) for part in state.parts("trees")]
        learner._check_restored(state, p, n_values)
        if not 0 < len(trees) <= (CHECKS[-1] if learner._by_itself else int(learner.n_estimators)):
            state.fail(f"it has {len(trees)} trees of {learner.n_estimators}")
        if learner.oob_score:
            learner.oob_score_ = state.number("oob")
        if learner._by_itself:
            learner.settling_ = Settling.from_state(state.part("settling"))
        learner._stand(trees)
        return learner


def _warn(sentence: str) -> None:
    warnings.warn(sentence, UserWarning, stacklevel=5)


def tree_seed(seed: int, i: int) -> int:
    """Of the columns that tree i draws."""
    return int(np.random.default_rng([seed, i, 0]).integers(2**62))


class RandomForestClassifier(ClassifierMixin, _Forest):  # type: ignore[misc]
    r"""The mean of many trees, each grown on rows drawn with replacement, each node of it looking at a few columns.

    .. math:: p(y = c \mid x) = \frac{1}{B} \sum_{b=1}^{B} p_b(y = c \mid x)

    The trees' errors cancel as far as they are not alike; random rows and columns make them less alike.

    Parameters
    ----------
    n_estimators : int from 1 up or "auto", default 100
        B. "auto": trees are added until the out-of-bag error has settled, by the rule that `settling_` states; at most
        1,000.
    criterion, splitter, max_depth, min_samples_split, min_samples_leaf : as in `DecisionTreeClassifier`
    min_weight_fraction_leaf, max_leaf_nodes, min_impurity_decrease : as there
    monotonic_cst, categorical_features : as there
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
    voting : {"soft", "hard"}, default "soft"
        "soft": the mean of the trees' shares; "hard": every tree has one vote, for the class it favours.
    class_weight : dict from label to a number, "balanced", "balanced_subsample" or None, default None
        "balanced_subsample" balances each tree's bag by itself.
    warm_start : bool, default False
        Keep the trees of the last fit, and grow those that are missing.
    time_limit : float above 0 or None, default None
        Seconds after which no further trees are begun; the forest is then smaller, with a warning. An interruption
        (Ctrl-C) is raised when the trees that have grown stand as a forest, which can be used.
    verbose : bool, default False
        Show the number of trees and the time left on stderr.
    seed : int, not negative, default 0
        The same seed gives the same forest, whatever the number of threads.

    Attributes
    ----------
    classes_ : array (K,), the class labels, sorted
    estimators_ : list of Tree
    feature_importances_ : float64 array (p,)
    oob_score_ : float, the accuracy out of bag
    oob_decision_function_ : float64 array (n, K), NaN for rows that every tree saw; both with oob_score=True
    settling_ : Settling, the out-of-bag error by the number of trees, with n_estimators="auto"; it prints and plots
    categories_ : dict from the number of a column to its categories
    max_features_ : int
    n_features_in_ : int, p
    feature_names_in_ : object array (p,), where the data had column names

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
        n_estimators: int | str = 100,
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
        voting: str = "soft",
        class_weight: dict[Any, float] | str | None = None,
        monotonic_cst: ArrayLike | None = None,
        categorical_features: Any = "from_dtype",
        warm_start: bool = False,
        time_limit: float | None = None,
        verbose: bool = False,
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
            verbose=verbose,
            seed=seed,
        )
        self.voting = voting
        self.class_weight = class_weight

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> RandomForestClassifier:
        """Grow the forest on `X` (n, p), numbers with gaps or a frame, labels `y` (n,), and weights (n,) if wanted."""
        self._check_parameters()
        with as_before_if_it_fails(self, "_grove"):
            self._fit(X, y, sample_weight)
        return self

    def _fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None) -> None:
        learned_from = self._learned_from
        X = rows_of(self, X, reset=True)
        labels, v = labels_of(y, X), row_weights(sample_weight, X)
        v = np.ones(len(X)) if v is None else v
        seen = v > 0.0
        self.classes_, codes = np.unique(labels, return_inverse=True)
        self._check_same(learned_from)
        k, each = len(self.classes_), self.class_weight == "balanced_subsample"
        if not each:
            v = v * class_weights(self.class_weight, self.classes_, codes, v)[codes]
            seen = v > 0.0
        own = codes[seen]

        def factors(bag: Array) -> Array:
            return bag * class_weights("balanced", self.classes_, own, bag * v[seen])[own] if each else bag

        rows = X if seen.all() else X[seen]
        growth = self._grow(rows, Target.of_classes(own, k), v[seen], factors)
        if self.oob_score and growth.judge:
            told, mean = growth.judge.count > 0.0, growth.judge.mean
            if not told.any():
                raise InputError("Every row is in every bag: grow more trees for an out-of-bag score.")
            self.oob_decision_function_ = np.full((len(X), k), np.nan)
            self.oob_decision_function_[seen] = np.where(told[:, None], mean, np.nan)
            self.oob_score_ = float(np.mean(mean[told].argmax(axis=1) == own[told]))
        if growth.stopped:
            raise growth.stopped

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.voting not in VOTES:
            raise InputError(f"There is no voting {self.voting!r}.{suggest(str(self.voting), VOTES)}")

    calls_the_likeliest = True  # `predict` is the class of the greatest `predict_proba`: whoever needs both asks once

    def predict_proba(self, X: Any) -> Array:
        """The mean of the trees' shares of the classes (m, K), or the shares of their votes where voting="hard"."""
        return self._mean(X)

    def predict(self, X: Any) -> Array:
        """The class (m,) with the greatest mean share; of equal ones the first."""
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def diversity(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> VoteDiversity:
        """How strong and how alike the trees are on rows `X` (m, p), `y` (m,) that they did not learn from.

        Each has one vote, for the class with the greatest share in its leaf: Breiman's bound speaks of their vote.
        """
        from heldout.ensemble.diversity import vote_diversity

        X, said = self._each(X)
        return vote_diversity(self.classes_, said, self._grove.mean(X), labels_of(y, X), sample_weight)

    def to_state(self) -> dict[str, Any]:
        """What a model file stores of a fitted forest."""
        return {
            **super().to_state(),
            "voting": self.voting,
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
        voting = state.choice("voting", VOTES)
        learner: RandomForestClassifier = cls._restored(state, len(classes), voting=voting, class_weight=weight)
        learner.classes_ = classes
        return learner


class RandomForestRegressor(RegressorMixin, _Forest):  # type: ignore[misc]
    r"""The mean of many trees, each grown on rows drawn with replacement, each node of it looking at a few columns.

    .. math:: \hat y(x) = \frac{1}{B} \sum_{b=1}^{B} \hat y_b(x)

    Parameters
    ----------
    criterion : {"squared_error", "absolute_error", "poisson"}, default "squared_error"
    max_features : int, share, "sqrt", "log2" or None, default 1.0
        How many columns a node looks at; 1.0 is all.
    leaf_members : bool, default False
        Keep which rows the leaves hold, which `predict_quantiles` needs.
    n_estimators, splitter, cuts, max_depth, min_samples_split : as in `RandomForestClassifier`
    min_samples_leaf, min_weight_fraction_leaf, max_leaf_nodes, min_impurity_decrease, bootstrap : as there
    max_samples, oob_score, monotonic_cst, categorical_features, warm_start, time_limit, verbose, seed : as there

    Attributes
    ----------
    oob_score_ : float, R^2 out of bag
    oob_prediction_ : float64 array (n,), NaN for rows that every tree saw; both with oob_score=True
    estimators_, feature_importances_, settling_, categories_, max_features_, n_features_in_, feature_names_in_ : as in
        `RandomForestClassifier`

    Raises
    ------
    InputError : a parameter is out of range, there is a column of more than 255 categories, or texts outside a frame.
    ValueError : the data is empty, infinite, or of another width than at fit.

    References
    ----------
    L. Breiman, Machine Learning 45, 2001. N. Meinshausen, Journal of Machine Learning Research 7, 2006.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = RandomForestRegressor(min_samples_leaf=5, oob_score=True, leaf_members=True).fit(X, y)
    >>> model.oob_score_ > 0.4
    True
    >>> model.predict_quantiles(X[:1], [0.1, 0.9]).round().tolist(), model.predict(X[:1]).round().tolist()
    ([[128.0, 281.0]], [205.0])
    """

    criteria = NUMBER_CRITERIA

    def __init__(
        self,
        *,
        n_estimators: int | str = 100,
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
        leaf_members: bool = False,
        verbose: bool = False,
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
            verbose=verbose,
            seed=seed,
        )
        self.leaf_members = leaf_members

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> RandomForestRegressor:
        """Grow the forest on `X` (n, p), numbers with gaps or a frame, numbers `y` (n,), and weights (n,) if wanted."""
        self._check_parameters()
        with as_before_if_it_fails(self, "_grove"):
            self._fit(X, y, sample_weight)
        return self

    def _fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None) -> None:
        learned_from = self._learned_from
        X = rows_of(self, X, reset=True)
        self._check_same(learned_from)
        numbers, v = numbers_of(y, X, self.criterion), row_weights(sample_weight, X)
        v = np.ones(len(X)) if v is None else v
        seen = v > 0.0
        rows, own = X if seen.all() else X[seen], numbers[seen]
        growth = self._grow(rows, Target.of_numbers(own, self.criterion), v[seen], lambda bag: bag)
        if self.oob_score and growth.judge:
            told, mean = growth.judge.count > 0.0, growth.judge.mean[:, 0]
            if told.sum() < 2:
                raise InputError("Every row is in every bag: grow more trees for an out-of-bag score.")
            self.oob_prediction_ = np.full(len(X), np.nan)
            self.oob_prediction_[seen] = np.where(told, mean, np.nan)
            self.oob_score_ = float(r2_score(own[told], mean[told], sample_weight=v[seen][told]))
            self._residuals = Residuals.of(own[told] - mean[told], v[seen][told])
        if self.leaf_members:
            self._members = Members.of(rows, own, self._grove, growth.bag)
        if growth.stopped:
            raise growth.stopped

    def predict(self, X: Any) -> Array:
        """The mean of the trees' means (m,)."""
        return self._mean(X)[:, 0]

    def diversity(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> NumberDiversity:
        """How strong and how alike the trees are on rows `X` (m, p), `y` (m,) that they did not learn from."""
        from heldout.ensemble.diversity import number_diversity

        X, said = self._each(X)
        return number_diversity(said, numbers_of(y, X, self.criterion), sample_weight)

    def predict_interval(self, X: Any, *, coverage: float = 0.9) -> Array:
        """The prediction with the out-of-bag errors that it is to be expected with: lower and upper ends (m, 2).

        The ends are the quantiles at (1 - coverage) / 2 and (1 + coverage) / 2 of what the training rows deviate from
        the predictions of the trees that did not see them, equally wide for all rows; coverage holds on average over
        rows, for many rows (H. Zhang and others, The American Statistician 74, 2020). Needs oob_score=True.
        """
        check_is_fitted(self)
        if not self.oob_score:
            raise InputError("predict_interval needs the errors out of bag: fit with oob_score=True.")
        if not is_number(coverage) or not 0.0 < coverage < 1.0:
            raise InputError(f"coverage is {coverage!r} and must be a number between 0 and 1.")
        return np.asarray(self.predict(X)[:, None] + self._residuals.ends(float(coverage)))

    def predict_quantiles(self, X: Any, quantiles: ArrayLike = (0.05, 0.5, 0.95)) -> Array:
        """The quantiles (m, q) of y given x: those of the training numbers in the leaves that a row ends in.

        A training row weighs 1 / B times its share of the leaf, summed over the B trees, as it does in the prediction
        (N. Meinshausen, Journal of Machine Learning Research 7, 2006). Needs leaf_members=True.
        """
        check_is_fitted(self)
        if not self.leaf_members:
            raise InputError("predict_quantiles needs the rows of every leaf: fit with leaf_members=True.")
        levels = np.atleast_1d(np.asarray(quantiles, dtype=np.float64))
        if levels.ndim != 1 or not len(levels) or not np.all((levels >= 0.0) & (levels <= 1.0)):
            raise InputError("quantiles must be numbers from 0 to 1.")
        order = np.argsort(levels, kind="stable")
        found = self._members.quantiles(rows_of(self, X), self._grove, levels[order])
        return np.asarray(found[:, np.argsort(order, kind="stable")])

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if not isinstance(self.leaf_members, bool | np.bool_):
            raise InputError(f"leaf_members is {self.leaf_members!r} and must be True or False.")

    def to_state(self) -> dict[str, Any]:
        """What a model file stores of a fitted forest."""
        return {
            **super().to_state(),
            "leaf_members": bool(self.leaf_members),
            **({"members": self._members.to_state()} if self.leaf_members else {}),
            **({"residuals": self._residuals.to_state()} if self.oob_score else {}),
        }

    @classmethod
    def from_state(cls, state: State) -> RandomForestRegressor:
        """The fitted forest that `to_state` described; ModelFileError where the values do not fit together."""
        learner: RandomForestRegressor = cls._restored(state, 1, leaf_members=state.boolean("leaf_members"))
        if learner.leaf_members:
            learner._members = Members.from_state(state.part("members"), learner._grove)
        if learner.oob_score:
            learner._residuals = Residuals.from_state(state.part("residuals"))
        return learner
