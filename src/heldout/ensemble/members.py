"""Who sees what: the rows and columns that each member draws, and members fitted and asked side by side."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.utils import get_tags
from sklearn.utils.validation import _num_samples, check_is_fitted, validate_data

from heldout.errors import InputError, suggest
from heldout.linear.blocks import allowed_threads, one_blas_thread
from heldout.linear.states import columns_from_state, columns_to_state, row_weights
from heldout.trees.base import is_share, is_whole, n_columns_tried

if TYPE_CHECKING:
    from heldout.persist import State

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

WORKERS = ("threads", "processes")
SEEDS = ("seed", "random_state")  # parameters that a member gets a value of its own for
OF_COLUMNS = ("categorical_features", "monotonic_cst")  # parameters that speak of columns by their place or name
MOST_SEED = 2**32 - 1
TRIES = 100  # bags drawn until one holds two classes


@dataclass(frozen=True, eq=False)
class Lots:
    """What is drawn for each member, by its number: rows out of `codes` (n,) or `n`, columns, seeds of its own."""

    seed: int
    n: int
    size: int
    bootstrap: bool
    n_columns: int
    n_drawn: int
    codes: Array | None = None

    @property
    def all_rows(self) -> bool:
        """Whether every member sees every row once."""
        return not self.bootstrap and self.size == self.n

    def bag(self, i: int) -> Array:
        """How often each row (n,) is in the bag of member i; a bag of one class only is drawn again."""
        rng = np.random.default_rng([self.seed, i, 1])
        for _ in range(TRIES):
            rows = rng.integers(0, self.n, self.size) if self.bootstrap else rng.permutation(self.n)[: self.size]
            if self.codes is None or np.any(self.codes[rows] != self.codes[rows[0]]):
                break
        return np.bincount(rows, minlength=self.n)

    def columns(self, i: int) -> Array:
        """The columns of member i, rising."""
        if self.n_drawn == self.n_columns:
            return np.arange(self.n_columns)
        rng = np.random.default_rng([self.seed, i, 2])
        return np.sort(rng.permutation(self.n_columns)[: self.n_drawn])

    def reseeded(self, base: Any, i: int) -> Any:
        """A copy of the base with seeds of its own."""
        rng, copy = np.random.default_rng([self.seed, i, 0]), clone(base)
        return copy.set_params(**{name: int(rng.integers(2**31)) for name in seeds_of(copy)})


@dataclass(frozen=True, eq=False)
class Said:
    """What the members say of rows: the mean answer (n,) or (n, K), whether any is asked, and each (B, n)."""

    mean: Array
    told: Array
    each: Array  # numbers, or the codes of the most probable classes
    asked: Array


class Ensemble(MetaEstimatorMixin, BaseEstimator):  # type: ignore[misc]
    """What all four ensembles share."""

    estimator: Any
    n_estimators: Any
    max_features: Any
    n_jobs: int | None
    workers: str
    seed: Any
    max_samples: Any = None  # random subspaces keep all rows
    bootstrap: Any = False
    oob_score: Any = False
    task = ""
    estimators_: list[Any]
    estimators_features_: Array
    n_features_in_: int
    classes_: Array

    def _check_parameters(self) -> None:
        if not is_whole(self.n_estimators, 1):
            raise InputError(f"n_estimators is {self.n_estimators!r} and must be a whole number from 1 up.")
        if self.workers not in WORKERS:
            raise InputError(f"There are no workers {self.workers!r}.{suggest(str(self.workers), WORKERS)}")
        if not is_whole(self.seed, 0) or self.seed > MOST_SEED:
            raise InputError(f"seed is {self.seed!r} and must be a whole number from 0 to below {MOST_SEED + 1:,}.")
        for name in ("bootstrap", "oob_score"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                raise InputError(f"{name} is {getattr(self, name)!r} and must be True or False.")
        most = self.max_samples
        if most is not None and not is_whole(most, 1) and not is_share(most):
            raise InputError(
                f"max_samples is {most!r} and must be None, a whole number from 1 up, or a share of the rows."
            )
        if self.oob_score and not self.bootstrap and most is None:
            raise InputError("oob_score needs rows that are in no bag: take bootstrap=True or a smaller max_samples.")

    def _base(self) -> Any:
        """The base learner, which must be of the ensemble's kind."""
        base = self._default() if self.estimator is None else self.estimator
        if (get_tags(base).estimator_type == "classifier") != (self.task == "classification"):
            wanted = "classifier" if self.task == "classification" else "regressor"
            raise InputError(f"{type(self).__name__} wants a {wanted} as its base, which {type(base).__name__} is not.")
        return base

    def _default(self) -> Any:
        raise NotImplementedError

    def _fit_members(self, X: Any, target: Array, weights: Array | None, *, by_class: bool) -> Lots:
        """Draw and fit the members on rows `X`, each with a weight above zero where there are weights."""
        base, n = self._base(), len(target)
        weighted = takes_weights(base)
        if weights is not None and not weighted:
            raise InputError(f"{type(base).__name__} takes no sample_weight, so its ensemble cannot either.")
        drawn = n_columns_tried(self.max_features, self.n_features_in_)
        _check_no_columns_named(base, drawn, self.n_features_in_)
        size = n if self.max_samples is None else n_rows(self.max_samples, n)
        several = by_class and size > 1 and bool(np.any(target != target[0]))
        lots = Lots(
            int(self.seed), n, size, bool(self.bootstrap), self.n_features_in_, drawn, target if several else None
        )
        number = int(self.n_estimators)
        work = (delayed(_fitted)(base, X, target, weights, lots, i, weighted) for i in range(number))
        self.estimators_ = list(self._side_by_side(work, self.workers))
        self.estimators_features_ = np.array([lots.columns(i) for i in range(number)])
        return lots

    def _side_by_side(self, work: Iterable[Any], workers: str = "threads") -> Iterator[Any]:
        """The results of `work`, in its order."""
        jobs = allowed_threads() if self.n_jobs is None else self.n_jobs
        found: Iterator[Any] = Parallel(n_jobs=jobs, prefer=workers, return_as="generator")(work)
        return found

    def _each(self, X: Any, lots: Lots | None = None) -> Iterator[tuple[int, Any, Array]]:
        """Of each member its number, the rows it is asked about (with `lots` those outside its bag), its answers."""
        p, ask = self.n_features_in_, self._question()
        work = (
            delayed(_asked)(member, X, None if len(columns) == p else columns, lots, i, ask)
            for i, (member, columns) in enumerate(zip(self.estimators_, self.estimators_features_, strict=True))
        )
        found = ((i, *answer) for i, answer in enumerate(self._side_by_side(work)) if answer is not None)
        yield from found

    def _question(self) -> Callable[[Any, Any], Array]:
        """What a member answers of rows: numbers (m,), or probabilities or votes (m, K)."""
        raise NotImplementedError

    def _mean(self, X: Any) -> Array:
        """The mean of the members' answers, added up in their order."""
        X = self._new(X)
        answers = (answer for _, _, answer in self._each(X))
        total = next(answers).copy()
        for answer in answers:
            total += answer
        return np.asarray(total / len(self.estimators_))

    def _collect(self, X: Any, lots: Lots | None = None) -> Said:
        n, members = _num_samples(X), len(self.estimators_)
        classes = len(self.classes_) if self.task == "classification" else 0
        total = np.zeros((n, classes) if classes else n)
        each, asked = (
            np.zeros((members, n), dtype=np.intp if classes else np.float64),
            np.zeros((members, n), dtype=bool),
        )
        for b, rows, answer in self._each(X, lots):
            total[rows] += answer
            each[b, rows] = answer.argmax(axis=1) if classes else answer
            asked[b, rows] = True
        count = asked.sum(axis=0)
        told = np.maximum(count, 1.0)
        return Said(total / (told[:, None] if classes else told), count > 0, each, asked)

    def _new(self, X: Any) -> Any:
        check_is_fitted(self)
        return rows_of(self, X)

    def __sklearn_tags__(self) -> Any:
        tags, own = super().__sklearn_tags__(), get_tags(self._default() if self.estimator is None else self.estimator)
        tags.input_tags.sparse, tags.input_tags.allow_nan = own.input_tags.sparse, own.input_tags.allow_nan
        if tags.classifier_tags is not None and own.classifier_tags is not None:
            tags.classifier_tags.multi_class = own.classifier_tags.multi_class
        return tags

    def to_state(self) -> dict[str, Any]:
        """What a model file stores of a fitted ensemble: the base's seeds, and every member by its own state."""
        from heldout.persist.classes import name_of

        check_is_fitted(self)
        base = self._base()
        if name_of(base) is None:
            raise InputError(
                f"{type(base).__name__} is not heldout's and cannot be stored: take a learner of heldout as the base."
            )
        own = base.get_params()
        return {
            "default": self.estimator is None,
            "base_seeds": {name: None if own[name] is None else int(own[name]) for name in seeds_of(base)},
            "n_estimators": int(self.n_estimators),
            "max_features": plain(self.max_features),
            "n_jobs": None if self.n_jobs is None else int(self.n_jobs),
            "workers": self.workers,
            "seed": int(self.seed),
            "estimators": list(self.estimators_),
            "columns": self.estimators_features_.astype(np.int64),
            **columns_to_state(self),
        }

    @classmethod
    def _restored(cls, state: State, **more: Any) -> Any:
        """From a file, with what the learner of this kind has restored by itself."""
        from heldout.panel import LEARNERS

        kind = "binary" if cls.task == "classification" else "regression"
        members = state.objects("estimators", tuple(e.load() for e in LEARNERS.values() if kind in e.tasks))
        if len({type(member) for member in members}) != 1:
            state.fail("the members must be learners of one kind")
        base = _base_from_state(state, members[0])
        learner = cls(
            None if state.boolean("default") else base,
            n_estimators=state.integer("n_estimators", low=1),
            max_features=state.json("max_features") if state.optional("max_features") else None,
            n_jobs=state.integer("n_jobs") if state.optional("n_jobs") else None,
            workers=state.choice("workers", WORKERS),
            seed=state.integer("seed", low=0, high=MOST_SEED),
            **more,
        )
        p = columns_from_state(learner, state)
        learner.estimators_ = members
        learner.estimators_features_ = state.array(
            "columns", dtype="int64", shape=(learner.n_estimators, None), low=0, high=p - 1
        )
        learner._check_restored(state, p)
        return learner

    def _check_restored(self, state: State, p: int) -> None:
        columns, names = self.estimators_features_, getattr(self, "feature_names_in_", None)
        try:
            self._check_parameters()
            self._base()
            drawn = n_columns_tried(self.max_features, p)
        except InputError as error:
            state.fail(str(error).rstrip("."))
        if len(self.estimators_) != len(columns) or columns.shape[1] != drawn or np.any(np.diff(columns) <= 0):
            state.fail("the members and their columns do not fit together")
        for member, own in zip(self.estimators_, columns, strict=True):
            known = getattr(member, "feature_names_in_", None)
            wanted = None if names is None else names[own].tolist()
            if member.n_features_in_ != drawn or (None if known is None else known.tolist()) != wanted:
                state.fail("a member is for other columns")


