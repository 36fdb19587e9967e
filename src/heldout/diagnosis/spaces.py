"""The settings that a search draws from: each learner's own space, by the parameters that it has.

As with siblings, one table serves heldout's learners and scikit-learn's, the steps of a pipeline and the base of an
ensemble. What a learner chooses by itself (a penalty by cross-validation) is not in its space.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from heldout.diagnosis.variants import NETWORK, is_number, is_whole, parts_of
from heldout.errors import InputError

Settings = Mapping[str, Any]
WIDTHS = ((32,), (100,), (256,), (100, 100))


@dataclass(frozen=True)
class Between:
    """Numbers from `low` to `high`: evenly, or evenly in the logarithm; whole ones if wanted.

    >>> Between(1, 100, log=True, whole=True).draw(np.random.default_rng(0))
    15
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def draw(self, rng: np.random.Generator) -> float | int:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise InputError(f"{self} is empty: low must lie below high, and above zero for the logarithm.")
        low, high = (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)
        drawn = math.exp(rng.uniform(math.log(low), math.log(high))) if self.log else rng.uniform(low, high)
        return int(np.clip(round(drawn), self.low, self.high)) if self.whole else float(drawn)


@dataclass(frozen=True)
class Among:
    """One of these values."""

    values: tuple[Any, ...]

    def draw(self, rng: np.random.Generator) -> Any:
        return self.values[int(rng.integers(len(self.values)))]


@dataclass(frozen=True)
class Drawn:
    """A distribution of scipy.stats, or whatever has `rvs`."""

    distribution: Any

    def draw(self, rng: np.random.Generator) -> Any:
        value = self.distribution.rvs(random_state=np.random.RandomState(int(rng.integers(2**32))))
        return value.item() if isinstance(value, np.generic) else value


Dimension = Between | Among | Drawn


def dimension(given: Any) -> Dimension:
    """A dimension of a space as people give it: `Between`, a list of values, or a distribution of scipy.stats."""
    if isinstance(given, Between | Among):
        return given
    if isinstance(given, list | tuple | np.ndarray) and len(given):
        return Among(tuple(given.tolist() if isinstance(given, np.ndarray) else given))
    if hasattr(given, "rvs"):
        return Drawn(given)
    raise InputError(
        f"{given!r} is no range of settings: give heldout.Between(low, high), a list of values, or a distribution of "
        "scipy.stats."
    )


def space_of(estimator: Any, n_rows: int) -> dict[str, Dimension]:
    """The space of an estimator that will be fitted to so many rows; empty where it has no parameter worth a search.

    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> list(space_of(KNeighborsClassifier(), 1000))
    ['n_neighbors', 'weights']
    """
    found: dict[str, Dimension] = {}
    for prefix, part in parts_of(estimator):
        given = part.get_params(deep=False)
        for kind in KINDS:
            found |= {f"{prefix}{name}": range_ for name, range_ in kind(part, given, n_rows)}
    return found


Ranges = Iterator[tuple[str, Dimension]]


def _penalty(part: Any, given: Settings, n: int) -> Ranges:
    if is_number(given.get("alpha")) and not {NETWORK, "n_estimators"} & set(given):
        yield "alpha", Between(1e-4, 1e3, log=True)
    if is_number(given.get("C")):
        yield "C", Between(1e-4, 1e4, log=True)
    if is_number(given.get("l1_ratio")) and ("alpha" in given or given.get("solver") in ("saga", "auto")):
        yield "l1_ratio", Between(0.0, 1.0)


def _neighbours(part: Any, given: Settings, n: int) -> Ranges:
    if "weights" in given and "n_neighbors" in given:
        yield "n_neighbors", Between(1, max(2, min(n // 4, 200)), log=True, whole=True)
        yield "weights", Among(("uniform", "distance"))


def _tree(part: Any, given: Settings, n: int) -> Ranges:
    """Trees and forests. A forest gains by the columns that each cut may choose from; a tree by its depth."""
    if "learning_rate" in given or not is_whole(given.get("min_samples_leaf")):
        return
    yield "min_samples_leaf", Between(1, max(2, min(n // 10, 200)), log=True, whole=True)
    if "n_estimators" in given:
        yield "max_features", Between(0.1, 1.0)
    else:
        yield "max_depth", Between(2, 30, log=True, whole=True)


def _boosting(part: Any, given: Settings, n: int) -> Ranges:
    if "learning_rate" not in given or NETWORK in given or not {"max_depth", "max_leaf_nodes"} & set(given):
        return
    yield "learning_rate", Between(0.01, 0.5, log=True)
    yield "n_estimators" if "n_estimators" in given else "max_iter", Between(20, 500, log=True, whole=True)
    if is_whole(given.get("max_leaf_nodes")):
        yield "max_leaf_nodes", Between(3, 127, log=True, whole=True)
    else:
        yield "max_depth", Between(1, 8, whole=True)


def _polynomial(part: Any, given: Settings, n: int) -> Ranges:
    if type(part).__name__ in ("PolynomialRegression", "PolynomialFeatures"):
        yield "degree", Between(1, 6, whole=True)


def _network(part: Any, given: Settings, n: int) -> Ranges:
    if NETWORK not in given:
        return
    yield "learning_rate_init", Between(1e-4, 3e-2, log=True)
    yield "alpha", Between(1e-6, 1.0, log=True)
    if "dropout" in given:
        yield "dropout", Between(0.0, 0.5)
    if "hidden_layer_sizes" in given:
        yield "hidden_layer_sizes", Among(WIDTHS)


KINDS: tuple[Callable[[Any, Settings, int], Ranges], ...] = (
    _penalty,
    _neighbours,
    _tree,
    _boosting,
    _polynomial,
    _network,
)
