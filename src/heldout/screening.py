"""Columns that cannot be features: empty, constant, identifiers, copies of the target. Each with its reason."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

import polars as pl

from heldout.data.table import Table

ID_NAME = re.compile(r"(^|[^a-z])(id|uid|uuid|guid|key|index|order|row|rowid|nr|no|number)$|(?<=[a-z])(Id|ID)$")
ID_SHARE = 0.95  # of the filled cells differ: a category like that names its row
ID_ROWS = 20  # below this many rows, all-different values say nothing
COPY_TOLERANCE = 1e-9  # relative to the target's spread


@dataclass(frozen=True)
class LeftOut:
    """A column that is not used as a feature, and why."""

    name: str
    reason: str


def screen(
    table: Table, features: Collection[str], target: str, regression: bool, keep: Collection[str | None] = ()
) -> list[LeftOut]:
    """The columns among `features` that should be left out, in the table's order, with reasons.

    A column is left out when it is all missing, has one value, numbers or names its rows (an identifier), or
    determines the target exactly (a copy, another spelling of the classes, or a linear function of it); not so those in
    `keep`, and series. Beside a column of images all others are: learners see the images alone.
    """
    image = table.image
    if image is not None and image.name in features:
        return [
            LeftOut(name, "learners see the images alone") for name in table.names if name in {*features} - {image.name}
        ]
    found = []
    for name in table.names:
        if name in features and name not in keep and table.column(name).kind != "series":
            reason = _useless(table.frame[name], table.column(name).kind, name)
            reason = reason or _copies(table.frame[name], table.frame[target], regression)
            if reason:
                found.append(LeftOut(name, reason))
    return found


def _useless(values: pl.Series, kind: str, name: str) -> str:
    filled = values.drop_nulls()
    if filled.is_empty():
        return "it is empty"
    distinct = filled.n_unique()
    if distinct == 1 and len(filled) == len(values):
        return f"it is the same in every row ({_shown(filled[0])})"
    if len(filled) >= ID_ROWS and _identifies(filled, distinct, kind, name):
        return "it numbers the rows" if kind == "number" else "it names the rows: nearly every value is different"
    return ""


def _identifies(filled: pl.Series, distinct: int, kind: str, name: str) -> bool:
    if kind == "category":
        return distinct >= ID_SHARE * len(filled)
    if kind == "number":
        if distinct < len(filled) or not bool((filled == filled.round(0)).all()):
            return False
        ordered = filled.sort()
        counts_up = bool((ordered.diff().drop_nulls() == 1).all())
        return counts_up or bool(ID_NAME.search(name) or ID_NAME.search(name.lower()))
    return False


def _copies(values: pl.Series, target: pl.Series, regression: bool) -> str:
    pairs = pl.DataFrame({"x": values, "y": target}).drop_nulls()
    if pairs.height < max(ID_ROWS, 0.5 * len(target)):
        return ""
    if regression:
        return _linear_copy(pairs) if values.dtype == pl.Float64 else ""
    distinct = pairs.n_unique()
    if distinct == pairs["x"].n_unique() == pairs["y"].n_unique() and distinct > 1:
        return "it is a copy of the target: each of its values goes with one class and back"
    return ""


def _linear_copy(pairs: pl.DataFrame) -> str:
    x = (pairs["x"] - pairs["x"].mean()).to_numpy()
    y = (pairs["y"] - pairs["y"].mean()).to_numpy()
    spread = float(y @ y)
    if spread == 0 or float(x @ x) == 0:
        return ""
    residual = y - x * (float(x @ y) / float(x @ x))
    if float(residual @ residual) > COPY_TOLERANCE**2 * spread:
        return ""
    return "it is a copy of the target: the target is a linear function of it"


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
