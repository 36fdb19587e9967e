"""What texts are taken for: one table of examples for each kind, and the overrides."""

from __future__ import annotations

import datetime
import math
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.data.read import conform, read
from heldout.data.recognise import read_as
from heldout.errors import InputError


def seen(texts: list[Any], **options: Any) -> tuple[str, list[Any], str]:
    table = read({"a": texts}, **options)
    return table.columns[0].kind, table.frame["a"].to_list(), table.columns[0].note


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        (["1", " 2.5 ", "-.5", "+3", "1e3", "4."], [1, 2.5, -0.5, 3, 1000, 4]),
        (["1,234", "950", "2,000.5"], [1234, 950, 2000.5]),
        (["1,234,567"], [1234567]),
        (["0,123", "1,250"], [0.123, 1.25]),  # no thousands begin with a zero
        (["1.234,5", "2"], [1234.5, 2]),
        (["12,5", "3"], [12.5, 3]),
        (["1 234,5", "1\u00a0234,5", "1\u202f234,5"], [1234.5] * 3),
        (["1'234.5", "2"], [1234.5, 2]),
        (["12%", "3.5 %", "-4%"], [0.12, 0.035, -0.04]),
        (["12,5%", "3%"], [0.125, 0.03]),
        (["$3", "-$1,250.50", "$-7"], [3, -1250.5, -7]),
        (["3 €", "4,5 €"], [3, 4.5]),
        (["USD 5", "7", "CHF9"], [5, 7, 9]),
        (["(5)", "$7", "($1.50)"], [-5, 7, -1.5]),
        (["- 5", "+$3", "$ -4"], [-5, 3, -4]),
        (["007", "42"], [7, 42]),
    ],
)
def test_numbers_in_all_spellings(texts: list[str], numbers: list[float]) -> None:
    kind, values, note = seen(texts)
    assert kind == "number" and values == pytest.approx(numbers)
    plain = all(text.strip().lstrip("+-").replace(".", "").replace("e", "").isdigit() for text in texts)
    assert ("written as text, like" in note) != plain


@pytest.mark.parametrize(
    "texts",
    [["1,23,456", "2"], ["1.5.2"], ["5-", "3"], ["1_000"], ["0x10"], ["12%", "3"], ["12:30"], ["1-2"], ["3 apples"],
     ["--5"], ["(-5)", "3"], ["١", "٢"]],
)  # fmt: skip
def test_what_only_looks_like_numbers(texts: list[str]) -> None:
    assert seen(texts) == ("category", texts, "")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1e9, 1e9).map(lambda x: round(x, 3)), min_size=1, max_size=8))
def test_numbers_with_thousands_marks_mean_the_same(numbers: list[float]) -> None:
    texts = [f"${number:,.3f}" for number in numbers]
    assert seen(texts)[:2] == ("number", numbers)


@pytest.mark.parametrize(
    ("texts", "note"),
    [
        (["007", "042"], "codes with leading zeros, like '007'"),
        (["12345678901234567", "12345678901234568"], "codes of more digits than a number can hold"),
    ],
)
def test_codes_stay_texts(texts: list[str], note: str) -> None:
    assert seen(texts) == ("category", texts, note)


def test_whole_numbers_that_float64_cannot_tell_apart_are_codes() -> None:
    assert seen(pl.Series([2**53, -(2**53), None]))[0] == "number"  # type: ignore[arg-type]
    assert seen(pl.Series([2**53 + 1, 1]))[0] == seen(pl.Series([-(2**63), 1]))[0] == "category"  # type: ignore[arg-type]
    kind, values, _ = seen(pl.Series([2**60, 2**60 + 1]))  # type: ignore[arg-type]
    assert (kind, values) == ("category", [str(2**60), str(2**60 + 1)])


@pytest.mark.parametrize(
    ("texts", "kind", "values"),
    [
        (["1", "NA", "", "n/a", "NaN", "null", "?", "#N/A"], "number", [1.0] + [None] * 7),
        (["1.5", "-", "None", "missing"], "number", [1.5, None, None, None]),
        (["1.5", "NONE", "Unknown", "N.A.", "–", "NAN", "#REF!"], "number", [1.5] + [None] * 6),
        (["x", "NONE", "Unknown"], "category", ["x", "NONE", "Unknown"]),
        (["x", "NA", "", None], "category", ["x", None, None, None]),
        (["x", "None", "-"], "category", ["x", "None", "-"]),  # may be levels
        (["None", "None"], "category", ["None", "None"]),
        (["NA", ""], "category", [None, None]),
        (["no", "none"], "boolean", [False, None]),
        (["2024-05-01", "--"], "date", [datetime.datetime(2024, 5, 1), None]),
    ],
)
def test_missing_markers(texts: list[str], kind: str, values: list[Any]) -> None:
    assert seen(texts)[:2] == (kind, values)


