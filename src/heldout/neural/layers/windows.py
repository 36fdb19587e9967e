"""Windows that slide along an axis: their sizes, strides and padding, and how many places they stop at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple, TypeAlias

from jax import lax

from heldout.errors import InputError, suggest
from heldout.neural.layers.base import Array, Layer, Shape, shape_text

Lengths: TypeAlias = int | tuple[int, ...]  # one for all axes, or one for each
Padding: TypeAlias = str | int | tuple[int | tuple[int, int], ...]

PADDINGS = ("valid", "same")
AXES = {1: ("length",), 2: ("height", "width")}


class Window(NamedTuple):
    """A window along one axis, and what is added before and after that axis."""

    size: int
    stride: int
    dilation: int
    before: int
    after: int

    @property
    def span(self) -> int:
        """From the first number that it covers to the last."""
        return self.dilation * (self.size - 1) + 1

    def places(self, length: int) -> int:
        """(W - F + 2P) / S + 1, rounded down."""
        return (length - self.span + self.before + self.after) // self.stride + 1


Windows: TypeAlias = tuple[Window, ...]


def as_tuple(value: Any) -> Any:
    """Lists as tuples, so that a layer is hashable."""
    return tuple(map(as_tuple, value)) if isinstance(value, (list, tuple)) else value


def per_axis(layer: Layer, name: str, value: Any, axes: int, least: int = 1) -> Shape:
    """One whole number for each axis; InputError unless each is `least` or more."""
    values = value if isinstance(value, tuple) else (value,) * axes
    if len(values) != axes or not all(_is_whole(number, least) for number in values):
        many = "a whole number" if axes == 1 else f"a whole number or {axes} of them"
        raise InputError(f"{name} of {type(layer).__name__} is {value!r} and must be {many}, {_least(least)}.")
    return values


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _least(least: int) -> str:
    return "not negative" if least == 0 else f"above {least - 1}"


def margins(layer: Layer, padding: Any, axes: int) -> tuple[tuple[int, int], ...]:
    """What `padding` adds before and after each axis, where it is given in numbers."""
    values = padding if isinstance(padding, tuple) else (padding,) * axes
    pairs = tuple(value if isinstance(value, tuple) else (value, value) for value in values)
    if len(pairs) != axes or not all(len(pair) == 2 and all(_is_whole(p, 0) for p in pair) for pair in pairs):
        each = "" if axes == 1 else f", or {axes} of them, each a number or a pair (before, after)"
        hint = suggest(padding, PADDINGS) if isinstance(padding, str) else ""
        raise InputError(
            f"padding of {type(layer).__name__} is {padding!r} and must be 'valid', 'same' or a whole number, "
            f"not negative{each}.{hint}"
        )
    return pairs


def windows_for(layer: Layer, lengths: Shape, size: Any, stride: Any, padding: Any, dilation: Any = 1) -> Windows:
    """The windows of a layer over axes of these lengths; InputError where a number is out of range."""
    axes = len(lengths)
    sizes = per_axis(layer, "kernel_size", size, axes)
    strides = per_axis(layer, "stride", stride, axes)
    dilations = per_axis(layer, "dilation", dilation, axes)
    if padding == "same":
        bare = [Window(*numbers, 0, 0) for numbers in zip(sizes, strides, dilations, strict=True)]
        missing = [_missing(window, length) for window, length in zip(bare, lengths, strict=True)]
        added = tuple((lacking // 2, lacking - lacking // 2) for lacking in missing)
    else:
        added = margins(layer, 0 if padding == "valid" else padding, axes)
    return tuple(
        Window(size, stride, dilation, *pair)
        for size, stride, dilation, pair in zip(sizes, strides, dilations, added, strict=True)
    )


def _missing(window: Window, length: int) -> int:
    """How much an axis lacks for W / S places, rounded up."""
    return max((-(-length // window.stride) - 1) * window.stride + window.span - length, 0)


def counts(windows: Windows, lengths: Shape) -> Shape:
    """How many places the windows stop at along each axis."""
    return tuple(window.places(length) for window, length in zip(windows, lengths, strict=True))


def places(layer: Layer, windows: Windows, lengths: Shape) -> Shape:
    """`counts`; InputError, with the arithmetic, where there is no place."""
    found = counts(windows, lengths)
    for axis, window, length, count in zip(AXES[len(windows)], windows, lengths, found, strict=True):
        if count < 1:
            dilated = f"({window.dilation} * ({window.size} - 1) + 1)"
            span = dilated if window.dilation > 1 else str(window.size)
            sums = f"({length} - {span} + {window.before + window.after}) / {window.stride} + 1"
            raise InputError(
                f"{type(layer).__name__} does not fit rows of {axis} {length}: (W - F + 2P) / S + 1 = {sums} = {count} "
                "and must be 1 or more."
            )
    return found


def check_rows(layer: Layer, in_shape: Shape, axes: int) -> Shape:
    """The lengths of a row's axes; InputError unless there are as many, and channels behind them."""
    if len(in_shape) != axes + 1 or min(in_shape) < 1:
        form = ", ".join(AXES[axes])
        raise InputError(f"{type(layer).__name__} needs rows of shape ({form}, channels), not {shape_text(in_shape)}.")
    return in_shape[:-1]


def taps(windows: Windows) -> Iterator[Shape]:
    """The positions inside a window, the last axis quickest."""
    return product(*(range(window.size) for window in windows))


def pad(x: Array, windows: Windows, value: Any = 0) -> Array:
    """`x` (n, ..., C) with its margins, which may be negative."""
    if not any(window.before or window.after for window in windows):
        return x
    edges = [(window.before, window.after, 0) for window in windows]
    padded: Array = lax.pad(x, x.dtype.type(value), [(0, 0, 0), *edges, (0, 0, 0)])
    return padded


def seen(x: Array, windows: Windows, counts: Sequence[int]) -> list[Array]:
    """What each position of the window sees of the padded `x` at all places: arrays (n, *counts, C)."""
    parts = []
    for tap in taps(windows):
        first = [window.dilation * at for window, at in zip(windows, tap, strict=True)]
        last = [at + (count - 1) * window.stride + 1 for at, window, count in zip(first, windows, counts, strict=True)]
        strides = [window.stride for window in windows]
        parts.append(lax.slice(x, [0, *first, 0], [x.shape[0], *last, x.shape[-1]], [1, *strides, 1]))
    return parts


def put_back(parts: Sequence[Array], windows: Windows, lengths: Shape) -> Array:
    """The transpose of `pad` and `seen`: each part (n, *counts, C) added where it was seen, in axes of `lengths`."""
    spread = []
    for tap, part in zip(taps(windows), parts, strict=True):
        edges = []
        for window, at, length, count in zip(windows, tap, lengths, part.shape[1:-1], strict=True):
            low = window.dilation * at - window.before
            edges.append((low, length - low - (count - 1) * window.stride - 1, window.stride - 1))
        spread.append(lax.pad(part, part.dtype.type(0), [(0, 0, 0), *edges, (0, 0, 0)]))
    return total(spread)


def total(arrays: Iterable[Array]) -> Array:
    """The sum of at least one array."""
    first, *others = arrays
    for other in others:
        first = first + other
    return first
