"""H102: does the learner overfit, underfit, or fit?"""

from __future__ import annotations

from collections.abc import Iterator

from heldout.diagnose.base import Check, Evidence, Finding, NotApplicable, around
from heldout.fitting import Fitted
from heldout.intervals import Score
from heldout.words import number

MATERIAL = 0.10  # of the gain over the trivial answer that train promises


class Fit(Check):
    """The gap between validation and train loss, and whether another learner is better on both.

    Overfit: the gap is above zero beyond chance and takes more than a tenth of the gain over the trivial answer
    that the training rows promise. Underfit: the gain on train itself is not above zero beyond chance, or another
    learner of the study is better on train and on validation beyond chance. Fine: neither.
    """

    code = "H102"
    title = "Fits"

    def examine(self, evidence: Evidence) -> Iterator[Finding | NotApplicable]:
        if evidence.baseline is None:
            yield NotApplicable(self.code, "the trivial answer has no score")
            return
        for fitted in evidence.fitted:
            yield self._verdict(fitted, evidence.baseline, evidence)

    def _verdict(self, fitted: Fitted, baseline: Fitted, evidence: Evidence) -> Finding:
        train, validation = fitted.scored
        gap = validation.loss_minus(train, evidence.level, paired=False)
        promised = baseline.scored[0].loss_minus(train, evidence.level, paired=True)
        share = gap.value / promised.value if promised.value > 0 else None
        better = self._better_on_both(fitted, evidence)
        given = {"gap": gap, "promised_gain": promised, "share_of_gain_lost": share, "better_on_both": better}
        numbers = self._numbers(fitted, evidence, gap)
        if promised.low <= 0:
            message = f"Even on the rows it learned from it gains nothing certain over the trivial answer. {numbers}"
            return Finding(self.code, "Underfits", "warning", message, fitted.name, given)
        if gap.low > 0 and share is not None and share > MATERIAL:
            message = f"{share:.0%} of what it gains over the trivial answer on train is lost on validation. {numbers}"
            return Finding(self.code, "Overfits", "warning", message, fitted.name, given)
        if better is not None:
            message = f"{better} is better on train and on validation, beyond chance. {numbers}"
            return Finding(self.code, "Underfits", "warning", message, fitted.name, given)
        lost = "no gap beyond chance" if gap.low <= 0 else f"the gap takes {share:.0%} of its gain, which is little"
        return Finding(
            self.code,
            self.title,
            "good",
            f"No overfitting or underfitting seen: {lost}. {numbers}",
            fitted.name,
            given,
        )

    @staticmethod
    def _numbers(fitted: Fitted, evidence: Evidence, gap: Score) -> str:
        train, validation = fitted.scored
        return (
            f"Its {evidence.problem.criterion.title} is {number(train.value)} on train, {number(validation.value)} on "
            f"validation: a gap of {number(gap.value)} ({around(gap)})."
        )

    @staticmethod
    def _better_on_both(fitted: Fitted, evidence: Evidence) -> str | None:
        for other in evidence.fitted:
            if other is not fitted:
                pairs = zip(fitted.scored, other.scored, strict=True)
                if all(mine.loss_minus(theirs, evidence.level, paired=True).low > 0 for mine, theirs in pairs):
                    return other.name
        return None
