"""Are a layer's gradients right? They are held against central differences in double precision."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from numpy.typing import ArrayLike

from heldout.errors import InputError
from heldout.neural.backprop import checked_targets
from heldout.neural.layers.base import Key, Layer, Shape, State, shape_text
from heldout.neural.losses import Loss, loss_of
from heldout.neural.recursion import backward, dotted, forward
from heldout.printed import Printed, Sheet

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

WHOLE = 24  # numbers up to which an array is checked at every place
PLACES, DIRECTIONS = 4, 4  # of larger arrays: places by each of three orders and at random; random directions
STEPS = (1e-3, 1e-4, 1e-5, 1e-6)  # the first at which two differences agree is taken
JITTER = 0.1  # standard deviation of what is added to fresh weights, so that no scale is 1 and no bias 0
SMALL = 1e-3  # arrays whose gradients are below this share of the largest are judged by that


@dataclass(frozen=True)
class Deviation:
    """Where a gradient is farthest from the central difference.

    Attributes
    ----------
    error : float, the difference as a share of the array's largest gradient; along a direction, of their RMS
    place : str, "at [0, 2]", or "along a random direction"
    given, measured : float, the gradient there, and the central difference
    """

    error: float
    place: str
    given: float
    measured: float


@dataclass(frozen=True)
class ArrayCheck:
    """The gradients by one array.

    Attributes
    ----------
    name : str, dotted as in the weights; "input" for the rows
    size : int, numbers in it
    backward : Deviation, of what the layers' own `backward` gives
    automatic : Deviation, of what `jax.grad` gives through `apply`, and through any custom_vjp in it
    checked, kinks : int, places and directions that were compared, and skipped because the loss has no derivative there
    """

    name: str
    size: int
    backward: Deviation
    automatic: Deviation
    checked: int
    kinks: int

    def wrong(self, tol: float) -> Iterator[str]:
        """A sentence for each way that is wrong."""
        if not self.checked:
            yield f"No place of {self.name} could be compared: the loss has a kink at all {self.kinks}."
        for way, found in (("backward", self.backward), ("jax.grad of apply", self.automatic)):
            if not found.error <= tol:
                yield (
                    f"{way} is wrong by {self.name} {found.place}: it gives {found.given:.8g}, and central "
                    f"differences {found.measured:.8g} (relative error {found.error:.2g})."
                )


@dataclass(frozen=True, repr=False)
class GradientCheck(Printed):
    """What `check_gradients` found; it prints as a table.

    Attributes
    ----------
    layer : str, what was checked
    arrays : tuple of ArrayCheck
    tol : float, the relative error that passes
    """

    layer: str
    arrays: tuple[ArrayCheck, ...]
    tol: float

    @property
    def messages(self) -> tuple[str, ...]:
        """A sentence for each array and way that is wrong; none where all pass."""
        return tuple(message for array in self.arrays for message in array.wrong(self.tol))

    @property
    def passed(self) -> bool:
        return not self.messages

    def raise_if_wrong(self) -> None:
        """InputError with the messages, unless all gradients pass: one line for a test of your own layer."""
        if not self.passed:
            raise InputError(f"Gradients of {self.layer}: {' '.join(self.messages)}")

    def _table(self) -> Sheet:
        title = [f"Gradients of {self.layer}: {'right' if self.passed else 'wrong'}"]
        header = ["by", "numbers", "compared", "at kinks", "error of backward", "error of jax.grad"]
        body = [
            [
                array.name,
                *(f"{count:,}" for count in (array.size, array.checked, array.kinks)),
                *(f"{found.error:.1e}" for found in (array.backward, array.automatic)),
            ]
            for array in self.arrays
        ]
        return title, header, body, list(self.messages)


@dataclass(frozen=True, eq=False)
class Trial:
    """A scalar loss of a layer's weights and input; without a loss, its outputs times fixed random numbers."""

    layer: Layer
    state: State
    key: Key
    train: bool
    loss: Loss | None
    targets: Any  # or what outputs are multiplied by
    unravel: Callable[[Any], dict[str, Any]]  # one vector -> weights and input
    rows: Any  # the input, where it is of whole numbers and no gradient is by it

    def of_outputs(self, outputs: Any) -> Any:
        if self.loss is None:
            return (outputs * self.targets).sum()
        return self.loss(outputs, self.targets).mean()

    def value(self, flat: Any) -> Any:
        parts = self.unravel(flat)
        x = parts.get("input", self.rows)
        outputs, _ = self.layer.apply(parts["weights"], self.state, x, train=self.train, key=self.key)
        return self.of_outputs(outputs)

    def by_backward(self, flat: Any) -> dict[str, Any]:
        """The gradients that the layers' own `backward` gives."""
        parts = self.unravel(flat)
        x = parts.get("input", self.rows)
        node = forward(self.layer, parts["weights"], self.state, x, train=self.train, key=self.key)
        gradients, by_x, _ = backward(node, jax.grad(self.of_outputs)(node.y), train=self.train)
        return {"weights": gradients} | ({"input": by_x} if "input" in parts else {})


