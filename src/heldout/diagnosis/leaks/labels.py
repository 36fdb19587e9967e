"""H509: rows whose label the best learner is sure is another."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from scipy.special import pdtrc

from heldout.diagnosis.base import Check, Evidence, Finding, NotApplicable, Suspicion
from heldout.diagnosis.leaks.copies import best_of
from heldout.diagnosis.leaks.seen import Array, Ints
from heldout.words import number, p_said

SURE = 0.95  # probability of another class
FAR = 8.0  # robust standard deviations of the residuals
MOST_FAR = 0.01  # share of rows: more are the tail of the residuals
NORMAL = 1.4826  # standard deviations to a median absolute deviation
LISTED = 20


class LabelSuspects(Check):
    """Validation rows whose label may be wrong, the most suspect first.

    Of classes: the best learner is sure (95% or more) of another one, in more rows than its own probabilities allow (a
    Poisson test). Of numbers: residuals of more than eight robust standard deviations, in at most 1% of the rows. The
    learner has not seen these rows, so none of them was learned by heart; it may also be too sure of itself.
    """

    code = "H509"
    title = "Labels to look at"

    def examine(self, evidence: Evidence) -> Iterator[Finding | Suspicion | NotApplicable]:
        if evidence.seen is None or not evidence.fitted or evidence.seen.rows[1].guard is not None:
            yield NotApplicable(self.code, "no learner has a score of its own")
            return
        best, y = best_of(evidence), evidence.seen.rows[1].y
        said = best.prediction
        if said is None or (said.value is None and said.probability is None):
            yield NotApplicable(self.code, "the best learner gives no probabilities")
            return
        if said.probability is None:
            yield from self._far(np.abs(y - np.asarray(said.value)), best.title, evidence)
            return
        sure = said.probability.max(axis=1)
        asked = sure >= SURE
        rows = np.flatnonzero(asked & (said.probability.argmax(axis=1) != y))
        expected = float(np.sum(1 - sure[asked]))
        if len(rows) and expected > 0:
            rows = rows[np.argsort(-sure[rows], kind="stable")]
            p = float(pdtrc(len(rows) - 1, expected))
            yield Suspicion(p, partial(self._too_many, rows, int(asked.sum()), expected, best.title))

    def _too_many(self, rows: Ints, asked: int, expected: float, title: str, p: float) -> Finding:
        why = (
            f"Of {asked:,} validation rows {title} is sure by 95% or more, and {len(rows):,} have another label, where "
            f"{number(expected, 2)} would be expected ({p_said(p)}). Their labels are wrong, or it is too sure."
        )
        return self._finding(why, rows, p)

    def _far(self, residual: Array, title: str, evidence: Evidence) -> Iterator[Finding]:
        spread = NORMAL * float(np.median(residual))
        rows = np.flatnonzero(residual > FAR * spread)
        if spread > 0 and 0 < len(rows) <= max(1, MOST_FAR * len(residual)):
            count = "One validation row is" if len(rows) == 1 else f"{len(rows):,} validation rows are"
            why = (
                f"{count} more than {number(FAR * spread, 3)} away from what {title} says, eight robust standard "
                f"deviations of its residuals. Look whether {evidence.problem.target} is right there."
            )
            yield self._finding(why, rows[np.argsort(-residual[rows], kind="stable")])

    def _finding(self, why: str, rows: Ints, p: float | None = None) -> Finding:
        first = [int(row) for row in rows[:LISTED]]
        message = f"{why} Validation rows, from 0, the most suspect first: {', '.join(map(str, first[:8]))}."
        return Finding(self.code, self.title, "info", message, evidence={"rows": first, "count": len(rows), "p": p})
