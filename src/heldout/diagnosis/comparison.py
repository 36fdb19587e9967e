"""Learners compared on the validation rows, all questions of a study judged together.

There are two rounds. The first asks of each learner whether it beats the trivial answer, whether the trivial answer
beats it, and whether a sibling that was fitted anyway does. The second asks whether siblings that are fitted for the
purpose are better, and of a learner that was tuned whether that made it worse. Each round has half of the study's error
rate, by Holm's procedure; so both together are wrong anywhere with a chance of at most 5%, and what the first round
said still stands after the second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from heldout.diagnosis.siblings import relation
from heldout.differences import Difference, difference
from heldout.fitting import Fitted
from heldout.intervals import Score
from heldout.metrics import Criterion
from heldout.multiplicity import holm
from heldout.panel import entry_of
from heldout.words import interval, number, p_said, percent

FAMILY_ERROR = 0.05  # chance of any false alarm in a study, all learners and questions together
ROUNDS = 2
BEATS, TUNED, WORSE = "beats trivial", "tuned", "tuned, worse"
YARDSTICK, BEATS_YARDSTICK = "yardstick", "beats yardstick"  # of a network and the simple learner of its panel
TURNED = (BEATS, BEATS_YARDSTICK, WORSE)  # the claim is that the learner itself is better


@dataclass(frozen=True)
class Comparison:
    """A learner beside another answer on the validation rows.

    Attributes
    ----------
    learner : str, the name of the learner that is asked about
    other : str, what it is compared with, in words
    relation : what the other is to the learner: "beats trivial", "trivial", "beats yardstick", "yardstick", "simpler",
        "richer", "tuned", or "tuned, worse"
    difference : Difference of the losses, positive where the relation's claim holds
    train, validation : Score of the other, or None where it could not be fitted
    p : float, adjusted for all questions of the study
    seconds : float, for fitting the other; 0 where it was fitted anyway
    error : str, why it could not be fitted
    """

    learner: str
    other: str
    relation: str
    difference: Difference | None
    train: Score | None
    validation: Score | None
    p: float = 1.0
    seconds: float = 0.0
    error: str = ""

    @property
    def certain(self) -> bool:
        """The claim holds, beyond chance."""
        return self.p <= FAMILY_ERROR

    @property
    def gain(self) -> float:
        """By how much the claim holds on the validation rows."""
        return self.difference.value if self.difference else -float("inf")

    def __str__(self) -> str:
        """ "better by 0.1 (95% interval 0.05 to 0.15, adjusted p = 0.0012)"; the interval is this one question's."""
        if self.difference is None:
            return self.error
        way, claimed = ("better", self.difference) if self.gain >= 0 else ("worse", self.difference.turned())
        score = claimed.score()
        sure = f"{percent(score.level)} interval {interval(score.to_json())}, adjusted {p_said(self.p)}"
        return f"{way} by {number(score.value)} ({sure})"

    def to_json(self) -> dict[str, Any]:
        made = {item: value for item, value in asdict(self).items() if item not in ("train", "validation")}
        return {
            **made,
            "train": None if self.train is None else self.train.to_json(),
            "validation": None if self.validation is None else self.validation.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Comparison:
        made = dict(data)
        made["difference"] = None if data["difference"] is None else Difference.from_json(data["difference"])
        for part in ("train", "validation"):
            made[part] = None if data[part] is None else Score(**data[part])
        return cls(**made)


def first_round(learners: Sequence[Fitted], baseline: Fitted | None) -> list[Comparison]:
    """Each learner beside the trivial answer, its siblings among `learners`, and a network beside the yardstick."""
    made = [
        item
        for learner in learners
        for item in (
            *_beside_trivial(learner, baseline),
            *_beside_yardstick(learner, learners),
            *_beside(learner, learners),
        )
    ]
    return judged(made)


def judged(made: Sequence[Comparison], planned: int | None = None) -> list[Comparison]:
    """A round's comparisons with their p values adjusted, among all that were planned."""
    adjusted = holm([item.difference.p if item.difference else 1.0 for item in made], planned)
    return [replace(item, p=min(1.0, ROUNDS * p)) for item, p in zip(made, adjusted, strict=True)]


def compared(learner: Fitted, other: Fitted, relation: str, title: str = "") -> Comparison:
    """The learner beside another that was fitted to the same rows."""
    (_, mine), (train, theirs) = learner.scored, other.scored
    found = difference(mine, theirs)
    found = found.turned() if relation in TURNED else found
    return Comparison(learner.name, title or other.shown_title, relation, found, train.score(), theirs.score())


def both_scores(item: Comparison, criterion: Criterion) -> tuple[float, str]:
    """Of a comparison that was made: the learner's score on validation, and the sentence's end with both scores."""
    assert item.difference is not None and item.validation is not None
    ours = criterion.loss(criterion.loss(item.validation.value) - item.difference.value)
    return ours, f"{criterion.title} on validation {number(ours)} against {number(item.validation.value)}, {item}"


def fits_train_better(learner: Fitted, other: Fitted) -> bool:
    """`learner` has less loss on the training rows."""
    loss = learner.scored[0].criterion.loss
    return loss(learner.scored[0].value) < loss(other.scored[0].value)


def _beside_trivial(learner: Fitted, baseline: Fitted | None) -> Iterator[Comparison]:
    if baseline is not None:
        yield compared(learner, baseline, BEATS)
        yield compared(learner, baseline, "trivial")


def _beside_yardstick(learner: Fitted, learners: Sequence[Fitted]) -> Iterator[Comparison]:
    entry = entry_of(learner.estimator)
    if entry is None or not entry.is_network:
        return
    for other in learners:
        simple = entry_of(other.estimator)
        if simple is not None and simple.yardstick:
            yield compared(learner, other, BEATS_YARDSTICK)
            yield compared(learner, other, YARDSTICK)


def _beside(learner: Fitted, learners: Sequence[Fitted]) -> Iterator[Comparison]:
    for other in learners:
        if other is not learner:
            kind = relation(learner.estimator, other.estimator, fits_train_better(learner, other))
            if kind is not None:
                yield compared(learner, other, kind)
