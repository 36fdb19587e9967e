"""What a study shows of itself in a terminal and in a notebook: thin views of its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from heldout.diagnosis.base import Finding


class Leaderboard(Sequence[Mapping[str, Any]]):
    """The learners, best on validation first; each entry a mapping. Prints as a table."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        self._record = record

    def __getitem__(self, index: Any) -> Any:
        return self._record["leaderboard"][index]

    def __len__(self) -> int:
        return len(self._record["leaderboard"])

    def __repr__(self) -> str:
        return section_text("leaderboard", self._record)

    def _repr_html_(self) -> str:
        return section_html("leaderboard", self._record)


class FindingList(Sequence[Finding]):
    """What the diagnosis found. Prints as a list, most severe first."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        self._record = record
        self._findings = [Finding.from_json(item) for item in record["findings"]]

    def __getitem__(self, index: Any) -> Any:
        return self._findings[index]

    def __len__(self) -> int:
        return len(self._findings)

    def __repr__(self) -> str:
        return section_text("findings", self._record)

    def _repr_html_(self) -> str:
        return section_html("findings", self._record)


def section_text(name: str, record: Mapping[str, Any]) -> str:
    """One section of the record as plain text."""
    from heldout.report import terminal

    return terminal.text(record, (name,))


def section_html(name: str, record: Mapping[str, Any]) -> str:
    """One section of the record as HTML."""
    from heldout.report import html

    return html.fragment(name, record)


def study_text(record: Mapping[str, Any]) -> str:
    """A study in a terminal: problem, learners, and the outcome."""
    from heldout.report import terminal
    from heldout.words import outcome

    return f"{terminal.text(record, ('problem', 'leaderboard'))}\n\n{outcome(record)}"


def study_html(record: Mapping[str, Any]) -> str:
    """A study in a notebook: the outcome, learners and findings."""
    from html import escape

    from heldout.words import outcome

    sections = section_html("leaderboard", record) + section_html("findings", record)
    return f"<p><strong>{escape(outcome(record))}</strong></p>{sections}"
