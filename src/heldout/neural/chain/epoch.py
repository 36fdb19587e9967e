"""An epoch of a chain, by the kernel: what `program.run_epoch` does by XLA."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from heldout.linear.blocks import allowed_threads
from heldout.neural.chain import kernel
from heldout.neural.chain.layout import Layout, aligned
from heldout.neural.chain.links import links_of
from heldout.neural.losses import CrossEntropy, Logistic, SquaredError
from heldout.neural.native.tiles import TALL, WIDE
from heldout.neural.optimizers import Optimizer
from heldout.neural.program import Carried, Outcome, Recipe, Rows, Scaling, Sums, drawn_and_key

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

EVERYBODY = 2**40  # arrivals, more than an epoch has
LOSSES: dict[Any, int] = {
    CrossEntropy: kernel.CROSS_ENTROPY,
    SquaredError: kernel.SQUARED,
    Logistic: kernel.LOGISTIC,
}
RULES: dict[str, tuple[int, str | None, str | None]] = {  # and what Optax calls what is remembered of each weight
    "sgd": (kernel.SGD, None, None),
    "momentum": (kernel.MOMENTUM, "trace", None),
    "nesterov": (kernel.NESTEROV, "trace", None),
    "rmsprop": (kernel.RMSPROP, None, "nu"),
    "adam": (kernel.ADAM, "mu", "nu"),
    "adamw": (kernel.ADAM, "mu", "nu"),
}


def run_chain(
    recipe: Recipe,
    carried: Carried,
    rows: Rows,
    n: int,
    scaling: Scaling | None,
    rates: Array,
    penalties: Array,
    seed: Any,
    number: Any,
) -> Outcome:
    """`len(rates)` steps, from the same arguments as `run_epoch`, on the same mini-batches; dropout draws otherwise."""
    links, size = links_of(recipe.network), recipe.batch_size
    assert links is not None and size is not None, "takes_over() said so"
    layout = Layout(links, carried.params, size)
    parts = min(allowed_threads(), layout.panels, layout.height // TALL)
    drawn, key = drawn_and_key(seed, number, np.int32(n), rows.w.shape[0])
    order = np.argsort(np.asarray(drawn), kind="stable")[:n]
    x = np.asarray(rows.x)
    y = np.asarray(rows.y)
    codes, numbers = (y, np.empty((0, 0), np.float32)) if y.ndim == 1 else (np.empty(0, np.int32), y)
    memory = Memory(recipe.optimizer, carried, layout)
    weights, losses, sums = layout.pack(carried.params), np.zeros(len(rates)), np.zeros(3)
    meeting = np.zeros(4, np.int64)
    arguments: tuple[Any, ...] = (
        meeting,
        _read_only(x if x.dtype in (np.uint8, np.float32) else x.astype(np.float32)),
        _read_only(codes),
        _read_only(numbers),
        _read_only(np.asarray(rows.w)),
        _shift_and_factor(scaling, x.shape[1:]),
        order,
        size,
        np.asarray(rates, np.float64),
        _whole(key),
        layout.layers,
        layout.behind,
        LOSSES[type(recipe.loss)],
        RULES[recipe.optimizer.name][0],
        _settings(recipe, penalties),
        memory.count,
        weights,
        layout.transpose(carried.params),
        memory.first,
        memory.second,
        aligned(parts * layout.height * layout.stride).reshape(parts, -1),
        aligned(2 * layout.rows).reshape(2, -1),
        aligned(layout.rows),
        aligned(parts * kernel.GROUP * TALL * WIDE).reshape(parts, -1),
        np.zeros((3, layout.height)),
        losses,
        sums,
    )
    with ThreadPoolExecutor(parts) as pool:
        try:
            working = [pool.submit(kernel.take_part, part, parts, *arguments) for part in range(parts)]
            wait(working)
        except BaseException:  # an interruption, or no more threads: nobody is left to wait for another
            meeting[[kernel.STOP, kernel.LAST]] = 1
            meeting[kernel.ARRIVED] = EVERYBODY
            raise
    for part in working:
        part.result()
    made = int(meeting[kernel.MADE])
    after = Carried(layout.unpack(weights), carried.state, memory.after(made))
    return Outcome(after, Sums(*sums.tolist()), made, losses)


class Memory:
    """What the optimizer remembers, in the kernel's layout: `first` and `second` of each weight, and the steps made."""

    def __init__(self, optimizer: Optimizer, carried: Carried, layout: Layout) -> None:
        self._layout, self._whole = layout, carried.memory
        self._own = carried.memory[0] if optimizer.weight_decay else carried.memory
        self._names = RULES[optimizer.name][1:]
        self.first, self.second = (
            layout.pack(getattr(self._own, name)) if name else aligned(layout.weights) for name in self._names
        )
        self.count = int(self._own.count) if "count" in self._own._fields else 0

    def after(self, steps: int) -> Any:
        """The same in Optax's terms, `steps` later."""
        kept = zip(self._names, (self.first, self.second), strict=True)
        changed: dict[str, Any] = {name: self._layout.unpack(flat) for name, flat in kept if name}
        if "count" in self._own._fields:
            changed["count"] = jnp.int32(self.count + steps)
        own = self._own._replace(**changed)
        return own if self._own is self._whole else (own, *self._whole[1:])


def _settings(recipe: Recipe, penalties: Array) -> Array:
    own, settings = recipe.optimizer, np.zeros(7)
    settings[kernel.SMOOTHING] = getattr(recipe.loss, "label_smoothing", 0.0)
    settings[kernel.DECAY_1] = own.momentum if own.name in ("momentum", "nesterov") else own.beta_1
    settings[kernel.DECAY_2], settings[kernel.EPSILON] = own.beta_2, own.epsilon
    settings[kernel.L1], settings[kernel.L2] = penalties
    settings[kernel.WEIGHT_DECAY] = own.weight_decay
    return settings


def _shift_and_factor(scaling: Scaling | None, shape: tuple[int, ...]) -> Array:
    if scaling is None:
        return np.empty((2, 0), np.float32)
    return np.stack([np.broadcast_to(np.asarray(part, np.float32), shape) for part in scaling])


def _whole(key: Any) -> int:
    """A key of jax.random as a whole number of 62 bits."""
    high, low = (int(part) for part in jax.random.key_data(key))
    return (high << 30) ^ low


def _read_only(array: Array) -> Array:
    """A view that cannot be written to: one type for the compiler, wherever the array is from."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view
