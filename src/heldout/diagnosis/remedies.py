"""H103: siblings fitted for the purpose, compared under the study's error rate, adopted where they are better."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from heldout.candidates import Candidate
from heldout.diagnosis.base import Check, Evidence, Finding, NotApplicable
from heldout.diagnosis.comparison import TUNED, WORSE, Comparison, compared, fits_train_better
from heldout.diagnosis.siblings import by_train
from heldout.diagnosis.variants import BY_TRAIN, Variant, variants
from heldout.errors import InputError
from heldout.fitting import Fitted, Rows, fit, shown_parameters, too_large
from heldout.problem import Problem
from heldout.words import number


@dataclass(frozen=True, repr=False)
class Trial:
    """A sibling to be fitted, and the learner that it is a sibling of."""

    learner: Fitted
    variant: Variant

    @property
    def title(self) -> str:
        return f"{self.learner.title}: {self.variant.change}"


@dataclass(frozen=True, repr=False)
class Plan:
    """The siblings of a study's learners: how many there are, and those that will be fitted."""

    questions: int
    trials: tuple[Trial, ...]


def plan(learners: Sequence[Fitted], n_rows: int, problem: Problem, *, quick: bool = False, tune: int = 0) -> Plan:
    """All siblings of all learners; `quick`: one each, simpler where the gap is certain, else richer.

    Which are left out may depend on the gap because the p values are adjusted for all of them. With `tune` each
    learner that has a space is beside them, searched over so many settings; that it is better, and that it is worse,
    are two questions.

    Raises InputError where `tune` is no number of settings.
    """
    if not isinstance(tune, int | np.integer) or isinstance(tune, bool) or tune < 0:
        raise InputError(f"tune is {tune!r} and must be a number of settings: a whole number, 0 for none.")
    present = {type(item.estimator).__name__ for item in learners}
    listed = {item.name: [Trial(item, v) for v in variants(item.estimator, n_rows, present)] for item in learners}
    kept = [trial for item in learners for trial in (_telling(listed[item.name]) if quick else listed[item.name])]
    searched = [Trial(item, found) for item in learners for found in _tuned(item, n_rows, problem, tune)]
    return Plan(sum(map(len, listed.values())) + 2 * len(searched), (*kept, *searched))


def _tuned(learner: Fitted, n_rows: int, problem: Problem, n_settings: int) -> Iterator[Variant]:
    """The learner with its settings searched for, if it has any to search for."""
    from sklearn.base import clone

    from heldout.diagnosis.search import Search
    from heldout.diagnosis.spaces import space_of

    if n_settings > 0 and not hasattr(learner.estimator, "tunes") and space_of(learner.estimator, n_rows):
        search = Search(clone(learner.estimator), n_settings=n_settings, criterion=problem.criterion.name)
        yield Variant("tuned", f"tuning over {n_settings} settings", TUNED, search)


def _telling(trials: Sequence[Trial]) -> list[Trial]:
    if not trials:
        return []
    train, validation = trials[0].learner.scored
    wanted = "simpler" if validation.loss_minus(train).low > 0 else "richer"
    return [trial for trial in trials if trial.variant.relation == wanted][:1]


Attempt = tuple[Comparison, Fitted]


def attempt(trial: Trial, problem: Problem, train: Rows, validation: Rows) -> list[Attempt]:
    """Fit the sibling on train and compare it on validation; p is adjusted later, for all together.

    One comparison; of a learner that was tuned two, the other way round too.
    """
    learner, variant = trial.learner, trial.variant
    name, title = f"{learner.name}-remedy", f"{learner.title}, {variant.remedy}"
    candidate = Candidate(name, title, variant.estimator, raw=learner.raw, ours=learner.ours)
    if why := too_large(candidate, train) if train.part is not None else "":
        return [not_tried(trial, why)]
    sibling = replace(fit(candidate, problem, train, validation, variant.ready), remedy_of=learner.name)
    if sibling.status != "fitted":
        return [not_tried(trial, sibling.error)]
    kinds: tuple[str, ...] = (variant.relation,)
    change = variant.change
    if variant.relation == BY_TRAIN:
        kinds = (by_train(fits_train_better(learner, sibling)),)
    if variant.relation == TUNED:
        found, best = sibling.estimator, sibling.estimator.best_estimator_
        kinds, change = (TUNED, WORSE), f"{change} ({found.tuning_.describe(found.tuning_.best)})"
        sibling = replace(sibling, estimator=best, parameters=shown_parameters(best))
    made = (replace(compared(learner, sibling, kind, change), seconds=sibling.fit_seconds) for kind in kinds)
    return [(comparison, sibling) for comparison in made]


