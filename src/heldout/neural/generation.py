r"""Drawing a text token by token from a network that gives scores z for the next one.

Probabilities are :math:`p_k \propto e^{z_k / \tau}`, at a temperature :math:`\tau`. Those of all but the `top_k`
likeliest tokens are set to 0, and then those of the least likely tokens without which at least the share `top_p` is
left (A. Fan and others, ACL 2018; A. Holtzman and others, ICLR 2020).

What the layers remember of the steps so far is kept (`Layer.extend`: keys and values, states), so that a token costs
one step of the network. Where the places are used up, the later half of them is read anew, from the first place on.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from heldout.neural.layers.base import Array, Key, Layer, Params, State

TOGETHER = 8  # tokens that are drawn by one call
PIECE = 128  # tokens that are read at once


class Sampling(NamedTuple):
    """How a token is drawn: the temperature (0: the likeliest), how many tokens are in question, and their share."""

    temperature: Any
    top_k: Any
    top_p: Any


def draw(scores: Array, how: Sampling, key: Key) -> Array:
    """A token by its scores (V,)."""
    order = jnp.argsort(-scores)
    scaled = scores[order] / jnp.where(how.temperature > 0.0, how.temperature, 1.0)
    scaled = jnp.where(jnp.arange(len(scaled)) < how.top_k, scaled, -jnp.inf)
    p = jax.nn.softmax(scaled)
    scaled = jnp.where(jnp.cumsum(p) - p < how.top_p, scaled, -jnp.inf)
    return order[jnp.where(how.temperature > 0.0, jax.random.categorical(key, scaled), 0)]


@functools.partial(jax.jit, static_argnames=("network",), donate_argnames=("cache",))
def read(network: Layer, params: Params, state: State, cache: Params, codes: Array, at: Array, count: Array) -> Params:
    """What is remembered after further tokens `codes` (k,), of which the first `count` are there."""
    return network.extend(params, state, codes[None], cache, at, count)[1]


@functools.partial(jax.jit, static_argnames=("network", "never", "count"), donate_argnames=("cache",))
def written(
    network: Layer,
    never: int | None,
    count: int,
    params: Params,
    state: State,
    cache: Params,
    last: Array,
    at: Array,
    how: Sampling,
    key: Key,
) -> tuple[Params, Array]:
    """What is remembered after `count` more tokens, and these (count,); the token before them, `last`, stands at `at`.

    The token `never` is not drawn.
    """

    def step(before: tuple[Params, Array], i: Array) -> tuple[tuple[Params, Array], Array]:
        cache, code = before
        scores, cache = network.extend(params, state, code[None, None], cache, at + i, jnp.int32(1))
        scores = scores[0, 0] if never is None else scores[0, 0].at[never].set(-jnp.inf)
        code = draw(scores, how, jax.random.fold_in(key, i)).astype(code.dtype)
        return (cache, code), code

    (cache, _), codes = jax.lax.scan(step, (cache, last), jnp.arange(count, dtype=jnp.int32))
    return cache, codes


def generated(
    network: Layer,
    params: Params,
    state: State,
    prompt: Sequence[int],
    context: int,
    how: Sampling,
    *,
    never: int | None,
    seed: int,
) -> Iterator[Sequence[int]]:
    """Tokens that follow the prompt, some at a time, without end."""
    count, piece = min(TOGETHER, max(1, context // 2)), min(PIECE, context)
    places = -(-context // piece) * piece
    codes, room = list(prompt)[-max(context - count, 1) :], 0
    cache: Params = {}
    for number in itertools.count():
        if room < count:
            codes = codes if number == 0 else codes[-max(context // 2, 1) :]
            cache = jax.tree.map(jnp.copy, network.init_cache(1, (places,)))  # each array is given away by itself
            for first in range(0, len(codes) - 1, piece):
                taken = codes[first : min(first + piece, len(codes) - 1)]
                filled = np.zeros(piece, np.int32)
                filled[: len(taken)] = taken
                cache = read(network, params, state, cache, filled, np.int32(first), np.int32(len(taken)))
            room = context - len(codes) + 1
        key = jax.random.fold_in(jax.random.key(np.uint32(seed)), number)
        last, at = np.int32(codes[-1]), np.int32(len(codes) - 1)
        cache, new = written(network, never, count, params, state, cache, last, at, how, key)
        found: list[int] = np.asarray(new).tolist()
        codes, room = codes + found, room - count
        yield found
