"""Losses: gradients beside central differences and plain formulas, values beside PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from gradients import computed, differences, error, moved
from heldout.errors import InputError
from heldout.neural.losses import (
    LOSSES,
    CrossEntropy,
    Hinge,
    Huber,
    KLDivergence,
    Logistic,
    Loss,
    SquaredError,
    loss_of,
    softmax_cross_entropy,
)

SHAPES, FEWER = 20, 8  # fewer beside PyTorch

Batch = tuple[Loss, np.ndarray, np.ndarray]


def loss_for(name: str, rng: np.random.Generator) -> Loss:
    if name == "huber":
        return Huber(float(rng.uniform(0.2, 2.0)))
    if name == "cross_entropy":
        return CrossEntropy(float(rng.uniform(0.0, 0.9)) * int(rng.integers(2)))
    return LOSSES[name]()


def batches(name: str, dtype: type = np.float64) -> list[Batch]:
    rng = np.random.default_rng(1 + list(LOSSES).index(name))
    made = []
    for _ in range(FEWER if dtype is np.float32 else SHAPES):
        n, m = (int(i) for i in rng.integers(1, 7, 2))
        loss = loss_for(name, rng)
        outputs = rng.normal(0.0, 2.0, (n, m))
        if loss.targets == "codes":
            targets: Any = rng.integers(0, 2 if name == "hinge" and m == 1 else m, n).astype(np.int32)
        elif loss.targets == "shares":
            targets = rng.dirichlet(np.ones(m), n) * (rng.uniform(size=(n, m)) > 0.2)  # 0 log 0 among them
            targets = targets / np.maximum(targets.sum(axis=1, keepdims=True), 1e-9)
        else:
            targets = rng.normal(size=(n, m))
        made.append((loss, outputs.astype(dtype), targets if targets.dtype == np.int32 else targets.astype(dtype)))
    return made


def picked(xp: Any, z: Any, y: Any) -> Any:
    return z[xp.arange(len(y)), y]


def plain_cross_entropy(xp: Any, loss: CrossEntropy, z: Any, y: Any) -> Any:
    classes = z.shape[1]
    shares = (1 - loss.label_smoothing) * xp.eye(classes)[y] + loss.label_smoothing / classes
    return -(shares * xp.log(xp.exp(z) / xp.exp(z).sum(1, keepdims=True))).sum(1)


def plain_hinge(xp: Any, loss: Hinge, z: Any, y: Any) -> Any:
    if z.shape[1] == 1:
        return xp.maximum(0, 1 - xp.where(y == 1, 1, -1) * z[:, 0])
    return xp.maximum(0, xp.max(z + 1 - (1 + 1e9) * xp.eye(z.shape[1])[y], axis=1) - picked(xp, z, y))


PLAIN: dict[str, Callable[..., Any]] = {
    "squared_error": lambda xp, loss, z, y: ((z - y) ** 2).sum(1) / 2,
    "absolute_error": lambda xp, loss, z, y: xp.where(z > y, z - y, y - z).sum(1),
    "huber": lambda xp, loss, z, y: xp.where(
        (z - y) ** 2 < loss.delta**2, (z - y) ** 2 / 2, loss.delta * (xp.where(z > y, z - y, y - z) - loss.delta / 2)
    ).sum(1),
    "logistic": lambda xp, loss, z, y: (-y * xp.log(1 / (1 + xp.exp(-z))) - (1 - y) * xp.log(1 / (1 + xp.exp(z)))).sum(
        1
    ),
    "cross_entropy": plain_cross_entropy,
    "kl_divergence": lambda xp, loss, z, q: xp.where(
        q > 0, q * xp.log(xp.where(q > 0, q, 1) / (xp.exp(z) / xp.exp(z).sum(1, keepdims=True))), 0
    ).sum(1),
    "hinge": plain_hinge,
}


@pytest.mark.long
@pytest.mark.parametrize("name", LOSSES)
def test_gradients(name: str) -> None:
    made = batches(name)
    given = [(outputs, targets, moved(outputs)) for _, outputs, targets in made]

    def everything(given: list[Any]) -> list[Any]:
        results = []
        for (loss, _, _), (outputs, targets, near) in zip(made, given, strict=True):
            weights = jnp.arange(1.0, 1.0 + len(outputs))
            rows, pull = jax.vjp(lambda z, loss=loss, y=targets: loss(z, y), outputs)
            gradients = [pull(weights)[0]]
            if name == "cross_entropy":  # which has a rule of its own
                _, pull = jax.vjp(lambda z, loss=loss, y=targets: plain_cross_entropy(jnp, loss, z, y), outputs)
                gradients.append(pull(weights)[0])
            values = jax.vmap(lambda z, loss=loss, y=targets, w=weights: (loss(z, y) * w).sum())(near)
            results.append((rows, gradients, values))
        return results

    with jax.enable_x64(True):
        results = computed(everything, given)
    for (loss, outputs, targets), (rows, gradients, values) in zip(made, results, strict=True):
        assert rows.shape == (len(outputs),) and rows.dtype == np.float64
        assert error(rows, PLAIN[name](np, loss, outputs, targets)) <= 1e-12
        for found in gradients:
            assert error(found, gradients[-1]) <= 1e-11
            assert error(found, differences(outputs, values)) <= 1e-6


def beside_torch(torch: Any, loss: Any, z: Any, y: Any) -> Any:
    F = torch.nn.functional
    if isinstance(loss, Hinge):
        if z.shape[1] == 1:
            return F.margin_ranking_loss(z[:, 0], torch.zeros(len(z)), 2.0 * y - 1.0, margin=1.0, reduction="none")
        others = z.masked_fill(F.one_hot(y.long(), z.shape[1]).bool(), -torch.inf)
        return F.relu(1 + others.amax(1) - z.gather(1, y.long()[:, None])[:, 0])
    made = {
        "SquaredError": lambda: F.mse_loss(z, y, reduction="none").sum(1) / 2,
        "AbsoluteError": lambda: F.l1_loss(z, y, reduction="none").sum(1),
        "Huber": lambda: F.huber_loss(z, y, reduction="none", delta=loss.delta).sum(1),
        "Logistic": lambda: F.binary_cross_entropy_with_logits(z, y, reduction="none").sum(1),
        "CrossEntropy": lambda: F.cross_entropy(z, y.long(), reduction="none", label_smoothing=loss.label_smoothing),
        "KLDivergence": lambda: F.kl_div(F.log_softmax(z, 1), y, reduction="none").sum(1),
    }
    return made[type(loss).__name__]()


@pytest.mark.parametrize("name", LOSSES)
def test_beside_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    made = batches(name, np.float32)
    rng = np.random.default_rng(0)
    weights = [rng.uniform(0.0, 2.0, len(outputs)).astype(np.float32) for _, outputs, _ in made]

    def everything(given: list[Any]) -> list[Any]:
        results = []
        for (loss, _, _), (outputs, targets, w) in zip(made, given, strict=True):
            rows = loss(outputs, targets)
            results.append((rows, jax.grad(lambda z, loss=loss, y=targets, w=w: (loss(z, y) * w).mean())(outputs)))
        return results

    given = [(outputs, targets, w) for (_, outputs, targets), w in zip(made, weights, strict=True)]
    for (loss, outputs, targets), w, (rows, gradient) in zip(made, weights, computed(everything, given), strict=True):
        z = torch.tensor(outputs, requires_grad=True)
        theirs = beside_torch(torch, loss, z, torch.tensor(targets))
        (theirs * torch.tensor(w)).mean().backward()
        assert rows.dtype == np.float32
        assert error(rows, theirs.detach().numpy()) <= 1e-5
        assert error(gradient, z.grad.numpy()) <= 1e-5


def test_class_weights_are_row_weights() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    scores, codes = rng.normal(size=(30, 4)).astype(np.float32), rng.integers(0, 4, 30)
    classes = np.float32([0.5, 1.0, 2.0, 4.0])
    weights = classes[codes] / classes[codes].mean()
    theirs = torch.nn.CrossEntropyLoss(weight=torch.tensor(classes))(torch.tensor(scores), torch.tensor(codes))
    assert_allclose((CrossEntropy()(scores, codes) * weights).mean(), theirs, rtol=1e-5)


def test_scores_far_apart_do_no_harm() -> None:
    z = jnp.array([[1000.0, -1000.0], [-1e30, 1e30]])
    cases: list[tuple[Loss, Any]] = [
        (CrossEntropy(), jnp.array([0, 1])),
        (CrossEntropy(0.1), jnp.array([0, 1])),
        (Hinge(), jnp.array([0, 1])),
        (Logistic(), jnp.array([[1.0, 0.0], [0.0, 1.0]])),
        (KLDivergence(), jnp.array([[1.0, 0.0], [0.0, 1.0]])),
    ]

    def everything(z: Any) -> list[Any]:
        return [jax.value_and_grad(lambda z, loss=loss, y=targets: loss(z, y).sum())(z) for loss, targets in cases]

    for (loss, _), (value, gradient) in zip(cases, computed(everything, z), strict=True):
        assert np.isfinite(value) and np.isfinite(gradient).all(), loss
    assert_allclose(softmax_cross_entropy(z, jnp.array([1, 0])), [2000.0, 2e30])


def test_targets_that_are_certain_agree() -> None:
    """Shares that are one class each make the divergence the cross-entropy; two scores, the logistic loss."""
    rng = np.random.default_rng(0)
    z, codes = rng.normal(size=(9, 2)).astype(np.float32), rng.integers(0, 2, 9)
    expected = CrossEntropy()(z, codes)
    assert_allclose(KLDivergence()(z, np.eye(2, dtype=np.float32)[codes]), expected, rtol=1e-5)
    assert_allclose(Logistic()(z[:, 1:] - z[:, :1], codes[:, None]), expected, rtol=1e-5)


def test_gradients_by_hand() -> None:
    z, codes = jnp.array([[0.0, jnp.log(3.0)]]), jnp.array([0])
    gradient = computed(jax.grad(lambda z: CrossEntropy(0.2)(z, codes).sum()), z)
    assert_allclose(gradient, [[0.25 - 0.9, 0.75 - 0.1]], rtol=1e-6)
    gradient = computed(jax.grad(lambda z: SquaredError()(z, jnp.ones((1, 2))).sum()), z)
    assert_allclose(gradient, z - 1.0, rtol=1e-6)


def test_names() -> None:
    for name, kind in LOSSES.items():
        loss = loss_of(name)
        assert isinstance(loss, kind) and loss == kind() and hash(loss) == hash(kind())
        assert loss_of(loss) is loss
        assert loss.targets in ("numbers", "codes", "shares")
    assert Huber(2.0) != Huber() and CrossEntropy(0.1) == CrossEntropy(0.1)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Huber(0.0), "delta of Huber is 0.0"),
        (lambda: Huber(float("nan")), "delta of Huber is nan"),
        (lambda: CrossEntropy(1.0), "label_smoothing is 1.0"),
        (lambda: CrossEntropy(-0.1), "label_smoothing is -0.1"),
        (lambda: loss_of("cross_entrpy"), r"There is no loss 'cross_entrpy'. Did you mean 'cross_entropy'\?"),
        (lambda: loss_of(3), "There is no loss 3"),
    ],
)
def test_what_is_wrong_is_said(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()
