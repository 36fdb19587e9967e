"""Checkpoints: a training as it stands after an epoch, in one file that is written whole or not at all.

A file holds the weights, the optimizer's memory, the best weights so far and the course. With the network, the plan and
the rows, which it names by their digest only, the training goes on as if it had not been interrupted: what is random is
drawn from the seed and the epoch's number.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from heldout.errors import InputError
from heldout.neural.history import Epoch, History
from heldout.neural.layers.base import Layer
from heldout.neural.program import Rows
from heldout.persist import load, save

if TYPE_CHECKING:
    from heldout.neural.train import Course, Plan
    from heldout.persist import State


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What the file stores: the digest of the training it belongs to, numbers, and arrays in their trees' order."""

    digest: str
    numbers: dict[str, Any]
    history: History
    carried: list[Any]
    best: list[Any]

    def to_state(self) -> dict[str, Any]:
        """What a file stores."""
        return {
            "digest": self.digest,
            "numbers": self.numbers,
            "history": self.history.to_state(),
            "carried": self.carried,
            "best": self.best,
        }

    @classmethod
    def from_state(cls, state: State) -> Checkpoint:
        """The checkpoint that `to_state` described."""
        part = state.part("numbers")
        numbers = {
            "best_loss": part.number("best_loss") if part.optional("best_loss") else np.inf,
            "best_epoch": part.integer("best_epoch", low=0),
            "waited": part.integer("waited", low=0),
            "lowered": part.number("lowered", low=0.0, high=1.0),
            "waited_at_plateau": part.integer("waited_at_plateau", low=0),
        }
        history = History.from_state(state.part("history"))
        arrays = [state.arrays(name, dtype=("float32", "float64", "int32", "int64")) for name in ("carried", "best")]
        return cls(state.text("digest"), numbers, history, *arrays)

    @staticmethod
    def digest_of(network: Layer, plan: Plan, rows: Rows, validation: Rows | None) -> str:
        """SHA-256 of all that decides a training. More epochs may be asked for than before."""
        told = hashlib.sha256(
            repr((network, [item for item in vars(plan).items() if item[0] != "max_epochs"])).encode()
        )
        for part in (rows, validation):
            for values in () if part is None else part:
                told.update(repr((values.shape, str(values.dtype))).encode())
                for start in range(0, len(values), 2**16):
                    told.update(np.ascontiguousarray(values[start : start + 2**16]).tobytes())
        return told.hexdigest()


def save_checkpoint(path: str | Path, digest: str | None, course: Course) -> None:
    """Write the course to `path`, whole or not at all; WorkError where it cannot be written."""
    numbers = {
        "best_loss": None if np.isinf(course.best_loss) else course.best_loss,
        "best_epoch": course.best_epoch,
        "waited": course.waited,
        "lowered": course.lowered,
        "waited_at_plateau": course.waited_at_plateau,
    }
    history = History.of(course.epochs, "accuracy", course.best_epoch, "")
    carried, best = ([np.asarray(leaf) for leaf in jax.tree.leaves(tree)] for tree in (course.carried, course.best))
    save(Checkpoint(str(digest), numbers, history, carried, best), path)


def load_checkpoint(path: str | Path, digest: str | None, fresh: Course) -> Course:
    """The course in `path`, on the device of `fresh`, whose arrays it must match.

    Raises ModelFileError for a damaged file and InputError where it belongs to another training.
    """
    found = load(path, expected=Checkpoint)
    if found.digest != digest:
        raise InputError(
            f"The checkpoint {path} is of another training: other rows, another network or other parameters; "
            "resume with the same ones, or start without resume."
        )
    trees = []
    for name, values, like in (("weights", found.carried, fresh.carried), ("best weights", found.best, fresh.best)):
        leaves, shape = jax.tree.flatten(like)
        fits = len(leaves) == len(values) and all(
            np.shape(a) == np.shape(b) and np.asarray(a).dtype == b.dtype for a, b in zip(leaves, values, strict=False)
        )
        if not fits:
            raise InputError(f"The checkpoint {path} has {name} of other shapes than the network's.")
        placed = [jax.device_put(b, next(iter(a.devices()))) for a, b in zip(leaves, values, strict=True)]
        trees.append(jax.tree.unflatten(shape, placed))
    epochs = [Epoch(*values) for values in found.history.epochs()]
    return type(fresh)(trees[0], trees[1], epochs=epochs, **found.numbers)