def check_gradients(
    layer: Layer,
    in_shape: Shape,
    *,
    loss: str | Loss | None = None,
    X: ArrayLike | None = None,
    seed: int = 0,
    batch: int = 4,
    train: bool = True,
    tol: float = 1e-6,
) -> GradientCheck:
    r"""Compare the gradients of a layer or network, one of your own too, with central differences.

    .. math:: \frac{\partial L}{\partial w} \approx \frac{4 D(h/2) - D(h)}{3}, \qquad
              D(h) = \frac{L(w + h) - L(w - h)}{2h}

    in double precision: by each array of weights, and by the input. Two gradients are compared: that of
    `layer.backward` (of every layer inside, for a network), and that of `jax.grad` through `apply`, which goes by a
    custom_vjp if there is one. The step h is the first of 1e-3, 1e-4, 1e-5 and 1e-6 at which D(h) and D(h/2) agree.

    Arrays of up to 24 numbers are compared at every place. Of larger ones are compared the 4 places with the largest
    gradients by each way, the 4 where the two ways differ most, 4 places at random, and 4 random directions, in each of
    which all numbers move by ±h / √size at once: an error at any place shows there.

    Where the slopes to the left and to the right differ, however short the step, the loss has a kink (ReLU at 0) and no
    derivative: such places are counted and skipped.

    Weights are those of `init` with normal numbers of deviation 0.1 added. A layer with running averages has seen one
    other batch before. Dropout draws the same numbers each time.

    Parameters
    ----------
    layer : Layer
    in_shape : tuple of int, the shape of one row
    loss : str or Loss, default None
        Of random targets; the mean over rows. None: the sum of all outputs times random numbers.
    X : array (n, ...) of rows of that shape, default None
        Rows to check at. None: standard normal numbers. Whole numbers (codes) are not differentiated by.
    seed : int, not negative, default 0
    batch : int above 0, default 4
        Rows, where X is not given.
    train : bool, default True
        Training mode.
    tol : float above 0, default 1e-6
        The largest error that passes, as a share of the largest gradient in its array; along a direction, of their RMS.

    Returns
    -------
    GradientCheck : with `passed`, `messages` and `raise_if_wrong()`

    Raises
    ------
    InputError : X does not fit, or `backward` gives gradients of other shapes than the weights'.

    References
    ----------
    C. Bishop, Pattern Recognition and Machine Learning, 2006, equation 5.69. L. Richardson, Philosophical Transactions
    of the Royal Society A 210, 1911.

    Examples
    --------
    >>> from heldout.neural.layers import Dense, Sequential, Tanh
    >>> check_gradients(Sequential(Dense(4), Tanh(), Dense(2)), (3,), loss="cross_entropy").passed
    True
    """
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise InputError(f"batch is {batch!r} and must be a whole number above 0.")
    if not tol > 0.0:
        raise InputError(f"tol is {tol!r} and must be above 0.")
    rng = np.random.default_rng(seed)
    in_shape = tuple(in_shape)
    with jax.enable_x64(True):
        rows = _rows(X, in_shape, batch, rng)
        trial, start = _trial(layer, in_shape, rows, loss_of(loss) if loss is not None else None, seed, train, rng)
        by_backward = jax.jit(trial.by_backward)(start)
        by_grad = trial.unravel(jax.jit(jax.grad(trial.value))(start))
        arrays = tuple(_compared(jax.jit(trial.value), start, _named(by_backward), _named(by_grad), rng))
    return GradientCheck(type(layer).__name__, arrays, tol)


