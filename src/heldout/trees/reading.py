"""Trees in words: rules as text, and the way of one row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from sklearn.utils.validation import check_is_fitted

from heldout.errors import InputError
from heldout.printed import Printed, Sheet
from heldout.trees.nodes import LEAF, Tree
from heldout.words import legible, number

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Codes: TypeAlias = Mapping[int, frozenset[int]]  # by column, the categories that can be here, and GAP

GAP = -1  # a missing value

LEAST_DIGITS, MOST_DIGITS, SURE_DIGITS = 4, 17, 12
SHORT = 8  # digits of a threshold that is shown as it is
MOST_LABELS = 6  # of a side; with more, the other side is named where it is shorter
MOST_CLASSES = 4  # of a leaf, and in the columns of an explanation
PLAIN = 10_000  # numbers below have no separator: they may be years


class Rules(str):
    """Text that shows its lines wherever it is shown."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True)
class Visit:
    """A node on the way through a tree: where it hangs, and the categories that can be here."""

    node: int
    parent: int
    is_left: bool
    depth: int
    codes: Codes


@dataclass(frozen=True, eq=False)
class Reader:
    """What the nodes of a tree ask and say, in words."""

    tree: Tree
    names: tuple[str, ...]
    labels: Mapping[int, tuple[str, ...]]
    classes: tuple[str, ...]  # none for numbers
    missing: Array  # (p,), the columns where training rows had gaps
    criterion: str
    digits: Mapping[int, int]

    @classmethod
    def of(cls, model: Any, names: Any = None) -> Reader:
        """Of a fitted tree, its columns called by `names`, or as in the training rows."""
        check_is_fitted(model)
        labels = {j: tuple(map(_label, values.tolist())) for j, values in model.categories_.items()}
        classes = tuple(map(_label, model.classes_.tolist())) if hasattr(model, "classes_") else ()
        tree = model.tree_
        digits = {int(j): _digits(tree.threshold[tree.feature == j]) for j in np.unique(tree.feature[tree.left >= 0])}
        return cls(tree, _names(model, names), labels, classes, model.missing_, model.criterion, digits)

    def walk(self, most_depth: int | None = None) -> Iterator[Visit]:
        """The nodes down to a depth, each before its left part, and that before its right one."""
        codes = {j: frozenset(range(len(self.labels.get(j, ())))) for j in range(len(self.names))}
        codes = {j: here | {GAP} if self.missing[j] else here for j, here in codes.items()}
        waiting = [Visit(0, -1, False, 0, codes)]
        while waiting:
            visit = waiting.pop()
            yield visit
            if self.tree.left[visit.node] >= 0 and (most_depth is None or visit.depth < most_depth):
                waiting += [self.child(visit, is_left=False), self.child(visit, is_left=True)]

    def child(self, visit: Visit, *, is_left: bool) -> Visit:
        """The node to the left or right of one."""
        child = int(self.tree.left[visit.node]) + (not is_left)
        column = int(self.tree.feature[visit.node])
        here = frozenset(code for code in visit.codes[column] if self._goes_left(visit.node, code) == is_left)
        return Visit(child, visit.node, is_left, visit.depth + 1, {**visit.codes, column: here})

    def _goes_left(self, node: int, code: int) -> bool:
        if code == GAP:
            return bool(self.tree.missing_left[node])
        word = int(self.tree.sets[self.tree.categories[node], (code + 1) // 32])
        return bool(word >> (code + 1) % 32 & 1)

    def name(self, node: int) -> str:
        """Of the column that a node asks for."""
        return self.names[int(self.tree.feature[node])]

    def answer(self, visit: Visit, *, is_left: bool) -> str:
        """What sends a row to one side of a node: "≤ 0.8", "is Ulm or Graz", "> 1.75 or missing"."""
        node, column = visit.node, int(self.tree.feature[visit.node])
        if self.tree.categories[node] >= 0:
            return self._of_labels(visit, is_left)
        if np.isposinf(self.tree.threshold[node]):
            return "is known" if is_left else "is missing"
        gaps = GAP in visit.codes[column] and self._goes_left(node, GAP) == is_left
        cut = figure(float(self.tree.threshold[node]), self.digits[column])
        return f"{'≤' if is_left else '>'} {cut}{' or missing' if gaps else ''}"

    def _of_labels(self, visit: Visit, is_left: bool) -> str:
        column = int(self.tree.feature[visit.node])
        here = sorted(code for code in visit.codes[column] if self._goes_left(visit.node, code) == is_left)
        rest = sorted(visit.codes[column].difference(here))
        if len(here) > MOST_LABELS and 0 < len(rest) < len(here) and GAP not in rest:
            return f"is not {self._any_of(column, rest)}"
        return f"is {self._any_of(column, here)}" if here else "is unknown"

    def _any_of(self, column: int, codes: list[int]) -> str:
        """The categories in words: "Graz, Ulm or missing"."""
        known, gap = [self.labels[column][c] for c in codes if c != GAP], ["missing"] if GAP in codes else []
        words = known + gap
        return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"

    def rows(self, node: int) -> str:
        """Its training rows: "1 row", "1,200 rows"."""
        return rows_text(int(self.tree.count[node]))

    def best(self, node: int) -> int:
        """The class with the greatest share."""
        return int(self.tree.value[node].argmax())

    @property
    def middle(self) -> str:
        """What a node says of its numbers."""
        return "median" if self.criterion == "absolute_error" else "mean"

    def deviation(self, node: int) -> float | None:
        """The standard deviation of a node's numbers, where its impurity tells it."""
        return float(np.sqrt(self.tree.impurity[node])) if self.criterion == "squared_error" else None

    def shares(self, node: int) -> list[str]:
        """The classes with a share in the node, the greatest first: "virginica 9%"."""
        value = self.tree.value[node]
        order = [k for k in np.argsort(-value, kind="stable").tolist() if value[k] > 0.0]
        said = [f"{self.classes[k]} {share_text(float(value[k]))}" for k in order[:MOST_CLASSES]]
        return said + ([f"{len(order) - MOST_CLASSES} more"] if len(order) > MOST_CLASSES else [])

    def summary(self, node: int) -> str:
        """Shares of the classes, or mean and standard deviation, or median."""
        if self.classes:
            return ", ".join(self.shares(node))
        deviation = self.deviation(node)
        middle = f"{self.middle} {number(float(self.tree.value[node, 0]))}"
        return middle if deviation is None else f"{middle}, standard deviation {number(deviation)}"

    def outcome(self, node: int) -> str:
        """What a leaf says, and by what right: "versicolor (54 rows: versicolor 91%, virginica 9%)"."""
        if not self.classes:
            deviation = self.deviation(node)
            spread = "" if deviation is None else f", standard deviation {number(deviation)}"
            return f"{number(float(self.tree.value[node, 0]))} ({self.rows(node)}{spread})"
        shares = self.shares(node)
        return (
            f"{self.classes[self.best(node)]} ({self.rows(node)}{': ' + ', '.join(shares) if len(shares) > 1 else ''})"
        )

    def leaves_below(self) -> Array:
        """How many leaves hang below each node (m,); 1 for a leaf."""
        found = np.ones(self.tree.n_nodes, dtype=np.int64)
        for node in np.flatnonzero(self.tree.left >= 0)[::-1].tolist():  # children stand after their parents
            found[node] = found[self.tree.left[node]] + found[self.tree.left[node] + 1]
        return found

    @property
    def note(self) -> str:
        """How rows with weights count; empty where none has any."""
        if np.allclose(self.tree.weight, self.tree.count):
            return ""
        return f"Rows are counted, {'shares' if self.classes else f'{self.middle}s'} weighted."


def rules(model: Any, max_depth: int | None, names: Any) -> Rules:
    """The rules of a fitted tree, one line a node.

    >>> from heldout import DecisionTreeClassifier
    >>> model = DecisionTreeClassifier().fit([[1.0], [2.0], [3.0], [None]], ["no", "no", "yes", "yes"])
    >>> print(rules(model, None, ["dose"]))
    4 rows: no 50%, yes 50%
    ├─ dose ≤ 2.5 → no (2 rows)
    └─ dose > 2.5 or missing → yes (2 rows)
    """
    check_depth(max_depth)
    reader = Reader.of(model, names)
    below, rails = reader.leaves_below(), [""]
    lines = [f"{reader.rows(0)}: {reader.summary(0)}{f' ({reader.note})' if reader.note else ''}"]
    visits = list(reader.walk(max_depth))
    of = {visit.node: visit for visit in visits}
    for visit in visits[1:]:
        rails = rails[: visit.depth]
        condition = f"{reader.name(visit.parent)} {reader.answer(of[visit.parent], is_left=visit.is_left)}"
        lines.append(
            f"{''.join(rails)}{'├─ ' if visit.is_left else '└─ '}{condition}{_said(reader, visit, below, max_depth)}"
        )
        rails.append("│  " if visit.is_left else "   ")
    return Rules("\n".join(lines))


def _said(reader: Reader, visit: Visit, below: Array, max_depth: int | None) -> str:
    """What a line says of its node: a leaf's outcome, the rows of others, what is cut off."""
    if reader.tree.feature[visit.node] == LEAF:
        return f" → {reader.outcome(visit.node)}"
    if visit.depth == max_depth:
        return f" → {reader.outcome(visit.node)}, {below[visit.node]:,} leaves below"
    return f": {reader.rows(visit.node)}"


@dataclass(frozen=True)
class Step:
    """A node that a row passes: what was asked on the way here, and what the training rows here were like.

    Attributes
    ----------
    node : int, in `tree_`
    text : str, the question and the row's answer
    column : int, that was asked, -1 at the root
    rows : int, training rows in the node
    value : tuple of float, the classes' shares, or the mean
    """

    node: int
    text: str
    column: int
    rows: int
    value: tuple[float, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Explanation(Printed):
    """The way of one row down a tree, in words; it prints as a table.

    Attributes
    ----------
    prediction : the class or the number that the tree says
    support : int, training rows in the leaf
    steps : tuple of Step, from the root to the leaf
    classes : tuple of str, in the order of the steps' values; none for numbers
    middle : str, what a regressor says of a node's rows: their mean or median
    note : str, how rows with weights count; empty where none has any
    """

    prediction: Any
    support: int
    steps: tuple[Step, ...]
    classes: tuple[str, ...]
    middle: str
    note: str

    def _table(self) -> Sheet:
        last, rows = self.steps[-1].value, rows_text(self.support, "training ")
        notes = [self.note] if self.note else []
        if not self.classes:
            body = [[step.text, f"{step.rows:,}", number(step.value[0])] for step in self.steps]
            return (
                [f"Prediction: {number(last[0])}, the {self.middle} of {rows}"],
                ["", "rows", self.middle],
                body,
                notes,
            )
        best = int(np.argmax(last))
        shown = list(range(len(self.classes))) if len(self.classes) <= MOST_CLASSES else [best]
        body = [[step.text, f"{step.rows:,}", *(share_text(step.value[k]) for k in shown)] for step in self.steps]
        title = f"Prediction: {self.classes[best]}, {share_text(last[best])} of {rows}"
        return [title], ["", "rows", *(self.classes[k] for k in shown)], body, notes


def explain(model: Any, row: Any, names: Any) -> Explanation:
    """The way of one row down a fitted tree.

    >>> from heldout import DecisionTreeRegressor
    >>> model = DecisionTreeRegressor().fit([[1.0], [2.0], [7.0]], [10.0, 10.0, 40.0])
    >>> explain(model, [6.0], ["size"])
    Prediction: 40, the mean of 1 training row
    -------------------------------------
                               rows  mean
    -------------------------------------
    all training rows             3    20
    size is 6 > 4.5, so right     1    40
    -------------------------------------
    """
    from heldout.trees.columns import rows_of

    reader = Reader.of(model, names)
    X = one_row(model, row)
    values, tree = rows_of(model, X)[0], reader.tree
    passed = set(model.decision_path(X).indices.tolist())
    visit = next(reader.walk(0))
    steps = [_step(reader, visit.node, "all training rows", -1)]
    while tree.left[visit.node] >= 0:
        is_left = int(tree.left[visit.node]) in passed
        column = int(tree.feature[visit.node])
        text = _reason(reader, visit, float(values[column]), is_left)
        visit = reader.child(visit, is_left=is_left)
        steps.append(_step(reader, visit.node, text, column))
    said = model.predict(X).tolist()[0]
    return Explanation(said, steps[-1].rows, tuple(steps), reader.classes, reader.middle, reader.note)


def _step(reader: Reader, node: int, text: str, column: int) -> Step:
    return Step(node, text, column, int(reader.tree.count[node]), tuple(reader.tree.value[node].tolist()))


def _reason(reader: Reader, visit: Visit, value: float, is_left: bool) -> str:
    """Why a row goes to a side: "petal width (cm) is 1.4 ≤ 1.75, so left"."""
    node, column = visit.node, int(reader.tree.feature[visit.node])
    side, cut = "left" if is_left else "right", float(reader.tree.threshold[node])
    if np.isnan(value):
        unknown = " or not among the categories known" if column in reader.labels else ""
        return f"{reader.name(node)} is missing{unknown}, which goes {side}"
    if column in reader.labels:
        return f"{reader.name(node)} is {reader.labels[column][int(value)]}, so {side}"
    if np.isposinf(cut):
        return f"{reader.name(node)} is known, so {side}"
    digits = max(reader.digits[column], _digits(np.array([value])))
    while value > cut and figure(value, digits) == figure(cut, digits):
        digits += 1
    shown = figure(
        cut, digits if figure(value, digits) == figure(cut, reader.digits[column]) else reader.digits[column]
    )
    return f"{reader.name(node)} is {figure(value, digits)} {'≤' if is_left else '>'} {shown}, so {side}"


def one_row(model: Any, row: Any) -> Any:
    """One row as the learner takes it: a frame as it is, a dict or values by the names of the training columns."""
    names = getattr(model, "feature_names_in_", None)
    if hasattr(row, "columns") and hasattr(row, "dtypes"):
        if len(row) != 1:
            raise InputError(f"The frame has {len(row):,} rows: give one.")
        return row
    if isinstance(row, Mapping):
        wanted = list(range(model.n_features_in_)) if names is None else names.tolist()
        lacking = [name for name in wanted if name not in row]
        if lacking:
            raise InputError(f"The row has no value of {lacking[0]!r}: give None for a missing one.")
        values = [row[name] for name in wanted]
    else:
        values = np.asarray(row, dtype=object).ravel().tolist()
    if len(values) != model.n_features_in_:
        raise InputError(f"The row has {len(values)} values, and the tree knows {model.n_features_in_} columns.")
    if names is None:
        return np.array([values], dtype=object)
    import polars as pl

    return pl.DataFrame({name: [value] for name, value in zip(names.tolist(), values, strict=True)}, strict=False)


def check_depth(max_depth: Any) -> None:
    whole = isinstance(max_depth, int | np.integer) and not isinstance(max_depth, bool)
    if max_depth is not None and (not whole or max_depth < 0):
        raise InputError(f"max_depth is {max_depth!r} and must be None or a whole number from 0 up.")


def rows_text(count: int, kind: str = "") -> str:
    return f"1 {kind}row" if count == 1 else f"{count:,} {kind}rows"


def share_text(share: float) -> str:
    """In per cent, and never 0% or 100% where it is not quite.

    >>> share_text(0.333), share_text(0.002), share_text(0.9996), share_text(1.0)
    ('33%', '0.2%', '99.96%', '100%')
    """
    for digits in range(12):
        text = f"{100.0 * share:.{digits}f}"
        if float(text) not in (0.0, 100.0):
            return f"{text}%"
    return f"{100.0 * share:.0f}%"


def figure(value: float, digits: int) -> str:
    """A number with about so many digits; below 10,000 without a separator."""
    text = number(value, digits)
    text = text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text
    return text.replace(",", "") if abs(value) < PLAIN else text


def _digits(cuts: Array) -> int:
    """How many digits tell thresholds apart: all that a short one has, four or more of a long one."""
    known = np.unique(cuts[np.isfinite(cuts)])
    short = max((_length(value) for value in known.tolist()), default=0)
    if short <= SHORT:
        return max(short, 1)
    for digits in range(LEAST_DIGITS, MOST_DIGITS):
        if len({figure(value, digits) for value in known.tolist()}) == len(known):
            return digits
    return MOST_DIGITS


def _length(value: float) -> int:
    """How many digits a number has, noise of the last few aside."""
    mantissa, exponent = f"{value:.{SURE_DIGITS - 1}e}".split("e")
    return max(len(mantissa.lstrip("-").replace(".", "").rstrip("0")), int(exponent) + 1)


def _label(value: Any) -> str:
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
    return str(legible(str(int(value) if whole else value)))


def _names(model: Any, names: Any) -> tuple[str, ...]:
    p = model.n_features_in_
    if names is None:
        names = getattr(model, "feature_names_in_", [f"column {j}" for j in range(p)])
    if isinstance(names, str) or len(names) != p:
        raise InputError(f"names must be a list of {p} names, one for each column.")
    return tuple(str(legible(str(name))) for name in names)
