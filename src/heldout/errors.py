"""The errors that heldout raises: one clear sentence for a person, and an exit code for the command line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HeldoutError(Exception):
    """Base of every error that heldout raises on purpose. Its text is one sentence for a person."""

    exit_code = 1


class InputError(HeldoutError, ValueError):
    """What was given is wrong: the data, a column's name, an option. Exit code 2."""

    exit_code = 2


class WorkError(HeldoutError, RuntimeError):
    """The input was right but the work failed: a learner, a disk, an interrupted process. Exit code 1."""


class ModelFileError(HeldoutError, ValueError):
    """A model file is damaged, of another version, or holds what no heldout model can hold."""


class SealError(HeldoutError, RuntimeError):
    """Someone asked a sealed test set for what it does not give."""


class LedgerError(HeldoutError, RuntimeError):
    """The ledger cannot be read or written, or was tampered with."""


class MissingExtraError(HeldoutError, ImportError):
    """An optional dependency is needed; the text names the extra to install."""

    exit_code = 2


def suggest(word: str, known: Iterable[str]) -> str:
    """A closing clause that helps: " Did you mean 'x'?" or the list of what there is."""
    names = list(known)
    lowered = {name.lower(): name for name in reversed(names)}
    near = difflib.get_close_matches(word.lower(), lowered, n=1, cutoff=0.5)
    if near:
        return f" Did you mean {lowered[near[0]]!r}?"
    shown = ", ".join(repr(name) for name in names[:12]) + (", …" if len(names) > 12 else "")
    return f" There are: {shown}." if names else ""
