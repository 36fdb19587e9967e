"""Model files: values go in and come back, and everything that is refused, each for its own reason."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from heldout import persist
from heldout.errors import HeldoutError, InputError, ModelFileError, WorkError
from heldout.persist import CLASSES, State, envelope

PREFIX = envelope.PREFIX

# Taking files apart and putting them together, with a hash that is right ------------------------------------


def split_file(data: bytes) -> tuple[bytes, bytes]:
    length = PREFIX.unpack_from(data)[3]
    return data[PREFIX.size : PREFIX.size + length], data[PREFIX.size + length :]


def join_file(header: bytes, tensors: bytes, file_format: int = 1, magic: bytes = envelope.MAGIC) -> bytes:
    unsigned = PREFIX.pack(magic, file_format, bytes(32), len(header))
    digest = hashlib.sha256(unsigned[:12] + unsigned[44:] + header + tensors).digest()
    return PREFIX.pack(magic, file_format, digest, len(header)) + header + tensors


def take_apart(data: bytes) -> tuple[Any, dict[str, Any]]:
    header, tensors = split_file(data)
    return json.loads(header), safetensors.numpy.load(tensors)


def put_together(tree: Any, arrays: dict[str, Any]) -> bytes:
    return join_file(json.dumps(tree).encode(), safetensors.numpy.save(arrays))


def refused(data: bytes, words: str) -> None:
    with pytest.raises(ModelFileError, match=words) as caught:
        persist.loads(data, source="my.model")
    assert str(caught.value).startswith("my.model ")
    assert "\n" not in str(caught.value)


# A class of our own for the getters -------------------------------------------------------------------------


class Box:
    """Holds what it is given, and reads it back the way `reader` says."""

    reader: Callable[[State], Any] = staticmethod(lambda state: state.json("value"))

    def __init__(self, value: Any) -> None:
        self.value = value

    def to_state(self) -> dict[str, Any]:
        return {"value": self.value}

    @classmethod
    def from_state(cls, state: State) -> Box:
        return cls(cls.reader(state))


class Crate(Box):
    pass


@pytest.fixture(autouse=True)
def boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CLASSES, "Box", f"{__name__}:Box")


def box_of(reader: Callable[[State], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Box, "reader", staticmethod(reader))


VALUES = [
    None,
    True,
    -3,
    2**63,
    1.5,
    "text with \u00e9, \U0001f600 and \x00",
    "",
    [1, [2, [3]]],
    {"a": {"b": []}, "": 1},
    {"$array": "0"},
    {"$object": "Model", "state": {"$dict": {}}},
    {"$dict": 5},
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_json_comes_back_as_it_was(value: Any) -> None:
    data = persist.dumps(Box(value))
    assert persist.loads(data).value == value
    assert persist.dumps(persist.loads(data)) == data


def test_tuples_and_numpy_scalars_become_plain() -> None:
    value = (np.float64(1.5), np.int8(3), np.bool_(True), np.str_("x"))
    loaded = persist.loads(persist.dumps(Box(value))).value
    assert loaded == [1.5, 3, True, "x"]
    assert [type(item) for item in loaded] == [float, int, bool, str]


@pytest.mark.parametrize("dtype", envelope.DTYPES.values())
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (0, 4), (2, 1, 3)])
def test_arrays_come_back_as_they_were(dtype: str, shape: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    box_of(lambda state: state.array("value", dtype=dtype, shape=shape), monkeypatch)
    array = np.array(np.random.default_rng(0).integers(0, 2, shape)).astype(dtype)
    for stored in (array, array.copy(order="F"), array.astype(array.dtype.newbyteorder(">")), array.T.copy().T):
        loaded = persist.loads(persist.dumps(Box(stored))).value
        assert (loaded.dtype, loaded.shape) == (array.dtype, array.shape)
        assert np.array_equal(loaded, array)
        assert loaded.flags.c_contiguous
        assert loaded.flags.writeable


def test_objects_lie_in_lists_and_dicts(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(state: State) -> Any:
        if not state.optional("value"):
            return None
        part = state.part("value")
        return {
            "one": part.object("one", Box),
            "many": part.objects("many", (Box, Crate)),
            "arrays": part.arrays("arrays", dtype=("int64", float)),
            "parts": [{key: item.integer(key) for key in item} for item in part.parts("parts")],
            "texts": part.texts("texts"),
        }

    box_of(read, monkeypatch)
    value = {
        "one": Box(None),
        "many": [Box(None), Box(None)],
        "arrays": [np.arange(3), np.ones(2)],
        "parts": [{"a": 1, "$b": 2}, {}],
        "texts": ["x", "y"],
    }
    loaded = persist.loads(persist.dumps(Box(value))).value
    assert (type(loaded["one"]), len(loaded["many"])) == (Box, 2)
    assert [array.tolist() for array in loaded["arrays"]] == [[0, 1, 2], [1.0, 1.0]]
    assert (loaded["parts"], loaded["texts"]) == (value["parts"], value["texts"])


ARRAY = np.array([[1.0, 2.0, 3.0]])


@pytest.mark.parametrize(
    ("value", "reader", "words"),
    [
        ("1", lambda s: s.number("value"), "in Box, 'value' must be a number, not '1'"),
        (True, lambda s: s.number("value"), "must be a number, not True"),
        (2, lambda s: s.number("value", high=1.5), "'value' is 2 and must be at most 1.5"),
        (-1, lambda s: s.number("value", low=0), "'value' is -1 and must be at least 0"),
        (1.0, lambda s: s.integer("value"), "must be a whole number"),
        (False, lambda s: s.integer("value"), "must be a whole number"),
        (2**63, lambda s: s.integer("value"), "at most 9223372036854775807"),
        (5, lambda s: s.integer("value", high=4), "at most 4"),
        (1, lambda s: s.boolean("value"), "must be true or false"),
        (1, lambda s: s.text("value"), "must be a text"),
        ("ab", lambda s: s.texts("value"), "must be a list"),
        (["a", 1], lambda s: s.texts("value"), "must be a list of texts"),
        ("c", lambda s: s.choice("value", ["b", "a"]), "'value' is 'c' and must be one of 'a', 'b'"),
        (1, lambda s: s.number("other"), "'other' is missing"),
        (1, lambda s: None, "'value' is not something that belongs there"),
        (ARRAY, lambda s: s.json("value"), "must be plain values"),
        ([{"a": ARRAY}], lambda s: s.json("value"), "must be plain values"),
        (1.5, lambda s: s.array("value"), "must be an array"),
        (ARRAY, lambda s: s.array("value", dtype="int64"), "has type float64 and must have type int64"),
        (ARRAY, lambda s: s.array("value", dtype=("int8", "bool")), "must have type bool or int8"),
        (ARRAY, lambda s: s.array("value", shape=(None, 2)), r"shape \(1, 3\) and must have shape \(any, 2\)"),
        (ARRAY, lambda s: s.array("value", shape=(3,)), r"must have shape \(3,\)"),
        (ARRAY, lambda s: s.array("value", low=1.5), "holds a value below 1.5"),
        (ARRAY, lambda s: s.array("value", high=2), "holds a value above 2"),
        (ARRAY * np.nan, lambda s: s.array("value"), "holds NaN or infinity"),
        (ARRAY / [[1, 1, np.inf]] - np.inf, lambda s: s.array("value"), "holds NaN or infinity"),
        (np.array([2**64 - 1], np.uint64), lambda s: s.array("value", dtype="uint64", high=9), "above 9"),
        (np.array([-1]), lambda s: s.array("value", dtype="int64", low=0), "below 0"),
        ([ARRAY, 1], lambda s: s.arrays("value"), "must be an array, not 1"),
        (Box(1), lambda s: s.object("value", Crate), "Box.value is of class Box and must be Crate"),
        ([Box(1)], lambda s: s.objects("value", (Crate, int)), r"Box.value\[0\] is of class Box and must be Crate or"),
        ({}, lambda s: s.object("value", Box), "must be an object"),
        (Box(1), lambda s: s.part("value"), "must be a group of values"),
        ([1], lambda s: s.parts("value"), "must be a group of values, not 1"),
        ({"a": 1}, lambda s: s.part("value").text("a"), "in Box.value, 'a' must be a text"),
        ({"a": 1}, lambda s: s.part("value"), "in Box.value, 'a' is not something that belongs there"),
        (1, lambda s: s.fail("it is blue"), "in Box, it is blue"),
        (1, lambda s: [][s.integer("value")], "do not fit together .IndexError"),
        (1, lambda s: (_ for _ in ()).throw(InputError("Too blue.")), "in Box, Too blue."),
    ],
)  # fmt: skip
def test_getters_refuse(value: Any, reader: Any, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if isinstance(value, Box | list):
        monkeypatch.setattr(Box, "from_state", classmethod(lambda cls, s: cls(reader(s) if s.where == "Box" else 1)))
    box_of(reader, monkeypatch)
    refused(persist.dumps(Box(value)), words)


def test_nan_may_be_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    box_of(lambda state: state.array("value", finite=False, low=0, high=3), monkeypatch)
    array = np.array([0.0, np.nan, 3.0])
    assert np.array_equal(persist.loads(persist.dumps(Box(array))).value, array, equal_nan=True)


def test_optional_tells_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    box_of(
        lambda state: (seen.append([state.optional(k) for k in ("value", "none")]), state.json("value")), monkeypatch
    )
    persist.loads(persist.dumps(Box(0)))
    assert seen == [[True, False]]
    box_of(lambda state: seen.append(state.optional("value")), monkeypatch)
    persist.loads(persist.dumps(Box(None)))
    assert seen[1] is False


# What cannot be stored ---------------------------------------------------------------------------------------


def deep(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (float("nan"), WorkError, "Box state 'value' cannot be stored: nan is not a finite number"),
        ([1, {"a": float("inf")}], WorkError, r"'value'\[1\] 'a' cannot be stored"),
        (2**64, WorkError, "does not fit into 64 bits"),
        ({1: 2}, WorkError, "its key 1 is not a text"),
        ("\ud800", WorkError, "not plain JSON"),
        (np.array(["a"]), WorkError, "has type <U1"),
        (np.array([None]), WorkError, "has type object"),
        (np.ones(2, complex), WorkError, "has type complex128"),
        (np.ones(2, np.float16), WorkError, "has type float16"),
        (np.zeros((0, 2**30)), WorkError, "claims a huge shape"),
        (np.ones((1,) * 9), WorkError, "9 axes"),
        (deep(100), WorkError, "more than 64 levels deep"),
        ("x" * (16 * 2**20), WorkError, "its description takes"),
        ({1, 2}, InputError, "A set cannot be stored"),
        (Crate(1), InputError, "A Crate cannot be stored"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_cannot_be_stored_is_said(value: Any, error: type[HeldoutError], words: str) -> None:
    with pytest.raises(error, match=words):
        persist.dumps(Box(value))


def test_what_can_just_be_stored_can_be_loaded() -> None:
    """The limits for writing are those for reading."""
    for levels in range(50, 70):
        try:
            data = persist.dumps(Box(deep(levels)))
        except WorkError:
            break
        assert persist.loads(data).value == deep(levels)
    assert levels > 55
    assert persist.loads(persist.dumps(Box("x" * (16 * 2**20 - 200)))).value


def test_a_foreign_estimator_is_told_what_to_do() -> None:
    from sklearn.linear_model import Ridge

    with pytest.raises(InputError, match=r"The learner Ridge .* keep it in Python, or store it yourself with skops"):
        persist.dumps(Ridge())
    with pytest.raises(InputError, match="The learner Ridge"):
        persist.dumps(Box([Ridge()]))


def test_a_class_that_only_bears_the_name_of_ours_is_foreign() -> None:
    impostor = type("Box", (), {"__module__": __name__, "__qualname__": "Box", "to_state": lambda self: {}})
    with pytest.raises(InputError, match="A Box cannot be stored"):
        persist.dumps(impostor())


def test_a_circle_ends() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(WorkError, match="levels deep"):
        persist.dumps(Box(circle))


# Files that are refused, each for its own reason --------------------------------------------------------------


def test_the_layout_is_what_the_documentation_says(monkeypatch: pytest.MonkeyPatch) -> None:
    box_of(lambda state: state.array("value", dtype="int64"), monkeypatch)
    data = persist.dumps(Box(np.arange(2)))
    magic, version, digest, length = struct.unpack("<8sI32sQ", data[:52])
    assert (magic, version) == (b"HELDOUT\n", 1)
    assert digest == hashlib.sha256(data[:12] + data[44:]).digest()
    tree = json.loads(data[52 : 52 + length])
    assert tree["object"] == {"$object": "Box", "state": {"value": {"$array": "0"}}}
    assert safetensors.numpy.load(data[52 + length :])["0"].tolist() == [0, 1]


@functools.cache
def small() -> bytes:
    return persist.dumps(Box({"a": [1.5]}))


def with_tree(text: str, tensors: bytes | None = None) -> bytes:
    return join_file(text.encode("utf-8", "surrogatepass"), tensors or split_file(small())[1])


def boxed(text: str) -> bytes:
    return with_tree(f'{{"heldout":"9.9","object":{{"$object":"Box","state":{{"value":{text}}}}}}}')


def test_damage_is_found_by_the_hash() -> None:
    data = small()
    for position in range(12, len(data)):
        if not 44 <= position < PREFIX.size:
            refused(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :], "damaged: its contents")
    refused(data + b"\0", "damaged")
    refused(data[:-1], "damaged")
    refused(data[: PREFIX.size + 10], "is cut short")
    refused(data[:20], "is cut short: it has 20 bytes")
    refused(b"", "is not a heldout model file")
    refused(b"PK\x03\x04" + data, "is not a heldout model file")
    refused(pickle.dumps([1]), "is not a heldout model file")


def test_another_version_says_who_wrote_it_and_what_to_do() -> None:
    header, tensors = split_file(small())
    future = header.replace(json.loads(header)["heldout"].encode(), b"7.1.0")
    words = r"was written by heldout 7.1.0 in file format 2, and this heldout \(.*\) reads format 1; use the version"
    refused(join_file(future, b"whatever", file_format=2), words)
    refused(join_file(b"who knows", tensors, file_format=2), "was written in file format 2")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("NaN", "holds NaN"),
        ("-Infinity", "holds -Infinity"),
        ("1e999", "too large for a float"),
        ("18446744073709551616", "more than 64 bits"),
        ("-9223372036854775809", "more than 64 bits"),
        ("9" * 5000, "more than 64 bits"),
        ('{"a":1,"a":1}', "same key twice"),
        ('"\\ud800"', "not valid Unicode"),
        ('{"\\udfff":1}', "not valid Unicode"),
        ("[" * 70 + "]" * 70, "nested more than 64"),
        ("[" * 100_000 + "]" * 100_000, "nested more than 64"),
        ('{"a":' * 70 + "1" + "}" * 70, "nested more than 64"),
        ("[1", "is not JSON"),
        ("1 1", "is not JSON"),
        ("", "is not JSON"),
        ('{"$array":"0"}', "plain values"),
        ('{"$dict":1}', "plain values"),
        ('{"$other":1}', "plain values"),
        ('{"$dict":{},"a":1}', "plain values"),
    ],
    ids=lambda text: text[:20],
)
def test_json_that_is_refused(text: str, words: str) -> None:
    refused(boxed(text), words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "names no writer"),
        ('{"heldout":"1.0"}', "names no writer or no object"),
        ('{"heldout":"","object":1}', "what wrote it"),
        ('{"heldout":"1\\n","object":1}', "what wrote it"),
        ('{"heldout":"1.0","object":1,"more":1}', "what wrote it"),
        ('{"heldout":"1.0","object":1}', "the model must be an object, not 1"),
        ('{"heldout":"1.0","object":{"$object":"Box"}}', "must be an object"),
        ('{"heldout":"1.0","object":{"$object":"Box","state":[]}}', "Box has no state"),
        ('{"heldout":"1.0","object":{"$object":["Box"],"state":{}}}', "does not know"),
        ('{"heldout":"1.0","object":{"$object":"os:system","state":{}}}', r"'os:system', which .* \(heldout 1.0 wrote"),
        ('{"heldout":"1.0","object":{"$object":"Box","state":{"$object":"Box","state":{}}}}', "Box has no state"),
        ('{"heldout":"1.0","object":{"$object":"Box","state":{"value":1}},"object":1}', "same key twice"),
    ],
    ids=range(12),
)
def test_descriptions_that_are_refused(text: str, words: str) -> None:
    refused(with_tree(text), words)


def test_text_that_is_not_utf8_is_refused() -> None:
    refused(join_file(b'{"heldout":"\xff"}', b""), "not valid Unicode")


def tensor_file(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype: str, shape: Any, end: int, begin: int = 0) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


TWICE = b'{"0":{"dtype":"F64","shape":[1],"data_offsets":[0,8]},"0":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}'


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        (b"", "cut short"),
        (struct.pack("<Q", 2**63) + b"{}", "claims 9,223,372,036,854,775,808 bytes"),
        (tensor_file(b"{"), "is not JSON"),
        (tensor_file([]), "is not a JSON object"),
        (tensor_file(TWICE, bytes(8)), "same key twice"),
        (tensor_file({"__metadata__": {"a": "b"}}), "'__metadata__' of a type that model files do not use"),
        (tensor_file({"0": entry("BF16", [1], 2)}, bytes(2)), "of a type that model files do not use"),
        (tensor_file({"0": entry("F16", [1], 2)}, bytes(2)), "of a type that model files do not use"),
        (tensor_file({"0": entry(["F64"], [1], 8)}, bytes(8)), "of a type that model files do not use"),
        (tensor_file({"0": [1]}, bytes(8)), "of a type that model files do not use"),
        (tensor_file({"0": entry("F64", "1", 8)}, bytes(8)), "not a list of sizes"),
        (tensor_file({"0": entry("F64", [True], 8)}, bytes(8)), "not a list of sizes"),
        (tensor_file({"0": entry("F64", [-1], 8)}, bytes(8)), "not a list of sizes"),
        (tensor_file({"0": entry("F64", [2], 8)}, bytes(8)), "does not fit the bytes"),
        (tensor_file({"0": entry("F64", [2**62, 2**62], 8)}, bytes(8)), "does not fit the bytes"),
        (tensor_file({"0": entry("F64", [1], 8)}, bytes(9)), "does not fit the bytes"),
        (tensor_file({"0": entry("F64", [1], 8), "1": entry("F64", [1], 8)}, bytes(8)), "does not fit the bytes"),
        (tensor_file({"0": entry("F64", [0, 2**40], 0)}), "claims a huge shape"),
        (tensor_file({"0": entry("F64", [1] * 9, 8)}, bytes(8)), "9 axes"),
        (tensor_file({"0": entry("BOOL", [2], 2)}, b"\1\2"), "neither 0 nor 1"),
        (tensor_file({"x": entry("F64", [1], 8)}, bytes(8)), "array 'x' belongs to nothing"),
        (tensor_file({}) + b"\0", "does not fit the bytes"),
    ],
    ids=range(22),
)
def test_arrays_that_are_refused(tensors: bytes, words: str) -> None:
    refused(join_file(split_file(small())[0], tensors), words)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ({"$array": "1"}, "refers to array 1, which is not in the file"),
        ({"$array": 0}, "must be an array"),
        ({"$array": "00"}, "must be an array"),
        ({"$array": "0", "more": 1}, "must be an array"),
        ([{"$array": "0"}] * 2, "refers to array 0, which is something else's"),
    ],
    ids=range(5),
)
def test_references_that_are_refused(reference: Any, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    several = isinstance(reference, list)
    box_of(lambda state: state.arrays("value") if several else state.array("value"), monkeypatch)
    tree, arrays = take_apart(persist.dumps(Box(np.ones(2))))
    tree["object"]["state"]["value"] = reference
    refused(put_together(tree, arrays), words)


def test_the_expected_class_is_asked_for_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Box, "from_state", classmethod(lambda cls, state: pytest.fail("built")))
    with pytest.raises(ModelFileError, match="the model is of class Box and must be Crate"):
        persist.loads(small(), expected=Crate)


def test_sizes_are_checked_before_anything_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large.model"
    with path.open("wb") as file:
        file.write(b"not a model")
        file.truncate(2**40)  # a terabyte of nothing
    with pytest.raises(ModelFileError, match="not a heldout model file"):
        persist.load(path)
    claim = PREFIX.pack(envelope.MAGIC, 1, bytes(32), 2**60)
    refused(claim, "claims 1,152,921,504,606,846,976 bytes")
    refused(PREFIX.pack(envelope.MAGIC, 1, bytes(32), 2**20), "needs 1,048,576 bytes and 0 are left")


def test_files_on_disk(tmp_path: Path) -> None:
    path = persist.save(Box([1]), tmp_path / "a.model")
    assert persist.load(path).value == [1]
    assert persist.load(str(path), expected=Box).value == [1]
    assert path.read_bytes() == persist.dumps(Box([1]))
    for wrong, words in [(tmp_path, "it is not a file"), (tmp_path / "none", "No such file")]:
        with pytest.raises(ModelFileError, match=words):
            persist.load(wrong)
    with pytest.raises(WorkError):
        persist.save(Box(1), tmp_path / "no" / "folder")
    with pytest.raises(InputError):
        persist.save(object(), path)
    assert persist.load(path).value == [1]
    path.write_bytes(b"x")
    with pytest.raises(ModelFileError, match=r"a\.model is not a heldout model file"):
        persist.load(path)


def test_an_unreadable_file(tmp_path: Path) -> None:
    if not hasattr(os, "geteuid") or os.geteuid() == 0:
        pytest.skip("this user may read everything")
    path = persist.save(Box(1), tmp_path / "a.model")
    path.chmod(0)
    with pytest.raises(ModelFileError, match="Permission denied"):
        persist.load(path)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelFileError, match="it is not a file"):
        persist.load(tmp_path / "pipe")
