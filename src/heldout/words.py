"""Numbers and sentences as people write them: one way for findings, report and terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def number(value: float | None, digits: int = 4) -> str:
    """A number with about `digits` significant digits and thousands separators; "–" where there is none.

    >>> number(26345.28), number(0.50552), number(3.0), number(-0.00001234), number(None)
    ('26,345', '0.5055', '3', '-1.234e-05', '–')
    """
    if value is None:
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


def percent(share: float) -> str:
    """A share or a level in per cent: 0.95 is "95%", 0.975 "97.5%"."""
    return f"{100 * share:.4g}%"


def seconds(value: float) -> str:
    """A duration: "0.42 ms", "1.3 s", "3 min 20 s"."""
    if value < 0.1:
        return f"{1000 * value:.2g} ms"
    if value < 60:
        return f"{value:.2g} s" if value < 10 else f"{value:.0f} s"
    return f"{int(value // 60)} min {int(value % 60)} s"


def times_opened(count: int) -> str:
    """How often a test set was opened, as it stands wherever its score is shown."""
    return "opened once" if count == 1 else f"opened {count} times"


def outcome(record: Mapping[str, Any]) -> str:
    """The study's outcome in one or two sentences."""
    problem, final = record["problem"], record["final"]
    if final is not None:
        return _final_outcome(problem, final)
    chosen = next((entry for entry in record["leaderboard"] if entry["chosen"]), None)
    if chosen is None:
        return "No learner has a score yet. The test set is still sealed."
    score, title = chosen["validation"], problem["criterion"]["title"]
    return (
        f"{_chosen(chosen)} is best on validation: {title} {number(score['value'])} for {problem['target']} "
        f"({percent(score['level'])} interval {interval(score)}). The test set is still sealed."
    )


def _chosen(entry: Mapping[str, Any]) -> str:
    return f"The {entry['title'].lower()}" if entry.get("baseline") else str(entry["title"])


def _final_outcome(problem: Mapping[str, Any], final: Mapping[str, Any]) -> str:
    score, title = final["score"], problem["criterion"]["title"]
    verb = "predicts"
    against = ""
    if final["trivial"] is not None and final["learner"] != (problem["trivial"] or {}).get("learner"):
        against = f", against {number(final['trivial']['value'])} for the trivial answer"
    rows = "never used before" if final["openings"] == 1 else f"{times_opened(final['openings'])} by now"
    return (
        f"{final['title']} {verb} {problem['target']} with {_article(title)} {title} of {number(score['value'])} "
        f"({percent(score['level'])} interval {interval(score)}) on {final['rows']:,} rows {rows}{against}."
    )


def _article(word: str) -> str:
    return "an" if word[0].lower() in "aeio" or word[:2] in ("R²", "RM", "MA", "MS", "F1", "RO") else "a"
