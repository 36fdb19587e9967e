"""H201 to H204: what to keep in mind of the data, the split and the fits."""

from __future__ import annotations

from collections.abc import Iterator

from heldout.diagnosis.base import Check, Evidence, Finding, NotApplicable
from heldout.words import number

WIDE = 0.5  # an interval wider than half of the score says little


class TwinRows(Check):
    """Rows that repeat: kept on one side, but worth knowing."""

    code = "H201"
    title = "Rows that repeat"

    def examine(self, evidence: Evidence) -> Iterator[Finding | NotApplicable]:
        for note in evidence.split_notes:
            severity = "warning" if "in another part" in note or "with another" in note else "info"
            yield Finding(self.code, self.title, severity, note)  # type: ignore[arg-type]


class SmallValidation(Check):
    """Is the validation part large enough to tell the learners apart?"""

    code = "H202"
    title = "Few validation rows"

    def examine(self, evidence: Evidence) -> Iterator[Finding | NotApplicable]:
        scored = [item for item in evidence.fitted if item.validation is not None]
        if not scored:
            yield NotApplicable(self.code, "no learner has a score")
            return
        best = min(scored, key=lambda item: evidence.problem.criterion.loss(item.scored[1].value))
        score = best.scored[1].score()
        width, size = score.high - score.low, abs(score.value)
        if size > 0 and width > WIDE * size and evidence.problem.criterion.perfect == 0.0:
            message = (
                f"With {best.scored[1].n_rows:,} validation rows the best score, {number(score.value)}, has an interval"
                f" from {number(score.low)} to {number(score.high)}: too wide to say much; more rows would narrow it."
            )
            yield Finding(self.code, self.title, "warning", message, best.name, {"score": score})


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
