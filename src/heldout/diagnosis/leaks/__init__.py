"""Leaks and traps: what train and validation know of each other, and what the columns know of the target."""

from __future__ import annotations

from heldout.diagnosis.base import Check
from heldout.diagnosis.leaks.columns import ColumnAlone, HiddenTarget
from heldout.diagnosis.leaks.copies import CopiedRows
from heldout.diagnosis.leaks.labels import LabelSuspects
from heldout.diagnosis.leaks.order import GroupOverlap, RowOrder, TimeTravel
from heldout.diagnosis.leaks.parts import Drift, MissingClass, NotLookedAt
from heldout.diagnosis.leaks.preparation import Prepared
from heldout.diagnosis.leaks.selection import Selected

LEAKS: tuple[type[Check], ...] = (
    NotLookedAt,
    CopiedRows,
    ColumnAlone,
    RowOrder,
    TimeTravel,
    GroupOverlap,
    Prepared,
    HiddenTarget,
    MissingClass,
    LabelSuspects,
    Drift,
    Selected,
)
__all__ = ["LEAKS"]
