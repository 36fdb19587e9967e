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
DOUBTFUL = (
    "None", "none", "NONE", "nil", "NIL", "-", "--", "---", "–", "—", ".", "na", "Na", "n.a.", "N.A.", "Nan", "NAN",
    "Null", "missing", "Missing", "MISSING", "unknown", "Unknown", "UNKNOWN", "#VALUE!", "#DIV/0!", "#REF!", "#NAME?",
    "#NUM!", "#NULL!",
)  # fmt: skip
WORDS = (("true", "false"), ("yes", "no"), ("t", "f"), ("y", "n"), ("on", "off"))
CURRENCY = r"(?:[$€£¥₹]|USD|EUR|GBP|CHF)"
STYLES = {  # name: (shape of the digits, what to remove, the decimal mark)
    "plain": (r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", "", "."),
    "comma": (r"[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]*)?|[0-9]+\.?[0-9]*|\.[0-9]+", ",", "."),
    "point": (r"[1-9][0-9]{0,2}(?:\.[0-9]{3})+(?:,[0-9]*)?|[0-9]+,?[0-9]*", ".", ","),
    "space": (r"[0-9]{1,3}(?:[ \u00a0\u202f'][0-9]{3})+(?:[.,][0-9]*)?|[0-9]+[.,]?[0-9]*", " \u00a0\u202f'", ","),
}
DAYS = ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%d %b %Y",
        "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y", "%d-%b-%Y", "%d-%b-%y", "%m/%d/%y", "%d/%m/%y",
        "%d.%m.%y", "%Y%m%d")  # fmt: skip
TIMES = ("", " %H:%M:%S", "T%H:%M:%S", " %H:%M", "T%H:%M", " %H:%M:%S%.f", "T%H:%M:%S%.f", " %I:%M %p", " %I:%M:%S %p",
         "T%H:%M:%SZ", "T%H:%M:%S%.fZ", "T%H:%M:%S%z", " %H:%M:%S%z", "T%H:%M:%S%.f%z", " %H:%M:%S%.f%z")  # fmt: skip
FULL_YEAR = r"^(?:\d{4}\D|.{1,13}?\D\d{4}(?:\D|$))"  # not the digits of a second's fraction
SHORT_YEAR = r"^\d{1,2}\D(?:\d{1,2}|[A-Za-z]{3})\D\d{2}(?:\D|$)"
SOLID = r"^\d{8}(?:\D|$)"  # 20240513: a number, unless it is asked for as a date
SAMPLE = 200
LONG_DIGITS = 16  # more digits than a float64 holds
LONG_CODES = "codes of more digits than a number can hold"
TEXT_WORDS = 3.0
TEXT_DISTINCT = 0.3
TEXT_LEAST = 30

Found = tuple[str, dict[str, Any], str]  # kind, parse, note


def recognise(texts: pl.Series, missing: Sequence[str] = ()) -> Found:
    """The kind of a column of texts, how it is read, and what to say about it.

    Parameters
    ----------
    texts : polars.Series of String
    missing : sequence of str
        Texts that stand for a missing value, besides `CERTAIN` and, in a column of numbers, dates or yes and no,
        `DOUBTFUL`.

    >>> recognise(pl.Series(["$3", "$1,250", "-"]))[0::2]
    ('number', "numbers written as text, like '$1,250'; '-' read as missing")
    """
    if _plainly_numbers(texts):
        return "number", _with_missing({"style": "plain", "percent": False}, "number", missing), ""
    stripped = texts.str.strip_chars()
    filled = stripped.filter(~stripped.is_in([*CERTAIN, *missing]) & stripped.is_not_null())
    distinct = filled.filter(~filled.is_in(DOUBTFUL)).unique()
    for find in (_find_numbers, _find_words, _find_dates):
        found = find(distinct) if len(distinct) else None
        if found is not None:
            kind, parse, note = found
            said = _missing_note(stripped, kind, missing)
            return kind, _with_missing(parse, kind, missing), "; ".join(filter(None, (note, said)))
    note = _missing_note(stripped, "category", missing) if len(filled) else "no value at all"
    return _find_texts(filled), _with_missing({}, "category", missing), note


