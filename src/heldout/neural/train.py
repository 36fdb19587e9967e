"""Training: the loop over epochs. Each epoch is one compiled program (program.py); what is decided is decided here."""

from __future__ import annotations

import functools
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from heldout.errors import InputError, WorkError
from heldout.neural.chain.links import takes_over
from heldout.neural.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from heldout.neural.failure import Failure, find_failure
from heldout.neural.history import BETTER_HIGH, Epoch, History
from heldout.neural.layers.base import Layer, Params, State
from heldout.neural.losses import Loss
from heldout.neural.optimizers import Optimizer
from heldout.neural.program import (
    Carried,
    Outcome,
    Recipe,
    Rows,
    Scaling,
    Sums,
    judge,
    memory_of,
    order_of,
    run_epoch,
    starts_of,
)
from heldout.neural.schedules import Constant, Plateau, Schedule
from heldout.neural.source import Source

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Step: TypeAlias = Callable[[str, int, int], None]  # what is shown: a title, how much is done, of how much

GRAIN = 32  # steps


@dataclass(frozen=True)
class Plan:
    """How a network is trained.

    Parameters
    ----------
    loss : Loss
    metric : str, told beside the loss
    optimizer, schedule : the direction of a step, and its length over time
    learning_rate : float above 0, the highest
    batch_size, max_epochs : int above 0
    passes : int above 0: over the rows, that make an epoch; more where a single one is too short to be judged
    patience : int above 0, or None: how many epochs without an improvement above `tol` end the training
    tol : float, not negative
    l1, l2 : float, not negative: l1 Σ|W| + l2/2 Σ W² is added to the loss, over weight matrices
    seed : int, not negative: of the order of rows and what layers draw
    chunk_rows : int above 0, or None: rows on the device at a time
    metric_unit : float above 0: what a metric of 1 is in the target's unit
    mixup : float, not negative: the α of mixup; 0 mixes nothing
    window : int above 0, or None: rows are the steps of one long sequence, and mini-batches are made of windows of so
        many steps, which begin anywhere
    steps : int above 0, or None: of an epoch; None: as many as the passes over the rows make
    block : int above 0, or None: rows judged at once; None: by their size
    """

    loss: Loss
    metric: str
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Constant)
    learning_rate: float = 1e-3
    batch_size: int = 64
    max_epochs: int = 100
    passes: int = 1
    patience: int | None = 10
    tol: float = 1e-4
    l1: float = 0.0
    l2: float = 0.0
    seed: int = 0
    chunk_rows: int | None = None
    metric_unit: float = 1.0
    mixup: float = 0.0
    window: int | None = None
    steps: int | None = None
    block: int | None = None


class Callback(Protocol):
    """What is told of each epoch; where it returns True, the training ends."""

    def on_epoch_end(self, epoch: Epoch) -> bool | None: ...


@dataclass(frozen=True, eq=False)
class Trained:
    """The outcome: the weights that were kept, what the optimizer remembers at the end, and the course."""

    params: Params
    state: State
    last: Carried
    history: History


@dataclass
class Course:
    """All that epochs change: what a checkpoint stores."""

    carried: Carried
    best: tuple[Params, State]
    best_loss: float = math.inf
    best_epoch: int = 0
    waited: int = 0  # epochs without an improvement
    lowered: float = 1.0  # what plateaus have left of the learning rate
    waited_at_plateau: int = 0
    epochs: list[Epoch] = field(default_factory=list)


