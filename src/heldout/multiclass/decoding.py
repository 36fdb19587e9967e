"""Many classes from the answers of two-class classifiers: votes, confidences, coupled probabilities."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Pairs: TypeAlias = list[tuple[int, int]]

ROUNDS, CLOSE = 1000, 1e-10  # of Hastie and Tibshirani's steps, and the change at which they end
CERTAIN = 1e-7  # a pair's probability is kept this far from 0 and 1, as the logarithms behind it want


def pairs(n_classes: int) -> Pairs:
    """(0, 1), (0, 2), ..., (K-2, K-1): the order of the classifiers."""
    return [(a, b) for a in range(n_classes) for b in range(a + 1, n_classes)]


def votes(answers: Array, confidences: Array, n_classes: int) -> Array:
    r"""Votes (m, K) of every pair, with what breaks ties between equal ones: the summed confidences, within 1/3.

    .. math:: v_k + \frac{s_k}{3 (|s_k| + 1)}, \qquad s_k = \sum_{a < k} c_{ak} - \sum_{b > k} c_{kb}

    `answers` (m, pairs) is 1 where the second class of the pair won, `confidences` are above zero for it.
    """
    counts, sums = np.zeros((len(answers), n_classes)), summed(confidences, n_classes)
    for at, (a, b) in enumerate(pairs(n_classes)):
        counts[:, a] += answers[:, at] == 0
        counts[:, b] += answers[:, at] == 1
    return np.asarray(counts + sums / (3.0 * (np.abs(sums) + 1.0)))


def summed(confidences: Array, n_classes: int) -> Array:
    """What every class was given by its pairs (m, K), from confidences (m, pairs) in the second class."""
    sums = np.zeros((len(confidences), n_classes))
    for at, (a, b) in enumerate(pairs(n_classes)):
        sums[:, a] -= confidences[:, at]
        sums[:, b] += confidences[:, at]
    return sums


def matrix_of(chances: Array, n_classes: int) -> Array:
    """r (m, K, K) with r_ab = P(a | a or b), from the probabilities (m, pairs) of the second classes."""
    r = np.zeros((len(chances), n_classes, n_classes))
    second = np.clip(chances, CERTAIN, 1.0 - CERTAIN)
    for at, (a, b) in enumerate(pairs(n_classes)):
        r[:, b, a], r[:, a, b] = second[:, at], 1.0 - second[:, at]
    return r


def wu_lin_weng(r: Array) -> Array:
    r"""Probabilities (m, K) that agree best with those of the pairs.

    .. math:: \min_p \sum_a \sum_{b \ne a} (r_{ba} p_a - r_{ab} p_b)^2, \qquad \sum_a p_a = 1

    T.-F. Wu, C.-J. Lin and R. Weng, J. Machine Learning Research 5, 2004, section 4.2 (the second method), equation 21.
    """
    m, n_classes, _ = r.shape
    q = -np.swapaxes(r, 1, 2) * r
    diagonal = np.arange(n_classes)
    q[:, diagonal, diagonal] = (r**2).sum(axis=1) - r[:, diagonal, diagonal] ** 2
    system = np.ones((m, n_classes + 1, n_classes + 1))
    system[:, :n_classes, :n_classes], system[:, n_classes, n_classes] = q, 0.0
    right = np.zeros((m, n_classes + 1, 1))
    right[:, n_classes] = 1.0
    found = np.clip(np.linalg.solve(system, right)[:, :n_classes, 0], 0.0, 1.0)  # below zero by rounding only
    return np.asarray(found / found.sum(axis=1, keepdims=True))


def hastie_tibshirani(r: Array, sizes: Array | None = None) -> Array:
    r"""Probabilities (m, K) whose pairs :math:`p_a / (p_a + p_b)` are nearest to r in Kullback-Leibler divergence.

    T. Hastie and R. Tibshirani, Annals of Statistics 26, 1998, section 2: every p_a is multiplied by
    :math:`\sum_b n_{ab} r_{ab} / \sum_b n_{ab} \mu_{ab}` in turn, with :math:`\mu_{ab} = p_a / (p_a + p_b)` and
    n_ab = `sizes` (K, K), the weight of the rows that a pair was trained on.
    """
    n_classes = r.shape[1]
    weight = np.ones((n_classes, n_classes)) if sizes is None else sizes.astype(np.float64)
    np.fill_diagonal(weight, 0.0)
    found = (r * weight).sum(axis=2) / weight.sum(axis=1)
    found /= found.sum(axis=1, keepdims=True)
    moving = np.arange(len(r))  # every row ends by itself, whatever the others
    for _ in range(ROUNDS):
        p, wanted = found[moving], r[moving]
        for a in range(n_classes):
            mu = p[:, [a]] / (p[:, [a]] + p)
            p[:, a] *= (weight[a] * wanted[:, a]).sum(axis=1) / (weight[a] * mu).sum(axis=1)
            p /= p.sum(axis=1, keepdims=True)
        change = np.abs(p - found[moving]).max(axis=1, initial=0.0)
        found[moving] = p
        moving = moving[change > CLOSE]
        if not len(moving):
            break
    return np.asarray(found)


COUPLINGS = {"wu-lin-weng": wu_lin_weng, "hastie-tibshirani": hastie_tibshirani}