def n_rows(max_samples: Any, n: int) -> int:
    """How many of `n` rows a bag holds."""
    return min(int(max_samples), n) if is_whole(max_samples, 1) else max(1, round(max_samples * n))


def seeds_of(base: Any) -> list[str]:
    """The names of the parameters of a learner, and of those inside it, that are seeds."""
    return sorted(name for name in base.get_params(deep=True) if name.split("__")[-1] in SEEDS)


def takes_weights(base: Any) -> bool:
    return "sample_weight" in inspect.signature(base.fit).parameters


def is_frame(X: Any) -> bool:
    return hasattr(X, "columns") and hasattr(X, "dtypes")


def rows_of(learner: Any, X: Any, *, reset: bool = False) -> Any:
    """The rows: frames as they are, for the members to read; arrays and, where the base takes them, sparse ones."""
    if is_frame(X):
        validate_data(learner, X, skip_check_array=True, reset=reset)
        return X
    tags = get_tags(learner).input_tags
    finite = "allow-nan" if tags.allow_nan else True
    return validate_data(
        learner, X, accept_sparse="csr" if tags.sparse else False, ensure_all_finite=finite, reset=reset
    )


def weights_of(sample_weight: ArrayLike | None, X: Any) -> tuple[Array | None, Array | None]:
    """The weights above zero, and the rows that have them; None and None where there are no weights."""
    weights = row_weights(sample_weight, X)
    if weights is None or weights.all():
        return weights, None
    seen = np.flatnonzero(weights)
    return weights[seen], seen


