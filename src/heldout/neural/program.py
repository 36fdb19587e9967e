"""What is compiled: an epoch of optimizer steps as one program, and the passes that judge and predict.

Everything that may change from fit to fit without compiling anew comes as an argument: rates, penalties, how many
steps, the seed, and how many of the rows count, so that few rows may be filled up to a usual number. What a program is
compiled for is in its `Recipe` and in the arrays' shapes.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from heldout.neural.layers.base import Array, Key, Layer, Params, Shape, State
from heldout.neural.losses import Loss
from heldout.neural.metrics import METRICS
from heldout.neural.optimizers import Optimizer, are_matrices

BLOCK = 2**18  # numbers a block of rows may hold where rows are only judged or predicted
LEAST_BLOCK, MOST_BLOCK = 64, 4096  # rows
MIXING = 2**31 - 1  # what mixup's key is told by from those of the layers


@dataclass(frozen=True)
class Recipe:
    """What an epoch is compiled for. `batch_size` None: each step takes all rows. `window`: see `Plan`."""

    network: Layer
    loss: Loss
    metric: str
    optimizer: Optimizer
    batch_size: int | None
    penalised: bool
    mixup: float = 0.0
    window: int | None = None

    @property
    def random(self) -> bool:
        """Whether a step draws random numbers."""
        return self.network.random or self.mixup > 0.0


class Rows(NamedTuple):
    """Inputs (n, ...) of any numeric type, targets (n, ...), weights (n,) of mean 1; or 0 where a row only fills up."""

    x: Any
    y: Any
    w: Any


class Scaling(NamedTuple):
    """Inputs are read as (x - shift) · factor."""

    shift: Any
    factor: Any


class Carried(NamedTuple):
    """What one step hands to the next."""

    params: Params
    state: State
    memory: Any  # the optimizer's


class Sums(NamedTuple):
    """Over rows: weighted losses, weighted metric, weights."""

    loss: Any
    metric: Any
    weight: Any


class Outcome(NamedTuple):
    """Some steps: what they leave, their sums in training mode, how many were made, and each one's mean loss.

    The last loss is not finite where they broke off.
    """

    carried: Carried
    sums: Sums
    steps: Any
    losses: Any


def read(x: Array, scaling: Scaling | None, dtype: Any) -> Array:
    """Inputs as the network gets them."""
    x = x.astype(dtype)
    return x if scaling is None else (x - scaling.shift) * scaling.factor


def batch_loss(
    recipe: Recipe, params: Params, state: State, rows: Rows, count: Any, scaling: Scaling | None, key: Key
) -> tuple[Array, tuple[State, Sums]]:
    """The mean loss of a mini-batch of `count` rows in training mode; beside it the state after it, and the sums."""
    x, pairs = read(rows.x, scaling, rows.w.dtype), [(rows.y, rows.w)]
    if recipe.mixup:
        x, pairs = mixed(recipe.mixup, jax.random.fold_in(key, MIXING), x, rows)
    outputs, after = recipe.network.apply(params, state, x, train=True, key=key)
    sums = sums_of(recipe, outputs, *pairs[0])
    for pair in pairs[1:]:
        sums = Sums(*(a + b for a, b in zip(sums, sums_of(recipe, outputs, *pair), strict=True)))
    return sums.loss / count, (after, sums)


def sums_of(recipe: Recipe, outputs: Array, y: Array, w: Array) -> Sums:
    """The sums of outputs with these targets and weights."""
    losses, metric = recipe.loss(outputs, y), METRICS[recipe.metric](outputs, y)
    return Sums((losses * w).sum(), (metric * w).sum(), w.sum())


def mixed(alpha: float, key: Key, x: Array, rows: Rows) -> tuple[Array, list[tuple[Array, Array]]]:
    r"""Each row mixed with another one, and the two pairs of targets and weights that they then have.

    .. math::
        \tilde x_i = \lambda x_i + (1 - \lambda) x_j, \qquad \lambda \sim \text{Beta}(\alpha, \alpha), \qquad
        L = \sum_i \lambda w_i L(f(\tilde x_i), y_i) + (1 - \lambda) w_j L(f(\tilde x_i), y_j)

    for one λ and a random order j of the mini-batch's rows. All targets keep their weights, and any loss will do: with
    cross-entropy it is that of mixed targets. H. Zhang and others, mixup, ICLR 2018, equation 2.
    """
    for_share, for_order = jax.random.split(key)
    share = jax.random.beta(for_share, alpha, alpha, dtype=x.dtype)
    other = jax.random.permutation(for_order, len(x))
    paired = rows_at(rows, other)
    pairs = [(rows.y, share * rows.w), (paired.y, (1 - share) * paired.w)]
    return share * x + (1 - share) * x[other], pairs


def penalised(gradients: Params, params: Params, penalties: Array) -> Params:
    """The gradients of the loss and of l1 Σ|W| + l2/2 Σ W², over all weight matrices W."""
    changed: Params = jax.tree.map(
        lambda g, p, matrix: g + penalties[0] * jnp.sign(p) + penalties[1] * p if matrix else g,
        gradients,
        params,
        are_matrices(params),
    )
    return changed


class Going(NamedTuple):
    """What the loop over the steps carries."""

    step: Array
    loss: Array
    carried: Carried
    sums: Sums
    losses: Array


def keys_of(seed: Any, number: Any) -> tuple[Key, Key]:
    """An epoch's two keys: of the order of its rows, and of what its layers draw."""
    for_order, for_layers = jax.random.split(jax.random.fold_in(jax.random.key(seed), number))
    return for_order, for_layers


