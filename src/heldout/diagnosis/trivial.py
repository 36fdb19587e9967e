"""H101: is the learner better than the trivial answer?"""

from __future__ import annotations

from collections.abc import Iterator

from heldout.diagnosis.base import Check, Evidence, Finding, NotApplicable
from heldout.diagnosis.comparison import Comparison, both_scores


class BetterThanTrivial(Check):
    """The paired difference to the trivial answer's loss on the validation rows. Where it is worse, H102 says so."""

    code = "H101"
    title = "Better than trivial"

    def examine(self, evidence: Evidence) -> Iterator[Finding | NotApplicable]:
        if evidence.baseline is None:
            yield NotApplicable(self.code, "the trivial answer has no score")
            return
        worse = {item.learner for item in evidence.comparisons if item.relation == "trivial" and item.certain}
        for item in evidence.comparisons:
            if item.relation == "beats trivial" and item.learner not in worse:
                yield self._finding(item, evidence)

    def _finding(self, item: Comparison, evidence: Evidence) -> Finding:
        ours, numbers = both_scores(item, evidence.problem.criterion)
        assert item.difference is not None and item.validation is not None
        given = {"gain": item.difference.score(), "learner": ours, "trivial": item.validation.value, "p": item.p}
        if item.certain:
            return Finding(
                self.code, self.title, "good", f"It beats the trivial answer: {numbers}.", item.learner, given
            )
        unsure = f"It cannot be told from the trivial answer: {numbers}. More rows, or other columns, are needed."
        return Finding(self.code, "Not better than trivial", "warning", unsure, item.learner, given)
