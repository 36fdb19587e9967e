"""Learners of texts: bags of words beside scikit-learn's, networks on tokens, what is refused, files, and a study."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn import linear_model
from sklearn.feature_extraction.text import TfidfVectorizer

from heldout import (
    BagOfWordsClassifier,
    BagOfWordsRegressor,
    Model,
    RecurrentClassifier,
    Study,
    TransformerClassifier,
    TransformerRegressor,
    persist,
)
from heldout.candidates import candidates
from heldout.errors import InputError
from heldout.panel import LEARNERS
from heldout.texts.bags import Bags

ORDER = ["the dog bites the man", "the man bites the dog"]
TOKEN = r"\w+(?:'\w+)*|[^\w\s]"


def peer(words: int = 2, least: int = 1, lower: bool = True) -> TfidfVectorizer:
    """scikit-learn's vectorizer on the same terms."""

    def terms(text: str) -> list[str]:
        found = re.findall(TOKEN, text.lower() if lower else text)
        runs = [" ".join(found[i : i + size]) for size in range(1, words + 1) for i in range(len(found) - size + 1)]
        forms = ["".join("0" if letter.isdigit() else letter for letter in word) for word in found]
        return runs + ["#" + form for form, word in zip(forms, found, strict=True) if set(word) & set("0123456789")]

    return TfidfVectorizer(analyzer=terms, min_df=least, sublinear_tf=True)