def _with_missing(parse: dict[str, Any], kind: str, missing: Sequence[str]) -> dict[str, Any]:
    return {**parse, "missing": missing_marks(kind, missing)}


def missing_marks(kind: str, missing: Sequence[str]) -> list[str]:
    """The texts that stand for a missing value: "None" may be a level, but it is no number."""
    return list(dict.fromkeys([*CERTAIN, *(DOUBTFUL if kind in READERS else ()), *missing]))


def _missing_note(stripped: pl.Series, kind: str, missing: Sequence[str]) -> str:
    telling = [mark for mark in missing_marks(kind, missing) if mark not in CERTAIN]
    used = stripped.filter(stripped.is_in(telling)).unique().sort().to_list()
    return f"{', '.join(repr(mark) for mark in used)} read as missing" if used else ""


# Numbers ---------------------------------------------------------------------------------------------------


def _plainly_numbers(texts: pl.Series) -> bool:
    """Whether every filled cell is a number as computers write them, and none can be a code; the quick way in."""
    numbers = texts.cast(pl.Float64, strict=False)
    if numbers.null_count() > texts.null_count() or numbers.null_count() == len(texts) or numbers.is_nan().any():
        return False
    if bool((numbers != numbers.floor()).any()):
        return True
    small = bool((numbers.abs() < 10.0 ** (LONG_DIGITS - 1)).all())
    return small and not bool(texts.str.contains(r"^\s*0\d").any())


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
    lengths = distinct.str.len_chars()
    if distinct.str.contains(r"^\d+$").all():
        zeros = distinct.filter(distinct.str.contains(r"^0\d")).sort()
        if len(zeros) and lengths.n_unique() == 1:
            return "category", {"pad": "0" * len(zeros[0])}, f"codes with leading zeros, like {zeros[0]!r}"
        if int(lengths.max()) >= LONG_DIGITS:  # type: ignore[arg-type]
            return "category", {}, LONG_CODES
    return "number", {"style": "plain", "percent": False}, ""


def padded(codes: pl.Series, zeros: str) -> pl.Series:
    """Codes of one length with the leading zeros that a spreadsheet or a frame of numbers took from them.

    >>> padded(pl.Series(["20", "020", "x"]), "000").to_list()
    ['020', '020', 'x']
    """
    return codes.zip_with(~codes.str.contains(r"^[0-9]+$"), codes.str.zfill(len(zeros)))


def _is_plain(text: str) -> bool:
    return text.replace(".", "", 1).lstrip("+-").isdigit()


def _pattern(style: str, percent: bool) -> str:
    digits = STYLES[style][0]
    sign = rf"(?:[+-]?\s*{CURRENCY}?|{CURRENCY}\s*[+-])\s*"
    core = rf"(?:{digits})\s*{CURRENCY}?"
    tail = r"\s*%" if percent else ""
    return rf"^(?:{sign}{core}{tail}|\({CURRENCY}?\s*{core}\){tail})$"


def _matches(values: pl.Series, style: str, percent: bool) -> bool:
    pattern = _pattern(style, percent)
    return bool(values.head(SAMPLE).str.contains(pattern).all()) and bool(values.str.contains(pattern).all())


