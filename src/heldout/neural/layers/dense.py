"""The dense (fully connected) layer."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp

from heldout.errors import InputError
from heldout.neural.layers.affine import affine
from heldout.neural.layers.base import (
    Array,
    Key,
    Layer,
    Params,
    Shape,
    State,
    check_bool,
    check_whole,
    float_type,
    shape_text,
)
from heldout.neural.layers.initialization import initial_weights


@dataclass(frozen=True)
class Dense(Layer):
    r"""A dense layer: every output is a weighted sum of all inputs, and a bias.

    .. math:: z = x W + b

    It acts on the last axis; those before it are rows like the batch.

    Parameters
    ----------
    units : int above 0, or None, default None
        m, the number of outputs. None: as many as the targets need, for the last layer of a network that an estimator
        completes.
    use_bias : bool, default True
        Add b; otherwise b = 0.
    initialization : {"he", "xavier", "lecun", "orthogonal"}, default "he"
        How W begins; b begins at 0.

    Weights: `weights` (p, m) and `bias` (m,), p m + m parameters.

    Raises
    ------
    InputError : a parameter is out of range, or the input has no axis.

    References
    ----------
    C. Bishop, Pattern Recognition and Machine Learning, 2006, section 5.1.

    Examples
    --------
    >>> import jax
    >>> layer = Dense(3)
    >>> params, state = layer.init(jax.random.key(0), (2,))
    >>> {name: array.shape for name, array in params.items()}
    {'weights': (2, 3), 'bias': (3,)}
    >>> layer.apply(params, state, jax.numpy.ones((5, 2)))[0].shape
    (5, 3)
    """

    by_step = True

    units: int | None = None
    use_bias: bool = True
    initialization: str = "he"

    def init(self, key: Key, in_shape: Shape) -> tuple[Params, State]:
        (*_, units) = self.out_shape(in_shape)
        shape = (in_shape[-1], units)
        params = {"weights": initial_weights(self.initialization, key, shape, *shape)}
        return params | ({"bias": jnp.zeros(units, float_type())} if self.use_bias else {}), {}

    def out_shape(self, in_shape: Shape) -> Shape:
        if self.units is None:
            raise InputError("Dense() leaves its units to an estimator; outside of one, say how many: Dense(10).")
        check_whole(self, units=self.units)
        check_bool(self, use_bias=self.use_bias)
        if not in_shape:
            raise InputError(f"Dense needs rows with at least one axis, not of shape {shape_text(in_shape)}.")
        return (*in_shape[:-1], self.units)

    def apply(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Key = None
    ) -> tuple[Array, State]:
        return affine(x, params), state
