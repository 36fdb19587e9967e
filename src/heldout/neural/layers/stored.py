"""Networks as JSON and back: the names of the closed table of layers and their hyperparameters, nothing else."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from heldout.errors import InputError
from heldout.neural.layers import LAYERS
from heldout.neural.layers.base import Layer, Params, Shape, State
from heldout.neural.layers.containers import Parallel, Sequential

if TYPE_CHECKING:
    from heldout.persist import State as Stored

MOST_LAYERS = 10_000
MOST_WEIGHTS = 2**33


def to_json(layer: Layer) -> dict[str, Any]:
    """A network as JSON values; InputError for a layer that is not of the table.

    >>> from heldout.neural.layers import Dense, Sequential
    >>> to_json(Sequential(Dense(2)))
    {'kind': 'Sequential', 'layers': [{'kind': 'Dense', 'units': 2, 'use_bias': True, 'initialization': 'he'}]}
    """
    kind = type(layer).__name__
    if LAYERS.get(kind) is not type(layer):
        raise InputError(f"A network with the layer {kind} cannot be stored: only heldout's own layers can.")
    return {"kind": kind} | {item.name: _value(getattr(layer, item.name)) for item in fields(layer)}


def _value(value: Any) -> Any:
    if isinstance(value, Layer):
        return to_json(value)
    if isinstance(value, tuple):
        return [_value(item) for item in value]
    return value


def from_json(value: Any) -> Layer:
    """The network that `to_json` described; InputError where it is none."""
    return _layer(value, [MOST_LAYERS])


def _layer(value: Any, left: list[int]) -> Layer:
    left[0] -= 1
    if left[0] < 0:
        raise InputError(f"a network has more than {MOST_LAYERS:,} layers.")
    if not isinstance(value, dict) or value.get("kind") not in LAYERS:
        raise InputError("a layer is of no known kind.")
    kind = LAYERS[value["kind"]]
    if value.keys() - {"kind"} != {item.name for item in fields(kind)}:
        raise InputError(f"{value['kind']} has other hyperparameters.")
    given = {name: _read(item, left) for name, item in value.items() if name != "kind"}
    if kind in (Sequential, Parallel):
        layers = given.pop("layers")
        if not isinstance(layers, tuple):
            raise InputError(f"the layers of {value['kind']} are no list.")
        return kind(*layers, **given)
    return kind(**given)


def _read(value: Any, left: list[int]) -> Any:
    if isinstance(value, dict):
        return _layer(value, left)
    if isinstance(value, list):
        return tuple(_read(item, left) for item in value)
    return value


def weights_from_state(stored: Stored, network: Layer, in_shape: Shape, dtype: str) -> tuple[Params, State]:
    """Weights and running statistics, checked against what the network has for rows of this shape."""
    params, state = jax.eval_shape(lambda key: network.init(key, in_shape), jax.random.key(0))
    return _tree(stored.part("params"), params, dtype), _tree(stored.part("state"), state, dtype)


def _tree(stored: Stored, like: dict[str, Any], dtype: str) -> dict[str, Any]:
    return {
        name: _tree(stored.part(name), leaf, dtype)
        if isinstance(leaf, dict)
        else stored.array(name, dtype=dtype, shape=tuple(leaf.shape))
        for name, leaf in like.items()
    }


def as_numpy(tree: Any) -> Any:
    """The same tree with NumPy arrays of their own memory."""
    return jax.tree.map(np.array, tree)