def _read_numbers(values: pl.Series, parse: Mapping[str, Any]) -> pl.Series:
    """Texts as Float64; null where a text is none of this style (nor, where points are decimal, a plain number)."""
    style, percent = str(parse.get("style", "plain")), bool(parse.get("percent", False))
    if style not in STYLES:
        style = "plain"
    plain = values.cast(pl.Float64, strict=False)
    if style == "plain" and not percent and plain.null_count() == values.null_count():
        return plain
    fits = values.str.contains(_pattern(style, percent))
    _, removed, mark = STYLES[style]
    cleaned = values.str.replace_all(rf"{CURRENCY}|[%()\s{removed}]", "").str.replace(mark, ".", literal=True)
    numbers = divided(cleaned.cast(pl.Float64, strict=False), 100 if percent else 1)
    signed = pl.when(values.str.contains(r"^\(")).then(-numbers).otherwise(numbers)
    other = plain if style in ("plain", "comma") and not percent else pl.lit(None, pl.Float64)
    return pl.select(pl.when(fits).then(signed).otherwise(other)).to_series()


def divided(numbers: pl.Series, by: float) -> pl.Series:
    """Numbers over `by`, each rounded once; Polars multiplies many by the reciprocal and divides a single one."""
    return pl.Series(numbers.name, numbers.cast(pl.Float64).to_numpy() / by, nan_to_null=True)


# Yes and no ------------------------------------------------------------------------------------------------


def _find_words(distinct: pl.Series) -> Found | None:
    if len(distinct) > 8:
        return None
    words = set(distinct.str.to_lowercase().to_list())
    for yes, no in WORDS:
        if words == {yes, no} or (words and words <= {yes, no} and len(yes) > 1):
            note = f"{yes!r} and {no!r} read as yes and no" if yes not in ("true", "yes") else ""
            return "boolean", {"true": yes, "false": no}, note
    return None


def _read_words(values: pl.Series, parse: Mapping[str, Any]) -> pl.Series:
    lowered = values.str.to_lowercase()
    yes = [str(parse.get("true", "true")), *(word for word, _ in WORDS), "1"]
    no = [str(parse.get("false", "false")), *(word for _, word in WORDS), "0"]
    said = pl.when(lowered.is_in(yes)).then(True).when(lowered.is_in(no)).then(False).otherwise(None)
    return pl.select(said).to_series()


# Dates -----------------------------------------------------------------------------------------------------


def _find_dates(distinct: pl.Series) -> Found | None:
    sample = distinct.head(SAMPLE)
    if not sample.str.contains(r"^\D{0,10}\d{1,4}[-/., ]").all():
        return None
    fits = [form for form in _formats(sample) if _strptime(distinct, form).null_count() == 0]
    if not fits:
        return None
    form = fits[0]
    note = f"dates read as {_order(form)}" if _order(form) else ""
    if any(_order(other) not in ("", _order(form)) for other in fits):
        other = next(_order(other) for other in fits if _order(other) not in ("", _order(form)))
        note += f" ({other} would fit as well)"
    return "date", {"format": form}, note + ("; times read as UTC" if note else "times read as UTC") * ("%z" in form)


def _order(form: str) -> str:
    """How a day of two-digit numbers is read; "" for formats that leave no doubt."""
    if not form.startswith(("%d/", "%d-%m", "%d.", "%m/", "%m-")):
        return ""
    return "day, month, year" if form.startswith("%d") else "month, day, year"


def _formats(sample: pl.Series) -> list[str]:
    """The formats that a few values have: the day's first, then with its time."""
    found = []
    for day, time in product(DAYS, TIMES):
        form = day + time
        if _strptime(sample.head(3), form).null_count() == 0 and _strptime(sample, form).null_count() == 0:
            found.append(form)
    return found


def _strptime(values: pl.Series, form: str) -> pl.Series:
    """Texts as Datetime in UTC; null where a text is not of this format (a year has four digits, or two)."""
    zone = "UTC" if "%z" in form else None
    shape = SOLID if form.startswith("%Y%m%d") else FULL_YEAR if "%Y" in form else SHORT_YEAR
    whole = values.set(~values.str.contains(shape), None)
    read = whole.str.to_datetime(form, time_unit="us", strict=False, exact=True, time_zone=zone)
    naive = read.dt.replace_time_zone(None) if zone else read
    return naive.set(naive.dt.year() < 1, None)  # Python has no year 0


