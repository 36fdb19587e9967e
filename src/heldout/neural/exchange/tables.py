"""What PyTorch's modules and functions are in our layers: one entry each.

Nothing here imports PyTorch: modules and functions are known by the names they have in `torch.nn`, `torch`,
`torch.nn.functional` and among a tensor's methods.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from heldout.errors import InputError
from heldout.neural.exchange import images
from heldout.neural.exchange.images import check_axes
from heldout.neural.layers import (
    ELU,
    GELU,
    BatchNorm,
    Dense,
    Dropout,
    Flatten,
    Identity,
    Layer,
    LayerNorm,
    LeakyReLU,
    ReLU,
    Reshape,
    Shape,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
)
from heldout.neural.layers.base import shape_text


class Batch:
    """The batch's size where a forward asks for it."""


BATCH = Batch()


@dataclass(frozen=True)
class Array:
    """An array of a layer and of a module; ours has `axes` of theirs, if they are not the same.

    `follows`: its first axis is that of the numbers of a row, and comes in their order.
    """

    ours: str
    theirs: str
    axes: tuple[int, ...] | None = None
    follows: bool = False


@dataclass(frozen=True)
class Kind:
    """How a module becomes a layer.

    Attributes
    ----------
    layer : the layer, from the module and the shape of its rows (of images ours, channels last, unless it `reshapes`);
        InputError, with the reason alone, where there is none
    params, state : the arrays that go over
    row : the shape of the rows it takes, where the module itself knows; None where it takes any
    on : "images": it makes images of images, and a module with such a part has channels first; "channels": of images or
        flat rows; "last axis": of that alone; "shape": it reshapes; "any": number by number
    """

    layer: Callable[[Any, Shape], Layer]
    params: tuple[Array, ...] = ()
    state: tuple[Array, ...] = ()
    row: Callable[[Any], Shape | None] = lambda module: None
    on: str = "any"


def _check_width(width: int, shape: Shape) -> None:
    if not shape or shape[-1] != width:
        raise InputError(f"it takes rows of {width} numbers and is given rows of shape {shape_text(shape)}")


def _linear(module: Any, shape: Shape) -> Layer:
    _check_width(module.in_features, shape)
    return Dense(module.out_features, use_bias=module.bias is not None)


def _batch_norm(module: Any, shape: Shape) -> Layer:
    if not module.affine:
        raise InputError("affine=False is not supported")
    if not module.track_running_stats or module.running_mean is None:
        raise InputError("track_running_stats=False is not supported")
    if module.momentum is None or not 0.0 < module.momentum <= 1.0:
        raise InputError(f"momentum={module.momentum} is not supported: it has to be above 0 and at most 1")
    axes = int(type(module).__name__[-2])
    if len(shape) > 1 or axes == 2:
        check_axes(shape, axes, module.num_features)
    _check_width(module.num_features, shape)
    return BatchNorm(momentum=1.0 - module.momentum, epsilon=module.eps)


def _layer_norm(module: Any, shape: Shape) -> Layer:
    if len(module.normalized_shape) != 1:
        raise InputError("only the last axis can be normalised")
    if module.weight is None or module.bias is None:
        raise InputError("it has to have a weight and a bias")
    _check_width(module.normalized_shape[0], shape)
    return LayerNorm(epsilon=module.eps)


def _last_axis(shape: Shape, dim: Any) -> None:
    if not shape or dim not in (-1, len(shape)):
        raise InputError(f"dim={dim!r} is not supported: only the last axis, dim=-1, is")


def _softmax(shape: Shape, dim: Any = None, *, dtype: Any = None, _stacklevel: int = 3) -> Layer:
    _last_axis(shape, dim)
    if dtype is not None:
        raise InputError("a dtype is not supported")
    return Softmax()


def _dropout(shape: Shape, p: float = 0.5, training: bool = True, inplace: bool = False) -> Layer:
    if not 0.0 <= p < 1.0:
        raise InputError(f"p={p} is not supported: it has to be 0 or more and below 1")
    return Dropout(float(p)) if training else Identity()


