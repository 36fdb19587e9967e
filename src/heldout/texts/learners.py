"""Learners of texts as bags of words: linear, and the baseline that networks must beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from heldout.linear.penalised.ridge import Ridge
from heldout.linear.softmax.classifier import SoftmaxClassifier
from heldout.linear.softmax.loss import Array
from heldout.linear.states import Labels
from heldout.texts.bags import Bags
from heldout.texts.given import required

if TYPE_CHECKING:
    from heldout.persist import State


class _BagOfWords(BaseEstimator):  # type: ignore[misc]
    """What both share: the texts become bags, and a linear learner reads those."""

    reads_texts_ = True

    words: int
    least: int
    lower: bool

    def _learn(self, texts: list[str]) -> Any:
        """The bags of the training texts, as rows of numbers."""
        self.bags_ = Bags.learn(texts, words=self.words, least=self.least, lower=self.lower)
        return self.bags_(texts)

    def _read(self, X: Any) -> Any:
        check_is_fitted(self, "bags_")
        return self.bags_(required(X, self))

    def _first(self, weights: Array, most: int) -> list[str]:
        """The terms with the largest weights."""
        return [self.bags_.terms[place] for place in np.argsort(-weights, kind="stable")[:most]]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array, tags.input_tags.one_d_array = True, False, True
        return tags

    def _to_state(self, name: str, linear: Any) -> dict[str, Any]:
        return {"least": int(self.least), "bags": self.bags_, name: linear}

    @classmethod
    def _from_state(cls, state: State, linear: Any, **given: Any) -> Self:
        bags, least = state.object("bags", Bags), state.integer("least", low=1)
        if linear.n_features_in_ != len(bags.terms):
            state.fail("its weights and its terms are not of one number")
        learner = cls(words=bags.words, least=least, lower=bags.lower, **given)
        learner.bags_ = bags
        return learner


class BagOfWordsClassifier(ClassifierMixin, _BagOfWords):  # type: ignore[misc]
    r"""Softmax regression on the words of texts and their pairs: which are there, not in which order.

    .. math:: p(y=k \mid x) = \text{softmax}(W x + b)_k

    where x is what `Bags` makes of a text: for each word and pair, and for the form of each number, how often it is
    there, by how rare it is elsewhere, as a vector of length 1. Words are runs of letters and digits, and marks.

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
        self.softmax_ = softmax.fit(self._learn(texts), y, sample_weight)
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
        return {label: self._first(row, most) for label, row in zip(self.classes_.tolist(), rows, strict=True)}

    def to_state(self) -> dict[str, Any]:
        """What a model file stores of a fitted learner."""
        check_is_fitted(self, "softmax_")
        return self._to_state("softmax", self.softmax_)

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The fitted learner that `to_state` described; ModelFileError where the values do not fit together."""
        softmax = state.object("softmax", SoftmaxClassifier)
        learner = cls._from_state(state, softmax, C=softmax.C, class_weight=softmax.class_weight)
        learner.softmax_ = softmax
        return learner


class BagOfWordsRegressor(RegressorMixin, _BagOfWords):  # type: ignore[misc]
    r"""Ridge regression on the words of texts and their pairs: which are there, not in which order.

    .. math:: \hat y = w^\top x + b

    where x is what `Bags` makes of a text, as for `BagOfWordsClassifier`, and w has `Ridge`'s penalty.

    Parameters
    ----------
    words : int above 0, default 2
        Runs of up to so many words count: 1 words alone, 2 pairs as well.
    least : int above 0, default 1
        Texts in which a term must be.
    lower : bool, default True
        Capitals are read as small letters.
    alpha : "cv" or float from 0 up, default 1.0
        The penalty of `Ridge`. "cv" chooses it by cross-validation, which takes some twenty times as long.

    Attributes
    ----------
    bags_ : Bags, with the `terms`
    ridge_ : Ridge, fitted to the bags

    Raises
    ------
    InputError : a parameter is out of range, X holds no texts, or the texts have no words.

    References
    ----------
    S. Kogan and others, Predicting Risk from Financial Reports with Regression, NAACL 2009 (bags of words, with a
    margin loss). A. Hoerl and R. Kennard, Technometrics 12, 1970.

    Examples
    --------
    >>> texts = ["a small flat", "a large house", "a small house", "a large flat"]
    >>> model = BagOfWordsRegressor(words=1).fit(texts, [1.0, 4.0, 2.0, 3.0])
    >>> bool(model.predict(["large"])[0] > 2.5)
    True
    >>> model.telling(1)
    {'lower': ['small'], 'higher': ['large']}
    """

    def __init__(self, *, words: int = 2, least: int = 1, lower: bool = True, alpha: float | str = 1.0) -> None:
        self.words = words
        self.least = least
        self.lower = lower
        self.alpha = alpha

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit to texts `X` (n,) and numbers `y` (n,), with optional row weights (n,)."""
        texts = required(X, self)
        check_consistent_length(texts, y)
        self.ridge_ = Ridge(alpha=self.alpha).fit(self._learn(texts), y, sample_weight)
        return self

    def predict(self, X: Any) -> Array:
        """The number that belongs to each text (n,)."""
        check_is_fitted(self, "ridge_")
        return np.asarray(self.ridge_.predict(self._read(X)))

    def telling(self, most: int = 10) -> dict[str, list[str]]:
        """The terms that lower the prediction most, and those that raise it most, by their weights."""
        check_is_fitted(self, "ridge_")
        weights = self.ridge_.coef_
        return {"lower": self._first(-weights, most), "higher": self._first(weights, most)}

    def to_state(self) -> dict[str, Any]:
        """What a model file stores of a fitted learner."""
        check_is_fitted(self, "ridge_")
        return self._to_state("ridge", self.ridge_)

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The fitted learner that `to_state` described; ModelFileError where the values do not fit together."""
        ridge = state.object("ridge", Ridge)
        learner = cls._from_state(state, ridge, alpha=ridge.alpha)
        learner.ridge_ = ridge
        return learner
