"""The problem: what is predicted from what, how answers are judged, and what a trivial answer scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from heldout import metrics
from heldout.data.images.pixels import words
from heldout.data.table import Column, Table, columns_from_schema
from heldout.errors import InputError, suggest
from heldout.metrics import Criterion
from heldout.persist import State
from heldout.screening import LeftOut, screen
from heldout.series.cases import Cases
from heldout.series.windows import Windows
from heldout.words import joined, number

Label = str | int | float | bool

TASKS = ("regression", "binary", "multiclass")
FEW_VALUES = 10  # a numeric target with at most this many whole numbers is taken as classes
ASK_VALUES = 20  # up to here it stays a number, with a notice
MOST_CLASSES = 200
ROWS_PER_CLASS = 3  # one for each part
PLURAL = {
    "number": "numbers",
    "boolean": "yes/no columns",
    "category": "categories",
    "date": "dates",
    "text": "texts",
    "image": "images",
    "series": "series",
}


@dataclass(frozen=True)
class Trivial:
    """The answer that needs no learning, and what it scores on validation."""

    says: str
    learner: str
    score: float


@dataclass(frozen=True, repr=False)
class Problem:
    """A stated problem: task, target, features, criterion. Made by `Problem.state`; prints as a paragraph.

    Attributes
    ----------
    task : {"regression", "binary", "multiclass"}
    target : str
    classes : tuple of labels, or None for regression
        In a binary problem the positive class is the last.
    criterion : heldout.metrics.Criterion
    features : tuple of str
        The columns that learners see.
    group, time, part : str or None
        Columns with a role in the split. A group column and a column that gives the split are no features;
        the time column is one.
    left_out : tuple of LeftOut
    notices : tuple of str
        What the reader should know or may want to override.
    trivial : Trivial or None
        Known once the data is split.
    windows : Windows or None
        Of a forecast: how its rows are made of dated ones.
    cases : Cases or None
        Of series in a long table: how they are put together.
    """

    task: metrics.Task
    target: str
    classes: tuple[Label, ...] | None
    criterion: Criterion
    columns: tuple[Column, ...]
    features: tuple[str, ...]
    group: str | None = None
    time: str | None = None
    part: str | None = None
    left_out: tuple[LeftOut, ...] = ()
    notices: tuple[str, ...] = ()
    trivial: Trivial | None = field(default=None)
    windows: Windows | None = field(default=None)
    cases: Cases | None = field(default=None)

    @classmethod
    def state(
        cls,
        table: Table,
        target: str,
        *,
        task: str | None = None,
        criterion: str | None = None,
        positive: str | None = None,
        group: str | None = None,
        time: str | None = None,
        part: str | None = None,
        drop: Collection[str] = (),
        keep: Collection[str] = (),
        windows: Windows | None = None,
        cases: Cases | None = None,
    ) -> Problem:
        """State the problem of predicting `target` from the other columns of `table`.

        Parameters
        ----------
        table : Table
        target : str
            The column to predict. It must be filled in every row.
        task : {"regression", "classification", "binary", "multiclass"}, optional
            Default: decided by the target; a notice says so where one could decide otherwise.
        criterion : str, optional
            Any name that `heldout.metrics.criterion` knows. Default: RMSE, or log loss.
        positive : str, optional
            The positive class of a binary problem. Default: the last in sorted order.
        group, time, part : str, optional
            Columns that the split goes by.
        drop, keep : collections of str
            Columns to leave out, and columns to keep although they look like an identifier or the like.
        windows : Windows, optional
            How the rows of `table` were made, of a forecast.
        cases : Cases, optional
            How they were made of a long table of series.

        Raises
        ------
        InputError
            A column that is not there, a target with missing values, one class only, a class with fewer than
            3 rows, no feature left, an unknown task or criterion.

        >>> from heldout.data.read import read
        >>> table = read({"size": [1.0, 2.5, 3.0, 4.5], "price": [10.5, 21.0, 29.5, 41.0]})
        >>> print(Problem.state(table, "price").paragraph)
        Predict price, a number, from 1 column: a number. Learners are compared by RMSE, in units of price; lower is
        better.
        """
        for name in (target, group, time, part, *drop, *keep):
            if name is not None and name not in table.names:
                raise InputError(f"{table.source.name} has no column {name!r}.{suggest(name, table.names)}")
        _require_filled(table, target)
        decided, notices = _decide_task(table, target, task)
        classes = None if decided == "regression" else _classes(table, target, positive)
        if classes is not None:
            decided = "binary" if len(classes) == 2 else "multiclass"
            _check_task(task, decided, target, len(classes))
        elif positive is not None:
            raise InputError(f"A positive class was given, but {target} is predicted as a number.")
        roles = {target, group, part, *drop} - {None}
        candidates = [name for name in table.names if name not in roles]
        _require_no_columns_beside(table, candidates, keep)
        out = screen(table, candidates, target, classes is None, {*keep, time})
        out += [LeftOut(name, "left out as asked") for name in table.names if name in drop]
        features = tuple(name for name in candidates if name not in {item.name for item in out})
        if not features:
            reasons = "; ".join(f"{item.name}: {item.reason}" for item in out)
            raise InputError(f"No column is left to predict {target!r} from. {reasons or 'It is the only column'}.")
        return cls(
            task=decided,
            target=target,
            classes=classes,
            criterion=metrics.criterion(criterion or metrics.DEFAULT[decided], decided),
            columns=tuple(table.columns),
            features=features,
            group=group,
            time=time,
            part=part,
            left_out=tuple(out),
            notices=(*table.notices, *notices),
            windows=windows,
            cases=cases,
        )

    def __repr__(self) -> str:
        return self.paragraph

    @property
    def positive(self) -> Label | None:
        """The positive class of a binary problem, else None."""
        return self.classes[-1] if self.task == "binary" and self.classes else None

    @property
    def made_of(self) -> Windows | Cases | None:
        """How its rows are made of those of another table; None where they are that table's own."""
        return self.windows or self.cases

    @property
    def form(self) -> str:
        """What its rows are: "table", "images", "series", "windows" of a series to be forecast, or "texts" alone."""
        if self.windows is not None:
            return "windows"
        if any(item.kind == "series" and item.name in self.features for item in self.columns):
            return "series"
        if self.image is not None:
            return "images"
        return "table" if self.text is None else "texts"

    @property
    def image(self) -> Column | None:
        """The column of images that learners see, or None where they see a table."""
        return next((item for item in self.columns if item.kind == "image" and item.name in self.features), None)

    @property
    def text(self) -> Column | None:
        """The column of texts where learners see nothing else, or None."""
        seen = [item for item in self.columns if item.name in self.features]
        return seen[0] if len(seen) == 1 and seen[0].kind == "text" else None

    @property
    def paragraph(self) -> str:
        """The problem in words."""
        return " ".join(part for part in (self._aim(), self._judged(), self._left_out()) if part)

    def _aim(self) -> str:
        if self.classes is None:
            what = "a number"
        elif self.task == "binary":
            what = f"yes or no (is it {label_text(self.classes[1])} rather than {label_text(self.classes[0])}?)"
        else:
            shown = ", ".join(label_text(item) for item in self.classes[:8])
            what = f"one of {len(self.classes)} classes ({shown}{', …' if len(self.classes) > 8 else ''})"
        if self.image is not None:
            return f"Predict {self.target}, {what}, from images of {words(self.image.parse['shape'])}."
        if self.windows is not None:
            return f"Forecast {self.target}, {what}, {self.windows.words}: {self._listed()}."
        count = len(self.features)
        return f"Predict {self.target}, {what}, from {count} column{'s' * (count > 1)}: {self._listed()}."

    def _listed(self) -> str:
        count = len(self.features)
        kinds = Counter(column.kind for column in self.columns if column.name in self.features)
        listed = [f"{n} {PLURAL[kind]}" if count > 1 else f"a {kind}" for kind, n in kinds.items()]
        listed = [text if not text.startswith("1 ") else f"1 {kind}" for text, kind in zip(listed, kinds, strict=True)]
        return joined(listed)

    def _judged(self) -> str:
        unit = f", in units of {self.target}" if self.criterion.has_unit else ""
        better = "higher" if self.criterion.greater_is_better else "lower"
        says = f"Learners are compared by {self.criterion.title}{unit}; {better} is better."
        if self.trivial is None:
            return says
        return f"{says} The trivial answer, {self.trivial.says}, scores {number(self.trivial.score)} on validation."

    def _left_out(self) -> str:
        if not self.left_out:
            return ""
        listed = "; ".join(f"{item.name} ({item.reason})" for item in self.left_out[:6])
        more = f"; and {len(self.left_out) - 6} more" if len(self.left_out) > 6 else ""
        return f"Left out: {listed}{more}."

    def with_trivial(self, trivial: Trivial) -> Problem:
        return replace(self, trivial=trivial)

    def y(self, table: Table) -> NDArray[Any]:
        """The target of these rows: float64 values, or int64 class codes in the order of `classes`."""
        values = table.frame[self.target]
        if self.classes is None:
            return np.asarray(values.cast(pl.Float64).to_numpy())
        codes = {label: code for code, label in enumerate(self.classes)}
        found = [codes.get(as_label(value)) for value in values.to_list()]
        if None in found:
            row = found.index(None)
            raise InputError(
                f"{table.source.name}, row {row + 1}: {self.target} is {values[row]!r}, a class that the training "
                f"data does not have. There are: {', '.join(label_text(item) for item in self.classes)}."
            )
        return np.array(found, dtype=np.int64)

    def to_json(self) -> dict[str, Any]:
        """The problem as the study's record has it."""
        trivial = self.trivial
        return {
            "task": self.task,
            "target": self.target,
            "classes": None if self.classes is None else [label_text(item) for item in self.classes],
            "positive": None if self.positive is None else label_text(self.positive),
            "criterion": self.criterion.to_json(self.target),
            "paragraph": self.paragraph,
            "trivial": None
            if trivial is None
            else {"says": trivial.says, "learner": trivial.learner, "score": trivial.score},
            "notices": list(self.notices),
        }

    def to_state(self) -> dict[str, Any]:
        """Everything needed to make the same Problem again, as JSON values."""
        return {
            "task": self.task,
            "target": self.target,
            "classes": None if self.classes is None else [[type(item).__name__, item] for item in self.classes],
            "criterion": self.criterion.name,
            "columns": [column.to_json() for column in self.columns],
            "features": list(self.features),
            "group": self.group,
            "time": self.time,
            "part": self.part,
            "left_out": [asdict(item) for item in self.left_out],
            "notices": list(self.notices),
            "trivial": None if self.trivial is None else asdict(self.trivial),
            "windows": self.windows,
            "cases": self.cases,
        }

    @classmethod
    def from_state(cls, state: State) -> Problem:
        """The Problem that `to_state` wrote, checked."""
        task = cast(metrics.Task, state.choice("task", TASKS))
        columns = columns_from_schema(state.json("columns"), state)
        names = [column.name for column in columns]
        features = tuple(_known(state, name, names) for name in state.texts("features"))
        if not features or len(set(features)) < len(features):
            state.fail("it has no features, or one of them twice")
        return cls(
            task=task,
            target=state.text("target"),
            classes=_restored_classes(state, task),
            criterion=metrics.criterion(state.text("criterion"), task),
            columns=columns,
            features=features,
            group=state.text("group") if state.optional("group") else None,
            time=state.text("time") if state.optional("time") else None,
            part=state.text("part") if state.optional("part") else None,
            left_out=tuple(LeftOut(item.text("name"), item.text("reason")) for item in state.parts("left_out")),
            notices=tuple(state.texts("notices")),
            trivial=_restored_trivial(state.part("trivial")) if state.optional("trivial") else None,
            windows=state.object("windows", Windows) if state.optional("windows") else None,
            cases=state.object("cases", Cases) if state.optional("cases") else None,
        )


