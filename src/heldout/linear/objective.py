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
from heldout.linear.loss import Array, Codes, cross_entropy, log_softmax

HESSIAN_TASKS = 16  # pairs of classes times runs of blocks; fixed, so that sums do not depend on the threads


@dataclass(frozen=True)
class Block:
    """A run of rows: features (n, q) dense or CSR, class codes (n,), weights (n,) that sum to 1 over all blocks."""

    x: Any
    codes: Codes
    weights: Array

    def scores(self, coef: Array) -> Array:
        """(K-1, n)"""
        return np.ascontiguousarray((self.x @ coef.T).T)


@dataclass(frozen=True)
class Objective:
    r"""f(V) = sum_i v_i CE(y_i, B V x_i) + 1/2 sum_kj lambda_j V_kj^2, for V (K-1, q) and sum_i v_i = 1.

    The Hessian is a sum over pairs of classes of positive terms (d_kl = b_k - b_l, rows of B):

    .. math:: \nabla^2 f = \sum_{k<l} d_{kl} d_{kl}^\top \otimes \sum_i v_i p_{ik} p_{il} x_i x_i^\top
        + I \otimes \operatorname{diag}(\lambda)
    """

    blocks: Sequence[Block]
    basis: Array  # (K, K-1)
    penalty: Array  # (q,) lambda
    map: Map

    def value_gradient(self, coef: Array) -> tuple[float, Array]:
        """f and its gradient (K-1, q)."""
        parts = self.map(functools.partial(_value_gradient, self.basis, coef), self.blocks)
        value, gradient = 0.0, np.zeros_like(coef)
        for part_value, part_gradient in parts:
            value += part_value
            gradient += part_gradient
        decay = self.penalty * coef
        return value + 0.5 * float(np.vdot(coef, decay)), gradient + decay

    def hessian(self, coef: Array) -> Array:
        """((K-1) q, (K-1) q), in the order of coef.ravel()."""
        n_classes, n_free = self.basis.shape
        q = coef.shape[1]
        chances = self.map(functools.partial(_probabilities, self.basis, coef), self.blocks)
        work = list(zip(self.blocks, chances, strict=True))
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


def _value_gradient(basis: Array, coef: Array, block: Block) -> tuple[float, Array]:
    value, slopes = cross_entropy(basis @ block.scores(coef), block.codes, block.weights)
    return value, np.asarray((block.x.T @ (basis.T @ slopes).T).T)


def _probabilities(basis: Array, coef: Array, block: Block) -> Array:
    return np.exp(log_softmax(basis @ block.scores(coef)))


def _weighted_gram(task: tuple[tuple[int, int], list[tuple[Block, Array]]]) -> Array:
    """sum_i v_i p_ik p_il x_i x_i' over some blocks, for one pair of classes (k, l)."""
    (k, other), work = task
    gram = np.zeros((work[0][0].x.shape[1],) * 2)
    for block, chances in work:
        x = block.x.toarray() if sparse.issparse(block.x) else block.x
        scaled = x * np.sqrt(block.weights * chances[k] * chances[other])[:, None]
        gram += scaled.T @ scaled
    return gram
