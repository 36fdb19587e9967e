"""H511: columns that were chosen with the targets of validation, out of a wider table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
from scipy.special import ndtr

from heldout.candidates import Candidate
from heldout.diagnosis.base import Check, Evidence, Finding, NotApplicable, Suspicion
from heldout.diagnosis.leaks.seen import Array, Ints
from heldout.errors import InputError
from heldout.fitting import Fitted, fit
from heldout.words import interval, number, p_said, percent

NEIGHBOURS = 20  # columns that were not chosen and go with the target of train as much as one that was
LEAST_COLUMNS = 3
SHUFFLES = 200


class Selected(Check):
    r"""Do the chosen columns go with the targets of validation more than others that go with those of train as much?

    For each column: how much it goes with the target on train, :math:`t_j = \|a_j\|` with :math:`a_j` the correlations
    with the target (with each class), and how much of that is found on validation, :math:`v_j = a_j \cdot b_j / t_j`
    with :math:`b_j` the same of validation. Where train alone decided, being chosen says nothing of :math:`v_j` once
    :math:`t_j` is known, whatever the rule. So the mean difference of :math:`v_j` between chosen columns and the 20
    unchosen ones with the nearest :math:`t_j` is compared with its spread where the targets of validation are shuffled.
    As many columns are then chosen by :math:`t_j`, on train, and the learner is fitted to these.

    Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 2009, section 7.10.2: the wrong way to do
    cross-validation.
    """

    code = "H511"
    title = "Columns chosen with validation in view"

    def examine(self, evidence: Evidence) -> Iterator[Suspicion | NotApplicable]:
        seen = evidence.seen
        if seen is None or seen.chosen_from is None:
            yield NotApplicable(self.code, "the table that the columns were chosen from is not given")
            return
        train, held = seen.chosen_from
        chosen = places(np.asarray(seen.rows[0].X), train)
        targets = tuple(_targets(part.y, evidence) for part in seen.rows)
        on_train = _along(train, targets[0])
        difference, raw = excess(on_train, held, targets[1], chosen)
        yield Suspicion(raw, partial(self._finding, difference, on_train, len(chosen), evidence))

    def _finding(self, difference: float, on_train: Array, k: int, evidence: Evidence, p: float) -> Finding:
        again, told = self._again(on_train, k, evidence), evidence.fitted[0].scored[1]
        score = None if again.validation is None else again.validation.score()
        honest = (
            f"With as many columns chosen by train alone it is {number(score.value)} ({percent(score.level)} interval "
            f"{interval(score.to_json())})"
            if score
            else f"With columns chosen by train alone the learner fails ({again.error})"
        )
        message = (
            f"The {k:,} columns go with the validation targets more than others that go with the training targets as "
            f"much (by {number(difference, 2)}, {p_said(p)}): they were chosen with validation in view, and the "
            f"{evidence.problem.criterion.title} of {number(told.value)} is none of new rows. {honest}. Put the choice "
            "into a pipeline."
        )
        given = {"p": p, "excess": difference, "columns": k, "chosen_on_train": score}
        return Finding(self.code, self.title, "error", message, evidence=given)

    def _again(self, on_train: Array, k: int, evidence: Evidence) -> Fitted:
        """The learner on the k columns that go most with the target of train."""
        from sklearn.base import clone

        seen, learner = evidence.seen, evidence.fitted[0]
        assert seen is not None and seen.chosen_from is not None
        best = np.argsort(-np.linalg.norm(on_train, axis=1), kind="stable")[:k]
        rows = [replace(part, X=wide[:, best]) for part, wide in zip(seen.rows, seen.chosen_from, strict=True)]
        return fit(Candidate("chosen", "chosen on train", clone(learner.estimator)), evidence.problem, rows[0], rows[1])


def places(chosen: Array, wide: Array) -> Ints:
    """Where each of the chosen columns stands in the wide table.

    Raises InputError for one that is not there.
    """
    known = {column.tobytes(): j for j, column in enumerate(np.ascontiguousarray(wide.T, np.float64) + 0.0)}
    found = [known.get(column.tobytes()) for column in np.ascontiguousarray(chosen.T, np.float64) + 0.0]
    if None in found:
        raise InputError(
            f"Column {found.index(None)} of X (from 0) is not among those of chosen_from: pass the table as it was "
            "when columns were chosen, with the same rows."
        )
    return np.array(found, np.int64)


def _targets(y: Array, evidence: Evidence) -> Array:
    classes = evidence.problem.classes
    return y[:, None].astype(np.float64) if classes is None else np.eye(len(classes))[y]


def _along(X: Array, targets: Array) -> Array:
    """Correlations (p, k) of the columns with the targets; 0 where one of them is constant."""
    return np.asarray(_unit(X).T @ _unit(targets))


def _unit(X: Array) -> Array:
    """Columns with mean 0 and length 1; 0 where they are constant."""
    z = X - X.mean(axis=0)
    size = np.sqrt(np.sum(z**2, axis=0))
    return np.asarray(z / np.where(size > 0, size, 1.0))


def excess(on_train: Array, held: Array, targets: Array, chosen: Ints) -> tuple[float, float]:
    """How much more the chosen columns go with the targets of validation than their like, and the p value."""
    strength = np.linalg.norm(on_train, axis=1)
    is_chosen = np.zeros(len(strength), bool)
    is_chosen[chosen] = True
    others = np.flatnonzero(~is_chosen)
    others = others[np.argsort(strength[others], kind="stable")]
    if len(others) < NEIGHBOURS:
        return 0.0, 1.0
    mine = chosen[strength[chosen] <= strength[others[-1]]]  # what train alone would choose has nothing like it
    if len(mine) < LEAST_COLUMNS:
        return 0.0, 1.0
    start = np.clip(
        np.searchsorted(strength[others], strength[mine]) - NEIGHBOURS // 2, 0, len(others) - NEIGHBOURS
    )  # fmt: skip
    like = others[start[:, None] + np.arange(NEIGHBOURS)]
    used, at = np.unique(np.concatenate([mine, like.ravel()]), return_inverse=True)
    weight = np.bincount(at[: len(mine)], minlength=len(used)) / len(mine)
    weight = weight - np.bincount(at[len(mine) :], minlength=len(used)) / like.size
    direction = on_train[used] / np.maximum(strength[used], 1e-300)[:, None] * weight[:, None]
    on_rows = _unit(held[:, used]) @ direction  # (n, k): the statistic is linear in the targets
    targets, rng = _unit(targets), np.random.default_rng(0)
    found = float(np.sum(on_rows * targets))
    shuffled = [float(np.sum(on_rows * targets[rng.permutation(len(held))])) for _ in range(SHUFFLES)]
    spread = float(np.std(shuffled, ddof=1))
    return found, float(ndtr(-(found - np.mean(shuffled)) / spread)) if spread > 0 else 1.0
