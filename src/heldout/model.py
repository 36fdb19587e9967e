"""A model in use: reads new rows the way it learned to, encodes them, predicts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from heldout.certainty.calibration import CALIBRATORS, Calibrator, Isotonic
from heldout.certainty.conformal import Conformal
from heldout.data.encode import Encoder
from heldout.data.read import as_raw, conform, wanted_for
from heldout.data.table import Column, Table
from heldout.errors import InputError, WorkError
from heldout.fitting import as_pandas, predict, taken_by, takes, texts_in
from heldout.intervals import LEVEL
from heldout.metrics import Prediction
from heldout.panel import LEARNERS
from heldout.persist import State
from heldout.problem import Problem, label_text
from heldout.words import percent


@dataclass(frozen=True, repr=False)
class Model:
    """A fitted learner with everything needed to use it on new tables: `predict`, `predict_proba`, `predict_table`.

    Attributes
    ----------
    problem : Problem
        As it was when the model was fitted; its `features` are the columns that new data must have.
    encoder : Encoder
        Fitted on the training rows.
    estimator : estimator
        Fitted on the encoded training rows (or, for a pipeline, on the columns themselves).
    calibrator : Temperature, Isotonic or None
        What its probabilities go through, where that was better beyond chance on validation. Labels stay as they are.
    conformal : Conformal or None
        How far off it was on the validation rows.
    """

    problem: Problem
    encoder: Encoder
    estimator: Any
    name: str
    raw: bool = False
    calibrator: Calibrator | None = None
    conformal: Conformal | None = None

    def __repr__(self) -> str:
        kinds = f"{self.problem.target} from {len(self.problem.features)} columns"
        return f"Model({self.name}: predicts {kinds})"

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that new data must have."""
        return tuple(column for column in self.problem.columns if column.name in self.problem.features)

    def predict(self, data: Any) -> NDArray[Any]:
        """The predicted value or class of each row.

        Parameters
        ----------
        data : path, frame, array or Table
            Must have the feature columns; their order is free and other columns are ignored. For a model of images a
            folder, a file or an array of them; they are resized to those that it learned from. For a forecast dated
            rows of the past: each time with a window of the past before it is predicted, and the one still to come.

        Returns
        -------
        array of shape (n,)
            float64 values, or the classes' own labels.

        Raises
        ------
        InputError
            A column is missing, or holds a value that cannot be read as its kind.
        """
        return self._answer(self.says(self._table(data)))

    def predict_proba(self, data: Any) -> NDArray[np.float64]:
        """The probability of each class, shape (n, K), in the order of `problem.classes`."""
        probability = self.says(self._table(data)).probability
        if probability is None:
            raise InputError(f"{self.name} gives no probabilities; use predict.")
        return np.asarray(probability)

    def predict_interval(self, data: Any, *, level: float = LEVEL) -> NDArray[np.float64]:
        """The ends of an interval that holds the true value of a new row with this chance, (n, 2).

        Infinite where there were too few validation rows for the level. For rows that are like those.
        """
        if self.problem.classes is not None:
            raise InputError(f"{self.problem.target} is a class; predict_set gives sets of classes.")
        conformal = self._conformal()
        return conformal.intervals(np.asarray(self._says_plainly(self._table(data)).value), level)

    def predict_set(self, data: Any, *, level: float = LEVEL) -> NDArray[np.bool_]:
        """Which of `problem.classes` are in a set that holds the true one of a new row with this chance, (n, K)."""
        if self.problem.classes is None:
            raise InputError(f"{self.problem.target} is a number; predict_interval gives intervals.")
        conformal = self._conformal()
        return conformal.sets(np.asarray(self._says_plainly(self._table(data)).probability), level)

    def _conformal(self) -> Conformal:
        if self.conformal is None:
            raise InputError(
                f"{self.name} has no intervals or sets: they come with a study's chosen learner, where it has 50 "
                "validation rows or more and, for classes, gives probabilities."
            )
        return self.conformal

    def predict_table(
        self, data: Any, *, level: float | None = None, **read_options: Any
    ) -> tuple[pl.DataFrame, list[str]]:
        """The rows of `data` as they were read, predictions beside them, and notices about how they were read.

        `level`: also the interval, or the set of classes, that holds the truth with this chance. Options: `delimiter`,
        `sheet`, `missing` and `damaged`, as `heldout.read` has them.
        """
        table, frame, notices = self._read(data, read_options)
        plain = self._says_plainly(table)
        prediction = self._calibrated(plain)
        column = _free_name(f"predicted {self.problem.target}", frame.columns)
        added = {column: self._answer(prediction).tolist()}
        if prediction.probability is not None and self.problem.classes is not None:
            for code, label in enumerate(self.problem.classes):
                name = _free_name(f"probability of {label_text(label)}", frame.columns)
                added[name] = prediction.probability[:, code].tolist()
        if level is not None:
            added |= {_free_name(name, frame.columns): values for name, values in self._covering(plain, level).items()}
        return frame.with_columns(**{name: pl.Series(name, values) for name, values in added.items()}), notices

    def _covering(self, plain: Prediction, level: float) -> dict[str, list[Any]]:
        """Columns with the ends of intervals, or with the classes of each set."""
        conformal, sure = self._conformal(), percent(level)
        if self.problem.classes is None:
            low, high = conformal.intervals(np.asarray(plain.value), level).T
            return {f"{sure} low": low.tolist(), f"{sure} high": high.tolist()}
        names = [label_text(label) for label in self.problem.classes]
        members = conformal.sets(np.asarray(plain.probability), level)
        return {f"{sure} set": [", ".join(n for n, there in zip(names, row, strict=True) if there) for row in members]}

    def _read(self, data: Any, options: dict[str, Any]) -> tuple[Table, pl.DataFrame, list[str]]:
        """Rows for the learner, what to show beside their predictions, and notices."""
        made = self.problem.made_of
        if made is not None:
            table, notices = conform(data, made.columns, **options)
            rows = made.unseen(table)
            return rows, rows.frame.select(made.shown), notices
        wanted = wanted_for(self.columns, options.pop("damaged", "refuse"))
        given = as_raw(data, wanted=wanted, **{name: options.pop(name, None) for name in ("delimiter", "sheet")})
        table, notices = conform(given, self.columns, **options)
        return table, given.frame.drop([given.image.name] if given.image else []), notices

    def _table(self, data: Any) -> Table:
        made = self.problem.made_of
        return conform(data, self.columns)[0] if made is None else made.unseen(conform(data, made.columns)[0])

    def says(self, table: Table) -> Prediction:
        """What the learner says of rows that were read as the training rows were, its probabilities calibrated."""
        return self._calibrated(self._says_plainly(table))

    def _calibrated(self, plain: Prediction) -> Prediction:
        if self.calibrator is None or plain.probability is None:
            return plain
        return replace(plain, probability=self.calibrator(plain.probability))

    @property
    def encodes(self) -> bool:
        """The learner is told of rows by the encoder's matrix, and of nothing else."""
        return not self.raw and not (self.problem.text is not None and takes(self.estimator, "texts"))

    def says_of(self, matrix: NDArray[Any], *, labels: bool = True) -> Prediction:
        """What the learner says of encoded rows, its probabilities calibrated; `labels`: of classes, these too."""
        return self._calibrated(self._asked(taken_by(self.estimator, matrix, self.encoder), labels))

    def _says_plainly(self, table: Table) -> Prediction:
        if self.encodes:
            matrix = self.encoder.transform(table.select(self.problem.features))
            return self._asked(taken_by(self.estimator, matrix, self.encoder))
        if self.raw or self.problem.text is None:
            return self._asked(as_pandas(table, self.problem))
        return self._asked(texts_in(table, self.problem.text))

    def _asked(self, X: Any, labels: bool = True) -> Prediction:
        try:
            return predict(self.estimator, X, self.problem, labels=labels)
        except ValueError as error:
            raise WorkError(f"{self.name} could not predict these rows: {error}.") from error

    def _answer(self, prediction: Prediction) -> NDArray[Any]:
        if self.problem.classes is None:
            return np.asarray(prediction.value)
        return np.asarray(np.array(self.problem.classes)[np.asarray(prediction.label)])

    def to_state(self) -> dict[str, Any]:
        kept = replace(self.problem, columns=self.columns, left_out=(), notices=(), group=None, time=None, part=None)
        return {
            "name": self.name,
            "problem": kept,
            "encoder": self.encoder,
            "estimator": self.estimator,
            "calibrator": self.calibrator,
            "conformal": self.conformal,
        }

    @classmethod
    def from_state(cls, state: State) -> Model:
        problem = state.object("problem", Problem)
        estimator = state.object("estimator", tuple(entry.load() for entry in LEARNERS.values()))
        model = cls(
            problem,
            state.object("encoder", Encoder),
            estimator,
            state.text("name"),
            calibrator=state.object("calibrator", CALIBRATORS) if state.optional("calibrator") else None,
            conformal=state.object("conformal", Conformal) if state.optional("conformal") else None,
        )
        model._check(state)
        return model

    def _check(self, state: State) -> None:
        """The parts must fit each other: columns to encoder, encoder to estimator, estimator to classes."""
        if [column.name for column in self.columns] != list(self.encoder.columns_):
            state.fail("its encoder is made for other columns")
        entry, image = LEARNERS[type(self.estimator).__name__], self.problem.image
        shape = None if image is None else tuple(image.parse["shape"])
        series = self.encoder.series_
        if shape != self.encoder.image_shape_:
            state.fail("its encoder is made for other images")
        if shape is not None and "images" in entry.takes:
            if tuple(self.estimator.in_shape_) != shape:
                state.fail("its learner is made for images of another shape")
        elif series is not None and "series" in entry.takes:
            if (
                tuple(self.estimator.in_shape_)
                != series.as_series(np.zeros((1, self.encoder.n_features_out_))).shape[1:]
            ):
                state.fail("its learner is made for series of another shape")
        elif "texts" in entry.takes and self.problem.text is not None:
            if not self.estimator.reads_texts_:
                state.fail("its learner is not made for texts")
        elif self.encoder.n_features_out_ != self.estimator.n_features_in_:
            state.fail("its encoder and its learner do not have the same number of columns")
        if self.problem.task not in entry.tasks:
            state.fail(f"its learner is not made for a {self.problem.task} problem")
        if isinstance(self.calibrator, Isotonic):
            classes = len(self.problem.classes or ())
            if len(self.calibrator.knots) != (1 if classes == 2 else classes):
                state.fail("its calibration is made for other classes")
        if self.problem.classes is not None:
            known = np.asarray(self.estimator.classes_)
            if known.dtype.kind != "i" or known.min() < 0 or known.max() >= len(self.problem.classes):
                state.fail("its learner knows classes that the model does not have")


def _free_name(name: str, taken: list[str]) -> str:
    while name in taken:
        name += " (new)"
    return name