def part_of(X: Any, rows: Array | None, columns: Array | None) -> Any:
    """Some rows and columns, by their places; None for all."""
    if rows is None and columns is None:
        return X
    if is_frame(X):
        import narwhals as nw

        frame = nw.from_native(X, eager_only=True)
        frame = frame if columns is None else frame[:, columns.tolist()]
        return (frame if rows is None else frame[rows]).to_native()
    if rows is None or columns is None:
        return X[:, columns] if rows is None else X[rows]
    return X[rows][:, columns] if hasattr(X, "tocsr") else X[np.ix_(rows, columns)]


def plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _fitted(base: Any, X: Any, target: Array, weights: Array | None, lots: Lots, i: int, weighted: bool) -> Any:
    """Member i, fitted: a row that is k times in the bag has k times its weight, or is there k times."""
    member, columns = lots.reseeded(base, i), lots.columns(i)
    rows, own = None, weights
    if not lots.all_rows:
        bag = lots.bag(i)
        rows = np.flatnonzero(bag) if weighted else np.repeat(np.arange(len(bag)), bag)
        own = None if weights is None else weights[rows]
        if weighted and lots.bootstrap:
            own = bag[rows] * (1.0 if own is None else own)
    given = part_of(X, rows, None if len(columns) == lots.n_columns else columns)
    with one_blas_thread:
        return member.fit(
            given, target if rows is None else target[rows], **({} if own is None else {"sample_weight": own})
        )


