"""A study's folder: what lies where, one writer at a time, every file written whole.

STUDY/
  study.json          the record: what the report shows, the options, the seal's fingerprint
  split.parts         the problem, the training and validation rows, the masked test rows: a study goes on
                      without its source
  PART.npy            the images of a part, where rows are images; those of test.npy masked
  models/NAME.model   each fitted learner
  ledger.json         a copy of the study's entries in the ledger
  report.html
"""

from __future__ import annotations

import io
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from heldout.data.images import pixels
from heldout.data.images.pixels import Pixels
from heldout.errors import InputError, WorkError
from heldout.files import write_whole

FORMAT = 1
RECORD, PARTS, LEDGER, REPORT, LOCK = "study.json", "split.parts", "ledger.json", "report.html", ".lock"


class StudyFolder:
    """Paths, reading and writing of one study's folder."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def exists(self) -> bool:
        return (self.path / RECORD).exists()

    def create(self) -> None:
        """Make the folder; one that already holds a study is refused."""
        if self.exists:
            raise InputError(
                f"{self.path} already holds a study; choose another folder (-o), go on with it (heldout fit --resume "
                f"{self.path}), or remove it."
            )
        try:
            (self.path / "models").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkError(f"Could not make the folder {self.path}: {error.strerror}.") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; a second one is refused. The lock ends with the process."""
        try:
            connection = sqlite3.connect(self.path / LOCK, timeout=0, isolation_level=None)
            try:
                connection.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError as error:
                connection.close()
                raise WorkError(
                    f"{self.path} is in use by another heldout process; wait for it or choose another folder (-o)."
                    if "locked" in str(error)
                    else f"Could not lock {self.path}: {error}."
                ) from error
        except sqlite3.OperationalError as error:
            raise WorkError(f"Could not lock {self.path}: {error}.") from error
        try:
            yield
        finally:
            connection.close()

    def write(self, name: str, content: bytes | str) -> Path:
        return write_whole(self.path / name, content)

    def write_pixels(self, name: str, values: Pixels) -> Path:
        """An array as NAME.npy, a few of its images at a time: it may be larger than memory."""
        head = io.BytesIO()
        about = {"descr": values.dtype.str, "fortran_order": False, "shape": values.shape}
        np.lib.format.write_array_header_1_0(head, about)
        blocks = (np.ascontiguousarray(block).data.cast("B") for block in pixels.blocks_of(values))
        return write_whole(self.path / f"{name}.npy", chain([head.getvalue()], blocks))

    def read_pixels(self, name: str, sha256: str) -> Pixels:
        """The array that `write_pixels` wrote, read where it is needed; InputError where it is not that one."""
        path = self.path / f"{name}.npy"
        try:
            values = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"Could not read {path}: {getattr(error, 'strerror', None) or error}.") from error
        if pixels.sha256(values) != sha256:
            raise InputError(f"{path} is damaged: its images are not those that the study was made with.")
        return np.asarray(values)

    def write_json(self, name: str, value: Any) -> Path:
        return self.write(name, json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1))

    def read_record(self) -> dict[str, Any]:
        """study.json, checked to be a study of this format.

        Raises
        ------
        InputError
            There is no study here, it is damaged, or it was written by another version.
        """
        record = self._read_json(RECORD)
        if not isinstance(record, dict) or "format" not in record or "problem" not in record:
            raise InputError(f"{self.path / RECORD} is not a study's record; it is damaged or something else.")
        if record["format"] != FORMAT:
            raise InputError(
                f"{self.path} was written by heldout {record.get('heldout', '?')} in format {record['format']}; this "
                f"version reads format {FORMAT}. Use that version, or run the study again."
            )
        return record

    def read_bytes(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            raise InputError(f"{self.path} lacks {name}; the study's folder is not whole.") from None
        except OSError as error:
            raise InputError(f"Could not read {self.path / name}: {error.strerror}.") from error

    def ledger_entries(self) -> list[Mapping[str, Any]]:
        """The folder's copy of the study's ledger entries; none if there is no copy."""
        if not (self.path / LEDGER).exists():
            return []
        entries = self._read_json(LEDGER)
        return entries if isinstance(entries, list) else []

    def _read_json(self, name: str) -> Any:
        path = self.path / name
        if not self.path.is_dir():
            raise InputError(
                f"{self.path} is not a study's folder; `heldout fit DATA --target Y -o {self.path}` makes one."
            )
        if not path.exists():
            raise InputError(f"{self.path} holds no study ({name} is missing).")
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"Could not read {path}: {error}.") from error
