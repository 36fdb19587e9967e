"""Attention taken out of a network: which step looks at which."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from heldout.errors import InputError, suggest
from heldout.neural.layers.attention import MultiHeadAttention
from heldout.neural.layers.base import Layer, Params, State
from heldout.neural.layers.masking import reads_padding
from heldout.neural.recursion import Node, forward

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """The maps of a network's attention layers for some rows.

    Attributes
    ----------
    maps : dict from a layer's name to an array (n, heads, T, S)
        The weights with which each step (first) takes part of each step that it looks at; those of a step sum to 1.
    """

    maps: dict[str, Array]

    def __getitem__(self, name: str) -> Array:
        if name not in self.maps:
            raise InputError(f"There is no attention layer {name!r}.{suggest(str(name), self.maps)}")
        return self.maps[name]

    def __repr__(self) -> str:
        return f"AttentionMaps({', '.join(f'{name} {found.shape}' for name, found in self.maps.items())})"

    def plot(self, row: int = 0, layer: str | None = None, steps: list[str] | None = None) -> Any:
        """An Altair chart: a map for each head of one row and one layer.

        Parameters
        ----------
        row : int, default 0
        layer : str, default None
            Its name; None: the first.
        steps : list of str, default None
            What the steps are called, tokens, say; None: their numbers from 0.
        """
        import altair as alt

        found = self[next(iter(self.maps)) if layer is None else layer][row]
        heads, queries, keys = found.shape
        if steps is not None and len(steps) < max(queries, keys):
            raise InputError(f"steps has {len(steps)} names, and the map has {max(queries, keys)} steps.")
        named = (
            [f"{i} {name}" for i, name in enumerate(steps)] if steps else [str(i) for i in range(max(queries, keys))]
        )
        points = [
            {"head": f"head {h + 1}", "from": named[i], "to": named[j], "weight": float(found[h, i, j])}
            for h in range(heads)
            for i in range(queries)
            for j in range(keys)
        ]
        return (
            alt.Chart(alt.Data(values=points))
            .mark_rect()
            .encode(
                x=alt.X("to:N", sort=named[:keys], title="looked at"),
                y=alt.Y("from:N", sort=named[:queries], title="step"),
                color=alt.Color("weight:Q", title="weight", scale=alt.Scale(scheme="blues", domainMin=0.0)),
            )
            .properties(width=220, height=220)
            .facet(facet=alt.Facet("head:N", title=None), columns=min(heads, 4))
        )


def attention_maps(network: Layer, params: Params, X: ArrayLike, *, state: State | None = None) -> AttentionMaps:
    """What each attention layer of a network looks at, row by row, in evaluation mode.

    Parameters
    ----------
    network : Layer
    params : nested dict of arrays, the weights
    X : array (n, ...), as the network takes it; padding as NaN where it begins with Masking
    state : nested dict of arrays, default None
        Running averages, where the network has any.

    Returns
    -------
    AttentionMaps : a map by the name of each layer; `plot()` draws those of a row

    Raises
    ------
    InputError : there is no attention layer, or X does not fit or is not finite.

    Examples
    --------
    >>> from heldout.neural.layers import Dense, Sequential
    >>> network = Sequential(Dense(4), MultiHeadAttention(2, causal=True))
    >>> params, _ = network.init(jax.random.key(0), (3, 1))
    >>> found = attention_maps(network, params, np.ones((5, 3, 1)))
    >>> found
    AttentionMaps(multiheadattention_1 (5, 2, 3, 3))
    >>> found["multiheadattention_1"][0, 0].sum(axis=1).round(5).tolist()
    [1.0, 1.0, 1.0]
    """
    X = np.asarray(X)
    if X.dtype.kind not in "fiu" or X.ndim < 2 or not len(X):
        raise InputError(f"X is rows of numbers (n, ...), not of shape {X.shape} and type {X.dtype}.")
    if np.isinf(X).any() or (np.isnan(X).any() and not reads_padding(network)):
        raise InputError("X holds values that are not finite.")
    network.out_shape(X.shape[1:])
    found = jax.tree.map(np.asarray, _maps(network, params, state or {}, jnp.asarray(X)))
    if not found:
        raise InputError(f"There is no attention layer in {type(network).__name__}: nothing is looked at.")
    return AttentionMaps(found)


@functools.partial(jax.jit, static_argnames="network")
def _maps(network: Layer, params: Params, state: State, x: Any) -> dict[str, Any]:
    return dict(_each(forward(network, params, state, x)))


def _each(node: Node) -> Iterator[tuple[str, Any]]:
    for inner in node.inner.values():
        yield from _each(inner)
    if isinstance(node.layer, MultiHeadAttention):
        yield node.called, node.layer.maps(node.params, node.x, node.mask)
