r"""Scaled dot-product attention, and the same in blocks of keys, exact, with memory linear in the length.

.. math:: s_{ij} = \frac{q_i^T k_j}{\sqrt d} + b_{ij}, \qquad p_{ij} = \frac{e^{s_{ij}}}{\sum_l e^{s_{il}}}, \qquad
          o_i = \sum_j p_{ij} v_j

In blocks, the largest score m_i of a query and the sum of :math:`e^{s_{ij} - m_i}` are kept up to date while its output
is summed, each rescaled when a larger score comes (Milakov and Gimelshein 2018, algorithm 3). On the way back the p are
worked out again, block by block, from :math:`L_i = \log \sum_j e^{s_{ij}}` (Dao and others 2022, appendix B.2). With
:math:`\delta_i` the gradient by o_i,

.. math::
    \nabla_{v_j} = \sum_i p_{ij} \delta_i, \qquad
    \nabla_{s_{ij}} = p_{ij} (\delta_i^T v_j - \delta_i^T o_i), \qquad
    \nabla_{q_i} = \sum_j \frac{\nabla_{s_{ij}} k_j}{\sqrt d}, \qquad
    \nabla_{k_j} = \sum_i \frac{\nabla_{s_{ij}} q_i}{\sqrt d}

M. Milakov and N. Gimelshein, Online normalizer calculation for softmax, 2018. M. Rabe and C. Staats, Self-attention
does not need O(n²) memory, 2021. T. Dao and others, FlashAttention, NeurIPS 2022.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from heldout.neural.layers.base import Array, Mask
from heldout.neural.layers.platform import by_platform

NEVER = -1e30  # the score of a pair that does not meet
LEAST_SCORES = 2**17  # from which on the kernel is worth being compiled
TINY = 1e-30  # a sum of no keys


class Look(NamedTuple):
    """Which pairs meet, and how: `causal`, j ≤ i; `alibi`, a penalty of slope · |i - j| for each head; keys a block."""

    causal: bool = False
    alibi: bool = False
    block: int | None = None


def attend(look: Look, q: Array, k: Array, v: Array, mask: Mask) -> Array:
    """The outputs (n, H, T, d) for queries (n, H, T, d), keys and values (n, H, S, d) and the keys' mask (n, S).

    A query that meets no key gives 0.
    """
    if look.block is not None and k.shape[2] > look.block:
        return _in_blocks(look, q, k, v, mask)
    return weights_of(look, q, k, mask) @ v


def attend_jointly(look: Look, heads: int, joint: Array, mask: Mask) -> Array:
    """The outputs (n, T, C) of self-attention, for queries, keys and values side by side (n, T, 3 C).

    On the CPU they go through a kernel of our own (`native/attention.py`), where there are enough of them.
    """
    if not _fits(look, heads, joint):
        return merged(attend(look, *heads_of(joint, heads), mask))
    from heldout.neural.native.attention import whole

    steps = joint.shape[1]
    more = whole(steps) - steps
    if more:
        joint = jnp.pad(joint, ((0, 0), (0, more), (0, 0)))
        mask = jnp.pad(jnp.ones((len(joint), steps), bool) if mask is None else mask, ((0, 0), (0, more)))
    there = jnp.zeros((len(joint), 0), joint.dtype) if mask is None else mask.astype(joint.dtype)
    return _by_head(look, heads, joint, there)[:, :steps]


def heads_of(joint: Array, heads: int) -> tuple[Array, Array, Array]:
    """Queries, keys and values (n, H, T, d) of each head."""
    n, steps, width = joint.shape
    q, k, v = jnp.moveaxis(joint.reshape(n, steps, 3, heads, width // (3 * heads)), (2, 3), (0, 2))
    return q, k, v


def merged(y: Array) -> Array:
    """The heads' outputs (n, H, T, d) side by side (n, T, C)."""
    n, heads, steps, d = y.shape
    return jnp.swapaxes(y, 1, 2).reshape(n, steps, heads * d)


