"""Recurrent layers: Elman's, LSTM and GRU, stacked, in both directions, for sequences of several lengths."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import final

import jax
import jax.numpy as jnp

from heldout.errors import InputError, suggest
from heldout.neural.layers.affine import affine
from heldout.neural.layers.base import (
    Array,
    Key,
    Mask,
    Params,
    SequenceLayer,
    Shape,
    State,
    check_whole,
    float_type,
)
from heldout.neural.layers.dropout import Dropout
from heldout.neural.layers.initialization import initial_weights
from heldout.neural.layers.masking import check_steps
from heldout.neural.layers.recurrence import CELLS, Way, go_on, recur

SIDES = {"forward": False, "backward": True}  # whether it begins at the last step


@dataclass(frozen=True)
class Recurrent(SequenceLayer):
    """What recurrent layers share: their stack, directions, masks and dropout. Subclasses name a cell."""

    units: int
    layers: int = 1
    bidirectional: bool = False
    return_sequences: bool = False
    dropout: float = 0.0
    variational: bool = False
    truncation: int | None = None

    @property
    @abstractmethod
    def _cell(self) -> str:
        """The name of the recurrence in `recurrence.CELLS`."""

    @property
    def random(self) -> bool:
        return self.dropout > 0.0 and self.layers > 1

    @property
    def _sides(self) -> tuple[str, ...]:
        return tuple(SIDES) if self.bidirectional else ("forward",)

    def init(self, key: Key, in_shape: Shape) -> tuple[Params, State]:
        (*_, width) = self.out_shape(in_shape)
        params: Params = {}
        inputs = in_shape[-1]
        for number in range(self.layers):
            keys = jax.random.split(jax.random.fold_in(key, number), len(self._sides))
            made = {side: self._init_side(own, inputs) for side, own in zip(self._sides, keys, strict=True)}
            params[f"layer_{number + 1}"] = made
            inputs = width
        return params, {}

    def _init_side(self, key: Key, inputs: int) -> Params:
        gates, m = CELLS[self._cell].gates, self.units
        for_inputs, *for_gates = jax.random.split(key, gates + 1)
        squares = [initial_weights("orthogonal", own, (m, m), m, m) for own in for_gates]
        inputs_each = jax.random.split(for_inputs, gates)
        weights = [initial_weights("xavier", own, (inputs, m), inputs, m) for own in inputs_each]
        bias = jnp.zeros(gates * m, float_type())
        params = {
            "weights": jnp.concatenate(weights, axis=1),
            "recurrent": jnp.concatenate(squares, axis=1),
            "bias": bias.at[m : 2 * m].set(1.0) if self._cell == "lstm" else bias,  # the forget gate's: it remembers
        }
        return params | ({"recurrent_bias": jnp.zeros(m, float_type())} if self._cell == "gru" else {})

    def out_shape(self, in_shape: Shape) -> Shape:
        check_whole(self, units=self.units, layers=self.layers)
        if self.truncation is not None:
            check_whole(self, truncation=self.truncation)
        if not 0.0 <= self.dropout < 1.0:
            raise InputError(f"dropout of {type(self).__name__} is {self.dropout!r} and must be 0 or more and below 1.")
        check_steps(self, in_shape)
        width = len(self._sides) * self.units
        return (in_shape[0], width) if self.return_sequences else (width,)

    @final
    def apply_masked(
        self, params: Params, state: State, x: Array, mask: Mask, *, train: bool = False, key: Key = None
    ) -> tuple[Array, State, Mask]:
        return self._followed(params, state, x, mask, {}, train, key)

    def _followed(
        self, params: Params, state: State, x: Array, mask: Mask, watches: dict[str, Array], train: bool, key: Key
    ) -> tuple[Array, State, Mask]:
        there = jnp.ones(x.shape[1::-1], x.dtype) if mask is None else mask.T.astype(x.dtype)  # (T, n)
        x = jnp.swapaxes(x, 0, 1)  # (T, n, C)
        sides: dict[str, Array] = {}
        for number in range(self.layers):
            if number and train and self.random:
                x = self._dropped(x, None if key is None else jax.random.fold_in(key, number))
            name = f"layer_{number + 1}"
            sides = {
                side: self._states(params[name][side], x, there, SIDES[side], watches.get(f"{name}.{side}"))
                for side in self._sides
            }
            x = jnp.concatenate(list(sides.values()), axis=-1) if self.bidirectional else sides["forward"]
        if self.return_sequences:
            x = x if mask is None else x * there[..., None]
            return jnp.swapaxes(x, 0, 1), state, mask
        ends = [states[0 if SIDES[side] else -1] for side, states in sides.items()]
        return jnp.concatenate(ends, axis=-1), state, None

    def _states(self, params: Params, x: Array, there: Array, reverse: bool, watch: Array | None) -> Array:
        """The states of one layer in one direction (T, n, m)."""
        return recur(Way(self._cell, reverse, self.truncation), *self._driven(params, x), there, watch)

    def _driven(self, params: Params, x: Array) -> tuple[Array, Array, Array]:
        """The drive (T, n, gates m), and the weights and the inner bias of the recursion."""
        drive = affine(x, params)
        return drive, params["recurrent"], params.get("recurrent_bias", jnp.zeros(self.units, x.dtype))

    def init_cache(self, n: int, in_shape: Shape) -> Params:
        memory = (jnp.zeros((n, self.units), float_type()),) * CELLS[self._cell].memories
        return {f"layer_{number + 1}": memory for number in range(self.layers)}

    def extend(
        self, params: Params, state: State, x: Array, cache: Params, at: Array, count: Array
    ) -> tuple[Array, Params]:
        if self.bidirectional or not self.return_sequences:
            raise InputError(
                f"{type(self).__name__} goes step by step only with return_sequences=True and bidirectional=False."
            )
        x, after = jnp.swapaxes(x, 0, 1), {}
        for name, memory in cache.items():
            own = params[name]["forward"]
            x, after[name] = go_on(self._cell, *self._driven(own, x), memory, count)
        return jnp.swapaxes(x, 0, 1), after

    def norms_through_time(
        self, params: Params, x: Array, mask: Mask, upstream: Array, *, train: bool = False, key: Key = None
    ) -> dict[str, Array]:
        """The norms of the gradient by the memory after each step, and of what of it reaches the memory before (T, 2).

        One array for each recursion, "layer_1.forward", its steps in the order of the sequence. `upstream` is the
        loss's gradient by the layer's output.
        """
        watches = {
            f"layer_{number + 1}.{side}": jnp.zeros((x.shape[1], 2), x.dtype)
            for number in range(self.layers)
            for side in self._sides
        }
        _, pull = jax.vjp(lambda watches: self._followed(params, {}, x, mask, watches, train, key)[0], watches)
        norms: dict[str, Array] = pull(upstream)[0]
        return norms

    def _dropped(self, x: Array, key: Key) -> Array:
        if not self.variational:
            return Dropout(self.dropout).apply({}, {}, x, train=True, key=key)[0]
        ones = jnp.ones((1, *x.shape[1:]), x.dtype)  # one draw for all steps
        return x * Dropout(self.dropout).apply({}, {}, ones, train=True, key=key)[0]


@final
@dataclass(frozen=True)
class RNN(Recurrent):
    r"""Elman's recurrent layer.

    .. math:: h_t = \sigma(x_t W + h_{t-1} R + b), \qquad h_0 = 0

    Parameters
    ----------
    units : int above 0
        m, the numbers of a state.
    layers : int above 0, default 1
        Layers on top of each other, each reading the states of the one below.
    bidirectional : bool, default False
        In each layer a second recursion reads the sequence from its end; the states of both stand side by side.
    return_sequences : bool, default False
        Give the states at all steps (T, m) instead of the last one (m,). Twice as wide where bidirectional. At padding
        states are 0.
    dropout : float, 0 or more and below 1, default 0.0
        Share of the numbers between layers that is set to 0 in training.
    variational : bool, default False
        Dropout draws once for a sequence, and not anew at each step.
    truncation : int above 0, or None, default None
        k: the gradient stops before each kth step, so that it goes back through at most k steps. None: through all.
    activation : {"tanh", "relu"}, default "tanh"
        σ.

    Padding (see `Masking`) leaves the state as it is, so that the last state is that of the last step that is there.

    Weights, in `layer_1`, ... and there `forward` and `backward`: `weights` W (C, m), `recurrent` R (m, m) and `bias`
    b (m,). W begins as Xavier's, R orthogonal, b at 0.

    Raises
    ------
    InputError : a parameter is out of range, rows are not of the shape (T, C), or training without a key for dropout.

    References
    ----------
    J. Elman, Finding structure in time, Cognitive Science 14, 1990. Variational dropout: Y. Gal and Z. Ghahramani,
    NIPS 2016, section 4 (here on the inputs of layers, and not on the recursion).

    Examples
    --------
    >>> RNN(8, layers=2, bidirectional=True, return_sequences=True).out_shape((24, 3))
    (24, 16)
    """

    activation: str = "tanh"

    @property
    def _cell(self) -> str:
        return self.activation

    def out_shape(self, in_shape: Shape) -> Shape:
        if self.activation not in ("tanh", "relu"):
            raise InputError(
                f"There is no activation {self.activation!r} of RNN.{suggest(str(self.activation), ('tanh', 'relu'))}"
            )
        return super().out_shape(in_shape)


@final
@dataclass(frozen=True)
class LSTM(Recurrent):
    r"""Long short-term memory: a cell c that is added to, and gates that say what is let in, kept and shown.

    .. math::
        i, f, o = \sigma(x_t W_k + h_{t-1} R_k + b_k), \quad g = \tanh(x_t W_g + h_{t-1} R_g + b_g), \quad
        c_t = f \odot c_{t-1} + i \odot g, \quad h_t = o \odot \tanh c_t

    The gradient by c passes a step multiplied by f alone, which is why it lasts.

    Parameters
    ----------
    units, layers, bidirectional, return_sequences, dropout, variational, truncation : as those of `RNN`

    Weights, in `layer_1`, ... and there `forward` and `backward`: `weights` W (C, 4 m), `recurrent` R (m, 4 m) and
    `bias` b (4 m,), those of i, f, g and o side by side. W begins as Xavier's, R orthogonal, b at 0, but at 1 for f.

    Raises
    ------
    InputError : as for `RNN`.

    References
    ----------
    S. Hochreiter and J. Schmidhuber, Long Short-Term Memory, Neural Computation 9, 1997. F. Gers, J. Schmidhuber and
    F. Cummins, Learning to Forget, Neural Computation 12, 2000. The bias of 1: R. Jozefowicz, W. Zaremba and
    I. Sutskever, ICML 2015.

    Examples
    --------
    >>> layer = LSTM(4)
    >>> params, state = layer.init(jax.random.key(0), (10, 2))
    >>> layer.apply(params, state, jnp.ones((3, 10, 2)))[0].shape
    (3, 4)
    """

    @property
    def _cell(self) -> str:
        return "lstm"


@final
@dataclass(frozen=True)
class GRU(Recurrent):
    r"""The gated recurrent unit: the state is a mean of what it was and what is new, by a gate.

    .. math::
        r, z = \sigma(x_t W_k + h_{t-1} R_k + b_k), \quad
        n = \tanh(x_t W_n + b_n + r \odot (h_{t-1} R_n + d)), \quad
        h_t = (1 - z) \odot n + z \odot h_{t-1}

    Parameters
    ----------
    units, layers, bidirectional, return_sequences, dropout, variational, truncation : as those of `RNN`

    Weights, in `layer_1`, ... and there `forward` and `backward`: `weights` W (C, 3 m), `recurrent` R (m, 3 m) and
    `bias` b (3 m,), those of r, z and n side by side; `recurrent_bias` d (m,). W begins as Xavier's, R orthogonal, b
    and d at 0.

    Raises
    ------
    InputError : as for `RNN`.

    References
    ----------
    K. Cho and others, EMNLP 2014, equations 5 to 8; with the reset gate after the product, as in PyTorch and cuDNN.

    Examples
    --------
    >>> GRU(4).summary((10, 2)).parameters
    88
    """

    @property
    def _cell(self) -> str:
        return "gru"
