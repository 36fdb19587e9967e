"""What "auto" means: the batch size, the precision, the rows held out, the scale of the inputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeAlias

import jax
import numpy as np

from heldout.dealing import folds
from heldout.errors import InputError, suggest
from heldout.neural.layers.base import Layer, shape_text
from heldout.neural.layers.containers import Sequential
from heldout.neural.layers.dense import Dense

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

WHOLE = 200  # rows up to which a step takes them all
LEAST_BATCH, MOST_BATCH = 32, 256
STEPS = 20  # that an epoch makes at least
DOUBLE_WORK = 10**8  # rows times weights up to which double precision costs nothing that is felt
HOLD_OUT = 200  # rows from which some are held out
FEW, SHARE_OF_FEW, SHARE_OF_MANY = 1_000, 0.2, 0.1
DEALT = 20_000  # rows up to which those held out are dealt by their contents
PRECISIONS = {"single": "float32", "double": "float64"}
BLOCK = 2**22  # numbers whose moments are summed at once


def batch_size(n: int) -> int:
    """All rows up to 200; then about twice the root of their number, as a power of two from 32 to 256.

    >>> [batch_size(n) for n in (150, 569, 10_000, 60_000)]
    [150, 64, 256, 256]
    """
    if n <= WHOLE:
        return n
    return int(np.clip(2 ** round(np.log2(n) / 2 + 1), LEAST_BATCH, MOST_BATCH))


def passes(n: int, size: int) -> int:
    """Over the rows, for an epoch to make 20 steps at least."""
    return max(1, STEPS // -(-n // size))


def precision(n: int, weights: int, inputs: Any, device: Any) -> str:
    """Double on the CPU where rows times weights are few; not for inputs in single precision."""
    small = n * weights <= DOUBLE_WORK and device.platform == "cpu"
    return "double" if small and inputs != np.float32 else "single"


@contextmanager
def numbers(precision: str, device: Any) -> Iterator[None]:
    """JAX in this precision, on this device, for this thread and until the end of the block."""
    with jax.enable_x64(precision == "double"), jax.default_device(device):
        yield


def device_of(name: str | None) -> Any:
    """The device of a kind, or JAX's own choice; InputError where there is none."""
    try:
        return jax.devices(name)[0]
    except (RuntimeError, AttributeError, TypeError):
        known = sorted({device.platform for device in jax.devices()} | {"cpu"})
        raise InputError(f"There is no device {name!r} that JAX can use.{suggest(str(name), known)}") from None


def held_out(X: Array, y: Array, weights: Array, share: float, seed: int, by_class: bool) -> tuple[Array, Array] | None:
    """The weights of the rows to learn from and of those to judge by, or None where there are too few.

    Up to 20,000 rows they are dealt by their contents, so that rows that are the same throughout stay together; beyond,
    by the seed. Of each class about the same share is held out.
    """
    n = len(weights)
    if n <= DEALT and y.ndim == 1:
        found = folds(X.reshape(n, -1), y.astype(np.float64), weights, max(2, round(1 / share)), by_class=by_class)
        return found[-1] if found and found[-1][0].any() and found[-1][1].any() else None
    chance = np.random.default_rng(seed).random(n)
    held = np.zeros(n, dtype=bool)
    groups = y if by_class and y.ndim == 1 else np.zeros(n)
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        held[rows[np.argsort(chance[rows])[: int(share * len(rows))]]] = True
    if not held.any() or held.all():
        return None
    return np.where(held, 0.0, weights), np.where(held, weights, 0.0)


def moments(X: Array, weights: Array) -> tuple[Array, Array]:
    """Weighted mean and standard deviation of each place of a row; 1 for the deviation of a constant."""
    mean, variance = _moments(X, weights)
    return mean, _deviation(mean, variance)


def channel_moments(X: Array, weights: Array) -> tuple[Array, Array]:
    """The same of each channel, the last axis, over all places; repeated for each place."""
    mean, variance = _moments(X, weights)
    places = tuple(range(mean.ndim - 1))
    of_channel = mean.mean(axis=places)
    deviation = _deviation(of_channel, (variance + np.square(mean - of_channel)).mean(axis=places))
    return np.broadcast_to(of_channel, mean.shape).copy(), np.broadcast_to(deviation, mean.shape).copy()


def series_moments(X: Array, weights: Array) -> tuple[Array, Array]:
    """The same of each channel of series (n, T, C), over the steps that are no padding; repeated for each step."""
    steps = X.reshape(-1, X.shape[-1])
    there = ~np.isnan(steps[:, 0])
    repeated = np.repeat(weights, len(steps) // len(X))[there]
    mean, deviation = moments(steps[there], repeated) if there.any() else (np.zeros(X.shape[-1]), np.ones(X.shape[-1]))
    return np.broadcast_to(mean, X.shape[1:]).copy(), np.broadcast_to(deviation, X.shape[1:]).copy()


def _moments(X: Array, weights: Array) -> tuple[Array, Array]:
    """Weighted mean and variance of each place of a row."""
    shares = weights / weights.sum()
    width = int(np.prod(X.shape[1:]))
    rows = max(1, BLOCK // max(width, 1))
    parts = [slice(start, start + rows) for start in range(0, len(X), rows)]
    mean = sum(shares[part] @ X[part].reshape(-1, width).astype(np.float64) for part in parts)
    variance = sum(shares[part] @ np.square(X[part].reshape(-1, width) - mean) for part in parts)
    return np.asarray(mean).reshape(X.shape[1:]), np.asarray(variance).reshape(X.shape[1:])


def _deviation(mean: Array, variance: Array) -> Array:
    deviation = np.sqrt(variance)
    return np.where(deviation <= 1e-12 * np.maximum(np.abs(mean), 1e-300), 1.0, deviation)


def completed(network: Layer, units: int) -> Layer:
    """The network with a last layer `Dense()` told its units."""
    if isinstance(network, Dense) and network.units is None:
        return replace(network, units=units)
    if isinstance(network, Sequential):
        return Sequential(*network.layers[:-1], completed(network.layers[-1], units))
    return network


def check_outputs(network: Layer, in_shape: tuple[int, ...], allowed: tuple[int, ...], what: str) -> int:
    """How many numbers the network gives for a row, which must be one of `allowed`."""
    out = network.out_shape(in_shape)
    if len(out) != 1 or out[0] not in allowed:
        raise InputError(
            f"The network gives {shape_text(out)} for a row, and there are {what}: end it with Dense() or "
            f"Dense({allowed[0]})."
        )
    return out[0]
