"""H502, H507: a column that alone predicts the target, and columns that make it up together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
from scipy.special import betaincinv

from heldout.diagnosis.base import Check, Evidence, Finding, NotApplicable
from heldout.diagnosis.leaks.seen import Array, Seen, listed
from heldout.words import percent

LEAST_ROWS = 30
MATERIAL = 0.9  # of the trivial answer's error that a column must take away, certainly
LEFT = 0.5  # of what the best honest column leaves unexplained
FEW_LEVELS = 0.2  # distinct values a row, up to which rows are put together by value, not by neighbourhood
WINDOW = 3  # neighbours on each side
SURE = 0.975
MISSING = 0.1  # of a column's values at most, for a law that it is part of
EXACT = 1e-5  # root mean square of what is left, in standard deviations of the target
MOST_TERMS = 300
ROWS_PER_TERM = 5


class ColumnAlone(Check):
    r"""Of each column: the share of the trivial answer's error that is gone where each row is answered by the others.

    The rows with the same value, or those next to it by rank, answer for each row (leave-one-out, train and validation
    together): the mean, or the most frequent class. A column that takes away 90% of the error, certainly, and leaves
    half of what the best of the others leaves, is suspect: it may have been written after the target was known. Times
    are not asked: a row between two days is near both.
    """

    code = "H502"
    title = "One column predicts the target"
    of_rows_alone = True

    def examine(self, evidence: Evidence) -> Iterator[Finding | NotApplicable]:
        seen = evidence.seen
        if seen is None or not seen.is_table or len(seen.y) < LEAST_ROWS:
            yield NotApplicable(self.code, "there are no columns, or too few rows")
            return
        classes = None if evidence.problem.classes is None else len(evidence.problem.classes)
        names = [name for name in seen.features if seen.kind(name) != "date" and name != evidence.problem.time]
        shares = {name: share_alone(values_of(seen, name), seen.y, classes) for name in names}
        suspects = {name: both for name, both in shares.items() if both[1] >= MATERIAL}
        best = max((both[0] for both in suspects.values()), default=0.0)
        others = max([0.0, *(both[0] for name, both in shares.items() if name not in suspects)])
        if not suspects or 1 - best > LEFT * (1 - others):
            return
        names = sorted(suspects, key=lambda name: -suspects[name][0])
        each = "alone predicts" if len(names) == 1 else "each alone predict"
        rest = f"; the best of the other columns {percent(round(others, 3))}" if len(names) < len(shares) else ""
        target = evidence.problem.target
        message = (
            f"{listed(names)} {each} {target}: {percent(round(best, 3))} of the trivial answer's error is gone by "
            f"it{rest}. If it is not known before {target} is, leave it out: --drop COLUMN."
        )
        told = {"columns": names, "shares": {name: suspects[name][0] for name in names}, "others": others}
        yield Finding(self.code, self.title, "warning", message, evidence=told)


def values_of(seen: Seen, name: str) -> Array:
    """The sampled values as numbers: codes of the levels of what is none; NaN where missing."""
    if seen.kind(name) == "number":
        return seen.numbers(name)
    return np.asarray(seen.frame[name].cast(pl.String).rank("dense").cast(pl.Float64).to_numpy())


def share_alone(x: Array, y: Array, classes: int | None) -> tuple[float, float]:
    """The share of the trivial error that x takes away from rows that did not answer, and its lower bound.

    >>> x = np.arange(100.0)
    >>> share_alone(x, (x > 50).astype(int), 2)[0] > 0.95, share_alone(np.zeros(100), x, None)[0] > 0.0
    (True, False)
    """
    _, code, counts = np.unique(x, return_inverse=True, return_counts=True, equal_nan=True)
    few = len(counts) <= max(FEW_LEVELS * len(x), 2)
    votes = np.eye(classes)[y] if classes else np.column_stack([y.astype(np.float64), np.ones(len(y))])
    around = _of_level(code, len(counts), votes) if few else _of_rank(code, votes)
    if classes is None:
        answer = np.where(around[:, 1] > 0, around[:, 0] / np.maximum(around[:, 1], 1), y.mean())
        return _of_numbers((y - answer) ** 2, (y - y.mean()) ** 2)
    answer = np.where(around.sum(axis=1) > 0, around.argmax(axis=1), votes.sum(axis=0).argmax())
    wrong, trivial = int(np.sum(answer != y)), int(len(y) - votes.sum(axis=0).max())
    upper = float(betaincinv(wrong + 1, len(y) - wrong, SURE)) if wrong < len(y) else 1.0  # Clopper and Pearson
    return _share(wrong, trivial), _share(upper * len(y), trivial)


def _of_level(code: Array, levels: int, votes: Array) -> Array:
    """Sums of the other rows with the same value."""
    sums = np.stack([np.bincount(code, vote, levels) for vote in votes.T], axis=1)
    return np.asarray(sums[code] - votes)


def _of_rank(code: Array, votes: Array) -> Array:
    """Sums of the rows next to each by rank."""
    order = np.argsort(code, kind="stable")
    sums = np.concatenate([np.zeros((1, votes.shape[1])), np.cumsum(votes[order], axis=0)])
    at = np.arange(len(code))
    around = sums[np.minimum(at + WINDOW + 1, len(code))] - sums[np.maximum(at - WINDOW, 0)] - votes[order]
    made = np.empty_like(around)
    made[order] = around
    return np.asarray(made)


def _of_numbers(left: Array, trivial: Array) -> tuple[float, float]:
    total = float(trivial.sum())
    if total == 0:
        return 0.0, 0.0
    ratio = float(left.sum()) / total
    error = float(np.sqrt(np.sum((left - ratio * trivial) ** 2))) / total
    return 1 - ratio, 1 - ratio - 2 * error


def _share(left: float, trivial: float) -> float:
    return 1 - left / trivial if trivial > 0 else 0.0


class HiddenTarget(Check):
    """Columns that make the target up together: a sum, a difference, a product or a ratio, exact on validation."""

    code = "H507"
    title = "Columns make up the target"
    of_rows_alone = True

    def examine(self, evidence: Evidence) -> Iterator[Finding | NotApplicable]:
        seen = evidence.seen
        if seen is None or not seen.is_table:
            yield NotApplicable(self.code, "there are no columns")
            return
        for way, names, matrix, target in _ways(seen, evidence):
            used = exact_law(matrix, target, seen.is_train)
            if used is not None and len(used) > 1:
                listing = [names[j] for j in used]
                message = (
                    f"{evidence.problem.target} is {way} of {listed(listing)}, exactly. It is worked out from them, "
                    "not predicted: leave out those that are not known before it."
                )
                yield Finding(self.code, self.title, "warning", message, evidence={"columns": listing, "way": way})
                return


def _ways(seen: Seen, evidence: Evidence) -> Iterator[tuple[str, list[str], Array, Array]]:
    """A way to make up the target, names of the terms, the terms (n, d) and what they should give (n, k)."""
    names = [
        name for name in seen.of_kind("number", "boolean") if seen.frame[name].null_count() <= MISSING * len(seen.y)
    ]
    if not names:
        return
    columns = np.column_stack([seen.numbers(name) for name in names])
    classes = evidence.problem.classes
    target = (
        seen.y[:, None].astype(np.float64) if classes is None or len(classes) == 2 else np.eye(len(classes))[seen.y]
    )
    yield "a weighted sum", names, columns, target
    with np.errstate(invalid="ignore"):
        positive = np.flatnonzero(~np.any(columns <= 0, axis=0))
    if classes is None and np.all(seen.y > 0) and len(positive):
        yield "a product of powers", [names[j] for j in positive], np.log(columns[:, positive]), np.log(target)


def exact_law(matrix: Array, target: Array, is_train: Array) -> list[int] | None:
    """The columns of an exact linear law that holds on validation too; None where there is no such law.

    It is solved on no more rows of train than it needs, for an exact law holds in any.
    """
    whole = np.isfinite(matrix).all(axis=1)
    d = matrix.shape[1]
    fit = np.flatnonzero(whole & is_train)[: ROWS_PER_TERM * d + LEAST_ROWS]
    held = np.flatnonzero(whole & ~is_train)
    if d > MOST_TERMS or len(fit) < 2 * d + LEAST_ROWS // 2 or len(held) < LEAST_ROWS // 3:
        return None
    middle, spread = matrix[fit].mean(axis=0), matrix[fit].std(axis=0)
    terms = np.column_stack([(matrix - middle) / np.where(spread > 0, spread, 1.0), np.ones(len(matrix))])
    scale = target[fit].std(axis=0)
    if np.any(scale == 0):
        return None
    weights = np.linalg.lstsq(terms[fit], target[fit] / scale, rcond=1e-9)[0]
    left = target[held] / scale - terms[held] @ weights
    if float(np.sqrt(np.mean(left**2))) > EXACT:
        return None
    return [int(j) for j in np.flatnonzero(np.abs(weights[:-1]).max(axis=1) > 100 * EXACT)]
