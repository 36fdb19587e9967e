"""A table: named columns, each of one kind, and how its raw values became values."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from heldout.errors import InputError, suggest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from heldout.persist import State

DTYPES: dict[str, Any] = {  # of the values of each kind; a missing value is null, never NaN
    "number": pl.Float64,
    "boolean": pl.Boolean,
    "category": pl.String,
    "date": pl.Datetime("us"),
    "text": pl.String,
}
KINDS = tuple(DTYPES)
PARSE: dict[str, type] = {  # what says how a column is read, beside "missing"
    "style": str,
    "percent": bool,
    "true": str,
    "false": str,
    "format": str,
    "pad": str,
    "dates": bool,
}


@dataclass(frozen=True)
class Column:
    """A column: its name, its kind, how raw values become values, and what to tell a person about that.

    `parse` is JSON: the style of its numbers, the format of its dates, its words for yes and no, the texts that
    stand for a missing value. `note` is empty where nothing needs saying.
    """

    name: str
    kind: str
    parse: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "kind": self.kind, "parse": dict(self.parse), "note": self.note}


@dataclass(frozen=True)
class Source:
    """Where a table came from: a name for people, the path, and the SHA-256 of the file's bytes."""

    name: str
    path: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, repr=False)
class Table:
    """Rows of named columns, each of one kind: number, boolean, category, date or text.

    Attributes
    ----------
    frame : polars.DataFrame
        Float64, Boolean, String, Datetime("us") or String by kind; null where missing; never NaN or infinite.
    columns : tuple of Column
    source : Source

    >>> from heldout.data.read import read
    >>> read({"size": ["1,200", "950"], "town": ["Ames", "Boone"]})
    Table of 2 rows and 2 columns (data)
      size  number    numbers written as text, like '1,200'
      town  category
    """

    frame: pl.DataFrame
    columns: tuple[Column, ...]
    source: Source

    def __len__(self) -> int:
        return self.frame.height

    @property
    def names(self) -> list[str]:
        """The columns' names, in order."""
        return [column.name for column in self.columns]

    def column(self, name: str) -> Column:
        """The column of this name; InputError, with the nearest name, where there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise InputError(f"{self.source.name} has no column {name!r}.{suggest(name, self.names)}")

    def select(self, names: Collection[str]) -> Table:
        """The table with these columns only, in this order."""
        chosen = tuple(self.column(name) for name in names)
        return replace(self, frame=self.frame.select([column.name for column in chosen]), columns=chosen)

    def take(self, rows: NDArray[np.integer[Any]]) -> Table:
        """The table with these rows, in this order; the values are copied."""
        return replace(self, frame=self.frame[rows])

    def schema(self) -> list[dict[str, Any]]:
        """The columns as JSON, for `columns_from_schema`."""
        return [column.to_json() for column in self.columns]

    def __repr__(self) -> str:
        width = max(len(column.name) for column in self.columns)
        lines = [f"  {c.name:<{width}}  {c.kind:<8}  {c.note}".rstrip() for c in self.columns]
        count = f"{len(self):,} row{'s' * (len(self) != 1)} and {len(self.columns)} column{'s' * (len(lines) != 1)}"
        return "\n".join([f"Table of {count} ({self.source.name})", *lines])

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><td>{html.escape(c.name)}</td><td>{c.kind}</td><td>{html.escape(c.note)}</td></tr>"
            for c in self.columns
        )
        head = "<tr><th>column</th><th>kind</th><th>read as</th></tr>"
        return f"<table><caption>{html.escape(self.source.name)}, {len(self):,} rows</caption>{head}{cells}</table>"


def checked_names(names: Sequence[str], source: str) -> list[str]:
    """The names, each one there and different; an unnamed first column, an index, is called 'row'.

    Raises InputError, with the column's position, for one without a name and for two of the same name.

    >>> checked_names(["", "size"], "towns.csv")
    ['row', 'size']
    """
    found = list(names)
    if found and not found[0] and "row" not in found:
        found[0] = "row"
    first: dict[str, int] = {}
    for position, name in enumerate(found, 1):
        if not name:
            raise InputError(f"{source}: column {position} has no name; give it one in the first line.")
        if first.setdefault(name, position) != position:
            raise InputError(f"{source}: columns {first[name]} and {position} are both called {name!r}; rename one.")
    return found


def columns_from_schema(schema: Any, state: State) -> tuple[Column, ...]:
    """The columns that `Table.schema` wrote, checked; `state.fail` says what is wrong."""
    if not isinstance(schema, list) or not schema:
        state.fail("its columns are not a list")
    return tuple(_column(item, state) for item in _different(schema, state))


def _different(schema: Sequence[Any], state: State) -> Sequence[Any]:
    names = Counter(str(item.get("name")) if isinstance(item, dict) else "" for item in schema)
    if max(names.values()) > 1:
        state.fail(f"it has two columns called {names.most_common(1)[0][0]!r}")
    return schema


def _column(item: Any, state: State) -> Column:
    if not isinstance(item, dict) or item.keys() != {"name", "kind", "parse", "note"}:
        state.fail("one of its columns is not a column")
    name, kind, parse, note = item["name"], item["kind"], item["parse"], item["note"]
    if not isinstance(name, str) or not name or not isinstance(note, str) or kind not in KINDS:
        state.fail("one of its columns has no name or no kind")
    if not isinstance(parse, dict) or not all(_fits(key, value) for key, value in parse.items()):
        state.fail(f"its column {name!r} does not say how it is read")
    return Column(name, kind, parse, note)


def _fits(key: str, value: Any) -> bool:
    """Whether a way to read texts, as `recognise` finds it, may hold this."""
    if key == "missing":
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    return isinstance(value, PARSE.get(key, ()))
