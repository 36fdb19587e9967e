"""Which of two ways an operation goes: by a kernel where XLA runs on the CPU, or by XLA alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax


def by_platform(*given: Any, cpu: Callable[..., Any], default: Callable[..., Any], fits: bool = True) -> Any:
    """What `cpu`, if the arrays are such that its kernel `fits` them, makes of them on a CPU, and `default` elsewhere.

    JAX's own `platform_dependent` traces both ways, which is half of the time before the first step of a fit: where
    there are CPUs alone, the other way is left out.
    """
    if not fits:
        return default(*given)
    if jax.default_backend() == "cpu":
        return cpu(*given)
    return jax.lax.platform_dependent(*given, cpu=cpu, default=default)
