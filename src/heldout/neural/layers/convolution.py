"""Convolutional layers: filters that slide over a row's axes, and their transposes."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp

from heldout.errors import InputError, suggest
from heldout.neural.layers.affine import add_bias
from heldout.neural.layers.base import (
    Array,
    Key,
    Layer,
    Mask,
    Params,
    Shape,
    State,
    check_bool,
    check_whole,
    float_type,
)
from heldout.neural.layers.correlation import correlate, spread
from heldout.neural.layers.initialization import initial_weights
from heldout.neural.layers.windows import (
    Lengths,
    Padding,
    Window,
    Windows,
    as_tuple,
    check_rows,
    per_axis,
    places,
    windows_for,
)

MODES = ("zeros", "reflect")


class Convolution(Layer):
    """What convolutional layers share: their hyperparameters, and the weights and bias that follow from them."""

    axes: ClassVar[int]
    kernel_size: Lengths
    stride: Lengths
    padding: Padding
    dilation: Lengths
    use_bias: bool
    initialization: str

    def __post_init__(self) -> None:
        for name in ("kernel_size", "stride", "padding", "dilation"):
            object.__setattr__(self, name, as_tuple(getattr(self, name)))

    @abstractmethod
    def _form(self, channels: int) -> tuple[int, int]:
        """How many groups and how many filters there are for rows of so many channels."""

    def _sizes(self, channels: int) -> tuple[int, int, int]:
        """Groups, and the last two axes of the weights."""
        groups, filters = self._form(channels)
        return groups, channels // groups, filters

    def init(self, key: Key, in_shape: Shape) -> tuple[Params, State]:
        self.out_shape(in_shape)
        channels = in_shape[-1]
        groups, *last = self._sizes(channels)
        _, filters = self._form(channels)
        sizes = per_axis(self, "kernel_size", self.kernel_size, self.axes)
        places = math.prod(sizes)
        fans = places * channels // groups, places * filters // groups
        params = {"weights": initial_weights(self.initialization, key, (*sizes, *last), *fans)}
        return params | ({"bias": jnp.zeros(filters, float_type())} if self.use_bias else {}), {}

    def _biased(self, params: Params, z: Array) -> Array:
        return add_bias(z, params["bias"]) if self.use_bias else z


class Correlation(Convolution):
    """What Conv1D, Conv2D and DepthwiseConv2D share."""

    padding_mode: str

    def out_shape(self, in_shape: Shape) -> Shape:
        check_bool(self, use_bias=self.use_bias)
        lengths = check_rows(self, in_shape, self.axes)
        _, filters = self._form(in_shape[-1])
        windows = self._windows(lengths)
        if self.padding_mode not in MODES:
            raise InputError(
                f"padding_mode of {type(self).__name__} is {self.padding_mode!r} and must be 'zeros' or 'reflect'."
                f"{suggest(str(self.padding_mode), MODES)}"
            )
        for window, length in zip(windows, lengths, strict=True):
            most = max(window.before, window.after)
            if self.padding_mode == "reflect" and most >= length:
                raise InputError(f"{type(self).__name__} cannot reflect {most} numbers of an axis of {length}.")
        return (*places(self, windows, lengths), filters)

    def _windows(self, lengths: Shape) -> Windows:
        return windows_for(self, lengths, self.kernel_size, self.stride, self.padding, self.dilation)

    def apply(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Key = None
    ) -> tuple[Array, State]:
        self.out_shape(x.shape[1:])
        groups, _ = self._form(x.shape[-1])
        windows = self._windows(x.shape[1:-1])
        if self.padding_mode == "reflect":
            edges = [(window.before, window.after) for window in windows]
            x = jnp.pad(x, [(0, 0), *edges, (0, 0)], mode="reflect")
            windows = tuple(window._replace(before=0, after=0) for window in windows)
        return self._biased(params, correlate(windows, groups, x, params["weights"])), state


@dataclass(frozen=True)
class Conv1D(Correlation):
    r"""A convolutional layer along one axis: each output is a filter's sum over a stretch of neighbours.

    It is `Conv2D` with one axis instead of two; rows are (length, channels), weights (k, C / groups, F). See there for
    formula, parameters and errors.

    >>> Conv1D(8, 5, stride=2).out_shape((100, 3))
    (48, 8)
    """

    axes: ClassVar[int] = 1
    filters: int
    kernel_size: Lengths
    stride: Lengths = 1
    padding: Padding = "valid"
    dilation: Lengths = 1
    groups: int = 1
    use_bias: bool = True
    padding_mode: str = "zeros"
    initialization: str = "he"

    def _form(self, channels: int) -> tuple[int, int]:
        return _grouped(self, self.filters, self.groups, channels)

    def apply_masked(
        self, params: Params, state: State, x: Array, mask: Mask, *, train: bool = False, key: Key = None
    ) -> tuple[Array, State, Mask]:
        """Where it leaves the number of steps as it is, padding is zeros, as beyond the ends; else it is refused."""
        if mask is None or self.out_shape(x.shape[1:])[0] != x.shape[1] or self.padding_mode != "zeros":
            return super().apply_masked(params, state, x, mask, train=train, key=key)
        y, after = self.apply(params, state, jnp.where(mask[..., None], x, 0.0), train=train, key=key)
        return y, after, mask


@dataclass(frozen=True)
class Conv2D(Correlation):
    r"""A convolutional layer over images: each output is a filter's sum over a window of neighbours.

    .. math:: z_{i j f} = b_f + \sum_{u, v, c} x_{S i + D u - P,\; S j + D v - P,\; c} \, W_{u v c f}

    with stride S, dilation D and P pixels of padding. All places share the filters: F of them, k by k, over C channels
    have F (k² C + 1) parameters, whatever the size of the image. An axis of W becomes one of

    .. math:: \lfloor (W - k' + 2 P) / S \rfloor + 1, \qquad k' = D (k - 1) + 1 .

    (As everywhere in machine learning, this is a cross-correlation; see `heldout.convolve` for the convolution proper.)
    With :math:`\delta = \partial L / \partial z`, the chain rule gathers what an x has had a part in, and what a
    weight has been multiplied with:

    .. math::
        \nabla_{x_{i j c}} = \sum_{u, v, f} \delta_{i + P - u,\; j + P - v,\; f} W_{u v c f}, \qquad
        \nabla_{W_{u v c f}} = \sum_{i, j} x_{i + u - P,\; j + v - P,\; c} \, \delta_{i j f}, \qquad
        \nabla_{b_f} = \sum_{i, j} \delta_{i j f}

    (for S = D = 1; the sums over rows are left out). The input's gradient is the convolution of δ with the filters: a
    correlation with the flipped kernel. The weights' gradient is the correlation of input and δ. On the CPU all three
    are matrix products (Chellapilla and others 2006): of the pixels under each position of the window, or, for the
    weights and for few channels, of patches k² C wide.

    Parameters
    ----------
    filters : int above 0
        F, the number of output channels.
    kernel_size : int above 0, or two of them
        k, the height and width of the window.
    stride : int above 0, or two of them, default 1
        S, from one place of the window to the next.
    padding : "valid", "same", int, or two of ints and pairs of ints, default "valid"
        P, what is added around the image: nothing; as much as gives W / S places, rounded up, the odd one behind; P on
        either side; or (before, after) for each axis.
    dilation : int above 0, or two of them, default 1
        D, from one pixel under the window to the next.
    groups : int above 0, default 1
        Channels and filters are parted into so many, and each group of filters sees its own channels only.
    use_bias : bool, default True
        Add b; otherwise b = 0.
    padding_mode : {"zeros", "reflect"}, default "zeros"
        What is added: zeros, or the image mirrored at its outermost pixels.
    initialization : {"he", "xavier", "lecun", "orthogonal"}, default "he"
        How W begins, with k² C / groups inputs to an output; b begins at 0.

    Rows are (height, width, channels). Weights: `weights` (k, k, C / groups, F) and `bias` (F,).

    Raises
    ------
    InputError : a parameter is out of range; rows have another number of axes; the window does not fit; groups do not
        divide channels and filters.

    References
    ----------
    Y. LeCun and others, Gradient-Based Learning Applied to Document Recognition, Proc. IEEE 86, 1998, section II.
    K. Chellapilla, S. Puri and P. Simard, High Performance Convolutional Neural Networks for Document Processing, 2006,
    section 3. V. Dumoulin and F. Visin, A Guide to Convolution Arithmetic for Deep Learning, 2016, relationship 6.

    Examples
    --------
    >>> import jax
    >>> layer = Conv2D(32, 3, padding=1)
    >>> params, state = layer.init(jax.random.key(0), (28, 28, 1))
    >>> {name: array.shape for name, array in params.items()}
    {'weights': (3, 3, 1, 32), 'bias': (32,)}
    >>> layer.apply(params, state, jnp.ones((5, 28, 28, 1)))[0].shape
    (5, 28, 28, 32)
    >>> Conv2D(32, 5).out_shape((3, 28, 1))
    Traceback (most recent call last):
    heldout.errors.InputError: Conv2D does not fit rows of height 3: (W - F + 2P) / S + 1 = (3 - 5 + 0) / 1 + 1 = -1 and must be 1 or more.
    """  # noqa: E501

    axes: ClassVar[int] = 2
    filters: int
    kernel_size: Lengths
    stride: Lengths = 1
    padding: Padding = "valid"
    dilation: Lengths = 1
    groups: int = 1
    use_bias: bool = True
    padding_mode: str = "zeros"
    initialization: str = "he"

    def _form(self, channels: int) -> tuple[int, int]:
        return _grouped(self, self.filters, self.groups, channels)


@dataclass(frozen=True)
class DepthwiseConv2D(Correlation):
    r"""A convolutional layer that keeps channels apart: each has filters of its own.

    It is `Conv2D` with as many groups as there are channels:

    .. math:: z_{i j, c m} = b_{c m} + \sum_{u, v} x_{S i + D u - P,\; S j + D v - P,\; c} \, W_{u v, c m}

    with C m (k² + 1) parameters. Followed by `Conv2D(F, 1)`, which mixes channels, it stands in for `Conv2D(F, k)` at a
    fraction of about 1 / F + 1 / k² of the work.

    Parameters
    ----------
    kernel_size, stride, padding, dilation, use_bias, padding_mode, initialization : as those of `Conv2D`
    multiplier : int above 0, default 1
        m, the number of filters to a channel; the outputs of a channel lie side by side.

    Weights: `weights` (k, k, 1, C m) and `bias` (C m,).

    Raises
    ------
    InputError : as `Conv2D`.

    References
    ----------
    A. Howard and others, MobileNets, 2017, section 3.1.

    >>> layer = DepthwiseConv2D(3, padding="same")
    >>> layer.out_shape((28, 28, 16)), layer.summary((28, 28, 16)).parameters
    ((28, 28, 16), 160)
    """

    axes: ClassVar[int] = 2
    kernel_size: Lengths
    stride: Lengths = 1
    padding: Padding = "valid"
    dilation: Lengths = 1
    multiplier: int = 1
    use_bias: bool = True
    padding_mode: str = "zeros"
    initialization: str = "he"

    def _form(self, channels: int) -> tuple[int, int]:
        check_whole(self, multiplier=self.multiplier)
        return channels, channels * self.multiplier


class Transpose(Convolution):
    """What ConvTranspose1D and ConvTranspose2D share."""

    filters: int
    groups: int
    output_padding: Lengths

    def out_shape(self, in_shape: Shape) -> Shape:
        check_bool(self, use_bias=self.use_bias)
        lengths = check_rows(self, in_shape, self.axes)
        self._form(in_shape[-1])
        _, out = self._windows(lengths)
        return (*out, self.filters)

    def _form(self, channels: int) -> tuple[int, int]:
        return _grouped(self, self.filters, self.groups, channels)

    def _sizes(self, channels: int) -> tuple[int, int, int]:
        groups, filters = self._form(channels)
        return groups, filters // groups, channels

    def _windows(self, lengths: Shape) -> tuple[Windows, Shape]:
        """The windows that go from the output back to the input, and the output's lengths."""
        extra = per_axis(self, "output_padding", self.output_padding, self.axes, 0)
        numbers = (self.kernel_size, self.stride)
        if self.padding == "same":
            strides = per_axis(self, "stride", self.stride, self.axes)
            out = tuple(length * stride for length, stride in zip(lengths, strides, strict=True))
            return windows_for(self, out, *numbers, "same", self.dilation), out
        windows = windows_for(self, lengths, *numbers, self.padding, self.dilation)
        for window, more in zip(windows, extra, strict=True):
            if more >= max(window.stride, window.dilation):
                raise InputError(
                    f"output_padding of {type(self).__name__} is {more} and must be below stride or dilation."
                )
        out = tuple(map(_spread_to, windows, lengths, extra))
        for window, length, count in zip(windows, lengths, out, strict=True):
            if count < 1:
                raise InputError(
                    f"{type(self).__name__} leaves nothing of an axis of {length}: (W - 1) S + F - 2P = "
                    f"({length} - 1) * {window.stride} + {window.span} - {window.before + window.after} = {count} and "
                    "must be 1 or more."
                )
        # what is added behind the output is seen by no window
        trimmed = (window._replace(after=window.after - more) for window, more in zip(windows, extra, strict=True))
        return tuple(trimmed), out

    def apply(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Key = None
    ) -> tuple[Array, State]:
        groups, _ = self._form(x.shape[-1])
        windows, out = self._windows(x.shape[1:-1])
        return self._biased(params, spread(windows, groups, out, x, params["weights"])), state


def _spread_to(window: Window, length: int, extra: int) -> int:
    return (length - 1) * window.stride + window.span - window.before - window.after + extra


@dataclass(frozen=True)
class ConvTranspose1D(Transpose):
    r"""A transposed convolution along one axis: `ConvTranspose2D` with one axis instead of two.

    Rows are (length, channels), weights (k, F / groups, C).

    >>> ConvTranspose1D(8, 4, stride=2, padding=1).out_shape((50, 3))
    (100, 8)
    """

    axes: ClassVar[int] = 1
    filters: int
    kernel_size: Lengths
    stride: Lengths = 1
    padding: Padding = "valid"
    output_padding: Lengths = 0
    dilation: Lengths = 1
    groups: int = 1
    use_bias: bool = True
    initialization: str = "he"


@dataclass(frozen=True)
class ConvTranspose2D(Transpose):
    r"""A transposed convolution: every pixel spreads a filter over its neighbourhood, so that images grow.

    .. math:: z_{i j f} = b_f + \sum_{S p + D u - P = i,\; S q + D v - P = j} \; \sum_c x_{p q c} W_{u v f c}

    It is the gradient of a `Conv2D` from F to C channels by its input, as a layer: it leads from the shape of that
    layer's output back to the shape of its input, and its own gradients are that layer's forward step and its
    weights' gradient with the parts of input and δ exchanged. An axis of W becomes one of

    .. math:: (W - 1) S + k' - 2 P + \text{output_padding}, \qquad k' = D (k - 1) + 1 .

    Parameters
    ----------
    filters, kernel_size, dilation, groups, use_bias, initialization : as those of `Conv2D`
    stride : int above 0, or two of them, default 1
        S, how far apart the pixels are in the output.
    padding : "valid", "same", int, or two of ints and pairs of ints, default "valid"
        P, what is cut off around the output: nothing; as much as makes it S times the input; P on either side; or
        (before, after) for each axis.
    output_padding : int, not negative, or two of them, default 0
        What is added behind it, below stride or dilation: a strided Conv2D gives one size for several inputs, and this
        says which. Not used with "same".

    Weights: `weights` (k, k, F / groups, C) and `bias` (F,).

    Raises
    ------
    InputError : as `Conv2D`; padding leaves nothing.

    References
    ----------
    V. Dumoulin and F. Visin, A Guide to Convolution Arithmetic for Deep Learning, 2016, relationship 14.

    >>> ConvTranspose2D(8, 4, stride=2, padding=1).out_shape((7, 7, 16))
    (14, 14, 8)
    """

    axes: ClassVar[int] = 2
    filters: int
    kernel_size: Lengths
    stride: Lengths = 1
    padding: Padding = "valid"
    output_padding: Lengths = 0
    dilation: Lengths = 1
    groups: int = 1
    use_bias: bool = True
    initialization: str = "he"


def _grouped(layer: Layer, filters: int, groups: int, channels: int) -> tuple[int, int]:
    check_whole(layer, filters=filters, groups=groups)
    if channels % groups or filters % groups:
        raise InputError(
            f"{type(layer).__name__} cannot part {channels} channels and {filters} filters into {groups} groups: "
            "both must be multiples of it."
        )
    return groups, filters
