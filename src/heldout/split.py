"""Train, validation and a sealed test set: who goes where, and the object that gives nothing away.

Rows that belong together form a unit and land on one side: exact twins (the same features), the rows of one
group, or both, joined as connected components. At random, the units of each stratum (a class, or a tenth of the
target's range by rank) are shuffled and dealt out by the shares. By time, train lies before validation before
test; a unit that reaches into a later part keeps only the rows of its first part.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from heldout.data.images.pixels import Pixels
from heldout.data.recognise import parse_for, read_as
from heldout.data.table import Table
from heldout.errors import InputError
from heldout.ledger import Fingerprint
from heldout.persist import State
from heldout.problem import Problem, label_text
from heldout.seal import PARTS, Part, SealedTest
from heldout.twins import codes, joined, twin_notes

Ints = NDArray[np.int64]
SHARES = (0.6, 0.2, 0.2)
LEAST_ROWS = 10
QUARTER = ", with a quarter of train taken at random for validation"
STRATA = 10  # of a numeric target, by rank
ALIASES = {
    "train": ("train", "training", "learn", "fit", "0", "false"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "holdout", "held-out", "eval", "1", "true"),
}


@dataclass(frozen=True, repr=False)
class Split:
    """Train and validation parts, the sealed test set, and how they were made for which problem."""

    problem: Problem
    train: Part
    validation: Part
    sealed: SealedTest
    method: str
    seed: int
    dropped: int
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return self.paragraph

    @property
    def paragraph(self) -> str:
        """The split in words."""
        rows = (len(self.train), len(self.validation), self.sealed.n_rows)
        shares = ", ".join(f"{n:,} {name}" for n, name in zip(rows, PARTS, strict=True))
        dropped = f" {self.dropped:,} rows are in no part." if self.dropped else ""
        return f"{shares} rows, {self.method}. The test rows were sealed at once.{dropped}"

    @property
    def given(self) -> bool:
        """Whether train and validation came apart, in files or by a column."""
        return self.method.startswith("as ") and not self.method.endswith(QUARTER)

    @property
    def pixels(self) -> dict[str, Pixels]:
        """The images of each part, those of the test rows masked; nothing where the rows are no images."""
        train, validation, sealed = self.train.table.pixels, self.validation.table.pixels, self.sealed.to_pixels()
        if train is None or validation is None or sealed is None:
            return {}
        return {"train": train, "validation": validation, "test": sealed}

    def with_pixels(self, pixels: Mapping[str, Pixels]) -> Split:
        """The split with these images of its parts, as `pixels` gives them."""
        sealed = self.sealed
        return replace(
            self,
            train=self.train.with_pixels(pixels["train"]),
            validation=self.validation.with_pixels(pixels["validation"]),
            sealed=SealedTest(sealed.to_bytes(), sealed.n_rows, sealed.fingerprint, pixels["test"]),
        )

    def to_json(self) -> dict[str, Any]:
        rows = dict(zip(PARTS, (len(self.train), len(self.validation), self.sealed.n_rows), strict=True))
        total = sum(rows.values())
        parts: dict[str, dict[str, Any]] = {name: {"rows": n, "share": n / total} for name, n in rows.items()}
        parts["test"]["fingerprint"] = self.sealed.fingerprint.rows
        return {
            "paragraph": self.paragraph,
            "method": self.method,
            "seed": self.seed,
            "parts": parts,
            "dropped": self.dropped,
            "notes": list(self.notes),
        }

    def to_state(self) -> dict[str, Any]:
        """For the study's folder; the test rows are in it masked, images are not (see `pixels`)."""
        return {
            "problem": self.problem,
            "train": self.train,
            "validation": self.validation,
            "sealed": np.frombuffer(self.sealed.to_bytes(), np.uint8),
            "sealed_rows": self.sealed.n_rows,
            "fingerprint": self.sealed.fingerprint.to_json(),
            "method": self.method,
            "seed": self.seed,
            "dropped": self.dropped,
            "notes": list(self.notes),
        }

    @classmethod
    def from_state(cls, state: State) -> Split:
        box = state.array("sealed", dtype="uint8", shape=(None,)).tobytes()
        mark = Fingerprint.from_json(state.json("fingerprint"))
        return cls(
            problem=state.object("problem", Problem),
            train=state.object("train", Part),
            validation=state.object("validation", Part),
            sealed=SealedTest(box, state.integer("sealed_rows", low=1), mark),
            method=state.text("method"),
            seed=state.integer("seed"),
            dropped=state.integer("dropped", low=0),
            notes=tuple(state.texts("notes")),
        )