def _flatten(shape: Shape, start_dim: int = 0, end_dim: int = -1) -> Layer:
    first, last = (dim + len(shape) + 1 if dim < 0 else dim for dim in (start_dim, end_dim))
    if first < 1 or last > len(shape):
        raise InputError(f"start_dim={start_dim} and end_dim={end_dim} do not keep rows apart")
    if (first, last) in ((1, len(shape)), (1, 0)):
        return Flatten()
    return Reshape((*shape[: first - 1], math.prod(shape[first - 1 : last]), *shape[last:]))


def _unflatten(shape: Shape, dim: Any, sizes: Any) -> Layer:
    if not isinstance(dim, int) or not all(isinstance(size, int) for size in sizes):
        raise InputError("named axes are not supported")
    axis = dim - 1 if dim >= 0 else dim + len(shape)
    if not 0 <= axis < len(shape):
        raise InputError(f"dim={dim} is no axis of rows of shape {shape_text(shape)}")
    return Reshape((*shape[:axis], *sizes, *shape[axis + 1 :]))


def _reshape(shape: Shape, *lengths: Any) -> Layer:
    if len(lengths) == 1 and isinstance(lengths[0], (tuple, list)):
        lengths = tuple(lengths[0])
    if not lengths or not (lengths[0] is BATCH or lengths[0] == -1):
        raise InputError("the first length has to be -1 or x.shape[0], so that rows stay rows")
    if not all(isinstance(length, int) for length in lengths[1:]):
        raise InputError("lengths have to be whole numbers")
    return Flatten() if lengths[1:] == (-1,) else Reshape(lengths[1:])


def _unflattened(module: Any) -> Shape | None:
    sizes = tuple(module.unflattened_size)
    known = module.dim in (1, -1) and all(isinstance(size, int) and size > 0 for size in sizes)
    return (math.prod(sizes),) if known else None


_SCALED = (Array("scale", "weight", follows=True), Array("shift", "bias", follows=True))
_RUNNING = (Array("mean", "running_mean", follows=True), Array("variance", "running_var", follows=True))
_FILTERS = {axes: (Array("weights", "weight", (*range(2, axes + 2), 1, 0)), Array("bias", "bias")) for axes in (1, 2)}


def _pooling(axes: int) -> dict[str, Kind]:
    return {
        f"MaxPool{axes}d": Kind(
            lambda m, shape: images.max_pool(
                axes, shape, m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode, m.return_indices
            ),
            on="images",
        ),
        f"AvgPool{axes}d": Kind(
            lambda m, shape: images.average_pool(
                axes,
                shape,
                m.kernel_size,
                m.stride,
                m.padding,
                m.ceil_mode,
                m.count_include_pad,
                getattr(m, "divisor_override", None),
            ),
            on="images",
        ),
        f"AdaptiveAvgPool{axes}d": Kind(
            lambda m, shape: images.adaptive_average_pool(axes, shape, m.output_size), on="images"
        ),
        f"AdaptiveMaxPool{axes}d": Kind(
            lambda m, shape: images.adaptive_max_pool(axes, shape, m.output_size, m.return_indices), on="images"
        ),
    }


