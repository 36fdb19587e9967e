"""Likelihoods without a maximum: the columns along which they rise for ever, found by a linear programme."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linprog

from heldout.linear.likelihood.family import Family
from heldout.linear.softmax.loss import Array, Codes

FEASIBLE = 1e-10  # tolerance of the linear programme, with columns of unit size
NONZERO = 1e-7  # relative size of a coefficient that counts


def separating_columns(
    family: Family, x: Array, y: Array, names: Sequence[str], *, fit_intercept: bool
) -> list[str] | None:
    r"""The columns along which the log-likelihood never stops rising; None where its maximum exists.

    There is no maximum where some direction w lowers no row's likelihood and raises that of some rows for ever:
    :math:`g^\top w \ge 0` for all g, and not all 0. For two classes g is x for the rows of class 1 and -x for those of
    class 0; for K classes :math:`w_{y_i}^\top x_i \ge w_k^\top x_i` for every k; for counts g is -x where y = 0, and
    :math:`x^\top w = 0` elsewhere. Among such w the one with the least :math:`\sum_j |w_j|` is found by a linear
    programme, so that few columns are named.

    References
    ----------
    A. Albert and J. A. Anderson, Biometrika 71, 1984, pages 1 to 10. K. Konis, Linear programming algorithms for
    detecting separated data in binary logistic regression models, Oxford, 2007.
    """
    centre = x.mean(axis=0) if fit_intercept else np.zeros(x.shape[1])
    spread = np.sqrt(((x - centre) ** 2).mean(axis=0))
    scaled = (x - centre) / np.where(spread > 0, spread, 1.0)
    if fit_intercept:
        scaled = np.column_stack([np.ones(len(x)), scaled])
    above, level = _conditions(family, scaled, y)
    cost = np.ones(above.shape[1])
    if fit_intercept:
        cost[:: scaled.shape[1]] = 0.0
    direction = _least_direction(above, level, cost)
    if direction is None:
        return None
    sizes = np.abs(direction.reshape(-1, scaled.shape[1])).max(axis=0)[int(fit_intercept) :]
    return [name for name, size in zip(names, sizes, strict=True) if size > NONZERO * max(sizes.max(), 1.0)]


def separation(family: Family, columns: list[str]) -> str:
    """The sentence that names the columns, and says what to do."""
    named = ", ".join(map(repr, columns))
    verb = "separates" if len(columns) == 1 else "together separate"
    drop = "drop this column" if len(columns) == 1 else "drop one of these columns"
    what, remedy = "rows that are all zero from the others", drop
    if family.labelled:
        what, remedy = "the classes", f"add a penalty, as SoftmaxClassifier has, or {drop}"
    return f"{named} {verb} {what}, so that the likelihood rises for ever and has no maximum: {remedy}."


def _conditions(family: Family, x: Array, y: Array) -> tuple[Array, Array]:
    """Rows g with g'w >= 0, and rows with g'w = 0, on the direction w of all coefficients."""
    if family.name == "categorical":
        above = _class_conditions(x, y.astype(np.intp))
        return above, np.empty((0, above.shape[1]))
    if family.name == "bernoulli":
        return np.where(y == 1, 1.0, -1.0)[:, None] * x, np.empty((0, x.shape[1]))
    return -x[y == 0], x[y > 0]


def _class_conditions(x: Array, codes: Codes) -> Array:
    """One row for each row of x and each class but its own; the coefficients of class 0 are zero."""
    unit = np.eye(int(codes.max()) + 1)
    other = codes[:, None] != np.arange(len(unit))  # (n, K)
    pairs = (unit[codes][:, None, :] - unit)[other][:, 1:]  # (n (K - 1), K - 1): the own class minus another
    rows = np.repeat(x, len(unit) - 1, axis=0)
    return np.asarray((pairs[:, :, None] * rows[:, None, :]).reshape(len(rows), -1))


def _least_direction(above: Array, level: Array, cost: Array) -> Array | None:
    """The w with above @ w >= 0, of mean 1, and level @ w = 0, and the least cost'|w|; None where there is none."""
    if not len(above):
        return None
    equal = np.vstack([above.mean(axis=0), level])
    found = linprog(
        np.concatenate([cost, cost]),
        A_ub=np.hstack([-above, above]),
        b_ub=np.zeros(len(above)),
        A_eq=np.hstack([equal, -equal]),
        b_eq=np.r_[1.0, np.zeros(len(level))],
        bounds=(0, None),
        method="highs",
        options={"primal_feasibility_tolerance": FEASIBLE},
    )
    if found.x is None:
        return None
    half = len(cost)
    return np.asarray(found.x[:half] - found.x[half:])
