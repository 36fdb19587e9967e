"""A table's columns as a matrix for learners that want numbers: learned from the training rows alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from heldout.data.blocks import Dates, Levels, Numbers, Series, Strings
from heldout.data.images.pixels import greatest, is_shape
from heldout.data.table import Table
from heldout.persist import State

Array = NDArray[Any]
Block = Levels | Dates | Strings


class Encoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Numbers for every column of a table, by its kind.

    Numbers and booleans: the median where missing, a column that marks it, robust scaling. Categories of up to
    `most_levels` levels: one column a level, the rare ones together, missing a level of its own. Categories of more
    levels, and texts: skrub's StringEncoder. Dates: their parts. See docs/tables.md. Images: their pixels as they are,
    one after the other. Series: their numbers as they are, step after step, before all other columns.

    Parameters
    ----------
    most_levels : int, default 60
        A category of more levels than this in the training rows is encoded by its spelling.
    components : int, default 30
        Columns for each text or category of many levels.
    returning : bool, default False
        Of dates only those parts that come again, without time and year: what a forecast would have to extrapolate.

    Attributes
    ----------
    series_ : Series or None
        How columns of series are read; its `as_series` and `as_matrix` give learners what they take.
    columns_ : list of str
        The columns it was fitted on.
    feature_names_out_ : list of str
        Of the matrix's columns: "age", "age is missing", "town=Ames", "sold: month".
    n_features_out_ : int
    image_shape_ : (height, width, channels) of a column of images, which then is the only one; or None
    pixel_scale_ : float
        The greatest absolute value of a pixel in the training rows.

    >>> from heldout.data.read import read
    >>> table = read({"age": [20.0, None, 40.0, 30.0], "town": ["Ames", "Boone", "Ames", "Ames"]})
    >>> Encoder().fit(table).feature_names_out_
    ['age', 'age is missing', 'town=Ames', 'town=Boone']
    >>> Encoder().fit_transform(table).shape
    (4, 4)
    """

    def __init__(self, *, most_levels: int = 60, components: int = 30, returning: bool = False) -> None:
        self.most_levels = most_levels
        self.components = components
        self.returning = returning

    def fit(self, table: Table, y: Any = None) -> Encoder:
        """Learn medians, scales, levels and vocabularies from these rows."""
        del y
        self.columns_: list[str] = table.names
        self.image_shape_: tuple[int, ...] | None = tuple(table.image.parse["shape"]) if table.image else None
        self.pixel_scale_: float = 1.0 if table.pixels is None else greatest(table.pixels)
        series = [column for column in table.columns if column.kind == "series"]
        self.series_: Series | None = Series.learn(table.frame, series) if series else None
        encoded = [column for column in table.columns if column.kind not in ("image", "series")]
        plain = [column.name for column in encoded if column.kind in ("number", "boolean")]
        self.numbers_: Numbers | None = Numbers.learn(table.frame.select(plain)) if plain else None
        found = (self._block(table.frame[c.name], c.kind) for c in encoded if c.name not in plain)
        self.blocks_: list[Block] = [block for block in found if block is not None]
        self._count()
        return self

    def _block(self, values: pl.Series, kind: str) -> Block | None:
        if values.null_count() == len(values):
            return None
        if kind == "date":
            return Dates.learn(values, returning=self.returning)
        if kind == "text":
            return self._strings(values, "word")
        if values.drop_nulls().n_unique() > self.most_levels:
            return self._strings(values, "char_wb")
        return Levels.learn(values)

    def _strings(self, values: pl.Series, analyzer: str) -> Block:
        try:
            return Strings.learn(values, analyzer, self.components)
        except ValueError:  # no word or n-gram in any row: punctuation only
            return Levels.learn(values)

    def _count(self) -> None:
        numbers = self.numbers_.features if self.numbers_ else []
        series = self.series_.features if self.series_ else []
        names = [*series, *numbers, *(name for block in self.blocks_ for name in block.features)]
        self._names: list[str] = _different(names)
        self.n_features_out_: int = math.prod(self.image_shape_) if self.image_shape_ else len(names)

    @property
    def feature_names_out_(self) -> list[str]:
        """The names of the matrix's columns."""
        return _pixel_names(self.image_shape_) if self.image_shape_ else self._names

    @property
    def places(self) -> dict[str, list[int]]:
        """Where in the matrix each column of the table stands; a column that says nothing stands nowhere."""
        owners = [*self.series_.names * self.series_.steps] if self.series_ else []
        owners += [*self.numbers_.names, *self.numbers_.indicated] if self.numbers_ else []
        owners += [block.name for block in self.blocks_ for _ in block.features]
        return {name: [at for at, owner in enumerate(owners) if owner == name] for name in self.columns_}

    def transform(self, table: Table) -> Array:
        """The rows as a matrix of shape (n, `n_features_out_`), float64; images in the type of their pixels."""
        if table.pixels is not None:
            return table.pixels.reshape(len(table), -1)
        made = [self.series_.apply(table.frame)] if self.series_ else []
        made += [self.numbers_.apply(table.frame)] if self.numbers_ else []
        made += [block.apply(table.frame[block.name]) for block in self.blocks_]
        return np.ascontiguousarray(np.concatenate([np.empty((len(table), 0)), *made], axis=1))

    def to_state(self) -> dict[str, Any]:
        return {
            **self.get_params(),
            "columns": self.columns_,
            "series": self.series_,
            "numbers": self.numbers_,
            "blocks": self.blocks_,
            "image_shape": self.image_shape_,
            "pixel_scale": self.pixel_scale_,
        }

    @classmethod
    def from_state(cls, state: State) -> Encoder:
        made = cls(
            most_levels=state.integer("most_levels", low=1),
            components=state.integer("components", low=1),
            returning=state.boolean("returning"),
        )
        made.columns_ = state.texts("columns")
        made.series_ = state.object("series", Series) if state.optional("series") else None
        made.numbers_ = state.object("numbers", Numbers) if state.optional("numbers") else None
        made.blocks_ = state.objects("blocks", (Levels, Dates, Strings))
        made.image_shape_ = _image_shape(state)
        made.pixel_scale_ = state.number("pixel_scale", low=1e-30) if state.optional("pixel_scale") else 1.0
        if made.image_shape_ and (made.series_ or made.numbers_ or made.blocks_ or len(made.columns_) != 1):
            state.fail("it has columns beside the images")
        joint = [*(made.series_.names if made.series_ else []), *(made.numbers_.names if made.numbers_ else [])]
        used = [*joint, *(block.name for block in made.blocks_)]
        if len(set(used)) != len(used) or not set(used) <= set(made.columns_):
            state.fail("its parts encode a column twice, or one that it does not have")
        made._count()
        return made


def _image_shape(state: State) -> tuple[int, ...] | None:
    if not state.optional("image_shape"):
        return None
    shape = state.json("image_shape")
    if not is_shape(shape):
        state.fail("the shape of its images is none")
    return tuple(shape)


def _pixel_names(shape: tuple[int, ...]) -> list[str]:
    """Row and column of each pixel, from 0, as "pixel 3,5"; of several channels with theirs behind."""
    rows, columns, channels = shape
    tails = [""] if channels == 1 else [f",{channel}" for channel in range(channels)]
    return [f"pixel {row},{column}{tail}" for row in range(rows) for column in range(columns) for tail in tails]


def _different(names: list[str]) -> list[str]:
    """The names, the later of two that are equal with a number: a town may be called "missing"."""
    if len(set(names)) == len(names):
        return names
    made: list[str] = []
    for name in names:
        number, free = 1, name
        while free in made:
            number += 1
            free = f"{name} ({number})"
        made.append(free)
    return made