def test_missing_markers_are_told_and_can_be_added() -> None:
    assert seen(["1", "-"])[2] == "'-' read as missing"
    assert seen(["NA", None])[2] == "no value at all"
    assert seen(["x", "gone"], missing=["gone"]) == ("category", ["x", None], "'gone' read as missing")
    assert seen(["x", "gone"], missing="gone") == seen(["x", "gone"], missing=["gone"])
    assert seen(["1", "-999"], missing=["-999"])[1] == seen(["1", "-999"], missing=[-999])[1] == [1.0, None]
    assert seen([1.5, -999.0], missing=["-999"])[1] == [1.5, None]
    assert seen(["1.5", "-999.00"], missing=["-999"])[1] == [1.5, None]


def test_not_a_number_is_null_as_any_missing_value() -> None:
    values, wrong = read_as(pl.Series(["1", "nan", None]), "number", {})
    assert values.to_list() == [1.0, None, None] and not wrong.any()


def test_markers_that_only_new_data_has() -> None:
    table = read({"n": ["1", "2"], "c": ["x", "y"]}, missing=["gone"])
    new, _ = conform({"n": ["-", "gone", "?"], "c": ["None", "gone", "NA"]}, table.columns)
    assert new.frame.rows() == [(None, "None"), (None, None), (None, None)]


@pytest.mark.parametrize(
    "texts", [["true", "False"], ["Yes", "no"], ["T", "F"], ["y", "N"], ["on", "off"], ["yes", "no"]]
)
def test_yes_and_no(texts: list[str]) -> None:
    assert seen(texts)[:2] == ("boolean", [True, False])


def test_what_is_no_yes_and_no() -> None:
    assert seen(["t", "t"])[0] == "category"  # one letter alone says nothing
    assert seen(["yes", "no", "maybe"])[0] == "category"
    assert seen(["0", "1"])[0] == "number"
    assert seen(["yes", "yes"])[:2] == ("boolean", [True, True])


DAY = datetime.datetime(2024, 5, 13)


@pytest.mark.parametrize(
    "form",
    ["%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%d %b %Y",
     "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y", "%d-%b-%Y", "%d-%b-%y", "%m/%d/%y", "%d/%m/%y",
     "%d.%m.%y"],
)  # fmt: skip
@pytest.mark.parametrize("time", ["", " %H:%M:%S", "T%H:%M", " %H:%M:%S.%f", " %I:%M %p"])
def test_dates_in_all_formats(form: str, time: str) -> None:
    moments = [DAY, datetime.datetime(2023, 12, 31, 17, 45), datetime.datetime(1999, 1, 2, 3, 4)]
    texts = [moment.strftime(form + time) for moment in moments]
    kept = moments if time else [moment.replace(hour=0, minute=0) for moment in moments]
    assert seen(texts)[:2] == ("date", kept)


def test_the_order_of_day_and_month() -> None:
    assert seen(["13/1/2024", "6/2/2024"])[2] == "dates read as day, month, year"
    assert seen(["1/13/2024", "6/2/2024"])[2] == "dates read as month, day, year"
    kind, values, note = seen(["5/1/2024", "6/2/2024"])
    assert kind == "date" and values[0].month == 5
    assert note == "dates read as month, day, year (day, month, year would fit as well)"
    assert seen(["5-1-2024"])[2] == "dates read as day, month, year (month, day, year would fit as well)"


def test_times_with_a_zone_become_utc() -> None:
    moment = datetime.datetime(2024, 5, 1, 3)
    assert seen(["2024-05-01T05:00:00+02:00"]) == ("date", [moment], "times read as UTC")
    assert seen(["2024-05-01T03:00:00Z"])[1] == [moment]
    assert seen(["2024-05-01 05:00:00.0+0200"])[1] == [moment]


@pytest.mark.parametrize("texts", [["24-01-02"], ["1.2.3", "4.5.6"], ["2024-05"], ["192.168.1.1"], ["2024-13-01"],
                                   ["0000-01-01"]])  # fmt: skip
