"""Texts as people hand them over: lists, arrays, a column of a frame."""

from __future__ import annotations

from typing import Any

import numpy as np

from heldout.errors import InputError


def texts_of(X: Any) -> list[str] | None:
    """The texts of a list, array, series or frame of one column; None where X holds no texts, but numbers, say.

    Raises
    ------
    InputError : X is one text, or has something else among its texts.

    >>> texts_of(np.array([["so"], ["it goes"]])), texts_of([[1.0], [2.0]])
    (['so', 'it goes'], None)
    """
    if isinstance(X, str):
        raise InputError("X is one text and must be a list of texts: put it in square brackets.")
    values = X.to_numpy() if hasattr(X, "to_numpy") else X
    if isinstance(values, np.ndarray):
        if values.dtype.kind not in "OUT":
            return None
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        if values.ndim != 1:
            return None
        values = values.tolist()
    if not isinstance(values, list | tuple) or not any(isinstance(item, str) for item in values):
        return None
    for row, item in enumerate(values):
        if not isinstance(item, str):
            raise InputError(f"Row {row} of X (counted from 0) is {item!r} and no text; where there is none, give ''.")
    return list(values)


def required(X: Any, learner: Any) -> list[str]:
    """The texts of X; InputError where it holds none."""
    found = texts_of(X)
    if found is None:
        raise InputError(f"{type(learner).__name__} reads texts: X must be a list, an array or a column of them.")
    return found
