"""Batch norm by kernels of our own, beside PyTorch in double precision."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from heldout.neural.layers import BatchNorm, ReLU, Sequential, normalization
from heldout.neural.native import normalization as native
from kernels import calls


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kernels are called however few numbers there are; which of them were."""
    monkeypatch.setattr(normalization, "LEAST_NUMBERS", 0)
    return calls(monkeypatch, native, "moments", "backward")


@pytest.mark.parametrize("shape", [(5, 3, 7, 6), (3, 16, 16, 32), (700, 130)], ids=str)
def test_batch_norm_and_relu_beside_pytorch(called: list[str], shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    layer, channels = Sequential(BatchNorm(epsilon=1e-3), ReLU()), shape[-1]
    rectified = shape[0] != 3
    if not rectified:
        layer = Sequential(BatchNorm(epsilon=1e-3))
    x = (10.0 + rng.normal(size=shape) * np.linspace(0.5, 3.0, channels)).astype(np.float32)
    scale, shift = rng.normal(size=(2, channels)).astype(np.float32)
    delta = rng.normal(size=shape).astype(np.float32)
    _, state = layer.init(None, shape[1:])

    @jax.jit
    def found(x: jax.Array, scale: jax.Array, shift: jax.Array, delta: jax.Array) -> tuple:
        def apply(*given: jax.Array) -> tuple[jax.Array, dict]:
            params = {"batchnorm_1": dict(zip(("scale", "shift"), given[1:], strict=True))}
            return layer.apply(params, state, given[0], train=True)

        y, pull, after = jax.vjp(apply, x, scale, shift, has_aux=True)
        return (y, *pull(delta)), after["batchnorm_1"]

    ours, after = found(x, scale, shift, delta)
    assert called == ["moments", "backward"]
    theirs = [torch.tensor(array, dtype=torch.float64, requires_grad=True) for array in (x, scale, shift)]
    mean, variance = torch.zeros(channels, dtype=torch.float64), torch.ones(channels, dtype=torch.float64)
    y = torch.nn.functional.batch_norm(
        torch.movedim(theirs[0], -1, 1), mean, variance, *theirs[1:], training=True, momentum=0.1, eps=1e-3
    )
    y = torch.movedim(torch.relu(y) if rectified else y, 1, -1)
    y.backward(torch.tensor(delta, dtype=torch.float64))
    for a, b in zip(ours, (y.detach(), *(array.grad for array in theirs)), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * float(b.abs().max()))
    np.testing.assert_allclose(after["mean"], mean, rtol=1e-6)
    np.testing.assert_allclose(after["variance"], variance, rtol=1e-5)


def test_few_numbers_and_double_precision_go_the_other_way(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(native, "moments", lambda x: called.append(x.shape) or (x[0], x[0]))

    def trace(n: int) -> None:
        jax.eval_shape(lambda x: normalization.normalise(x, x[0], x[0], 1e-5), jnp.ones((n, 64)))

    trace(normalization.LEAST_NUMBERS // 64 - 1)
    with jax.enable_x64(True):
        trace(normalization.LEAST_NUMBERS // 64)
    assert called == []
    trace(normalization.LEAST_NUMBERS // 64)
    assert len(called) == 1