def test_what_only_looks_like_dates(texts: list[str]) -> None:
    assert seen(texts)[:2] == ("category", texts)


def test_the_first_and_the_last_year() -> None:
    assert [value.year for value in seen(["0001-01-01", "9999-12-31"])[1]] == [1, 9999]


def test_texts_and_categories() -> None:
    texts = [f"the house number {i} is by the river" for i in range(60)]
    assert seen(texts)[0] == seen(texts[:30])[0] == "text"
    assert seen(texts[:29])[0] == "category"  # too few
    assert seen([f"street {i}" for i in range(60)])[0] == "category"  # too short
    assert seen(texts[:30] + texts[:10] * 30)[0] == "category"  # too often the same


def test_kinds_can_be_asked_for() -> None:
    assert seen(["007", "008"], kinds={"a": "number"}) == ("number", [7.0, 8.0], "as asked")
    assert seen(["1", "0", "NA"], kinds={"a": "boolean"})[1] == [True, False, None]
    assert seen(["1", "2"], kinds={"a": "category"})[1] == ["1", "2"]
    assert seen([1.0, 2.5], kinds={"a": "category"})[1] == ["1", "2.5"]
    assert seen(["20240513", "19991231"])[0] == "number"
    days = [datetime.datetime(2024, 5, 13), datetime.datetime(1999, 12, 31)]
    assert seen(["20240513", "19991231"], kinds={"a": "date"})[1] == days
    assert seen(["x", "NA"], kinds={"a": "text"})[:2] == ("text", ["x", None])
    assert seen(["None", "3"], kinds={"a": "number"})[1] == [None, 3.0]
    assert seen([datetime.date(2020, 1, 1)], kinds={"a": "number"})[1] == [1577836800.0]
    assert seen([datetime.timedelta(seconds=2)], kinds={"a": "category"})[1] == ["2"]


@pytest.mark.parametrize(
    ("texts", "kind", "words"),
    [
        (["1", "2", "x"], "number", "should hold numbers, but row 3 holds 'x'"),
        (["$1,250", "abc", "$7"], "number", "should hold numbers, but row 2 holds 'abc'"),
        (["13.05.2024", "soon", "1.6.2024"], "date", "should hold dates, but row 2 holds 'soon'"),
        (["yes", "maybe", "maybe"], "boolean", r"should hold yes or no, but row 2 holds 'maybe' \(and 1 more row\)"),
        ([1, 2], "date", "should hold dates, but row 1"),
        ([1, 2], "boolean", "should hold yes or no, but row 2"),
    ],
)
def test_kinds_that_do_not_fit(texts: list[Any], kind: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        seen(texts, kinds={"a": kind})


def test_per_cents_are_the_nearest_float64_in_any_company() -> None:
    texts = [f"{i / 10}%" for i in range(1, 400)]
    expected = [i / 10 / 100 for i in range(1, 400)]
    assert seen(texts)[1] == expected == [seen([text])[1][0] for text in texts[:5]] + expected[5:]


CELLS = ["1", "-2.5", "--5", "1,234", "1.234,5", "$3", "4 €", "(5)", "12%", "1e5", "007", "02134", "NA", "", "None",
         "-", "?", "NAN", "yes", "No", "T", "f", "2024-01-02", "13/1/2024", "1/13/24", "Jan 5, 2024", "5-Mar-24",
         "0000-01-01", "2024-01-02 05:06", "2024-01-02T05:06:07Z", "x", " 3 ", "١", "½", "+", "1_0", "9" * 20, "1 234",
         "$", "(", "00", "99/99/99"]  # fmt: skip


@settings(max_examples=120, deadline=None)
@given(st.lists(st.sampled_from(CELLS), min_size=1, max_size=3, unique=True).flatmap(
    lambda pool: st.lists(st.sampled_from(pool), min_size=1, max_size=5)))  # fmt: skip
def test_what_was_recognised_is_read_and_read_again_row_by_row(texts: list[str]) -> None:
    table = read({"a": texts})
    alone = [conform({"a": [text]}, table.columns)[0].frame["a"][0] for text in texts]
    assert alone == table.frame["a"].to_list()


def test_order_of_rows_changes_nothing() -> None:
    texts = ["$3", "1,250", "-", "7.5", "NA"] * 100
    first, second = seen(texts), seen(texts[::-1])
    assert first == (second[0], second[1][::-1], second[2])
    assert math.fsum(value or 0 for value in first[1]) == 126_050.0
