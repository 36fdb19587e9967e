"""A table as it was found, before the kinds of its columns are recognised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import polars as pl

from heldout.data.images import pixels as of_images
from heldout.data.images.wanted import Wanted
from heldout.data.table import Column, Source

if TYPE_CHECKING:
    from heldout.data.images.pixels import Pixels

IMAGE, LABEL = "image", "label"  # what the columns of images and of their classes are called


@dataclass(frozen=True)
class Raw:
    """Text cells as text, typed cells as they are; and where it came from.

    `known` are columns whose kind needs no recognising; `pixels` the images, where a column of `known` is of them;
    `notices` what a person should know.
    """

    frame: pl.DataFrame
    source: Source
    known: Mapping[str, Column] = field(default_factory=dict)
    pixels: Pixels | None = None
    notices: tuple[str, ...] = ()

    @property
    def image(self) -> Column | None:
        """The column of images, if there is one."""
        return next((column for column in self.known.values() if column.kind == "image"), None)

    def as_wanted(self, wanted: Wanted) -> Raw:
        """With images in the size and the colours that are asked for."""
        column = self.image
        if column is None or self.pixels is None or (wanted.size, wanted.channels) == (None, None):
            return self
        before = self.pixels.shape[1:]
        shape = (*(wanted.size or before[:2]), wanted.channels or before[2])
        if tuple(before) == shape:
            return self
        made, said = of_images.fitted_to(self.pixels, shape, self.pixels.dtype.name, self.source.name)
        known = {**self.known, column.name: image_column(shape, made.dtype.name, column.name)}
        return replace(self, known=known, pixels=made, notices=(*self.notices, *said))


def image_column(shape: Sequence[int], dtype: str, name: str = IMAGE) -> Column:
    """A column of images of this shape (height, width, channels) and type of pixels."""
    parse = {"shape": [int(side) for side in shape], "dtype": dtype}
    return Column(name, "image", parse, of_images.words(shape))
