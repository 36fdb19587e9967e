"""What PyTorch's convolutions and pooling are in our layers; rows come as we have them, channels last."""

from __future__ import annotations

from typing import Any

from heldout.errors import InputError
from heldout.neural.layers import (
    AdaptiveAveragePool,
    AveragePool1D,
    AveragePool2D,
    Conv1D,
    Conv2D,
    ConvTranspose1D,
    ConvTranspose2D,
    GlobalAveragePool,
    Layer,
    MaxPool1D,
    MaxPool2D,
    Shape,
)
from heldout.neural.layers.base import shape_text


def check_axes(shape: Shape, axes: int, channels: int | None = None) -> None:
    """InputError unless rows are images of so many axes, and of so many channels."""
    if len(shape) != axes + 1:
        raise InputError(f"it takes rows of {axes + 1} axes and is given rows of shape {_theirs(shape)}")
    if channels is not None and shape[-1] != channels:
        raise InputError(f"it takes rows of {channels} channels and is given rows of shape {_theirs(shape)}")


def _theirs(shape: Shape) -> str:
    return shape_text((shape[-1], *shape[:-1]) if shape else shape)


def _numbers(value: Any) -> Any:
    """A number for each axis, or one for all; a string as it is."""
    return tuple(value) if isinstance(value, (tuple, list)) else value


def convolution(module: Any, shape: Shape) -> Layer:
    """Conv1d, Conv2d."""
    axes = len(module.kernel_size)
    check_axes(shape, axes, module.in_channels)
    if module.padding_mode not in ("zeros", "reflect"):
        raise InputError(f"padding_mode={module.padding_mode!r} is not supported: only 'zeros' and 'reflect' are")
    return (Conv1D if axes == 1 else Conv2D)(
        module.out_channels,
        _numbers(module.kernel_size),
        stride=_numbers(module.stride),
        padding=_numbers(module.padding),
        dilation=_numbers(module.dilation),
        groups=module.groups,
        use_bias=module.bias is not None,
        padding_mode=module.padding_mode,
    )


def transposed_convolution(module: Any, shape: Shape) -> Layer:
    """ConvTranspose1d, ConvTranspose2d."""
    axes = len(module.kernel_size)
    check_axes(shape, axes, module.in_channels)
    return (ConvTranspose1D if axes == 1 else ConvTranspose2D)(
        module.out_channels,
        _numbers(module.kernel_size),
        stride=_numbers(module.stride),
        padding=_numbers(module.padding),
        output_padding=_numbers(module.output_padding),
        dilation=_numbers(module.dilation),
        groups=module.groups,
        use_bias=module.bias is not None,
    )


def max_pool(
    axes: int,
    shape: Shape,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Layer:
    """max_pool1d, max_pool2d and the modules of these names."""
    check_axes(shape, axes)
    if return_indices or any(number != 1 for number in _each(dilation, axes)):
        raise InputError("dilation and return_indices are not supported")
    layer = (MaxPool1D if axes == 1 else MaxPool2D)(_numbers(kernel_size), _numbers(stride or None), _numbers(padding))
    _check_ceiling(ceil_mode, shape, axes, layer)
    return layer


def average_pool(
    axes: int,
    shape: Shape,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: Any = None,
) -> Layer:
    """avg_pool1d, avg_pool2d and the modules of these names."""
    check_axes(shape, axes)
    if divisor_override is not None:
        raise InputError("divisor_override is not supported")
    layer = (AveragePool1D if axes == 1 else AveragePool2D)(
        _numbers(kernel_size), _numbers(stride or None), _numbers(padding), bool(count_include_pad)
    )
    _check_ceiling(ceil_mode, shape, axes, layer)
    return layer


def _check_ceiling(ceil_mode: bool, shape: Shape, axes: int, layer: Any) -> None:
    """InputError where ceil_mode would add a place."""
    sizes, paddings = _each(layer.kernel_size, axes), _each(layer.padding, axes)
    strides = sizes if layer.stride is None else _each(layer.stride, axes)
    left = [(n - k + 2 * p) % s for n, k, p, s in zip(shape, sizes, paddings, strides, strict=False)]
    if ceil_mode and any(left):
        raise InputError("ceil_mode=True is not supported where windows do not fill an axis")


def _each(value: Any, axes: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * axes


def adaptive_average_pool(axes: int, shape: Shape, output_size: Any) -> Layer:
    """adaptive_avg_pool1d, adaptive_avg_pool2d and the modules of these names."""
    check_axes(shape, axes)
    return AdaptiveAveragePool(_lengths(output_size, shape, axes))


def adaptive_max_pool(axes: int, shape: Shape, output_size: Any, return_indices: bool = False) -> Layer:
    """adaptive_max_pool1d, adaptive_max_pool2d and the modules of these names, where windows are all of one size."""
    check_axes(shape, axes)
    sizes = _lengths(output_size, shape, axes)
    if return_indices or any(length % size for length, size in zip(shape, sizes, strict=False)):
        raise InputError("output_size has to divide the lengths of the axes, and return_indices is not supported")
    windows = tuple(length // size for length, size in zip(shape, sizes, strict=False))
    return (MaxPool1D if axes == 1 else MaxPool2D)(windows)


def _lengths(output_size: Any, shape: Shape, axes: int) -> tuple[int, ...]:
    return tuple(
        length if size is None else size for length, size in zip(shape, _each(output_size, axes), strict=False)
    )


def mean(shape: Shape, dim: Any = None, keepdim: bool = False) -> Layer:
    """x.mean((2, 3)): over all places."""
    places = range(2, len(shape) + 1)
    given = dim if isinstance(dim, (tuple, list)) else (dim,)
    if len(shape) < 2 or sorted(d % (len(shape) + 1) for d in given if isinstance(d, int)) != [*places]:
        raise InputError(f"dim={dim!r} is not supported: only the mean over all places, dim={tuple(places)}, is")
    return AdaptiveAveragePool(1) if keepdim else GlobalAveragePool()