MODULES: dict[str, Kind] = {
    "Linear": Kind(
        _linear,
        params=(Array("weights", "weight", (1, 0), follows=True), Array("bias", "bias")),
        row=lambda module: (module.in_features,),
        on="last axis",
    ),
    "ReLU": Kind(lambda module, shape: ReLU()),
    "LeakyReLU": Kind(lambda module, shape: LeakyReLU(float(module.negative_slope))),
    "ELU": Kind(lambda module, shape: ELU(float(module.alpha))),
    "GELU": Kind(lambda module, shape: GELU(approximate=module.approximate == "tanh")),
    "SiLU": Kind(lambda module, shape: SiLU()),
    "Sigmoid": Kind(lambda module, shape: Sigmoid()),
    "Tanh": Kind(lambda module, shape: Tanh()),
    "Softmax": Kind(lambda module, shape: _softmax(shape, module.dim), on="last axis"),
    "Dropout": Kind(lambda module, shape: _dropout(shape, module.p)),
    "BatchNorm1d": Kind(
        _batch_norm,
        params=_SCALED,
        state=_RUNNING,
        row=lambda module: (module.num_features,),
        on="channels",
    ),
    "BatchNorm2d": Kind(_batch_norm, params=_SCALED, state=_RUNNING, on="images"),
    "LayerNorm": Kind(_layer_norm, params=_SCALED, row=lambda module: (module.normalized_shape[-1],), on="last axis"),
    "Conv1d": Kind(images.convolution, params=_FILTERS[1], on="images"),
    "Conv2d": Kind(images.convolution, params=_FILTERS[2], on="images"),
    "ConvTranspose1d": Kind(images.transposed_convolution, params=_FILTERS[1], on="images"),
    "ConvTranspose2d": Kind(images.transposed_convolution, params=_FILTERS[2], on="images"),
    **_pooling(1),
    **_pooling(2),
    "Flatten": Kind(lambda module, shape: _flatten(shape, module.start_dim, module.end_dim), on="shape"),
    "Unflatten": Kind(
        lambda module, shape: _unflatten(shape, module.dim, module.unflattened_size), row=_unflattened, on="shape"
    ),
    "Identity": Kind(lambda module, shape: Identity()),
}

# From the shape of the rows, and what the call is given beside its tensor.
FUNCTIONS: dict[str, Callable[..., Layer]] = {
    "relu": lambda shape, inplace=False: ReLU(),
    "leaky_relu": lambda shape, negative_slope=0.01, inplace=False: LeakyReLU(float(negative_slope)),
    "elu": lambda shape, alpha=1.0, inplace=False: ELU(float(alpha)),
    "gelu": lambda shape, approximate="none": GELU(approximate=approximate == "tanh"),
    "silu": lambda shape, inplace=False: SiLU(),
    "sigmoid": lambda shape: Sigmoid(),
    "tanh": lambda shape: Tanh(),
    "softmax": _softmax,
    "dropout": _dropout,
    "flatten": _flatten,
    "unflatten": _unflatten,
    "reshape": _reshape,
    "view": _reshape,
    "contiguous": lambda shape: Identity(),
    "clone": lambda shape: Identity(),
}

FUNCTIONS |= {
    f"{name}{axes}d": functools.partial(make, axes)
    for axes in (1, 2)
    for name, make in (
        ("max_pool", images.max_pool),
        ("avg_pool", images.average_pool),
        ("adaptive_avg_pool", images.adaptive_average_pool),
        ("adaptive_max_pool", images.adaptive_max_pool),
    )
}
FUNCTIONS |= {"mean": images.mean}
ON: dict[str, str] = {
    **dict.fromkeys(("flatten", "unflatten", "reshape", "view"), "shape"),
    **dict.fromkeys((name for name in FUNCTIONS if "pool" in name), "images"),
    "mean": "images",
    "softmax": "last axis",
}

JOINS: dict[str, str] = {
    "add": "sum",
    "iadd": "sum",
    "mul": "product",
    "imul": "product",
    "cat": "concatenate",
    "concat": "concatenate",
    "concatenate": "concatenate",
}


def row_of_reshape(lengths: tuple[Any, ...]) -> Shape | None:
    """The flat rows that `x.view(*lengths)` takes, where it says so."""
    if len(lengths) == 1 and isinstance(lengths[0], (tuple, list)):
        lengths = tuple(lengths[0])
    known = len(lengths) > 1 and all(isinstance(length, int) and length > 0 for length in lengths[1:])
    return (math.prod(lengths[1:]),) if known else None
