"""The closed table of what a model file may hold: names on the left, our own classes on the right.

A file only ever selects a key of this table; nothing is imported by a name found in a file.
"""

from __future__ import annotations

import importlib
from typing import Any, Protocol

from heldout.panel import LEARNERS

CLASSES: dict[str, str] = {
    "Model": "heldout.model:Model",
    "Problem": "heldout.problem:Problem",
    "Encoder": "heldout.data.encode:Encoder",
    "Numbers": "heldout.data.blocks:Numbers",
    "Levels": "heldout.data.blocks:Levels",
    "Dates": "heldout.data.blocks:Dates",
    "Strings": "heldout.data.blocks:Strings",
    "Series": "heldout.data.blocks:Series",
    "Windows": "heldout.series.windows:Windows",
    "Cases": "heldout.series.cases:Cases",
    "SequenceForecaster": "heldout.series.forecaster:SequenceForecaster",
    "Temperature": "heldout.certainty.calibration:Temperature",
    "Isotonic": "heldout.certainty.calibration:Isotonic",
    "Conformal": "heldout.certainty.conformal:Conformal",
    "Part": "heldout.seal:Part",
    "Split": "heldout.split:Split",
    "Characters": "heldout.texts.tokens:Characters",
    "Bytes": "heldout.texts.tokens:Bytes",
    "Words": "heldout.texts.tokens:Words",
    "BytePairs": "heldout.texts.tokens:BytePairs",
    "TransformerLanguageModel": "heldout.neural.language:TransformerLanguageModel",
    "RecurrentLanguageModel": "heldout.neural.language:RecurrentLanguageModel",
    "Bags": "heldout.texts.bags:Bags",
    "Checkpoint": "heldout.neural.checkpoint:Checkpoint",
    **{entry.name: entry.path for entry in LEARNERS.values()},
}


class Persistable(Protocol):
    """A class of the table: `to_state` gives what is stored, `from_state` checks it and takes it.

    The leaves of `to_state()` are JSON values (finite numbers), NumPy arrays of the types in
    `heldout.persist.envelope.DTYPES`, and other persistable objects; they may lie in lists and dicts.
    """

    def to_state(self) -> dict[str, Any]: ...

    @classmethod
    def from_state(cls, state: Any) -> Any: ...


def resolve(name: str) -> type[Any]:
    """The class that the table has under `name`; KeyError when the table has no such name."""
    module, _, attribute = CLASSES[name].partition(":")
    found = getattr(importlib.import_module(module), attribute)
    assert isinstance(found, type)
    return found


def name_of(obj: object) -> str | None:
    """The name under which the table has the class of `obj`, or None: a subclass is not its parent."""
    wanted = f"{type(obj).__module__}:{type(obj).__qualname__}"
    for name, place in CLASSES.items():
        if place == wanted and resolve(name) is type(obj):
            return name
    return None
