"""What the report shows of texts: the worst mistakes on validation rows, and the words that speak for each class."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from heldout.data.table import Table
from heldout.fitting import Fitted, texts_in
from heldout.mistakes import answered, worst
from heldout.problem import Problem, label_text

WRONG, LONGEST = 12, 300  # texts shown, and letters of each
CLASSES, TERMS = 12, 12


def excerpts(problem: Problem, chosen: Fitted, validation: Table, y: NDArray[Any], bags: Any) -> dict[str, Any]:
    """The texts that the chosen learner is most wrong about, and what `bags`, a bag of words or None, goes by."""
    assert problem.text is not None and chosen.prediction is not None
    order, wrong = worst(chosen.prediction, y, WRONG)
    texts = texts_in(validation, problem.text)
    return {
        "mistakes": [
            {"text": _shortened(texts[row]), **answered(row, problem, chosen.prediction, y)}
            for row in order[:wrong][:WRONG].tolist()
        ],
        "telling": [] if bags is None else _telling(problem, bags),
    }


def _telling(problem: Problem, bags: Any) -> list[dict[str, Any]]:
    named = list(bags.telling(TERMS).items())[:CLASSES]
    if problem.classes is None:
        return [{"label": f"{name} {problem.target}", "terms": terms} for name, terms in named]
    return [{"label": label_text(problem.classes[code]), "terms": terms} for code, terms in named]


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST].rstrip()} …"
