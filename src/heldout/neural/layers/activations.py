"""Activation functions, each with its derivative."""

from __future__ import annotations

import functools
from abc import abstractmethod
from dataclasses import dataclass
from typing import final

import jax
import jax.numpy as jnp

from heldout.errors import InputError
from heldout.neural.layers.base import Array, Key, Layer, Params, Shape, State, check_whole, shape_text

SQRT_2PI = 2.5066282746310002


@dataclass(frozen=True)
class Activation(Layer):
    """A function of each number by itself: a = σ(z)."""

    by_step = True

    @abstractmethod
    def function(self, z: Array) -> Array:
        """σ(z)."""

    @abstractmethod
    def derivative(self, z: Array) -> Array:
        """σ'(z)."""

    @final
    def apply(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Key = None
    ) -> tuple[Array, State]:
        return self.function(x), state

    @final
    def backward(
        self, params: Params, state: State, x: Array, upstream: Array, *, train: bool = False, key: Key = None
    ) -> tuple[Params, Array]:
        """The recursion's step: ∇ₐL ⊙ σ'(z)."""
        return {}, upstream * self.derivative(x)


@dataclass(frozen=True)
class Sigmoid(Activation):
    r"""The logistic function, from 0 to 1.

    .. math:: \sigma(z) = \frac1{1 + e^{-z}}, \qquad \sigma' = \sigma (1 - \sigma) \le \tfrac14

    A deep stack of them makes gradients vanish: each takes off three quarters at least.

    >>> float(Sigmoid().function(jnp.array(0.0)))
    0.5
    """

    def function(self, z: Array) -> Array:
        return jax.nn.sigmoid(z)

    def derivative(self, z: Array) -> Array:
        return jax.nn.sigmoid(z) * jax.nn.sigmoid(-z)


@dataclass(frozen=True)
class Tanh(Activation):
    r"""The hyperbolic tangent, from -1 to 1.

    .. math:: \sigma(z) = \tanh z, \qquad \sigma' = 1 - \tanh^2 z

    >>> float(Tanh().function(jnp.array(0.0)))
    0.0
    """

    def function(self, z: Array) -> Array:
        return jnp.tanh(z)

    def derivative(self, z: Array) -> Array:
        return 1.0 - jnp.tanh(z) ** 2


@dataclass(frozen=True)
class ReLU(Activation):
    r"""The rectifier.

    .. math:: \sigma(z) = \max(0, z), \qquad \sigma' = [z > 0]

    At 0 the derivative is taken to be 0. A unit whose z is negative for all rows is dead: it has no gradient.

    >>> ReLU().function(jnp.array([-1.0, 2.0])).tolist()
    [0.0, 2.0]

    References
    ----------
    X. Glorot, A. Bordes and Y. Bengio, Deep Sparse Rectifier Neural Networks, AISTATS 2011.
    """

    def function(self, z: Array) -> Array:
        return jax.nn.relu(z)

    def derivative(self, z: Array) -> Array:
        return (z > 0).astype(z.dtype)


@dataclass(frozen=True)
class LeakyReLU(Activation):
    r"""The rectifier with a small slope below 0, so that no unit dies.

    .. math:: \sigma(z) = \max(z, c z)

    Parameters
    ----------
    negative_slope : float from 0 to 1, default 0.01
        c.

    >>> LeakyReLU(0.25).function(jnp.array([-1.0, 2.0])).tolist()
    [-0.25, 2.0]

    References
    ----------
    A. Maas, A. Hannun and A. Ng, Rectifier Nonlinearities Improve Neural Network Acoustic Models, ICML 2013.
    """

    negative_slope: float = 0.01

    def function(self, z: Array) -> Array:
        return jnp.where(z > 0, z, self.negative_slope * z)

    def derivative(self, z: Array) -> Array:
        return jnp.where(z > 0, jnp.ones_like(z), self.negative_slope)


@dataclass(frozen=True)
class ELU(Activation):
    r"""The exponential linear unit.

    .. math:: \sigma(z) = z \text{ for } z > 0, \quad \alpha (e^z - 1) \text{ otherwise}

    Parameters
    ----------
    alpha : float above 0, default 1.0
        Minus the value far below 0.

    >>> ELU().function(jnp.array([0.0, 2.0])).tolist()
    [0.0, 2.0]

    References
    ----------
    D.-A. Clevert, T. Unterthiner and S. Hochreiter, ICLR 2016, equation 16.
    """

    alpha: float = 1.0

    def function(self, z: Array) -> Array:
        return jnp.where(z > 0, z, self.alpha * jnp.expm1(jnp.minimum(z, 0.0)))

    def derivative(self, z: Array) -> Array:
        return jnp.where(z > 0, jnp.ones_like(z), self.alpha * jnp.exp(jnp.minimum(z, 0.0)))


