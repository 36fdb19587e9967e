"""Losses: what a row's output costs, given its target; smaller is better.

A loss is a frozen dataclass of its hyperparameters, called with the outputs (n, m) and the targets, and gives one
number a row. Training takes their weighted mean.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from heldout.errors import InputError, suggest
from heldout.neural.layers.base import Array
from heldout.neural.layers.platform import by_platform

LEAST_SCORES = 2**15  # from which the kernel is worth being called


@dataclass(frozen=True)
class Loss(ABC):
    """What training makes small. `targets` says what it takes: "numbers", "codes" of classes, or "shares"."""

    @property
    @abstractmethod
    def targets(self) -> str:
        """Which targets go with it: "numbers" (n, m), class "codes" (n,), or "shares" (n, m)."""

    @abstractmethod
    def __call__(self, outputs: Array, targets: Array) -> Array:
        """The loss of each row (n,)."""


@dataclass(frozen=True)
class SquaredError(Loss):
    r"""Half the squared distance: the likelihood of normal errors.

    .. math:: L = \tfrac12 \sum_j (\hat y_j - y_j)^2, \qquad \nabla_{\hat y} L = \hat y - y

    >>> SquaredError()(jnp.array([[3.0]]), jnp.array([[1.0]])).tolist()
    [2.0]
    """

    @property
    def targets(self) -> str:
        return "numbers"

    def __call__(self, outputs: Array, targets: Array) -> Array:
        return 0.5 * jnp.square(outputs - targets).sum(axis=-1)


@dataclass(frozen=True)
class AbsoluteError(Loss):
    r"""The distance: its best constant is the median, so that outliers pull less.

    .. math:: L = \sum_j |\hat y_j - y_j|

    >>> AbsoluteError()(jnp.array([[3.0]]), jnp.array([[1.0]])).tolist()
    [2.0]
    """

    @property
    def targets(self) -> str:
        return "numbers"

    def __call__(self, outputs: Array, targets: Array) -> Array:
        return jnp.abs(outputs - targets).sum(axis=-1)


@dataclass(frozen=True)
class Huber(Loss):
    r"""Squared near the target, absolute far from it.

    .. math::
        L = \sum_j h(\hat y_j - y_j), \qquad
        h(r) = \tfrac12 r^2 \text{ for } |r| \le \delta, \quad \delta (|r| - \tfrac12 \delta) \text{ otherwise}

    Parameters
    ----------
    delta : float above 0, default 1.0
        δ, in units of the target; estimators standardise it, and then in its standard deviations.

    >>> Huber()(jnp.array([[3.0]]), jnp.array([[1.0]])).tolist()
    [1.5]

    References
    ----------
    P. Huber, Annals of Mathematical Statistics 35, 1964.
    """

    delta: float = 1.0

    def __post_init__(self) -> None:
        if not self.delta > 0.0:
            raise InputError(f"delta of Huber is {self.delta!r} and must be above 0.")

    @property
    def targets(self) -> str:
        return "numbers"

    def __call__(self, outputs: Array, targets: Array) -> Array:
        size = jnp.abs(outputs - targets)
        near = jnp.minimum(size, self.delta)
        return (0.5 * near**2 + self.delta * (size - near)).sum(axis=-1)


@dataclass(frozen=True)
class Logistic(Loss):
    r"""Binary cross-entropy from scores z: each output is one yes-or-no question.

    .. math::
        L = \sum_j \log(1 + e^{z_j}) - y_j z_j, \qquad \nabla_{z_j} L = \sigma(z_j) - y_j

    Targets are 0 or 1, or chances between them.

    >>> float(Logistic()(jnp.array([[0.0]]), jnp.array([[1.0]]))[0])  # log 2
    0.693147...

    References
    ----------
    C. Bishop, Pattern Recognition and Machine Learning, 2006, equations 4.90 and 5.21.
    """

    @property
    def targets(self) -> str:
        return "shares"

    def __call__(self, outputs: Array, targets: Array) -> Array:
        return (jax.nn.softplus(outputs) - targets * outputs).sum(axis=-1)


@jax.custom_vjp
def softmax_cross_entropy(scores: Array, codes: Array) -> Array:
    r"""-log softmax(z)_y for each row of `scores` (..., K) and class `codes` (...).

    .. math:: L = \log \sum_k e^{z_k} - z_y, \qquad \nabla_z L = \text{softmax}(z) - e_y
    """
    return _forward(scores, codes)[0]


def picked(scores: Array, codes: Array) -> Array:
    """The score of each row's class."""
    return jnp.take_along_axis(scores, codes[..., None], axis=-1)[..., 0]


def _has_kernel(scores: Array) -> bool:
    """Whether there is a kernel on the CPU (`native/cross_entropy.py`), which shares the rows out to threads."""
    return scores.size >= LEAST_SCORES and scores.dtype == jnp.float32


def _rows(scores: Array, codes: Array) -> tuple[Array, Array]:
    """Scores (n, K) and codes (n,) as the kernel takes them."""
    return scores.reshape(-1, scores.shape[-1]), codes.reshape(-1).astype(jnp.int32)


def _forward(scores: Array, codes: Array) -> tuple[Array, tuple[Array, Array, Array]]:
    def by_xla(scores: Array, codes: Array) -> tuple[Array, Array]:
        total = jax.nn.logsumexp(scores, axis=-1)
        return total - picked(scores, codes), total

    def by_kernel(scores: Array, codes: Array) -> tuple[Array, Array]:
        from heldout.neural.native.cross_entropy import forward  # Numba is imported where it is needed

        losses, totals = forward(*_rows(scores, codes))
        return losses.reshape(codes.shape), totals.reshape(codes.shape)

    losses, totals = by_platform(scores, codes, cpu=by_kernel, default=by_xla, fits=_has_kernel(scores))
    return losses, (scores, codes, totals)