def _rows(X: ArrayLike | None, in_shape: Shape, batch: int, rng: np.random.Generator) -> Array:
    if X is None:
        return rng.standard_normal((batch, *in_shape))
    rows = np.asarray(X)
    if rows.shape[1:] != in_shape or not len(rows) or rows.dtype.kind not in "fiu" or not np.isfinite(rows).all():
        shape = f"(n, {shape_text(in_shape)[1:]}"
        raise InputError(f"X is finite numbers of the shape {shape}, not {rows.dtype} of {rows.shape}.")
    return rows.astype(np.float64) if rows.dtype.kind == "f" else rows


def _trial(
    layer: Layer, in_shape: Shape, rows: Array, loss: Loss | None, seed: int, train: bool, rng: np.random.Generator
) -> tuple[Trial, Array]:
    """The loss, and the weights and input at which its gradients are compared, as one vector."""
    out = layer.out_shape(in_shape)
    for_weights, for_layers, for_state = jax.random.split(jax.random.key(seed), 3)
    params, state = jax.jit(layer.init, static_argnums=1)(for_weights, in_shape)
    params = jax.tree.map(lambda leaf: _jittered(leaf, rng), params)
    state = jax.tree.map(_double, state)
    if state:
        other = rng.permutation(rows.ravel()).reshape(rows.shape)
        _, state = jax.jit(functools.partial(layer.apply, train=True))(params, state, other, key=for_state)
    if loss is None:
        targets = jnp.asarray(rng.standard_normal((len(rows), *out)))
    else:
        targets = checked_targets(loss, _drawn_targets(loss, len(rows), out, rng), len(rows), out, "float64")
    parts: dict[str, Any] = {"weights": params} | ({"input": jnp.asarray(rows)} if rows.dtype.kind == "f" else {})
    start, unravel = ravel_pytree(parts)
    key = for_layers if train and layer.random else None
    return Trial(layer, state, key, train, loss, targets, unravel, jnp.asarray(rows)), np.asarray(start)


def _double(leaf: Any) -> Array:
    """In NumPy, so that nothing is compiled for it."""
    values = np.asarray(leaf)
    return np.asarray(values, np.float64) if values.dtype.kind == "f" else values


def _jittered(leaf: Any, rng: np.random.Generator) -> Array:
    return np.asarray(_double(leaf) + JITTER * rng.standard_normal(leaf.shape))


def _drawn_targets(loss: Loss, n: int, out: Shape, rng: np.random.Generator) -> Array:
    m = out[-1] if out else 1
    if loss.targets == "codes":
        return rng.integers(0, max(m, 2), n)
    if loss.targets == "numbers":
        return rng.standard_normal((n, m))
    shares = rng.random((n, m))
    return shares / shares.sum(axis=1, keepdims=True) if m > 1 else shares


