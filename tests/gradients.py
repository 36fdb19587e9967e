"""For tests of what is differentiated: many layers in one program, central differences, errors relative to a norm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

STEP = 1e-4
STENCIL = ((1, 8.0), (-1, -8.0), (2, -1.0), (-2, 1.0))  # over 12 steps: the error is of the fourth order in the step


def computed(function: Callable[..., Any], *given: Any) -> Any:
    """What a JAX function gives as one program; NumPy arrays."""
    return jax.tree.map(np.asarray, jax.jit(function)(*given))


def moved(point: Any) -> Any:
    """A tree of arrays with each number in turn moved, four ways: every leaf gets a first axis of 4 N."""
    leaves, structure = jax.tree.flatten(point)
    sizes = [leaf.size for leaf in leaves]
    flat = np.concatenate([leaf.ravel() for leaf in leaves])
    many = np.concatenate([flat + STEP * steps * np.eye(flat.size) for steps, _ in STENCIL])
    parts = np.split(many, np.cumsum(sizes)[:-1], axis=1)
    return structure.unflatten([part.reshape(-1, *leaf.shape) for part, leaf in zip(parts, leaves, strict=True)])


def differences(point: Any, values: np.ndarray) -> Any:
    """The gradient, as a tree like `point`, from a function's values at `moved(point)`."""
    leaves, structure = jax.tree.flatten(point)
    factors = np.array([factor for _, factor in STENCIL])
    flat = factors @ values.reshape(len(STENCIL), -1) / (12.0 * STEP)
    parts = np.split(flat, np.cumsum([leaf.size for leaf in leaves])[:-1])
    return structure.unflatten([part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)])


def error(found: Any, expected: Any, share: float = 0.1) -> float:
    """The largest error among a tree's arrays, each relative to its norm, or to a share of the tree's if larger.

    Not a number, where one of them is.
    """
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    pairs = [(np.asarray(a), np.asarray(b)) for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True)]
    assert all(a.shape == b.shape for a, b in pairs)
    floor = max(share * np.sqrt(sum(np.sum(np.square(b, dtype=np.float64)) for _, b in pairs)), 1e-3)
    return float(np.max([np.linalg.norm(a - b) / max(np.linalg.norm(b), floor) for a, b in pairs], initial=0.0))
