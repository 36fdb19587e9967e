"""H501: rows of validation that have a twin, or nearly one, in train; the score with and without them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl
from scipy.stats import binomtest

from heldout.diagnosis.base import Check, Evidence, Finding, NotApplicable, Suspicion
from heldout.diagnosis.leaks.seen import Array, Ints, Seen
from heldout.fitting import Fitted
from heldout.intervals import Sample, Score, replicate
from heldout.metrics import Prediction
from heldout.twins import codes
from heldout.words import interval, number, percent

MOST = (5_000, 1_000)  # rows of train and of validation that near twins are looked for among
LEAST_NUMBERS = 3  # with fewer columns rows lie close together by chance
NEAR = 0.05  # of the median distance to the nearest row
MATERIAL = 0.01  # share of the rows of validation
LEAST_TWINS = 3
BY_CHANCE = 1e-3  # twins expected among the rows of train, where columns are independent
UNIQUE = ("image", "text")  # that are never the same by chance
SAME_TARGET = 0.01  # standard deviations between the targets of twins
BLOCK = 256


@dataclass(frozen=True, eq=False)
class Twins:
    """Rows of validation and their twins in train, of so many rows that were looked at."""

    rows: Ints
    twins: Ints
    looked_at: int

    @property
    def share(self) -> float:
        return len(self.rows) / self.looked_at


class CopiedRows(Check):
    """Exact twins that no chance explains, and near twins, across train and validation.

    They say something where their targets agree more often than those of any two rows (a binomial test). A row has an
    exact twin by chance where its values are frequent ones: those are not counted. A near twin is nearer than a
    twentieth of the median distance from a row of train to the next. All rows are looked at for exact twins, for near
    ones 1,000 of validation beside 5,000 of train.
    """

    code = "H501"
    title = "Twins across train and validation"

    def examine(self, evidence: Evidence) -> Iterator[Suspicion | NotApplicable]:
        seen = evidence.seen
        if seen is None or not evidence.fitted:
            yield NotApplicable(self.code, "there are no rows to compare, or no learner has a score")
            return
        for kind, find in (("exact", exact_twins), ("near", near_twins)):
            pairs = seen.once(partial(find, seen), self.code, kind)
            if pairs is not None and len(pairs.rows) >= LEAST_TWINS and pairs.share >= MATERIAL:
                agree, p = agreement(pairs, seen, evidence.problem.classes is not None)
                yield Suspicion(p, partial(self._finding, kind, pairs, agree, seen, evidence))

    def _finding(self, kind: str, pairs: Twins, agree: float, seen: Seen, evidence: Evidence, p: float) -> Finding:
        whole, without = with_and_without(best_of(evidence), pairs.rows, seen, evidence)
        title = evidence.problem.criterion.title
        alike = "an exact twin" if kind == "exact" else "a near twin"
        rest = (
            f"the other rows {number(without.value)} ({percent(without.level)} interval {interval(without.to_json())})"
            if without
            else "of the other rows there is no score"
        )
        message = (
            f"{len(pairs.rows):,} of {pairs.looked_at:,} validation rows ({percent(round(pairs.share, 3))}) have "
            f"{alike} in train, {percent(round(agree, 3))} of them with the same {evidence.problem.target}: a learner "
            f"may remember them. All validation rows give a {title} of {number(whole.value)}, {rest}. Remove them, or "
            "keep them on one side (--group)."
        )
        told = {"kind": kind, "rows": len(pairs.rows), "looked_at": pairs.looked_at, "agree": agree, "p": p}
        return Finding(self.code, self.title, "warning", message, evidence=told | {"with": whole, "without": without})


def exact_twins(seen: Seen) -> Twins | None:
    """Rows of validation whose features all are as in a row of train, rarely enough not to be so by chance."""
    if not seen.features:
        return None
    frames = [table.frame.select(seen.features) for table in seen.tables]
    code = codes(pl.concat(frames))
    known, first = np.unique(code[: seen.n_train], return_index=True)
    held = code[seen.n_train :]
    place = np.minimum(np.searchsorted(known, held), len(known) - 1)
    rows = np.flatnonzero(known[place] == held)
    if not len(rows):
        return None
    expected = np.full(len(rows), float(seen.n_train))
    for name in seen.features:
        if seen.kind(name) in UNIQUE:
            expected[:] = 0.0
            break
        counts = frames[0][name].value_counts()
        values = frames[1][name][rows].to_frame()
        joined = values.join(counts, on=name, how="left", nulls_equal=True, maintain_order="left")
        expected *= joined["count"].to_numpy() / seen.n_train
    kept = rows[expected <= BY_CHANCE]
    return Twins(kept, first[place[kept]], seen.n_validation)


def near_twins(seen: Seen) -> Twins | None:
    """Rows of validation that lie much nearer to a row of train than rows of train to each other, but not on it."""
    if seen.is_table and len(seen.of_kind("number", "date")) < LEAST_NUMBERS:
        return None
    train, held = seen.taken(MOST)
    rows, queries = seen.encoded(train, held)
    spread = rows.std(axis=0)
    rows, queries = (m[:, spread > 0] / spread[spread > 0] for m in (rows, queries))
    far, nearest = _nearest(queries, rows)
    usual, _ = _nearest(rows[: MOST[1]], rows, skip_own=True)
    usual = usual[usual > 0]
    if len(usual) < LEAST_TWINS:
        return None
    near = np.flatnonzero((far > 0) & (far < NEAR * np.median(usual)))
    return Twins(held[near], train[nearest[near]], len(held))


def _nearest(queries: Array, rows: Array, *, skip_own: bool = False) -> tuple[Array, Ints]:
    """The distance to the nearest of `rows`, and which it is; `skip_own` where query i is row i."""
    squares = np.einsum("ij,ij->i", rows, rows)
    place = np.empty(len(queries), np.int64)
    for start in range(0, len(queries), BLOCK):
        part = queries[start : start + BLOCK]
        far = squares - 2 * part @ rows.T
        if skip_own:
            far[np.arange(len(part)), np.arange(start, start + len(part))] = np.inf
        place[start : start + BLOCK] = far.argmin(axis=1)
    return np.sqrt(np.sum((queries - rows[place]) ** 2, axis=1)), place


def agreement(pairs: Twins, seen: Seen, classes: bool) -> tuple[float, float]:
    """The share of twins with the same target, and the p value beside pairs of any rows."""
    train, held = (part.y for part in seen.rows)
    if classes:
        same = held[pairs.rows] == train[pairs.twins]
        by_chance = float(np.sum(_shares(train, held) * _shares(held, train)))
    else:
        close = SAME_TARGET * float(train.std())
        same = np.abs(held[pairs.rows] - train[pairs.twins]) <= close
        ordered = np.sort(train)
        within = np.searchsorted(ordered, held + close, "right") - np.searchsorted(ordered, held - close)
        by_chance = float(np.mean(within)) / len(train)
    p = binomtest(int(same.sum()), len(same), min(1.0, by_chance), alternative="greater").pvalue
    return float(same.mean()), float(p)


def _shares(codes_: Array, others: Array) -> Array:
    most = int(max(codes_.max(), others.max())) + 1
    return np.bincount(codes_, minlength=most) / len(codes_)


def best_of(evidence: Evidence) -> Fitted:
    """The learner that is best on validation."""
    loss = evidence.problem.criterion.loss
    return min(evidence.fitted, key=lambda item: loss(item.scored[1].value))


def with_and_without(learner: Fitted, rows: Ints, seen: Seen, evidence: Evidence) -> tuple[Score, Score | None]:
    """The learner's score on validation, and without these rows; None where few are left, or a guard answers."""
    whole = learner.scored[1].score()
    left = np.setdiff1d(np.arange(seen.n_validation), rows)
    prediction, validation = learner.prediction, seen.rows[1]
    y = validation.y[left]
    one_class = evidence.problem.classes is not None and len(np.unique(y)) < 2
    if prediction is None or validation.guard is not None or len(left) < LEAST_TWINS or one_class:
        return whole, None
    given = (prediction.value, prediction.label, prediction.probability)
    kept = Prediction(*(None if item is None else item[left] for item in given))
    sample = Sample.of(validation.sample.cluster[left], validation.sample.seed)
    return whole, replicate(evidence.problem.criterion, y, kept, sample).score()
