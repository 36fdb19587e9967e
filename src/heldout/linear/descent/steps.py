"""How gradient descent steps: what may be chosen, and what the shape of the loss says is best."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout.errors import InputError, suggest

if TYPE_CHECKING:
    from heldout.persist import State

METHODS = ("full", "stochastic", "mini-batch")
UPDATES = ("plain", "momentum", "nesterov", "adam")  # in the order of descent_kernels' codes
SCHEDULES = ("auto", "constant", "decaying", "line-search")

ADAM_STEP = 0.01  # with columns and targets of unit variance, a hundredth of a usual coefficient
NOISY_MOMENTUM = 0.9  # where the gradient is noisy and the best value is not known
FULL_TOL, NOISY_TOL = 1e-12, 1e-3
FULL_EPOCHS, NOISY_EPOCHS = 100_000, 1000
ADAM_REACH = 10.0  # how far full steps may go, in the same unit, before they are halved
LAST_SHARE = 10.0  # by how much "decaying" shrinks the step over the epochs allowed, at least
STEPS_PER_ROOT = 30.0  # Nesterov's method takes about sqrt(kappa) ln(1e12) steps to 1e-12


@dataclass(frozen=True, kw_only=True, repr=False)
class GradientDescent:
    r"""How least squares is solved by gradient descent: which rows, which update, which steps, and when to stop.

    .. math:: w \leftarrow w - \alpha \nabla L(w), \qquad
        L(w, b) = \frac{1}{\sum_i v_i} \sum_i v_i (y_i - b - x_i^\top w)^2

    The start is w = 0. With :math:`g` the gradient and :math:`u, s` zero at the start, the updates are

    - plain: :math:`w \leftarrow w - \alpha g`;
    - momentum (heavy ball): :math:`u \leftarrow \beta u + g, \; w \leftarrow w - \alpha u`;
    - nesterov: :math:`u \leftarrow \beta u + g, \; w \leftarrow w - \alpha (g + \beta u)`;
    - adam: :math:`u \leftarrow \beta_1 u + (1 - \beta_1) g, \; s \leftarrow \beta_2 s + (1 - \beta_2) g^2, \;
      w \leftarrow w - \alpha \hat u / (\sqrt{\hat s} + \varepsilon)`, where
      :math:`\hat u = u / (1 - \beta_1^t), \; \hat s = s / (1 - \beta_2^t)`.

    Below, L and μ are the largest and the smallest non-zero eigenvalue of the Hessian
    :math:`H = 2 X^\top V X / \sum_i v_i`, and κ = L/μ. For every factor e of accuracy "plain" takes about κ/2 steps,
    "momentum" √κ/2 and "nesterov" √κ.

    Parameters
    ----------
    method : {"full", "stochastic", "mini-batch"}, default "full"
        The rows of one step: all, one, or `batch_size`. The last two visit all rows once an epoch, in a new order
        each time.
    batch_size : int above 0, default 32
        Rows of a "mini-batch".
    update : {"plain", "momentum", "nesterov", "adam"}, default "plain"
        See above.
    momentum : float in [0, 1) or "auto", default "auto"
        β. "auto" is best for κ with "full": (√κ - 1) / (√κ + 1) for "nesterov" and its square for "momentum", of no
        larger √κ than `max_epochs` / 30; with batches it is 0.9.
    betas : two floats in [0, 1), default (0.9, 0.999)
        β₁ and β₂ of "adam".
    epsilon : float above 0, default 1e-8
        ε of "adam".
    step : float above 0 or "auto", default "auto"
        α, at first. "auto" with "full" is 2 / (L + μ) for "plain", (1 + √β)² / L for "momentum", 1 / L for "nesterov".
        With batches of B of n rows it is 1 / 2S for "plain" and (1 - β) / 2S for the next two, where
        S = ((n - B) max_i L_i + n (B - 1) L) / (B (n - 1)) and L_i is the largest curvature of row i's loss.
        For "adam" it is 0.01.
    schedule : {"auto", "constant", "decaying", "line-search"}, default "auto"
        The step after t steps is α, or α / (1 + decay t), or (only "full" and "plain") the one that lowers the loss
        most, :math:`g^\top g / g^\top H g`. "auto" is "decaying" with batches and for "adam", "constant" otherwise.
        With a constant step, batches do not converge but hover about the solution.
    decay : float, not negative, or "auto", default "auto"
        "auto" is α μ / 2, for "adam" α / 10, and in any case so much that α falls to a tenth over `max_epochs`.
    tol : float, not negative, or "auto", default "auto"
        Converged where no column's correlation with the residuals exceeds it, the residuals being counted in
        standard deviations of y: the gradient, free of units. "auto" is 1e-12 with "full"; with batches, which look at
        the end of an epoch, 1e-3. 0 asks for all `max_epochs` epochs.
    max_epochs : int above 0 or "auto", default "auto"
        Most passes over the rows; with "full" each is a step. "auto" is 100,000 with "full" and 1,000 with batches.
    average : bool, default False
        With batches, take the average of the points after each step, the t-th weighted by t, instead of the last one.
    standardise : bool, default True
        Descend on columns and targets of mean 0 (where there is an intercept) and variance 1, so that units of
        measurement do not matter; the result is that of the columns as given, and where it is not unique, the one of
        least norm. False descends on them as they are, the intercept being the coefficient of a column of ones.
    seed : int, not negative, default 0
        Of the order of the rows.

    Raises
    ------
    InputError : a value is out of range, a name is not known, or two choices do not go together.

    References
    ----------
    S. Bubeck, Convex Optimization: Algorithms and Complexity, 2015, theorems 3.12 and 3.18.
    B. Polyak, Some methods of speeding up the convergence of iteration methods, USSR Comput. Math. Math. Phys. 4, 1964.
    Y. Nesterov, Introductory Lectures on Convex Optimization, 2004, section 2.2.1.
    D. Kingma and J. Ba, Adam: a method for stochastic optimization, ICLR 2015, algorithm 1.
    R. Gower et al., SGD: General Analysis and Improved Rates, ICML 2019 (S, for sampling without replacement).
    L. Bottou, F. Curtis and J. Nocedal, Optimization Methods for Large-Scale Machine Learning, SIAM Review 60, 2018,
    theorem 4.7 (decaying steps).

    Examples
    --------
    >>> GradientDescent(method="mini-batch", batch_size=64, update="adam")
    GradientDescent(method='mini-batch', batch_size=64, update='adam')
    >>> GradientDescent(step=-1.0)
    Traceback (most recent call last):
    heldout.errors.InputError: step is -1.0 and must be a finite number above 0, or 'auto'.
    """

    method: str = "full"
    batch_size: int = 32
    update: str = "plain"
    momentum: float | str = "auto"
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    step: float | str = "auto"
    schedule: str = "auto"
    decay: float | str = "auto"
    tol: float | str = "auto"
    max_epochs: int | str = "auto"
    average: bool = False
    standardise: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("method", METHODS), ("update", UPDATES), ("schedule", SCHEDULES)):
            _known(name, getattr(self, name), known)
        for name, low in (("batch_size", 1), ("seed", 0)):
            _whole(name, getattr(self, name), low)
        if self.max_epochs != "auto":
            _whole("max_epochs", self.max_epochs, 1, " or 'auto'")
        for name, range_ in RANGES.items():
            range_.check(name, getattr(self, name))
        for name in ("average", "standardise"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} is {getattr(self, name)!r} and must be True or False.")
        if not isinstance(self.betas, tuple) or len(self.betas) != 2:
            raise InputError(f"betas is {self.betas!r} and must be a tuple of two numbers.")
        for beta in self.betas:
            SHARE.check("one of betas", beta)
        self._check_together()

    def __repr__(self) -> str:
        """The choices that are not the defaults."""
        chosen = [field.name for field in fields(self) if getattr(self, field.name) != field.default]
        return f"GradientDescent({', '.join(f'{name}={getattr(self, name)!r}' for name in chosen)})"

    def _check_together(self) -> None:
        if self.schedule == "line-search" and (self.method, self.update) != ("full", "plain"):
            raise InputError("schedule='line-search' needs method='full' and update='plain': take 'decaying' instead.")
        if self.average and self.method == "full":
            raise InputError("average=True is for 'stochastic' and 'mini-batch': with method='full', leave it out.")

    def completed(self) -> GradientDescent:
        """These choices with schedule, tol and max_epochs decided where they were "auto"; the rest takes data."""
        full = self.method == "full"
        return replace(
            self,
            schedule=_or(self.schedule, "constant" if full and self.update != "adam" else "decaying"),
            tol=_or(self.tol, FULL_TOL if full else NOISY_TOL),
            max_epochs=_or(self.max_epochs, FULL_EPOCHS if full else NOISY_EPOCHS),
        )

    def to_state(self) -> dict[str, Any]:
        """These choices as JSON."""
        state = {name: value.item() if isinstance(value, np.generic) else value for name, value in asdict(self).items()}
        return {**state, "betas": [float(beta) for beta in self.betas]}

    @classmethod
    def from_state(cls, state: State) -> GradientDescent:
        """The choices that `to_state` described; InputError where a value is not one of them."""
        values = {field.name: state.json(field.name) for field in fields(cls)}
        if isinstance(values["betas"], list):
            values["betas"] = tuple(values["betas"])
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class Range:
    """What a number may be: from `low` up (above it, if `open_low`), below `below`, and perhaps "auto"."""

    low: float = 0.0
    open_low: bool = False
    below: float = math.inf
    auto: bool = False

    def check(self, name: str, value: Any) -> None:
        if isinstance(value, str) and value == "auto" and self.auto:
            return
        if isinstance(value, bool) or not isinstance(value, Real) or not self._holds(float(value)):
            low = f"above {self.low:g}" if self.open_low else f"from {self.low:g} up"
            below = f" and below {self.below:g}" if math.isfinite(self.below) else ""
            auto = ", or 'auto'" if self.auto else ""
            raise InputError(f"{name} is {value!r} and must be a finite number {low}{below}{auto}.")

    def _holds(self, value: float) -> bool:
        return self.low <= value < self.below and not (self.open_low and value == self.low)


SHARE = Range(below=1.0)
RANGES = {
    "momentum": Range(below=1.0, auto=True),
    "epsilon": Range(open_low=True),
    "step": Range(open_low=True, auto=True),
    "decay": Range(auto=True),
    "tol": Range(auto=True),
}


def _known(name: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"There is no {name} {value!r}.{suggest(str(value), known)}")


def _whole(name: str, value: Any, low: int, otherwise: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < low:
        raise InputError(f"{name} is {value!r} and must be a whole number from {low} up{otherwise}.")


def _or(value: Any, otherwise: Any) -> Any:
    return otherwise if value == "auto" else value


@dataclass(frozen=True)
class Shape:
    """What the steps depend on: the Hessian's eigenvalues, the steepest row's curvature, and the number of rows."""

    largest: float  # L
    smallest: float  # mu, the smallest that is not zero
    rank: int
    steepest: float  # max_i L_i; 0 where it is not needed
    n_rows: int  # of weight above zero

    @property
    def condition(self) -> float:
        return self.largest / self.smallest if self.smallest else 1.0


@dataclass(frozen=True)
class Steps:
    """The constants of the descent, decided, and the step from which on a full-batch one diverges."""

    step: float
    decay: float
    momentum: float
    largest_stable: float


def decide(how: GradientDescent, shape: Shape, n_steps: int) -> Steps:
    """The constants for choices that were `completed`, a loss of this shape, and at most `n_steps` steps."""
    momentum = float(_or(how.momentum, _best_momentum(how, shape, n_steps)))
    step = float(_or(how.step, _best_step(how, shape, momentum)))
    decay = 0.0
    if how.schedule == "decaying":
        rate = step / ADAM_REACH if how.update == "adam" else step * shape.smallest / 2.0
        decay = float(_or(how.decay, max(rate, (LAST_SHARE - 1.0) / n_steps)))
    return Steps(step, decay, momentum, largest_stable_step(how.update, shape.largest, momentum))


def _best_momentum(how: GradientDescent, shape: Shape, n_steps: int) -> float:
    """Polyak's and Nesterov's, for no more of the condition number than `n_steps` steps can overcome."""
    if how.method != "full":
        return NOISY_MOMENTUM
    root = min(math.sqrt(shape.condition), max(1.0, n_steps / STEPS_PER_ROOT))
    rate = (root - 1.0) / (root + 1.0)
    return rate**2 if how.update == "momentum" else rate


def _best_step(how: GradientDescent, shape: Shape, momentum: float) -> float:
    if how.update == "adam":
        return ADAM_STEP
    if shape.largest == 0.0:
        return 1.0  # the loss is constant
    if how.method != "full":
        share = 1.0 if how.update == "plain" else 1.0 - momentum
        return share / (2.0 * batch_curvature(how, shape))
    if how.update == "plain":
        return 2.0 / (shape.largest + shape.smallest)
    return (1.0 + math.sqrt(momentum)) ** 2 / shape.largest if how.update == "momentum" else 1.0 / shape.largest


def batch_curvature(how: GradientDescent, shape: Shape) -> float:
    """The expected smoothness of batches drawn without replacement (Gower et al. 2019, proposition 3.8).

    >>> one_row = GradientDescent(method="stochastic")
    >>> batch_curvature(one_row, Shape(largest=2.0, smallest=1.0, rank=5, steepest=30.0, n_rows=100))
    30.0
    """
    n, size = shape.n_rows, batch_rows(how, shape.n_rows)
    if size == n:
        return shape.largest
    return ((n - size) * shape.steepest + n * (size - 1) * shape.largest) / (size * (n - 1))


def batch_rows(how: GradientDescent, n_rows: int) -> int:
    """How many of the rows one step sees."""
    return {"full": n_rows, "stochastic": 1, "mini-batch": min(how.batch_size, n_rows)}[how.method]


def largest_stable_step(update: str, largest: float, momentum: float) -> float:
    """The constant step from which on all rows diverge: there a root of the update's recurrence leaves the unit circle.

    2 / L for "plain", 2 (1 + beta) / L for "momentum", 2 (1 + beta) / (1 + 2 beta) / L for "nesterov"; infinite for
    "adam", whose steps the gradient's size does not lengthen, and where the loss is constant.

    >>> largest_stable_step("plain", 4.0, 0.0), largest_stable_step("momentum", 4.0, 0.5)
    (0.5, 0.75)
    """
    if largest == 0.0 or update == "adam":
        return math.inf
    factor = {"plain": 1.0, "momentum": 1.0 + momentum, "nesterov": (1.0 + momentum) / (1.0 + 2.0 * momentum)}[update]
    return 2.0 * factor / largest
