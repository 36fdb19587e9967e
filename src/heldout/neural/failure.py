"""A loss that is not a number any more: at which step, in which layer, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from heldout.neural.layers.attention import Embedding
from heldout.neural.layers.base import Array, Key, Layer, Mask, Params, State
from heldout.neural.layers.containers import Sequential
from heldout.neural.program import Carried, Outcome, Rows, batch_at, batch_of, keys_of, read
from heldout.words import number

if TYPE_CHECKING:
    from heldout.neural.train import Trainer

LARGE = 1e4  # of an input that was hardly standardised


@dataclass(frozen=True)
class Failure:
    """Where a training broke off: its step, counted from 1 over all epochs, its layer, and the likely cause."""

    step: int
    layer: str | None
    cause: str

    def __str__(self) -> str:
        where = f", first in layer {self.layer}" if self.layer else ""
        return f"Training broke off: at step {self.step} the loss was no finite number{where}. {self.cause}"

    @classmethod
    def in_validation(cls, epoch: int) -> Failure:
        """The validation rows alone gave a loss that is not finite."""
        return cls(
            epoch + 1,
            None,
            "It was that of the validation rows, after the epoch of this number: they hold values far from those of "
            "the training rows, or the weights have grown; lower learning_rate, and look at the validation rows.",
        )


def find_failure(
    trainer: Trainer, start: Carried, chunk: Rows, n: int, rates: Any, outcome: Outcome, tag: int, done: int
) -> Failure:
    """The epoch once more up to the step before the last, and there layer by layer."""
    plan, made = trainer.plan, int(outcome.steps)
    broken = made - 1  # the step whose loss is not finite, counted from 0 in this chunk
    before = trainer.run(start, chunk, n, rates, broken, tag).carried
    order, count = trainer.order(chunk, n, tag)
    taken = None if order is None else batch_of(order, np.int32(broken), plan.batch_size, count)
    batch = chunk if taken is None else batch_at(chunk, taken, plan.window)
    for_layers = keys_of(np.uint32(plan.seed), np.int32(tag))[1]
    key = jax.random.fold_in(for_layers, broken) if trainer.network.random else None
    x = read(batch.x, trainer.scaling, batch.w.dtype)
    epoch = tag // len(trainer.source.chunk_sizes())
    total = epoch * trainer.steps_per_epoch() + done + broken + 1
    if bool(jnp.isinf(x).any()):  # what is no number is padding
        return Failure(total, None, "The inputs hold values too large for their type: rescale them.")
    layer = _first_infinite_weights(trainer.network, before.params) or _first_infinite_output(
        trainer.network, before.params, before.state, x, key
    )
    losses = np.asarray(outcome.losses[: max(broken, 1)], np.float64)
    rate = float(rates[min(broken, len(rates) - 1)])
    largest = float(jnp.nanmax(jnp.abs(x)))
    if largest > LARGE and not takes_codes(trainer.network):
        return Failure(total, layer, f"Inputs are as large as {number(largest)}: standardise them.")
    course = f"the mini-batches' loss went from {number(float(losses[0]))} to {number(float(losses[-1]))} before it"
    advice = f"The learning rate of {rate:.3g} is likely too high ({course}): lower it, or set clip_norm."
    return Failure(total, layer, advice)


def takes_codes(network: Layer) -> bool:
    """Whether inputs are codes, whose size means nothing."""
    return isinstance(network, Sequential) and isinstance(network.layers[0], Embedding)


def _first_infinite_weights(network: Layer, params: Params) -> str | None:
    names = network.names if isinstance(network, Sequential) else tuple(params)
    for name in names:
        leaves = jax.tree.leaves(params.get(name, {}))
        if not all(bool(jnp.isfinite(leaf).all()) for leaf in leaves):
            return str(name)
    return None


def _first_infinite_output(
    network: Layer, params: Params, state: State, x: Array, key: Key, mask: Mask = None
) -> str | None:
    """The first layer of the chain whose output in training mode is not finite; the last where all are."""
    if not isinstance(network, Sequential):
        return None
    for i, (name, layer) in enumerate(zip(network.names, network.layers, strict=True)):
        own = jax.random.fold_in(key, i) if layer.random and key is not None else None
        given = params.get(name, {}), state.get(name, {}), x
        before = mask
        x, _, mask = layer.apply_masked(*given, mask, train=True, key=own)
        if not bool(jnp.isfinite(x).all()):
            inner = _first_infinite_output(layer, *given, own, before)
            return f"{name}.{inner}" if inner else name
    return network.names[-1]
