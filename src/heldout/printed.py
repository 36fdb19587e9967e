"""Tables of numbers as results print them: in a terminal and in a notebook."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TypeAlias

Table: TypeAlias = Sequence[Sequence[str]]
Sheet: TypeAlias = tuple[list[str], list[str], list[list[str]], list[str]]  # title, header, rows, notes


class Printed:
    """A result that prints as a table: `_table()` says what stands in it."""

    def _table(self) -> Sheet:
        raise NotImplementedError

    def __str__(self) -> str:
        return text_table(*self._table())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return html_table(*self._table())


def text_table(title: Sequence[str], header: Sequence[str], body: Table, notes: Sequence[str] = ()) -> str:
    """Lines of a title, the table between rules, and notes; the first column is text, the others numbers.

    >>> print(text_table(["Two rows"], ["", "value"], [["a", "1.25"], ["long name", "-10"]]))
    Two rows
    -----------------
                value
    -----------------
    a            1.25
    long name  -10
    -----------------
    """
    columns = [_aligned(column, left=j == 0) for j, column in enumerate(zip(header, *body, strict=True))]
    lines = ["  ".join(cells).rstrip() for cells in zip(*columns, strict=True)]
    rule = "-" * max(map(len, lines))
    return "\n".join([*title, rule, lines[0], rule, *lines[1:], rule, *notes])


def _aligned(column: Sequence[str], left: bool) -> list[str]:
    """The heading and the cells of a column in one width."""
    heading, *cells = column
    if not left:
        whole, fraction = (max(map(len, parts)) for parts in zip(*map(_halves, cells), strict=True))
        cells = [before.rjust(whole) + after.ljust(fraction) for before, after in map(_halves, cells)]
    width = max(map(len, (heading, *cells)))
    return [cell.ljust(width) if left else cell.rjust(width) for cell in (heading, *cells)]


def _halves(number: str) -> tuple[str, str]:
    """What stands before the decimal point, and the rest."""
    before, point, after = number.partition(".")
    return before, point + after


def html_table(title: Sequence[str], header: Sequence[str], body: Table, notes: Sequence[str] = ()) -> str:
    """The same as HTML; all texts are escaped."""
    caption = "<br>".join(map(html.escape, title))
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in body)
    after = "".join(f"<p>{html.escape(note)}</p>" for note in notes)
    return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{after}"