def train(
    network: Layer,
    start: Carried,
    rows: Rows,
    plan: Plan,
    *,
    scaling: Scaling | None = None,
    validation: Rows | None = None,
    device: Any = None,
    callbacks: Sequence[Callback] = (),
    step: Step | None = None,
    checkpoint: str | Path | None = None,
    resume: str | Path | None = None,
) -> Trained:
    """Train `network` from `start` on `rows`, and keep the weights of the best epoch.

    The best epoch is that of the lowest loss on `validation`, where it is given; otherwise the last one. An
    interruption (Ctrl-C) ends the training with a warning, and what was best so far is kept; before the first epoch is
    over there is nothing to keep, and it is raised.

    Raises
    ------
    InputError : `resume` is a checkpoint of another training.
    WorkError : the loss was not finite before a single epoch was over.
    """
    device = device or jax.devices()[0]
    source = Source.of(rows, device, plan.chunk_rows, fill=not (network.joins_rows or plan.mixup))
    held = None if validation is None else Source.of(validation, device, plan.chunk_rows)
    scaling = jax.device_put(scaling, device)
    course = Course(jax.device_put(start, device), (start.params, start.state))
    digest = None
    if checkpoint is not None or resume is not None:
        digest = Checkpoint.digest_of(network, plan, rows, validation)
    if resume is not None:
        course = load_checkpoint(resume, digest, course)
    trainer = Trainer(network, plan, source, held, scaling)
    if step is not None:
        step("compiling (longest the first time)", len(course.epochs), plan.max_epochs)
    stopped = f"all {plan.max_epochs} epochs were made."
    try:
        while len(course.epochs) < plan.max_epochs:
            failure = trainer.epoch(course)
            if failure is not None:
                stopped = _broken_off(failure, course)
                break
            done = course.epochs[-1]
            if step is not None:
                step(_title(done, plan), done.epoch, plan.max_epochs)
            asked = [callback.on_epoch_end(done) for callback in callbacks]
            if plan.patience is not None and course.waited >= plan.patience:
                stopped = f"no improvement for {plan.patience} epochs."
                break
            if any(asked):
                stopped = "a callback asked for it."
                break
            if checkpoint is not None:
                save_checkpoint(checkpoint, digest, course)
    except KeyboardInterrupt:
        if not course.epochs:
            raise
        stopped = f"interrupted after {len(course.epochs)} epochs."
        warnings.warn(
            f"Training was {stopped[:-1]}; the best weights so far are kept.", ConvergenceWarning, stacklevel=3
        )
    if checkpoint is not None and course.epochs:
        save_checkpoint(checkpoint, digest, course)
    history = History.of(course.epochs, plan.metric, course.best_epoch, stopped)
    return Trained(*course.best, course.carried, history)


