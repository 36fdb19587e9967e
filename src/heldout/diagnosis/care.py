"""H201 to H204: what to keep in mind of the data, the split and the fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from heldout.diagnosis.base import Check, Evidence, Finding, NotApplicable
from heldout.diagnosis.comparison import FAMILY_ERROR
from heldout.differences import difference
from heldout.fitting import Fitted
from heldout.words import number

WIDE = 0.5  # an interval wider than half of the score says little


class TwinRows(Check):
    """Rows that repeat: kept on one side, but worth knowing."""

    code = "H201"
    title = "Rows that repeat"

    def examine(self, evidence: Evidence) -> Iterator[Finding | NotApplicable]:
        for note in evidence.split_notes:
            severity = "warning" if "with another" in note else "info"  # twins in another part: H501
            yield Finding(self.code, self.title, severity, note)  # type: ignore[arg-type]


class SmallValidation(Check):
    """Is the validation part large enough for the question? The width of the best score, and what could have been seen.

    Two learners are compared row by row. Where the difference that would have been seen four times in five, between the
    best two, is more than half of what the best gains over the trivial answer, the part is too small to choose by.
    """

    code = "H202"
    title = "Few validation rows"

    def examine(self, evidence: Evidence) -> Iterator[Finding | NotApplicable]:
        loss = evidence.problem.criterion.loss
        scored = sorted(evidence.fitted, key=lambda item: loss(item.scored[1].value))
        if not scored:
            yield NotApplicable(self.code, "no learner has a score")
            return
        score = scored[0].scored[1].score()
        width, size = score.high - score.low, abs(score.value)
        wide = size > 0 and width > WIDE * size and evidence.problem.criterion.perfect == 0.0
        seen, gain = _could_be_seen(scored, evidence)
        small = seen is not None and gain > 0 and seen > WIDE * gain
        if not wide and not small:
            return
        why = f"With {scored[0].scored[1].n_rows:,} validation rows "
        if wide:
            ends = f"{number(score.low)} to {number(score.high)}"
            why += f"the best score, {number(score.value)}, has an interval from {ends}"
            why += ", and " if small else ""
        if small:
            why += (
                f"the best two learners could be told apart, four times in five, if they differed by {number(seen)}, "
                f"where the best gains {number(gain)} over the trivial answer"
            )
        message = f"{why}: too few to say much; more rows would help."
        given = {"score": score, "detectable": seen, "gain": gain}
        yield Finding(self.code, self.title, "warning", message, scored[0].name, given)


def _could_be_seen(scored: Sequence[Fitted], evidence: Evidence) -> tuple[float | None, float]:
    """The difference of the best two that validation would have shown with a chance of 80%, and the best one's gain."""
    if len(scored) < 2 or evidence.baseline is None:
        return None, 0.0
    best, second, trivial = (item.scored[1] for item in (*scored[:2], evidence.baseline))
    loss = evidence.problem.criterion.loss
    seen = difference(second, best).detectable(FAMILY_ERROR)
    return seen if seen > 0 else None, loss(trivial.value) - loss(best.value)


class Warned(Check):
    """Warnings that a learner gave while it was fitted, and learners that failed or were skipped."""

    code = "H203"
    title = "Warned while fitting"

    def examine(self, evidence: Evidence) -> Iterator[Finding | NotApplicable]:
        for item in evidence.learners:
            for said in item.warnings:
                yield Finding(self.code, self.title, "info", said, item.name)
            if item.status != "fitted":
                severity = "error" if item.status == "failed" else "info"
                title = "Failed" if item.status == "failed" else "Skipped"
                yield Finding("H204", title, severity, item.error, item.name)  # type: ignore[arg-type]
