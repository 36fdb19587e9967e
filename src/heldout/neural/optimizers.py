"""Optimizers: which step is taken along a gradient. The rules are Optax's; the learning rate comes from a schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from heldout.errors import InputError, suggest
from heldout.neural.layers.platform import by_platform

LEAST_WEIGHTS = 2**17  # from which on the kernel is worth being called


@dataclass(frozen=True)
class Optimizer:
    r"""One of Optax's update rules, without its learning rate α.

    With g the gradient, u the direction and :math:`\theta \leftarrow \theta - \alpha u`:

    - "sgd": u = g
    - "momentum": v = μ v + g, u = v (Polyak 1964)
    - "nesterov": v = μ v + g, u = g + μ v (Nesterov 1983, in the form of Sutskever and others 2013)
    - "rmsprop": s = β₂ s + (1 - β₂) g², u = g / (√s + ε) (Tieleman and Hinton 2012)
    - "adam": :math:`u = \hat m / (\sqrt{\hat v} + \varepsilon)`, m and v being averages of g and g² with decays β₁ and
      β₂, freed from their bias at the start (Kingma and Ba 2015, algorithm 1)
    - "adamw": Adam, and u + λ θ with `weight_decay` λ that the averages do not see (Loshchilov and Hutter 2019,
      algorithm 2)

    Parameters
    ----------
    name : one of these, default "adam"
    momentum : float from 0 to below 1, default 0.9
        μ.
    beta_1, beta_2 : float from 0 to below 1, default 0.9 and 0.999
    epsilon : float above 0, default 1e-8
    weight_decay : float, 0 or more, default 0.0
        λ; it goes with every rule, and to weight matrices only, not to biases and scales.
    clip_norm : float above 0, default None
        A gradient that is longer (all weights together) is shortened to it (Pascanu and others 2013, algorithm 1).

    Raises
    ------
    InputError : an unknown name, or a number out of range.

    >>> Optimizer("adamw", weight_decay=0.01).name
    'adamw'
    """

    name: str = "adam"
    momentum: float = 0.9
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        if self.name not in OPTIMIZERS:
            raise InputError(f"There is no optimizer {self.name!r}.{suggest(str(self.name), OPTIMIZERS)}")
        for name in ("momentum", "beta_1", "beta_2"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise InputError(f"{name} is {getattr(self, name)!r} and must be from 0 to below 1.")
        if not 0.0 < self.epsilon < math.inf:
            raise InputError(f"epsilon is {self.epsilon!r} and must be above 0.")
        if not 0.0 <= self.weight_decay < math.inf:
            raise InputError(f"weight_decay is {self.weight_decay!r} and must be a finite number, 0 or more.")
        if self.clip_norm is not None and not self.clip_norm > 0.0:
            raise InputError(f"clip_norm is {self.clip_norm!r} and must be above 0, or None.")

    def transformation(self) -> optax.GradientTransformation:
        """The direction u from the gradient, as Optax has it."""
        steps = [OPTIMIZERS[self.name](self)]
        if self.clip_norm is not None:
            steps.insert(0, optax.clip_by_global_norm(self.clip_norm))
        if self.weight_decay:
            steps.append(optax.add_decayed_weights(self.weight_decay, mask=are_matrices))
        return optax.chain(*steps) if len(steps) > 1 else steps[0]

    def descended(self, gradients: Any, memory: Any, params: Any, rate: Any) -> tuple[Any, Any]:
        """The weights after a step with this learning rate, and what is remembered then."""

        def by_optax(gradients: Any, memory: Any, params: Any, rate: Any) -> tuple[Any, Any]:
            updates, memory = self.transformation().update(gradients, memory, params)
            return jax.tree.map(lambda p, u: p - rate * u, params, updates), memory

        leaves = jax.tree.leaves(params)
        single = all(leaf.dtype == jnp.float32 for leaf in leaves)
        if self.name not in ("adam", "adamw") or not single or sum(leaf.size for leaf in leaves) < LEAST_WEIGHTS:
            return by_optax(gradients, memory, params, rate)
        found: tuple[Any, Any] = by_platform(gradients, memory, params, rate, cpu=self._by_kernel, default=by_optax)
        return found

    def _by_kernel(self, gradients: Any, memory: Any, params: Any, rate: Any) -> tuple[Any, Any]:
        from heldout.neural.native.descent import adam as step  # Numba is imported where it is needed

        clipped = self.clip_norm is not None
        place = int(clipped)
        chained = not isinstance(memory, optax.ScaleByAdamState)
        own = memory[place] if chained else memory
        count = own.count + 1
        factor, epsilon = _corrected(self.beta_1, self.beta_2, self.epsilon, count)
        kept = (self.beta_1, 1.0 - self.beta_1, self.beta_2, 1.0 - self.beta_2)
        given = rate, factor, epsilon, *kept, self.weight_decay, self.clip_norm if clipped else 0.0
        terms = jnp.stack([jnp.asarray(term, jnp.float32) for term in given])
        leaves = [jax.tree.leaves(tree) for tree in (gradients, own.mu, own.nu, params, are_matrices(params))]
        structure = jax.tree.structure(params)
        m, v, weights = (jax.tree.unflatten(structure, part) for part in step(terms, clipped, *leaves))
        after = optax.ScaleByAdamState(count, m, v)
        return weights, (*memory[:place], after, *memory[place + 1 :]) if chained else after


def _corrected(beta_1: float, beta_2: float, epsilon: float, count: Any) -> tuple[Any, Any]:
    """f and ε', which hold the corrections of Adam's bias."""
    t = count.astype(jnp.zeros(()).dtype)
    correction = jnp.sqrt(1.0 - beta_2**t)
    return correction / (1.0 - beta_1**t), epsilon * correction


def adam(beta_1: float, beta_2: float, epsilon: float) -> optax.GradientTransformation:
    r"""Optax's `scale_by_adam`, with the two corrections of the bias drawn into factors of the whole step.

    .. math:: u = \frac{m \, c / (1 - \beta_1^t)}{\sqrt v + \varepsilon c}, \qquad c = \sqrt{1 - \beta_2^t}

    It is the same number (Kingma and Ba 2015, the remark on efficiency in section 2) for one division a weight instead
    of three.
    """

    def init(params: optax.Params) -> optax.ScaleByAdamState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return optax.ScaleByAdamState(jnp.zeros((), jnp.int32), zeros, zeros)

    def update(
        gradients: optax.Updates, memory: optax.ScaleByAdamState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.ScaleByAdamState]:
        count = memory.count + 1
        m = jax.tree.map(lambda m, g: beta_1 * m + (1.0 - beta_1) * g, memory.mu, gradients)
        v = jax.tree.map(lambda v, g: beta_2 * v + (1.0 - beta_2) * g * g, memory.nu, gradients)
        factor, corrected = _corrected(beta_1, beta_2, epsilon, count)
        updates = jax.tree.map(
            lambda m, v: (factor.astype(m.dtype) * m) / (jnp.sqrt(v) + corrected.astype(m.dtype)), m, v
        )
        return updates, optax.ScaleByAdamState(count, m, v)

    return optax.GradientTransformation(init, update)


OPTIMIZERS: dict[str, Callable[[Optimizer], optax.GradientTransformation]] = {
    "sgd": lambda own: optax.identity(),
    "momentum": lambda own: optax.trace(own.momentum),
    "nesterov": lambda own: optax.trace(own.momentum, nesterov=True),
    "rmsprop": lambda own: optax.scale_by_rms(own.beta_2, own.epsilon, eps_in_sqrt=False),
    "adam": lambda own: adam(own.beta_1, own.beta_2, own.epsilon),
    "adamw": lambda own: adam(own.beta_1, own.beta_2, own.epsilon),
}


def are_matrices(params: Any) -> Any:
    """True at weights with two axes or more: what is penalised and decays; biases, scales and shifts are not."""
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) >= 2, params)
