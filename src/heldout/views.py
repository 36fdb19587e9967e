"""What a study shows of itself in a terminal and in a notebook: thin views of its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from heldout.diagnose.base import Finding


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
