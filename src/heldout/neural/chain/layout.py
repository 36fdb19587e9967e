"""How a chain's weights lie in the kernel's flat arrays, and the way there and back."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np

from heldout.neural.chain import kernel
from heldout.neural.chain.links import Link
from heldout.neural.layers.activations import LeakyReLU, ReLU, Sigmoid, Tanh
from heldout.neural.layers.base import Params
from heldout.neural.native.tiles import LANES, LINE, TALL, WIDE, up

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

KINDS: dict[Any, int] = {
    type(None): kernel.LINEAR,
    ReLU: kernel.LEAKY,
    LeakyReLU: kernel.LEAKY,
    Tanh: kernel.TANH,
    Sigmoid: kernel.SIGMOID,
}


class Layout:
    """The layout of a chain with these weights, for mini-batches of `size` rows.

    Attributes
    ----------
    layers, behind : tables of the layers, as the kernel reads them
    height : rows of a mini-batch, filled up to whole tiles
    weights, transposed, rows : how many numbers the flat arrays hold
    """

    def __init__(self, links: list[Link], params: Params, size: int) -> None:
        self._links = links
        shapes = [params[link.name]["weights"].shape for link in links]
        self._widths = [p for p, _ in shapes] + [shapes[-1][1]]
        self.height = up(size, TALL)
        self.layers = np.zeros((len(self._widths), 7), np.int64)
        self.behind = np.zeros((len(links), 2))
        self.weights = self.transposed = self.rows = 0
        for layer, width in enumerate(self._widths):
            stride = up(width, WIDE) + LANES  # no power of two, which would put all rows into the same few cache lines
            self.layers[layer, [kernel.INPUTS, kernel.STRIDE, kernel.ROWS]] = width, stride, self.rows
            self.rows += stride * self.height if layer else 0  # the first layer's inputs lie elsewhere
        for layer, (link, (p, m)) in enumerate(zip(links, shapes, strict=True)):
            slope = getattr(link.activation, "negative_slope", 0.0)
            self.behind[layer, [kernel.SLOPE, kernel.DROPPED]] = slope, link.dropped
            self.layers[layer, kernel.ACTIVATION] = KINDS[type(link.activation)]
            self.layers[layer, [kernel.WEIGHTS, kernel.TRANSPOSED]] = self.weights, self.transposed
            self.layers[layer, kernel.BIASES] = self.weights + up(p, TALL) * up(m, WIDE)
            self.weights += (up(p, TALL) + 1) * up(m, WIDE)
            self.transposed += up(p, WIDE) * m if layer else 0

    @property
    def panels(self) -> int:
        """Of the first layer's weights."""
        return up(self._widths[1], WIDE) // WIDE

    @property
    def stride(self) -> int:
        """Of the rows that go into the first layer."""
        return int(self.layers[0, kernel.STRIDE])

    def pack(self, params: Params) -> Array:
        """Weights, or what an optimizer remembers of each, as the kernel has them."""
        flat = aligned(self.weights)
        for name, weights, bias, (p, m) in self._places(flat):
            given = np.zeros((weights.shape[1], weights.shape[0] * WIDE), np.float32)
            given[:p, :m] = params[name]["weights"]
            weights[:] = given.reshape(len(given), -1, WIDE).swapaxes(0, 1)
            bias[:] = params[name]["bias"]
        return flat

    def unpack(self, flat: Array) -> Params:
        """Back from `pack`."""
        return {
            name: {
                "weights": jnp.array(weights.swapaxes(0, 1).reshape(weights.shape[1], -1)[:p, :m]),
                "bias": jnp.array(bias),
            }
            for name, weights, bias, (p, m) in self._places(flat)
        }

    def transpose(self, params: Params) -> Array:
        """The transposed weights of all layers but the first, in panels of theirs."""
        flat = aligned(self.transposed)
        for link, layer in zip(self._links[1:], self.layers[1:], strict=False):
            weights = np.asarray(params[link.name]["weights"])
            p, m = weights.shape
            given = np.zeros((m, up(p, WIDE)), np.float32)
            given[:, :p] = weights.T
            place = flat[layer[kernel.TRANSPOSED] :][: given.size]
            place[:] = given.reshape(m, -1, WIDE).swapaxes(0, 1).ravel()
        return flat

    def _places(self, flat: Array) -> Iterator[tuple[str, Array, Array, tuple[int, int]]]:
        """Each layer's name, its panels and biases in `flat`, and its inputs and outputs."""
        for link, layer, (p, m) in zip(self._links, self.layers, itertools.pairwise(self._widths), strict=False):
            start, end = layer[kernel.WEIGHTS], layer[kernel.BIASES]
            yield link.name, flat[start:end].reshape(-1, up(p, TALL), WIDE), flat[end : end + m], (p, m)


def aligned(count: int) -> Array:
    """So many zeros, that begin with a line of the cache."""
    room = np.zeros(count + LINE // 4, np.float32)
    start = -room.ctypes.data % LINE // 4
    return room[start : start + count]