@functools.partial(jax.jit, static_argnames=("capacity",))
def drawn_and_key(seed: Any, number: Any, n: Any, capacity: int) -> tuple[Array, Key]:
    """The numbers whose order is that in which an epoch takes its n rows, and the key of what layers draw.

    Those of rows behind the n are the highest.
    """
    for_order, for_layers = keys_of(seed, number)
    drawn = jax.random.bits(for_order, (capacity,), jnp.uint32) >> 1
    return jnp.where(jnp.arange(capacity) < n, drawn, jnp.uint32(2**32 - 1)), for_layers


@functools.partial(jax.jit, static_argnames=("capacity",))
def order_of(seed: Any, number: Any, n: Any, capacity: int) -> Array:
    """The order in which an epoch takes its n rows; those behind them come last.

    A program of its own: it depends on no network, and is a third of what compiling a small one's epoch would take.
    """
    return jnp.argsort(drawn_and_key(seed, number, n, capacity)[0])


@functools.partial(
    jax.jit,
    static_argnames=("count",),
    compiler_options={"xla_backend_optimization_level": 0},  # compiling it takes longer than all its runs
)
def starts_of(seed: Any, number: Any, n: Any, count: int) -> Array:
    """Where the windows of an epoch begin: `count` of n places, each drawn by itself."""
    return jax.random.randint(keys_of(seed, number)[0], (count,), 0, n)


def batch_of(order: Array, i: Any, size: int, n: Any) -> Array:
    """The rows of mini-batch `i`; the last one is filled up from the first."""
    return order[(i * size + jnp.arange(size)) % n]


def rows_at(rows: Rows, taken: Array) -> Rows:
    """Some of the rows, by numbers that are known to be in range, which is a little quicker."""
    return Rows(*(values.at[taken].get(mode="promise_in_bounds") for values in rows))


def batch_at(rows: Rows, taken: Array, window: int | None) -> Rows:
    """A mini-batch: these rows, or the windows that begin at them (size, window)."""
    if window is None:
        return rows_at(rows, taken)
    steps = taken[:, None] + jnp.arange(window)
    return Rows(*rows_at(rows, steps)[:2], jnp.ones(len(taken), rows.w.dtype))


