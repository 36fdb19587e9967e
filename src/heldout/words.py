"""Numbers and sentences as people write them: one way for findings, report and terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

CONTROLS = {
    **{code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\t\n\r"},  # ␛ for the escape character
    0x7F: "␡",
    **dict.fromkeys(range(0x80, 0xA0), "\ufffd"),
    **dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\ufffd"),  # they turn the text after them around
    **dict.fromkeys(range(0xD800, 0xE000), "\ufffd"),
    **dict.fromkeys((0xFFFE, 0xFFFF), "\ufffd"),
    **dict.fromkeys((0x2028, 0x2029), " "),
}


def number(value: float | None, digits: int = 4) -> str:
    """A number with about `digits` significant digits and thousands separators; "–" where there is none.

    >>> number(26345.28), number(0.50552), number(3.0), number(-0.00001234), number(None)
    ('26,345', '0.5055', '3', '-1.234e-05', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    if value == round(value) and abs(value) < 1e15:
        return f"{value:,.0f}"
    size = math.floor(math.log10(abs(value)))
    if size < -4 or size >= 15:
        return f"{value:.{digits}g}"
    return f"{value:,.{max(0, digits - 1 - size)}f}"


def interval(score: Mapping[str, Any]) -> str:
    """The interval of a score: "25,100 to 32,300"."""
    return f"{number(score['low'])} to {number(score['high'])}"


def short_number(value: float) -> str:
    """As `number`, but a whole number of up to four digits has no separator: it may be a year."""
    return f"{value:.0f}" if value == round(value) and abs(value) < 10_000 else number(value)


def percent(share: float) -> str:
    """A share or a level in per cent: 0.95 is "95%", 0.975 "97.5%"."""
    return f"{100 * share:.4g}%"


def p_value(p: float) -> str:
    """A p value: "0.012", "< 0.0001".

    >>> p_value(0.01234), p_value(1e-9), p_value(1.0)
    ('0.012', '< 0.0001', '1')
    """
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def p_said(p: float) -> str:
    """A p value within a sentence, "p = 0.012"."""
    return f"p {p_value(p)}" if p < 1e-4 else f"p = {p_value(p)}"


def joined(parts: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def against(matrix: Mapping[str, Any]) -> list[list[str]]:
    """A comparison matrix as cells: by how much the learner of the column is better than that of the row, and p."""
    pairs = {(pair["one"], pair["other"]): pair for pair in matrix["pairs"]}
    cells = []
    for row in matrix["names"]:
        line = []
        for column in matrix["names"]:
            pair = pairs.get((column, row))
            line.append("" if pair is None else f"{number(pair['by']['value'], 3)} ({p_said(pair['p'])})")
        cells.append(line)
    return cells


def missing(share: float) -> str:
    """The share of missing values in three digits; "" where none is missing."""
    return percent(float(f"{share:.3g}")) if share else ""


def seconds(value: float) -> str:
    """A duration: "0.42 ms", "1.3 s", "3 min 20 s", "2 h 5 min".

    >>> seconds(0.00042), seconds(0.0996), seconds(59.7), seconds(7500)
    ('0.42 ms', '0.1 s', '1 min 0 s', '2 h 5 min')
    """
    if value < 0.0995:
        return f"{1000 * value:.2g} ms"
    if value < 9.95:
        return f"{value:.2g} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def capital(sentence: str) -> str:
    """The sentence with a capital first letter; the rest stays as it is."""
    return sentence[:1].upper() + sentence[1:]


def short(text: str, most: int = 40) -> str:
    """The beginning of a text that is longer than `most` characters, with "…"."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def legible(value: Any) -> Any:
    """A record, or a part of it, whose texts are safe to show.

    Control characters become visible signs (an escape character would command the terminal, and is no character
    of an SVG), and so do those that turn the text after them around. Line breaks and tabs stay.

    >>> legible({"name": "\\x1b[31m", "rows": [1, "a\\u202eb"]})
    {'name': '␛[31m', 'rows': [1, 'a�b']}
    """
    if isinstance(value, str):
        return value.translate(CONTROLS)
    if isinstance(value, Mapping):
        return {legible(key): legible(item) for key, item in value.items()}
    return [legible(item) for item in value] if isinstance(value, list | tuple) else value


def verdict(ledger: Mapping[str, Any]) -> str:
    """The ledger's verdict with the hash of its last entry in full, said once."""
    said, head = str(ledger["verdict"]), str(ledger["head"])
    return said.replace(head[:16], head) if head and head[:16] in said else f"{said} Head: {head}."


def times_opened(count: int) -> str:
    """How often a test set was opened, as it stands wherever its score is shown."""
    return "opened once" if count == 1 else f"opened {count} times"


def opened_before(opening: Mapping[str, Any]) -> str:
    """An earlier opening of these rows, from the ledger."""
    at = str(opening["time"])[:16].replace("T", " at ")
    return (
        f"Opened before on {at} UTC by study {opening['study']}, which held {percent(opening['share'])} of these rows."
    )


def outcome(record: Mapping[str, Any]) -> str:
    """The study's outcome in one or two sentences."""
    problem, final = record["problem"], record["final"]
    if final is not None:
        return _final_outcome(problem, final)
    chosen = next((entry for entry in record["leaderboard"] if entry["chosen"]), None)
    if chosen is None:
        return "No learner has a score yet. The test set is still sealed."
    score, title = chosen["validation"], problem["criterion"]["title"]
    alike = sum(entry.get("alike", False) for entry in record["leaderboard"])
    why = "best on validation"
    if chosen is not record["leaderboard"][0] and alike > 1:
        why = f"chosen, the simplest of {alike} learners that cannot be told apart on validation"
    return (
        f"{_chosen(chosen)} is {why}: {title} {number(score['value'])} for {problem['target']} "
        f"({percent(score['level'])} interval {interval(score)}). The test set is still sealed."
    )


def _chosen(entry: Mapping[str, Any]) -> str:
    return f"The {entry['title'].lower()}" if entry.get("baseline") else str(entry["title"])


def _final_outcome(problem: Mapping[str, Any], final: Mapping[str, Any]) -> str:
    score, title = final["score"], problem["criterion"]["title"]
    against = ""
    if final["trivial"] is not None and final["learner"] != (problem["trivial"] or {}).get("learner"):
        against = f", against {number(final['trivial']['value'])} for the trivial answer{gained(final)}"
    rows = "never used before" if final["openings"] == 1 else f"{times_opened(final['openings'])} by now"
    return (
        f"{final['title']} predicts {problem['target']} with {_article(title)} {title} of {number(score['value'])} "
        f"({percent(score['level'])} interval {interval(score)}) on {final['rows']:,} rows {rows}{against}."
    )


def gained(final: Mapping[str, Any]) -> str:
    """By how much the test score is better than the trivial answer's, row by row: ": better by 0.38 (0.26 to 0.5)"."""
    gain = final.get("gain")
    if gain is None:
        return ""
    if gain["low"] <= 0.0 <= gain["high"]:
        return f", which it cannot be told from (difference {number(gain['value'])}, {interval(gain)})"
    return f": {'better' if gain['value'] > 0 else 'worse'} by {number(abs(gain['value']))} ({_size(gain)})"


def _size(gain: Mapping[str, Any]) -> str:
    low, high = sorted((abs(gain["low"]), abs(gain["high"])))
    return f"{number(low)} to {number(high)}"


def _article(word: str) -> str:
    return "an" if word[0].lower() in "aeio" or word[:2] in ("R²", "RM", "MA", "MS", "F1", "RO") else "a"
