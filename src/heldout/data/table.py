"""A table: named columns, each of one kind, and how its raw values became values."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from heldout.data.images import pixels as of_images
from heldout.errors import InputError, suggest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from heldout.data.images.pixels import Pixels
    from heldout.persist import State

DTYPES: dict[str, Any] = {  # of the values of each kind; a missing value is null, never NaN
    "number": pl.Float64,
    "boolean": pl.Boolean,
    "category": pl.String,
    "date": pl.Datetime("us"),
    "text": pl.String,
    "image": pl.String,  # a hash of its pixels, which lie beside the frame
    "series": pl.Array,  # of float64, NaN where a step is missing
}
KINDS = tuple(DTYPES)
MOST_STEPS = 2**20  # of a series
PARSE: dict[str, type] = {  # what says how a column is read, beside "missing"
    "style": str,
    "percent": bool,
    "true": str,
    "false": str,
    "format": str,
    "pad": str,
    "dates": bool,
    "dtype": str,
    "unit": str,
}


@dataclass(frozen=True)
class Column:
    """A column: its name, its kind, how raw values become values, and what to tell a person about that.

    `parse` is JSON: the style of its numbers, the format of its dates, its words for yes and no, the texts that
    stand for a missing value; of images the shape (height, width, channels) and the type of a pixel; of series the
    number of steps, and the length of one in words. `note` is empty where nothing needs saying.
    """

    name: str
    kind: str
    parse: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "kind": self.kind, "parse": dict(self.parse), "note": self.note}


@dataclass(frozen=True)
class Source:
    """Where a table came from: a name for people, the path, and the SHA-256 of the file's bytes.

    Files of images say themselves which column is to be predicted (`target`), which one gives the split (`part`), and
    what to do where they name no target (`lacks`).
    """

    name: str
    path: str | None = None
    sha256: str | None = None
    target: str | None = None
    part: str | None = None
    lacks: str = ""


@dataclass(frozen=True, repr=False)
class Table:
    """Rows of named columns, each of one kind: number, boolean, category, date, text, image or series.

    Attributes
    ----------
    frame : polars.DataFrame
        Float64, Boolean, String, Datetime("us") or String by kind; null where missing; never NaN or infinite. A series
        is an Array of Float64, of one length for its column, NaN where a step is missing.
    columns : tuple of Column
    source : Source
    pixels : array (n, height, width, channels) of uint8 or float32, or None
        The images, where a column is of them.
    notices : tuple of str
        What a person should know of how it was read.

    >>> from heldout.data.read import read
    >>> read({"size": ["1,200", "950"], "town": ["Ames", "Boone"]})
    Table of 2 rows and 2 columns (data)
      size  number    numbers written as text, like '1,200'
      town  category
    """

    frame: pl.DataFrame
    columns: tuple[Column, ...]
    source: Source
    pixels: Pixels | None = None
    notices: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.frame.height

    @property
    def image(self) -> Column | None:
        """The column of images, if there is one."""
        return next((column for column in self.columns if column.kind == "image"), None)

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
        pixels = self.pixels if any(column.kind == "image" for column in chosen) else None
        return replace(self, frame=self.frame.select([c.name for c in chosen]), columns=chosen, pixels=pixels)

    def take(self, rows: NDArray[np.integer[Any]]) -> Table:
        """The table with these rows, in this order; the values are copied."""
        pixels = None if self.pixels is None else of_images.taken(self.pixels, rows)
        return replace(self, frame=self.frame[rows], pixels=pixels)

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
    if kind == "series" and not {"steps", "unit"} <= set(parse):
        state.fail(f"its column {name!r} does not say what its series are like")
    if kind == "image" and ("shape" not in parse or parse.get("dtype") not in ("uint8", "float32")):
        state.fail(f"its column {name!r} does not say what its images are like")
    return Column(name, kind, parse, note)


def _fits(key: str, value: Any) -> bool:
    """Whether a way to read texts, as `recognise` finds it, may hold this."""
    if key == "shape":
        return of_images.is_shape(value)
    if key == "steps":
        return type(value) is int and 1 <= value <= MOST_STEPS
    if key == "missing":
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    return isinstance(value, PARSE.get(key, ()))
