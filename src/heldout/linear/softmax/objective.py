"""The penalised mean cross-entropy of a linear model: value, gradient and Hessian, by blocks of rows."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from heldout.linear.blocks import Map
from heldout.linear.softmax.loss import Array, Codes, log_loss, slopes

HESSIAN_TASKS = 16  # pairs of classes times runs of blocks; fixed, so that sums do not depend on the threads


@dataclass(frozen=True)
class Block:
    """A run of rows: features (n, q) dense or CSR, class codes (n,), weights (n,) that sum to 1 over all blocks.

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
        """(n, q)"""
        if self.mean is None or self.scale is None:
            return self.x
        z = np.ones((len(self.x), self.width))
        np.subtract(self.x, self.mean, out=z[:, : len(self.mean)])
        z[:, : len(self.mean)] /= self.scale
        return z

    def scores(self, coef: Any, features: Any = None) -> Any:
        """C z (r, n) for C (r, q), in the precision of the features."""
        z = self.features() if features is None else features
        if not sparse.issparse(z):
            return coef @ z.T
        from heldout.linear.softmax.sparse_products import times

        return np.ascontiguousarray(times(z.indptr, z.indices, z.data, np.ascontiguousarray(coef.T)).T)

    def back(self, rows: Any, features: Any = None) -> Any:
        """sum_i s_i z_i' (r, q) for s (r, n)."""
        z = self.features() if features is None else features
        if not sparse.issparse(z):
            return rows @ z
        from heldout.linear.softmax.sparse_products import transposed_times

        return transposed_times(z.indptr, z.indices, z.data, np.ascontiguousarray(rows.T), z.shape[1]).T


@dataclass(frozen=True)
class Evaluation:
    """The smooth part of an objective at one point: value, gradient (r, q), probabilities (K, n) of every block."""

    value: float
    gradient: Array
    chances: list[Array]


@dataclass(frozen=True)
class Objective:
    r"""f(V) = sum_i v_i CE(y_i, B V x_i) + 1/2 sum_kj lambda_j V_kj^2, for V (r, q) and sum_i v_i = 1.

    To it `proximal.newton_cg` adds sum_kj `absolute`_j |V_kj|. The Hessian is a sum over pairs of classes of positive
    terms (d_kl = b_k - b_l, rows of B):

    .. math:: \nabla^2 f = \sum_{k<l} d_{kl} d_{kl}^\top \otimes \sum_i v_i p_{ik} p_{il} x_i x_i^\top
        + I \otimes \operatorname{diag}(\lambda)
    """

    blocks: Sequence[Block]
    basis: Array  # (K, r)
    penalty: Array  # (q,) lambda
    map: Map
    absolute: Array | None = None  # (q,) of the L1 part; None where there is none
    quick: Sequence[Block] | None = None  # the same rows, perhaps in single precision, for products with the Hessian

    def evaluate(self, coef: Array) -> Evaluation:
        """f, its gradient and the probabilities."""
        parts = self.map(functools.partial(_evaluate, self.basis, coef), self.blocks)
        value, gradient = 0.0, np.zeros_like(coef)
        for part_value, part_gradient, _ in parts:
            value += part_value
            gradient += part_gradient
        decay = self.penalty * coef
        value += 0.5 * float(np.vdot(coef, decay))
        return Evaluation(value, gradient + decay, [part[2] for part in parts])

    def value_gradient(self, coef: Array) -> tuple[float, Array]:
        """f and its gradient (r, q)."""
        found = self.evaluate(coef)
        return found.value, found.gradient

    def product(self, here: Evaluation, direction: Array) -> Array:
        """The Hessian at `here` times a direction (r, q)."""
        tasks = list(zip(self.quick or self.blocks, here.chances, strict=True))
        total = np.zeros_like(direction)
        for part in self.map(functools.partial(_product, self.basis, direction), tasks):
            total += part
        total += self.penalty * direction
        return total

    def diagonal(self, here: Evaluation) -> Array:
        """The Hessian's diagonal at `here` (r, q)."""
        tasks = list(zip(self.quick or self.blocks, here.chances, strict=True))
        total = np.zeros((self.basis.shape[1], len(self.penalty)))
        for part in self.map(functools.partial(_diagonal, self.basis), tasks):
            total += part
        return total + self.penalty

    def hessian(self, coef: Array) -> Array:
        """(r q, r q), in the order of coef.ravel()."""
        n_classes, n_free = self.basis.shape
        q = coef.shape[1]
        work = list(zip(self.blocks, self.evaluate(coef).chances, strict=True))
        pairs = list(itertools.combinations(range(n_classes), 2))
        runs = max(1, min(len(work), HESSIAN_TASKS // len(pairs)))
        tasks = [(pair, work[run::runs]) for pair in pairs for run in range(runs)]
        hessian = np.zeros((n_free, q, n_free, q))
        for (pair, _), gram in zip(tasks, self.map(_weighted_gram, tasks), strict=True):
            difference = self.basis[pair[0]] - self.basis[pair[1]]
            for a, b in itertools.product(np.flatnonzero(difference), repeat=2):
                hessian[a, :, b, :] += difference[a] * difference[b] * gram
        hessian = hessian.reshape(n_free * q, n_free * q)
        hessian[np.diag_indices_from(hessian)] += np.tile(self.penalty, n_free)
        return hessian


def _evaluate(basis: Array, coef: Array, block: Block) -> tuple[float, Array, Array]:
    z = block.features()
    value, chances = log_loss(basis @ block.scores(coef, z), block.codes, block.weights)
    return value, block.back(basis.T @ slopes(chances, block.codes, block.weights), z), chances


def _product(basis: Array, direction: Array, task: tuple[Block, Array]) -> Array:
    block, chances = task
    z = block.features()
    change = basis @ block.scores(direction.astype(z.dtype), z)
    change -= (chances * change).sum(axis=0)
    change *= chances * block.weights
    return np.asarray(block.back((basis.T @ change).astype(z.dtype), z))


def class_curvatures(basis: Array, chances: Array) -> Array:
    """Second derivatives (r, n) of the loss by each free score alone: sum_k B_ka^2 p_k - (sum_k B_ka p_k)^2."""
    return np.maximum((basis**2).T @ chances - (basis.T @ chances) ** 2, 0.0)


def _diagonal(basis: Array, task: tuple[Block, Array]) -> Array:
    block, chances = task
    z = block.features()
    squares = z.power(2).tocsr() if sparse.issparse(z) else z * z
    curvature = (class_curvatures(basis, chances) * block.weights).astype(squares.dtype)
    return np.asarray(block.back(curvature, squares))


def _weighted_gram(task: tuple[tuple[int, int], list[tuple[Block, Array]]]) -> Array:
    """sum_i v_i p_ik p_il x_i x_i' over some blocks, for one pair of classes (k, l)."""
    (k, other), work = task
    gram = np.zeros((work[0][0].width,) * 2)
    for block, chances in work:
        z = block.features()
        x = z.toarray() if sparse.issparse(z) else z
        scaled = x * np.sqrt(block.weights * chances[k] * chances[other])[:, None]
        gram += scaled.T @ scaled
    return gram
