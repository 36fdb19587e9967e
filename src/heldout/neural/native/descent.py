r"""Adam's step on the CPU: all weights of a network in one call and one reading, in their place.

.. math:: m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \qquad
          w \leftarrow w - \eta \Big( \frac{f m}{\sqrt v + \varepsilon'} + \lambda w \Big)

where f and ε' hold the corrections of the bias (`optimizers.py`), and λ is 0 for what does not decay. A gradient whose
norm is above c is taken times c / norm first.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import numpy as np
from numba import njit

from heldout.neural.native.functions import along, total
from heldout.neural.native.handler import address_of, load_word, numbers, numbers_at, register, serve, whole_at
from heldout.neural.native.tiles import COMPILED, in_wide_registers

Array: TypeAlias = jax.Array
Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

CHUNK = 2**14  # numbers of a part

# The form, the first operand: parts; threads there is room for; with which part the second phase begins; arrays; then
# of each chunk its array, its first number there, how many it has, and whether they decay. The second operand: the
# rate, f, ε', β1, 1 - β1, β2, 1 - β2, λ, c.
PARTS, ROOM, SECOND, ARRAYS, TABLE = range(5)
RATE, FACTOR, EPSILON, KEPT, NEW, KEPT_SQUARES, NEW_SQUARES, DECAY, CLIP = range(9)
TERMS = 9
ONE = np.float32(1.0)


def adam(
    terms: Array, clipped: bool, gradients: Sequence[Array], m: Sequence[Array], v: Sequence[Array],
    weights: Sequence[Array], decays: Sequence[bool],
) -> tuple[Sequence[Array], ...]:  # fmt: skip
    """m, v and the weights after a step; `terms` (9,): see above. Without `clipped`, c does not count."""
    register(heldout_adam=_serve)
    count = len(weights)
    table = [
        (array, first, min(CHUNK, leaf.size - first), decay)
        for array, (leaf, decay) in enumerate(zip(weights, decays, strict=True))
        for first in range(0, leaf.size, CHUNK)
    ]
    chunks = len(table)
    firsts = chunks if clipped else 0
    head = [firsts + chunks, min(os.cpu_count() or 1, chunks), firsts, count]
    form = np.concatenate([head, np.ravel(table)]).astype(np.int32)
    *found, _ = jax.ffi.ffi_call(
        "heldout_adam",
        [*(numbers(*leaf.shape) for leaf in (*m, *v, *weights)), numbers(chunks)],
        vmap_method="sequential",
        input_output_aliases={2 + count + k: k for k in range(3 * count)},
    )(form, terms, *gradients, *m, *v, *weights)
    return found[:count], found[count : 2 * count], found[2 * count :]


@njit(**COMPILED, fastmath={"contract"})  # type: ignore[untyped-decorator]
def _step(terms: Numbers, share: Any, decay: Any, g: Numbers, m: Numbers, v: Numbers, weights: Numbers) -> None:
    in_wide_registers()
    for j in range(len(g)):
        slope = share * g[j]
        mean = terms[KEPT] * m[j] + terms[NEW] * slope
        square = terms[KEPT_SQUARES] * v[j] + terms[NEW_SQUARES] * (slope * slope)
        m[j], v[j] = mean, square
        weights[j] -= terms[RATE] * (terms[FACTOR] * mean / (np.sqrt(square) + terms[EPSILON]) + decay * weights[j])


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _chunk(form: int, part: int) -> tuple[int, int, int]:
    """Of a chunk: its array, its first number there, and how many it has."""
    at = TABLE + 4 * part
    return whole_at(form, at), whole_at(form, at + 1), whole_at(form, at + 2)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _measure_part(part: int, thread: int, addresses: int) -> None:
    """A chunk's sum of squares. Operands: form, terms, gradients, m, v, weights; results: the last three, sums."""
    form = load_word(addresses)
    array, first, count = _chunk(form, part)
    gradients = numbers_at(load_word(addresses + 16 + 8 * array) + 4 * first, count)
    sums = numbers_at(load_word(addresses + 16 + 56 * whole_at(form, ARRAYS)), whole_at(form, SECOND))
    sums[part] = along(gradients, gradients, count)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _step_part(part: int, thread: int, addresses: int) -> None:
    """A chunk's step, in place; see `_measure_part`."""
    form, terms = load_word(addresses), numbers_at(load_word(addresses + 8), TERMS)
    arrays, chunks = whole_at(form, ARRAYS), whole_at(form, SECOND)
    array, first, count = _chunk(form, part)
    share = ONE
    if chunks:
        norm = np.sqrt(total(numbers_at(load_word(addresses + 16 + 56 * arrays), chunks)))
        share = ONE if norm < terms[CLIP] else terms[CLIP] / norm
    begin = addresses + 16 + 8 * array
    _step(
        terms,
        share,
        terms[DECAY] if whole_at(form, TABLE + 4 * part + 3) else np.float32(0.0),
        numbers_at(load_word(begin) + 4 * first, count),
        numbers_at(load_word(begin + 8 * arrays) + 4 * first, count),
        numbers_at(load_word(begin + 16 * arrays) + 4 * first, count),
        numbers_at(load_word(begin + 24 * arrays) + 4 * first, count),
    )


_address_of = address_of(_measure_part, _step_part)


def _serve(frame: int) -> int:
    return serve(frame, _address_of())  # type: ignore[no-any-return]
