"""The rows of which a learner says the most wrong things, and what it says of a row, as the report shows it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from heldout.metrics import Prediction
from heldout.problem import Problem, label_text

Array = NDArray[Any]


def worst(prediction: Prediction, y: Array, most: int) -> tuple[Array, int]:
    """Rows, the most confidently wrong first, then the right ones, the surest first; and how many are wrong.

    Of numbers those with the largest errors come first, and `most` of them are called wrong.
    """
    if prediction.label is None:
        errors = np.abs(np.asarray(prediction.value) - y)
        return np.argsort(-errors, kind="stable"), min(most, len(y))
    label = np.asarray(prediction.label)
    chances = prediction.probability
    sure = np.ones(len(y)) if chances is None else np.asarray(chances)[np.arange(len(y)), label]
    wrong = label != y
    return np.lexsort((-sure, ~wrong)), int(wrong.sum())


def answered(row: int, problem: Problem, prediction: Prediction, y: Array) -> dict[str, Any]:
    """What a row is and what the learner says, as JSON values: "actual", "said", "probability" of what it says."""
    if problem.classes is None:
        said = float(np.asarray(prediction.value)[row])
        return {"actual": f"{y[row]:.4g}", "said": f"{said:.4g}", "probability": None}
    code = int(np.asarray(prediction.label)[row])
    sure = None if prediction.probability is None else float(np.asarray(prediction.probability)[row, code])
    actual, said_label = (label_text(problem.classes[item]) for item in (int(y[row]), code))
    return {"actual": actual, "said": said_label, "probability": sure}
