"""Diagnosis: what train and validation say of the learners. One check a file; each has a code and a title."""

from __future__ import annotations

from collections.abc import Iterable

from heldout.diagnosis.base import Check, Evidence, Finding, NotApplicable, Suspicion
from heldout.diagnosis.care import SmallValidation, TwinRows, Warned
from heldout.diagnosis.certain import Calibrated, Chosen, Covered, Looks
from heldout.diagnosis.comparison import FAMILY_ERROR
from heldout.diagnosis.distances import Distances
from heldout.diagnosis.leaks import LEAKS
from heldout.diagnosis.learned import Importance, WorstSlices
from heldout.diagnosis.remedies import Remedies
from heldout.diagnosis.trivial import BetterThanTrivial
from heldout.diagnosis.tuned import Tuned
from heldout.diagnosis.verdict import Verdict
from heldout.diagnosis.yardstick import BetterThanYardstick
from heldout.multiplicity import holm

CHECKS: tuple[type[Check], ...] = (
    BetterThanTrivial,
    BetterThanYardstick,
    Verdict,
    Remedies,
    *LEAKS,
    Tuned,
    TwinRows,
    SmallValidation,
    Warned,
    Distances,
    Chosen,
    Calibrated,
    Covered,
    Looks,
    Importance,
    WorstSlices,
)


def findings(evidence: Evidence) -> list[Finding]:
    """All findings of all checks, in the order of CHECKS.

    The suspicions among them are judged together by Holm's procedure: the chance that any of them is said falsely is at
    most 5%. (The comparisons of learners are a family of their own: `comparison.py`.)
    """
    found = [item for check in CHECKS for item in _examined(check(), evidence)]
    adjusted = iter(holm([item.p for item in found if isinstance(item, Suspicion)]))
    told = [_told(item, next(adjusted)) if isinstance(item, Suspicion) else item for item in found]
    return [item for item in told if isinstance(item, Finding)]


def _examined(check: Check, evidence: Evidence) -> Iterable[Finding | Suspicion | NotApplicable]:
    if check.of_rows_alone and evidence.seen is not None:
        return evidence.seen.once(lambda: tuple(check.examine(evidence)), check.code)
    return check.examine(evidence)


def _told(suspicion: Suspicion, p: float) -> Finding | None:
    return suspicion.told(p) if p <= FAMILY_ERROR else None


__all__ = ["CHECKS", "Check", "Evidence", "Finding", "NotApplicable", "Suspicion", "findings"]