def _backward(kept: tuple[Array, Array, Array], upstream: Array) -> tuple[Array, None]:
    def by_xla(scores: Array, codes: Array, total: Array, upstream: Array) -> Array:
        hot = jnp.arange(scores.shape[-1]) == codes[..., None]
        return (jnp.exp(scores - total[..., None]) - hot) * upstream[..., None]

    def by_kernel(scores: Array, codes: Array, *others: Array) -> Array:
        from heldout.neural.native.cross_entropy import backward

        return backward(*_rows(scores, codes), *(one.reshape(-1) for one in others)).reshape(scores.shape)

    return by_platform(*kept, upstream, cpu=by_kernel, default=by_xla, fits=_has_kernel(kept[0])), None


softmax_cross_entropy.defvjp(_forward, _backward)


@dataclass(frozen=True)
class CrossEntropy(Loss):
    r"""Softmax cross-entropy from scores z (n, K), for class codes from 0 to K - 1.

    .. math::
        L = -\sum_k q_k \log \frac{e^{z_k}}{\sum_j e^{z_j}}, \qquad
        q_k = (1 - s) [k = y] + \frac sK, \qquad \nabla_z L = \text{softmax}(z) - q

    Parameters
    ----------
    label_smoothing : float, 0 or more and below 1, default 0.0
        s, the share of the target that is spread over all classes.

    Where a row is a sequence, with scores (n, T, K) and codes (n, T), its loss is the mean over its steps.

    >>> float(CrossEntropy()(jnp.zeros((1, 4)), jnp.array([2]))[0])  # log 4
    1.38629...

    References
    ----------
    C. Bishop, 2006, equation 4.108. C. Szegedy and others, CVPR 2016, section 7 (label smoothing).
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.label_smoothing < 1.0:
            raise InputError(f"label_smoothing is {self.label_smoothing!r} and must be 0 or more and below 1.")

    @property
    def targets(self) -> str:
        return "codes"

    def __call__(self, outputs: Array, targets: Array) -> Array:
        loss = softmax_cross_entropy(outputs, targets)
        if self.label_smoothing:
            spread = jax.nn.logsumexp(outputs, axis=-1) - outputs.mean(axis=-1)
            loss = (1.0 - self.label_smoothing) * loss + self.label_smoothing * spread
        return mean_of_row(loss)


def mean_of_row(values: Array) -> Array:
    """The mean over all axes but the first (n,)."""
    return values.mean(axis=tuple(range(1, values.ndim))) if values.ndim > 1 else values


@dataclass(frozen=True)
class KLDivergence(Loss):
    r"""Kullback-Leibler divergence of the predicted shares from given ones, from scores z (n, K).

    .. math:: L = \sum_k q_k \log \frac{q_k}{\text{softmax}(z)_k}, \qquad \nabla_z L = \text{softmax}(z) - q

    Targets are shares q that sum to 1, another network's probabilities, say. 0 log 0 is 0.

    >>> KLDivergence()(jnp.zeros((1, 2)), jnp.array([[0.5, 0.5]])).tolist()
    [0.0]

    References
    ----------
    S. Kullback and R. Leibler, Annals of Mathematical Statistics 22, 1951.
    """

    @property
    def targets(self) -> str:
        return "shares"

    def __call__(self, outputs: Array, targets: Array) -> Array:
        logs = jax.nn.log_softmax(outputs, axis=-1)
        own = jnp.where(targets > 0, targets * jnp.log(jnp.where(targets > 0, targets, 1.0)), 0.0)
        return (own - targets * logs).sum(axis=-1)


@dataclass(frozen=True)
class Hinge(Loss):
    r"""The margin loss of support vector machines, from scores z (n, K), for class codes.

    .. math:: L = \max\big(0,\; 1 + \max_{k \ne y} z_k - z_y\big)

    With a single output the sides are z and 0 apart by the sign: :math:`L = \max(0, 1 - (2y - 1) z)`.

    >>> Hinge()(jnp.array([[2.0, 0.5, 0.0]]), jnp.array([1])).tolist()
    [2.5]

    References
    ----------
    K. Crammer and Y. Singer, Journal of Machine Learning Research 2, 2001, equation 2.
    """

    @property
    def targets(self) -> str:
        return "codes"

    def __call__(self, outputs: Array, targets: Array) -> Array:
        if outputs.shape[-1] == 1:
            return jax.nn.relu(1.0 - (2.0 * targets - 1.0) * outputs[:, 0])
        others = jnp.where(jnp.arange(outputs.shape[-1]) == targets[:, None], -jnp.inf, outputs)
        return jax.nn.relu(1.0 + others.max(axis=-1) - picked(outputs, targets))


LOSSES: dict[str, type[Loss]] = {
    "squared_error": SquaredError,
    "absolute_error": AbsoluteError,
    "huber": Huber,
    "logistic": Logistic,
    "cross_entropy": CrossEntropy,
    "kl_divergence": KLDivergence,
    "hinge": Hinge,
}


def loss_of(loss: Any) -> Loss:
    """A loss by its name, or as it is; InputError for anything else."""
    if isinstance(loss, Loss):
        return loss
    if not isinstance(loss, str) or loss not in LOSSES:
        raise InputError(f"There is no loss {loss!r}.{suggest(str(loss), LOSSES)}")
    return LOSSES[loss]()
