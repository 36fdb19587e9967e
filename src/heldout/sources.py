"""Where a study's rows come from: one table, or a table for each part, or an example."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import polars as pl

from heldout import examples
from heldout.data.images.pixels import joined
from heldout.data.read import conform, read
from heldout.data.table import Source, Table
from heldout.errors import InputError
from heldout.series.cases import Cases
from heldout.series.windows import Windows
from heldout.split import require_rows

if TYPE_CHECKING:
    from heldout.study import Study


def gather(study: Study) -> tuple[Table, list[str] | None, str | None]:
    """The study's rows as one table, the part of each row where files give it, and the source's SHA-256.

    Raises InputError where a file cannot be read, no target was named, or the parts do not have the same columns.
    """
    table = _main(study)
    study.target = study.target or table.source.target
    if study.target is None:
        raise InputError(
            table.source.lacks or "Say which column to predict: --target COLUMN (in Python, target='COLUMN')."
        )
    others = [
        (name, given) for name, given in (("validation", study.validation), ("test", study.test)) if given is not None
    ]
    if not others:
        if study.time is None:
            study.part = study.part or table.source.part
        return table, None, table.source.sha256
    if study.test is None:
        raise InputError("Validation rows were given without test rows; give both, or only test rows.")
    if study.part is not None or study.time is not None:
        raise InputError("Rows were given for each part, so the split cannot go by a column as well.")
    names, tables, notices = ["train"] * len(table), [table], list(table.notices)
    for name, given in others:
        more, said = conform(given, table.columns, damaged=study.damaged, **_options(study))
        tables.append(more)
        names += [name] * len(more)
        notices += said
    pixels = [part.pixels for part in tables if part.pixels is not None]
    images = joined(pixels) if pixels else None
    frame = pl.concat([part.frame for part in tables])
    return Table(frame, table.columns, table.source, images, tuple(notices)), names, table.source.sha256


def framed(study: Study, table: Table) -> tuple[Table, Windows | Cases | None]:
    """The rows of a forecast, or of series in a long table, and how they are made; other tables as they are.

    Raises InputError for options that do not go together, and as `Windows.of` and `Cases.of` do.
    """
    if study.forecast is None:
        for option, value in (("window", study.window), ("known", study.known)):
            if value:
                raise InputError(f"--{option} is for forecasts; say how many steps ahead: --forecast 1.")
        return (table, None) if study.series is None else _cases(study, table, study.series)
    if study.validation is not None or study.test is not None or study.part is not None or study.group is not None:
        raise InputError("A forecast is split by its time: leave out --validation, --test, --split and --group.")
    windows = Windows.of(
        table,
        str(study.target),
        horizon=study.forecast,
        window=study.window,
        time=study.time,
        series=study.series,
        known=study.known,
        drop=study.drop,
    )
    study.time = windows.time
    made = windows.learning(table)
    return dataclasses.replace(made, notices=(*table.notices, *windows.said(table))), windows


def _cases(study: Study, table: Table, series: str) -> tuple[Table, Cases]:
    if study.validation is not None or study.test is not None or study.part is not None or study.group is not None:
        raise InputError(
            "Series in a long table are split at random: leave out --validation, --test, --split and --group."
        )
    cases = Cases.of(table, str(study.target), series=series, time=study.time, drop=study.drop)
    made = cases.learning(table, str(study.target))
    require_rows(made)
    return made, cases


def _main(study: Study) -> Table:
    if isinstance(study.data, str) and study.data.startswith(examples.PREFIX):
        columns, target = examples.load(study.data)
        study.target = study.target or target
        made = read(columns, kinds=study.kinds)
        return dataclasses.replace(made, source=Source(study.data.removeprefix(examples.PREFIX), None, None))
    return read(
        study.data, kinds=study.kinds, size=study.size, grey=study.grey, damaged=study.damaged, **_options(study)
    )


def _options(study: Study) -> dict[str, Any]:
    return {"missing": study.missing, "delimiter": study.delimiter, "sheet": study.sheet}
