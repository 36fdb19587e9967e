"""What texts stand for: numbers in several spellings, yes and no, dates, categories, free text.

A column is decided from all of its values. Each kind has a way to say how a column of texts is read (`_find_*`) and
one to read texts that way (`_read_*`); what is remembered in `Column.parse` connects the two, so that new data is read
as the training data was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import polars as pl

CERTAIN = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "<NA>", "#N/A", "#NA", "?")
DOUBTFUL = ("None", "none", "nil", "-", "--", ".", "na", "missing", "Missing", "unknown", "#VALUE!", "#DIV/0!")
WORDS = (("true", "false"), ("yes", "no"), ("t", "f"), ("y", "n"), ("on", "off"))
CURRENCY = r"(?:[$€£¥₹]|USD|EUR|GBP|CHF)"
STYLES = {  # name: (shape of the digits, what to remove, the decimal mark)
    "plain": (r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", "", "."),
    "comma": (r"\d{1,3}(?:,\d{3})+(?:\.\d*)?|\d+\.?\d*|\.\d+", ",", "."),
    "point": (r"\d{1,3}(?:\.\d{3})+(?:,\d*)?|\d+,?\d*", ".", ","),
    "space": (r"\d{1,3}(?:[ \u00a0\u202f']\d{3})+(?:[.,]\d*)?|\d+[.,]?\d*", " \u00a0\u202f'", ","),
}
DAYS = ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%d %b %Y",
        "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%Y", "%m/%d/%y", "%d/%m/%y", "%d.%m.%y")  # fmt: skip
TIMES = ("", " %H:%M:%S", "T%H:%M:%S", " %H:%M", "T%H:%M", " %H:%M:%S%.f", "T%H:%M:%S%.f", " %I:%M %p", " %I:%M:%S %p",
         "T%H:%M:%SZ", "T%H:%M:%S%.fZ", "T%H:%M:%S%z", " %H:%M:%S%z", "T%H:%M:%S%.f%z")  # fmt: skip
OTHER_ORDER = {"%m/%d": "%d/%m", "%m-%d": "%d-%m"}
SAMPLE = 200
LONG_DIGITS = 16  # more digits than a float64 holds
TEXT_WORDS = 3.0
TEXT_DISTINCT = 0.3
TEXT_LEAST = 30

Found = tuple[str, dict[str, Any], str]  # kind, parse, note


def recognise(texts: pl.Series, missing: Sequence[str] = ()) -> Found:
    """The kind of a column of texts, how it is read, and what to say about it."""
    stripped = texts.str.strip_chars()
    marks = [*CERTAIN, *missing]
    values = stripped.filter(~stripped.is_in([*marks, *DOUBTFUL]) & stripped.is_not_null())
    if values.is_empty():  # nothing, or only words that may be levels
        levels = stripped.filter(~stripped.is_in(marks) & stripped.is_not_null())
        return "category", _with_missing({}, stripped, marks), "" if len(levels) else "no value at all"
    distinct = values.unique()
    for find in (_find_numbers, _find_words, _find_dates):
        found = find(distinct)
        if found is not None:
            kind, parse, note = found
            parse = _with_missing(parse, stripped, [*marks, *DOUBTFUL])
            return kind, parse, _joined(note, _missing_note(parse, kind))
    kind, note = _find_texts(stripped.filter(~stripped.is_in(marks) & stripped.is_not_null()))
    parse = _with_missing({}, stripped, marks)
    return kind, parse, _joined(note, _missing_note(parse, kind))


def _with_missing(parse: dict[str, Any], stripped: pl.Series, marks: Sequence[str]) -> dict[str, Any]:
    used = stripped.filter(stripped.is_in(list(marks))).unique().to_list()
    return {**parse, "missing": sorted(set(used) | set(CERTAIN))}


def _missing_note(parse: Mapping[str, Any], kind: str) -> str:
    said = [mark for mark in parse["missing"] if mark not in CERTAIN or mark == "?"]
    said = [mark for mark in said if mark in DOUBTFUL or kind != "category"]
    said = [mark for mark in said if mark != "?"]
    return f"{', '.join(repr(mark) for mark in said)} read as missing" if said else ""


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


# Numbers ---------------------------------------------------------------------------------------------------


def _find_numbers(distinct: pl.Series) -> Found | None:
    plain = distinct.cast(pl.Float64, strict=False)
    if plain.null_count() == 0:
        return _codes_or_numbers(distinct)
    if not distinct.head(SAMPLE).str.contains(r"\d").all():
        return None
    percent = bool(distinct.str.ends_with("%").all())
    for style in STYLES:
        if _matches(distinct, style, percent):
            example = next((v for v in distinct.sort().to_list() if not _is_plain(v)), distinct[0])
            kind = "per cent written as text" if percent else "numbers written as text"
            return "number", {"style": style, "percent": percent}, f"{kind}, like {example!r}"
    return None


def _codes_or_numbers(distinct: pl.Series) -> Found:
    digits = distinct.filter(distinct.str.contains(r"^\d+$"))
    zeros = digits.str.contains(r"^0\d")
    if zeros.any() and digits.str.len_chars().n_unique() == 1:
        return "category", {}, f"codes with leading zeros, like {digits.filter(zeros).sort()[0]!r}"
    if len(digits) and int(digits.str.len_chars().max()) >= LONG_DIGITS:  # type: ignore[arg-type]
        return "category", {}, "codes of more digits than a number can hold"
    return "number", {"style": "plain", "percent": False}, ""


def _is_plain(text: str) -> bool:
    return text.replace(".", "", 1).lstrip("+-").isdigit()


def _pattern(style: str, percent: bool) -> str:
    digits = STYLES[style][0]
    core = rf"[+-]?\s*{CURRENCY}?\s*[+-]?\s*(?:{digits})\s*{CURRENCY}?"
    tail = r"\s*%" if percent else ""
    return rf"^(?:{core}{tail}|\({core}\){tail})$"


def _matches(values: pl.Series, style: str, percent: bool) -> bool:
    pattern = _pattern(style, percent)
    return bool(values.head(SAMPLE).str.contains(pattern).all()) and bool(values.str.contains(pattern).all())


def _read_numbers(values: pl.Series, parse: Mapping[str, Any]) -> pl.Series:
    """Texts as Float64; null where a text is none of this style (nor a plain number)."""
    plain = values.cast(pl.Float64, strict=False)
    style, percent = str(parse.get("style", "plain")), bool(parse.get("percent", False))
    if style not in STYLES or (style == "plain" and not percent and plain.null_count() == values.null_count()):
        return plain
    ok = values.str.contains(_pattern(style, percent))
    _, removed, mark = STYLES[style]
    cleaned = values.str.replace_all(rf"{CURRENCY}|%|\s|[()]", "")
    for character in removed:
        cleaned = cleaned.str.replace_all(character, "", literal=True)
    numbers = cleaned.str.replace(mark, ".", literal=True).cast(pl.Float64, strict=False)
    negative = values.str.contains(r"^\(")
    signed = pl.select(pl.when(negative).then(-numbers).otherwise(numbers)).to_series()
    scaled = signed / 100 if percent else signed
    return pl.select(pl.when(ok).then(scaled).otherwise(None if percent else plain)).to_series()


# Yes and no ------------------------------------------------------------------------------------------------


def _find_words(distinct: pl.Series) -> Found | None:
    if len(distinct) > 8:
        return None
    words = set(distinct.str.to_lowercase().to_list())
    for yes, no in WORDS:
        if words == {yes, no} or (words <= {yes, no} and len(yes) > 1):
            return (
                "boolean",
                {"true": yes, "false": no},
                f"{yes!r} and {no!r} read as yes and no" if yes != "true" else "",
            )
    return None


def _read_words(values: pl.Series, parse: Mapping[str, Any]) -> pl.Series:
    lowered = values.str.to_lowercase()
    yes, no = [str(parse.get("true", "true"))], [str(parse.get("false", "false"))]
    yes, no = [*yes, *(y for y, _ in WORDS), "1"], [*no, *(n for _, n in WORDS), "0"]
    return pl.select(
        pl.when(lowered.is_in(yes)).then(True).when(lowered.is_in(no)).then(False).otherwise(None)
    ).to_series()


# Dates -----------------------------------------------------------------------------------------------------


def _find_dates(distinct: pl.Series) -> Found | None:
    sample = distinct.head(SAMPLE)
    if not sample.str.contains(r"^\D{0,10}\d{1,4}[-/. ]").all():
        return None
    fits = [form for form in _formats(sample) if _strptime(distinct, form).null_count() == 0]
    if not fits:
        return None
    form, note = fits[0], ""
    other = next((form.replace(a, b) for a, b in OTHER_ORDER.items() if a in form), None)
    if other in fits:
        note = "dates read as month, day, year (day, month, year would fit as well)"
    elif form.startswith(("%m/", "%d/", "%m-", "%d-%m")):
        note = f"dates read as {'month, day' if form.startswith('%m') else 'day, month'}, year"
    return "date", {"format": form}, note


def _formats(sample: pl.Series) -> list[str]:
    """The formats that a few values have: the day's first, then with its time."""
    found = []
    for day, time in product(DAYS, TIMES):
        form = day + time
        if _strptime(sample.head(3), form).null_count() == 0 and _strptime(sample, form).null_count() == 0:
            found.append(form)
    return found