def _read_dates(values: pl.Series, parse: Mapping[str, Any]) -> pl.Series:
    """Texts as Datetime in the remembered format; what it does not fit, in one of the same order of day and month.

    Each row is read by itself, whatever the other rows hold.
    """
    known = str(parse.get("format", DAYS[0]))
    read = _strptime(values, known)
    for form in (day + time for day, time in product(DAYS, TIMES) if _order(day) in ("", _order(known))):
        left = read.is_null() & values.is_not_null()
        if not left.any():
            break
        if "%y" not in form or "%y" in known:
            read = read.zip_with(~left, _strptime(values.set(~left, None), form))
    return read


# Categories and texts --------------------------------------------------------------------------------------


def _find_texts(values: pl.Series) -> str:
    distinct = values.n_unique()
    words = float(values.head(5000).str.count_matches(r"\S+").mean() or 0)  # type: ignore[arg-type]
    wordy = words >= TEXT_WORDS and distinct >= TEXT_LEAST and distinct > TEXT_DISTINCT * len(values)
    return "text" if wordy else "category"


FINDERS = {"number": _find_numbers, "boolean": _find_words, "date": _find_dates, "category": _find_numbers}  # codes
READERS = {"number": _read_numbers, "boolean": _read_words, "date": _read_dates}


def read_as(texts: pl.Series, kind: str, parse: Mapping[str, Any]) -> tuple[pl.Series, pl.Series]:
    """Texts as values of a kind, and a mask of those that cannot be read so.

    Parameters
    ----------
    texts : polars.Series of String
    kind : "number", "boolean", "category", "date" or "text"
    parse : mapping
        What `recognise` or `parse_for` found.

    >>> values, wrong = read_as(pl.Series(["3", "NA", "three"]), "number", {})
    >>> values.to_list(), wrong.to_list()
    ([3.0, None, None], [False, False, True])
    """
    plain = parse.get("style", "plain") == "plain" and not parse.get("percent", False)
    if kind == "number" and plain:
        numbers = texts.cast(pl.Float64, strict=False)
        if numbers.null_count() == texts.null_count():
            return numbers.fill_nan(None), pl.zeros(len(texts), pl.Boolean, eager=True)
    stripped = texts.str.strip_chars()
    values = stripped.set(stripped.is_in(list(parse.get("missing", missing_marks(kind, ())))), None)
    if kind not in READERS:
        return values, pl.zeros(len(values), pl.Boolean, eager=True)
    read = READERS[kind](values, parse)
    return read, read.is_null() & values.is_not_null()


def parse_for(texts: pl.Series, kind: str, missing: Sequence[str] = ()) -> dict[str, Any]:
    """How to read a column of texts as the kind that a user asked for: the way that most of its values have.

    >>> parse_for(pl.Series(["12.5.2024", "30.5.2024", "soon"]), "date")["format"]
    '%d.%m.%Y'
    """
    stripped = texts.str.strip_chars()
    distinct = stripped.filter(~stripped.is_in(missing_marks(kind, missing)) & stripped.is_not_null()).unique()
    found = FINDERS[kind](distinct) if kind in FINDERS and len(distinct) else None
    if found is not None and found[0] == kind:
        return _with_missing(found[1], kind, missing)
    return _with_missing(_best(distinct.sort().head(SAMPLE), kind), kind, missing)


def _best(sample: pl.Series, kind: str) -> dict[str, Any]:
    """The way to read numbers or dates that the most of these texts have; nothing for the other kinds."""
    if kind == "date":
        forms = [day + time for day, time in product(DAYS, TIMES)]
        return {"format": max(forms, key=lambda form: _strptime(sample, form).count())}
    if kind == "number":
        ways = [{"style": style, "percent": percent} for percent in (False, True) for style in STYLES]
        return max(ways, key=lambda way: _read_numbers(sample, way).count())
    return {}
