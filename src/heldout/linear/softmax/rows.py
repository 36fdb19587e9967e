"""Runs of rows, of a table or of CSR, and what the objective asks of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from heldout.linear.softmax.loss import Array, Codes, log_loss, slopes


class Rows(Protocol):
    """Features z (n, q), class codes (n,) and weights (n,) that sum to 1 over all runs; B is the basis (K, r)."""

    @property
    def codes(self) -> Codes: ...

    @property
    def weights(self) -> Array: ...

    @property
    def width(self) -> int:
        """q"""

    def features(self) -> Any:
        """A table (n, q)."""

    def evaluate(self, basis: Array, coef: Array) -> tuple[float, Array, Array]:
        """sum_i v_i CE(y_i, B C z_i), its gradient (r, q), the probabilities (K, n)."""

    def product(self, basis: Array, chances: Array, direction: Array) -> Array:
        """The Hessian where the probabilities are `chances`, times a direction (r, q)."""

    def squares(self, curvature: Array) -> Array:
        """sum_i h_i z_i^2 (r, q) for h (r, n)."""


@dataclass(frozen=True)
class TableRows:
    """Rows of a table, in any precision.

    Where there are a mean and a scale, the features are [(x - mean) / scale, 1...]: made when they are asked for, so
    that no copy of the table is kept.
    """

    x: Any
    codes: Codes
    weights: Array
    mean: Array | None = None  # (p,)
    scale: Array | None = None  # (p,)
    ones: bool = False

    @property
    def width(self) -> int:
        return int(self.x.shape[1]) + self.ones

    def features(self) -> Any:
        if self.mean is None or self.scale is None:
            return self.x
        z = np.ones((len(self.x), self.width))
        np.subtract(self.x, self.mean, out=z[:, : len(self.mean)])
        z[:, : len(self.mean)] /= self.scale
        return z

    def evaluate(self, basis: Array, coef: Array) -> tuple[float, Array, Array]:
        z = self.features()
        value, chances = log_loss(basis @ (coef @ z.T), self.codes, self.weights)
        return value, (basis.T @ slopes(chances, self.codes, self.weights)) @ z, chances

    def product(self, basis: Array, chances: Array, direction: Array) -> Array:
        z = self.features()
        change = basis @ (direction.astype(z.dtype) @ z.T)
        change -= (chances * change).sum(axis=0)
        change *= chances * self.weights
        return np.asarray((basis.T @ change).astype(z.dtype) @ z)

    def squares(self, curvature: Array) -> Array:
        z = self.features()
        return np.asarray(curvature.astype(z.dtype) @ (z * z))


@dataclass(frozen=True)
class SparseRows:
    """Rows of CSR, with ones for an intercept that are not stored; of two classes the free score is the logit."""

    x: Any
    codes: Codes
    weights: Array
    ones: bool = False

    @property
    def width(self) -> int:
        return int(self.x.shape[1]) + self.ones

    def features(self) -> Any:
        z = np.ones((self.x.shape[0], self.width))
        z[:, : self.x.shape[1]] = self.x.toarray()
        return z

    @property
    def _stored(self) -> tuple[Any, Any, Any, bool]:
        unsigned = np.dtype(f"u{self.x.indices.itemsize}")  # no index counts from the end
        return self.x.indptr, self.x.indices.view(unsigned), self.x.data, self.ones

    def evaluate(self, basis: Array, coef: Array) -> tuple[float, Array, Array]:
        from heldout.linear.softmax import sparse_kernels as kernels

        if len(basis) == 2:
            out = np.zeros(self.width)
            value, second = kernels.evaluate_two(*self._stored, coef[0], self.codes, self.weights, out)
            return float(value), out[None], np.stack([1.0 - second, second])
        coefs, out = _flat(basis, coef), self._room(len(basis))
        value, chances = kernels.evaluate(*self._stored, len(basis), coefs, self.codes, self.weights, out)
        return float(value), _unflat(basis, out), chances.T

    def product(self, basis: Array, chances: Array, direction: Array) -> Array:
        from heldout.linear.softmax import sparse_kernels as kernels

        if len(basis) == 2:
            out = np.zeros(self.width)
            kernels.product_two(*self._stored, direction[0], self.weights * chances[0] * chances[1], out)
            return out[None]
        ahead, out = _flat(basis, direction), self._room(len(basis))
        kernels.product(*self._stored, len(basis), ahead, np.ascontiguousarray(chances.T), self.weights, out)
        return _unflat(basis, out)

    def _room(self, n_classes: int) -> Array:
        from heldout.linear.softmax.sparse_kernels import SLACK

        return np.zeros(self.width * n_classes + SLACK)

    def squares(self, curvature: Array) -> Array:
        from heldout.linear.softmax.sparse_kernels import add_squares

        out = np.zeros((self.width, len(curvature)))
        add_squares(*self._stored, np.ascontiguousarray(curvature.T), out)
        return out.T


def _flat(basis: Array, coef: Array) -> Array:
    """The classes' coefficients B C, column by column of the table, with the kernels' slack."""
    from heldout.linear.softmax.sparse_kernels import SLACK

    across = coef if _is_identity(basis) else basis @ coef
    flat = np.empty(across.size + SLACK)
    flat[: across.size].reshape(across.shape[::-1])[:] = across.T
    flat[across.size :] = 0.0
    return flat


def _unflat(basis: Array, out: Array) -> Array:
    """B'G for the classes' G (K, q) laid out flat."""
    from heldout.linear.softmax.sparse_kernels import SLACK

    across = out[: len(out) - SLACK].reshape(-1, len(basis)).T
    return across if _is_identity(basis) else basis.T @ across


def _is_identity(basis: Array) -> bool:
    return bool(basis.shape[0] == basis.shape[1])  # the free scores are the classes'
