"""Transfer: what one network has learned is where another begins, and layers that are to stay as they are.

Weights are told here by layer, frozen or not; `settle` puts them where the network keeps them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeAlias

import jax
import numpy as np

from heldout.errors import InputError, suggest
from heldout.neural.layers import Frozen, Layer, Sequential
from heldout.neural.layers.base import Params, State

Weights: TypeAlias = tuple[Params, State]


def freeze(network: Sequential, names: Collection[str]) -> Sequential:
    """The network with the layers of these names (see `Sequential.names`) frozen; the others can be trained.

    Raises
    ------
    InputError : there is no layer of that name.

    >>> from heldout.neural.layers import Dense, ReLU
    >>> network = freeze(Sequential(Dense(8), ReLU(), Dense(1)), ["dense_1"])
    >>> [type(layer).__name__ for layer in network.layers], network.names
    (['Frozen', 'ReLU', 'Dense'], ('dense_1', 'relu_1', 'dense_2'))
    """
    for name in names:
        if name not in network.names:
            raise InputError(f"There is no layer {name!r} to freeze.{suggest(str(name), network.names)}")
    pairs = zip(network.names, network.layers, strict=True)
    return Sequential(*(Frozen(layer) if name in names else layer for name, layer in pairs))


def thaw(network: Layer, params: Params, state: State) -> Weights:
    """Weights and running statistics by layer, as if nothing were frozen."""
    for name in frozen_names(network):
        inner = state.get(name, {})
        params, state = _with(params, name, inner.get("params")), _with(state, name, inner.get("state"))
    return params, state


def settle(network: Layer, params: Params, state: State) -> Weights:
    """What `thaw` gave, where the network keeps it: what is frozen in the state."""
    for name in frozen_names(network):
        inner = {"params": params.get(name), "state": state.get(name)}
        kept = {key: values for key, values in inner.items() if values}
        params, state = _with(params, name, None), _with(state, name, kept)
    return params, state


def frozen_names(network: Layer) -> list[str]:
    """The names of the frozen layers."""
    if not isinstance(network, Sequential):
        return []
    return [name for name, layer in zip(network.names, network.layers, strict=True) if isinstance(layer, Frozen)]


def _with(tree: dict[str, Any], name: str, values: Any) -> dict[str, Any]:
    others = {key: value for key, value in tree.items() if key != name}
    return others | ({name: values} if values else {})


def begin(network: Layer, fresh: Weights, start: Any) -> Weights:
    """The weights to begin with: `start`, or where it is a learner, those of its layers but the head.

    Raises
    ------
    InputError : `start` is neither, its weights are shaped otherwise, or none of its layers is in the network.
    """
    fresh = thaw(network, *fresh)
    if isinstance(start, tuple | list):
        if _shapes(tuple(start)) == _shapes(settle(network, *fresh)):
            return start[0], start[1]
        if _shapes(tuple(start)) != _shapes(fresh):
            raise InputError("start must be (params, state) of the shapes that this network has for these rows.")
        return settle(network, *start)
    if not isinstance(getattr(start, "network_", None), Layer):
        raise InputError("start must be a fitted neural learner, or (params, state), nested dicts of arrays.")
    given = thaw(start.network_, start.params_, start.state_)
    bodies = [_body(start.network_), _body(network)]
    taken = [name for name in bodies[0] if name in bodies[1] and name in given[0] and name in fresh[0]]
    if not taken:
        raise InputError("start has no layer that this network has: layers are told by their names, as in summary().")
    for name in taken:
        own, other = ([_shapes(tree.get(name, {})) for tree in weights] for weights in (fresh, given))
        if own != other:
            raise InputError(
                f"Layer {name} has weights of other shapes in start, {_text(other[0])}, than in this network, "
                f"{_text(own[0])}: give both images of one size, or a network whose weights do not depend on it "
                "(GlobalAveragePool instead of Flatten)."
            )
    params, state = ({**new, **{n: old[n] for n in taken if n in old}} for new, old in zip(fresh, given, strict=True))
    return settle(network, params, state)


def _body(network: Layer) -> tuple[str, ...]:
    """The names of all layers but the last, the head."""
    return network.names[:-1] if isinstance(network, Sequential) else ()


def _shapes(tree: Any) -> Any:
    return jax.tree.map(np.shape, tree)


def _text(shapes: dict[str, Any]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items())