def messages(n: int = 60, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Short texts, and a label that one of their words gives away."""
    rng = np.random.default_rng(seed)
    filler = ["so", "it", "goes", "on", "and", "the", "rain", "falls", "again", "here"]
    y = rng.random(n) < 0.5
    texts = [" ".join([*rng.choice(filler, rng.integers(2, 8)), "prize" if spam else "Rome"]) for spam in y]
    return [" ".join(rng.permutation(text.split())) for text in texts], np.where(y, "spam", "ham")


def test_bags_are_those_of_scikit_learn() -> None:
    texts = ["A cat, the dog's cat", "dogs!! a", "", "cat a", "call 08712 at 6pm, 08712", "at 7pm", *messages()[0]]
    for words, least, lower in ((1, 1, True), (2, 2, False), (3, 1, True)):
        bags = Bags.learn(texts, words=words, least=least, lower=lower)
        expected = peer(words, least, lower).fit(texts)
        assert bags.terms == list(expected.get_feature_names_out())
        new = [*texts, "cat dog unheard", "  ", "call 99999"]
        np.testing.assert_allclose(bags(new).toarray(), expected.transform(new).toarray(), atol=1e-15)


def test_bag_of_words_is_softmax_on_bags() -> None:
    texts, y = messages()
    model = BagOfWordsClassifier(C=3.0).fit(texts, y)
    x = peer().fit_transform(texts)
    other = linear_model.LogisticRegression(C=3.0, tol=1e-10, max_iter=10_000).fit(x, y)
    np.testing.assert_allclose(model.predict_proba(texts), other.predict_proba(x), atol=1e-5)
    assert model.telling(1) == {"ham": ["rome"], "spam": ["prize"]}
    for given in (np.array(texts), np.array(texts)[:, None], pd.Series(texts), pl.DataFrame({"text": texts})):
        assert (model.predict(given) == model.predict(texts)).all()
    again = persist.loads(persist.dumps(model), source="file", expected=BagOfWordsClassifier)
    np.testing.assert_array_equal(again.predict_proba(texts), model.predict_proba(texts))


def test_bag_of_words_is_ridge_on_bags() -> None:
    texts, _ = messages()
    y = np.array([text.count("rain") + 0.1 * len(text) for text in texts])
    weights = np.linspace(0.5, 2.0, len(y))
    x, model = peer().fit_transform(texts), BagOfWordsRegressor(alpha=0.5).fit(texts, y, weights)
    other = linear_model.Ridge(alpha=0.5, tol=1e-12, solver="lsqr").fit(x, y, weights)
    np.testing.assert_allclose(model.predict(texts), other.predict(x), atol=1e-6)
    assert model.telling(1)["higher"] == [model.bags_.terms[int(other.coef_.argmax())]]
    again = persist.loads(persist.dumps(model), source="file", expected=BagOfWordsRegressor)
    np.testing.assert_array_equal(again.predict(texts), model.predict(texts))
    assert again.get_params() == model.get_params()


def test_the_panel_of_numbers_of_texts(tmp_path: Path) -> None:
    """The bag of words is tried, is what networks must beat, and its words are shown."""
    texts, _ = messages(120)
    y = [text.count("rain") + 0.01 * row for row, text in enumerate(texts)]
    study = Study({"text": texts, "wet": y}, "wet", learners=["BagOfWordsRegressor"], ledger=tmp_path / "ledger.db")
    shown = study.fit().record["charts"]["texts"]["telling"]
    assert [row["label"] for row in shown] == ["lower wet", "higher wet"] and shown[1]["terms"][0].count("rain")
    tried = [candidate.name for candidate in candidates(study.problem)]
    assert tried == ["BaselineRegressor", "BagOfWordsRegressor", "RecurrentRegressor", "TransformerRegressor"]
    assert LEARNERS["BagOfWordsRegressor"].yardstick


@pytest.mark.parametrize(
    ("X", "said"),
    [
        ([[1.0], [2.0]], "reads texts"),
        ("free prize", "a list of texts"),
        (["a cat", None], "Row 1 of X"),
        (["", " "], "no words"),
    ],
)
def test_what_is_no_text_is_refused(X: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        BagOfWordsClassifier().fit(X, ["ham", "spam"])


SMALL = {
    RecurrentClassifier: {"units": 8, "embedding": 8, "learning_rate_init": 0.02, "dropout": 0.1},
    TransformerClassifier: {"width": 8, "heads": 2, "hidden": 8, "learning_rate_init": 0.02, "dropout": 0.1},
}


@pytest.mark.parametrize("kind", SMALL)
def test_networks_read_texts(kind: Any) -> None:
    texts, y = messages()
    model = kind(max_iter=15, least=1, max_tokens=5, **SMALL[kind]).fit(texts, y)
    whole = [text for text in texts if len(text.split()) <= 5]
    assert (model.predict(whole) == [["ham", "spam"]["prize" in text] for text in whole]).all()
    assert model.reads_texts_ and model.in_shape_ == (5,) and model.truncated_ == len(texts) - len(whole)
    cut = [" ".join(text.split()[:5]) for text in texts]
    longer = [*texts, "", "never heard", " ".join(["so"] * 400)]  # nothing, unknown words, more than is read
    chances = model.predict_proba(longer)
    assert np.isfinite(chances).all()
    np.testing.assert_array_equal(chances[: len(texts)], model.predict_proba([*cut, "", "a", "b"])[: len(texts)])
    again = persist.loads(persist.dumps(model), source="file", expected=kind)
    np.testing.assert_array_equal(again.predict_proba(longer), chances)
    assert again.get_params() == model.get_params() and again.truncated_ == model.truncated_
    with pytest.raises(InputError, match="fitted to texts"):
        model.predict([[1.0, 2.0]])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tokens": "wrods"}, "no tokens 'wrods'"),
        ({"max_tokens": "all"}, "max_tokens is 'all'"),
        ({"vocabulary": 0}, "vocabulary is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"positions": "none yet"}, "no positions 'none yet'"),
        ({"width": 0}, "width is 0"),
        ({"heads": 3}, "3 heads"),
        ({"kernel_size": -1}, "kernel_size is -1"),
    ],
)
def test_parameters_out_of_range(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        TransformerRegressor(**given).fit(["a cat", "a dog"], [1.0, 2.0])


def test_a_study_of_texts(tmp_path: Path) -> None:
    texts, y = messages(200)
    lines = [f"{label}\t{text} {row}" for row, (label, text) in enumerate(zip(y, texts, strict=True))]
    lines[0] += ' "so'  # a bare quote
    (tmp_path / "messages.tsv").write_text("\n".join(lines))
    study = Study(
        str(tmp_path / "messages.tsv"), "label", learners=["BagOfWordsClassifier"], ledger=tmp_path / "ledger.db"
    ).fit()
    assert study.problem.form == "texts"
    assert "its columns are called label, text" in study.problem.notices[0]
    shown = study.record["charts"]["texts"]
    assert [row["label"] for row in shown["telling"]] == ["ham", "spam"] and "prize" in shown["telling"][1]["terms"]
    model = persist.loads(persist.dumps(study.model), source="file", expected=Model)
    assert model.predict({"text": ["a prize", "Rome again"]}).tolist() == ["spam", "ham"]
