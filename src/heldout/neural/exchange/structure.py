"""Steps with their inputs as layers in containers: chains, residuals and parallel branches.

A join's branches begin at its dominator: the last step that every way from the input to the join goes through.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from heldout.neural.exchange.order import Order
from heldout.neural.exchange.tracing import Step, refused
from heldout.neural.layers import Identity, Layer, Parallel, Residual, Sequential
from heldout.neural.layers.containers import names_of

Sources: TypeAlias = "Source | dict[str, Sources] | None"  # of a layer; of a container's layers
Built: TypeAlias = "tuple[Layer, Sources]"


@dataclass(frozen=True)
class Source:
    """Where a layer's weights come from: the path of its module, and the order of the rows it is given."""

    module: str
    order: Order


CROSSED = (
    "it is used in several branches, and the data has to flow in a chain, around shortcuts or in parallel branches "
    "that are joined again"
)


def nest(steps: tuple[Step, ...], output: int) -> tuple[Sequential, Sources]:
    """The network of the steps, and where each of its layers comes from; InputError where they are no such network."""
    above: list[set[int]] = []
    for number, step in enumerate(steps):
        above.append({number}.union(set.intersection(*(above[i] for i in step.inputs)) if step.inputs else ()))
    seen: set[int] = set()
    chain = _chain(steps, above, seen, 0, output)
    for number, step in enumerate(steps):
        if number not in seen and step.module is not None:
            raise refused(step.place, "what it gives has no part in the output")
    return _sequence(chain or [(Identity(), None)])


def _chain(steps: tuple[Step, ...], above: list[set[int]], seen: set[int], start: int, end: int) -> list[Built]:
    """What leads from one step to another that it dominates, in order."""
    backwards: list[Built] = []
    while end != start:
        step = steps[end]
        if end in seen:
            raise refused(step.place, CROSSED)
        seen.add(end)
        if step.layer is not None:
            source = None if step.module is None else Source(step.module, step.follows)
            backwards.append((step.layer, source))
            (end,) = step.inputs
            continue
        start_of_join = max(set.intersection(*(above[i] for i in step.inputs)))
        backwards.append(_joined(step, [_chain(steps, above, seen, start_of_join, i) for i in step.inputs]))
        end = start_of_join
    return backwards[::-1]


def _joined(step: Step, branches: list[list[Built]]) -> Built:
    if step.join == "sum" and not all(branches):
        layer, sources = _one(next((branch for branch in branches if branch), []))
        return Residual(layer), {"layer": sources}
    built = [_one(branch) for branch in branches]
    layers = tuple(layer for layer, _ in built)
    sources = dict(zip(names_of(layers), (found for _, found in built), strict=True))
    return Parallel(*layers, join=step.join or "sum"), sources


def _one(branch: list[Built]) -> Built:
    if len(branch) > 1:
        return _sequence(branch)
    return branch[0] if branch else (Identity(), None)


def _sequence(chain: list[Built]) -> tuple[Sequential, Sources]:
    network = Sequential(*(layer for layer, _ in chain))
    return network, dict(zip(network.names, (sources for _, sources in chain), strict=True))
