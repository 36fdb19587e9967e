"""Columns into numbers, one kind of column a block: what is learned from the training rows, and how it is applied.

A block learns with scikit-learn or skrub and keeps plain arrays and lists, so that applying it needs neither and
storing it needs no pickle. Every block gives float64 columns, named for people.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from heldout.data.series import step_names
from heldout.data.table import MOST_STEPS, Column
from heldout.errors import InputError
from heldout.persist import State

Array = NDArray[Any]
RARE = 10  # a level with fewer training rows joins the rare ones
MISSING, OTHER = "missing", "rare"
NEVER = 1e300  # a scale that keeps every value at 0: what did not vary in training says nothing
FARTHEST = 5.0  # from the median, in distances of the quartiles


def _spread(values: Array) -> float:
    """The distance of the quartiles; half the range where they coincide; `NEVER` where nothing varies."""
    if not len(values):
        return NEVER
    low, first, third, high = np.quantile(values, [0, 0.25, 0.75, 1])
    if high == low:
        return NEVER
    return float(np.clip(third - first if third > first else high / 2 - low / 2, 1 / NEVER, NEVER))


@dataclass(frozen=True)
class Numbers:
    """All number and boolean columns: the median where missing, a column that says so, robust scaling.

    z = (x - median) / IQR, then z / sqrt(1 + (z / 5)^2): the middle stays as it is and no row lies further out than 5,
    whatever new data brings (skrub's SquashingScaler; Holzmueller et al. 2024, "Better by default", section 3.1).
    """

    names: list[str]
    median: Array
    scale: Array
    squashed: bool
    indicated: list[str]  # columns that had missing values in the training rows

    @classmethod
    def learn(cls, frame: pl.DataFrame, squashed: bool = True) -> Numbers:
        values = _matrix(frame)
        present = [column[~np.isnan(column)] for column in values.T]
        median = np.array([np.median(column) if len(column) else 0.0 for column in present])
        scale = np.array([_spread(column) for column in present])
        indicated = [name for name, column in zip(frame.columns, values.T, strict=True) if np.isnan(column).any()]
        return cls(frame.columns, median, scale, squashed, indicated)

    def apply(self, frame: pl.DataFrame) -> Array:
        values = _matrix(frame.select(self.names))
        gone = np.isnan(values)
        with np.errstate(over="ignore"):  # the largest float64 less its median may be infinite
            scaled = (np.where(gone, self.median, values) - self.median) / self.scale
        scaled = np.clip(scaled, -NEVER, NEVER)
        if self.squashed:
            scaled /= np.hypot(1, scaled / FARTHEST)
        columns = [self.names.index(name) for name in self.indicated]
        return np.concatenate([scaled, gone[:, columns].astype(float)], axis=1)

    @property
    def features(self) -> list[str]:
        return [*self.names, *(f"{name} is missing" for name in self.indicated)]

    def to_state(self) -> dict[str, Any]:
        return vars(self)

    @classmethod
    def from_state(cls, state: State) -> Numbers:
        names = state.texts("names")
        shape = (len(names),)
        block = cls(
            names,
            state.array("median", shape=shape),
            state.array("scale", shape=shape, low=1e-300),
            state.boolean("squashed"),
            state.texts("indicated"),
        )
        if len(set(names)) != len(names) or len(set(block.indicated)) != len(block.indicated):
            state.fail("it has a column twice")
        if not names or not set(block.indicated) <= set(names):
            state.fail("it marks missing values of a column that it does not have")
        return block


@dataclass(frozen=True)
class Series:
    """All columns of series, as one (n, T, C): as they are for learners of series, and as a matrix for the others.

    Of a step that lacks some of its numbers those are the channel's median; a step without any is padding.
    As a matrix each channel is less its median and divided by the distance of its quartiles, padding is 0.
    """

    names: list[str]
    steps: int
    unit: str  # of a step in words, where steps are counted back from the end
    median: Array
    scale: Array

    @classmethod
    def learn(cls, frame: pl.DataFrame, columns: Sequence[Column]) -> Series:
        lengths = {column.parse["steps"] for column in columns}
        if len(lengths) > 1:
            raise InputError(f"The series have different lengths, {', '.join(map(str, sorted(lengths)))} steps.")
        found = [cells[~np.isnan(cells)] for cells in (frame[column.name].to_numpy() for column in columns)]
        median = np.array([np.median(values) if len(values) else 0.0 for values in found])
        scale = np.array([_spread(values) for values in found])
        return cls([column.name for column in columns], lengths.pop(), columns[0].parse["unit"], median, scale)

    def apply(self, frame: pl.DataFrame) -> Array:
        """The steps one after the other, with all channels of each (n, T C); padding is NaN."""
        cells = np.stack([frame[name].to_numpy() for name in self.names], axis=2)
        gone = np.isnan(cells)
        return np.where(gone & ~gone.all(axis=2, keepdims=True), self.median, cells).reshape(frame.height, self.width)

    def as_series(self, X: Array) -> Array:
        """Rows of an encoded matrix as (n, T, C + others): further columns stand at every step."""
        series = X[:, : self.width].reshape(len(X), self.steps, len(self.names))
        others = np.broadcast_to(X[:, None, self.width :], (len(X), self.steps, X.shape[1] - self.width))
        padding = np.isnan(series).all(axis=2, keepdims=True)
        return np.concatenate([series, np.where(padding, np.nan, others)], axis=2)

    def as_matrix(self, X: Array) -> Array:
        """Rows of an encoded matrix with the series scaled, nothing missing."""
        scaled = (X[:, : self.width] - np.tile(self.median, self.steps)) / np.tile(self.scale, self.steps)
        return np.concatenate([np.nan_to_num(scaled, nan=0.0), X[:, self.width :]], axis=1)

    @property
    def width(self) -> int:
        return self.steps * len(self.names)

    @property
    def features(self) -> list[str]:
        named = [step_names(name, self.steps, self.unit) for name in self.names]
        return [name for step in zip(*named, strict=True) for name in step]

    def to_state(self) -> dict[str, Any]:
        return vars(self)

    @classmethod
    def from_state(cls, state: State) -> Series:
        names = state.texts("names")
        shape = (len(names),)
        if not names or len(set(names)) != len(names):
            state.fail("it has a series twice, or none")
        return cls(
            names,
            state.integer("steps", low=1, high=MOST_STEPS),
            state.text("unit"),
            state.array("median", shape=shape),
            state.array("scale", shape=shape, low=1e-300),
        )


def _matrix(frame: pl.DataFrame) -> Array:
    """Float64 with NaN where missing, shape (n, columns)."""
    return frame.select(pl.all().cast(pl.Float64).fill_null(float("nan"))).to_numpy().reshape(frame.height, frame.width)


@dataclass(frozen=True)
class Levels:
    """A category of few levels, one column each: 1 where the row has the level.

    Levels with fewer than 10 training rows share one column, which also takes levels never seen; missing values
    have a column of their own where the training rows had any. Where no level is rare, a level never seen gives zeros.
    """

    name: str
    levels: list[str]
    rare: bool
    missing: bool

    @classmethod
    def learn(cls, values: pl.Series) -> Levels:
        counted = values.drop_nulls().value_counts().rows()
        kept = sorted(level for level, count in counted if count >= RARE)
        few = [level for level, count in counted if count < RARE]
        if len(few) == 1 or not kept:  # one rare level needs no group
            kept, few = sorted([*kept, *few]), []
        return cls(values.name, kept, bool(few), values.null_count() > 0)

    def apply(self, values: pl.Series) -> Array:
        codes = {level: code for code, level in enumerate(self.levels)}
        found = values.replace_strict(codes, default=-1, return_dtype=pl.Int64).fill_null(-1).to_numpy()
        gone = values.is_null().to_numpy()
        coded = (found[:, None] == np.arange(len(self.levels))).astype(float)
        added = [(found < 0) & ~gone] * self.rare + [gone] * self.missing
        return np.concatenate([coded, *(column[:, None].astype(float) for column in added)], axis=1)

    @property
    def features(self) -> list[str]:
        return [f"{self.name}={level}" for level in [*self.levels, *[OTHER] * self.rare, *[MISSING] * self.missing]]

    def to_state(self) -> dict[str, Any]:
        return vars(self)

    @classmethod
    def from_state(cls, state: State) -> Levels:
        levels = state.texts("levels")
        if not levels or len(set(levels)) != len(levels):
            state.fail("it has no level, or one twice")
        return cls(state.text("name"), levels, state.boolean("rare"), state.boolean("missing"))


def _days(date: pl.Expr) -> pl.Expr:
    return date.dt.ordinal_day().cast(pl.Float64)  # small integers times a float would be reckoned in float32


def _hours(date: pl.Expr) -> pl.Expr:
    return date.dt.hour().cast(pl.Float64) + date.dt.minute().cast(pl.Float64) * (1 / 60)


PARTS: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    "time": lambda date: date.dt.timestamp("us").cast(pl.Float64) * (1 / 86_400e6),  # days since 1970
    "year": lambda date: date.dt.year(),
    "sine of the year": lambda date: (_days(date) * (2 * np.pi / 365.25)).sin(),
    "cosine of the year": lambda date: (_days(date) * (2 * np.pi / 365.25)).cos(),
    "month": lambda date: date.dt.month(),
    "day": lambda date: date.dt.day(),
    "weekday": lambda date: date.dt.weekday(),
    "sine of the day": lambda date: (_hours(date) * (2 * np.pi / 24)).sin(),
    "cosine of the day": lambda date: (_hours(date) * (2 * np.pi / 24)).cos(),
    "hour": lambda date: date.dt.hour(),
}
ONCE = ("time", "year")  # parts that never come again


@dataclass(frozen=True)
class Dates:
    """A date as its parts, as skrub's DatetimeEncoder takes them, and the turn of the year and of the day as a circle.

    Only parts that vary in the training rows are kept; missing dates are put in the middle and marked. Nothing is
    squashed: time goes on beyond the training rows. Where rows to come are all beyond them, what never comes again, the
    time and the year, can be left out (`returning`).
    """

    name: str
    parts: list[str]
    numbers: Numbers

    @classmethod
    def learn(cls, values: pl.Series, *, returning: bool = False) -> Dates:
        frame = _date_parts(values, [part for part in PARTS if not (returning and part in ONCE)])
        kept = [name for name in frame.columns if frame[name].drop_nulls().n_unique() > 1]
        kept = kept or frame.columns[:1]  # one date only, which may be missing
        parts = [name.removeprefix(f"{values.name}: ") for name in kept]
        numbers = Numbers.learn(frame.select(kept), squashed=False)
        return cls(values.name, parts, replace(numbers, indicated=numbers.indicated[:1]))

    def apply(self, values: pl.Series) -> Array:
        return self.numbers.apply(_date_parts(values, self.parts))

    @property
    def features(self) -> list[str]:
        return [*self.numbers.names, *[f"{self.name} is missing"] * len(self.numbers.indicated)]

    def to_state(self) -> dict[str, Any]:
        return vars(self)

    @classmethod
    def from_state(cls, state: State) -> Dates:
        name, parts = state.text("name"), state.texts("parts")
        if not set(parts) <= set(PARTS):
            state.fail("it has a part of a date that this version does not know")
        numbers = state.object("numbers", Numbers)
        if not parts or numbers.names != [f"{name}: {part}" for part in parts]:
            state.fail("the parts of its dates do not fit their numbers")
        return cls(name, parts, numbers)


def _date_parts(values: pl.Series, parts: list[str]) -> pl.DataFrame:
    date = pl.col("date").cast(pl.Datetime("us"))
    columns = [PARTS[part](date).cast(pl.Float64).alias(f"{values.name}: {part}") for part in parts]
    return pl.DataFrame({"date": values}).select(columns)


@dataclass(frozen=True)
class Strings:
    """A text, or a category of many levels, as skrub's StringEncoder has it: tf-idf of n-grams, a truncated SVD.

    t_j = tf_j * idf_j, divided by |t|; then t V / s with the first right singular vectors V of the training rows and
    the square root s of the summed variances of t V. Texts by words, categories by groups of 3 and 4 characters.
    """

    name: str
    analyzer: str
    vocabulary: list[str]  # in the order of the columns of idf and of the rows of components
    idf: Array
    components: Array  # (n-grams, k)
    scale: float

    @classmethod
    def learn(cls, values: pl.Series, analyzer: str, k: int) -> Strings:
        from skrub import StringEncoder

        grams = (3, 4) if analyzer == "char_wb" else (1, 1)
        encoder = StringEncoder(n_components=k, analyzer=analyzer, ngram_range=grams, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            encoder.fit_transform(values.fill_null("").rename("text"))
        vectorizer = encoder.vectorizer_
        order = sorted(vectorizer.vocabulary_, key=vectorizer.vocabulary_.__getitem__)
        if hasattr(encoder, "tsvd_"):
            components = np.ascontiguousarray(encoder.tsvd_.components_.T, dtype=np.float64)
        else:
            components = np.eye(len(order), min(len(order), encoder.n_components_))
        idf = np.asarray(vectorizer.idf_, dtype=np.float64)
        return cls(values.name, analyzer, order, idf, components, float(encoder.scaling_factor_))

    def apply(self, values: pl.Series) -> Array:
        from sklearn.feature_extraction.text import TfidfVectorizer

        grams = (3, 4) if self.analyzer == "char_wb" else (1, 1)
        vectorizer = TfidfVectorizer(analyzer=self.analyzer, ngram_range=grams, vocabulary=self.vocabulary)
        vectorizer.idf_ = self.idf
        texts, row = np.unique(values.fill_null("").to_numpy(), return_inverse=True)  # each text is counted once
        counts = vectorizer.transform(texts)
        return np.asarray((np.asarray(counts @ self.components) / self.scale)[row])

    @property
    def features(self) -> list[str]:
        return [f"{self.name} ~ {i + 1}" for i in range(self.components.shape[1])]

    def to_state(self) -> dict[str, Any]:
        return vars(self)

    @classmethod
    def from_state(cls, state: State) -> Strings:
        vocabulary = state.texts("vocabulary")
        if len(set(vocabulary)) != len(vocabulary) or not vocabulary:
            state.fail("its vocabulary is empty or has an entry twice")
        return cls(
            state.text("name"),
            state.choice("analyzer", ("char_wb", "word")),
            vocabulary,
            state.array("idf", shape=(len(vocabulary),), low=0.0),
            state.array("components", shape=(len(vocabulary), None)),
            state.number("scale", low=1e-300),
        )
