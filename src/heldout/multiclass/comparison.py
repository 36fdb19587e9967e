"""Which reduction suits these rows: both fitted, and compared on rows that were held out."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest
from sklearn.base import clone
from sklearn.model_selection import train_test_split
from sklearn.utils import get_tags

from heldout.errors import InputError
from heldout.multiclass.one_vs_one import OneVsOneClassifier
from heldout.multiclass.one_vs_rest import OneVsRestClassifier
from heldout.multiplicity import holm
from heldout.printed import Printed, Sheet
from heldout.words import number

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

LEVEL = 0.05  # of the family of comparisons


@dataclass(frozen=True)
class Contender:
    """One way to do it: right answers on the rows held out, and the seconds that the fit took."""

    name: str
    right: Array  # (m,) of bool
    seconds: float
    model: Any

    @property
    def accuracy(self) -> float:
        return float(self.right.mean())


@dataclass(frozen=True)
class Pair:
    """Two contenders on the same rows: the exact McNemar test, with Holm's correction over all pairs."""

    better: str
    other: str
    gain: float  # in accuracy
    p_value: float


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Printed):
    """What `compare_reductions` found; it prints as a table with a verdict.

    Attributes
    ----------
    contenders : tuple of Contender, the most accurate first
    pairs : tuple of Pair, with p values corrected for their number (S. Holm, Scandinavian J. Statistics 6, 1979)
    n_validation : int, rows that were held out
    """

    contenders: tuple[Contender, ...]
    pairs: tuple[Pair, ...]
    n_validation: int

    @property
    def verdict(self) -> str:
        best, ahead = self.contenders[0], self.pairs[0]
        if ahead.p_value <= LEVEL:
            return (
                f"{best.name} is better than {ahead.other} by {ahead.gain:.2%} of the rows held out, "
                f"more than chance (p = {ahead.p_value:.2g})."
            )
        quickest = min(self.contenders, key=lambda one: one.seconds)
        return (
            f"{best.name} and {ahead.other} cannot be told apart on {self.n_validation:,} rows ({ahead.gain:.2%}, "
            f"p = {ahead.p_value:.2g}); the quickest to fit is {quickest.name}."
        )

    def _table(self) -> Sheet:
        body = [[one.name, f"{one.accuracy:.4f}", number(one.seconds)] for one in self.contenders]
        title = [f"Reductions on {self.n_validation:,} rows held out"]
        return title, ["", "accuracy", "seconds to fit"], body, [self.verdict]


def compare_reductions(
    estimator: Any, X: Any, y: ArrayLike, *, validation: Any = None, share: float = 0.25, seed: int = 0
) -> Comparison:
    """One-vs-one, one-vs-rest and, where the estimator has one, its own form for many classes, on held-out rows.

    Each is fitted to the same training rows and judged on the same others; two of them are compared by the exact
    McNemar test on the rows that only one of them gets right (Q. McNemar, Psychometrika 12, 1947), with Holm's
    correction for the number of pairs, at 5% for all together.

    Parameters
    ----------
    estimator : two-class classifier
    X, y : the rows (n, p) and their labels (n,)
    validation : pair of rows and labels, default None
        Without it a share of the rows is held out, stratified.
    share : float between 0 and 1, default 0.25
    seed : int, default 0

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from heldout import SoftmaxClassifier
    >>> found = compare_reductions(SoftmaxClassifier(), *load_wine(return_X_y=True))
    >>> sorted(one.name for one in found.contenders)
    ['SoftmaxClassifier', 'one-vs-one', 'one-vs-rest']
    """
    if validation is None:
        X, held, y, truth = train_test_split(X, y, test_size=share, random_state=seed, stratify=y)
    else:
        held, truth = validation
    if len(np.unique(np.asarray(y))) < 3:
        raise InputError("With two classes the reductions are the same classifier: give three classes or more.")
    ways = {"one-vs-one": OneVsOneClassifier(estimator), "one-vs-rest": OneVsRestClassifier(estimator)}
    if get_tags(estimator).classifier_tags.multi_class:
        ways[type(estimator).__name__] = clone(estimator)
    found = []
    for name, model in ways.items():
        start = time.perf_counter()
        model.fit(X, y)
        seconds = time.perf_counter() - start
        found.append(Contender(name, np.asarray(model.predict(held)) == np.asarray(truth), seconds, model))
    found.sort(key=lambda one: -one.accuracy)
    return Comparison(tuple(found), _pairs(found), len(found[0].right))


def _pairs(found: list[Contender]) -> tuple[Pair, ...]:
    pairs = list(itertools.combinations(found, 2))
    raw = []
    for one, other in pairs:
        won, lost = int(np.sum(one.right & ~other.right)), int(np.sum(~one.right & other.right))
        raw.append(float(binomtest(won, won + lost).pvalue) if won + lost else 1.0)
    return tuple(
        Pair(one.name, other.name, one.accuracy - other.accuracy, p)
        for (one, other), p in zip(pairs, holm(raw), strict=True)
    )