def _strptime(values: pl.Series, form: str) -> pl.Series:
    read = values.str.to_datetime(
        form, time_unit="us", strict=False, exact=True, time_zone="UTC" if "%z" in form else None
    )
    return read.dt.replace_time_zone(None) if "%z" in form else read


def _read_dates(values: pl.Series, parse: Mapping[str, Any]) -> pl.Series:
    """Texts as Datetime, in the remembered format, or in another that all of them have."""
    form = str(parse.get("format", "%Y-%m-%d"))
    read = _strptime(values, form)
    if read.null_count() > values.null_count() and (found := _find_dates(values.drop_nulls().unique())) is not None:
        return _strptime(values, found[1]["format"])
    return read


# Categories and texts --------------------------------------------------------------------------------------


def _find_texts(values: pl.Series) -> tuple[str, str]:
    distinct = values.n_unique()
    words = float(values.head(5000).str.count_matches(r"\S+").mean() or 0)  # type: ignore[arg-type]
    if words >= TEXT_WORDS and distinct >= TEXT_LEAST and distinct > TEXT_DISTINCT * len(values):
        return "text", ""
    return "category", ""


READERS = {"number": _read_numbers, "boolean": _read_words, "date": _read_dates}


def read_as(texts: pl.Series, kind: str, parse: Mapping[str, Any]) -> tuple[pl.Series, pl.Series]:
    """Texts as values of a kind, and a mask of those that cannot be read so."""
    stripped = texts.str.strip_chars()
    values = stripped.set(stripped.is_in(list(parse.get("missing", CERTAIN))), None)
    if kind not in READERS:
        return values, pl.zeros(len(values), pl.Boolean, eager=True)
    read = READERS[kind](values, parse)
    return read, read.is_null() & values.is_not_null()


def parse_for(texts: pl.Series, kind: str, missing: Sequence[str] = ()) -> dict[str, Any]:
    """How to read a column of texts as the kind that a user asked for."""
    stripped = texts.str.strip_chars()
    found, parse, _ = recognise(texts, missing)
    if found == kind:
        return parse
    marks = [*CERTAIN, *missing]
    values = stripped.filter(~stripped.is_in([*marks, *DOUBTFUL]) & stripped.is_not_null()).unique()
    finders = {"number": _find_numbers, "boolean": _find_words, "date": _find_dates}
    if kind in finders and len(values):
        better = finders[kind](values)
        if better is not None and better[0] == kind:
            return _with_missing(better[1], stripped, [*marks, *DOUBTFUL])
    return _with_missing({}, stripped, [*marks, *DOUBTFUL] if kind in finders else marks)
