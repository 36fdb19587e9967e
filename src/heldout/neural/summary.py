"""A network as a table: shapes, parameters, memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax

from heldout.neural.layers.base import Layer, Shape, shape_text
from heldout.neural.layers.containers import Sequential
from heldout.printed import Printed, Sheet

UNITS = ("bytes", "KiB", "MiB", "GiB")
SINGLE = 4  # bytes


@dataclass(frozen=True, repr=False)
class Line:
    """One layer of a summary: its name, its output for one row, its parameters, the numbers it keeps for backward."""

    name: str
    out_shape: Shape
    parameters: int
    activations: int


@dataclass(frozen=True, repr=False)
class Summary(Printed):
    """The layers of a network in their order.

    Attributes
    ----------
    lines : tuple of Line
    parameters : int, of all layers together
    activations : int, numbers that training keeps for each row of a mini-batch
    """

    lines: tuple[Line, ...]

    @property
    def parameters(self) -> int:
        return sum(line.parameters for line in self.lines)

    @property
    def activations(self) -> int:
        return sum(line.activations for line in self.lines)

    def _table(self) -> Sheet:
        title = [f"{self.parameters:,} parameters, {memory(SINGLE * self.parameters)} in single precision"]
        header = ["layer", "output shape", "parameters", "activations per row"]
        body = [
            [line.name, shape_text(line.out_shape), f"{line.parameters:,}", f"{line.activations:,}"]
            for line in self.lines
        ]
        return title, header, body, []


def summarise(network: Layer, in_shape: Shape) -> Summary:
    """The summary of a network for rows of shape `in_shape`; InputError where they do not fit it."""
    return Summary(tuple(_lines(network, tuple(in_shape), "")))


def _lines(layer: Layer, in_shape: Shape, before: str) -> list[Line]:
    if not isinstance(layer, Sequential):
        out = layer.out_shape(in_shape)
        return [Line(before or type(layer).__name__.lower(), out, count_parameters(layer, in_shape), math.prod(out))]
    layer.out_shape(in_shape)  # so that an error names the layer
    lines = []
    for name, inner in zip(layer.names, layer.layers, strict=True):
        lines += _lines(inner, in_shape, f"{before}.{name}" if before else name)
        in_shape = inner.out_shape(in_shape)
    return lines


def count_parameters(layer: Layer, in_shape: Shape) -> int:
    """How many weights a layer has, without making them."""
    params, _ = jax.eval_shape(lambda key: layer.init(key, in_shape), jax.random.key(0))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def memory(size: float) -> str:
    """Bytes as people write them.

    >>> memory(52), memory(435_240)
    ('52 bytes', '425.0 KiB')
    """
    power = min(int(math.log(size, 1024)) if size >= 1 else 0, len(UNITS) - 1)
    return f"{size / 1024**power:.{1 if power else 0}f} {UNITS[power]}"