def not_tried(trial: Trial, why: str) -> Attempt:
    """A sibling that could not be fitted, or was not."""
    learner, variant = trial.learner, trial.variant
    said = Comparison(learner.name, variant.change, variant.relation, None, None, None, error=why)
    return said, Fitted(f"{learner.name}-remedy", trial.title, "skipped", error=why)


def best_remedies(tried: Sequence[Comparison]) -> dict[str, int]:
    """For each learner with a sibling that is better beyond chance: the place of the best of them in `tried`."""
    best: dict[str, int] = {}
    for at, item in enumerate(tried):
        first = item.learner not in best or item.gain > tried[best[item.learner]].gain
        if item.certain and item.relation != WORSE and first:
            best[item.learner] = at
    return best


class Remedies(Check):
    """What was tried for each learner, and what helped."""

    code = "H103"
    title = "Siblings tried"

    def examine(self, evidence: Evidence) -> Iterator[Finding | NotApplicable]:
        if not evidence.second_round:
            yield NotApplicable(self.code, "no sibling was fitted")
            return
        best = best_remedies(evidence.second_round)
        adopted = {item.remedy_of for item in evidence.learners if item.remedy_of}
        for learner in evidence.fitted:
            tried = [i for i in evidence.second_round if i.learner == learner.name and i.relation != WORSE]
            if tried:
                chosen = evidence.second_round[best[learner.name]] if learner.name in best else None
                yield self._finding(learner, tried, chosen, learner.name in adopted, evidence)

    def _finding(
        self,
        learner: Fitted,
        tried: Sequence[Comparison],
        chosen: Comparison | None,
        adopted: bool,
        evidence: Evidence,
    ) -> Finding:
        rows = [_row(item, item is chosen and adopted) for item in tried]
        count = "One sibling was" if len(tried) == 1 else f"{len(tried)} siblings were"
        if chosen is None or chosen.validation is None:
            which = "it is not" if len(tried) == 1 else "none is"
            message = f"{count} fitted and compared on validation; {which} better beyond chance, and nothing changes."
            return Finding(self.code, self.title, "info", message, learner.name, {"tried": rows})
        scores = (
            f"{evidence.problem.criterion.title} on validation {number(chosen.validation.value)} against "
            f"{number(learner.scored[1].value)}, {chosen}"
        )
        if adopted:
            message = f"{count} fitted; what helped most is {chosen.other}: {scores}. It has joined the learners."
            return Finding(self.code, "Remedy adopted", "good", message, learner.name, {"tried": rows})
        message = f"{count} fitted; what would help most is {chosen.other}: {scores}."
        if not evidence.sealed:
            message += (
                " It has not joined the learners: the test set is open, and what is chosen now would be chosen with "
                "its score in mind."
            )
        return Finding(self.code, "Remedy found", "info", message, learner.name, {"tried": rows})


def _row(item: Comparison, adopted: bool) -> Mapping[str, Any]:
    """One line of the table of what was tried."""
    return {
        "change": item.other,
        "relation": item.relation,
        "train": item.train.to_json() if item.train else None,
        "validation": item.validation.to_json() if item.validation else None,
        "better_by": item.difference.score().to_json() if item.difference else None,
        "p": item.p,
        "adopted": adopted,
        "seconds": item.seconds,
        "error": item.error,
    }