def _named(tree: dict[str, Any]) -> dict[str, Array]:
    """The arrays by their names, in the order in which `ravel_pytree` joins them."""
    return {dotted(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _compared(
    value: Callable[[Any], Any],
    start: Array,
    by_backward: dict[str, Array],
    by_grad: dict[str, Array],
    rng: np.random.Generator,
) -> Iterator[ArrayCheck]:
    overall = max(float(np.abs(leaf).max(initial=0.0)) for leaf in by_grad.values()) if by_grad else 0.0
    at, checks = 0, []
    for name, automatic in by_grad.items():
        probe = Probe(value, start, at, by_backward[name].ravel(), automatic.ravel(), SMALL * overall)
        checks.append((name == "input", probe.check(name.removeprefix("weights."), automatic.shape, rng)))
        at += automatic.size
    yield from (check for _, check in sorted(checks, key=lambda one: one[0]))  # the input after the weights


@dataclass(frozen=True, eq=False)
class Probe:
    """One array within the vector `start`, from `at` on, and its two gradients."""

    value: Callable[[Any], Any]
    start: Array
    at: int
    backward: Array
    automatic: Array
    floor: float  # what errors are a share of, where all gradients of the array are smaller

    def check(self, name: str, shape: Shape, rng: np.random.Generator) -> ArrayCheck:
        size = self.automatic.size
        named = [(f"at [{', '.join(map(str, np.unravel_index(i, shape)))}]", self.unit(i)) for i in self.places(rng)]
        slopes = [Slope.of(self, where, direction) for where, direction in named]
        largest = max(self.floor, *(np.abs(values).max(initial=0.0) for values in (self.automatic, self.backward)))
        by_place = [(slope, float(largest)) for slope in slopes]
        typical = max(self.floor, float(np.sqrt(np.square(self.automatic).mean())) if size else 0.0)
        by_direction = [
            (Slope.of(self, "along a random direction", rng.choice([-1.0, 1.0], size) / np.sqrt(size)), typical)
            for _ in range(DIRECTIONS if size > WHOLE else 0)
        ]
        compared = [(slope, scale) for slope, scale in by_place + by_direction if slope.measured is not None]
        return ArrayCheck(
            name,
            size,
            _worst([slope.deviation(slope.backward, scale) for slope, scale in compared]),
            _worst([slope.deviation(slope.automatic, scale) for slope, scale in compared]),
            len(compared),
            len(by_place) + len(by_direction) - len(compared),
        )

    def places(self, rng: np.random.Generator) -> list[int]:
        """All, or those with the largest gradients, with the largest differences of the two, and some at random."""
        size = self.automatic.size
        if size <= WHOLE:
            return list(range(size))
        orders = (np.abs(self.backward), np.abs(self.automatic), np.abs(self.backward - self.automatic))
        chosen = [place for order in orders for place in np.argsort(-order, kind="stable")[:PLACES].tolist()]
        return list(dict.fromkeys([*chosen, *rng.choice(size, PLACES, replace=False).tolist()]))

    def unit(self, place: int) -> Array:
        direction = np.zeros(self.automatic.size)
        direction[place] = 1.0
        return direction

    def along(self, direction: Array) -> float | None:
        """The derivative along a direction by central differences, or None at a kink."""
        middle, slope, apart = float(self.value(self.start)), 0.0, np.inf
        for h in STEPS:
            right, left = self.slopes(middle, direction, h)
            near_right, near_left = self.slopes(middle, direction, h / 2)
            wide, near = (right + left) / 2, (near_right + near_left) / 2
            scale = max(abs(near), self.floor, 1e-300)
            bent = abs(near_right - near_left) > max(0.75 * abs(right - left), 1e-5 * scale)
            if not bent and abs(wide - near) <= 1e-6 * scale:
                return (4 * near - wide) / 3
            if not bent and abs(wide - near) < min(apart, 1e-5 * scale):
                slope, apart = (4 * near - wide) / 3, abs(wide - near)
        return slope if np.isfinite(apart) else None

    def slopes(self, middle: float, direction: Array, h: float) -> tuple[float, float]:
        """To the right and to the left."""
        values = []
        for sign in (1.0, -1.0):
            moved = self.start.copy()
            moved[self.at : self.at + len(direction)] += sign * h * direction
            values.append(float(self.value(moved)))
        return (values[0] - middle) / h, (middle - values[1]) / h


@dataclass(frozen=True)
class Slope:
    """The derivative along one direction: as measured (None at a kink), and by the two ways."""

    where: str
    measured: float | None
    backward: float
    automatic: float

    @classmethod
    def of(cls, probe: Probe, where: str, direction: Array) -> Slope:
        given = (float(direction @ gradients) for gradients in (probe.backward, probe.automatic))
        return cls(where, probe.along(direction), *given)

    def deviation(self, given: float, scale: float) -> Deviation:
        measured = np.nan if self.measured is None else self.measured
        difference = abs(given - measured)
        error = 0.0 if difference == 0.0 else difference / max(scale, 1e-300)
        return Deviation(error, self.where, given, measured)


def _worst(deviations: list[Deviation]) -> Deviation:
    """That of the largest error; what is no number is the worst."""
    none = Deviation(0.0, "", 0.0, 0.0)
    return max(deviations, key=lambda one: np.inf if np.isnan(one.error) else one.error, default=none)
