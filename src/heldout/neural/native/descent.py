r"""Adam's step on the CPU: all weights of a network in one call and one reading, in their place.

.. math:: m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \qquad
          w \leftarrow w - \eta \Big( \frac{f m}{\sqrt v + \varepsilon'} + \lambda w \Big)

where f and ε' hold the corrections of the bias (`optimizers.py`), and λ is 0 for what does not decay.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import numpy as np
from numba import njit

from heldout.neural.native.handler import address_of, load_word, numbers, numbers_at, register, serve, whole_at
from heldout.neural.native.tiles import COMPILED, in_wide_registers

Array: TypeAlias = jax.Array
Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

CHUNK = 2**14  # numbers of a part

# The form, the first operand: parts; threads there is room for; arrays; then of each how many numbers, and whether they
# decay. The second operand: the rate, f, ε', β1, 1 - β1, β2, 1 - β2, λ.
PARTS, ROOM, ARRAYS, SIZES = range(4)
RATE, FACTOR, EPSILON, KEPT, NEW, KEPT_SQUARES, NEW_SQUARES, DECAY = range(8)
TERMS = 8


def adam(
    terms: Array, gradients: Sequence[Array], m: Sequence[Array], v: Sequence[Array], weights: Sequence[Array],
    decays: Sequence[bool],
) -> tuple[Sequence[Array], ...]:  # fmt: skip
    """m, v and the weights after a step; `terms` (8,): see above."""
    register(heldout_adam=_serve)
    count = len(weights)
    parts = sum(-(-leaf.size // CHUNK) for leaf in weights)
    sizes = [number for leaf, decay in zip(weights, decays, strict=True) for number in (leaf.size, decay)]
    form = np.array([parts, min(os.cpu_count() or 1, parts), count, *sizes], np.int32)
    found = jax.ffi.ffi_call(
        "heldout_adam",
        [numbers(*leaf.shape) for leaf in (*m, *v, *weights)],
        vmap_method="sequential",
        input_output_aliases={2 + count + k: k for k in range(3 * count)},
    )(form, terms, *gradients, *m, *v, *weights)
    return found[:count], found[count : 2 * count], found[2 * count :]


@njit(**COMPILED, fastmath={"contract"})  # type: ignore[untyped-decorator]
def _step(terms: Numbers, decay: Any, g: Numbers, m: Numbers, v: Numbers, weights: Numbers) -> None:
    in_wide_registers()
    for j in range(len(g)):
        mean = terms[KEPT] * m[j] + terms[NEW] * g[j]
        square = terms[KEPT_SQUARES] * v[j] + terms[NEW_SQUARES] * (g[j] * g[j])
        m[j], v[j] = mean, square
        weights[j] -= terms[RATE] * (terms[FACTOR] * mean / (np.sqrt(square) + terms[EPSILON]) + decay * weights[j])


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _part(part: int, thread: int, addresses: int) -> None:
    """Some numbers of an array. Operands: form, terms, gradients, m, v, weights; results: the last three, in place."""
    form, terms = load_word(addresses), numbers_at(load_word(addresses + 8), TERMS)
    arrays, array = whole_at(form, ARRAYS), 0
    size = whole_at(form, SIZES)
    while part * CHUNK >= size:
        part -= (size + CHUNK - 1) // CHUNK
        array += 1
        size = whole_at(form, SIZES + 2 * array)
    first = part * CHUNK
    count, begin = min(CHUNK, size - first), addresses + 16 + 8 * array
    decay = terms[DECAY] if whole_at(form, SIZES + 2 * array + 1) else np.float32(0.0)
    _step(
        terms,
        decay,
        numbers_at(load_word(begin) + 4 * first, count),
        numbers_at(load_word(begin + 8 * arrays) + 4 * first, count),
        numbers_at(load_word(begin + 16 * arrays) + 4 * first, count),
        numbers_at(load_word(begin + 24 * arrays) + 4 * first, count),
    )


_address_of = address_of(_part)


def _serve(frame: int) -> int:
    return serve(frame, _address_of())  # type: ignore[no-any-return]
