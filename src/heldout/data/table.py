"""A table: named columns, each of one kind, and how raw values became values."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from heldout.errors import InputError, suggest

KINDS = ("number", "boolean", "category", "date", "text")


@dataclass(frozen=True)
class Column:
    name: str
    kind: str
    parse: dict[str, Any] = field(default_factory=dict)
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "kind": self.kind, "parse": dict(self.parse), "note": self.note}


@dataclass(frozen=True)
class Source:
    name: str
    path: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, repr=False)
class Table:
    frame: pl.DataFrame
    columns: tuple[Column, ...]
    source: Source

    def __len__(self) -> int:
        return self.frame.height

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    def column(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise InputError(f"{self.source.name} has no column {name!r}.{suggest(name, self.names)}")

    def select(self, names: Collection[str]) -> Table:
        names = list(names)
        return replace(self, frame=self.frame.select(names), columns=tuple(self.column(name) for name in names))

    def take(self, rows: np.ndarray) -> Table:
        return replace(self, frame=self.frame[rows])

    def schema(self) -> list[dict[str, Any]]:
        return [column.to_json() for column in self.columns]


def columns_from_schema(schema: Any, state: Any) -> tuple[Column, ...]:
    return tuple(Column(item["name"], item["kind"], item["parse"], item["note"]) for item in schema)
