"""Tables that come with the dependencies, to try everything on: `heldout run example:breast_cancer`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from heldout.errors import InputError, suggest

PREFIX = "example:"


@dataclass(frozen=True)
class Example:
    """A table of scikit-learn's with the column to predict and one sentence about it."""

    name: str
    target: str
    about: str


EXAMPLES: dict[str, Example] = {
    item.name: item
    for item in (
        Example("breast_cancer", "diagnosis", "569 tumours, 30 measurements of cell nuclei: malignant or benign?"),
        Example(
            "diabetes",
            "progression",
            "442 patients, 10 measurements: progression of the disease a year later",
        ),
        Example("iris", "species", "150 flowers, 4 measurements: which of 3 species?"),
        Example("wine", "cultivar", "178 wines, 13 chemical measurements: from which of 3 cultivars?"),
        Example("digits", "digit", "1,797 handwritten digits, 8 x 8 pixels: which digit?"),
    )
}


def load(name: str) -> tuple[dict[str, list[object]], str]:
    """The columns of an example, and the name of its target.

    Raises InputError for an unknown name and suggests the nearest.

    >>> columns, target = load("iris")
    >>> target, len(columns), len(columns[target])
    ('species', 5, 150)
    """
    name = name.removeprefix(PREFIX)
    if name not in EXAMPLES:
        raise InputError(f"There is no example {name!r}.{suggest(name, EXAMPLES)}")
    from sklearn import datasets

    options = {"scaled": False} if name == "diabetes" else {}
    bunch = getattr(datasets, f"load_{name}")(**options)
    features = [str(column) for column in bunch.feature_names]
    columns: dict[str, list[object]] = {
        column: np.asarray(bunch.data[:, i], float).tolist() for i, column in enumerate(features)
    }
    target = EXAMPLES[name].target
    if name in ("breast_cancer", "iris", "wine"):
        columns[target] = [str(bunch.target_names[code]) for code in bunch.target]
    elif name == "diabetes":
        columns[target] = np.asarray(bunch.target, float).tolist()
    else:
        columns[target] = [str(code) for code in bunch.target]
    return columns, target
