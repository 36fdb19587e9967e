"""The penalised mean cross-entropy of a linear model: value, gradient and Hessian, by blocks of rows."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from heldout.linear.blocks import Map
from heldout.linear.softmax.loss import Array
from heldout.linear.softmax.rows import Rows

HESSIAN_TASKS = 16  # pairs of classes times runs of blocks; fixed, so that sums do not depend on the threads


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

    blocks: Sequence[Rows]
    basis: Array  # (K, r)
    penalty: Array  # (q,) lambda
    map: Map
    absolute: Array | None = None  # (q,) of the L1 part; None where there is none
    quick: Sequence[Rows] | None = None  # the same rows, perhaps in single precision, for products with the Hessian

    def evaluate(self, coef: Array) -> Evaluation:
        """f, its gradient and the probabilities."""
        parts = self.map(functools.partial(_evaluate, self.basis, coef), self.blocks)
        value, gradient = 0.0, np.zeros_like(coef)
        for part_value, part_gradient, _ in parts:
            value += part_value
            gradient += part_gradient
        decay = self.penalty * coef
        value += 0.5 * inner(coef, decay)
        return Evaluation(value, gradient + decay, [part[2] for part in parts])

    def value_gradient(self, coef: Array) -> tuple[float, Array]:
        """f and its gradient (r, q)."""
        found = self.evaluate(coef)
        return found.value, found.gradient

    def product(self, here: Evaluation, direction: Array) -> Array:
        """The Hessian at `here` times a direction (r, q)."""
        tasks = list(zip(self.quick or self.blocks, here.chances, strict=True))
        parts = iter(self.map(functools.partial(_product, self.basis, direction), tasks))
        total: Array = next(parts) + self.penalty * direction
        for part in parts:
            total += part
        return total

    def diagonal(self, here: Evaluation) -> Array:
        """The Hessian's diagonal at `here` (r, q)."""
        tasks = list(zip(self.quick or self.blocks, here.chances, strict=True))
        return self.penalty + sum(self.map(functools.partial(_diagonal, self.basis), tasks))

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


def inner(a: Array, b: Array) -> float:
    """sum_kj a_kj b_kj, in the order in which `a` lies in memory."""
    return float(np.vdot(a, b) if a.flags.c_contiguous else np.vdot(a.T, b.T))


def _evaluate(basis: Array, coef: Array, rows: Rows) -> tuple[float, Array, Array]:
    return rows.evaluate(basis, coef)


def _product(basis: Array, direction: Array, task: tuple[Rows, Array]) -> Array:
    rows, chances = task
    return rows.product(basis, chances, direction)


def class_curvatures(basis: Array, chances: Array) -> Array:
    """Second derivatives (r, n) of the loss by each free score alone: sum_k B_ka^2 p_k - (sum_k B_ka p_k)^2."""
    return np.maximum((basis**2).T @ chances - (basis.T @ chances) ** 2, 0.0)


def _diagonal(basis: Array, task: tuple[Rows, Array]) -> Array:
    rows, chances = task
    return rows.squares(class_curvatures(basis, chances) * rows.weights)


def _weighted_gram(task: tuple[tuple[int, int], list[tuple[Rows, Array]]]) -> Array:
    """sum_i v_i p_ik p_il x_i x_i' over some blocks, for one pair of classes (k, l)."""
    (k, other), work = task
    gram = np.zeros((work[0][0].width,) * 2)
    for block, chances in work:
        scaled = block.features() * np.sqrt(block.weights * chances[k] * chances[other])[:, None]
        gram += scaled.T @ scaled
    return gram
