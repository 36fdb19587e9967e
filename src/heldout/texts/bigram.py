"""The bigram baseline: each token guessed from the one before it, by counting."""

from __future__ import annotations

import numpy as np

from heldout.texts.tokens import Codes


def bigram_loss(train: Codes, judged: Codes, size: int) -> float:
    r"""The mean loss of tokens, in nats, whose probability is learned by counting pairs, with one added to each count.

    .. math:: p(b \mid a) = \frac{n_{ab} + 1}{\sum_c n_{ac} + V}

    Parameters
    ----------
    train, judged : codes (n,), two at least: counted, and judged from the second on
    size : V, how many codes there are

    >>> round(bigram_loss(np.array([0, 1, 0, 1, 0]), np.array([0, 1, 0]), 2), 4)  # p is 3 / 4
    0.2877

    References
    ----------
    D. Jurafsky and J. Martin, Speech and Language Processing, section 3.6 (add-one smoothing).
    """
    pairs, counts = np.unique(_pairs(train, size), return_counts=True)
    wanted = _pairs(judged, size)
    at = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
    found = np.where(pairs[at] == wanted, counts[at], 0)
    before = np.bincount(train[:-1], minlength=size)[judged[:-1]]
    return float(np.mean(np.log(before + size) - np.log(found + 1.0)))


def _pairs(codes: Codes, size: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Each token and the one before it as one number."""
    return codes[:-1].astype(np.int64) * size + codes[1:]
