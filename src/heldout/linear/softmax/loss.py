"""Softmax with cross-entropy. Scores lie class by class, (K, n), so that every sum runs over whole rows."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Codes: TypeAlias = np.ndarray[Any, np.dtype[np.intp]]


def log_softmax(scores: Array) -> Array:
    """log p_k = s_k - log sum_j exp(s_j) for scores (K, n) of any size; the greatest is taken out first.

    >>> log_softmax(np.array([[1e4], [-1e4]])).ravel().tolist()
    [0.0, -20000.0]
    """
    shifted: Array = scores - scores.max(axis=0)
    shifted -= np.log(np.exp(shifted).sum(axis=0))
    return shifted


def log_loss(scores: Array, codes: Codes, weights: Array) -> tuple[float, Array]:
    """sum_i v_i (-log p_{y_i}), and the probabilities (K, n)."""
    shifted = scores - scores.max(axis=0)
    own = shifted[codes, np.arange(len(codes))]
    chances = np.exp(shifted, out=shifted)
    total = chances.sum(axis=0)
    chances /= total
    return float(weights @ (np.log(total) - own)), chances


def slopes(chances: Array, codes: Codes, weights: Array) -> Array:
    """The gradient of `log_loss` with respect to the scores, v_i (p_ik - [k = y_i]) (K, n)."""
    gradient = chances * weights
    gradient[codes, np.arange(len(codes))] -= weights
    return gradient


def class_differences(n_classes: int) -> Array:
    """B (K, K-1) that turns K-1 free scores t into K class scores s = B t that sum to zero.

    Adding one number to every class's score changes no probability; B leaves that direction out. With two
    classes B = (-1/2, 1/2)', so that t is the logit. With more its columns are orthonormal (Helmert's), so
    that ||B V|| = ||V|| and the penalty stays what it is.

    >>> class_differences(2).ravel().tolist()
    [-0.5, 0.5]
    >>> B = class_differences(4)
    >>> bool(np.allclose(B.T @ B, np.eye(3))), bool(np.allclose(B.sum(axis=0), 0))
    (True, True)
    """
    if n_classes == 2:
        return np.array([[-0.5], [0.5]])
    basis = np.zeros((n_classes, n_classes - 1))
    for j in range(1, n_classes):
        basis[:j, j - 1] = -1.0
        basis[j, j - 1] = j
        basis[:, j - 1] /= np.sqrt(j * (j + 1))
    return basis