@functools.partial(jax.jit, static_argnames=("recipe",))
def run_epoch(
    recipe: Recipe,
    carried: Carried,
    rows: Rows,
    n: Array,
    order: Array | None,
    scaling: Scaling | None,
    rates: Array,
    penalties: Array,
    steps: Array,
    seed: Array,
    number: Array,
) -> Outcome:
    """`steps` optimizer steps on mini-batches of the first `n` of `rows`, in their `order` (None: steps take all rows).

    Where the batch size does not divide the rows, the last batch is filled up from the first. Of windows, `order` is
    where they begin, and `n` their number. Breaks off at the first loss that is not finite. `number` is that of the
    epoch: with the same seed and number, layers draw the same.
    """
    size = recipe.batch_size
    for_layers = keys_of(seed, number)[1] if recipe.random else None
    gradient = jax.value_and_grad(functools.partial(batch_loss, recipe), has_aux=True)

    def step(at: Going) -> Going:
        i, _, now, sums, losses = at
        batch = rows if size is None or order is None else batch_at(rows, batch_of(order, i, size, n), recipe.window)
        count = n if size is None else size
        drawn = None if for_layers is None else jax.random.fold_in(for_layers, i)
        (loss, (state, new)), gradients = gradient(now.params, now.state, batch, count, scaling, drawn)
        if recipe.penalised:
            gradients = penalised(gradients, now.params, penalties)
        params, memory = recipe.optimizer.descended(gradients, now.memory, now.params, rates[i])
        sums = Sums(*(a + b for a, b in zip(sums, new, strict=True)))
        return Going(i + 1, loss, Carried(params, state, memory), sums, losses.at[i].set(loss))

    zero = jnp.zeros((), rows.w.dtype)
    start = Going(jnp.zeros((), jnp.int32), zero, carried, Sums(zero, zero, zero), jnp.zeros_like(rates))
    end = jax.lax.while_loop(lambda at: (at.step < steps) & jnp.isfinite(at.loss), step, start)
    return Outcome(end.carried, end.sums, end.step, end.losses)


def memory_of(optimizer: Optimizer, params: Params) -> optax.OptState:
    """What the optimizer remembers before the first step."""
    return optimizer.transformation().init(params)


def block_rows(shape: Shape, n: int) -> int:
    """How many rows are judged or predicted at once."""
    numbers = max(1, functools.reduce(lambda a, b: a * b, shape, 1))
    most = min(max(BLOCK // numbers, LEAST_BLOCK), MOST_BLOCK)
    return min(most, max(n, 1))


@functools.partial(jax.jit, static_argnames=("network", "loss", "metric", "block"))
def judge(
    network: Layer,
    loss: Loss,
    metric: str,
    params: Params,
    state: State,
    rows: Rows,
    scaling: Scaling | None,
    block: int | None = None,
) -> Sums:
    """The sums over `rows` in evaluation mode, so many at once (None: by the size of a row)."""
    n = rows.w.shape[0]
    size = min(block, n) if block else block_rows(rows.x.shape[1:], n)

    def add(i: Array, sums: Sums) -> Sums:
        at = i * size + jnp.arange(size)
        block = rows_at(rows, jnp.minimum(at, n - 1))
        outputs, _ = network.apply(params, state, read(block.x, scaling, rows.w.dtype))
        w = jnp.where(at < n, block.w, 0.0)
        new = ((loss(outputs, block.y) * w).sum(), (METRICS[metric](outputs, block.y) * w).sum(), w.sum())
        return Sums(*(a + b for a, b in zip(sums, new, strict=True)))

    zero = jnp.zeros((), rows.w.dtype)
    sums: Sums = jax.lax.fori_loop(0, -(-n // size), add, Sums(zero, zero, zero))
    return sums


@functools.partial(jax.jit, static_argnames=("network", "dtype"))
def outputs_of(network: Layer, dtype: str, params: Params, state: State, x: Array, scaling: Scaling | None) -> Array:
    """The outputs of a block of rows in evaluation mode."""
    return network.apply(params, state, read(x, scaling, jnp.dtype(dtype)))[0]
