"""Decision trees: classification and regression by dividing the rows again and again."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import ClassifierMixin, RegressorMixin, clone
from sklearn.utils.validation import (
    check_is_fitted,
)

from heldout.errors import InputError, suggest
from heldout.linear.states import (
    class_weight_from_state,
    class_weight_to_state,
    class_weights,
    columns_from_state,
    labels_from_state,
    labels_to_state,
    row_weights,
)
from heldout.trees.base import (
    CLASS_CRITERIA,
    NUMBER_CRITERIA,
    TreeBase,
    as_before_if_it_fails,
    importances,
    is_number,
    labels_of,
    n_columns_tried,
    numbers_of,
    parameters_from_state,
    parameters_to_state,
    shares_of,
)
from heldout.trees.binning import bin_columns
from heldout.trees.building import Target, build
from heldout.trees.columns import categories_from_state, rows_of
from heldout.trees.judging import LOSSES, Cases, node_losses
from heldout.trees.nodes import Tree
from heldout.trees.prune import PruningPath, no_better, pruned, pruning_path, without_branches
from heldout.trees.pruning_choice import RULES, PruningCurve, curve_by_folds, curve_on_rows

if TYPE_CHECKING:
    from heldout.persist import State
    from heldout.trees.drawing import Drawing
    from heldout.trees.reading import Explanation, Rules

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

DEFAULT_CV = 10  # folds
PRUNINGS = ("cost_complexity", "reduced_error")


class _DecisionTree(TreeBase):
    """What both trees share."""

    def __init__(
        self,
        *,
        criterion: str,
        splitter: str = "auto",
        max_depth: int | None = None,
        min_samples_split: int | float = 2,
        min_samples_leaf: int | float = 1,
        min_weight_fraction_leaf: float = 0.0,
        max_features: Any = None,
        max_leaf_nodes: int | None = None,
        min_impurity_decrease: float = 0.0,
        ccp_alpha: float = 0.0,
        prune: str | None = None,
        cv: Any = DEFAULT_CV,
        rule: str = "one_se",
        monotonic_cst: ArrayLike | None = None,
        categorical_features: Any = "from_dtype",
        seed: int = 0,
    ) -> None:
        self.criterion = criterion
        self.splitter = splitter
        self.max_depth = max_depth
        self.min_samples_split = min_samples_split
        self.min_samples_leaf = min_samples_leaf
        self.min_weight_fraction_leaf = min_weight_fraction_leaf
        self.max_features = max_features
        self.max_leaf_nodes = max_leaf_nodes
        self.min_impurity_decrease = min_impurity_decrease
        self.ccp_alpha = ccp_alpha
        self.prune = prune
        self.cv = cv
        self.rule = rule
        self.monotonic_cst = monotonic_cst
        self.categorical_features = categorical_features
        self.seed = seed

    def _grow(self, cases: Cases) -> None:
        """The tree of these rows, pruned as the parameters say."""
        p = cases.X.shape[1]
        monotonic, mask = self._monotonic(p, self._target(cases.y).n_classes), self._categorical_mask(p)
        bins = self._bins(len(cases.X))

        def grown(v: Array) -> Tree:
            X, y = cases.X, cases.y
            if not v.all():  # rows without weight are as if absent
                X, y, v = X[v > 0.0], y[v > 0.0], v[v > 0.0]
            limits = self._limits(len(X), p)
            binned = bin_columns(X, most_bins=bins, categorical=mask)
            return build(binned, monotonic, self._target(y), v, limits, int(self.seed))

        self.max_features_ = n_columns_tried(self.max_features, p)
        kept = cases.counted > 0.0
        self.missing_ = np.isnan((cases.X if kept.all() else cases.X[kept]).min(axis=0))
        tree = grown(cases.counted)
        self.__dict__.pop("pruning_", None)
        if self.prune == "cv":
            self._keep(tree, curve_by_folds(tree, grown, cases, self.cv, LOSSES[self.criterion], self.rule))
        else:
            self.ccp_alpha_ = float(self.ccp_alpha)
            self.tree_ = pruned(tree, self.ccp_alpha_) if self.ccp_alpha_ > 0.0 else tree

    def _keep(self, tree: Tree, curve: PruningCurve) -> None:
        self.pruning_, self.ccp_alpha_ = curve, curve.alpha
        self.tree_ = pruned(tree, curve.alpha)

    def get_depth(self) -> int:
        """How many questions the longest way down asks."""
        check_is_fitted(self)
        return int(self.tree_.depths.max())

    def get_n_leaves(self) -> int:
        """How many leaves there are."""
        check_is_fitted(self)
        return self.tree_.n_leaves

    def apply(self, X: Any) -> Array:
        """The node (m,) of `tree_` that each row ends in."""
        from heldout.trees.predict import leaves

        check_is_fitted(self)
        X = rows_of(self, X)
        tree, found = self.tree_, np.empty(len(X), dtype=np.int64)
        leaves(X, *tree.walk, 0, found)
        return found

    def decision_path(self, X: Any) -> Any:
        """CSR (m, nodes) with a 1 for every node that a row passes."""
        leaf, depth, parent = self.apply(X), self.tree_.depths, self.tree_.parents
        ends = np.concatenate([[0], np.cumsum(depth[leaf] + 1)])
        indices = np.empty(ends[-1], dtype=np.int64)
        at, left = leaf.copy(), depth[leaf].copy()
        while True:
            going = left >= 0
            if not going.any():
                break
            indices[ends[:-1][going] + left[going]] = at[going]
            at, left = parent[at], left - 1
        return sparse.csr_matrix((np.ones(len(indices), dtype=np.int64), indices, ends), shape=(len(leaf), len(depth)))

    @property
    def feature_importances_(self) -> Array:
        """By how much each column lessens the impurity (p,), as shares of 1; all zero for a tree of one leaf.

        Columns with many values are favoured, and the training rows speak: permutation on validation rows says more.
        """
        check_is_fitted(self)
        return shares_of(importances(self.tree_, self.n_features_in_))

    def rules(self, max_depth: int | None = None, names: Any = None) -> Rules:
        """The tree as text, one line a node, down to `max_depth`; `names` (p,) call the columns otherwise."""
        from heldout.trees.reading import rules

        return rules(self, max_depth, names)

    def explain(self, row: Any, names: Any = None) -> Explanation:
        """The way of one row down the tree, in words: p values, a dict by column names, or a frame of one row."""
        from heldout.trees.reading import explain

        return explain(self, row, names)

    def draw(self, X: Any = None, y: Any = None, *, max_depth: int | None = 4, names: Any = None) -> Drawing:
        """The tree as a drawing, down to `max_depth` (None: all); with rows `X`, `y`, where these go."""
        from heldout.trees.drawing import draw

        return draw(self, X, y, max_depth, names)

    def cost_complexity_pruning_path(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> PruningPath:
        """The path of pruned trees of the tree that `fit` would grow without `ccp_alpha` and `prune`."""
        whole = clone(self).set_params(ccp_alpha=0.0, prune=None).fit(X, y, sample_weight)
        return pruning_path(whole.tree_)

    def pruning_curve(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> PruningCurve:
        """The error of every tree of this one's pruning path, on its training rows and on others: `X` (m, p), `y` (m,).

        One pass over the rows, however many trees there are. A `class_weight` counts in both errors.
        """
        cases = self._held_out(X, y, sample_weight)
        return curve_on_rows(self.tree_, cases, LOSSES[self.criterion], self.rule)

    def prune_on(
        self, X: Any, y: ArrayLike, *, method: str = "cost_complexity", sample_weight: ArrayLike | None = None
    ) -> Any:
        """A smaller tree, chosen on validation rows `X` (m, p) and `y` (m,) that this one has not seen.

        Parameters
        ----------
        method : {"cost_complexity", "reduced_error"}, default "cost_complexity"
            "cost_complexity": the tree of the pruning path that `rule` chooses; its `pruning_` tells of all.
            "reduced_error": from the leaves up, a branch becomes a leaf where it errs no less on the validation rows:
            the smallest of the subtrees that err least (J. R. Quinlan, International Journal of Man-Machine Studies 27,
            1987). An error is a wrong answer, or the squared or absolute error, or half the Poisson deviance.

        Returns another fitted tree; this one stays as it is.
        """
        if method not in PRUNINGS:
            raise InputError(f"There is no pruning method {method!r}.{suggest(str(method), PRUNINGS)}")
        smaller = copy.copy(self)
        if method == "cost_complexity":
            smaller._keep(self.tree_, self.pruning_curve(X, y, sample_weight))
            return smaller
        for name in ("pruning_", "ccp_alpha_"):
            smaller.__dict__.pop(name, None)
        losses = node_losses(self.tree_, LOSSES[self.criterion], self._held_out(X, y, sample_weight))
        smaller.tree_ = without_branches(self.tree_, no_better(self.tree_.left, losses[:, 0]))
        return smaller

    def _held_out(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None) -> Cases:
        """Rows that the tree was not grown of, checked."""
        check_is_fitted(self)
        self._check_parameters()
        X = rows_of(self, X)
        return self._cases(X, y, row_weights(sample_weight, X))

    def _cases(self, X: Array, y: ArrayLike, weights: Array | None) -> Cases:
        raise NotImplementedError

    def _target(self, y: Array) -> Target:
        raise NotImplementedError

    def to_state(self) -> dict[str, Any]:
        """What a model file stores of a fitted tree."""
        check_is_fitted(self)
        return {
            **parameters_to_state(self),
            "ccp_alpha": float(self.ccp_alpha),
            "missing": self.missing_,
            "prune": self.prune,
            "cv": int(self.cv) if isinstance(self.cv, int | np.integer) else None,
            "rule": self.rule,
            "ccp_alpha_taken": getattr(self, "ccp_alpha_", None),
            "pruning": self.pruning_.to_state() if hasattr(self, "pruning_") else None,
            "tree": self.tree_.to_state(self.n_features_in_),
        }

    def _take_tree(self, state: State, n_values: int) -> None:
        p = columns_from_state(self, state)
        self.categories_ = categories_from_state(state, p)
        self.missing_ = state.array("missing", dtype="bool", shape=(p,))
        self.tree_ = Tree.from_state(state.part("tree"), p, n_values)
        if state.optional("ccp_alpha_taken"):
            self.ccp_alpha_ = state.number("ccp_alpha_taken", low=0.0)
        if state.optional("pruning"):
            self.pruning_ = PruningCurve.from_state(state.part("pruning"), LOSSES[self.criterion])
            if self.pruning_.n_leaves[self.pruning_.chosen] != self.tree_.n_leaves:
                state.fail("the pruning path chose another tree")
        self._check_restored(state, p, n_values)

    @classmethod
    def _restored(cls, state: State, **more: Any) -> Any:
        return cls(
            **parameters_from_state(state, cls.criteria),
            ccp_alpha=state.number("ccp_alpha", low=0.0),
            prune=state.choice("prune", ("cv",)) if state.optional("prune") else None,
            cv=state.integer("cv", low=2) if state.optional("cv") else DEFAULT_CV,
            rule=state.choice("rule", RULES),
            **more,
        )

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if not is_number(self.ccp_alpha) or not 0.0 <= self.ccp_alpha < np.inf:
            raise InputError(f"ccp_alpha is {self.ccp_alpha!r} and must be a number, 0 or more.")
        if self.prune is not None and self.prune != "cv":
            raise InputError(f"prune is {self.prune!r} and must be None or 'cv'.")
        if self.prune == "cv" and self.ccp_alpha > 0.0:
            raise InputError(
                f"prune='cv' chooses the price of a leaf, and ccp_alpha is {self.ccp_alpha!r}: leave it 0."
            )
        if self.rule not in RULES:
            raise InputError(f"There is no rule {self.rule!r}.{suggest(str(self.rule), RULES)}")


class DecisionTreeClassifier(ClassifierMixin, _DecisionTree):  # type: ignore[misc]
    r"""Ask for one column after the other until the rows that are left are of one class.

    In each node the cut of a column is taken that lessens the impurity of the two parts most,

    .. math:: I(t) - \frac{n_L}{n_t} I(t_L) - \frac{n_R}{n_t} I(t_R), \qquad
        I_{gini} = 1 - \sum_k p_k^2, \quad I_{entropy} = - \sum_k p_k \log_2 p_k,

    and so on in each part, until it is pure or a limit is reached. A leaf's probabilities are the shares of its rows.

    Parameters
    ----------
    criterion : {"gini", "entropy", "log_loss"}, default "gini"
        I; "log_loss" is another name of "entropy", whose gain is the information gain.
    splitter : {"auto", "exact", "histogram"}, default "auto"
        "exact" tries every cut between two values, "histogram" those between 255 bins with about equally many rows;
        "auto" is exact below 10,000 rows.
    max_depth : int from 1 up or None, default None
    min_samples_split : int from 2 up, or a share of the rows, default 2
    min_samples_leaf : int from 1 up, or a share of the rows, default 1
    min_weight_fraction_leaf : float from 0 to 0.5, default 0.0
        Least share of the rows' weight in a leaf.
    max_features : int, share, "sqrt", "log2" or None, default None
        How many columns, drawn anew, a node looks at; those that are constant in it do not count.
    max_leaf_nodes : int from 2 up or None, default None
        With it, the node that gains most is divided first.
    min_impurity_decrease : float, 0 or more, default 0.0
        Of the impurity, times the share of the rows that are in the node.
    ccp_alpha : float, 0 or more, default 0.0
        The price of a leaf, by which the tree is pruned (`cost_complexity_pruning_path`).
    prune : "cv" or None, default None
        "cv": the price is chosen by cross-validation. Every tree of the pruning path is judged by rows held out: each
        fold's tree is grown once, of all other rows, and pruned at the same prices (the geometric means of neighbours
        on the path). Folds have about equally many rows of each class; rows that are the same share one.
    cv : int from 2 up, splitter or pairs of row indices, default 10
        How many folds, or as many as there are rows that differ.
    rule : {"one_se", "min"}, default "one_se"
        Which tree of the path: the smallest whose error on the rows held out is within one standard error of the least,
        or that of the least. For `prune="cv"` and `prune_on`.
    monotonic_cst : sequence of -1, 0 and 1 (p,) or None, default None
        1: the probability of the second of two classes does not fall as the column rises; -1: does not rise.
    categorical_features : "from_dtype", indices, names, truth values (p,) or None, default "from_dtype"
        Columns of categories, which are divided into any two sets: by rising share of the second class, which is the
        best division; for more classes all divisions of up to 10 categories. "from_dtype": in a frame, the columns of
        texts, categories and truth values. At most 255 categories.
    class_weight : dict from label to a number, "balanced" or None, default None
    seed : int, not negative, default 0
        Of the columns that are drawn.

    Missing values go to the side where they help; where a node saw none, with the larger part, and so do categories
    that it did not see.

    Attributes
    ----------
    classes_ : array (K,), the class labels, sorted
    tree_ : Tree, plain arrays
    ccp_alpha_ : float, the price of a leaf by which it was pruned; not after reduced-error pruning
    pruning_ : PruningCurve, the errors along the path, with `plot()`; with prune="cv", or after `prune_on`
    feature_importances_ : float64 array (p,)
    categories_ : dict from the number of a column to its categories
    missing_ : bool array (p,), the columns with missing values among the training rows
    max_features_ : int
    expected_value_ : float64 array (K,), what is said of a row of which nothing is known
    n_features_in_ : int, p
    feature_names_in_ : object array (p,), where the data had column names

    Raises
    ------
    InputError : a parameter is out of range, there is a column of more than 255 categories, or texts outside a frame.
    ValueError : the data is empty, infinite, or of another width than at fit.

    References
    ----------
    L. Breiman, J. Friedman, R. Olshen and C. Stone, Classification and Regression Trees, 1984. J. R. Quinlan, Machine
    Learning 1, 1986; International Journal of Man-Machine Studies 27, 1987.

    Examples
    --------
    >>> X = [[1.0, 5.0], [2.0, 4.0], [3.0, 9.0], [float("nan"), 8.0]]
    >>> model = DecisionTreeClassifier().fit(X, ["no", "no", "yes", "yes"])
    >>> model.predict([[1.5, 0.0], [9.0, 0.0], [None, 0.0]]).tolist(), model.get_n_leaves()
    (['no', 'yes', 'yes'], 2)
    """

    criteria = CLASS_CRITERIA

    def __init__(
        self,
        *,
        criterion: str = "gini",
        splitter: str = "auto",
        max_depth: int | None = None,
        min_samples_split: int | float = 2,
        min_samples_leaf: int | float = 1,
        min_weight_fraction_leaf: float = 0.0,
        max_features: Any = None,
        max_leaf_nodes: int | None = None,
        min_impurity_decrease: float = 0.0,
        ccp_alpha: float = 0.0,
        prune: str | None = None,
        cv: Any = DEFAULT_CV,
        rule: str = "one_se",
        monotonic_cst: ArrayLike | None = None,
        categorical_features: Any = "from_dtype",
        class_weight: dict[Any, float] | str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            criterion=criterion,
            splitter=splitter,
            max_depth=max_depth,
            min_samples_split=min_samples_split,
            min_samples_leaf=min_samples_leaf,
            min_weight_fraction_leaf=min_weight_fraction_leaf,
            max_features=max_features,
            max_leaf_nodes=max_leaf_nodes,
            min_impurity_decrease=min_impurity_decrease,
            ccp_alpha=ccp_alpha,
            prune=prune,
            cv=cv,
            rule=rule,
            monotonic_cst=monotonic_cst,
            categorical_features=categorical_features,
            seed=seed,
        )
        self.class_weight = class_weight

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> DecisionTreeClassifier:
        """Grow the tree on `X` (n, p), numbers with gaps or a frame, labels `y` (n,), and weights (n,) if wanted."""
        self._check_parameters()
        with as_before_if_it_fails(self, "tree_"):
            X = rows_of(self, X, reset=True)
            labels = labels_of(y, X)
            weights = row_weights(sample_weight, X)
            self.classes_ = np.unique(labels)
            self._grow(self._cases(X, labels, weights))
        return self

    def _target(self, y: Array) -> Target:
        return Target.of_classes(y, len(self.classes_))

    def _cases(self, X: Array, y: ArrayLike, weights: Array | None) -> Cases:
        """A class that the tree does not know has the code -1: it is never right, and has no `class_weight`."""
        labels = labels_of(y, X)
        codes = np.minimum(np.searchsorted(self.classes_, labels), len(self.classes_) - 1)
        known = self.classes_[codes] == labels
        if not np.any(known):
            raise InputError(f"None of the labels in y is a class that the tree knows: {self.classes_.tolist()[:5]}.")
        v = np.ones(len(X)) if weights is None else weights
        factors = class_weights(self.class_weight, self.classes_, codes[known], v[known])[codes]
        return Cases.of(X, np.where(known, codes, -1.0), v, np.where(known, factors, 1.0))

    def predict_proba(self, X: Any) -> Array:
        """The shares of the classes (m, K) in the leaf of each row."""
        leaf = self.apply(X)
        return np.asarray(self.tree_.value[leaf])

    def predict(self, X: Any) -> Array:
        """The class (m,) with the greatest share; of equal ones the first."""
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def to_state(self) -> dict[str, Any]:
        """What a model file stores of a fitted tree."""
        return {
            **super().to_state(),
            "class_weight": class_weight_to_state(self.class_weight),
            **labels_to_state(self.classes_),
        }

    @classmethod
    def from_state(cls, state: State) -> DecisionTreeClassifier:
        """The fitted tree that `to_state` described; ModelFileError where the values do not fit together."""
        learner: DecisionTreeClassifier = cls._restored(state, class_weight=class_weight_from_state(state))
        learner.classes_ = labels_from_state(state, at_least=1)
        learner._take_tree(state, len(learner.classes_))
        return learner


class DecisionTreeRegressor(RegressorMixin, _DecisionTree):  # type: ignore[misc]
    r"""Ask for one column after the other until the numbers that are left are alike; a leaf says their mean.

    In each node the cut of a column is taken that lessens the impurity of the two parts most,

    .. math:: I(t) - \frac{n_L}{n_t} I(t_L) - \frac{n_R}{n_t} I(t_R), \qquad
        I_{squared} = \overline{(y - \bar y)^2}, \quad I_{absolute} = \overline{|y - \tilde y|}, \quad
        I_{poisson} = \overline{y \log (y / \bar y)} .

    Parameters
    ----------
    criterion : {"squared_error", "absolute_error", "poisson"}, default "squared_error"
        I; with "absolute_error" a leaf says the median, and categories are cut in the order of their means; "poisson",
        half the Poisson deviance, wants numbers that are not negative, and one above zero.
    splitter, max_depth, min_samples_split, min_samples_leaf : as in `DecisionTreeClassifier`
    min_weight_fraction_leaf, max_features, max_leaf_nodes, min_impurity_decrease, ccp_alpha : as there
    prune, cv, rule : as there; the errors are squared or absolute ones, or half the Poisson deviance
    monotonic_cst, categorical_features, seed : as there

    Attributes
    ----------
    tree_, ccp_alpha_, pruning_, feature_importances_, categories_, missing_, max_features_ : as there
    n_features_in_, feature_names_in_ : as there
    expected_value_ : float, what is predicted of a row of which nothing is known

    Raises
    ------
    InputError : a parameter is out of range, there is a column of more than 255 categories, or texts outside a frame.
    ValueError : the data is empty, infinite, or of another width than at fit.

    References
    ----------
    L. Breiman, J. Friedman, R. Olshen and C. Stone, Classification and Regression Trees, 1984.

    Examples
    --------
    >>> model = DecisionTreeRegressor(max_depth=1).fit([[1.0], [2.0], [7.0], [8.0]], [10.0, 12.0, 30.0, 34.0])
    >>> model.predict([[0.0], [5.0]]).tolist()
    [11.0, 32.0]
    """

    criteria = NUMBER_CRITERIA

    def __init__(
        self,
        *,
        criterion: str = "squared_error",
        splitter: str = "auto",
        max_depth: int | None = None,
        min_samples_split: int | float = 2,
        min_samples_leaf: int | float = 1,
        min_weight_fraction_leaf: float = 0.0,
        max_features: Any = None,
        max_leaf_nodes: int | None = None,
        min_impurity_decrease: float = 0.0,
        ccp_alpha: float = 0.0,
        prune: str | None = None,
        cv: Any = DEFAULT_CV,
        rule: str = "one_se",
        monotonic_cst: ArrayLike | None = None,
        categorical_features: Any = "from_dtype",
        seed: int = 0,
    ) -> None:
        super().__init__(
            criterion=criterion,
            splitter=splitter,
            max_depth=max_depth,
            min_samples_split=min_samples_split,
            min_samples_leaf=min_samples_leaf,
            min_weight_fraction_leaf=min_weight_fraction_leaf,
            max_features=max_features,
            max_leaf_nodes=max_leaf_nodes,
            min_impurity_decrease=min_impurity_decrease,
            ccp_alpha=ccp_alpha,
            prune=prune,
            cv=cv,
            rule=rule,
            monotonic_cst=monotonic_cst,
            categorical_features=categorical_features,
            seed=seed,
        )

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> DecisionTreeRegressor:
        """Grow the tree on `X` (n, p), numbers with gaps or a frame, numbers `y` (n,), and weights (n,) if wanted."""
        self._check_parameters()
        with as_before_if_it_fails(self, "tree_"):
            X = rows_of(self, X, reset=True)
            self._grow(self._cases(X, y, row_weights(sample_weight, X)))
        return self

    def _target(self, y: Array) -> Target:
        return Target.of_numbers(y, self.criterion)

    def _cases(self, X: Array, y: ArrayLike, weights: Array | None) -> Cases:
        return Cases.of(X, numbers_of(y, X, self.criterion), weights)

    def predict(self, X: Any) -> Array:
        """The mean (m,) of the leaf of each row."""
        leaf = self.apply(X)
        return np.asarray(self.tree_.value[leaf, 0])

    @classmethod
    def from_state(cls, state: State) -> DecisionTreeRegressor:
        """The fitted tree that `to_state` described; ModelFileError where the values do not fit together."""
        learner: DecisionTreeRegressor = cls._restored(state)
        learner._take_tree(state, 1)
        return learner