@dataclass(frozen=True)
class GELU(Activation):
    r"""The Gaussian error linear unit: z times the chance that a standard normal number is below it.

    .. math:: \sigma(z) = z \Phi(z), \qquad \sigma' = \Phi(z) + z \varphi(z)

    Parameters
    ----------
    approximate : bool, default False
        Take :math:`\frac z2 (1 + \tanh(\sqrt{2/\pi} (z + 0.044715 z^3)))`, which is quicker.

    >>> float(GELU().function(jnp.array(0.0)))
    0.0

    References
    ----------
    D. Hendrycks and K. Gimpel, Gaussian Error Linear Units, 2016.
    """

    approximate: bool = False

    def function(self, z: Array) -> Array:
        return _gelu(self, z)

    def derivative(self, z: Array) -> Array:
        if self.approximate:
            slope = 2.0 / SQRT_2PI
            t = jnp.tanh(slope * (z + 0.044715 * z**3))
            return 0.5 * (1.0 + t) + 0.5 * z * (1.0 - t**2) * slope * (1.0 + 3 * 0.044715 * z**2)
        return jax.scipy.stats.norm.cdf(z) + z * jnp.exp(-0.5 * z**2) / SQRT_2PI


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _gelu(layer: GELU, z: Array) -> Array:
    """Its derivative by its formula keeps z alone, where automatic differentiation keeps five arrays of its size."""
    return jax.nn.gelu(z, approximate=layer.approximate)


def _gelu_forward(layer: GELU, z: Array) -> tuple[Array, Array]:
    return _gelu(layer, z), z


def _gelu_backward(layer: GELU, z: Array, upstream: Array) -> tuple[Array]:
    return (upstream * layer.derivative(z),)


_gelu.defvjp(_gelu_forward, _gelu_backward)


@dataclass(frozen=True)
class SiLU(Activation):
    r"""The sigmoid-weighted linear unit, also called swish.

    .. math:: \sigma(z) = z s(z), \qquad \sigma' = s (1 + z (1 - s)), \qquad s(z) = \frac1{1 + e^{-z}}

    >>> float(SiLU().function(jnp.array(0.0)))
    0.0

    References
    ----------
    S. Elfwing, E. Uchibe and K. Doya, Neural Networks 107, 2018, equations 2 and 3.
    """

    def function(self, z: Array) -> Array:
        return jax.nn.silu(z)

    def derivative(self, z: Array) -> Array:
        s = jax.nn.sigmoid(z)
        return s * (1.0 + z * jax.nn.sigmoid(-z))


@dataclass(frozen=True)
class Identity(Activation):
    """σ(z) = z, for a branch that leaves its input as it is.

    >>> float(Identity().function(jnp.array(3.0)))
    3.0
    """

    def function(self, z: Array) -> Array:
        return z

    def derivative(self, z: Array) -> Array:
        return jnp.ones_like(z)


@dataclass(frozen=True)
class Softmax(Layer):
    r"""Probabilities along the last axis.

    .. math:: a_k = \frac{e^{z_k}}{\sum_j e^{z_j}}, \qquad \nabla_z = a \odot (\nabla_a - a^T \nabla_a)

    Estimators take scores and their loss applies it, which is more exact: there, end a network without it.

    >>> import jax.numpy as jnp
    >>> Softmax().apply({}, {}, jnp.zeros((1, 4)))[0].tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """

    by_step = True

    def out_shape(self, in_shape: Shape) -> Shape:
        if not in_shape:
            raise InputError(f"Softmax needs rows with at least one axis, not of shape {shape_text(in_shape)}.")
        return in_shape

    def apply(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Key = None
    ) -> tuple[Array, State]:
        return jax.nn.softmax(x, axis=-1), state

    def backward(
        self, params: Params, state: State, x: Array, upstream: Array, *, train: bool = False, key: Key = None
    ) -> tuple[Params, Array]:
        a = jax.nn.softmax(x, axis=-1)
        return {}, a * (upstream - (a * upstream).sum(axis=-1, keepdims=True))


@dataclass(frozen=True)
class Maxout(Layer):
    r"""The largest of every `pieces` neighbouring numbers: after Dense(m · pieces), m convex piecewise linear units.

    .. math:: a_j = \max_{1 \le k \le K} z_{jK + k}

    The gradient goes to the largest; where several are equal it is shared evenly.

    Parameters
    ----------
    pieces : int above 0, default 2
        K, which divides the length of the last axis.

    Raises
    ------
    InputError : the last axis cannot be divided by `pieces`.

    >>> import jax.numpy as jnp
    >>> Maxout(2).apply({}, {}, jnp.array([[1.0, 5.0, -3.0, -4.0]]))[0].tolist()
    [[5.0, -3.0]]

    References
    ----------
    I. Goodfellow and others, Maxout Networks, ICML 2013, equation 1.
    """

    by_step = True

    pieces: int = 2

    def out_shape(self, in_shape: Shape) -> Shape:
        check_whole(self, pieces=self.pieces)
        if not in_shape or in_shape[-1] % self.pieces:
            raise InputError(
                f"Maxout takes the largest of every {self.pieces} numbers, which does not divide the last axis of "
                f"{shape_text(in_shape)}: give the layer before it a multiple of {self.pieces} units."
            )
        return (*in_shape[:-1], in_shape[-1] // self.pieces)

    def apply(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Key = None
    ) -> tuple[Array, State]:
        return x.reshape(*x.shape[:-1], x.shape[-1] // self.pieces, self.pieces).max(axis=-1), state