def train_validation_test_split(
    table: Table,
    problem: Problem,
    *,
    shares: Sequence[float] = SHARES,
    gap: str | float | None = None,
    cuts: str | Sequence[str] | None = None,
    given: Sequence[str] | None = None,
    seed: int = 0,
) -> Split:
    """Split `table` for `problem` and seal the test part at once.

    Parameters
    ----------
    table : Table
    problem : Problem
        Its `group`, `time` and `part` columns decide how; without them the split is random and stratified.
    shares : three numbers, default (0.6, 0.2, 0.2)
        Of train, validation and test; they are divided by their sum.
    gap : str or number, optional
        With a time column: rows within this time after a part's end are in no part ("7d", "12h", "30min",
        "2w"; a number where the time column holds numbers).
    cuts : two texts, or one with "/" between them, optional
        With a time column: where validation and test begin, in place of the shares ("2014-01-01/2015-01-01").
    given : sequence of str, optional
        The part of each row, where it came in files of its own.
    seed : int, default 0

    Raises
    ------
    InputError
        Fewer than 10 rows, too few units, a part that stays empty, a gap that cannot be read.

    >>> from heldout.data.read import read
    >>> table = read({"x": [float(i) for i in range(100)], "y": [i / 7 for i in range(100)]})
    >>> train_validation_test_split(table, Problem.state(table, "y", keep=["x"]))
    60 train, 20 validation, 20 test rows, at random, stratified by y. The test rows were sealed at once.
    """
    require_rows(table)
    shares = _checked_shares(shares)
    if problem.time is None and not (gap is None and cuts is None):
        raise InputError(f"{'A gap needs' if cuts is None else 'Cuts need'} a time column (--time COLUMN).")
    twins = codes(table.frame.select(problem.features))
    units = joined(twins, table, problem.group)
    y = problem.y(table)
    dropped, moved = np.zeros(len(table), bool), ""
    if given is not None or problem.part is not None:
        part, method = _given(table, problem, given, units, y, seed)
    elif problem.time is not None:
        part, dropped, moved = _by_time(table, problem, units, shares, gap, cuts)
        method = f"in the order of {problem.time}" + (
            f", groups of {problem.group} kept together" if problem.group else ""
        )
    else:
        part = _at_random(units, y, problem, shares, seed)
        method = f"at random, stratified by {problem.target}"
        method += f", groups of {problem.group} kept together" if problem.group else ""
    part = np.where(dropped, -1, part)
    _require_parts(part, table, problem)
    notes = [note for note in (*twin_notes(table, problem, twins, part), moved) if note]
    chosen = [_part(name, code, table, problem, part, units) for code, name in enumerate(PARTS)]
    sealed = SealedTest.seal(chosen[2], problem.target)
    return Split(problem, chosen[0], chosen[1], sealed, method, seed, int((part < 0).sum()), tuple(notes))


def require_rows(table: Table) -> None:
    """Raise InputError where there are too few rows for three parts."""
    if len(table) < LEAST_ROWS:
        rows = "1 row" if len(table) == 1 else f"{len(table)} rows"
        raise InputError(
            f"{table.source.name} has {rows}; train, validation and test together need at least {LEAST_ROWS}."
        )


def _checked_shares(shares: Sequence[float]) -> tuple[float, ...]:
    if len(shares) != 3 or not all(np.isfinite(share) and share > 0 for share in shares):
        raise InputError(f"The shares must be three positive numbers for train, validation and test, not {shares}.")
    return tuple(share / sum(shares) for share in shares)


# Ways to split ---------------------------------------------------------------------------------------------


def _at_random(units: Ints, y: NDArray[Any], problem: Problem, shares: Sequence[float], seed: int) -> Ints:
    unit, sizes = _by_appearance(units)
    if len(sizes) < 3:
        raise InputError(f"All rows form {len(sizes)} units (groups or exact twins); three parts need at least 3.")
    stratum = _strata(unit, sizes, y, problem)
    rng = np.random.default_rng(seed)
    assigned = np.empty(len(sizes), np.int64)
    borders = np.cumsum(shares)[:2]
    before = 0
    for value in np.unique(stratum):
        members = rng.permutation(np.flatnonzero(stratum == value))
        after = before + int(sizes[members].sum())
        cuts = np.round(borders * after) - np.round(borders * before)  # so that the parts' totals are exact too
        assigned[members] = _dealt(sizes[members], cuts)
        before = after
    return assigned[unit]


