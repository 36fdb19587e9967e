"""H506: columns that were centred, scaled or encoded with the rows of validation, and steps that are never refitted."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from scipy.special import chdtrc

from heldout.diagnosis.base import Check, Evidence, Finding, NotApplicable, Suspicion
from heldout.diagnosis.leaks.seen import Array, Seen, listed
from heldout.words import p_said

DISTINCT = 10  # values that a column of measurements has more than
ZERO = 1e-6  # standard deviations
LEAST_COLUMNS = 2
LEAST_BOUNDED = 3
ROWS_PER_TERM = 10
UNIT = 0.2  # standard deviations of columns that may have been scaled, from 1
LEAST_LEVELS = 5  # whose value is the mean of their targets
MOST_SHARE = 0.5  # of distinct values among rows, in a column that stands for levels


class Prepared(Check):
    r"""What preprocessing of all rows leaves behind in train and validation.

    Exact traces: columns whose mean is 0 over both parts and not over train, whose ends 0 and 1 lie in both together,
    whose values are the means of the targets of both (a target encoding); and in a pipeline, steps that are frozen.
    Where sealed rows were prepared with them, the means :math:`m` of the columns, and their mean squares, are closer to
    0 and 1 than those of drawn rows: :math:`n\, m^T \hat\Sigma^{-1} m` has the share of rows that are sealed as a
    factor and is tested against the lower tail of :math:`\chi^2`. The fewer the columns, the less that test can see.
    """

    code = "H506"
    title = "Prepared with the rows of validation"

    def examine(self, evidence: Evidence) -> Iterator[Finding | Suspicion | NotApplicable]:
        for learner in evidence.fitted:
            for step, seen_rows in frozen_steps(learner.estimator):
                yield self._frozen(step, seen_rows, learner.name, evidence)
        seen = evidence.seen
        if seen is not None:
            yield from seen.once(lambda: tuple(self._of_rows(seen, evidence)), self.code)

    def _of_rows(self, seen: Seen, evidence: Evidence) -> Iterator[Finding | Suspicion | NotApplicable]:
        """What the rows say, whatever was fitted to them."""
        columns = _measured(seen) if seen.is_table else []
        if not columns:
            yield NotApplicable(self.code, "there are no columns of measurements")
            return
        for how, names in (
            (
                "centred (their mean over train and validation is 0, over train alone it is not)",
                _centred(seen, columns),
            ),
            ("scaled from 0 to 1 (an end of them is in validation)", _bounded(seen, columns)),
            (
                "made of the target (each value is the mean of its rows' targets, validation included)",
                _encoded(seen, evidence),
            ),
        ):
            if names:
                yield self._finding(how, names)
                return
        test = close_to_standard(seen, columns)
        if test is not None:
            how, p = test
            yield Suspicion(p, partial(self._finding, f"{how} together with rows beyond train", columns))

    def _finding(self, how: str, names: list[str], p: float | None = None) -> Finding:
        verb = "was" if len(names) == 1 else "were"
        beyond = "" if p is None else f" (they are closer to it than drawn rows would be, {p_said(p)})"
        message = (
            f"{listed(names)} {verb} {how}{beyond}: the preparation has seen rows that it is judged by. Begin from the "
            "raw columns and prepare them in a pipeline, which learns from train alone."
        )
        return Finding(self.code, self.title, "warning", message, evidence={"columns": names, "how": how, "p": p})

    def _frozen(self, step: str, rows: int | None, learner: str, evidence: Evidence) -> Finding:
        seen = evidence.seen
        knows = rows is not None and seen is not None and rows > seen.n_train
        so = f"It has seen {rows:,} rows, more than there are to train" if knows else "It may have seen validation rows"
        message = f"The step {step} is frozen: it was fitted before and is not fitted again. {so}; pass it unfitted."
        return Finding(self.code, self.title, "warning", message, learner, {"step": step, "rows_seen": rows})


def frozen_steps(estimator: Any) -> Iterator[tuple[str, int | None]]:
    """Parts of an estimator that were fitted before and stay so: their names, and how many rows they have seen."""
    for name, part in estimator.get_params(deep=True).items():
        if type(part).__name__ == "FrozenEstimator":
            rows = getattr(part.estimator, "n_samples_seen_", None)
            yield name, None if rows is None else int(np.max(rows))


def _measured(seen: Seen) -> list[str]:
    """Columns of numbers that take more than a few values, none missing."""
    names = seen.of_kind("number")
    return [name for name in names if not seen.frame[name].null_count() and seen.frame[name].n_unique() > DISTINCT]


def _whole(seen: Seen, name: str) -> tuple[Array, Array]:
    """All values of train, and of both parts."""
    train, held = (np.asarray(table.frame[name].to_numpy(), np.float64) for table in seen.tables)
    return train, np.concatenate([train, held])


def _centred(seen: Seen, columns: list[str]) -> list[str]:
    found = []
    for name in columns:
        train, both = _whole(seen, name)
        limit = ZERO * float(both.std())
        if abs(both.mean()) <= limit < abs(train.mean()):
            found.append(name)
    return found if len(found) >= LEAST_COLUMNS else []


def _bounded(seen: Seen, columns: list[str]) -> list[str]:
    found, outside = [], 0
    for name in columns:
        train, both = _whole(seen, name)
        if (both.min(), both.max()) == (0.0, 1.0):
            found.append(name)
            outside += train.min() > 0.0 or train.max() < 1.0
    enough = len(found) >= LEAST_BOUNDED and len(found) == len(columns) and outside >= LEAST_COLUMNS
    return found if enough else []


def _encoded(seen: Seen, evidence: Evidence) -> list[str]:
    classes = evidence.problem.classes
    if classes is not None and len(classes) > 2:
        return []
    y = np.concatenate([part.y for part in seen.rows]).astype(np.float64)
    return [name for name in seen.of_kind("number") if _is_encoding(*_whole(seen, name), y)]


def _is_encoding(train: Array, both: Array, y: Array) -> bool:
    """Values that are the mean target of all rows that have them, and not of those of train alone."""
    levels, code, counts = np.unique(both, return_inverse=True, return_counts=True)
    if not LEAST_LEVELS <= len(levels) <= MOST_SHARE * len(both):
        return False
    limit, n = ZERO * float(y.std()), len(train)
    known = np.bincount(code[:n], minlength=len(levels))
    means = np.bincount(code, y) / counts
    of_train = np.bincount(code[:n], y[:n], len(levels)) / np.maximum(known, 1)
    telling = (counts > known) & (known > 0) & (np.abs(means - of_train) > limit)
    exact = telling & (np.abs(means - levels) <= limit)
    return bool(exact.sum() >= LEAST_LEVELS)


def close_to_standard(seen: Seen, columns: list[str]) -> tuple[str, float] | None:
    """How columns may have been prepared with sealed rows, and the chance of being as close where rows are drawn."""
    values = np.column_stack([_whole(seen, name)[1] for name in columns])
    train = values[: seen.n_train]
    if np.all(np.abs(train.mean(axis=0)) <= ZERO * train.std(axis=0)):
        return None  # train alone was prepared, as it should be
    scaled = np.all(np.abs(values.std(axis=0) - 1) < UNIT) and len(values) >= 2 * ROWS_PER_TERM * len(columns)
    if scaled:
        return "standardised", _lower_tail(np.column_stack([values, values**2 - 1]))
    return "centred", _lower_tail(values)


def _lower_tail(terms: Array) -> float:
    n, k = terms.shape
    if n < ROWS_PER_TERM * k:
        return 1.0
    covariance = np.cov(terms, rowvar=False).reshape(k, k)
    if np.linalg.cond(covariance) > 1 / ZERO**2:
        return 1.0
    mean = terms.mean(axis=0)
    return 1.0 - float(chdtrc(k, n * float(mean @ np.linalg.solve(covariance, mean))))
