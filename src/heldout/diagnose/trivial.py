"""H101: is the learner better than the trivial answer?"""

from __future__ import annotations

from collections.abc import Iterator

from heldout.diagnose.base import Check, Evidence, Finding, NotApplicable, around
from heldout.fitting import Fitted
from heldout.words import number


class BetterThanTrivial(Check):
    """Paired difference to the trivial answer's loss on the validation rows, with a family-wise interval."""

    code = "H101"
    title = "Better than trivial"

    def examine(self, evidence: Evidence) -> Iterator[Finding | NotApplicable]:
        if evidence.baseline is None:
            yield NotApplicable(self.code, "the trivial answer has no score")
            return
        for fitted in evidence.fitted:
            yield self._compare(fitted, evidence.baseline, evidence)

    def _compare(self, fitted: Fitted, baseline: Fitted, evidence: Evidence) -> Finding:
        ours, theirs = fitted.scored[1], baseline.scored[1]
        gain = theirs.loss_minus(ours, evidence.level, paired=True)
        criterion = evidence.problem.criterion.title
        numbers = (
            f"{criterion} on validation {number(ours.value)} against {number(theirs.value)}, better by "
            f"{number(gain.value)} ({around(gain)})"
        )
        given = {"gain": gain, "learner": ours.value, "trivial": theirs.value}
        if gain.low > 0:
            return Finding(
                self.code, self.title, "good", f"It beats the trivial answer: {numbers}.", fitted.name, given
            )
        if gain.high < 0:
            worse = f"Always giving the trivial answer is better: {numbers}."
            return Finding(self.code, "Worse than trivial", "error", worse, fitted.name, given)
        unsure = f"It cannot be told from the trivial answer: {numbers}. More rows, or other columns, are needed."
        return Finding(self.code, "Not better than trivial", "warning", unsure, fitted.name, given)
