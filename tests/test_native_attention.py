"""The kernel of attention beside attention by its formula: outputs, gradients, masks, lengths of any kind."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from gradients import computed, error
from heldout.neural.layers import attending
from heldout.neural.layers.attending import Look, attend, attend_jointly, heads_of, merged
from heldout.neural.native.tiles import LANES

CASES = [  # rows, steps, heads, how
    (2, 8, 1, Look(True)),
    (2, 13, 2, Look(True, alibi=True)),
    (2, 67, 2, Look(alibi=True)),
    (1, 67, 1, Look(True)),
    (2, 53, 1, Look(True)),
    (2, 67, 1, Look()),
    (2, 531, 1, Look(True)),
    (1, 777, 2, Look(alibi=True)),
]


def test_outputs_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    given = []
    for n, steps, heads, _ in CASES:
        there = rng.random((n, steps)) < 0.7
        there[0] = len(given) % 2 == 0  # all of them, or none
        width = heads * LANES * (2 if len(given) % 2 else 1 + len(given))
        shapes = (n, steps, 3 * width), (n, steps, width)
        given.append((*(rng.normal(size=shape).astype(np.float32) for shape in shapes), there))

    def both(given: Any, kernel: bool) -> Any:
        found = []
        for (joint, upstream, there), (_, _, heads, look) in zip(given, CASES, strict=True):

            def plain(joint: Any, there: Any = there, heads: int = heads, look: Look = look) -> Any:
                return merged(attend(look, *heads_of(joint, heads), there))

            def ours(joint: Any, there: Any = there, heads: int = heads, look: Look = look) -> Any:
                return attend_jointly(look._replace(block=512), heads, joint, there)

            y, pull = jax.vjp(ours if kernel else plain, joint)
            found.append((y, pull(upstream)[0]))
        return found

    monkeypatch.setattr(attending, "LEAST_SCORES", 1)
    assert "heldout_attend" in str(jax.make_jaxpr(lambda given: both(given, True))(given))
    by_kernel, by_formula = (
        computed(lambda given, kernel=kernel: both(given, kernel), given) for kernel in (True, False)
    )
    for one, other, (_, _, there) in zip(by_kernel, by_formula, given, strict=True):
        assert error(one, other) < 1e-5
        assert there.all(axis=1).any() or (one[0][0] == 0.0).all()


def test_what_the_kernel_leaves_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attending, "LEAST_SCORES", 1)
    rng = np.random.default_rng(0)
    for look, heads, steps, width in (
        (Look(True), 2, 9, LANES),
        (Look(True), 1, 3, LANES),
    ):
        joint = jnp.asarray(rng.normal(size=(1, steps, 3 * width)).astype(np.float32))
        found = jax.make_jaxpr(lambda joint, look=look, heads=heads: attend_jointly(look, heads, joint, None))(joint)
        assert "heldout_attend" not in str(found)
    assert_allclose(merged(heads_of(joint, 1)[1]), joint[..., LANES : 2 * LANES])
