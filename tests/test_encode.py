"""Columns into numbers: against scikit-learn and skrub, from the fitted rows alone, stored and read back bit by bit."""

from __future__ import annotations

import copy
import datetime
import json
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.preprocessing import OneHotEncoder
from skrub import SquashingScaler, StringEncoder

from heldout import persist
from heldout.data.blocks import Dates, Levels, Numbers, Strings
from heldout.data.encode import Encoder
from heldout.data.read import conform, read
from heldout.data.table import Table
from heldout.errors import ModelFileError

rng = np.random.default_rng(0)
ROWS = 200
WORDS = np.array(["red", "green", "blue", "old", "new", "large", "small", "bright", "house", "garden"])


def columns(n: int = ROWS) -> dict[str, list[Any]]:
    day = datetime.datetime(2024, 1, 1)
    return {
        "size": [None if i % 7 == 0 else float(x) for i, x in enumerate(rng.lognormal(size=n))],
        "flag": [bool(x) for x in rng.integers(0, 2, n)],
        "town": [None if i % 11 == 0 else "ABCDE"[int(x)] for i, x in enumerate(rng.integers(0, 5, n))],
        "street": [f"{WORDS[i % 10]}street {i % 83}" for i in range(n)],
        "said": [" ".join(rng.choice(WORDS, 6)) for _ in range(n)],
        "sold": [None if i % 13 == 0 else day + datetime.timedelta(hours=31 * i) for i in range(n)],
    }


@pytest.fixture(scope="module")
def table() -> Table:
    made = read(columns(), kinds={"said": "text"})
    assert [column.kind for column in made.columns] == ["number", "boolean", "category", "category", "text", "date"]
    return made


@pytest.fixture(scope="module")
def encoder(table: Table) -> Encoder:
    return Encoder().fit(table)


def test_the_matrix(table: Table, encoder: Encoder) -> None:
    matrix = encoder.transform(table)
    assert matrix.shape == (ROWS, encoder.n_features_out_) == (ROWS, len(set(encoder.feature_names_out_)))
    assert matrix.dtype == np.float64 and matrix.flags.c_contiguous and np.isfinite(matrix).all()
    named = ["size", "flag", "size is missing", "town=A", "town=missing", "street ~ 1", "said ~ 10", "sold: month"]
    assert set(named) <= set(encoder.feature_names_out_)
    np.testing.assert_array_equal(matrix, Encoder().fit_transform(table))
    assert [type(block) for block in encoder.blocks_] == [Levels, Strings, Strings, Dates]


def test_one_row_is_encoded_as_among_others(table: Table, encoder: Encoder) -> None:
    matrix = encoder.transform(table)
    for row in (0, 5, 77, 199):
        np.testing.assert_array_equal(encoder.transform(table.take(np.array([row]))), matrix[[row]])


def test_it_learns_from_the_fitted_rows_only(table: Table) -> None:
    half = Encoder().fit(table.take(np.arange(100)))
    before = json.dumps(half.feature_names_out_), half.transform(table).tobytes()
    extreme, _ = conform({**columns(5), "size": [1e300, -1e300, 1e9, None, 0], "town": ["Z"] * 5}, table.columns)
    assert np.isfinite(half.transform(extreme)).all()
    assert (json.dumps(half.feature_names_out_), half.transform(table).tobytes()) == before
    assert before[1] != Encoder().fit(table).transform(table).tobytes()


