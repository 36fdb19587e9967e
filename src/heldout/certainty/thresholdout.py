r"""The reusable holdout: questions to held-out rows whose answers give away little of which rows they are.

C. Dwork, V. Feldman, M. Hardt, T. Pitassi, O. Reingold and A. Roth, The reusable holdout: preserving validity in
adaptive data analysis, Science 349, 2015, 636-638; Generalization in adaptive data analysis and holdout reuse, NeurIPS
2015, figure 1.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from heldout.errors import InputError, WorkError
from heldout.intervals import Replicates


class Thresholdout:
    r"""Answers of held-out rows to any number of questions, while the budget lasts.

    To the question for a mean :math:`\phi`, with noise :math:`\eta, \xi, \gamma`,

    .. math:: a = \begin{cases} \phi_\text{held out} + \xi
        & |\phi_\text{held out} - \phi_\text{train}| > T + \gamma + \eta \\ \phi_\text{train} & \text{else,}\end{cases}

    with Laplace's law, scales :math:`\sigma` of :math:`\xi`, :math:`2 \sigma` of :math:`\gamma` (drawn anew after each
    answer of the first kind) and :math:`4 \sigma` of :math:`\eta`. Only answers of the first kind cost: who does not
    overfit may ask for ever.

    Parameters
    ----------
    threshold : float > 0, default 0.04
        T, in units of the means. The paper's figure takes :math:`4 / \sqrt n`.
    noise : float > 0, default 0.01
        :math:`\sigma`; the paper's figure takes :math:`1 / \sqrt n`.
    budget : int, 1 or more, default 100
        How many answers of the first kind are given.
    seed : int, not negative, default 0

    Attributes
    ----------
    asked, spent : int, questions so far, and how many of them cost

    Raises
    ------
    InputError : a parameter is out of its range.

    Examples
    --------
    >>> guard = Thresholdout(budget=1)
    >>> guard.ask(train=0.71, held_out=0.70)  # close enough: train's own
    0.71
    >>> round(guard.ask(train=0.95, held_out=0.50), 1), guard.left
    (0.5, 0)
    """

    def __init__(self, *, threshold: float = 0.04, noise: float = 0.01, budget: int = 100, seed: int = 0) -> None:
        if not 0 < threshold < np.inf or not 0 < noise < np.inf:
            raise InputError(f"threshold is {threshold!r} and noise {noise!r}: both must be above zero.")
        if isinstance(budget, bool) or not isinstance(budget, int) or budget < 1:
            raise InputError(f"The budget is {budget!r}: give a whole number, 1 or more.")
        self.threshold, self.noise, self.budget, self.seed = float(threshold), float(noise), budget, seed
        self.asked = self.spent = 0
        self._answers: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"Thresholdout({self.asked:,} questions, {self.left:,} of {self.budget:,} left of the budget)"

    @property
    def left(self) -> int:
        """What is left of the budget."""
        return self.budget - self.spent

    def ask(self, train: float, held_out: float) -> float:
        """The answer to one question, from its value on the training rows and on the rows held out.

        The same question, asked again, gets the same answer and costs nothing. Raises WorkError where the budget is
        spent.
        """
        mark = hashlib.sha256(f"{float(train)!r} {float(held_out)!r}".encode()).hexdigest()[:16]
        if mark in self._answers:
            return self._answers[mark]
        if self.left < 1:
            raise WorkError(
                f"The budget of the rows held out is spent: {self.budget:,} answers that differed from train. What is "
                "asked now would only be learned by heart; take new rows."
            )
        bar = self.threshold + self._drawn(0, self.spent, 2) + self._drawn(1, self.asked, 4)
        apart = abs(held_out - train) > bar
        answer = float(held_out) + self._drawn(2, self.asked, 1) if apart else float(train)
        self._answers[mark] = answer
        self.spent, self.asked = self.spent + apart, self.asked + 1
        return answer

    def _drawn(self, which: int, turn: int, scale: float) -> float:
        """Noise that the seed and the turn decide, so that a study that is resumed goes on where it was."""
        return float(np.random.default_rng([self.seed, which, turn]).laplace(0.0, scale * self.noise))

    def to_json(self) -> dict[str, Any]:
        kept = {name: getattr(self, name) for name in ("threshold", "noise", "budget", "seed", "asked", "spent")}
        return {**kept, "answers": dict(self._answers)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Thresholdout:
        made = cls(**{name: data[name] for name in ("threshold", "noise", "budget", "seed")})
        made.asked, made.spent, made._answers = int(data["asked"]), int(data["spent"]), dict(data["answers"])
        return made


def guarded(train: Replicates, held_out: Replicates, guard: Thresholdout) -> Replicates:
    """A learner's score on held-out rows as the guard tells it; its questions are in standard errors of the score.

    Its uncertainty is that of the score and of the answer: the noise, or the threshold where the answer is train's.
    """
    se = held_out.se
    if se == 0.0:
        return held_out
    answer = guard.ask(train.value / se, held_out.value / se)
    is_trains = answer == train.value / se
    return held_out.moved(se * answer, se * (guard.threshold if is_trains else math.sqrt(2) * guard.noise))
