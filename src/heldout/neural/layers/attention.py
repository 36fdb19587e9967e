"""Multi-head attention, and where steps stand: positions that are added, turned or penalised."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp

from heldout.errors import InputError, suggest
from heldout.neural.layers.affine import add_bias, affine, side_by_side
from heldout.neural.layers.attending import Look, attend, attend_jointly, heads_of, merged, weights_of
from heldout.neural.layers.base import (
    Array,
    Key,
    Layer,
    Mask,
    Params,
    SequenceLayer,
    Shape,
    State,
    check_whole,
    float_type,
)
from heldout.neural.layers.dropout import check_rate, dropped
from heldout.neural.layers.initialization import initial_weights
from heldout.neural.layers.masking import check_steps

BLOCK = 512  # keys at once, where there are more
PARTS = ("query", "key", "value", "output")
BASE = 10_000.0  # of the wavelengths of positions


@final
@dataclass(frozen=True)
class MultiHeadAttention(SequenceLayer):
    r"""Attention with several heads: each step looks at all steps and takes a weighted mean of their values.

    .. math::
        Q_h = X W^Q_h + b^Q_h, \quad K_h = Z W^K_h + b^K_h, \quad V_h = Z W^V_h + b^V_h, \quad
        O_h = \text{softmax}\Big( \frac{Q_h K_h^T}{\sqrt{C / H}} \Big) V_h, \quad Y = [O_1, \dots, O_H] W^O + b^O

    Self-attention has Z = X. With `memory` = S it is cross-attention: the first S steps of a row are Z, which the
    others, X, look at; at the S steps themselves the output is 0, so that `Residual` leaves them as they are.

    Parameters
    ----------
    heads : int above 0
        H, which divides the channels C.
    causal : bool, default False
        A step looks at itself and those before it only.
    memory : int above 0, or None, default None
        S. None: self-attention.
    positions : {"rotary", "alibi"} or None, default None
        "rotary": pairs of numbers of queries and keys are turned by angles that grow with the step, so that products
        depend on how far steps are apart. "alibi": scores are lower by slope · distance, another slope for each head.
    use_bias : bool, default True
    dropout : float, 0 or more and below 1, default 0.0
        Of softmax's weights: in training each is set to 0 with this probability, and what stays is scaled up.

    Padding (a mask) is not looked at. More than 512 keys are looked at in blocks, with the same result, so that memory
    grows with the length and not with its square; not so where weights are dropped.

    Weights: `query`, `key`, `value`, `output`, each with `weights` (C, C) and `bias` (C,). They begin as Xavier's.

    Raises
    ------
    InputError : a parameter is out of range or does not go with another, rows are not of the shape (T, C), or weights
        are to be dropped without a key.

    References
    ----------
    A. Vaswani and others, Attention Is All You Need, NIPS 2017, section 3.2. Rotary: J. Su and others, RoFormer, 2021,
    equation 34. ALiBi: O. Press, N. Smith and M. Lewis, ICLR 2022.

    Examples
    --------
    >>> layer = MultiHeadAttention(2, causal=True)
    >>> params, state = layer.init(jax.random.key(0), (5, 8))
    >>> layer.apply(params, state, jnp.ones((3, 5, 8)))[0].shape
    (3, 5, 8)
    >>> layer.maps(params, jnp.ones((1, 5, 8)))[0, 0, 1].tolist()
    [0.5, 0.5, 0.0, 0.0, 0.0]
    """

    heads: int
    causal: bool = False
    memory: int | None = None
    positions: str | None = None
    use_bias: bool = True
    dropout: float = 0.0

    @property
    def random(self) -> bool:
        return self.dropout > 0.0

    def init(self, key: Key, in_shape: Shape) -> tuple[Params, State]:
        (_, width) = self.out_shape(in_shape)
        params = {}
        for part, own in zip(PARTS, jax.random.split(key, len(PARTS)), strict=True):
            params[part] = {"weights": initial_weights("xavier", own, (width, width), width, width)}
            params[part] |= {"bias": jnp.zeros(width, float_type())} if self.use_bias else {}
        return params, {}

    def out_shape(self, in_shape: Shape) -> Shape:
        check_whole(self, heads=self.heads)
        check_steps(self, in_shape)
        check_rate(self, "dropout", self.dropout)
        steps, width = in_shape
        if self.positions not in (None, "rotary", "alibi"):
            raise InputError(
                f"There are no positions {self.positions!r}.{suggest(str(self.positions), ('rotary', 'alibi'))}"
            )
        if width % self.heads:
            raise InputError(f"MultiHeadAttention has {self.heads} heads, which do not divide {width} channels.")
        if self.positions == "rotary" and width // self.heads % 2:
            raise InputError(
                f"Rotary positions turn pairs of numbers, and a head has {width // self.heads} of them: an even number "
                "is needed."
            )
        if self.memory is not None:
            check_whole(self, memory=self.memory)
            if self.memory >= steps:
                raise InputError(f"memory of MultiHeadAttention is {self.memory}, and rows have only {steps} steps.")
            if self.causal or self.positions is not None:
                raise InputError("MultiHeadAttention with memory=... takes neither causal nor positions.")
        return in_shape

    def apply_masked(
        self, params: Params, state: State, x: Array, mask: Mask, *, train: bool = False, key: Key = None
    ) -> tuple[Array, State, Mask]:
        seen = None if mask is None else mask[:, : self.memory]
        if train and self.random:
            q, k, v = self._parts(params, x)
            y = merged(dropped(weights_of(self._look, q, k, seen), self.dropout, key) @ v)
        elif self.memory is None:
            return self.looked(params, x, mask), state, mask
        else:
            y = merged(attend(self._look, *self._parts(params, x), seen))
        y = affine(y, params["output"])
        if self.memory is not None:
            y = jnp.concatenate([jnp.zeros_like(x[:, : self.memory]), y], axis=1)
        return y, state, mask

    def looked(
        self,
        params: Params,
        x: Array,
        mask: Mask,
        before: Layer | None = None,
        its: Params | None = None,
        shortcut: bool = False,
    ) -> Array:
        """The output of self-attention that drops nothing for f(x), where f is the layer `before`, of weights `its`.

        With a `shortcut`, x is added to it, by the affine maps' kernels.
        """
        joint, x = self._joint(params, x, before=before, its=its, goes_on=shortcut)
        y = attend_jointly(self._look, self.heads, joint, mask)
        return affine(y, params["output"], beside=x if shortcut else None)

    @property
    def _look(self) -> Look:
        return Look(self.causal, self.positions == "alibi", BLOCK)

    def maps(self, params: Params, x: Array, mask: Mask = None) -> Array:
        """The weights with which each step (queries, first) takes part of each (keys): (n, H, T, S)."""
        q, k, _ = self._parts(params, x)
        seen = None if mask is None else mask[:, : self.memory]
        return weights_of(Look(self.causal, self.positions == "alibi"), q, k, seen)

    def init_cache(self, n: int, in_shape: Shape) -> Params:
        steps, width = in_shape
        empty = jnp.zeros((n, self.heads, steps, width // self.heads), float_type())
        return {"keys": empty, "values": empty}

    def extend(
        self, params: Params, state: State, x: Array, cache: Params, at: Array, count: Array
    ) -> tuple[Array, Params]:
        if not self.causal:
            raise InputError("MultiHeadAttention looks ahead, and cannot go step by step, unless it has causal=True.")
        q, k, v = heads_of(self._joint(params, x, at)[0], self.heads)
        put = jax.lax.dynamic_update_slice_in_dim
        keys, values = put(cache["keys"], k, at, axis=2), put(cache["values"], v, at, axis=2)
        y = weights_of(Look(True, self.positions == "alibi"), q, keys, None, at) @ values
        return affine(merged(y), params["output"]), {"keys": keys, "values": values}

    def _joint(
        self,
        params: Params,
        x: Array,
        first: Any = 0,
        before: Layer | None = None,
        its: Params | None = None,
        goes_on: bool = False,
    ) -> tuple[Array, Array]:
        """Queries, keys and values side by side (n, T, 3 C), of steps that begin at the place `first`; and x.

        One product, of which `goes_on` is told.
        """
        joint, x = side_by_side(x, [params[part] for part in PARTS[:3]], before, its, goes_on=goes_on)
        if self.positions != "rotary":
            return joint, x
        q, k, v = heads_of(joint, self.heads)
        return jnp.concatenate([merged(part) for part in (turned(q, first), turned(k, first), v)], axis=-1), x

    def _parts(self, params: Params, x: Array) -> tuple[Array, Array, Array]:
        """Queries, keys and values (n, H, T, d) of each head."""
        if self.memory is None:
            return heads_of(self._joint(params, x)[0], self.heads)
        own, memory = x[:, self.memory :], x[:, : self.memory]
        q, k, v = (self._heads(params[part], on) for part, on in zip(PARTS[:3], (own, memory, memory), strict=True))
        return q, k, v

    def _heads(self, params: Params, x: Array) -> Array:
        n, steps, width = x.shape
        return jnp.swapaxes(affine(x, params).reshape(n, steps, self.heads, width // self.heads), 1, 2)


def turned(x: Array, first: Any = 0) -> Array:
    r"""Rotary positions: the pair (x_i, x_{i + d/2}) of step t turned by the angle :math:`t \cdot 10000^{-2i/d}`.

    The first step of `x` is t = `first`.
    """
    steps, d = x.shape[-2:]
    angles = (first + jnp.arange(steps)).astype(x.dtype)[:, None] * _frequencies(d, x.dtype)
    first, second = x[..., : d // 2], x[..., d // 2 :]
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def _frequencies(d: int, dtype: Any) -> Array:
    return BASE ** (-jnp.arange(0, d, 2, dtype=dtype) / d)


@final
@dataclass(frozen=True)
class Positions(Layer):
    r"""Positions that are added to each step: x_t + P_t.

    .. math:: P_{t, 2i} = \sin(t \cdot 10000^{-2i/C}), \qquad P_{t, 2i + 1} = \cos(t \cdot 10000^{-2i/C})

    Parameters
    ----------
    learned : bool, default False
        P are weights.
    scale : float above 0, default 0.02
        The standard deviation of learned positions at the beginning.

    Steps are counted from the beginning of a row: padding belongs at its end.

    Weights: `positions` (T, C) where they are learned.

    Raises
    ------
    InputError : a parameter is out of range, or rows are not of the shape (T, C).

    References
    ----------
    A. Vaswani and others, Attention Is All You Need, NIPS 2017, section 3.5.

    Examples
    --------
    >>> Positions().apply({}, {}, jnp.zeros((1, 2, 2)))[0][0, 0].tolist()
    [0.0, 1.0]
    """

    learned: bool = False
    scale: float = 0.02

    by_step = True

    def init(self, key: Key, in_shape: Shape) -> tuple[Params, State]:
        self.out_shape(in_shape)
        if not self.learned:
            return {}, {}
        return {"positions": self.scale * jax.random.normal(key, in_shape, float_type())}, {}

    def out_shape(self, in_shape: Shape) -> Shape:
        check_scale(self, self.scale)
        return check_steps(self, in_shape)

    def apply(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Key = None
    ) -> tuple[Array, State]:
        if self.learned:
            return add_bias(x, params["positions"]), state
        return x + sinusoids(jnp.arange(x.shape[1]), x), state

    def extend(
        self, params: Params, state: State, x: Array, cache: Params, at: Array, count: Array
    ) -> tuple[Array, Params]:
        steps = at + jnp.arange(x.shape[1])
        return x + (params["positions"].at[steps].get(mode="clip") if self.learned else sinusoids(steps, x)), cache


def sinusoids(steps: Array, x: Array) -> Array:
    """The sinusoidal positions (k, C) of these steps (k,), for `x` (n, k, C)."""
    channels, dtype = x.shape[-1], x.dtype
    angles = steps.astype(dtype)[:, None] * _frequencies(channels, dtype)
    both = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1)
    return both.reshape(len(steps), -1)[:, :channels]


@final
@dataclass(frozen=True)
class Embedding(SequenceLayer):
    """A row of weights for each code: tokens (T,) become steps (T, C).

    Parameters
    ----------
    vocabulary : int above 0
        How many codes there are, from 0 on. Another code gives NaN, which training tells of.
    width : int above 0
        C.
    padding : int, not negative, or None, default None
        The code that fills up short rows; the layers behind are told which steps are there.
    scale : float above 0, default 0.02
        The standard deviation of the weights at the beginning.

    Weights: `weights` (vocabulary, C).

    Raises
    ------
    InputError : a parameter is out of range, or rows are not of the shape (T,).

    References
    ----------
    Y. Bengio and others, A Neural Probabilistic Language Model, Journal of Machine Learning Research 3, 2003.

    Examples
    --------
    >>> layer = Embedding(10, 4, padding=0)
    >>> params, state = layer.init(jax.random.key(0), (3,))
    >>> y, _, mask = layer.apply_masked(params, state, jnp.array([[7, 2, 0]]), None)
    >>> y.shape, mask.tolist()
    ((1, 3, 4), [[True, True, False]])
    """

    vocabulary: int
    width: int
    padding: int | None = None
    scale: float = 0.02

    def init(self, key: Key, in_shape: Shape) -> tuple[Params, State]:
        self.out_shape(in_shape)
        shape = (self.vocabulary, self.width)
        return {"weights": self.scale * jax.random.normal(key, shape, float_type())}, {}

    def out_shape(self, in_shape: Shape) -> Shape:
        check_whole(self, vocabulary=self.vocabulary, width=self.width)
        check_scale(self, self.scale)
        if self.padding is not None and self.padding not in range(self.vocabulary):
            raise InputError(f"padding of Embedding is {self.padding!r} and must be a code below {self.vocabulary}.")
        if len(in_shape) != 1:
            raise InputError(f"Embedding takes codes (steps,), and rows have {len(in_shape)} axes.")
        return (*in_shape, self.width)

    def apply_masked(
        self, params: Params, state: State, x: Array, mask: Mask, *, train: bool = False, key: Key = None
    ) -> tuple[Array, State, Mask]:
        codes = x.astype(jnp.int32)
        if self.padding is not None:
            there = codes != self.padding
            mask = there if mask is None else there & mask
        outside = (codes < 0) | (codes >= self.vocabulary)
        steps = params["weights"].at[codes].get(mode="clip")
        return jnp.where(outside[..., None], jnp.nan, steps), state, mask

    def extend(
        self, params: Params, state: State, x: Array, cache: Params, at: Array, count: Array
    ) -> tuple[Array, Params]:
        return self.apply(params, state, x)[0], cache


def check_scale(layer: Layer, scale: float) -> None:
    """InputError unless a standard deviation is above 0."""
    if not 0.0 < scale < math.inf:
        raise InputError(f"scale of {type(layer).__name__} is {scale!r} and must be a finite number above 0.")
