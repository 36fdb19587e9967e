"""H102: is the learner worse than trivial, does it underfit, fit, overfit, or is there a gap that does no harm?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from heldout.diagnosis.base import Check, Evidence, Finding, NotApplicable
from heldout.diagnosis.comparison import FAMILY_ERROR, ROUNDS, Comparison
from heldout.fitting import Fitted
from heldout.intervals import Score
from heldout.words import interval, number, percent

MATERIAL = 0.10  # of the gain over the trivial answer that train promises


class Verdict(Check):
    """One verdict for each learner, from train and validation alone.

    Worse than trivial: the trivial answer is better on validation. Overfits: a simpler sibling is. Underfits: a richer
    sibling is. All of that beyond chance, every question of the study judged together. Large gap: none of this, but
    validation is worse than train by more than a tenth of the gain over the trivial answer that train promises; this
    is harmless where simpler siblings were tried. Fits: nothing of the kind.
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
        mine = [item for item in evidence.comparisons if item.learner == fitted.name]
        trivial, simpler, richer = (_best(mine, kind) for kind in ("trivial", "simpler", "richer"))
        gap, share = _gap(fitted, baseline)
        tried = [item for item in mine if item.relation in ("simpler", "richer") and item.difference]
        seen = _detectable(tried, evidence)
        better = next((item for item in (simpler, richer) if item is not None), None)
        given = {
            "verdict": "",
            "gap": gap,
            "share_of_gain_lost": share,
            "better": better.other if better else None,
            "better_by": better.difference.score() if better and better.difference else None,
            "p": better.p if better else None,
            "siblings": len(tried),
            "detectable": seen,
        }
        large = gap.low > 0 and (share is None or share > MATERIAL)
        if trivial is not None:
            also = f" Its simpler sibling {simpler.other} is better too: it overfits." if simpler else ""
            why = f"On validation, always giving the trivial answer is {trivial}.{also}"
            return self._finding("Worse than trivial", "error", why, fitted, evidence, given)
        if simpler is not None:
            why = f"On validation {simpler.other}, a simpler sibling, is {simpler}."
            return self._finding("Overfits", "warning", why, fitted, evidence, given)
        if richer is not None:
            why = f"On validation {richer.other}, a richer sibling, is {richer}."
            return self._finding("Underfits", "warning", why, fitted, evidence, given)
        if not large:
            return self._finding(self.title, "good", _nothing(tried, seen), fitted, evidence, given)
        lost = f"{percent(round(share, 2))} of what it gains" if share is not None else "All that it gains"
        said = f"{lost} over the trivial answer on train is lost on validation"
        if any(item.relation == "simpler" for item in tried):
            why = f"{said}, and yet {_nothing(tried, seen, lower=True)}"
            return self._finding("Large gap, but harmless", "info", why, fitted, evidence, given)
        why = f"{said}. Whether that does harm is seen where simpler siblings are tried: study.diagnose(), or heldout "
        return self._finding("Large gap", "info", f"{why}diagnose STUDY.", fitted, evidence, given)

    def _finding(
        self, title: str, severity: Any, why: str, fitted: Fitted, evidence: Evidence, given: dict[str, Any]
    ) -> Finding:
        train, validation = fitted.scored
        gap: Score = given["gap"]
        numbers = (
            f"Its {evidence.problem.criterion.title} is {number(train.value)} on train, {number(validation.value)} on "
            f"validation: a gap of {number(gap.value)} ({percent(gap.level)} interval {interval(gap.to_json())})."
        )
        return Finding(self.code, title, severity, f"{why} {numbers}", fitted.name, given | {"verdict": title.lower()})


def _best(mine: Sequence[Comparison], kind: str) -> Comparison | None:
    """The best of those that are better beyond chance."""
    return max((item for item in mine if item.relation == kind and item.certain), key=_gain, default=None)


def _gain(item: Comparison) -> float:
    return item.gain


def _gap(fitted: Fitted, baseline: Fitted) -> tuple[Score, float | None]:
    """Validation minus train loss, and its share of the gain over the trivial answer that train promises."""
    train, validation = fitted.scored
    gap = validation.loss_minus(train)
    loss = train.criterion.loss
    promised = loss(baseline.scored[0].value) - loss(train.value)
    return gap, gap.value / promised if promised > 0 else None


def _detectable(tried: Sequence[Comparison], evidence: Evidence) -> float | None:
    """The difference that would have been seen four times in five, whichever of the siblings had been better by it."""
    level = FAMILY_ERROR / ROUNDS / max(1, evidence.questions)
    sizes = [item.difference.detectable(level) for item in tried if item.difference and item.difference.gains.se > 0]
    return max(sizes, default=None)


def _nothing(tried: Sequence[Comparison], seen: float | None, *, lower: bool = False) -> str:
    if not tried:
        return "No sign of overfitting or underfitting; no sibling was fitted to compare it with."
    who = "the one sibling compared is not" if len(tried) == 1 else f"none of its {len(tried)} siblings is"
    power = f"; a difference of {number(seen)} would have been seen four times in five" if seen is not None else ""
    said = f"{who} better beyond chance{power}."
    return said if lower else said[0].upper() + said[1:]
