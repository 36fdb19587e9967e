"""Convolution and cross-correlation of two arrays, as mathematics has them."""

from __future__ import annotations

import itertools
from typing import Any, TypeAlias

import numpy as np
import scipy.fft

from heldout.errors import InputError, suggest

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

MODES = ("full", "same", "valid")
FEW = 512  # numbers of the smaller array, up to which sums are quicker than transforms, and exact for whole numbers


def convolve(f: Any, g: Any, mode: str = "full") -> Array:
    r"""The convolution of two arrays, along one axis or two.

    .. math:: (f * g)_n = \sum_m f_m \, g_{n - m}

    with zeros beyond the ends. It is symmetric, unlike `cross_correlate`, which is what a convolutional layer computes:
    the two differ by a flip of g along every axis.

    Parameters
    ----------
    f, g : array-like of numbers with one axis or two, the same number
    mode : {"full", "same", "valid"}, default "full"
        All sums, W + K - 1 along an axis; the W in their middle, as many as f has; or the W - K + 1 that need no zeros.

    Returns
    -------
    array
        int64 of whole numbers, otherwise float64. By Fourier's transform where both are large and not whole.

    Raises
    ------
    InputError : an array is empty or holds no real numbers; the axes differ in number; the mode is unknown; "valid",
        and neither array is at least as long as the other along every axis.

    References
    ----------
    A. Oppenheim and R. Schafer, Discrete-Time Signal Processing, 2009, equation 2.49.

    >>> convolve([1, 2, 3], [0, 1])
    array([0, 1, 2, 3])
    >>> convolve([[1, 2], [3, 4]], [[1, 1]], mode="valid").tolist()
    [[3], [7]]
    """
    a, b = _checked(f, g, mode)
    return _part(_full(a, b), a, b, mode)


def cross_correlate(f: Any, g: Any, mode: str = "full") -> Array:
    r"""The cross-correlation of two arrays, along one axis or two: how like g is f, at each place?

    .. math:: (f \star g)_n = \sum_m f_{n + m} \, g_m = (f * \bar g)_n

    with zeros beyond the ends, and :math:`\bar g_m = g_{-m}` the flipped g. With mode "valid" it is what `Conv2D` with
    one channel, one filter g and no bias makes of an image f. Parameters, result and errors are those of `convolve`;
    the first of all sums is that of g's last number with f's first.

    >>> cross_correlate([1, 2, 3], [0, 1])
    array([1, 2, 3, 0])
    >>> cross_correlate([1, 2, 3, 4], [1, 0, -1], mode="valid")
    array([-2, -2])
    """
    a, b = _checked(f, g, mode)
    return _part(_full(a, np.flip(b)), a, b, mode)


def _checked(f: Any, g: Any, mode: str) -> tuple[Array, Array]:
    if mode not in MODES:
        raise InputError(f"There is no mode {mode!r}.{suggest(str(mode), MODES)}")
    a, b = (_numbers(array) for array in (f, g))
    if a.ndim != b.ndim or a.ndim not in (1, 2):
        raise InputError(f"Both arrays have one axis or two, and as many axes as the other, not {a.ndim} and {b.ndim}.")
    if mode == "valid" and not (_covers(a, b) or _covers(b, a)):
        raise InputError(
            f"With mode 'valid' one array is at least as long as the other along every axis, unlike {a.shape} and "
            f"{b.shape}."
        )
    return a, b


def _numbers(array: Any) -> Array:
    values = np.asarray(array)
    if values.size == 0:
        raise InputError("An array to convolve holds at least one number.")
    if values.dtype.kind not in "biuf":
        raise InputError("An array to convolve holds real numbers.")
    return values.astype(np.float64 if values.dtype.kind == "f" else np.int64)


def _covers(a: Array, b: Array) -> bool:
    return all(m >= n for m, n in zip(a.shape, b.shape, strict=True))


def _full(a: Array, b: Array) -> Array:
    """All sums."""
    large, small = (a, b) if a.size >= b.size else (b, a)
    shape = tuple(m + n - 1 for m, n in zip(a.shape, b.shape, strict=True))
    if small.size > FEW and "f" in (a.dtype.kind + b.dtype.kind):
        lengths = [scipy.fft.next_fast_len(length, real=True) for length in shape]
        spectra = (scipy.fft.rfftn(array, lengths) for array in (large, small))
        product = np.prod(np.stack(list(spectra)), axis=0)
        return np.asarray(scipy.fft.irfftn(product, lengths))[tuple(map(slice, shape))]
    total = np.zeros(shape, np.result_type(a, b))
    for at in itertools.product(*map(range, small.shape)):
        place = tuple(slice(i, i + length) for i, length in zip(at, large.shape, strict=True))
        total[place] += small[at] * large
    return total


def _part(full: Array, a: Array, b: Array, mode: str) -> Array:
    """What the mode keeps of all sums."""
    if mode == "full":
        return full
    kept = []
    for m, n in zip(a.shape, b.shape, strict=True):
        count = m if mode == "same" else abs(m - n) + 1
        start = (m + n - 1 - count) // 2
        kept.append(slice(start, start + count))
    return full[tuple(kept)]
