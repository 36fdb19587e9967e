"""Objects to model files and back: dumps, loads, save, load."""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np

from heldout.errors import InputError, ModelFileError, WorkError
from heldout.files import write_whole
from heldout.persist.classes import name_of
from heldout.persist.envelope import (
    DTYPES,
    MAX_DEPTH,
    PREFIX,
    Array,
    Json,
    check_prefix,
    pack,
    shape_fault,
    shown,
    unpack,
)
from heldout.persist.state import ARRAY, ESCAPED, OBJECT, STATE, OpenFile, build

T = TypeVar("T")


def dumps(obj: object) -> bytes:
    """The bytes of a model file that holds `obj`; the same object gives the same bytes.

    Raises InputError for an object of a class that model files do not know (a scikit-learn estimator, say),
    and WorkError for a value that cannot be stored.

    >>> dumps({"coef": 1.0})
    Traceback (most recent call last):
    ...
    heldout.errors.InputError: A dict cannot be stored in a model file, ...
    """
    arrays: dict[str, Array] = {}
    return pack(_object(obj, arrays, 1), arrays)


@overload
def loads(data: bytes, source: str = ..., expected: None = ...) -> Any: ...
@overload
def loads(data: bytes, source: str = ..., *, expected: type[T]) -> T: ...
def loads(data: bytes, source: str = "The model", expected: type[Any] | None = None) -> Any:
    """The object that a model file's bytes hold, everything checked; no code from the file is ever run.

    `source` names the file in errors; `expected` is the class that the object must have.
    Raises ModelFileError, and no other error, for bytes that are not such a file.

    >>> loads(b"anything")
    Traceback (most recent call last):
    ...
    heldout.errors.ModelFileError: The model is not a heldout model file; give one that heldout has saved.
    """
    parts = unpack(data, source)
    file = OpenFile(source, parts)
    obj = build(file, parts.tree, expected or object, "")
    file.check_all_read()
    return obj


def save(obj: object, path: str | os.PathLike[str]) -> Path:
    """Write `obj` to the model file `path`, whole or not at all; returns the path.

    Raises what `dumps` raises, and WorkError where the file cannot be written.
    """
    return write_whole(path, dumps(obj))


@overload
def load(path: str | os.PathLike[str], expected: None = ...) -> Any: ...
@overload
def load(path: str | os.PathLike[str], expected: type[T]) -> T: ...
def load(path: str | os.PathLike[str], expected: type[Any] | None = None) -> Any:
    """The object in the model file `path`, checked as `loads` checks it.

    Raises ModelFileError for a file that is missing, cannot be read, or is not a sound model file.

    >>> load("nowhere.heldout")
    Traceback (most recent call last):
    ...
    heldout.errors.ModelFileError: Could not read the model file nowhere.heldout: No such file or directory.
    """
    return loads(_read(Path(path)), str(path), expected=expected)


def _read(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ModelFileError(f"Could not read the model file {path}: it is not a file.")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            prefix = file.read(PREFIX.size)
            check_prefix(prefix, size, str(path))  # before anything large is read
            return prefix + file.read()
    except OSError as error:
        raise ModelFileError(f"Could not read the model file {path}: {error.strerror or error}.") from error


def _object(obj: object, arrays: dict[str, Array], depth: int) -> Json:
    name = name_of(obj)
    if name is None:
        raise InputError(_unknown(obj))
    state = obj.to_state()  # type: ignore[attr-defined]  # every class of the table has it
    return {OBJECT: name, STATE: _node(state, arrays, f"{name} state", depth + 1)}


def _node(value: Any, arrays: dict[str, Array], where: str, depth: int) -> Json:
    if depth > MAX_DEPTH - 1:  # the file's own outermost level is one
        raise WorkError(f"{where} cannot be stored: it is nested more than {MAX_DEPTH} levels deep.")
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        return _number(value, where)
    if isinstance(value, np.ndarray):
        return _array(value, arrays, where)
    if isinstance(value, list | tuple):
        return [_node(item, arrays, f"{where}[{index}]", depth + 1) for index, item in enumerate(value)]
    if isinstance(value, dict):
        return _dict(value, arrays, where, depth)
    return _object(value, arrays, depth)


def _number(value: int | float, where: str) -> Json:
    if isinstance(value, float) and not math.isfinite(value):
        raise WorkError(f"{where} cannot be stored: {value} is not a finite number.")
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise WorkError(f"{where} cannot be stored: {shown(value)} does not fit into 64 bits.")
    return value


def _array(value: Array, arrays: dict[str, Array], where: str) -> Json:
    fault = shape_fault(value.shape)
    if value.dtype.name not in DTYPES.values():
        fault = f"has type {value.dtype}, and model files hold only {', '.join(DTYPES.values())}"
    if fault:
        raise WorkError(f"{where} cannot be stored: the array {fault}.")
    name = str(len(arrays))
    arrays[name] = np.asarray(value, order="C")
    return {ARRAY: name}


def _dict(value: dict[Any, Any], arrays: dict[str, Array], where: str, depth: int) -> Json:
    for key in value:
        if not isinstance(key, str):
            raise WorkError(f"{where} cannot be stored: its key {shown(key)} is not a text.")
    inner: dict[str, Json] = {key: _node(item, arrays, f"{where} {key!r}", depth + 1) for key, item in value.items()}
    return {ESCAPED: inner} if any(key.startswith("$") for key in inner) else inner


def _unknown(obj: object) -> str:
    name = type(obj).__name__
    if hasattr(obj, "get_params") and hasattr(obj, "fit"):
        return (
            f"The learner {name} ({type(obj).__module__}) cannot be stored in a model file: it is not "
            "heldout's own, and heldout writes no pickle; keep it in Python, or store it yourself with skops."
        )
    return (
        f"A {name} cannot be stored in a model file, which holds only heldout's own models, "
        "encoders and learners; heldout writes no pickle."
    )
