"""IDX files, as MNIST has them: an array's type and shape in a few bytes, then its values.

Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits": two zero bytes, a byte for the type, one for
the number of axes, then each axis as a big-endian 32-bit number.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from heldout.data.images import pixels
from heldout.data.raw import IMAGE, LABEL, Raw, image_column
from heldout.data.table import Column, Source
from heldout.errors import InputError

TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def is_idx(data: bytes) -> bool:
    """Whether a file of these bytes is IDX, by its first four."""
    return len(data) >= 4 and data[:2] == b"\0\0" and data[2] in TYPES and 1 <= data[3] <= 4


def idx_array(data: bytes, source: str) -> NDArray[Any]:
    """The array of an IDX file; InputError where its bytes are not as many as its shape says.

    >>> idx_array(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]), "labels")
    array([7, 9], dtype=uint8)
    """
    axes, kind = data[3], np.dtype(TYPES[data[2]])
    begin = 4 + 4 * axes
    if len(data) < begin:
        raise InputError(f"{source} is cut short: it ends within its first {begin} bytes.")
    shape = struct.unpack_from(f">{axes}I", data, 4)
    wanted, there = math.prod(shape) * kind.itemsize, len(data) - begin
    if wanted != there:
        fault = "is cut short" if there < wanted else "goes on after its end"
        raise InputError(f"{source} {fault}: its shape {shape} takes {wanted:,} bytes, and it has {there:,}.")
    return np.frombuffer(data, kind, offset=begin).reshape(shape).astype(kind.newbyteorder("="), copy=False)


def idx_images(data: bytes, path: Path, source: Source, read: Callable[[Path], bytes]) -> Raw:
    """The images of an IDX file, with the labels of the file beside it, if there is one (`read` gives its bytes).

    Raises InputError for a file of labels, and where the two do not have the same length.
    """
    array = idx_array(data, path.name)
    if array.ndim < 3:
        raise InputError(
            f"{path.name} holds {'labels' if array.ndim == 1 else 'rows of numbers'}, not images; name the file of the "
            "images, and the labels beside it are found."
        )
    images = pixels.from_array(array, path.name)
    columns: dict[str, Any] = {IMAGE: pixels.fingerprints(images)}
    known = {IMAGE: image_column(images.shape[1:], images.dtype.name)}
    beside = _labels_beside(path)
    found = next((file for file in beside if file.is_file()), None)
    if found is not None:
        columns[LABEL] = _labels(read(found), found.name, path.name, len(images))
        known[LABEL] = Column(LABEL, "category", {"missing": []})
    names = " or ".join(dict.fromkeys(file.name for file in beside)) or "NAME-labels-idx1-ubyte"
    source = Source(
        source.name,
        source.path,
        source.sha256,
        target=LABEL if found else None,
        lacks=f"{path.name} holds images alone; put their labels beside it ({names}).",
    )
    return Raw(pl.DataFrame(columns), source, known=known, pixels=images)


def _labels_beside(path: Path) -> list[Path]:
    """What the file of the labels may be called: "train-labels-idx1-ubyte" beside "train-images-idx3-ubyte.gz"."""
    name = path.name.replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1")
    if name == path.name:
        return []
    plain = name.removesuffix(".gz")
    return [path.with_name(name), path.with_name(plain), path.with_name(f"{plain}.gz")]


def _labels(data: bytes, name: str, images: str, n: int) -> list[str]:
    if not is_idx(data):
        raise InputError(f"{name} is not an IDX file; the labels of {images} should be there.")
    labels = idx_array(data, name)
    if labels.ndim != 1 or len(labels) != n:
        raise InputError(f"{name} has the shape {labels.shape}, and {images} has {n:,} images: they do not match.")
    return [f"{label:g}" for label in labels.tolist()]
