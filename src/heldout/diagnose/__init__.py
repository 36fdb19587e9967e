"""Diagnosis: what train and validation say of the learners. One check a file; each has a code and a title."""

from __future__ import annotations

from heldout.diagnose.base import Check, Evidence, Finding, NotApplicable
from heldout.diagnose.care import SmallValidation, TwinRows, Warned
from heldout.diagnose.distances import Distances
from heldout.diagnose.fit import Fit
from heldout.diagnose.trivial import BetterThanTrivial

CHECKS: tuple[type[Check], ...] = (BetterThanTrivial, Fit, TwinRows, SmallValidation, Warned, Distances)


def diagnose(evidence: Evidence) -> list[Finding]:
    """All findings of all checks, in the order of CHECKS."""
    found = [item for check in CHECKS for item in check().examine(evidence)]
    return [item for item in found if isinstance(item, Finding)]


__all__ = ["CHECKS", "Check", "Evidence", "Finding", "NotApplicable", "diagnose"]
