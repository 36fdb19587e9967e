"""NPZ files of NumPy: images, series or rows of numbers, and their targets, found by the names of the arrays."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heldout.data.raw import Raw
from heldout.data.table import Source
from heldout.errors import InputError
from heldout.memory import physical_memory

Arrays = Mapping[str, NDArray[Any]]
INPUTS = ("x", "images", "image", "data", "features", "inputs", "arr_0")
TARGETS = ("y", "labels", "label", "target", "targets", "classes", "arr_1")
PARTS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
PART = "part"


def npz_arrays(data: bytes, source: str) -> dict[str, NDArray[Any]]:
    """The arrays of an NPZ file by name; InputError for a damaged one, for objects, and for more than memory holds."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(item.file_size for item in archive.infolist())
        if size > physical_memory():
            raise InputError(f"{source} would take {size / 1e9:,.0f} GB unpacked, more than this machine's memory.")
        with np.load(io.BytesIO(data), allow_pickle=False) as loaded:
            return {name: loaded[name] for name in loaded.files}
    except InputError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy have many kinds for damaged bytes
        if "allow_pickle" in str(error):
            raise InputError(f"{source} holds Python objects, which are not read; save plain arrays.") from None
        raise InputError(f"{source} is a damaged NPZ file ({str(error).splitlines()[0].rstrip('.')}).") from error


def npz_table(data: bytes, source: Source) -> Raw:
    """The table in an NPZ file: inputs and targets, the part of each row where arrays are named by parts.

    Inputs are called X, images, data or the like, targets y, labels, target or the like; x_train, y_train, x_test and
    so on give the split. Fractions (n, channels, steps) with fewer channels than steps are series.
    Further arrays of one axis and the same length become columns.

    Raises InputError where no inputs are found, lengths do not match, or targets have several columns.
    """
    from heldout.data.frames import to_raw

    arrays = npz_arrays(data, source.name)
    by_part = {part: found for part in ("train", "validation", "test") if (found := _of_part(arrays, part))}
    pieces = by_part if "train" in by_part else {"": dict(arrays)}
    tables = [_columns(found, source.name, part) for part, found in pieces.items()]
    names = list(tables[0])
    if any(list(table) != names for table in tables):
        raise InputError(f"{source.name}: each part needs inputs and targets under the same names, {', '.join(names)}.")
    columns: dict[str, Any] = {name: _together([table[name] for table in tables], source.name) for name in names}
    target = next((name for name in names if name.lower() in TARGETS), None)
    if len(pieces) > 1:
        columns[PART] = [part for part, table in zip(pieces, tables, strict=True) for _ in next(iter(table.values()))]
    raw = to_raw(columns)
    lacks = f"{source.name} has no array of targets; call it y (there are: {', '.join(arrays)})."
    told = Source(source.name, source.path, source.sha256, target, PART if len(pieces) > 1 else None, lacks)
    inputs = [array for name, array in arrays.items() if array.ndim == 3 and are_series(array)]
    notices = [_said(inputs[0], source.name)] if inputs else []
    return Raw(raw.frame, told, raw.known, raw.pixels, tuple(notices))


def _said(X: NDArray[Any], source: str) -> str:
    return (
        f"{source}: an array of {' x '.join(map(str, X.shape))} fractions is taken as series of {X.shape[2]} steps, "
        f"{X.shape[1]} channel{'s' * (X.shape[1] > 1)}; images of fractions need a last axis of channels."
    )


def _of_part(arrays: Arrays, part: str) -> dict[str, NDArray[Any]]:
    """The arrays of a part, without the part in their names: "x" of "x_train", "images" of "test_images"."""
    found = {}
    for name, array in arrays.items():
        words = name.replace("-", "_").split("_")
        places = [i for i, word in enumerate(words) if PARTS.get(word.lower()) == part]
        if len(places) == 1 and len(words) > 1:
            found["_".join(word for i, word in enumerate(words) if i != places[0])] = array
    return found


def _columns(arrays: Arrays, source: str, part: str) -> dict[str, Any]:
    """Inputs first, as columns or as images; then the rest of the same length."""
    where = f"{source}{f', {part}' if part else ''}"
    inputs = next((name for name in arrays if name.lower() in INPUTS), None)
    if inputs is None:
        raise InputError(f"{where} has no array of inputs; call it X (there are: {', '.join(arrays) or 'none'}).")
    X = arrays[inputs]
    if X.ndim < 2:
        raise InputError(f"{where}: {inputs} has the shape {X.shape}; inputs are rows of numbers, or images.")
    if are_series(X):
        columns: dict[str, Any] = _channels(X)
    else:
        columns = {"image": X} if X.ndim > 2 else {f"x{i}": X[:, i] for i in range(X.shape[1])}
    for name, array in arrays.items():
        if name == inputs:
            continue
        if name.lower() in TARGETS and array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim == 1 and len(array) == len(X):
            columns[name] = array
        elif name.lower() in TARGETS:
            raise InputError(
                f"{where}: {name} has the shape {array.shape}, and {inputs} has {len(X):,} rows; give one target a row."
            )
    return columns


def are_series(X: NDArray[Any]) -> bool:
    """Whether an array is of series (n, channels, steps) and not of images: fractions, fewer channels than steps."""
    return X.ndim == 3 and X.dtype.kind == "f" and X.shape[1] < X.shape[2]


def _channels(X: NDArray[Any]) -> dict[str, NDArray[Any]]:
    if X.shape[1] == 1:
        return {"series": X[:, 0]}
    return {f"channel {i + 1}": X[:, i] for i in range(X.shape[1])}


def _together(parts: list[NDArray[Any]], source: str) -> NDArray[Any]:
    if len({part.shape[1:] for part in parts}) > 1:
        raise InputError(f"{source}: the parts hold images of different shapes.")
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