def _restored_trivial(state: State) -> Trivial:
    return Trivial(state.text("says"), state.text("learner"), state.number("score"))


def _known(state: State, name: str, names: Sequence[str]) -> str:
    if name not in names:
        state.fail(f"it names a feature {name!r} that is not among its columns")
    return name


def _restored_classes(state: State, task: str) -> tuple[Label, ...] | None:
    if not state.optional("classes"):
        if task != "regression":
            state.fail(f"it has no classes for a {task} problem")
        return None
    kinds = {"str": str, "int": int, "float": float, "bool": bool}
    given = state.json("classes")
    tagged = isinstance(given, list) and all(
        isinstance(item, list) and len(item) == 2 and type(item[1]) is kinds.get(str(item[0])) for item in given
    )
    if not tagged or len({item[1] for item in given}) != len(given):
        state.fail("its classes are not a list of different labels")
    if task == "regression" or len(given) < 2 or (len(given) == 2) != (task == "binary"):
        state.fail(f"it has {len(given)} classes for a {task} problem")
    return tuple(item[1] for item in given)


def as_label(value: Any) -> Any:
    """A cell as a class label: whole numbers as int, everything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def label_text(label: Label) -> str:
    """A class label as people write it."""
    if isinstance(label, bool):
        return "true" if label else "false"
    return f"{label:g}" if isinstance(label, float) else str(label)


def _require_no_columns_beside(table: Table, candidates: Collection[str], keep: Collection[str]) -> None:
    image = table.image
    if image is not None and image.name in candidates and keep:
        raise InputError(
            f"{table.source.name}: learners see the images alone, and {', '.join(keep)} cannot be kept beside "
            f"them; drop {image.name!r} to learn from the other columns."
        )


def _require_filled(table: Table, target: str) -> None:
    empty = table.frame[target].is_null()
    if count := int(empty.sum()):
        first = int(empty.arg_true()[0]) + 1
        raise InputError(
            f"{table.source.name}: the target {target!r} is missing in {count:,} of {len(table):,} rows (first: row "
            f"{first}); fill it in or remove those rows."
        )


def _decide_task(table: Table, target: str, asked: str | None) -> tuple[metrics.Task, list[str]]:
    if asked is not None and asked not in (*TASKS, "classification"):
        raise InputError(f"There is no task {asked!r}.{suggest(asked, (*TASKS, 'classification'))}")
    kind, values = table.column(target).kind, table.frame[target]
    if kind == "image":
        raise InputError(f"The target {target!r} holds images; predict a number or a class from them instead.")
    if kind == "date":
        raise InputError(f"The target {target!r} is a date; predict a number (days until …) or a class instead.")
    if asked == "regression":
        if kind != "number":
            raise InputError(f"--task regression needs a number, but {target!r} was read as {kind}.")
        return "regression", []
    if asked is not None:
        return "multiclass", []
    if kind != "number":
        return "multiclass", []
    distinct = values.n_unique()
    if distinct > ASK_VALUES or not bool((values == values.round(0)).all()):
        return "regression", []
    shown = ", ".join(f"{value:g}" for value in values.unique().sort().head(ASK_VALUES).to_list())
    if distinct <= FEW_VALUES:
        notice = f"{target} holds {distinct} whole numbers ({shown}) and is taken as classes; "
        return "multiclass", [notice + "to predict it as a number, say --task regression."]
    notice = f"{target} holds only {distinct} whole numbers ({shown}) and is taken as a number; "
    return "regression", [notice + "to predict classes, say --task multiclass."]


def _check_task(asked: str | None, decided: str, target: str, count: int) -> None:
    if asked == "binary" and decided != "binary":
        raise InputError(f"--task binary needs two classes, but {target!r} has {count}; say --task multiclass.")


def _classes(table: Table, target: str, positive: str | None) -> tuple[Label, ...]:
    counted = table.frame[target].value_counts().rows()
    counts = {as_label(value): count for value, count in counted}
    classes = sorted(counts)
    where = f"{table.source.name}: the target {target!r}"
    if len(classes) == 1:
        raise InputError(f"{where} has one class only ({label_text(classes[0])}); there is nothing to tell apart.")
    if len(classes) > min(MOST_CLASSES, len(table) // ROWS_PER_CLASS):
        raise InputError(
            f"{where} has {len(classes):,} different values in {len(table):,} rows: too many for classes. "
            "Choose another target, or say --task regression if it is a number."
        )
    for label in classes:
        if counts[label] < ROWS_PER_CLASS:
            rows = "1 row" if counts[label] == 1 else f"{counts[label]} rows"
            raise InputError(
                f"{where} has a class with {rows} only ({label_text(label)}); each class needs at least "
                f"{ROWS_PER_CLASS}, one for each part: remove it, merge it with another, or find more rows."
            )
    if positive is not None:
        classes = _positive_last(classes, positive, where)
    return tuple(classes)


def _positive_last(classes: Sequence[Label], positive: str, where: str) -> list[Label]:
    texts = [label_text(label) for label in classes]
    if str(positive) not in texts:
        raise InputError(f"{where} has no class {positive!r}.{suggest(str(positive), texts)}")
    if len(classes) != 2:
        raise InputError(f"{where} has {len(classes)} classes; a positive class is for two.")
    chosen = texts.index(str(positive))
    return [classes[1 - chosen], classes[chosen]]
