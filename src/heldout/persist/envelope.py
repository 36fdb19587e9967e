"""The outside of a model file: magic, format version, SHA-256, length, JSON, safetensors.

Everything is checked against the length of the file before anything of that size is made.
The first 52 bytes and the place of the JSON stay as they are in every later format, so that any version of
heldout can tell which version wrote a file.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, NoReturn, TypeAlias

import numpy as np
import safetensors
import safetensors.numpy

from heldout.errors import ModelFileError, WorkError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

MAGIC = b"HELDOUT\n"
FORMAT = 1
PREFIX = struct.Struct("<8sI32sQ")  # magic, format, SHA-256, length of the JSON
MAX_JSON = 16 * 2**20  # bytes; anything large belongs into an array
MAX_DEPTH = 64  # lists and objects inside each other
MAX_EMPTY = 2**20  # an array without elements must not be (0, 10**15): it would be summed over its rows
MAX_AXES = 8
DTYPES = {
    "BOOL": "bool",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "U8": "uint8",
    "U16": "uint16",
    "U32": "uint32",
    "U64": "uint64",
    "F32": "float32",
    "F64": "float64",
}
_VERSION = re.compile(r"[0-9A-Za-z.+!_-]{1,64}")


@dataclass(frozen=True)
class Parts:
    """What a file holds once its outside has been checked: who wrote it, the tree, the arrays by name."""

    written_by: str
    tree: Json
    arrays: dict[str, Array]


def pack(tree: Json, arrays: dict[str, Array]) -> bytes:
    """The bytes of a model file; the same tree and arrays give the same bytes."""
    try:
        text = json.dumps(
            {"heldout": version("heldout"), "object": tree},
            ensure_ascii=False,
            allow_nan=False,
            separators=(",", ":"),
        )
        header = text.encode("utf-8")
    except (UnicodeEncodeError, RecursionError) as error:
        raise WorkError(f"This model cannot be stored: its description is not plain JSON ({error}).") from error
    if len(header) > MAX_JSON:
        raise WorkError(
            f"This model cannot be stored: its description takes {len(header):,} bytes and "
            f"a model file allows {MAX_JSON:,}."
        )
    tensors = safetensors.numpy.save(arrays)
    digest = _digest(PREFIX.pack(MAGIC, FORMAT, bytes(32), len(header)), header, tensors)
    return b"".join((PREFIX.pack(MAGIC, FORMAT, digest, len(header)), header, tensors))


def unpack(data: bytes, source: str) -> Parts:
    """Check the outside of a model file and take it apart; ModelFileError names `source` and the fault."""
    length = check_prefix(data[: PREFIX.size], len(data), source)
    _, written_format, digest, _ = PREFIX.unpack_from(data)
    body = memoryview(data)[PREFIX.size :]
    header, tensors = bytes(body[:length]), bytes(body[length:])
    if _digest(data[: PREFIX.size], header, tensors) != digest:
        raise ModelFileError(
            f"{source} is damaged: its contents do not match its own SHA-256; "
            "copy it again from where it came, or save the model again."
        )
    if written_format != FORMAT:
        _refuse_format(header, written_format, source)
    whole = parse_json(header, f"{source} is not a valid model file: its description")
    written_by, tree = _top(whole, source)
    return Parts(written_by, tree, _arrays(tensors, source))


def check_prefix(prefix: bytes, size: int, source: str) -> int:
    """The length of the JSON, once the first bytes are those of a model file of `size` bytes."""
    if not prefix.startswith(MAGIC[: max(len(prefix), 1)]):
        raise ModelFileError(f"{source} is not a heldout model file; give one that heldout has saved.")
    if size < PREFIX.size:
        raise ModelFileError(f"{source} is cut short: it has {size} bytes and the least possible is {PREFIX.size}.")
    length: int = PREFIX.unpack(prefix)[3]
    if length > MAX_JSON:
        raise ModelFileError(
            f"{source} is not a valid model file: its description claims {length:,} bytes and {MAX_JSON:,} are allowed."
        )
    if length > size - PREFIX.size:
        raise ModelFileError(
            f"{source} is cut short: its description needs {length:,} bytes and {size - PREFIX.size:,} are left."
        )
    return length


def parse_json(data: bytes, what: str) -> Json:
    """JSON as strict as we write it: UTF-8, no NaN or infinity, no key twice, at most 64 bits, not deep."""

    def refuse(sentence: str) -> NoReturn:
        raise ModelFileError(f"{what} {sentence}.")

    try:
        tree = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object_hook(refuse),
            parse_constant=lambda name: refuse(f"holds {name}, which is not a finite number"),
            parse_float=_float_hook(refuse),
            parse_int=_int_hook(refuse),
        )
        check_tree(tree, refuse)
    except RecursionError:
        refuse(f"is nested more than {MAX_DEPTH} levels deep")
    except UnicodeError:
        refuse("holds text that is not valid Unicode")
    except json.JSONDecodeError as error:
        refuse(f"is not JSON ({error.msg} at character {error.pos})")
    return tree  # type: ignore[no-any-return]


def check_tree(tree: Json, refuse: Callable[[str], NoReturn]) -> None:
    """Refuse a tree that is too deep; UnicodeEncodeError for a lone surrogate in a text or key."""
    level = [tree]
    for _ in range(MAX_DEPTH):
        below: list[Json] = []
        for node in level:
            if isinstance(node, str):
                node.encode("utf-8")
            elif isinstance(node, list):
                below += node
            elif isinstance(node, dict):
                below += node.keys()
                below += node.values()
        level = below
    if level:
        refuse(f"is nested more than {MAX_DEPTH} levels deep")


def shape_fault(shape: tuple[int, ...]) -> str | None:
    """What is wrong with the shape of an array, or None."""
    if len(shape) > MAX_AXES:
        return f"has {len(shape)} axes and {MAX_AXES} are allowed"
    if 0 in shape and math.prod(size for size in shape if size) > MAX_EMPTY:
        return "is empty but claims a huge shape"
    return None


def _digest(prefix: bytes, header: bytes, tensors: bytes) -> bytes:
    """SHA-256 over everything but itself."""
    sha = hashlib.sha256(prefix[:12])
    for part in (prefix[44:], header, tensors):
        sha.update(part)
    return sha.digest()


def _refuse_format(header: bytes, written_format: int, source: str) -> NoReturn:
    try:
        writer = " by heldout " + _top(parse_json(header, source), source)[0]
    except ModelFileError:
        writer = ""
    raise ModelFileError(
        f"{source} was written{writer} in file format {written_format}, and this heldout "
        f"({version('heldout')}) reads format {FORMAT}; use the version that wrote it, or fit and save the "
        "model again with this one."
    )


def _top(whole: Json, source: str) -> tuple[str, Json]:
    if not isinstance(whole, dict) or not {"heldout", "object"} <= whole.keys():
        raise ModelFileError(f"{source} is not a valid model file: its description names no writer or no object.")
    written_by = whole["heldout"]
    if not isinstance(written_by, str) or not _VERSION.fullmatch(written_by) or len(whole) != 2:
        raise ModelFileError(f"{source} is not a valid model file: its description does not say what wrote it.")
    return written_by, whole["object"]


def _arrays(tensors: bytes, source: str) -> dict[str, Array]:
    what = f"{source} is not a valid model file: its list of arrays"
    _check_tensor_header(tensors, what)
    try:
        arrays: dict[str, Array] = safetensors.numpy.load(tensors)
    except (safetensors.SafetensorError, ValueError) as error:
        raise ModelFileError(f"{what} does not fit the bytes that follow it ({error}).") from error
    for name, array in arrays.items():
        if array.dtype == bool and array.size and array.view(np.uint8).max() > 1:
            raise ModelFileError(f"{what} has truth values in array {name} that are neither 0 nor 1.")
    return arrays


def _check_tensor_header(tensors: bytes, what: str) -> None:
    """Refuse what safetensors lets pass: a name twice, types we do not use, notes, empty but huge shapes."""
    if len(tensors) < 8:
        raise ModelFileError(f"{what} is cut short.")
    (length,) = struct.unpack_from("<Q", tensors)
    if length > min(len(tensors) - 8, MAX_JSON):
        raise ModelFileError(f"{what} claims {length:,} bytes, more than there are or are allowed.")
    listed = parse_json(tensors[8 : 8 + length], what)
    if not isinstance(listed, dict):
        raise ModelFileError(f"{what} is not a JSON object.")
    for name, entry in listed.items():
        if not isinstance(entry, dict) or entry.get("dtype") not in list(DTYPES):  # it may be no text at all
            raise ModelFileError(f"{what} has an entry {shown(name)} of a type that model files do not use.")
        shape = entry.get("shape")
        if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
            raise ModelFileError(f"{what} gives array {shown(name)} a shape that is not a list of sizes.")
        fault = shape_fault(tuple(size for size in shape if isinstance(size, int)))
        if fault:
            raise ModelFileError(f"{what} is wrong: array {shown(name)} {fault}.")


def shown(value: object) -> str:
    """A value from a file, short and printable."""
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _object_hook(refuse: Callable[[str], NoReturn]) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        built = dict(pairs)
        if len(built) != len(pairs):
            refuse("has the same key twice in one object")
        return built

    return build


def _float_hook(refuse: Callable[[str], NoReturn]) -> Callable[[str], float]:
    def build(text: str) -> float:
        number = float(text)
        if not math.isfinite(number):
            refuse("holds a number too large for a float")
        return number

    return build


def _int_hook(refuse: Callable[[str], NoReturn]) -> Callable[[str], int]:
    def build(text: str) -> int:
        if len(text) > 20 or not -(2**63) <= int(text) < 2**64:
            refuse("holds a whole number of more than 64 bits")
        return int(text)

    return build
