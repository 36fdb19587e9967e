"""Rows in blocks, and threads over the blocks: the results do not depend on how many threads there are."""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias, TypeVar

import threadpoolctl

Item = TypeVar("Item")
Result = TypeVar("Result")
Map: TypeAlias = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]


@functools.cache
def _controller() -> threadpoolctl.ThreadpoolController:
    return threadpoolctl.ThreadpoolController().select(user_api="blas")


def allowed_threads() -> int:
    """As many threads as BLAS may use here: OPENBLAS_NUM_THREADS, threadpoolctl and joblib's limits are kept."""
    return max((library["num_threads"] for library in _controller().info()), default=1)


class _OneBlasThread:
    """Keeps BLAS to one thread while anyone is inside; the last one out restores what the first one found."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._limiter = contextlib.ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._limiter.enter_context(_controller().limit(limits=1))
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._limiter.close()


# BLAS's own threads slow small products down and change their last bits with the number of cores.
one_blas_thread = _OneBlasThread()


@contextlib.contextmanager
def threads(most: int) -> Iterator[Map]:
    """A `map(work, items)` that gives a list and uses at most `most` threads, each with one BLAS thread."""
    number = min(allowed_threads(), most)
    with one_blas_thread:
        if number <= 1:
            yield lambda work, items: [work(item) for item in items]
            return
        with ThreadPoolExecutor(number) as pool:
            yield lambda work, items: list(pool.map(work, items)) if len(items) != 1 else [work(items[0])]


def in_threads(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """`[work(item) for item in items]`, in as many threads as BLAS was allowed."""
    with threads(len(items)) as map_:
        return map_(work, items)


def in_order(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """The results one after the other, in as many threads as BLAS was allowed; a loop that is left begins no more."""
    number = min(allowed_threads(), len(items))
    with one_blas_thread:
        if number <= 1:
            yield from map(work, items)
            return
        with ThreadPoolExecutor(number) as pool:
            futures = [pool.submit(work, item) for item in items]
            try:
                for future in futures:
                    yield future.result()
            finally:
                for future in futures:
                    future.cancel()


def split_rows(n_rows: int, n_parts: int) -> list[slice]:
    """Cut `n_rows` rows into `n_parts` runs whose lengths differ by one at most.

    >>> split_rows(7, 3)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 7, None)]
    """
    cuts = [n_rows * part // n_parts for part in range(n_parts + 1)]
    return [slice(low, high) for low, high in itertools.pairwise(cuts)]