def _asked(
    member: Any, X: Any, columns: Array | None, lots: Lots | None, i: int, ask: Callable[[Any, Any], Array]
) -> tuple[Any, Array] | None:
    rows = None if lots is None else np.flatnonzero(lots.bag(i) == 0)
    if rows is not None and not len(rows):
        return None
    with one_blas_thread:
        return slice(None) if rows is None else rows, ask(member, part_of(X, rows, columns))


def _check_no_columns_named(base: Any, drawn: int, p: int) -> None:
    """What a base says of columns by place or name would mean others in a member that sees some of them."""
    if drawn == p:
        return
    for name, value in base.get_params(deep=True).items():
        if name.split("__")[-1] in OF_COLUMNS and value is not None and not isinstance(value, str):
            raise InputError(
                f"{name} of {type(base).__name__} names columns, and every member sees others: leave it out (columns "
                "of texts in a frame are categories by themselves), or take max_features=None."
            )


def _base_from_state(state: State, member: Any) -> Any:
    """The base that a member is a copy of, with its own seeds."""
    stored, names = state.json("base_seeds"), seeds_of(member)
    if not isinstance(stored, dict) or sorted(stored) != names:
        state.fail("the base's seeds are not those that its members have")
    for value in stored.values():
        if value is not None and (type(value) is not int or not 0 <= value <= MOST_SEED):
            state.fail("a seed of the base must be null or a whole number, not negative")
    return clone(member).set_params(**stored)
