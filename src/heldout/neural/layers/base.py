"""The contract of a layer: hyperparameters only; weights and running statistics live outside, in plain dicts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, final

import jax
import jax.numpy as jnp

from heldout.errors import InputError

if TYPE_CHECKING:
    from heldout.neural.summary import Summary

Array: TypeAlias = jax.Array
Params: TypeAlias = dict[str, Any]  # nested, arrays at the leaves
State: TypeAlias = dict[str, Any]  # likewise: what is learned without a gradient
Shape: TypeAlias = tuple[int, ...]  # without the batch
Mask: TypeAlias = jax.Array | None  # (n, T): True at the steps of a sequence that are there; None where all are
Key: TypeAlias = Any  # a key of jax.random, or None where nothing is drawn


@dataclass(frozen=True)
class Layer(ABC):
    """A layer of a network, as a frozen dataclass of its hyperparameters: hashable, and writable as JSON.

    Subclasses give `apply`, and `init` and `out_shape` where they have weights or change the shape. The batch is the
    first axis of every array and stands in no shape. Only `train` tells training from evaluation.

    Rows may be sequences of several lengths, filled up to one: a mask then goes with them through `apply_masked`.
    Padding may hold any finite numbers, and changes nothing.
    """

    by_step: ClassVar[bool] = False  # whether each step of a sequence is treated by itself, so that padding may stay

    @property
    def random(self) -> bool:
        """Whether `apply` draws random numbers in training."""
        return False

    @property
    def joins_rows(self) -> bool:
        """Whether a row's output in training depends on the rows beside it."""
        return False

    @property
    def called(self) -> str:
        """What it is called by in names: "dense", "batchnorm"."""
        return type(self).__name__.lower()

    def init(self, key: Key, in_shape: Shape) -> tuple[Params, State]:
        """Fresh weights, and the state that is learned without a gradient."""
        return {}, {}

    def out_shape(self, in_shape: Shape) -> Shape:
        """The shape of one row's output; InputError where `in_shape` does not fit."""
        return in_shape

    @abstractmethod
    def apply(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Key = None
    ) -> tuple[Array, State]:
        """The output for a batch `x`, and the state after it."""

    def apply_masked(
        self, params: Params, state: State, x: Array, mask: Mask, *, train: bool = False, key: Key = None
    ) -> tuple[Array, State, Mask]:
        """`apply` to sequences `x` (n, T, ...), where `mask` tells the steps that are there; also the output's mask.

        InputError where a layer mixes steps and knows of no mask.
        """
        if mask is not None and not self.by_step:
            raise InputError(
                f"{type(self).__name__} takes padding for steps of the sequence: put it behind a layer that leaves the "
                "steps out, such as LSTM(...) or GlobalAveragePool()."
            )
        return *self.apply(params, state, x, train=train, key=key), mask

    def init_cache(self, n: int, in_shape: Shape) -> Params:
        """What `extend` remembers before the first step, for n sequences of at most `in_shape[0]` steps."""
        return {}

    def extend(
        self, params: Params, state: State, x: Array, cache: Params, at: Array, count: Array
    ) -> tuple[Array, Params]:
        """The outputs for further steps `x` (n, k, ...) of sequences, the first at the place `at`, and the cache then.

        So step by step it gives what `apply` gives for the whole. Only the first `count` steps are there; the others
        fill up, and leave nothing behind that counts. InputError where a layer cannot go on from what it remembers.
        """
        if not self.by_step:
            raise InputError(
                f"{type(self).__name__} does not go step by step: a network that generates is made of layers that "
                "treat each step by itself or look back only, such as MultiHeadAttention(4, causal=True) or LSTM(64)."
            )
        return self.apply(params, state, x)[0], cache

    def backward(
        self, params: Params, state: State, x: Array, upstream: Array, *, train: bool = False, key: Key = None
    ) -> tuple[Params, Array]:
        """The loss's gradient by the weights and by `x`, from its gradient `upstream` by the output.

        Here by automatic differentiation of `apply`; layers whose derivation is in the books override it.
        """
        _, pull, _ = jax.vjp(lambda p, x: self.apply(p, state, x, train=train, key=key), params, x, has_aux=True)
        by_params, by_x = pull(upstream)
        return by_params, by_x

    def summary(self, in_shape: Shape) -> Summary:
        """Shapes, parameters and memory of the layers, as a table that prints.

        >>> from heldout.neural.layers import Dense, ReLU, Sequential
        >>> Sequential(Dense(3), ReLU(), Dense(1)).summary((2,))
        13 parameters, 52 bytes in single precision
        ------------------------------------------------------
        layer    output shape  parameters  activations per row
        ------------------------------------------------------
        dense_1           (3)           9                    3
        relu_1            (3)           0                    3
        dense_2           (1)           4                    1
        ------------------------------------------------------
        """
        from heldout.neural.summary import summarise

        return summarise(self, in_shape)


@dataclass(frozen=True)
class SequenceLayer(Layer):
    """A layer that looks along the steps of a sequence. Subclasses give `apply_masked` in place of `apply`."""

    @abstractmethod
    def apply_masked(
        self, params: Params, state: State, x: Array, mask: Mask, *, train: bool = False, key: Key = None
    ) -> tuple[Array, State, Mask]: ...

    @final
    def apply(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Key = None
    ) -> tuple[Array, State]:
        y, after, _ = self.apply_masked(params, state, x, None, train=train, key=key)
        return y, after


def float_type() -> Any:
    """The type of fresh weights: float32, or float64 under `jax.enable_x64`."""
    return jnp.zeros(()).dtype


def shape_text(shape: Shape) -> str:
    """A shape without its batch: "(3)", "(28, 28, 1)"."""
    return f"({', '.join(map(str, shape))})"


def check_whole(layer: Layer, **values: Any) -> None:
    """InputError unless every value is a whole number above 0."""
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f"{name} of {type(layer).__name__} is {value!r} and must be a whole number above 0.")


def check_bool(layer: Layer, **values: Any) -> None:
    """InputError unless every value is True or False."""
    for name, value in values.items():
        if not isinstance(value, bool):
            raise InputError(f"{name} of {type(layer).__name__} is {value!r} and must be True or False.")