def a_quarter(units: Ints, y: NDArray[Any], problem: Problem, seed: int, share: float = 0.25) -> NDArray[np.bool_]:
    """A random quarter of the rows, or another share of them, for validation (n,): whole units, the target spread as
    evenly as in a split."""
    return np.asarray(_at_random(units, y, problem, (0.75 - share, share, 0.25), seed) == 1)


def folds(units: Ints, y: NDArray[Any], problem: Problem, k: int, seed: int) -> Ints:
    """The fold of each row, 0 to k-1 (n,): whole units dealt out in turn, one stratum of the target after the other."""
    unit, sizes = _by_appearance(units)
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.argsort(_strata(unit, sizes, y, problem)[order], kind="stable")]
    fold = np.empty(len(sizes), np.int64)
    fold[order] = np.arange(len(sizes)) % k
    return np.asarray(fold[unit])


def _strata(unit: Ints, sizes: Ints, y: NDArray[Any], problem: Problem) -> Ints:
    """The stratum of each unit: its most frequent class, or where its mean target ranks."""
    return _majority(unit, y) if problem.classes else _rank_bins(np.bincount(unit, y) / sizes)


def _by_appearance(units: Ints) -> tuple[Ints, Ints]:
    """Units numbered in the order of their first rows, whatever their codes are; and their sizes."""
    _, first, unit, sizes = np.unique(units, return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(first)
    return np.asarray(np.argsort(order)[unit]), np.asarray(sizes[order])


def _majority(unit: Ints, y: Ints) -> Ints:
    counts = np.zeros((int(unit.max()) + 1, int(y.max()) + 1), np.int32)
    np.add.at(counts, (unit, y), 1)
    return np.asarray(counts.argmax(axis=1))


def _rank_bins(values: NDArray[Any]) -> Ints:
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    bins = max(1, min(STRATA, len(values) // 15))
    return ranks * bins // len(values)


def _dealt(sizes: Ints, cuts: NDArray[Any]) -> Ints:
    """Parts of the units in this order, cut after so many rows: the middle of each unit's rows decides."""
    part = np.searchsorted(cuts, np.cumsum(sizes) - sizes / 2, side="right").astype(np.int64)
    for code in range(3):
        if len(part) >= 3 and not np.any(part == code):
            fullest = int(np.bincount(part, minlength=3).argmax())
            part[np.flatnonzero(part == fullest)[-1]] = code
    return part


def _by_time(
    table: Table,
    problem: Problem,
    units: Ints,
    shares: Sequence[float],
    gap: str | float | None,
    cuts: str | Sequence[str] | None,
) -> tuple[Ints, NDArray[np.bool_], str]:
    time, width = _clock(table, str(problem.time), gap)
    ordered = np.sort(time)
    if cuts is None:
        ends = [ordered[max(0, round(share * len(time)) - 1)] for share in np.cumsum(shares)[:2]]
    else:
        ends = [np.nextafter(cut, -np.inf) for cut in _cuts(cuts, table, str(problem.time))]
    part = np.searchsorted(np.array(ends), time, side="left").astype(np.int64)
    late = ((part == 1) & (time <= ends[0] + width)) | ((part == 2) & (time <= ends[1] + width))
    first = np.full(int(units.max()) + 1, 3, np.int64)
    np.minimum.at(first, units, part)
    astray = part != first[units]
    moved = ""
    if astray.any():
        kind = f"groups of {problem.group} or exact twins" if problem.group else "exact twins"
        moved = f"{int(astray.sum()):,} rows of {kind} that began in an earlier part are in no part."
    return part, late | astray, moved


def _clock(table: Table, name: str, gap: str | float | None) -> tuple[NDArray[np.float64], float]:
    """The time of each row as a number, and the gap in the same unit (seconds for dates)."""
    column, values = table.column(name), table.frame[name]
    if column.kind not in ("date", "number"):
        raise InputError(f"The time column {name!r} was read as {column.kind}; it must hold dates or numbers.")
    if count := values.null_count():
        raise InputError(f"{table.source.name}: the time column {name!r} is missing in {count:,} rows; fill it in.")
    if column.kind == "number":
        return values.to_numpy(), _number_gap(gap, name)
    return values.dt.timestamp("us").to_numpy() / 1e6, _duration(gap)


def _cuts(cuts: str | Sequence[str], table: Table, name: str) -> list[float]:
    """Where validation and test begin, as numbers like those of `_clock`."""
    texts = [str(cut).strip() for cut in (cuts.split("/") if isinstance(cuts, str) else cuts)]
    kind = table.column(name).kind
    values, wrong = read_as(pl.Series(name, texts, dtype=pl.String), kind, parse_for(pl.Series(texts), kind, ()))
    if len(texts) != 2 or wrong.any() or values.null_count():
        example = "2014-01-01/2015-01-01" if kind == "date" else "700/850"
        raise InputError(f"The cuts {cuts!r} are not two {kind}s, where validation and test begin; write {example}.")
    found = values.to_numpy() if kind == "number" else values.dt.timestamp("us").to_numpy() / 1e6
    if not found[0] < found[1]:
        raise InputError(f"The cuts {cuts!r} are in the wrong order: validation begins before test.")
    return [float(cut) for cut in found]


def _number_gap(gap: str | float | None, name: str) -> float:
    try:
        width = float(gap or 0)
    except ValueError:
        raise InputError(f"The gap {gap!r} is not a number, and {name!r} holds numbers.") from None
    return _not_negative(width, gap)


def _duration(gap: str | float | None) -> float:
    if gap is None:
        return 0.0
    seconds = {"w": 604800, "d": 86400, "h": 3600, "min": 60, "s": 1}
    match = re.fullmatch(r"\s*([\d.]+)\s*(w|d|h|min|s)\w*\s*", str(gap))
    if match is None:
        raise InputError(f"The gap {gap!r} is not a length of time; write 7d, 12h, 30min or 2w.")
    return _not_negative(float(match[1]) * seconds[match[2]], gap)


def _not_negative(width: float, gap: object) -> float:
    if not (np.isfinite(width) and width >= 0):
        raise InputError(f"The gap {gap!r} must be zero or more.")
    return width


def _given(
    table: Table, problem: Problem, given: Sequence[str] | None, units: Ints, y: NDArray[Any], seed: int
) -> tuple[Ints, str]:
    if given is not None:
        names, method = list(given), "as the files give them"
    else:
        names = [_part_name(value, table, str(problem.part)) for value in table.frame[str(problem.part)].to_list()]
        method = f"as the column {problem.part} says"
    part = np.array([PARTS.index(name) for name in names])
    for code, name in ((0, "train"), (2, "test")):
        if not np.any(part == code):
            raise InputError(f"{table.source.name}: the given split has no {name} rows.")
    if not np.any(part == 1):  # a quarter of train becomes validation
        rows = np.flatnonzero(part == 0)
        part[rows[a_quarter(units[rows], y[rows], problem, seed)]] = 1
        method += QUARTER
    return part, method


def _part_name(value: object, table: Table, column: str) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value).strip().lower()
    for name, aliases in ALIASES.items():
        if text in aliases:
            return name
    raise InputError(
        f"{table.source.name}: the split column {column!r} holds {value!r}; it must hold train, validation and test "
        "(or 0 for train and 1 for test)."
    )


# What is said of a split -----------------------------------------------------------------------------------


def _require_parts(part: Ints, table: Table, problem: Problem) -> None:
    for code, name in enumerate(PARTS):
        count = int(np.sum(part == code))
        if count < 2:
            raise InputError(
                f"{table.source.name}: the {name} part would have {count} rows; take other shares, a smaller gap, "
                "or more rows."
            )
    if problem.classes is not None:
        _require_classes(problem.y(table)[part == 0], problem)


def _require_classes(y_train: Ints, problem: Problem) -> None:
    for code, label in enumerate(problem.classes or ()):
        if not np.any(y_train == code):
            raise InputError(
                f"No training row has the class {label_text(label)}; a learner cannot learn it. Split another way, "
                "or remove the class."
            )


def _part(name: str, code: int, table: Table, problem: Problem, part: Ints, units: Ints) -> Part:
    rows = np.flatnonzero(part == code)
    if problem.time is not None and problem.group is None:
        order = np.argsort(table.frame[problem.time].to_numpy()[rows], kind="stable")
        rows = rows[order]
        length = max(1, round(len(rows) ** (1 / 3)))  # Carlstein (1986): blocks of n^(1/3) consecutive rows
        return Part(name, table.take(rows), np.arange(len(rows), dtype=np.int64) // length)
    return Part(name, table.take(rows), units[rows])
