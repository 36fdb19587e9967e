"""Which learner is chosen: the simplest of those that cannot be told from the best.

A learner cannot be told from the best where it is worse on validation by no more than one standard error of their
difference, row by row (the one-standard-error rule; Breiman, Friedman, Olshen and Stone, Classification and Regression
Trees, 1984, section 3.4.3, with the standard error of the difference, which is what decides). Of these the simplest is
chosen. Beside it every two learners are compared, with p values for all pairs together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from heldout.differences import Difference, difference
from heldout.fitting import Fitted
from heldout.metrics import Criterion
from heldout.multiplicity import holm
from heldout.words import joined

MOST = 8  # learners in the matrix
SURE = 0.05

SIMPLICITY: tuple[tuple[str, ...], ...] = (  # modules, the simplest first; of several that fit the longest counts
    ("heldout.baseline", "heldout.series.persistence", "sklearn.dummy"),
    ("heldout.linear", "heldout.texts", "sklearn.linear_model", "sklearn.discriminant_analysis", "sklearn.naive_bayes"),
    ("heldout.linear.squares.polynomial", "heldout.multiclass", "sklearn.multiclass"),
    ("heldout.trees.tree", "sklearn.tree"),
    ("heldout.neighbors", "sklearn.neighbors"),
    ("heldout.trees", "heldout.ensemble", "sklearn.ensemble", "sklearn.svm", "sklearn.gaussian_process"),
    ("heldout.neural.estimators", "sklearn.neural_network"),
    ("heldout.neural",),
)


def simplicity(estimator: Any) -> int:
    """The place of a learner in the order of simplicity, 0 the simplest; what is not known comes last.

    >>> from heldout import RandomForestClassifier, SoftmaxClassifier
    >>> simplicity(SoftmaxClassifier()) < simplicity(RandomForestClassifier())
    True
    """
    inner = getattr(estimator, "best_estimator_", None) or getattr(estimator, "steps", [[estimator]])[-1][-1]
    if inner is not estimator:
        return simplicity(inner)
    module = type(estimator).__module__
    fits = [(len(name), rank) for rank, names in enumerate(SIMPLICITY) for name in names if _within(module, name)]
    return max(fits)[1] if fits else len(SIMPLICITY)


def _within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


@dataclass(frozen=True, repr=False)
class Pair:
    """Two learners on the validation rows: their difference, and p for all pairs of the study together."""

    one: str
    other: str
    difference: Difference
    p: float

    def to_json(self) -> dict[str, Any]:
        return {"one": self.one, "other": self.other, "by": self.difference.score().to_json(), "p": self.p}


@dataclass(frozen=True, repr=False)
class Choice:
    """Which learner is chosen, and why.

    Attributes
    ----------
    chosen, best : str
        Names: what is chosen, and what has the best score on validation.
    alike : tuple of str
        Names of those within one standard error of the best, the best among them.
    order : tuple of str
        Names of the learners with the best scores, at most 8, the best first.
    pairs : tuple of Pair
        Every two of them, the better first.
    titles : dict of name to title
    """

    chosen: str
    best: str
    alike: tuple[str, ...]
    order: tuple[str, ...]
    pairs: tuple[Pair, ...]
    titles: dict[str, str]

    @property
    def sentence(self) -> str:
        """The choice in words."""
        best, chosen = self.titles[self.best], self.titles[self.chosen]
        others = [self.titles[name] for name in self.alike if name != self.best]
        if not others:
            return f"{best} is best on validation, by more than one standard error; it is chosen."
        told = f"{joined([best, *others])} cannot be told apart on validation (within one standard error of the best)"
        why = "it is the simplest of them" if self.chosen != self.best else "the best of them is also the simplest"
        return f"{told}: {chosen} is chosen, {why}." if self.chosen != self.best else f"{told}; {why} and is chosen."

    @property
    def matrix(self) -> dict[str, Any]:
        """What report and terminal show: titles, and for each pair the difference and p."""
        return {
            "learners": [self.titles[name] for name in self.order],
            "names": list(self.order),
            "pairs": [pair.to_json() for pair in self.pairs],
        }


def choose(learners: Sequence[Fitted], criterion: Criterion) -> Choice:
    """The choice among learners that have scores, the trivial answer among them."""
    ordered = sorted(learners, key=lambda item: criterion.loss(item.scored[1].value))
    best = ordered[0]
    beside = {item.name: difference(item.scored[1], best.scored[1]) for item in ordered}
    made = [(a, b, difference(b.scored[1], a.scored[1])) for a, b in combinations(ordered, 2)]
    adjusted = holm([min(1.0, 2 * min(found.p, found.turned().p)) for _, _, found in made])
    pairs = [Pair(a.name, b.name, found, p) for (a, b, found), p in zip(made, adjusted, strict=True)]
    told = {pair.other for pair in pairs if pair.one == best.name and pair.p <= SURE}
    alike = [item for item in ordered if _within_one_error(beside[item.name]) and item.name not in told]
    least = min(simplicity(item.estimator) for item in alike)
    simplest = next(item for item in alike if simplicity(item.estimator) == least)
    of_its_kind = [item for item in alike if type(item.estimator) is type(simplest.estimator)]
    chosen = max(of_its_kind, key=lambda item: criterion.loss(item.scored[0].value))  # follows train the least
    order = tuple(item.name for item in ordered[:MOST])
    return Choice(
        chosen.name,
        best.name,
        tuple(item.name for item in alike),
        order,
        tuple(pair for pair in pairs if pair.one in order and pair.other in order),
        {item.name: item.shown_title for item in ordered},
    )


def _within_one_error(worse: Difference) -> bool:
    return worse.gains.value <= worse.gains.se
