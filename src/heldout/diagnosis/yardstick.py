"""H104: are networks better than the simple learner that they have to beat?"""

from __future__ import annotations

from collections.abc import Iterator

from heldout.diagnosis.base import Check, Evidence, Finding
from heldout.diagnosis.comparison import BEATS_YARDSTICK, YARDSTICK, Comparison, both_scores


class BetterThanYardstick(Check):
    """The paired difference between each network and the panel's yardstick on the validation rows.

    Of texts the yardstick is the bag of words: where order tells no more, a network is not worth its while.
    """

    code = "H104"
    title = "Better than the simple learner"

    def examine(self, evidence: Evidence) -> Iterator[Finding]:
        worse = {item.learner for item in evidence.comparisons if item.relation == YARDSTICK and item.certain}
        for item in evidence.comparisons:
            if item.relation == BEATS_YARDSTICK:
                yield self._finding(item, evidence, item.learner in worse)

    def _finding(self, item: Comparison, evidence: Evidence, worse: bool) -> Finding:
        ours, numbers = both_scores(item, evidence.problem.criterion)
        assert item.difference is not None and item.validation is not None
        given = {"gain": item.difference.score(), "learner": ours, "simple": item.validation.value, "p": item.p}
        simple = item.other
        if item.certain:
            return Finding(self.code, self.title, "good", f"It beats {simple}: {numbers}.", item.learner, given)
        said = f"{simple} does better" if worse else f"It cannot be told from {simple}"
        message = f"{said}: {numbers}. The network is not worth its while here; more rows may change that."
        return Finding(self.code, "Not better than the simple learner", "warning", message, item.learner, given)
