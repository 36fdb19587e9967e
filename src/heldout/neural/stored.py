"""Losses and schedules as JSON and back: a name, or a name of a closed table with its hyperparameters."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from heldout.errors import InputError
from heldout.neural.losses import LOSSES, Loss
from heldout.neural.schedules import Constant, Cosine, OneCycle, Plateau, Schedule, Step

if TYPE_CHECKING:
    from heldout.persist import State

KINDS: dict[str, type[Schedule]] = {kind.__name__: kind for kind in (Constant, Step, Cosine, OneCycle, Plateau)}


def schedule_to_json(schedule: Any) -> Any:
    """A schedule's name, or its kind and numbers; InputError for one of the user's own."""
    return _to_json(schedule, KINDS, "schedule") if isinstance(schedule, Schedule) else schedule


def schedule_from_state(state: State, key: str, names: Collection[str]) -> Any:
    return _from_state(state, key, names, KINDS)


def loss_to_json(loss: Any) -> Any:
    """A loss's name, or its kind and numbers; InputError for one of the user's own."""
    return _to_json(loss, _losses(), "loss") if isinstance(loss, Loss) else loss


def loss_from_state(state: State, key: str, names: Collection[str]) -> Any:
    return _from_state(state, key, names, _losses())


def _losses() -> dict[str, type[Any]]:
    return {kind.__name__: kind for kind in LOSSES.values()}


def _to_json(value: Any, kinds: dict[str, Any], what: str) -> dict[str, Any]:
    kind = type(value).__name__
    if kinds.get(kind) is not type(value):
        raise InputError(f"The {what} {kind} cannot be stored: only heldout's own can.")
    return {"kind": kind, **asdict(value)}


def _from_state(state: State, key: str, names: Collection[str], kinds: dict[str, Any]) -> Any:
    value = state.json(key)
    if isinstance(value, str) and value in names:
        return value
    kind = kinds.get(value.get("kind", "")) if isinstance(value, dict) and isinstance(value.get("kind"), str) else None
    if kind is None or not isinstance(value, dict) or value.keys() - {"kind"} != {item.name for item in fields(kind)}:
        state.fail(f"{key!r} is neither one of {', '.join(map(repr, names))} nor a known kind with its numbers")
    numbers = {name: item for name, item in value.items() if name != "kind"}
    if not all(isinstance(item, int | float) and not isinstance(item, bool) for item in numbers.values()):
        state.fail(f"{key!r} has something other than numbers")
    return kind(**numbers)