@dataclass(frozen=True, eq=False)
class Trainer:
    """What stays the same from epoch to epoch."""

    network: Layer
    plan: Plan
    source: Source
    held: Source | None
    scaling: Scaling | None

    def epoch(self, course: Course) -> Failure | None:
        """One epoch: steps on all rows, a look at the validation rows, and what follows from it."""
        began, number = time.perf_counter(), len(course.epochs)
        before, sums, done = course.carried, _no_sums(), 0
        rates = self.rates(number, course.lowered)
        for part, (chunk, n) in enumerate(self.source.chunks(self.plan.seed, number)):
            steps = self.steps_for(n)
            start, tag = course.carried, number * len(self.source.chunk_sizes()) + part
            outcome = self.run(start, chunk, n, rates[done : done + steps], steps, tag)
            if int(outcome.steps) < steps or not math.isfinite(float(outcome.losses[steps - 1])):
                course.carried = before
                return find_failure(self, start, chunk, n, rates[done : done + steps], outcome, tag, done)
            course.carried, done = outcome.carried, done + steps
            sums = Sums(*(a + float(b) for a, b in zip(sums, outcome.sums, strict=True)))
        told = _means(sums, self.plan), self.judged(course.carried)
        values = (told[0][0], told[1][0], told[0][1], told[1][1])
        if self.held is not None and not math.isfinite(told[1][0]):
            course.carried = before
            return Failure.in_validation(number)
        course.epochs.append(Epoch(number + 1, *values, float(rates[-1]), time.perf_counter() - began))
        self.decide(course)
        return None

    def run(self, start: Carried, chunk: Rows, n: int, rates: Array, steps: int, tag: int) -> Outcome:
        """Steps on one chunk of n rows, as compiled."""
        plan = self.plan
        size = None if plan.batch_size >= n and plan.window is None else plan.batch_size
        penalised = plan.l1 > 0.0 or plan.l2 > 0.0
        recipe = Recipe(self.network, plan.loss, plan.metric, plan.optimizer, size, penalised, plan.mixup, plan.window)
        dtype, seed, number = chunk.w.dtype, np.uint32(plan.seed), np.int32(tag)
        if takes_over(recipe, start.params, chunk):
            from heldout.neural.chain.epoch import run_chain  # Numba is imported where it is needed

            penalties = np.array([plan.l1, plan.l2])
            return run_chain(recipe, start, chunk, n, self.scaling, rates[:steps], penalties, seed, number)
        order, count = self.order(chunk, n, tag)
        rates = np.concatenate([rates, np.zeros(-len(rates) % GRAIN)])  # few lengths are compiled for
        penalties = np.array([plan.l1, plan.l2], dtype)
        outcome: Outcome = run_epoch(
            recipe,
            start,
            chunk,
            np.int32(count),
            order,
            self.scaling,
            rates.astype(dtype),
            penalties,
            np.int32(steps),
            seed,
            number,
        )
        return outcome

    def order(self, chunk: Rows, n: int, tag: int) -> tuple[Any, int]:
        """The order in which steps take a chunk's n rows (None: all at once), or where windows begin; its length."""
        plan, drawn_by = self.plan, (np.uint32(self.plan.seed), np.int32(tag))
        if plan.window is not None:
            count = self.steps_for(n) * plan.batch_size
            return starts_of(*drawn_by, np.int32(n - plan.window + 1), count), count
        return (None if plan.batch_size >= n else order_of(*drawn_by, np.int32(n), len(chunk.w))), n

    def steps_for(self, n: int) -> int:
        """How many steps an epoch makes on a chunk of n rows."""
        return self.plan.steps or self.plan.passes * -(-n // self.plan.batch_size)

    def steps_per_epoch(self) -> int:
        return sum(map(self.steps_for, self.source.chunk_sizes()))

    def rates(self, number: int, lowered: float) -> Array:
        """The learning rates of an epoch's steps."""
        per_epoch = self.steps_per_epoch()
        at = np.arange(number * per_epoch, (number + 1) * per_epoch, dtype=np.float64)
        return self.plan.learning_rate * lowered * self.plan.schedule(at, self.plan.max_epochs * per_epoch)

    def judged(self, carried: Carried) -> tuple[float, float]:
        """Loss and metric of the validation rows."""
        if self.held is None:
            return math.nan, math.nan
        sums = _no_sums()
        for chunk, _ in self.held.chunks(None):
            new = judge(
                self.network,
                self.plan.loss,
                self.plan.metric,
                carried.params,
                carried.state,
                chunk,
                self.scaling,
                self.plan.block,
            )
            sums = Sums(*(a + float(b) for a, b in zip(sums, new, strict=True)))
        return _means(sums, self.plan)

    def decide(self, course: Course) -> None:
        """Whether this epoch is the best, and whether the rate falls."""
        epoch = course.epochs[-1]
        watched = epoch.train_loss if self.held is None else epoch.validation_loss
        better = watched < course.best_loss - self.plan.tol
        course.waited = 0 if better else course.waited + 1
        course.waited_at_plateau = 0 if better else course.waited_at_plateau + 1
        if self.held is None or watched < course.best_loss:
            course.best, course.best_epoch = (course.carried.params, course.carried.state), epoch.epoch
        course.best_loss = min(course.best_loss, watched)
        schedule = self.plan.schedule
        if isinstance(schedule, Plateau) and course.waited_at_plateau >= schedule.patience:
            course.lowered, course.waited_at_plateau = course.lowered * schedule.decay, 0


def _no_sums() -> Sums:
    return Sums(0.0, 0.0, 0.0)


def _means(sums: Sums, plan: Plan) -> tuple[float, float]:
    """The mean loss and metric; of squared errors the root, in the target's unit."""
    weight = max(float(sums.weight), 1e-300)
    loss, metric = float(sums.loss) / weight, float(sums.metric) / weight
    if plan.metric not in BETTER_HIGH:
        metric = math.sqrt(max(metric, 0.0)) * plan.metric_unit
    return loss, metric


def _title(epoch: Epoch, plan: Plan) -> str:
    loss, told = ("train", epoch.train_loss) if math.isnan(epoch.validation_loss) else ("val.", epoch.validation_loss)
    where = f"step {epoch.epoch * plan.steps:,}" if plan.steps else f"epoch {epoch.epoch}"
    return f"{where}: {loss} loss {told:.4g}"


def _broken_off(failure: Failure, course: Course) -> str:
    """A sentence for the history; the warning, or the error where nothing was learned."""
    if not course.epochs:
        raise WorkError(f"{failure} There are no weights to keep.")
    kept = f"The weights of epoch {course.best_epoch} are kept."
    warnings.warn(f"{failure} {kept}", ConvergenceWarning, stacklevel=4)
    return str(failure)


@dataclass(frozen=True, eq=False)
class RangeTest:
    """The loss while the learning rate rises step by step.

    Attributes
    ----------
    rates, losses : float64 arrays (steps,): the rate of a step, and the mean loss of its mini-batch before it
    suggested : float, a tenth of the rate where the smoothed loss is lowest
    """

    rates: Array
    losses: Array
    suggested: float

    def __str__(self) -> str:
        low = self.suggested * 10.0
        return f"The loss falls up to a learning rate of about {low:.2g}; take {self.suggested:.2g}."

    __repr__ = __str__

    def plot(self) -> Any:
        """An Altair chart of the loss against the learning rate, with a rule at the suggested one."""
        import altair as alt

        points = [
            {"rate": rate, "loss": loss}
            for rate, loss in zip(self.rates.tolist(), self.losses.tolist(), strict=True)
            if math.isfinite(loss) and loss < 4.0 * self.losses[0]
        ]
        line = (
            alt.Chart(alt.Data(values=points), title="Learning rate range test")
            .mark_line(color="#2f6fb0")
            .encode(
                x=alt.X("rate:Q", title="learning rate", scale=alt.Scale(type="log")),
                y=alt.Y("loss:Q", title="loss of the mini-batch", scale=alt.Scale(zero=False)),
            )
        )
        rule = alt.Chart(alt.Data(values=[{"rate": self.suggested}])).mark_rule(strokeDash=[4, 4]).encode(x="rate:Q")
        return (line + rule).properties(width=440, height=280)


def range_test(
    network: Layer,
    start: Carried,
    rows: Rows,
    plan: Plan,
    *,
    scaling: Scaling | None,
    device: Any,
    low: float,
    high: float,
    steps: int,
) -> RangeTest:
    """Steps with rates from `low` to `high`, evenly spaced on a logarithmic scale (Smith 2017, section 3.3)."""
    if not 0.0 < low < high < math.inf or steps < 10:
        raise InputError(f"A range test needs 0 < low < high and 10 steps or more, not {low!r}, {high!r}, {steps!r}.")
    source = Source.of(rows, device, plan.chunk_rows, fill=not (network.joins_rows or plan.mixup))
    chunk, n = next(iter(source.chunks(plan.seed)))
    trainer = Trainer(network, replace(plan, schedule=Constant()), source, None, jax.device_put(scaling, device))
    rates = np.geomspace(low, high, steps)
    outcome = trainer.run(jax.device_put(start, device), chunk, n, rates, steps, 0)
    losses = np.where(np.arange(steps) < int(outcome.steps), np.asarray(outcome.losses, np.float64)[:steps], np.inf)
    return RangeTest(rates, losses, float(rates[_lowest(losses)] / 10.0))


def _lowest(losses: Array) -> int:
    """Where the loss is lowest, smoothed over a twentieth of the steps to each side."""
    width = max(len(losses) // 20, 1)
    ranges = [losses[max(i - width, 0) : i + width + 1] for i in range(len(losses))]
    return int(np.argmin([np.mean(part) for part in ranges]))


def fresh(network: Layer, in_shape: tuple[int, ...], optimizer: Optimizer, seed: int) -> Carried:
    """Initial weights and an optimizer that remembers nothing."""
    carried: Carried = _begin(network, tuple(in_shape), optimizer, np.uint32(seed))
    return carried


@functools.partial(
    jax.jit,
    static_argnames=("network", "in_shape", "optimizer"),
    compiler_options={"xla_backend_optimization_level": 0},  # it runs once
)
def _begin(network: Layer, in_shape: tuple[int, ...], optimizer: Optimizer, seed: jax.Array) -> Carried:
    params, state = network.init(jax.random.key(seed), in_shape)
    return Carried(params, state, memory_of(optimizer, params))


def as_type(carried: Carried, dtype: Any) -> Carried:
    """The same with floating numbers of another type."""
    return jax.tree.map(  # type: ignore[no-any-return]
        lambda leaf: jnp.asarray(leaf, dtype) if jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.floating) else leaf,
        carried,
    )