def test_numbers_equal_skrubs() -> None:
    values = rng.normal(size=(80, 6)) ** 3
    values[:, 1] = 7.0  # constant
    values[:, 2] = np.where(np.arange(80) < 70, 1.0, values[:, 2])  # the quartiles coincide
    values[::9, 3] = np.nan
    values[:, 4] *= 1e12
    values[:, 5] = rng.integers(0, 2, 80)
    table = read(values)
    block = Numbers.learn(table.frame)
    peer = SquashingScaler(max_absolute_value=5).fit(values)
    new = np.concatenate([values, rng.normal(size=(20, 6)) * 50])
    expected = np.nan_to_num(peer.transform(new))  # a median is 0 after scaling
    found = block.apply(read(new).frame)
    np.testing.assert_allclose(found[:, :6], expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(found[:, 6], np.isnan(new[:, 3]))
    assert block.features[6:] == ["x3 is missing"]


def test_numbers_stay_finite_and_within_five() -> None:
    block = Numbers.learn(pl.DataFrame({"a": [-1.7e308, 0.0, 1.0, 2.0, 1.7e308], "b": [5e-324, 0.0, 0, 0, 0]}))
    found = block.apply(pl.DataFrame({"a": [1e200, -1.7e308], "b": [1e308, -1e200]}))
    assert np.isfinite(found).all() and (np.abs(found) <= 5 + 1e-12).all()
    narrow = Numbers.learn(pl.DataFrame({"a": [0.0, 1e-3, 2e-3]}))
    np.testing.assert_allclose(narrow.apply(pl.DataFrame({"a": [1e200, -1e200]})), [[5.0], [-5.0]])


def test_levels_equal_one_hot() -> None:
    values = pl.Series("a", rng.choice(list("pqrst"), 300))
    peer = OneHotEncoder(sparse_output=False, handle_unknown="ignore").fit(values.to_numpy().reshape(-1, 1))
    new = pl.Series("a", ["p", "t", "unseen"])
    np.testing.assert_array_equal(Levels.learn(values).apply(new), peer.transform(new.to_numpy().reshape(-1, 1)))


def test_rare_missing_and_unseen_levels() -> None:
    values = pl.Series("a", ["x"] * 20 + ["y"] * 10 + ["z"] * 9 + ["w"] + [None])
    block = Levels.learn(values)
    assert block.features == ["a=x", "a=y", "a=rare", "a=missing"]
    new = pl.Series("a", ["x", "y", "z", "w", "unseen", None])
    expected = [[1, 0, 0, 0], [0, 1, 0, 0], *[[0, 0, 1, 0]] * 3, [0, 0, 0, 1]]
    np.testing.assert_array_equal(block.apply(new), expected)
    alone = Levels.learn(values.filter(values.is_in(["x", "z"])))  # one rare level keeps its name
    assert alone.features == ["a=x", "a=z"]
    few = Levels.learn(pl.Series("a", ["p", "q", "q"]))
    np.testing.assert_array_equal(few.apply(pl.Series("a", ["unseen", None, "p"])), [[0, 0], [0, 0], [1, 0]])


@pytest.mark.filterwarnings("ignore:The matrix shape")
@pytest.mark.parametrize(("analyzer", "grams"), [("char_wb", (3, 4)), ("word", (1, 1))])
@pytest.mark.parametrize("count", [3, 120])
def test_strings_equal_skrubs(analyzer: str, grams: tuple[int, int], count: int) -> None:
    values = pl.Series("a", [f"{' '.join(rng.choice(WORDS, 4))} {i}" if count > 3 else "red old" for i in range(count)])
    block = Strings.learn(values, analyzer, 8)
    peer = StringEncoder(n_components=8, analyzer=analyzer, ngram_range=grams, random_state=0)
    peer.fit(values)
    new = pl.Series("a", ["red house", "never seen words", "", "garden 7", "RED Old"])
    np.testing.assert_allclose(block.apply(new), peer.transform(new).to_numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(block.apply(pl.Series("a", [None, ""], dtype=pl.String)), 0.0)


def test_dates_are_their_parts() -> None:
    start = datetime.datetime(2024, 1, 1)
    values = pl.Series("d", [start + datetime.timedelta(days=i) for i in range(60)] + [None])
    block = Dates.learn(values)
    assert "year" not in block.parts and "hour" not in block.parts  # they do not vary
    assert block.features[-1] == "d is missing" and sum("missing" in name for name in block.features) == 1
    days = block.apply(values)[:, block.parts.index("time")]
    np.testing.assert_allclose(np.diff(days[:60]), days[1] - days[0])
    later = block.apply(pl.Series("d", [datetime.datetime(9999, 12, 31), datetime.datetime(1, 1, 1), None]))
    assert np.isfinite(later).all() and later[0, 0] > 1000 and later[2, -1] == 1
    march = Dates.learn(pl.Series("d", [datetime.datetime(2023, 3, 1, 6), datetime.datetime(2024, 6, 15, 18, 30)]))
    raw = march.apply(pl.Series("d", [datetime.datetime(2024, 6, 15, 18, 30)]))[0]
    turned = raw * march.numbers.scale + march.numbers.median
    shown = dict(zip(march.parts, turned, strict=True))
    assert shown["month"] == 6 and shown["year"] == 2024 and shown["hour"] == 18 and shown["weekday"] == 6
    again = Dates.learn(pl.Series("d", [start, start + datetime.timedelta(days=400)]), returning=True)
    assert {"month", "sine of the year"} <= set(again.parts) and not {"year", "time"} & set(again.parts)
    assert shown["sine of the day"] == pytest.approx(np.sin(2 * np.pi * 18.5 / 24))
    assert shown["cosine of the year"] == pytest.approx(np.cos(2 * np.pi * 167 / 365.25))


def test_columns_that_say_nothing() -> None:
    day = datetime.datetime(2024, 1, 1)
    data = {
        "n": [3.0] * 4,
        "c": ["x"] * 4,
        "d": [day, None, day, day],
        "none": [None] * 4,
        "dots": ["!", "?!", ".;", "-!"],
    }
    table = read(data, kinds={"dots": "text"})
    encoder = Encoder().fit(table)
    matrix = encoder.transform(table)
    assert np.isfinite(matrix).all() and matrix.shape == (4, encoder.n_features_out_)
    np.testing.assert_array_equal(matrix[:, encoder.feature_names_out_.index("d is missing")], [0, 1, 0, 0])
    only = read({"none": [None, None]})
    assert Encoder().fit(only).transform(only).shape == (2, 0)


def test_everything_missing_in_new_data(table: Table, encoder: Encoder) -> None:
    gone, _ = conform({name: [None, None] for name in table.names}, table.columns)
    matrix = encoder.transform(gone)
    assert np.isfinite(matrix).all()
    for name in ("size is missing", "town=missing", "sold is missing"):
        np.testing.assert_array_equal(matrix[:, encoder.feature_names_out_.index(name)], 1.0)


def test_names_are_all_different() -> None:
    encoder = Encoder().fit(read({"a": ["missing", "rare", None, "x"], "a=missing": [1, 2, 3, 4]}))
    assert len(set(encoder.feature_names_out_)) == encoder.n_features_out_
    assert "a=missing (2)" in encoder.feature_names_out_


def test_options(table: Table) -> None:
    wide = Encoder(most_levels=300).fit(table)
    assert [type(block) for block in wide.blocks_] == [Levels, Levels, Strings, Dates]
    assert sum("said" in name for name in clone(Encoder(components=4)).fit(table).feature_names_out_) == 4


def test_stored_and_read_back_bit_by_bit(table: Table, encoder: Encoder) -> None:
    again = persist.loads(persist.dumps(encoder))
    assert isinstance(again, Encoder) and again.feature_names_out_ == encoder.feature_names_out_
    assert again.transform(table).tobytes() == encoder.transform(table).tobytes()
    for block in (encoder.numbers_, *encoder.blocks_):
        assert block is not None
        values = table.frame if isinstance(block, Numbers) else table.frame[block.name]
        same = persist.loads(persist.dumps(block))
        assert type(same) is type(block) and same.apply(values).tobytes() == block.apply(values).tobytes()


def changed(block: Any, **values: Any) -> bytes:
    """A block stored with other values than it could have learned."""
    made = copy.copy(block)
    for name, value in values.items():
        object.__setattr__(made, name, value)
    return persist.dumps(made)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Numbers, {"median": np.zeros(3)}),
        (Numbers, {"scale": np.array([1.0, 0.0])}),
        (Numbers, {"scale": np.array([1.0, np.nan])}),
        (Numbers, {"names": ["size", "size"]}),
        (Numbers, {"names": []}),
        (Numbers, {"indicated": ["town"]}),
        (Numbers, {"indicated": ["size", "size"]}),
        (Numbers, {"squashed": 1}),
        (Levels, {"levels": ["A", "A"]}),
        (Levels, {"levels": []}),
        (Levels, {"levels": [1]}),
        (Strings, {"vocabulary": []}),
        (Strings, {"vocabulary": ["a", "a"]}),
        (Strings, {"analyzer": "char"}),
        (Strings, {"idf": np.ones(2)}),
        (Strings, {"components": np.ones((2, 2))}),
        (Strings, {"scale": 0.0}),
        (Dates, {"parts": ["century"]}),
        (Dates, {"parts": []}),
        (Dates, {"name": "bought"}),
    ],
)
def test_nonsense_is_refused(encoder: Encoder, kind: type, values: dict[str, Any]) -> None:
    block = next(block for block in (encoder.numbers_, *encoder.blocks_) if isinstance(block, kind))
    with pytest.raises(ModelFileError):
        persist.loads(changed(block, **values))


@pytest.mark.parametrize("values", [{"columns_": ["size"]}, {"most_levels": 0}, {"components": 0}, {"numbers_": 3}])
def test_an_encoder_of_nonsense_is_refused(encoder: Encoder, values: dict[str, Any]) -> None:
    with pytest.raises(ModelFileError):
        persist.loads(changed(encoder, **values))
    twice = copy.copy(encoder)
    twice.blocks_ = [*encoder.blocks_, encoder.blocks_[0]]
    with pytest.raises(ModelFileError, match="twice"):
        persist.loads(persist.dumps(twice))
