"""The two passes through a network layer by layer: forward, keeping all that goes in and comes out, and backward.

Containers are gone through; what `backward` of a single layer says is one step of the recursion.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from heldout.errors import InputError
from heldout.neural.layers.activations import Activation
from heldout.neural.layers.base import Array, Key, Layer, Mask, Params, State
from heldout.neural.layers.containers import JOINS, Container, Parallel, Residual, Sequential, Steps
from heldout.neural.layers.recurrent import Recurrent


@dataclass(frozen=True, eq=False)
class Node:
    """A layer after the forward pass: what it was given, its output, and the layers inside it by their names."""

    name: str  # dotted, as in the weights: "sequential_1.dense_2"; "" for the whole network
    layer: Layer
    params: Params
    state: State
    key: Key
    x: Array
    mask: Mask
    y: Array
    mask_after: Mask
    inner: dict[str, Node]

    @property
    def called(self) -> str:
        return self.name or self.layer.called


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["params", "z", "output", "delta", "passed", "gradients", "times"],
    meta_fields=["name", "layer"],
)
@dataclass(frozen=True, eq=False)
class Step:
    """A layer after the backward pass: its weights and output, δ by the output, δ by the input, its own gradients.

    `z` is the input of an activation, None for other layers; a container has no weights of its own. `times` is of a
    recurrent layer: norms through time (T, 2), by recursion.
    """

    name: str
    layer: Layer
    params: Params
    z: Array | None
    output: Array
    delta: Array
    passed: Array
    gradients: Params
    times: dict[str, Array]

    @classmethod
    def of(cls, node: Node, delta: Array, passed: Array, gradients: Params, times: dict[str, Array]) -> Step:
        z = node.x if isinstance(node.layer, Activation) else None
        params = {} if node.inner else node.params
        return cls(node.called, node.layer, params, z, node.y, delta, passed, gradients, times)


Passed: TypeAlias = tuple[Params, Array, list[Step]]  # gradients by the weights, by the input, steps in forward order


def forward(
    layer: Layer,
    params: Params,
    state: State,
    x: Array,
    mask: Mask = None,
    *,
    train: bool = False,
    key: Key = None,
    name: str = "",
) -> Node:
    """The outputs of `layer` and of all layers in it for a batch `x`; they are those of `layer.apply`."""
    inner: dict[str, Node] = {}
    y, left = x, mask
    for i, (own, part) in enumerate(parts_of(layer).items()):
        drawn = jax.random.fold_in(key, i) if train and part.random and key is not None else None
        path = f"{name}.{own}" if name else own
        given = (y, left) if type(layer) is Sequential else (x, mask)
        if isinstance(layer, Steps):
            given = x[:, layer.part], None if mask is None else mask[:, layer.part]
        inner[own] = forward(part, params.get(own, {}), state.get(own, {}), *given, train=train, key=drawn, name=path)
        y, left = inner[own].y, inner[own].mask_after
    if not inner:
        y, _, left = layer.apply_masked(params, state, x, mask, train=train, key=key)
    elif isinstance(layer, Residual):
        y = inner["layer"].y + (inner["shortcut"].y if "shortcut" in inner else x)
        left = inner["layer"].mask_after
    elif isinstance(layer, Steps):
        y, left = layer.put(x, y), mask
    elif isinstance(layer, Parallel):
        y = JOINS[layer.join]([node.y for node in inner.values()])
        left = next(iter(inner.values())).mask_after
    return Node(name, layer, params, state, key, x, mask, y, left, inner)


def parts_of(layer: Layer) -> dict[str, Layer]:
    """The layers inside a container by their names in its weights; none for any other layer, however it is made."""
    return layer._branches if isinstance(layer, Container) and type(layer) in BACKWARD else {}


def backward(node: Node, delta: Array, *, train: bool = False) -> Passed:
    """The gradients of the loss, from its gradient `delta` by the output, layer by layer."""
    return BACKWARD.get(type(node.layer), _through_layer)(node, delta, train)


def _through_layer(node: Node, delta: Array, train: bool) -> Passed:
    layer = node.layer
    if node.mask is None or layer.by_step:
        gradients, by_x = layer.backward(node.params, node.state, node.x, delta, train=train, key=node.key)
    else:
        _, pull = jax.vjp(
            lambda p, x: layer.apply_masked(p, node.state, x, node.mask, train=train, key=node.key)[0],
            node.params,
            node.x,
        )
        gradients, by_x = pull(delta)
    _check_shapes(node, gradients, by_x)
    times: dict[str, Array] = {}
    if isinstance(layer, Recurrent):
        times = layer.norms_through_time(node.params, node.x, node.mask, delta, train=train, key=node.key)
    return gradients, by_x, [Step.of(node, delta, by_x, gradients, times)]


def _through_chain(node: Node, delta: Array, train: bool) -> Passed:
    gradients: Params = {}
    steps: list[Step] = []
    for name, inner in reversed(node.inner.items()):
        own, delta, passed = backward(inner, delta, train=train)
        gradients = ({name: own} if own else {}) | gradients
        steps = passed + steps
    return gradients, delta, steps


def _through_shortcut(node: Node, delta: Array, train: bool) -> Passed:
    """y = g(x) + f(x): both get δ, and their gradients by x are added; without g, δ itself is."""
    gradients, by_x, steps = _through_each(node, dict.fromkeys(node.inner, delta), train)
    by_x = by_x if "shortcut" in node.inner else by_x + delta
    return gradients, by_x, [*steps, Step.of(node, delta, by_x, {}, {})]


def _through_branches(node: Node, delta: Array, train: bool) -> Passed:
    """The join's own chain rule, and then each branch; their gradients by x are added."""
    join: Callable[[list[Array]], Array] = JOINS[node.layer.join]  # type: ignore[attr-defined]
    _, pull = jax.vjp(join, [inner.y for inner in node.inner.values()])
    (deltas,) = pull(delta)
    gradients, by_x, steps = _through_each(node, dict(zip(node.inner, deltas, strict=True)), train)
    return gradients, by_x, [*steps, Step.of(node, delta, by_x, {}, {})]


