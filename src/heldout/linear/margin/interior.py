"""The dual of the hinge by an interior-point method: few steps, whatever the columns' scales and C; narrow tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from heldout.linear.blocks import one_blas_thread

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
State: TypeAlias = tuple[Array, Array, Array]

MOST_STEPS = 100
NEARLY = 0.995  # of the way to the nearest bound


def box_programme(z: Array, top: Array, done: Callable[[Array], bool]) -> tuple[Array, int]:
    r"""The alpha from 0 to `top` (n,) with the least :math:`\tfrac12\lVert Z^\top\alpha\rVert^2 - 1^\top\alpha`; steps.

    A primal-dual method with Mehrotra's corrector; the systems (D + Z Z') are solved through (d, d) ones, for rows
    z (n, d): S. Fine and K. Scheinberg, J. Machine Learning Research 2, 2001. It ends when `done` says so of alpha.
    """
    state = top / 2.0, np.ones(len(top)), np.ones(len(top))  # alpha and the multipliers of its two bounds
    with one_blas_thread, np.errstate(all="ignore"):  # at rounding's end alpha reaches its bounds, and that ends it
        for step in range(1, MOST_STEPS + 1):
            try:
                change = _step(z, top, *state)
            except (LinAlgError, ValueError):  # singular, or no longer finite
                return state[0], step
            size = NEARLY * _reach(top, state, change)
            if not all(np.isfinite(part).all() for part in change) or not size > 0.0:
                return state[0], step
            state = _moved(state, change, min(size, 1.0))
            if done(state[0]):
                return state[0], step
    return state[0], MOST_STEPS


def _moved(state: State, change: State, size: float) -> State:
    return state[0] + size * change[0], state[1] + size * change[1], state[2] + size * change[2]


def _step(z: Array, top: Array, alpha: Array, at_zero: Array, at_top: Array) -> State:
    """Mehrotra's step: one straight to the minimum tells how far to aim beside it, and how the way bends."""
    state = alpha, at_zero, at_top
    diagonal = at_zero / alpha + at_top / (top - alpha)
    factor = cho_factor(np.eye(z.shape[1]) + z.T @ (z / diagonal[:, None]))
    left = at_zero - at_top - (z @ (z.T @ alpha) - 1.0)
    first = _direction(z, diagonal, factor, left, top, state, np.zeros(len(top)), np.zeros(len(top)))
    now = _complement(top, state)
    after = _complement(top, _moved(state, first, min(_reach(top, state, first), 1.0)))
    target = now * (after / now) ** 3 if now > 0.0 else 0.0
    bends = target - first[0] * first[1], target + first[0] * first[2]
    return _direction(z, diagonal, factor, left, top, state, *bends)


def _direction(
    z: Array, diagonal: Array, factor: Any, left: Array, top: Array, state: State, zero_target: Array, top_target: Array
) -> State:
    """Newton's step towards alpha at_zero = zero_target and (top - alpha) at_top = top_target."""
    alpha, at_zero, at_top = state
    room = top - alpha
    right = left + (zero_target / alpha - at_zero) - (top_target / room - at_top)
    scaled = right / diagonal
    d_alpha = scaled - (z @ cho_solve(factor, z.T @ scaled)) / diagonal
    d_zero = zero_target / alpha - at_zero - at_zero / alpha * d_alpha
    d_top = top_target / room - at_top + at_top / room * d_alpha
    return d_alpha, d_zero, d_top


def _reach(top: Array, state: State, change: State) -> float:
    """How far along the step all stay above zero."""
    far = 1.0 / NEARLY
    for value, slope in ((top - state[0], -change[0]), *zip(state, change, strict=True)):
        falling = slope < 0.0
        far = min(far, float(np.min(-value[falling] / slope[falling], initial=np.inf)))
    return far


def _complement(top: Array, state: State) -> float:
    """The mean product of a distance from a bound and its multiplier: zero at the minimum."""
    alpha, at_zero, at_top = state
    return float(alpha @ at_zero + (top - alpha) @ at_top) / (2 * len(top))
