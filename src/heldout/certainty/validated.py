"""What the validation rows say of the learner that is chosen: its calibration with remedies, its sets or intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from heldout.certainty.calibration import CALIBRATORS, Array, Calibration, Calibrator, calibration, cross_fitted
from heldout.certainty.choice import SURE, Choice, choose
from heldout.certainty.conformal import Conformal, cross_covered, distances
from heldout.differences import Difference, difference
from heldout.fitting import Fitted, Rows
from heldout.intervals import LEVEL, Score, replicate
from heldout.metrics import CRITERIA, Prediction
from heldout.multiplicity import holm
from heldout.problem import Problem
from heldout.split import folds

FOLDS = 10
LEAST_UNITS = 50  # units of validation rows from which something is learned


@dataclass(frozen=True, repr=False)
class Recalibrated:
    """A remedy for probabilities, cross-fitted: by how much it lowers the log loss, and p for all remedies together."""

    title: str
    difference: Difference
    p: float


@dataclass(frozen=True, repr=False)
class Certainty:
    """The choice among the learners, and what is known of the chosen one.

    Attributes
    ----------
    choice : Choice
    calibration : Calibration or None
        Of its probabilities as they are.
    remedies : tuple of Recalibrated
    calibrator : Temperature, Isotonic or None
        The remedy that lowers the log loss most, where it does beyond chance; fitted to all validation rows.
    calibrated : Calibration or None
        Of the probabilities after the remedy, cross-fitted.
    conformal : Conformal or None
        Thresholds from all validation rows.
    covered : Score or None
        The share of validation rows covered at 95% by thresholds of other rows, with its interval.
    size : float or None
        Mean number of classes in a set, or the half width of an interval, at 95%.
    empty : float
        Share of sets with no class.
    """

    choice: Choice
    calibration: Calibration | None = None
    remedies: tuple[Recalibrated, ...] = ()
    calibrator: Calibrator | None = None
    calibrated: Calibration | None = None
    conformal: Conformal | None = None
    covered: Score | None = None
    size: float | None = None
    empty: float = 0.0


def certainty(learners: Sequence[Fitted], problem: Problem, rows: Rows) -> Certainty:
    """The choice among learners with scores on these validation rows, and what the rows say of the chosen one."""
    choice = choose(learners, problem.criterion)
    chosen = next(item for item in learners if item.name == choice.chosen)
    said, units = chosen.prediction, rows.units
    assert said is not None
    n_units = len(np.unique(units))
    if chosen.baseline or n_units < LEAST_UNITS or (said.value is None and said.probability is None):
        return Certainty(choice)
    fold = folds(units, rows.y, problem, FOLDS, rows.sample.seed)
    found = distances(rows.y, said)
    covered = cross_covered(found, units, fold, LEVEL)
    conformal = Conformal.of(found, units)
    size, empty = conformal.threshold(LEVEL), 0.0
    if said.probability is not None:
        members = conformal.sets(said.probability, LEVEL).sum(axis=1)
        size, empty = float(members.mean()), float(np.mean(members == 0))
    known = Certainty(choice, conformal=conformal, covered=_share(covered, rows), size=size, empty=empty)
    return known if said.probability is None else _with_calibration(known, said.probability, rows, fold)


def _with_calibration(known: Certainty, probability: Array, rows: Rows, fold: Array) -> Certainty:
    log_loss = CRITERIA["log_loss"]
    plain = rows.replicates(log_loss, Prediction(probability=probability))
    changed = [cross_fitted(method, probability, rows.y, fold) for method in CALIBRATORS]
    gains = [difference(plain, rows.replicates(log_loss, Prediction(probability=made))) for made in changed]
    adjusted = holm([gain.p for gain in gains])
    tried = tuple(
        Recalibrated(method.title, gain, p) for method, gain, p in zip(CALIBRATORS, gains, adjusted, strict=True)
    )
    better = [at for at, item in enumerate(tried) if item.p <= SURE]
    best = max(better, key=lambda at: tried[at].difference.value, default=None)
    looked = calibration(rows.y, probability, groups=rows.units)
    after = None if best is None else calibration(rows.y, changed[best], groups=rows.units)
    calibrator = None if best is None else CALIBRATORS[best].fit(probability, rows.y)
    return Certainty(
        known.choice, looked, tried, calibrator, after, known.conformal, known.covered, known.size, known.empty
    )


def _share(covered: Array, rows: Rows) -> Score:
    """The share of covered rows with its interval: that of an accuracy."""
    truth, said = np.ones(len(covered), np.int64), Prediction(label=covered.astype(np.int64))
    return replicate(CRITERIA["accuracy"], truth, said, rows.sample).score()
