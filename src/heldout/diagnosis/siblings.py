"""Which learners are siblings: of one family, so that one is the other made simpler or richer.

Only a sibling can show that a learner overfits. Another learner may be better for a reason of its own (a straight line
where the truth is straight) without the first having too much freedom.
"""

from __future__ import annotations

from typing import Any

FAMILIES: tuple[frozenset[str], ...] = (  # beside learners of one class, which always are siblings
    frozenset({"LinearRegression", "Ridge", "Lasso", "ElasticNet", "PolynomialRegression"}),
    frozenset({"SoftmaxClassifier", "LogisticRegression"}),
    frozenset({"DecisionTreeRegressor", "RandomForestRegressor"}),
    frozenset({"DecisionTreeClassifier", "RandomForestClassifier"}),
)
RICHER: dict[str, tuple[str, ...]] = {  # more can be said in the second: it may show that the first underfits
    **dict.fromkeys(
        ("LinearRegression", "Ridge", "Lasso", "ElasticNet", "PolynomialRegression"),
        ("RandomForestRegressor", "MLPRegressor"),
    ),
    **dict.fromkeys(
        ("SoftmaxClassifier", "MarginClassifier", "LogisticRegression"), ("RandomForestClassifier", "MLPClassifier")
    ),
}


def relation(learner: Any, other: Any, learner_fits_train_better: bool) -> str | None:
    """What `other` is to `learner`, two fitted estimators: "simpler", "richer", or None where they are no siblings."""
    one, two = type(learner).__name__, type(other).__name__
    if two in RICHER.get(one, ()):
        return None if learner_fits_train_better else "richer"
    if one == two or any(one in family and two in family for family in FAMILIES):
        return by_train(learner_fits_train_better)
    return None


def by_train(learner_fits_train_better: bool) -> str:
    """The simpler of two is the one that follows the training rows less closely."""
    return "simpler" if learner_fits_train_better else "richer"
