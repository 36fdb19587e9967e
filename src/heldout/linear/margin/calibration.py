"""Scores turned into probabilities by a sigmoid that is fitted on rows which took no part in the scores."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from scipy.special import expit

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

MOST_STEPS = 100
RIDGE = 1e-12
ROUNDING = 1e-14  # of the loss, by which a step may seem to raise it
SMALLEST = 1e-24  # of the loss, fall that a step promises, at which it is the last; seen is none below 1e-16


def sigmoid(scores: Array, positive: Any, weights: Array) -> tuple[float, float]:
    """a and b of p = 1 / (1 + exp(-(a s + b))), by maximum likelihood with smoothed labels.

    J. Platt, Advances in Large Margin Classifiers, 2000, with labels (N+ + 1) / (N+ + 2) and 1 / (N- + 2); Newton's
    method of H.-T. Lin, C.-J. Lin and R. Weng, Machine Learning 68, 2007.
    """
    n_positive, n_negative = float(weights[positive].sum()), float(weights[~positive].sum())
    target = np.where(positive, (n_positive + 1.0) / (n_positive + 2.0), 1.0 / (n_negative + 2.0))
    size = float(np.abs(scores).max()) or 1.0
    z = np.column_stack([scores / size, np.ones_like(scores)])
    theta = np.array([0.0, np.log((n_positive + 1.0) / (n_negative + 1.0))])
    loss = _loss(z @ theta, target, weights)
    for _ in range(MOST_STEPS):
        p = expit(z @ theta)
        gradient = z.T @ (weights * (p - target))
        hessian = z.T @ (z * (weights * p * (1.0 - p))[:, None]) + RIDGE * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        share = 1.0
        while (new := _loss(z @ (theta - share * step), target, weights)) > loss * (1.0 + ROUNDING) and share > 1e-10:
            share /= 2.0
        theta, loss = theta - share * step, new
        if gradient @ step <= SMALLEST * loss:
            break
    return float(theta[0] / size), float(theta[1])


def _loss(s: Array, target: Array, weights: Array) -> float:
    return float(weights @ (np.logaddexp(0.0, s) - target * s))


def probabilities(scores: Array) -> Array:
    """(n, K) from log odds (n, 1) of the second of two classes, or (n, K) of each against the rest."""
    each = expit(scores)
    if scores.shape[1] == 1:
        return np.column_stack([1.0 - each[:, 0], each[:, 0]])
    total = each.sum(axis=1, keepdims=True)
    return np.asarray(np.where(total > 0.0, each / np.where(total > 0.0, total, 1.0), 1.0 / each.shape[1]))
