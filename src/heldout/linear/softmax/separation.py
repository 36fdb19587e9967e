"""Separated classes: where the likelihood has no maximum at finite coefficients, shown by a linear programme."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from heldout.linear.softmax.loss import Array, Codes

CERTAIN = 7.0  # a margin whose odds are 1,100 to 1: without one, no row can be separated and the fit be at an end
TELLING = 1e-7  # of a row's greatest possible margin 1: what the programme's rounding does not reach


@dataclass(frozen=True)
class Separation:
    """Whether a direction of coefficients raises the likelihood without end; it prints as a sentence."""

    kind: str  # "perfect", "quasi" or "none"
    rows: int  # separated rows
    n: int

    def __str__(self) -> str:
        if self.kind == "none":
            return f"The classes overlap in all {self.n} rows: the likelihood has a maximum."
        how = "perfectly" if self.kind == "perfect" else f"quasi-completely ({self.rows} of {self.n} rows)"
        return (
            f"The classes are {how} separated by a linear combination of the columns: the likelihood grows without "
            "end, the maximum-likelihood coefficients are infinite, and the values found are only where the solver "
            "stopped."
        )


def margins(scores: Array, codes: Codes) -> Array:
    """Own score minus the best other one (n,), for scores (n, K), or (n, 1) for two classes."""
    if scores.shape[1] == 1:
        return np.asarray(np.where(codes == 1, scores[:, 0], -scores[:, 0]))
    rows = np.arange(len(codes))
    others = scores.copy()
    others[rows, codes] = -np.inf
    return np.asarray(scores[rows, codes] - others.max(axis=1))


def suspicious(scores: Array, codes: Codes) -> bool:
    """Whether a fit of maximum likelihood looks as if some rows were separated."""
    return bool(margins(scores, codes).max() > CERTAIN)


def separation(X: Any, codes: Codes, n_classes: int, *, fit_intercept: bool) -> Separation:
    r"""Whether the classes 0..K-1 of rows X (n, p), dense or CSR, are perfectly, quasi-completely or not separated.

    .. math:: \max \sum_{i, k \ne y_i} t_{ik}, \quad 0 \le t_{ik} \le 1, \quad t_{ik} \le (w_{y_i} - w_k)^\top x_i

    is zero exactly where the classes overlap: A. Albert and J. Anderson, Biometrika 71, 1984, 1-10; as a linear
    programme, K. Konis, Linear programming algorithms for detecting separated data, Oxford, 2007.
    """
    n = X.shape[0]
    design = _design(X, codes, n_classes, fit_intercept)
    m, unknowns = design.shape
    gains = sparse.hstack([-design, sparse.eye_array(m)], format="csc")
    bounds = np.vstack([np.tile([-np.inf, np.inf], (unknowns, 1)), np.tile([0.0, 1.0], (m, 1))])
    cost = np.r_[np.zeros(unknowns), -np.ones(m)]
    found = linprog(cost, A_ub=gains, b_ub=np.zeros(m), bounds=bounds, method="highs")
    reached = found.x[unknowns:].reshape(n, n_classes - 1).max(axis=1) > TELLING
    total = found.x[unknowns:].sum()
    kind = "none" if not reached.any() else "perfect" if total > (1.0 - TELLING) * m else "quasi"
    return Separation(kind, int(reached.sum()), n)


def _design(X: Any, codes: Codes, n_classes: int, fit_intercept: bool) -> Any:
    """Rows (n (K-1), (K-1) q) whose products with the coefficients of classes 1..K-1 are the margins."""
    x = sparse.csr_array(X)
    size = np.maximum(np.abs(x).max(axis=0).toarray().ravel(), np.finfo(float).tiny)
    x = x @ sparse.diags_array(1.0 / size)
    if fit_intercept:
        x = sparse.hstack([x, np.ones((x.shape[0], 1))], format="csr")
    sign = np.eye(n_classes)[:, 1:]  # class 0 has coefficients of zero
    others = np.array([[k for k in range(n_classes) if k != code] for code in range(n_classes)])[codes]
    parts = [_spread(x, sign[codes] - sign[others[:, j]]) for j in range(n_classes - 1)]
    order = np.arange(len(parts) * x.shape[0]).reshape(len(parts), -1).T.ravel()
    return sparse.vstack(parts, format="csr")[order]


def _spread(x: Any, factor: Array) -> Any:
    """Row i as factor_i (x) x_i."""
    return sparse.hstack([sparse.diags_array(column) @ x for column in factor.T], format="csr")
