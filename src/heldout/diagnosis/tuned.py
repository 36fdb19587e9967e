"""H105: did tuning make the learner better, or worse?"""

from __future__ import annotations

from collections.abc import Iterator

from heldout.diagnosis.base import Check, Evidence, Finding, NotApplicable
from heldout.diagnosis.comparison import TUNED, WORSE, Comparison
from heldout.words import number


class Tuned(Check):
    """The learner with the settings that a search on train found, beside the learner as it was, on validation.

    Settings that win in a cross-validation win there by luck, too. So both ways are asked, and judged together with all
    siblings that were fitted for the purpose.
    """

    code = "H105"
    title = "Tuning changes nothing beyond chance"

    def examine(self, evidence: Evidence) -> Iterator[Finding | NotApplicable]:
        worse = {item.learner: item for item in evidence.second_round if item.relation == WORSE}
        if not worse:
            yield NotApplicable(self.code, "no learner was tuned")
            return
        for item in evidence.second_round:
            if item.relation == TUNED and item.learner in worse:
                yield self._finding(item, worse[item.learner], evidence)

    def _finding(self, better: Comparison, worse: Comparison, evidence: Evidence) -> Finding:
        assert better.difference is not None and better.validation is not None
        learner = next(item for item in evidence.fitted if item.name == better.learner)
        numbers = (
            f"{evidence.problem.criterion.title} on validation {number(better.validation.value)} against "
            f"{number(learner.scored[1].value)}"
        )
        given = {
            "better_by": better.difference.score(),
            "p_better": better.p,
            "p_worse": worse.p,
            "seconds": better.seconds,
        }
        said = f"After {better.other}"
        if better.certain:
            message = f"{said}, it is better than as it was: {numbers}, {better}."
            return Finding(self.code, "Tuning helps", "good", message, learner.name, given)
        if worse.certain:
            message = (
                f"{said}, it is worse than as it was: {numbers}, worse by {str(worse).removeprefix('better by ')}."
            )
            message += " What won in the cross-validation won by luck; nothing changes."
            return Finding(self.code, "Tuning makes it worse", "warning", message, learner.name, given)
        same = better.difference.value == 0.0
        why = "nothing is better in the cross-validation than as it was" if same else f"{numbers}, {better}"
        message = f"{said}, it cannot be told from what it was: {why}."
        return Finding(self.code, self.title, "info", message, learner.name, given)
