"""What a check sees and what it says: Evidence in, findings out.

The evidence comes from train and validation alone; a sealed test set is refused by type.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from heldout.certainty.validated import Certainty
from heldout.diagnosis.comparison import Comparison, first_round, judged
from heldout.errors import SealError
from heldout.fitting import Fitted
from heldout.intervals import Score
from heldout.problem import Problem
from heldout.seal import SealedTest

if TYPE_CHECKING:
    from heldout.diagnosis.leaks.seen import Seen

Severity = Literal["good", "info", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """What a check found: a code to look it up by, a severity, a message with the numbers, the evidence as data."""

    code: str
    title: str
    severity: Severity
    message: str
    learner: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "title": self.title,
            "severity": self.severity,
            "learner": self.learner,
            "message": self.message,
            "evidence": {k: v.to_json() if isinstance(v, Score) else v for k, v in self.evidence.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Finding:
        return cls(**{item.name: data[item.name] for item in fields(cls)})

    def __str__(self) -> str:
        about = f" ({self.learner})" if self.learner else ""
        return f"{self.code} {self.severity}: {self.title}{about}. {self.message}"


@dataclass(frozen=True)
class NotApplicable:
    """A check that has nothing to say of this study, and why."""

    code: str
    reason: str


@dataclass(frozen=True)
class Suspicion:
    """A finding, if it is beyond chance: `told` is asked for it with the p value adjusted for all of a study's."""

    p: float
    told: Callable[[float], Finding]


@dataclass(frozen=True, repr=False)
class Evidence:
    """All that a check may look at: the problem, the fitted learners with their replicates, notes of the split.

    `columns` names those of the matrix that the learners were fitted to. `tried` are siblings that were fitted for the
    purpose, of `planned` that there are; one of each learner where the diagnosis was `quick`. The best may join the
    learners while the test set is `sealed`. `certainty` is what the validation rows say of the choice, `looks` how many
    fits were scored on them, `learned` what the chosen learner relies on and where it fails. `seen` are the rows of
    train and validation, for the checks of leaks; where they cannot be looked at `unseen` says why.
    """

    problem: Problem
    learners: tuple[Fitted, ...]
    split_notes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    tried: tuple[Comparison, ...] = ()
    planned: int = 0
    quick: bool = False
    sealed: bool = True
    certainty: Certainty | None = None
    looks: Mapping[str, Any] | None = None
    seen: Seen | None = None
    unseen: str = ""
    learned: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            if isinstance(getattr(self, item.name), SealedTest):
                raise SealError(
                    "A diagnosis looks at train and validation only; it cannot be given the sealed test set."
                )

    @property
    def baseline(self) -> Fitted | None:
        return next((item for item in self.learners if item.baseline and item.status == "fitted"), None)

    @property
    def fitted(self) -> tuple[Fitted, ...]:
        """The learners that have scores, without the trivial answer and without adopted remedies."""
        return tuple(item for item in self.learners if item.is_asked_about)

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Each learner beside the trivial answer and its siblings, with p values for each round together."""
        return (*first_round(self.fitted, self.baseline), *self.second_round)

    @cached_property
    def second_round(self) -> tuple[Comparison, ...]:
        """Each learner beside siblings that were fitted for the purpose, with p values for all that are planned."""
        return tuple(judged(self.tried, self.planned))

    @property
    def questions(self) -> int:
        """How many questions are judged together in a round, at most."""
        return max(len(self.comparisons) - len(self.tried), len(self.tried), self.planned)


class Check(ABC):
    """One question about a study. Subclasses set `code` and `title` and yield findings from `examine`."""

    code: ClassVar[str]
    title: ClassVar[str]
    of_rows_alone: ClassVar[bool] = False  # it looks at the problem and its rows, and at no learner

    @abstractmethod
    def examine(self, evidence: Evidence) -> Iterator[Finding | Suspicion | NotApplicable]:
        """Findings, suspicions that are judged together with others, nothing, or NotApplicable with the reason."""
