"""Rows on their way to the device: all at once, or chunk by chunk while the one before is learned from."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from heldout.memory import physical_memory
from heldout.neural.program import Rows

FILLED = 4096  # rows up to which they are filled up, so that folds of nearly one size share a program
SHARE = 0.25  # of the memory of device and host that rows may fill; weights, gradients and activations need the rest


@dataclass(frozen=True, eq=False)
class Source:
    """Rows on the host, and how many of them go to the device at a time."""

    rows: Rows
    device: Any
    chunk_rows: int
    placed: Rows | None

    @classmethod
    def of(cls, rows: Rows, device: Any, chunk_rows: int | None = None, *, fill: bool = True) -> Source:
        """Rows as they will be used; `chunk_rows` None: all, or as many as fit a quarter of the memory."""
        n = len(rows.w)
        memory = min(memory_of(device), physical_memory())
        most = chunk_rows or max(1, int(SHARE * memory / max(bytes_of_row(rows), 1)))
        if n > most:
            return cls(rows, device, most, None)
        whole = Rows(*(values[:] for values in rows))
        return cls(rows, device, n, jax.device_put(filled(whole) if fill else whole, device))

    def __len__(self) -> int:
        return len(self.rows.w)

    def chunk_sizes(self) -> list[int]:
        """The rows of each chunk: nearly even, so that at most two sizes are compiled for."""
        count = -(-len(self) // self.chunk_rows)
        return [len(part) for part in np.array_split(np.empty(len(self), dtype=np.int8), count)]

    def chunks(self, seed: int | None, epoch: int = 0) -> Iterator[tuple[Rows, int]]:
        """The chunks on the device, and how many of their rows count.

        Rows are drawn anew for each epoch; they come in their order where `seed` is None.
        """
        if self.placed is not None:
            yield self.placed, len(self)
            return
        order = np.arange(len(self)) if seed is None else np.random.default_rng((seed, epoch)).permutation(len(self))
        parts = np.split(order, np.cumsum(self.chunk_sizes())[:-1])
        with ThreadPoolExecutor(1) as loader:
            ready = loader.submit(self._read, parts[0])
            for following in [*parts[1:], None]:
                chunk = ready.result()
                if following is not None:
                    ready = loader.submit(self._read, following)
                yield jax.device_put(chunk, self.device), len(chunk.w)

    def _read(self, part: np.ndarray[Any, np.dtype[np.intp]]) -> Rows:
        at = np.sort(part)  # files are read in their order; a chunk is shuffled on the device
        return Rows(*(np.asarray(values[at]) for values in self.rows))


@dataclass(frozen=True, eq=False)
class Chosen:
    """Some rows of a large array, read when they are asked for: a copy of them would not fit into memory."""

    values: Any
    places: np.ndarray[Any, np.dtype[np.intp]]

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.places), *self.values.shape[1:])

    @property
    def dtype(self) -> Any:
        return self.values.dtype

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, at: Any) -> Any:
        return self.values[self.places[at]]


def chosen(values: Any, mask: np.ndarray[Any, np.dtype[np.bool_]]) -> Any:
    """The rows of the mask: a copy, or where the array takes a quarter of the memory and more, `Chosen`."""
    large = values.nbytes > SHARE * physical_memory()
    return Chosen(values, np.flatnonzero(mask)) if large else values[mask]


def filled(rows: Rows) -> Rows:
    """Few rows with rows of weight 0 behind them, to one of four lengths between a power of two and the next."""
    n = len(rows.w)
    if n > FILLED:
        return rows
    grain = max(8, 2 ** (n.bit_length() - 3))
    more = -n % grain
    return Rows(*(np.concatenate([values, np.zeros((more, *values.shape[1:]), values.dtype)]) for values in rows))


def bytes_of_row(rows: Rows) -> int:
    """Bytes of one row's inputs, targets and weight."""
    return sum(values.dtype.itemsize * int(np.prod(values.shape[1:])) for values in rows)


def memory_of(device: Any) -> int:
    """Bytes of the device's memory."""
    known = device.memory_stats() if device.platform != "cpu" else None
    if known and "bytes_limit" in known:
        return int(known["bytes_limit"])
    return physical_memory()
