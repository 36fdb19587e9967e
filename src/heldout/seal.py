"""The parts of a split, and the seal: an object that stands for the test rows and gives nothing away."""

from __future__ import annotations

import hashlib
import io
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NoReturn, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from heldout.data.images.pixels import Pixels, masked
from heldout.data.series import as_hashes
from heldout.data.table import Source, Table, columns_from_schema
from heldout.errors import SealError
from heldout.ledger import Fingerprint, fingerprint
from heldout.persist import State

Ints = NDArray[np.int64]
PARTS = ("train", "validation", "test")
KEY = 32  # bytes at the beginning of masked rows that the mask is made of


@dataclass(frozen=True, repr=False)
class Part:
    """The rows of one part, with the unit that each row belongs to (rows of a unit depend on each other)."""

    name: str
    table: Table
    units: Ints

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        return f"Part({self.name!r}, {len(self):,} rows)"

    def fingerprint(self, target: str) -> Fingerprint:
        """By what the ledger knows these rows."""
        table = self.table
        told = table if table.image is None else table.select([table.image.name, target])  # files may be renamed
        return fingerprint(cast("Any", as_hashes(told.frame).to_dict()), target)

    def with_pixels(self, pixels: Pixels) -> Part:
        """The same rows with these images."""
        return replace(self, table=replace(self.table, pixels=pixels))

    def to_state(self) -> dict[str, Any]:
        """The rows without their images, which a study's folder keeps in files of their own."""
        buffer = io.BytesIO()
        self.table.frame.write_ipc(buffer, compression="zstd")
        return {
            "name": self.name,
            "columns": self.table.schema(),
            "source": self.table.source.name,
            "frame": np.frombuffer(buffer.getvalue(), np.uint8),
            "units": self.units,
        }

    @classmethod
    def from_state(cls, state: State) -> Part:
        columns = columns_from_schema(state.json("columns"), state)
        try:
            frame = pl.read_ipc(io.BytesIO(state.array("frame", dtype="uint8", shape=(None,)).tobytes()))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # Polars has many kinds for damaged bytes, a panic of its own among them
            state.fail(f"its rows cannot be read ({type(error).__name__})")
        if frame.columns != [column.name for column in columns]:
            state.fail("its rows do not have the columns that it names")
        table = Table(frame, columns, Source(state.text("source"), None, None))
        units = state.array("units", dtype="int64", shape=(len(table),), low=0)
        return cls(state.choice("name", PARTS), table, units)


class SealedTest:
    """The test part, sealed: only its number of rows and its fingerprint can be seen.

    Every other way in (attributes, iteration, indexing, conversion to an array or a frame, copying, pickling)
    raises SealError. `heldout.final` opens it, once, and leaves a record in the ledger. The rows are masked in
    memory and on disk so that nobody reads one by accident; this is no secret from someone who means to look.
    """

    __slots__ = ("_box", "_pixels", "fingerprint", "n_rows")

    n_rows: int
    fingerprint: Fingerprint

    def __init__(self, box: bytes, n_rows: int, mark: Fingerprint, masked: Pixels | None = None) -> None:
        set_once = super().__setattr__
        set_once("_box", box)
        set_once("_pixels", masked)
        set_once("n_rows", n_rows)
        set_once("fingerprint", mark)

    @classmethod
    def seal(cls, part: Part, target: str) -> SealedTest:
        """Seal these rows. Nothing else may keep them."""
        from heldout import persist

        table, mark = part.table, part.fingerprint(target)
        box = _mask(persist.dumps(part))
        return cls(box, len(part), mark, None if table.pixels is None else masked(table.pixels, box[:KEY]))

    def to_bytes(self) -> bytes:
        """The masked rows, for the study's folder."""
        return self._box

    def to_pixels(self) -> Pixels | None:
        """The masked images, (n, bytes), for the study's folder; None where the rows have none."""
        return self._pixels

    def __repr__(self) -> str:
        return f"SealedTest({self.n_rows:,} rows, sealed, fingerprint {self.fingerprint.rows[:12]}…)"

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise SealError(
            "The test set is sealed: it gives no row, label or statistic. study.open_test() opens it, once, and "
            "the ledger keeps the record."
        )

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):  # Python's and the notebooks' own questions get the answer of any object
            raise AttributeError(name)
        self._refuse()

    def __iter__(self) -> Iterator[NoReturn]:
        self._refuse()

    __len__ = __getitem__ = __contains__ = __reversed__ = __array__ = __dataframe__ = _refuse
    __arrow_c_stream__ = __copy__ = __deepcopy__ = __reduce_ex__ = __reduce__ = __getstate__ = _refuse
    __setattr__ = __delattr__ = __eq__ = __lt__ = __bytes__ = __buffer__ = __float__ = __int__ = _refuse
    __hash__ = object.__hash__


def unmask(sealed: SealedTest) -> Part:
    """The rows behind the seal. Only `heldout.final` calls this, after the ledger has recorded the opening."""
    from heldout import persist

    box = sealed.to_bytes()
    part = persist.loads(_unmask(box), source="the sealed test set")
    if not isinstance(part, Part):
        raise SealError("The sealed test set does not hold rows; the study's folder is damaged.")
    covered, column = sealed.to_pixels(), part.table.image
    if covered is None or column is None:
        return part
    flat = masked(covered, box[:KEY])
    pixels = flat.view(column.parse["dtype"]).reshape(len(flat), *column.parse["shape"])
    return part.with_pixels(pixels)


def _mask(data: bytes) -> bytes:
    key = secrets.token_bytes(KEY)
    return key + _xor(data, key)


def _unmask(box: bytes) -> bytes:
    return _xor(box[KEY:], box[:KEY])


def _xor(data: bytes, key: bytes) -> bytes:
    stream = hashlib.shake_256(key).digest(len(data))
    return (np.frombuffer(data, np.uint8) ^ np.frombuffer(stream, np.uint8)).tobytes()
