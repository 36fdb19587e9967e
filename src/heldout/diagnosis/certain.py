"""H701 to H704: how sure the choice is, whether probabilities hold, what covers the truth, how often it was looked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from heldout.certainty.calibration import Calibration
from heldout.certainty.validated import Recalibrated
from heldout.diagnosis.base import Check, Evidence, Finding, NotApplicable
from heldout.intervals import LEVEL
from heldout.words import interval, number, p_said, percent

MANY_LOOKS = 100  # fits that were scored on the same validation rows


class Chosen(Check):
    """Can the chosen learner be told from the others?"""

    code = "H701"
    title = "The choice"

    def examine(self, evidence: Evidence) -> Iterator[Finding | NotApplicable]:
        known = evidence.certainty
        if known is None:
            yield NotApplicable(self.code, "no learner has a score")
            return
        choice = known.choice
        matrix = {"matrix": choice.matrix, "alike": list(choice.alike)}
        title = "Best beyond one standard error" if len(choice.alike) == 1 else "Cannot be told apart"
        simple = "" if choice.chosen == choice.best else self._price(evidence)
        yield Finding(self.code, title, "info", choice.sentence + simple, choice.chosen, matrix)

    def _price(self, evidence: Evidence) -> str:
        assert evidence.certainty is not None
        choice = evidence.certainty.choice
        scores = {item.name: item.scored[1].value for item in evidence.learners if item.validation is not None}
        title = evidence.problem.criterion.title
        return f" Its {title} is {number(scores[choice.chosen])}, that of the best {number(scores[choice.best])}."


class Calibrated(Check):
    """Do the chosen learner's probabilities mean what they say, and what helps if not?"""

    code = "H702"
    title = "Probabilities hold"

    def examine(self, evidence: Evidence) -> Iterator[Finding | NotApplicable]:
        known = evidence.certainty
        if known is None or known.calibration is None:
            yield NotApplicable(self.code, "there are no probabilities, or too few validation rows")
            return
        found, tried = known.calibration, known.remedies
        given: dict[str, Any] = {
            "calibration": found.to_json(),
            "remedies": [_tried(item) for item in tried],
            "calibrated": None if known.calibrated is None else known.calibrated.to_json(),
        }
        who = known.choice.chosen
        if known.calibrator is not None and known.calibrated is not None:
            best = max((item for item in tried if item.p <= 0.05), key=lambda item: item.difference.value)
            gain = best.difference.score()
            message = (
                f"{_off(found)} Calibrated by {known.calibrator}, the log loss on validation is better by "
                f"{number(gain.value)} ({percent(gain.level)} interval {interval(gain.to_json())}, "
                f"{p_said(best.p)}), and they are off by {number(known.calibrated.ece)}: fitted to nine tenths of the "
                "rows and judged by the rest, in turn. The model gives calibrated probabilities; its labels stay as "
                "they are."
            )
            yield Finding(self.code, "Probabilities calibrated", "good", message, who, given)
            return
        none = "Neither a temperature nor an isotonic curve lowers the log loss beyond chance; nothing is changed."
        if found.off:
            yield Finding(self.code, "Probabilities are off", "warning", f"{_off(found)} {none}", who, given)
        else:
            yield Finding(self.code, self.title, "good", f"{_off(found)} {none}", who, given)


def _off(found: Calibration) -> str:
    chance = f"right ones stay below {number(found.ece_by_chance)} in {percent(LEVEL)} of such samples"
    more = "more than chance" if found.off else "no more than chance"
    return f"Its probabilities are off by {number(found.ece)} in the mean, {more}: {chance}."


def _tried(item: Recalibrated) -> dict[str, Any]:
    return {"remedy": item.title, "better_by": item.difference.score().to_json(), "p": item.p}


class Covered(Check):
    """The sets or intervals that hold the truth in 95% of the rows, and whether they do on validation."""

    code = "H703"
    title = "Intervals that cover"

    def examine(self, evidence: Evidence) -> Iterator[Finding | NotApplicable]:
        known = evidence.certainty
        if known is None or known.covered is None or known.size is None:
            yield NotApplicable(self.code, "too few validation rows, or no probabilities")
            return
        covered, numbers = known.covered, evidence.problem.classes is None
        what = (
            f"Intervals of the prediction ± {number(known.size)}"
            if numbers
            else f"Sets of {number(known.size, 3)} classes in the mean"
        )
        message = (
            f"{what} hold the truth of a new row with a chance of {percent(LEVEL)} (conformal prediction). On "
            f"validation they held it in {percent(round(covered.value, 4))} ({percent(covered.level)} interval "
            f"{percent(round(covered.low, 3))} to {percent(round(covered.high, 3))}), each row "
            "judged by thresholds of other rows."
        )
        if known.empty > 0:
            message += (
                f" {percent(round(known.empty, 3))} of the sets are empty: the learner is right more often than "
                f"{percent(LEVEL)}, and no class of these rows is as sure as most."
            )
        if evidence.problem.time is not None:
            message += " That holds for rows like these; where the world changes with time, less may be covered."
        off = covered.high < LEVEL
        severity, title = ("warning", "Covers too little") if off else ("good", self._title(numbers))
        given = {"covered": covered, "level": LEVEL, "size": known.size, "empty": known.empty}
        yield Finding(self.code, title, severity, message, known.choice.chosen, given)  # type: ignore[arg-type]

    def _title(self, numbers: bool) -> str:
        return self.title if numbers else "Sets that cover"


class Looks(Check):
    """How many fits were scored on these validation rows, in this study and before."""

    code = "H704"
    title = "Looks at validation"

    def examine(self, evidence: Evidence) -> Iterator[Finding | NotApplicable]:
        looks = evidence.looks
        if looks is None:
            yield NotApplicable(self.code, "no ledger counts them")
            return
        here, all_of_them = looks["here"], looks["all"]
        message = f"{here:,} fits were scored on the validation rows in this study"
        if all_of_them > here:
            message += f", {all_of_them:,} with those of other studies that used some of the same rows"
        message += ": each is a look, and the best of many is a little too good. The test set says what it is worth."
        guard = looks.get("thresholdout")
        if guard is not None:
            message += (
                f" Thresholdout answered {guard['asked']:,} of them; {guard['spent']:,} of its budget of "
                f"{guard['budget']:,} are spent (threshold {number(guard['threshold'])}, noise "
                f"{number(guard['noise'])}, in standard errors)."
            )
        severity = "warning" if all_of_them > MANY_LOOKS and guard is None else "info"
        yield Finding(self.code, self.title, severity, message, None, looks)  # type: ignore[arg-type]
