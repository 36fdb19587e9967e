"""Fit one learner and score it on train and validation: the inner step of a study."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heldout import metrics
from heldout.candidates import Candidate
from heldout.certainty.thresholdout import Thresholdout, guarded
from heldout.data.encode import Encoder
from heldout.data.table import Column, Table
from heldout.errors import HeldoutError
from heldout.intervals import Replicates, Sample, Score, replicate
from heldout.memory import physical_memory
from heldout.metrics import Criterion, Prediction
from heldout.panel import Entry, entry_of
from heldout.problem import Problem
from heldout.seal import Part

Array = NDArray[Any]
MOST_MEMORY = 0.5  # that rows as float64 may take for a learner that wants them all


@dataclass(frozen=True, repr=False)
class Rows:
    """The rows of a part, ready for learners: matrix, frame, truth, and what they have to do with each other.

    Without a part and its encoder, every learner gets `X` as it is. A `guard` answers for validation rows instead of
    the rows themselves.
    """

    part: Part | None
    encoder: Encoder | None
    X: Any  # (n, d)
    y: Array
    sample: Sample
    guard: Thresholdout | None = None

    @classmethod
    def of(cls, part: Part, problem: Problem, encoder: Encoder | None, seed: int) -> Rows:
        """Without an encoder the rows have no matrix, and can be scored only."""
        sample = Sample.of(part.units, seed)
        X = None if encoder is None else encoder.transform(part.table.select(problem.features))
        return cls(part, encoder, X, problem.y(part.table), sample)

    def input_for(self, candidate: Candidate, problem: Problem) -> Any:
        if self.part is None or self.encoder is None:
            return self.X
        if candidate.raw:
            return as_pandas(self.part.table, problem)
        if takes(candidate.estimator, "texts") and problem.text is not None:
            return texts_in(self.part.table, problem.text)
        return taken_by(candidate.estimator, self.X, self.encoder)

    @property
    def units(self) -> Array:
        """The unit that each row belongs to, (n,)."""
        return self.sample.cluster if self.part is None else self.part.units

    def replicates(self, criterion: Criterion, prediction: Prediction) -> Replicates:
        return replicate(criterion, self.y, prediction, self.sample)


@dataclass(frozen=True, repr=False)
class Fitted:
    """A learner after its fit, with what it scores; or why it has no score."""

    name: str
    title: str
    status: str  # "fitted", "failed" or "skipped"
    error: str = ""
    baseline: bool = False
    ours: bool = True
    raw: bool = False
    remedy_of: str = ""  # the learner that this is an adopted remedy of
    estimator: Any = None
    train: Replicates | None = None
    validation: Replicates | None = None
    beside: tuple[tuple[Criterion, Score], ...] = ()
    prediction: Prediction | None = None  # of the validation rows
    fit_seconds: float = 0.0
    predict_seconds: float = 0.0
    parameters: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def shown_title(self) -> str:
        """What people call it: the name that the user gave, if there is one."""
        own = self.remedy_of or self.baseline or self.name == type(self.estimator).__name__
        return self.title if own else self.name

    @property
    def is_asked_about(self) -> bool:
        """The diagnosis asks about it: it has scores and is neither the trivial answer nor an adopted remedy."""
        return self.status == "fitted" and not (self.baseline or self.remedy_of)

    @property
    def scored(self) -> tuple[Replicates, Replicates]:
        """Train and validation replicates of a learner that was fitted."""
        assert self.train is not None and self.validation is not None
        return self.train, self.validation


def too_large(candidate: Candidate, rows: Rows) -> str:
    """Why a learner that takes its rows as float64, all at once, cannot learn from these; "" where it can."""
    entry, size = _entry(candidate.estimator), 8 * rows.X.size
    streams = entry is not None and entry.streams
    if streams or rows.X.dtype == np.float64 or size <= MOST_MEMORY * physical_memory():
        return ""
    return (
        f"It takes all images at once, as numbers of 8 bytes: {size / 1e9:,.1f} GB, too much for this machine's "
        "memory. Networks read them chunk by chunk; a smaller --size helps the others."
    )


def takes(estimator: Any, form: str) -> bool:
    """Whether it takes rows of this form as they are: images in their shape, and not as columns of pixels; texts."""
    entry = _entry(estimator)
    return entry is not None and form in entry.takes


def texts_in(table: Table, column: Column) -> list[str]:
    """The texts of a column, a missing one as none at all."""
    found: list[str] = table.frame[column.name].fill_null("").to_list()
    return found


def _entry(estimator: Any) -> Entry | None:
    """The panel's entry of an estimator; of a search, that of the estimator whose settings it searches for."""
    return entry_of(getattr(estimator, "tunes", estimator))


def taken_by(estimator: Any, X: Array, encoder: Encoder) -> Array:
    """A matrix of series or pixels as the estimator takes it; of a table's columns as it is.

    Our recurrent networks get series in their shape (n, steps, channels), all others a matrix without padding.

    Our networks get pixels as they are, some of them images in their shape (n, height, width, channels). All others
    get them as shares of the greatest in training, because penalties depend on the scale.
    """
    entry = _entry(estimator)
    if encoder.series_ is not None:
        return encoder.series_.as_series(X) if takes(estimator, "series") else encoder.series_.as_matrix(X)
    if encoder.image_shape_ is None:
        return X
    if takes(estimator, "images"):
        return X.reshape(len(X), *encoder.image_shape_)
    streams = entry is not None and entry.streams
    return X if streams else X / np.float64(encoder.pixel_scale_)


