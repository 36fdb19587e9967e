"""Softmax cross-entropy by a kernel of our own, beside PyTorch in double precision; accuracy beside argmax."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from heldout.neural import losses
from heldout.neural.losses import softmax_cross_entropy
from heldout.neural.metrics import accuracy
from heldout.neural.native import cross_entropy as native
from kernels import calls


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kernels are called however few scores there are; which of them were."""
    monkeypatch.setattr(losses, "LEAST_SCORES", 0)
    return calls(monkeypatch, native, "forward", "backward")


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (130, 66), (3, 5000), (4, 7, 66), (2, 3, 5, 17)], ids=str)
def test_beside_pytorch(called: list[str], shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    scores = (5.0 * rng.normal(size=shape)).astype(np.float32)
    codes = rng.integers(0, shape[-1], shape[:-1])
    delta = rng.normal(size=shape[:-1]).astype(np.float32)
    found, pull = jax.vjp(jax.jit(lambda z: softmax_cross_entropy(z, jnp.asarray(codes))), jnp.asarray(scores))
    (by_scores,) = pull(jnp.asarray(delta))
    assert set(called) == {"forward", "backward"}
    z = torch.tensor(scores, dtype=torch.float64, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(
        z.reshape(-1, shape[-1]), torch.tensor(codes).reshape(-1), reduction="none"
    ).reshape(shape[:-1])
    expected.backward(torch.tensor(delta, dtype=torch.float64))
    assert_allclose(found, expected.detach(), rtol=1e-6, atol=4e-6)
    assert_allclose(by_scores, z.grad, rtol=1e-5, atol=4e-6)


def test_scores_that_are_no_numbers_spoil_their_row_alone(called: list[str]) -> None:
    inf, nan = np.inf, np.nan
    scores = np.array(
        [
            [1, 2, 3],
            [1, nan, 3],
            [1, -nan, 3],
            [nan, 1, 2],
            [1, 2, inf],
            [1, -inf, 2],
            [-inf, -inf, -inf],
            [3e38, -3e38, 0],
            [-1000, -2000, -1000.5],
        ]
    ).astype(np.float32)
    codes = jnp.full(len(scores), 2)
    found = np.asarray(jax.jit(softmax_cross_entropy)(scores, codes))
    assert called == ["forward"]
    assert_array_equal(np.isfinite(found), [True, False, False, False, False, True, False, True, True])
    expected = jax.nn.logsumexp(scores, axis=-1) - scores[:, 2]
    for row in (0, 5, 7, 8):
        assert_allclose(found[row], expected[row], rtol=1e-6)


def test_classes_that_there_are_not_have_no_loss(called: list[str]) -> None:
    scores, codes = jnp.zeros((3, 4)), jnp.array([4, -1, 2])
    loss, pull = jax.vjp(lambda z: softmax_cross_entropy(z, codes), scores)
    assert_allclose(loss, [np.nan, np.nan, np.log(4.0)], rtol=1e-6)
    assert_allclose(pull(jnp.ones(3))[0][2], [0.25, 0.25, -0.75, 0.25], rtol=1e-6)


def test_rows_do_not_depend_on_each_other(called: list[str]) -> None:
    rng = np.random.default_rng(1)
    scores, codes = rng.normal(size=(300, 33)).astype(np.float32), rng.integers(0, 33, 300)
    order = rng.permutation(300)
    whole = np.asarray(softmax_cross_entropy(scores, codes))
    assert_array_equal(softmax_cross_entropy(scores[order], codes[order]), whole[order])
    assert_array_equal(softmax_cross_entropy(scores[:7], codes[:7]), whole[:7])


def test_accuracy_beside_argmax() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 3, (400, 5)).astype(np.float32)  # with many that are equal
    codes = rng.integers(0, 5, 400)
    assert_array_equal(accuracy(jnp.asarray(scores), jnp.asarray(codes)), scores.argmax(axis=-1) == codes)
    steps = accuracy(jnp.asarray(scores.reshape(40, 10, 5)), jnp.asarray(codes.reshape(40, 10)))
    assert_allclose(steps, (scores.argmax(axis=-1) == codes).reshape(40, 10).mean(axis=-1), rtol=1e-6)
    shares = np.eye(5)[codes]
    assert_array_equal(accuracy(jnp.asarray(scores), jnp.asarray(shares)), scores.argmax(axis=-1) == codes)
    spoiled = jnp.array([[1.0, np.nan, 0.0], [np.nan, 1.0, 0.0]])
    assert_array_equal(accuracy(spoiled, jnp.array([0, 0])), [0.0, 0.0])
