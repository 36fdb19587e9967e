"""From a PyTorch module to a network with its weights, and back."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from heldout.errors import InputError, MissingExtraError
from heldout.neural.exchange.order import Order, channels_first, channels_last
from heldout.neural.exchange.structure import Sources, nest
from heldout.neural.exchange.tables import Array as Entry
from heldout.neural.exchange.tracing import check_weights, kind_of_module, refused, trace
from heldout.neural.layers import Params, Sequential, Shape, State
from heldout.neural.layers.base import float_type, shape_text

CHECKED = 3  # rows
AGREEMENT = 1e-3  # of the largest output: far above rounding, far below a step that is missing


@dataclass(frozen=True, eq=False)
class Imported:
    """A network that was a PyTorch module, with its weights.

    Attributes
    ----------
    network : Sequential
    params, state : its weights and running statistics
    in_shape : tuple of int
        The shape of one row.

    Called with rows (n, ...), it gives their outputs in evaluation mode as a NumPy array.

    Raises
    ------
    InputError : rows are of a shape that the weights do not fit.
    """

    network: Sequential
    params: Params = field(repr=False)
    state: State = field(repr=False)
    in_shape: Shape
    module: Any = field(repr=False)  # a copy of the module, from which others are made
    sources: Sources = field(repr=False)  # the paths of its modules, nested like `params`

    def __call__(self, X: Any) -> np.ndarray[Any, np.dtype[Any]]:
        x = np.asarray(X)
        if x.ndim == 0 or x.dtype.kind not in "biuf":
            raise InputError("Rows of an imported network are an array of numbers whose first axis is the batch.")
        self._check_row(x.shape[1:])
        return np.asarray(_evaluated(self.network, self.params, self.state, jnp.asarray(x, float_type())))

    def to_torch(self, params: Params | None = None, state: State | None = None) -> Any:
        """The module with new weights; see `heldout.to_torch`."""
        return to_torch(self, params, state)

    def _check_row(self, row: Shape) -> None:
        if row == self.in_shape:
            return
        forms = None
        with contextlib.suppress(InputError):
            forms = jax.eval_shape(lambda key: self.network.init(key, row), jax.random.key(0))
        if forms is None or _shapes(forms) != _shapes((self.params, self.state)):
            raise InputError(
                f"The imported network takes rows of shape {shape_text(self.in_shape)}, not {shape_text(row)}."
            )


@functools.partial(jax.jit, static_argnums=0)
def _evaluated(network: Sequential, params: Params, state: State, x: jax.Array) -> jax.Array:
    return network.apply(params, state, x)[0]


def from_torch(module: Any, in_shape: Shape | None = None) -> Imported:
    """A PyTorch module as a network of heldout's layers, with its weights.

    The module is followed by torch.fx: modules, functions (`F.relu`, `torch.tanh`, `x.softmax(-1)`), reshapes that
    leave the batch alone, sums (`x + f(x)` becomes Residual) and `torch.cat` along the last axis (Parallel). Three
    random rows then go through both, so that whatever was not understood is refused and not carried over wrongly.
    The module is left as it is. Weights are those of `Dense`: `weights` is the transpose of `Linear.weight`.

    ::

        import heldout, torch

        module = torch.nn.Sequential(torch.nn.Linear(784, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
        imported = heldout.from_torch(module)
        imported.network             # Sequential(Dense(units=128, ...), ReLU(), Dense(units=10, ...))
        imported(X)                  # what module.eval() gives, as a NumPy array (n, 10)
        heldout.to_torch(imported)   # a module again

    Parameters
    ----------
    module : torch.nn.Module
        Made of Linear, ReLU, LeakyReLU, ELU, GELU, SiLU, Sigmoid, Tanh, Softmax (last axis), Dropout, BatchNorm1d,
        BatchNorm2d, LayerNorm (last axis), Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d, pooling (max, average and
        adaptive, of one axis or two), Flatten, Unflatten, Identity, and containers of them.
    in_shape : tuple of int, default None
        The shape of one row as the module takes it, without the batch: (1, 28, 28) of images. None: by the first module
        that knows it, (784,) for Linear(784, 128); convolutions and pooling do not.

    Returns
    -------
    Imported
        `network`, `params`, `state`, `in_shape`; float32, or float64 under `jax.enable_x64`. Axes are in the module's
        own order, but for images: where there are convolutions or pooling, channels come last in rows, (28, 28, 1), in
        outputs and in filters (k, k, C, F); weights behind Flatten are put in that order.

    Raises
    ------
    InputError : it is no module; a part has no layer of ours, and is named; weights are shared or have no part in the
        output; the data does not flow in chains, around shortcuts and in parallel branches; the shape of a row cannot
        be told.
    MissingExtraError : PyTorch is not installed.
    """
    torch = _torch()
    if not isinstance(module, torch.nn.Module):
        raise InputError(f"from_torch takes a torch.nn.Module, not {type(module).__name__}.")
    kept, traced = copy.deepcopy(module), copy.deepcopy(module)
    kept.zero_grad(set_to_none=True)
    found = trace(traced, in_shape)
    network, sources = nest(found.steps, found.output)
    check_weights(kept, found.steps)
    params, state = _read(kept, sources)
    in_shape = channels_last(found.in_shape) if found.images else found.in_shape
    imported = Imported(network, params, state, in_shape, kept, sources)
    _compare(torch, traced, imported, found.images)
    return imported


def to_torch(imported: Imported, params: Params | None = None, state: State | None = None) -> Any:
    """The PyTorch module that a network was imported from, with new weights.

    It is a new module with the same names of parameters (`load_state_dict` of one takes the `state_dict` of the
    other), on the same devices and of the same types; gradients are not carried over. What BatchNorm counts in
    `num_batches_tracked` stays as it was.

    ::

        imported = heldout.from_torch(module)
        params, state = ...                       # after training, nested as imported.params and imported.state are
        torch.save(heldout.to_torch(imported, params, state).state_dict(), "weights.pt")

    Parameters
    ----------
    imported : Imported
        What `from_torch` gave.
    params, state : nested dicts of arrays, default None
        Weights and running statistics, shaped as `imported.params` and `imported.state`; None: those themselves.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    InputError : `imported` is none, or the weights are shaped otherwise.
    MissingExtraError : PyTorch is not installed.
    """
    torch = _torch()
    if not isinstance(imported, Imported):
        raise InputError(f"to_torch takes what from_torch gave, not {type(imported).__name__}.")
    given = (imported.params if params is None else params, imported.state if state is None else state)
    if _shapes(given) != _shapes((imported.params, imported.state)):
        raise InputError("to_torch got weights that are not shaped as those of the imported network.")
    module = copy.deepcopy(imported.module)
    for entry, inner, order, tree in _arrays(module, imported.sources, *given):
        values = np.asarray(tree[entry.ours])
        if entry.follows and order is not None:
            values = values[np.argsort(order)]
        if entry.axes is not None:
            values = values.transpose(np.argsort(entry.axes))
        tensor = getattr(inner, entry.theirs)
        tensor.data = torch.tensor(values, dtype=tensor.dtype, device=tensor.device)
    return module


def _torch() -> Any:
    try:
        import torch
        import torch.fx
    except ImportError as error:
        raise MissingExtraError(
            "from_torch and to_torch need the extra 'torch': pip install 'heldout[torch]'."
        ) from error
    return torch


def _read(module: Any, sources: Sources) -> tuple[Params, State]:
    """The arrays of a module, as params and state of the network that it became."""
    params: Params = {}
    state: State = {}
    if isinstance(sources, dict):
        for name, inner in sources.items():
            own, kept = _read(module, inner)
            params |= {name: own} if own else {}
            state |= {name: kept} if kept else {}
    elif sources is not None and (kind := kind_of_module(inner := module.get_submodule(sources.module))) is not None:
        params = {entry.ours: _array(inner, entry, sources.order) for entry in kind.params if _has(inner, entry)}
        state = {entry.ours: _array(inner, entry, sources.order) for entry in kind.state}
    return params, state


def _array(module: Any, entry: Entry, order: Order) -> jax.Array:
    values = getattr(module, entry.theirs).detach().cpu().double().numpy()
    if entry.axes is not None:
        values = values.transpose(entry.axes)
    return jnp.array(values if order is None or not entry.follows else values[list(order)], float_type())


def _has(module: Any, entry: Entry) -> bool:
    return getattr(module, entry.theirs) is not None


def _arrays(
    module: Any, sources: Sources, params: Params, state: State
) -> Iterator[tuple[Entry, Any, Order, dict[str, Any]]]:
    """Every array that goes back: its entry, its module, the order of its rows, and the dict that holds ours."""
    if isinstance(sources, dict):
        for name, inner in sources.items():
            yield from _arrays(module, inner, params.get(name, {}), state.get(name, {}))
    elif sources is not None and (kind := kind_of_module(inner := module.get_submodule(sources.module))) is not None:
        yield from ((entry, inner, sources.order, params) for entry in kind.params if _has(inner, entry))
        yield from ((entry, inner, sources.order, state) for entry in kind.state)


def _shapes(tree: Any) -> Any:
    return jax.tree.map(np.shape, tree)


def _compare(torch: Any, module: Any, imported: Imported, images: bool) -> None:
    """InputError where a module, in evaluation mode, and the network differ on a few random rows."""
    rows = np.random.default_rng(0).normal(size=(CHECKED, *imported.in_shape)).astype(float_type())
    like = next(iter(module.parameters()), torch.empty(0))
    with torch.no_grad():
        try:
            theirs = np.ascontiguousarray(np.moveaxis(rows, -1, 1)) if images else rows
            given = torch.tensor(theirs, device=like.device)
            expected = module.to(given.dtype)(given).cpu().numpy()
            expected = np.moveaxis(expected, 1, -1) if images else expected
        except (RuntimeError, ValueError, IndexError, AssertionError) as error:
            text = (str(error).strip().splitlines() or ["no reason given"])[0].rstrip(".")
            shape = channels_first(imported.in_shape) if images else imported.in_shape
            raise InputError(
                f"The module does not take rows of shape {shape_text(shape)} ({text}): say their shape, as in "
                "in_shape=(784,)."
            ) from error
    found = imported(rows)
    size = np.abs(expected).max(initial=0.0)
    if found.shape != expected.shape or not np.allclose(found, expected, 0.0, AGREEMENT * size, equal_nan=True):
        raise refused(
            f"'{type(module).__name__}'",
            "what it computes differs from its layers in their order; it may change a value in place "
            "(+=, inplace=True) that it uses again",
        )
