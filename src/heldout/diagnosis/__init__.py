"""Diagnosis: what train and validation say of the learners. One check a file; each has a code and a title."""

from __future__ import annotations

from heldout.diagnosis.base import Check, Evidence, Finding, NotApplicable
from heldout.diagnosis.care import SmallValidation, TwinRows, Warned
from heldout.diagnosis.certain import Calibrated, Chosen, Covered, Looks
from heldout.diagnosis.distances import Distances
from heldout.diagnosis.remedies import Remedies
from heldout.diagnosis.trivial import BetterThanTrivial
from heldout.diagnosis.verdict import Verdict

CHECKS: tuple[type[Check], ...] = (
    BetterThanTrivial,
    Verdict,
    Remedies,
    TwinRows,
    SmallValidation,
    Warned,
    Distances,
    Chosen,
    Calibrated,
    Covered,
    Looks,
)


def findings(evidence: Evidence) -> list[Finding]:
    """All findings of all checks, in the order of CHECKS."""
    found = [item for check in CHECKS for item in check().examine(evidence)]
    return [item for item in found if isinstance(item, Finding)]


__all__ = ["CHECKS", "Check", "Evidence", "Finding", "NotApplicable", "findings"]
