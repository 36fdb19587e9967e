"""What a file says of one object, given out only by getters that check the type, the shape and the range."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias, TypeVar, cast

import numpy as np

from heldout.errors import HeldoutError, ModelFileError
from heldout.persist.classes import CLASSES, Persistable, resolve
from heldout.persist.envelope import Array, Json, Parts, shown

T = TypeVar("T")
Types: TypeAlias = str | type | tuple[str | type, ...]
Wanted: TypeAlias = type[T] | tuple[type[T], ...]
ARRAY, OBJECT, STATE, ESCAPED = "$array", "$object", "state", "$dict"
_ARRAY_NAME = re.compile(r"0|[1-9][0-9]{0,6}")
_INT64 = 2**63


@dataclass
class OpenFile:
    """One file being read: its parts, which arrays were taken, and every state that was handed out."""

    source: str
    parts: Parts
    taken: set[str] = field(default_factory=set)
    states: list[State] = field(default_factory=list)

    def fail(self, sentence: str) -> NoReturn:
        raise ModelFileError(f"{self.source} is not a valid model file: {sentence}.")

    def check_all_read(self) -> None:
        """Nothing in a file goes unread: neither a value of a state nor an array."""
        for state in self.states:
            unread = state.values.keys() - state.read
            if unread:
                state.fail(f"{sorted(unread)[0]!r} is not something that belongs there")
        unused = self.parts.arrays.keys() - self.taken
        if unused:
            self.fail(f"array {shown(sorted(unused)[0])} belongs to nothing")


class State:
    """The stored values of one object, as its `from_state` gets them.

    Every getter takes a key, checks what is there and returns it, or raises ModelFileError with a sentence
    that names the file, the object and the key. What no getter has asked for by the end is refused as well.
    """

    def __init__(self, values: dict[str, Json], where: str, file: OpenFile) -> None:
        self.values, self.where, self.file = values, where, file
        self.read: set[str] = set()
        file.states.append(self)

    def fail(self, sentence: str) -> NoReturn:
        """Refuse the file: `sentence` says what is wrong, without a full stop.

        Raises ModelFileError, always.
        """
        self.file.fail(f"in {self.where}, {sentence}")

    def optional(self, key: str) -> bool:
        """True where `key` is there and is not null; after that, read it as usual."""
        if self.values.get(key) is not None:
            return True
        self.read.add(key)
        return False

    def number(self, key: str, *, low: float | None = None, high: float | None = None) -> float:
        """A finite number, `low` and `high` included."""
        value = self._take(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._expected(key, "a number", value)
        self._range(key, value, low, high)
        return float(value)

    def integer(self, key: str, *, low: int = -_INT64, high: int = _INT64 - 1) -> int:
        """A whole number, `low` and `high` included; 64 bits unless told otherwise."""
        value = self._take(key)
        if isinstance(value, bool) or not isinstance(value, int):
            self._expected(key, "a whole number", value)
        self._range(key, value, low, high)
        return value

    def boolean(self, key: str) -> bool:
        """True or False."""
        value = self._take(key)
        if not isinstance(value, bool):
            self._expected(key, "true or false", value)
        return value

    def text(self, key: str) -> str:
        """A text, possibly empty."""
        value = self._take(key)
        if not isinstance(value, str):
            self._expected(key, "a text", value)
        return value

    def texts(self, key: str) -> list[str]:
        """A list of texts."""
        value = self._list(key)
        for item in value:
            if not isinstance(item, str):
                self._expected(key, "a list of texts", item)
        return cast("list[str]", value)

    def choice(self, key: str, names: Collection[str]) -> str:
        """A text that is one of `names`."""
        value = self.text(key)
        if value not in names:
            self.fail(f"{key!r} is {shown(value)} and must be one of {', '.join(map(repr, sorted(names)))}")
        return value

    def json(self, key: str) -> Any:
        """Any JSON (None, bool, int, finite float, str, list, dict), with no array or object inside.

        Its meaning is not checked: whoever asks for it checks that.
        """
        return self._plain(key, self._take(key))

    def array(
        self,
        key: str,
        *,
        dtype: Types = "float64",
        shape: tuple[int | None, ...] | None = None,
        finite: bool = True,
        low: float | None = None,
        high: float | None = None,
    ) -> Array:
        """An array of its own memory, C-contiguous and writable.

        dtype: the type it must have, or several; shape: the length of each axis, None for any;
        finite: refuse NaN and infinity; low, high: bounds of every element, included (NaN passes them).
        """
        return self._array(key, self._take(key), dtype, shape, finite, low, high)

    def arrays(
        self,
        key: str,
        *,
        dtype: Types = "float64",
        shape: tuple[int | None, ...] | None = None,
        finite: bool = True,
        low: float | None = None,
        high: float | None = None,
    ) -> list[Array]:
        """A list of arrays, each checked as `array` checks one."""
        return [self._array(key, node, dtype, shape, finite, low, high) for node in self._list(key)]

    def object(self, key: str, cls: Wanted[T]) -> T:
        """An object of class `cls` (or of one of several, given as a tuple), itself checked in full."""
        return build(self.file, self._take(key), cls, f"{self.where}.{key}")

    def objects(self, key: str, cls: Wanted[T]) -> list[T]:
        """A list of objects, each as `object` gives one."""
        nodes = enumerate(self._list(key))
        return [build(self.file, node, cls, f"{self.where}.{key}[{index}]") for index, node in nodes]

    def part(self, key: str) -> State:
        """A dict of further values, read by the same getters."""
        return self._part(key, self._take(key), f"{self.where}.{key}")

    def parts(self, key: str) -> list[State]:
        """A list of dicts of further values."""
        nodes = enumerate(self._list(key))
        return [self._part(key, node, f"{self.where}.{key}[{index}]") for index, node in nodes]

    def __iter__(self) -> Iterator[str]:
        """The keys, for parts whose keys are not known beforehand."""
        return iter(self.values)

    def _take(self, key: str) -> Json:
        if key not in self.values:
            self.fail(f"{key!r} is missing")
        self.read.add(key)
        return self.values[key]

    def _list(self, key: str) -> list[Json]:
        value = self._take(key)
        if not isinstance(value, list):
            self._expected(key, "a list", value)
        return value

    def _part(self, key: str, node: Json, where: str) -> State:
        values = as_dict(node)
        if values is None:
            self._expected(key, "a group of values", node)
        return State(values, where, self.file)

    def _expected(self, key: str, wanted: str, value: Json) -> NoReturn:
        self.fail(f"{key!r} must be {wanted}, not {shown(value)}")

    def _range(self, key: str, value: float, low: float | None, high: float | None) -> None:
        if low is not None and value < low:
            self.fail(f"{key!r} is {value!r} and must be at least {low!r}")
        if high is not None and value > high:
            self.fail(f"{key!r} is {value!r} and must be at most {high!r}")

    def _plain(self, key: str, node: Json) -> Any:
        if isinstance(node, list):
            return [self._plain(key, item) for item in node]
        if not isinstance(node, dict):
            return node
        values = as_dict(node)
        if values is None:
            self._expected(key, "plain values", node)
        return {name: self._plain(key, item) for name, item in values.items()}

    def _array(
        self,
        key: str,
        node: Json,
        dtype: Types,
        shape: tuple[int | None, ...] | None,
        finite: bool,
        low: float | None,
        high: float | None,
    ) -> Array:
        array = self._reference(key, node)
        allowed = {np.dtype(item).name for item in (dtype if isinstance(dtype, tuple) else (dtype,))}
        if array.dtype.name not in allowed:
            self.fail(f"{key!r} has type {array.dtype.name} and must have type {' or '.join(sorted(allowed))}")
        if shape is not None and not _fits(array.shape, shape):
            self.fail(f"{key!r} has shape {array.shape} and must have shape {_shape_text(shape)}")
        if finite and array.dtype.kind == "f" and not np.isfinite(array).all():
            self.fail(f"{key!r} holds NaN or infinity")
        if low is not None and bool((array < low).any()):
            self.fail(f"{key!r} holds a value below {low!r}")
        if high is not None and bool((array > high).any()):
            self.fail(f"{key!r} holds a value above {high!r}")
        return array

    def _reference(self, key: str, node: Json) -> Array:
        name = node.get(ARRAY) if isinstance(node, dict) and len(node) == 1 else None
        if not isinstance(name, str) or not _ARRAY_NAME.fullmatch(name):
            self._expected(key, "an array", node)
        if name not in self.file.parts.arrays:
            self.fail(f"{key!r} refers to array {name}, which is not in the file")
        if name in self.file.taken:
            self.fail(f"{key!r} refers to array {name}, which is something else's")
        self.file.taken.add(name)
        return self.file.parts.arrays[name]


def build(file: OpenFile, node: Json, cls: Wanted[T], where: str) -> T:
    """The object that `node` describes: its name looked up in the closed table, class and state checked."""
    if not isinstance(node, dict) or node.keys() != {OBJECT, STATE}:
        file.fail(f"{where or 'the model'} must be an object, not {shown(node)}")
    name, values = node[OBJECT], as_dict(node[STATE])
    if not isinstance(name, str) or name not in CLASSES:
        writer = file.parts.written_by
        file.fail(f"it holds {shown(name)}, which this version does not know (heldout {writer} wrote it)")
    found = resolve(name)
    if not issubclass(found, cls):
        wanted = " or ".join(item.__name__ for item in (cls if isinstance(cls, tuple) else (cls,)))
        file.fail(f"{where or 'the model'} is of class {name} and must be {wanted}")
    if values is None:
        file.fail(f"{where or name} has no state")
    return cast("T", _from_state(cast("Persistable", found), State(values, where or name, file)))


def as_dict(node: Json) -> dict[str, Json] | None:
    """The dict that a node stands for, or None where it stands for an array, an object or no dict at all."""
    if isinstance(node, dict) and node.keys() == {ESCAPED}:
        inner = node[ESCAPED]
        return inner if isinstance(inner, dict) else None
    if not isinstance(node, dict) or any(name.startswith("$") for name in node):
        return None
    return node


def _from_state(cls: Persistable, state: State) -> object:
    try:
        return cls.from_state(state)
    except ModelFileError:
        raise
    except HeldoutError as error:
        raise ModelFileError(f"{state.file.source} is not a valid model file: in {state.where}, {error}") from error
    except Exception as error:  # a hostile file may fit every single check and still not fit together
        reason = f"its values do not fit together ({type(error).__name__}: {error})"
        raise ModelFileError(f"{state.file.source} is not a valid model file: in {state.where}, {reason}.") from error


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(length in (None, size) for size, length in zip(shape, wanted, strict=True))


def _shape_text(shape: tuple[int | None, ...]) -> str:
    lengths = ["any" if length is None else str(length) for length in shape]
    return f"({', '.join(lengths)}{',' if len(lengths) == 1 else ''})"