def _through_steps(node: Node, delta: Array, train: bool) -> Passed:
    """The steps inside go through their layer, the others pass."""
    layer: Steps = node.layer  # type: ignore[assignment]
    inner = node.inner["layer"]
    own, by_inner, steps = backward(inner, delta[:, layer.part], train=train)
    by_x = layer.put(delta, by_inner)
    return {"layer": own} if own else {}, by_x, [*steps, Step.of(node, delta, by_x, {}, {})]


def _through_each(node: Node, deltas: dict[str, Array], train: bool) -> Passed:
    gradients: Params = {}
    steps: list[Step] = []
    by_x: Array = jnp.zeros_like(node.x)
    for name, inner in node.inner.items():
        own, part, passed = backward(inner, deltas[name], train=train)
        gradients |= {name: own} if own else {}
        by_x = by_x + part
        steps += passed
    return gradients, by_x, steps


BACKWARD: dict[type[Layer], Callable[[Node, Array, bool], Passed]] = {
    Sequential: _through_chain,
    Residual: _through_shortcut,
    Parallel: _through_branches,
    Steps: _through_steps,
}


def _check_shapes(node: Node, gradients: Any, by_x: Any) -> None:
    """A gradient has the shape of what it is by; what a person wrote by hand may not."""
    told, own = shapes_of(gradients), shapes_of(node.params)
    if told != own:
        raise InputError(
            f"backward of layer {node.called} gives gradients of the shapes {told}, and its weights have {own}."
        )
    if jnp.shape(by_x) != node.x.shape:
        raise InputError(
            f"backward of layer {node.called} gives a gradient by its input of shape {jnp.shape(by_x)}, and the "
            f"input has {node.x.shape}."
        )


def shapes_of(tree: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of nested arrays by their dotted names."""
    return {dotted(path): tuple(leaf.shape) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def dotted(path: Any) -> str:
    """The name of an array in nested dicts: "dense_1.weights"."""
    return str(jax.tree_util.keystr(path, simple=True, separator="."))