def _fits(look: Look, heads: int, joint: Array) -> bool:
    """Whether the kernel can, and is worth it."""
    n, steps, width = joint.shape
    if joint.dtype != jnp.float32 or n * heads * steps * steps < LEAST_SCORES:
        return False
    from heldout.neural.native.attention import fits  # Numba is imported where it is needed

    return fits(steps, width // 3, heads)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _by_head(look: Look, heads: int, joint: Array, there: Array) -> Array:
    return _by_head_forward(look, heads, joint, there)[0]


def _by_head_forward(look: Look, heads: int, joint: Array, there: Array) -> tuple[Array, Any]:
    from heldout.neural.native.attention import forward

    def elsewhere(joint: Array, there: Array) -> tuple[Array, Array]:
        n, steps, _ = joint.shape
        return _whole(look, heads, joint, there), jnp.zeros((n, heads, 2, steps), joint.dtype)

    kernel = functools.partial(forward, heads=heads, causal=look.causal, alibi=look.alibi)
    y, sums = by_platform(joint, there, cpu=kernel, default=elsewhere)
    return y, (joint, there, y, sums)


def _by_head_backward(look: Look, heads: int, kept: Any, upstream: Array) -> tuple[Array, Array]:
    from heldout.neural.native.attention import backward

    def elsewhere(joint: Array, there: Array, y: Array, sums: Array, upstream: Array) -> Array:
        by_joint: Array = jax.vjp(lambda joint: _whole(look, heads, joint, there), joint)[1](upstream)[0]
        return by_joint

    kernel = functools.partial(backward, heads=heads, causal=look.causal, alibi=look.alibi)
    return by_platform(*kept, upstream, cpu=kernel, default=elsewhere), jnp.zeros_like(kept[1])


_by_head.defvjp(_by_head_forward, _by_head_backward)


def _whole(look: Look, heads: int, joint: Array, there: Array) -> Array:
    return merged(attend(look, *heads_of(joint, heads), there > 0.0 if there.size else None))


def weights_of(look: Look, q: Array, k: Array, mask: Mask, first: Any = 0) -> Array:
    """The p (n, H, T, S), where the first query stands at the place `first`, and the first key at 0."""
    scores = _scores(look, q, k, jnp.arange(k.shape[2]) - first, mask)
    p = jax.nn.softmax(scores, axis=-1)
    return p if mask is None else jnp.where(scores > NEVER / 2, p, 0.0)  # a query may meet no key


def _scores(look: Look, q: Array, k: Array, at: Array, mask: Mask) -> Array:
    """The scores (n, H, T, S) of keys that stand at the places `at` (S,), counted from the first query; `NEVER` for
    pairs that do not meet."""
    scores = jnp.einsum("nhtd,nhsd->nhts", q, k) / math.sqrt(q.shape[-1])
    apart = jnp.arange(q.shape[2])[:, None] - at  # (T, S)
    if look.alibi:
        scores = scores - alibi_slopes(q.shape[1], scores.dtype)[:, None, None] * jnp.abs(apart)
    if look.causal:
        scores = jnp.where(apart >= 0, scores, NEVER)
    return scores if mask is None else jnp.where(mask[:, None, None, :], scores, NEVER)


def alibi_slopes(heads: int, dtype: Any) -> Array:
    """2^(-8 h / H) for the heads h = 1, ... H (O. Press, N. Smith and M. Lewis, ICLR 2022, section 3)."""
    return jnp.exp2(-8.0 * jnp.arange(1, heads + 1, dtype=dtype) / heads)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _in_blocks(look: Look, q: Array, k: Array, v: Array, mask: Mask) -> Array:
    return _blocks_forward(look, q, k, v, mask)[0]


def _blocks_forward(look: Look, q: Array, k: Array, v: Array, mask: Mask) -> tuple[Array, Any]:
    def step(before: tuple[Array, Array, Array], block: Any) -> tuple[tuple[Array, Array, Array], None]:
        largest, total, summed = before
        scores = _scores(look, q, block[0], block[2], block[3])
        highest = jnp.maximum(largest, scores.max(axis=-1, keepdims=True))
        raised = jnp.where(scores > NEVER / 2, jnp.exp(scores - highest), 0.0)
        kept = jnp.exp(largest - highest)
        return (highest, total * kept + raised.sum(axis=-1, keepdims=True), summed * kept + raised @ block[1]), None

    column = jnp.zeros((*q.shape[:3], 1), q.dtype)
    start = column + NEVER, column, jnp.zeros((*q.shape[:3], v.shape[-1]), q.dtype)
    (largest, total, summed), _ = jax.lax.scan(step, start, _blocks(look, k, v, mask))
    total = jnp.maximum(total, TINY)
    output = summed / total
    return output, (q, k, v, mask, output, largest + jnp.log(total))


def _blocks_backward(look: Look, kept: Any, upstream: Array) -> tuple[Array, Array, Array, None]:
    q, k, v, mask, output, logs = kept
    along = (upstream * output).sum(axis=-1, keepdims=True)
    scale = 1.0 / math.sqrt(q.shape[-1])

    def step(by_q: Array, block: Any) -> tuple[Array, tuple[Array, Array]]:
        scores = _scores(look, q, block[0], block[2], block[3])
        p = jnp.where(scores > NEVER / 2, jnp.exp(scores - logs), 0.0)
        by_scores = p * (jnp.einsum("nhtd,nhsd->nhts", upstream, block[1]) - along) * scale
        by_k = jnp.einsum("nhts,nhtd->nhsd", by_scores, q)
        return by_q + by_scores @ block[0], (by_k, jnp.einsum("nhts,nhtd->nhsd", p, upstream))

    by_q, (by_k, by_v) = jax.lax.scan(step, jnp.zeros_like(q), _blocks(look, k, v, mask))
    length = k.shape[2]
    by_k, by_v = (jnp.moveaxis(part, 0, 2).reshape(*k.shape[:2], -1, part.shape[-1]) for part in (by_k, by_v))
    return by_q, by_k[:, :, :length], by_v[:, :, :length], None


_in_blocks.defvjp(_blocks_forward, _blocks_backward)


def _blocks(look: Look, k: Array, v: Array, mask: Mask) -> tuple[Array, ...]:
    """Keys, values, places and masks, block by block; the last one is filled up."""
    n, heads, length, _ = k.shape
    size = look.block or length
    count = -(-length // size)
    more = count * size - length
    there = jnp.ones((n, length), bool) if mask is None else mask
    keys, values = (
        jnp.moveaxis(jnp.pad(part, ((0, 0), (0, 0), (0, more), (0, 0))).reshape(n, heads, count, size, -1), 2, 0)
        for part in (k, v)
    )
    there = jnp.moveaxis(jnp.pad(there, ((0, 0), (0, more))).reshape(n, count, size), 1, 0)
    return keys, values, jnp.arange(count * size).reshape(count, size), there
