"""Learners of texts as bags of words: linear, and the baseline that networks must beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from heldout.linear.softmax.classifier import SoftmaxClassifier
from heldout.linear.softmax.loss import Array
from heldout.linear.states import Labels
from heldout.texts.bags import Bags
from heldout.texts.given import required

if TYPE_CHECKING:
    from heldout.persist import State


class BagOfWordsClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    r"""Softmax regression on the words of texts and their pairs: which are there, not in which order.

    .. math:: p(y=k \mid x) = \text{softmax}(W x + b)_k

    where x is what `Bags` makes of a text: for each word and pair how often it is there, by how rare it is elsewhere,
    as a vector of length 1. Words are runs of letters and digits, and marks.

    Parameters
    ----------
    words : int above 0, default 2
        Runs of up to so many words count: 1 words alone, 2 pairs as well.
    least : int above 0, default 1
        Texts in which a term must be.
    lower : bool, default True
        Capitals are read as small letters.
    C : float above 0, default 100.0
        As that of `SoftmaxClassifier`: smaller is more regular. (Rows of length 1 bear little penalty: with 1.0, their
        classes would hardly be told apart.)
    class_weight : None, "balanced" or dict from class label to weight, default None

    Attributes
    ----------
    classes_ : array (K,), the class labels, sorted
    bags_ : Bags, with the `terms`
    softmax_ : SoftmaxClassifier, fitted to the bags

    Raises
    ------
    InputError : a parameter is out of range, X holds no texts, the texts have no words, or there is one class only.

    References
    ----------
    T. Joachims, Text categorization with support vector machines, ECML 1998.

    Examples
    --------
    >>> texts = ["free prize now", "call me later", "win a prize", "see you later"]
    >>> model = BagOfWordsClassifier().fit(texts, ["spam", "ham", "spam", "ham"])
    >>> model.predict(["later today", "a free call to win"]).tolist()
    ['ham', 'spam']
    >>> model.telling(1)
    {'ham': ['later'], 'spam': ['prize']}
    """

    reads_texts_ = True

    def __init__(
        self,
        *,
        words: int = 2,
        least: int = 1,
        lower: bool = True,
        C: float = 100.0,
        class_weight: str | Mapping[Any, float] | None = None,
    ) -> None:
        self.words = words
        self.least = least
        self.lower = lower
        self.C = C
        self.class_weight = class_weight

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit to texts `X` (n,) and labels `y` (n,), with optional row weights (n,)."""
        texts = required(X, self)
        check_consistent_length(texts, y)
        softmax = SoftmaxClassifier(C=self.C, class_weight=self.class_weight)
        self.bags_ = Bags.learn(texts, words=self.words, least=self.least, lower=self.lower)
        self.softmax_ = softmax.fit(self.bags_(texts), y, sample_weight)
        return self

    @property
    def classes_(self) -> Labels:
        """The class labels, sorted."""
        check_is_fitted(self, "softmax_")
        return self.softmax_.classes_

    def decision_function(self, X: Any) -> Array:
        """The scores of texts `X` (n,): (n, K), or (n,) for two classes (above 0 means `classes_[1]`)."""
        return self.softmax_.decision_function(self._read(X))

    def predict(self, X: Any) -> Labels:
        """The most probable class of every text (n,)."""
        return self.softmax_.predict(self._read(X))

    def predict_log_proba(self, X: Any) -> Array:
        """log p(y=k | x) (n, K), in the order of `classes_`."""
        return self.softmax_.predict_log_proba(self._read(X))

    def predict_proba(self, X: Any) -> Array:
        """p(y=k | x) (n, K), in the order of `classes_`; every row sums to 1."""
        return self.softmax_.predict_proba(self._read(X))

    def telling(self, most: int = 10) -> dict[Any, list[str]]:
        """For each class the terms that speak for it most, by their weights."""
        check_is_fitted(self, "softmax_")
        rows = list(self.softmax_.coef_)
        if len(self.classes_) == 2:
            rows = [-rows[0], *rows]
        order = [np.argsort(-row, kind="stable")[:most] for row in rows]
        named = zip(self.classes_.tolist(), order, strict=True)
        return {label: [self.bags_.terms[place] for place in places] for label, places in named}

    def _read(self, X: Any) -> Any:
        check_is_fitted(self, "softmax_")
        return self.bags_(required(X, self))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array, tags.input_tags.one_d_array = True, False, True
        return tags

    def to_state(self) -> dict[str, Any]:
        """What a model file stores of a fitted learner."""
        check_is_fitted(self, "softmax_")
        return {"least": int(self.least), "bags": self.bags_, "softmax": self.softmax_}

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The fitted learner that `to_state` described; ModelFileError where the values do not fit together."""
        bags, softmax = state.object("bags", Bags), state.object("softmax", SoftmaxClassifier)
        if softmax.n_features_in_ != len(bags.terms):
            state.fail("its weights and its terms are not of one number")
        least = state.integer("least", low=1)
        learner = cls(words=bags.words, least=least, lower=bags.lower, C=softmax.C, class_weight=softmax.class_weight)
        learner.bags_, learner.softmax_ = bags, softmax
        return learner