def fit(
    candidate: Candidate, problem: Problem, train: Rows, validation: Rows, ready: Callable[[], Any] | None = None
) -> Fitted:
    """Fit `candidate` on train and score it on both parts. A learner that fails is reported, not raised.

    `ready` gives the fitted estimator where it can be had without a fit.
    """
    start = time.perf_counter()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if ready is not None:
                candidate = replace(candidate, estimator=ready())
            else:
                told = {"groups": train.sample.cluster} if hasattr(candidate.estimator, "tunes") else {}
                candidate.estimator.fit(train.input_for(candidate, problem), train.y, **told)
        seconds = time.perf_counter() - start
        said = tuple(dict.fromkeys(_first_line(item.message) for item in caught if _concerns_user(item)))
        return score(candidate, problem, train, validation, fit_seconds=seconds, said=said)
    except Exception as error:  # whatever a foreign estimator raises
        why = str(error) if isinstance(error, HeldoutError) else f"{type(error).__name__}: {_first_line(error)}"
        return Fitted(
            candidate.name,
            candidate.title,
            "failed",
            error=why,
            baseline=candidate.baseline,
            ours=candidate.ours,
        )


def score(
    candidate: Candidate,
    problem: Problem,
    train: Rows,
    validation: Rows,
    *,
    fit_seconds: float,
    said: tuple[str, ...] = (),
) -> Fitted:
    """The scores of a candidate whose estimator is fitted already."""
    start = time.perf_counter()
    on_validation = predict(candidate.estimator, validation.input_for(candidate, problem), problem)
    seconds = time.perf_counter() - start
    on_train = predict(candidate.estimator, train.input_for(candidate, problem), problem)
    of_train = train.replicates(problem.criterion, on_train)
    of_validation = validation.replicates(problem.criterion, on_validation)
    if validation.guard is not None and not candidate.baseline:
        of_validation = guarded(of_train, of_validation, validation.guard)
    return Fitted(
        name=candidate.name,
        title=candidate.title,
        status="fitted",
        baseline=candidate.baseline,
        ours=candidate.ours,
        raw=candidate.raw,
        estimator=candidate.estimator,
        train=of_train,
        validation=of_validation,
        prediction=on_validation,
        fit_seconds=fit_seconds,
        predict_seconds=seconds,
        parameters=shown_parameters(candidate.estimator),
        warnings=said,
    )


def with_beside(fitted: Fitted, problem: Problem, validation: Rows) -> Fitted:
    """The same with its scores by the usual criteria beside the one asked for, of a learner that was fitted.

    Where a guard answers for the rows, there are none: each would be a question.
    """
    if fitted.prediction is None or validation.guard is not None:
        return fitted
    others = beside(problem, fitted.prediction)
    scores = tuple((item, validation.replicates(item, fitted.prediction).score()) for item in others)
    return replace(fitted, beside=scores)


def beside(problem: Problem, prediction: Prediction) -> list[Criterion]:
    """The usual criteria of the task other than the one asked for, where the prediction allows them."""
    others = [metrics.CRITERIA[name] for name in metrics.BESIDE[problem.task] if name != problem.criterion.name]
    return [item for item in others if getattr(prediction, item.needs) is not None]


def predict(estimator: Any, X: Any, problem: Problem, *, labels: bool = True) -> Prediction:
    """What a fitted estimator says of these rows, checked: its shape, its finiteness, its classes.

    Without `labels`, of a learner that gives probabilities, these alone.

    Raises
    ------
    ValueError
        The estimator predicts something that is no prediction of this problem.
    """
    if problem.classes is None:
        value = np.asarray(estimator.predict(X), dtype=np.float64).reshape(-1)
        if not np.isfinite(value).all():
            raise ValueError("it predicts values that are not finite")
        return Prediction(value=value)
    probability = None
    if hasattr(estimator, "predict_proba"):
        given = np.asarray(estimator.predict_proba(X), dtype=np.float64)
        probability = np.zeros((len(given), len(problem.classes)))
        probability[:, np.asarray(estimator.classes_, dtype=np.int64)] = given
        if not np.isfinite(probability).all():
            raise ValueError("it predicts probabilities that are not finite")
        if not labels:
            return Prediction(probability=probability)
        if getattr(estimator, "calls_the_likeliest", False):
            label = np.asarray(estimator.classes_, dtype=np.int64)[given.argmax(axis=1)]
            return Prediction(label=label, probability=probability)
    label = np.asarray(estimator.predict(X), dtype=np.int64)
    return Prediction(label=label, probability=probability)


def as_pandas(part_table: Any, problem: Problem) -> Any:
    """The feature columns as a pandas frame, for pipelines that encode them themselves."""
    import pandas as pd

    frame = part_table.frame.select(problem.features)
    columns = {}
    for column in part_table.select(problem.features).columns:
        values = frame[column.name]
        columns[column.name] = values.to_numpy() if column.kind in ("number", "date") else values.to_list()
    made = pd.DataFrame(columns)
    for column in part_table.select(problem.features).columns:
        if column.kind in ("category", "text"):
            made[column.name] = made[column.name].astype("str")
        elif column.kind == "boolean":
            made[column.name] = made[column.name].astype("boolean" if frame[column.name].null_count() else "bool")
    return made


def shown_parameters(estimator: Any) -> dict[str, Any]:
    """The parameters of an estimator, as a report shows them."""
    simple = (str, int, float, bool, type(None))
    shown = estimator.get_params(deep=False).items()
    return {name: value if isinstance(value, simple) else repr(value)[:200] for name, value in shown}


def _concerns_user(item: warnings.WarningMessage) -> bool:
    return not issubclass(item.category, DeprecationWarning | PendingDeprecationWarning | FutureWarning)


def _first_line(error: object) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__
