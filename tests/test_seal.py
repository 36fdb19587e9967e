"""The seal: more than twenty ways to reach a sealed row, none of which succeeds."""

from __future__ import annotations

import copy
import dataclasses
import gc
import inspect
import json
import pickle
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone

from heldout import Study, persist
from heldout.data.read import read
from heldout.diagnosis import Evidence, findings
from heldout.errors import HeldoutError, SealError
from heldout.problem import Problem
from heldout.seal import SealedTest, unmask
from heldout.split import Split, train_validation_test_split

ROWS = 120


def rows() -> dict[str, list[Any]]:
    """Each row carries a word of its own, so that any trace of a sealed row can be recognised."""
    rng = np.random.default_rng(0)
    return {
        "word": [f"canary{i:03d} sings well today" for i in range(ROWS)],
        "x": rng.normal(size=ROWS).tolist(),
        "y": (rng.normal(size=ROWS) * 1000).round(3).tolist(),
    }


@pytest.fixture(scope="module")
def made() -> tuple[Split, set[str]]:
    table = read(rows())
    found = train_validation_test_split(table, Problem.state(table, "y"))
    seen = {text.split()[0] for part in (found.train, found.validation) for text in part.table.frame["word"].to_list()}
    return found, {f"canary{i:03d}" for i in range(ROWS)} - seen


@pytest.fixture(scope="module")
def sealed(made: tuple[Split, set[str]]) -> SealedTest:
    return made[0].sealed


def members(sealed: SealedTest) -> list[Any]:
    found = []
    for name in {*dir(sealed), *dir(type(sealed)), "rows", "frame", "table", "y", "data", "values", "shape", "units"}:
        try:
            value = getattr(sealed, name)
            found += [name, value, value() if callable(value) and not isinstance(value, type) else None]
        except Exception as error:
            found.append("".join(traceback.format_exception(error)))
    return found


def subclassed(sealed: SealedTest) -> Any:
    class Open(SealedTest):
        def rows(self) -> Any:
            return self._box

    return Open.rows(sealed)  # type: ignore[arg-type]


def patched(sealed: SealedTest) -> Any:
    sealed.fingerprint = None  # type: ignore[assignment]
    return sealed


WAYS: dict[str, Callable[[SealedTest], Any]] = {
    "repr": repr,
    "str": str,
    "format": lambda s: f"{s:>400}" if False else format(s, ""),
    "vars": vars,
    "every name of dir()": members,
    "inspect": lambda s: inspect.getmembers(s),
    "iteration": lambda s: list(s),  # type: ignore[call-overload]
    "unpacking": lambda s: [*s],
    "length": len,  # type: ignore[dict-item]
    "index": lambda s: s[0],
    "slice": lambda s: s[:5],
    "column": lambda s: s["y"],
    "membership": lambda s: "canary001" in s,
    "reversed": lambda s: list(reversed(s)),  # type: ignore[call-overload]
    "numpy": lambda s: np.asarray(s).tolist(),
    "numpy float": lambda s: np.asarray(s, dtype=float),
    "pandas": lambda s: pd.DataFrame(s).to_string(),
    "polars": lambda s: str(pl.DataFrame(s).rows()),  # type: ignore[arg-type]
    "dataframe protocol": lambda s: s.__dataframe__(),
    "arrow protocol": lambda s: s.__arrow_c_stream__(),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": pickle.dumps,
    "reduce": lambda s: s.__reduce_ex__(4),
    "getstate": lambda s: s.__getstate__(),  # type: ignore[attr-defined]
    "json": lambda s: json.dumps(s, default=vars),
    "bytes": bytes,  # type: ignore[dict-item]
    "float": float,  # type: ignore[dict-item]
    "equality": lambda s: s == s,
    "order": lambda s: sorted([s, s]),  # type: ignore[type-var]
    "clone": lambda s: clone(s),
    "fields": lambda s: dataclasses.asdict(s),  # type: ignore[call-overload]
    "subclass": subclassed,
    "assignment": patched,
    "deletion": lambda s: delattr(s, "fingerprint"),
    "diagnosis": lambda s: findings(Evidence(problem=s, learners=())),  # type: ignore[arg-type]
    "reading it as a table": lambda s: read(s),
    "storing it": lambda s: persist.dumps(s),
}


def text_of(value: Any) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("latin-1")
    if isinstance(value, pl.DataFrame | pl.Series):
        return str(value.to_dict(as_series=False) if isinstance(value, pl.DataFrame) else value.to_list())
    if isinstance(value, np.ndarray):
        return f"{value.tolist()} {value.tobytes().decode('latin-1')}"
    if isinstance(value, list | tuple | set):
        return " ".join(text_of(item) for item in value)
    return repr(value)


@pytest.mark.parametrize("way", WAYS)
def test_no_way_leads_to_a_sealed_row(way: str, sealed: SealedTest, made: tuple[Split, set[str]]) -> None:
    try:
        got = text_of(WAYS[way](sealed))
    except Exception as error:
        got = "".join(traceback.format_exception(error))
        assert isinstance(error, HeldoutError | TypeError | AttributeError | ValueError), error
    assert not [word for word in made[1] if word in got]
    assert repr(sealed).startswith("SealedTest(24 rows, sealed")


def reachable(start: Any) -> Iterator[Any]:
    """Every object that the garbage collector can walk to, short of modules and classes."""
    queue, seen = [start], set()
    while queue:
        item = queue.pop()
        if id(item) in seen or isinstance(item, ModuleType | type) or inspect.isroutine(item):
            continue
        seen.add(id(item))
        yield item
        queue += gc.get_referents(item)


def test_nothing_that_a_study_holds_shows_a_sealed_row(tmp_path: Path) -> None:
    study = Study(pl.DataFrame(rows()), "y", folder=tmp_path / "study").fit()
    parts = study.split
    shown = {w.split()[0] for p in (parts.train, parts.validation) for w in p.table.frame["word"].to_list()}
    hidden = {f"canary{i:03d}" for i in range(ROWS)} - shown
    assert len(hidden) == 24
    walked = 0
    for item in reachable(study):
        if isinstance(item, str | bytes | pl.DataFrame | np.ndarray):
            walked += 1
            text = item if isinstance(item, str) else text_of(item)
            assert not [word for word in hidden if word in text]
    assert walked > 100
    study.report()
    for path in (tmp_path / "study").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [word for word in hidden if word.encode() in content], path


def test_the_walk_would_find_a_row(made: tuple[Split, set[str]]) -> None:
    word = next(iter(made[1]))
    frame = unmask(made[0].sealed).table.frame
    found = [item for item in reachable({"a": [frame]}) if isinstance(item, pl.DataFrame) and word in text_of(item)]
    assert found


def test_the_message_says_how_to_open_it(sealed: SealedTest) -> None:
    with pytest.raises(SealError, match=r"study\.open_test\(\) opens it, once"):
        sealed.rows  # noqa: B018


def test_what_is_sealed_is_what_was_split(made: tuple[Split, set[str]]) -> None:
    part = unmask(made[0].sealed)
    assert {text.split()[0] for text in part.table.frame["word"].to_list()} == made[1]
    assert len(part) == made[0].sealed.n_rows == 24
