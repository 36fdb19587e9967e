"""Cross-entropy and Kullback-Leibler divergence between distributions over classes, in nats."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp, rel_entr, xlogy

from heldout.errors import InputError
from heldout.linear.softmax.loss import Array

SUMS_TO_ONE = 1e-6  # how far a row of probabilities may be from it


def cross_entropy(p: ArrayLike, q: ArrayLike | None = None, *, scores: ArrayLike | None = None) -> Any:
    r"""How many nats a row costs on average, coded for q while it comes from p.

    .. math:: H(p, q) = -\sum_k p_k \log q_k, \qquad q_k = e^{s_k} / \textstyle\sum_j e^{s_j} \text{ for scores } s

    With p all on one class it is the loss of classification, :math:`-\log q_y`; :math:`0 \log 0 = 0`.

    Parameters
    ----------
    p : array (..., K) of probabilities, the last axis summing to 1
    q : array (..., K) of probabilities; or
    scores : array (..., K) of real scores of any size; -inf stands for a probability of zero

    Returns
    -------
    float64 array (...), or a float64 number for one row, in nats, at least 0; infinity where q rules out what p allows

    Raises
    ------
    InputError : not exactly one of q and scores is given, shapes do not fit, or rows are no distributions.

    References
    ----------
    C. Bishop, Pattern Recognition and Machine Learning, 2006, equation 4.108.

    Examples
    --------
    >>> cross_entropy([0.0, 1.0], [0.5, 0.5]).item()
    0.6931471805599453
    >>> cross_entropy([1.0, 0.0], scores=[-1e4, 1e4]).item()
    20000.0
    """
    own, log_q = _pair(p, q, scores)
    with np.errstate(invalid="ignore"):
        return _given(-np.where(own > 0.0, own * log_q, 0.0).sum(axis=-1) + 0.0)


def kl_divergence(p: ArrayLike, q: ArrayLike | None = None, *, scores: ArrayLike | None = None) -> Any:
    r"""The nats lost by coding for q what comes from p: zero exactly where the two are equal.

    .. math:: \mathrm{KL}(p \,\|\, q) = \sum_k p_k \log \frac{p_k}{q_k} = H(p, q) - H(p, p)

    Parameters
    ----------
    p : array (..., K) of probabilities, the last axis summing to 1
    q : array (..., K) of probabilities; or
    scores : array (..., K) of real scores of any size, q being their softmax; -inf stands for a probability of zero

    Returns
    -------
    float64 array (...), or a float64 number for one row, in nats, at least 0; infinity where q rules out what p allows

    Raises
    ------
    InputError : not exactly one of q and scores is given, shapes do not fit, or rows are no distributions.

    References
    ----------
    C. Bishop, Pattern Recognition and Machine Learning, 2006, equation 1.113.

    Examples
    --------
    >>> kl_divergence([0.5, 0.5], [0.25, 0.75]).round(6).item()
    0.143841
    >>> kl_divergence([0.5, 0.5], scores=[1e4, -1e4]).round(6).item()
    9999.306853
    """
    own, log_q = _pair(p, q, scores)
    if q is not None:
        return _given(np.maximum(rel_entr(own, np.asarray(q, dtype=np.float64)).sum(axis=-1), 0.0))
    with np.errstate(invalid="ignore"):
        crossed = np.where(own > 0.0, own * log_q, 0.0)
    return _given(np.maximum((xlogy(own, own) - crossed).sum(axis=-1), 0.0))


def _pair(p: ArrayLike, q: ArrayLike | None, scores: ArrayLike | None) -> tuple[Array, Array]:
    """p and log q."""
    if (q is None) == (scores is None):
        raise InputError("Give either q or scores: the probabilities, or the scores whose softmax they are.")
    own = _distributions("p", p)
    if scores is None:
        with np.errstate(divide="ignore"):
            log_q = np.log(_distributions("q", q))
    else:
        log_q = _log_softmax(np.asarray(scores, dtype=np.float64))
    if own.shape[-1] != log_q.shape[-1] or (own.ndim > 1 and log_q.ndim > 1 and own.shape != log_q.shape):
        raise InputError(f"p has shape {own.shape} and the other side {log_q.shape}: give one column for each class.")
    return own, log_q


def _distributions(name: str, values: Any) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0 or not (array >= 0.0).all() or not (np.abs(array.sum(axis=-1) - 1.0) <= SUMS_TO_ONE).all():
        raise InputError(f"{name} must hold probabilities: no number below 0 or missing, and every row summing to 1.")
    return array


def _log_softmax(scores: Array) -> Array:
    if scores.ndim == 0 or np.isnan(scores).any() or not np.isfinite(scores.max(axis=-1)).all():
        raise InputError("scores must be numbers below infinity, at least one in every row above minus infinity.")
    shifted = scores - scores.max(axis=-1, keepdims=True)
    return np.asarray(shifted - logsumexp(shifted, axis=-1, keepdims=True))


def _given(values: Any) -> Any:
    return values if np.ndim(values) else np.float64(values)
