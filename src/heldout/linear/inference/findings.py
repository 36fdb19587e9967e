"""What the check of the Gauss-Markov assumptions finds, and how it prints."""

from __future__ import annotations

import html
import itertools
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from heldout.errors import InputError, suggest
from heldout.linear.inference.summary import p_value
from heldout.linear.triangular import Array
from heldout.printed import html_table, text_table
from heldout.words import number, percent

MOST_NAMED = 5  # columns named in a sentence
WIDTH = 110  # of a line of text
MEAN_FIRST = "Mend the mean first: the other tests look at what is left by a line that is not the mean."
PROVISO = (
    '"holds" means that these rows do not speak against it. A column that was left out and hangs together with the '
    "others biases their coefficients, and no test can see that where the mean stays a line."
)


@dataclass(frozen=True)
class Assumption:
    """One assumption as one test sees it.

    Attributes
    ----------
    name : str, the assumption
    asks : str, what it says, in a sentence
    test : str, the test or measure
    breaks : str, what goes wrong where it fails
    statistic : float, or None where the test cannot be made
    df : tuple of int, the statistic's degrees of freedom; empty where it has none
    p : float, the test's p value by itself, or None
    adjusted_p : float, Holm's p value for all tests that are judged together, or None
    verdict : "holds", "in doubt", "fails" or "not applicable"
    reason : str, why, where it does not hold
    remedy : str, what to do, where it does not hold
    """

    name: str
    asks: str
    test: str
    breaks: str
    statistic: float | None = None
    df: tuple[int, ...] = ()
    p: float | None = None
    adjusted_p: float | None = None
    verdict: str = "not applicable"
    reason: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        return _note([self])


@dataclass(frozen=True, eq=False, repr=False)
class Assumptions:
    """What the Gauss-Markov theorem asks, checked; made by `assumptions`. It prints as a table with sentences.

    It can be iterated over; `found["RESET"]`, `found["Breusch-Pagan"]` and so on are the checks by their tests.

    Attributes
    ----------
    checks : tuple of Assumption
    names : tuple of str (p,), the columns
    rank : int, of the p columns (about their means with an intercept)
    condition : float, condition number of the columns in unit norm; infinite where they depend on each other
    variance_inflation : float64 array (p,)
    n : int, rows with a weight above zero
    level : float, of the verdicts
    """

    checks: tuple[Assumption, ...]
    names: tuple[str, ...]
    rank: int
    condition: float
    variance_inflation: Array
    n: int
    level: float

    @property
    def failed(self) -> tuple[Assumption, ...]:
        """The checks whose verdict is "fails"."""
        return tuple(check for check in self.checks if check.verdict == "fails")

    def __iter__(self) -> Iterator[Assumption]:
        return iter(self.checks)

    def __getitem__(self, test: str) -> Assumption:
        wanted = test.replace("-", "–")
        for check in self.checks:
            if check.test in (wanted, f"{wanted}, HC3"):
                return check
        raise InputError(f"There is no test {test!r}.{suggest(test, [check.test for check in self.checks])}")

    def _table(self) -> tuple[list[str], list[str], list[list[str]]]:
        judged = sum(check.adjusted_p is not None for check in self.checks)
        title = [
            f"Gauss–Markov assumptions, {self.n:,} rows, {len(self.names):,} columns",
            f"level {percent(self.level)}; p adjusted by Holm's method for {judged} tests",
        ]
        header = ["assumption", "test", "statistic", "df", "p", "adjusted p", "verdict"]
        return title, header, [_cells(check) for check in self.checks]

    def _notes(self) -> list[str]:
        groups = itertools.groupby(self.checks, lambda check: (check.name, check.verdict, check.reason))
        notes = [_note(list(checks)) for (_, verdict, _), checks in groups if verdict != "holds"]
        if self["RESET"].verdict == "fails" and len(self.failed) > 1:
            notes.append(MEAN_FIRST)
        return notes

    def __str__(self) -> str:
        notes = [f"- {note}" for note in self._notes()]
        lines = [textwrap.fill(note, WIDTH, subsequent_indent="  ") for note in notes]
        return "\n".join([text_table(*self._table()), *lines, textwrap.fill(PROVISO, WIDTH)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self._notes())
        return f"{html_table(*self._table())}<ul>{notes}</ul><p>{html.escape(PROVISO)}</p>"


def _note(checks: Sequence[Assumption]) -> str:
    """Checks of one assumption with the same verdict and reason, in sentences."""
    check = checks[0]
    sentences = [f"{check.name.capitalize()} ({', '.join(check.test for check in checks)}): {check.verdict}."]
    sentences += [check.reason] if check.reason else []
    if check.remedy:
        sentences += [f"What breaks: {_lower(check.breaks)}", f"Remedy: {_lower(check.remedy)}"]
    return " ".join(sentences)


def _cells(check: Assumption) -> list[str]:
    statistic = "–" if check.statistic is None else _statistic(check.statistic)
    df = ", ".join(map(str, check.df)) or "–"
    p, adjusted = ("–" if p is None else p_value(p) for p in (check.p, check.adjusted_p))
    return [check.name, check.test, statistic, df, p, adjusted, check.verdict]


def _statistic(value: float) -> str:
    return "infinite" if value == float("inf") else number(value)


def _lower(sentence: str) -> str:
    """For use after a colon."""
    return sentence[:1].lower() + sentence[1:]


def listed(names: Sequence[str]) -> str:
    """Names in a sentence.

    >>> listed(["a"]), listed(["a", "b", "c"]), listed(list("abcdefgh"))
    ('a', 'a, b and c', 'a, b, c, d, e and 3 more')
    """
    shown, left = list(names[:MOST_NAMED]), len(names) - MOST_NAMED
    if left > 0:
        return f"{', '.join(shown)} and {left} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), *shown[-1:]]))
