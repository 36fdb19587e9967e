"""A model in use: new rows in any order and shape, labels as they were, one file without pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import heldout
from heldout import Study
from heldout.errors import InputError


def people(n: int = 200, labels: tuple[Any, Any] = ("no", "maybe")) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    age, town = rng.uniform(20, 70, n), rng.choice(["Ames", "Boone", "Nevada"], n)
    days = rng.integers(0, 900, n)
    y = [labels[int(a + 20 * (t == "Ames") > 50)] for a, t in zip(age, town, strict=True)]
    return pl.DataFrame(
        {
            "age": age,
            "town": town,
            "since": [f"{np.datetime64('2020-01-01') + int(d)}" for d in days],
            "member": rng.choice(["yes", "no"], n),
            "y": y,
        }
    )


@pytest.fixture(scope="module")
def model() -> heldout.Model:
    return Study(people(), "y").fit().model


def test_order_extra_columns_and_library_do_not_matter(model: heldout.Model) -> None:
    new = people(30).drop("y")
    expected = model.predict_proba(new)
    shuffled = new.select("town", "member", "age", "since").with_columns(extra=1)
    np.testing.assert_array_equal(model.predict_proba(shuffled), expected)
    np.testing.assert_array_equal(model.predict_proba(pd.DataFrame(new.to_dict(as_series=False))), expected)
    one_by_one = np.concatenate([model.predict_proba(new[i : i + 1]) for i in range(30)])
    np.testing.assert_allclose(one_by_one, expected, rtol=1e-12)  # BLAS sums one row in another order than thirty
    typed = new.with_columns(pl.col("since").str.to_date(), pl.col("member") == "yes")
    np.testing.assert_array_equal(model.predict_proba(typed), expected)


def test_new_categories_and_missing_values_get_a_prediction(model: heldout.Model) -> None:
    odd = {"age": [None, 40.0], "town": ["Atlantis", None], "since": [None, "2021-05-05"], "member": ["no", None]}
    assert set(model.predict(odd)) <= {"no", "maybe"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda f: f.drop("age"), "lacks the column 'age'"),
        (lambda f: f.rename({"age": "Age"}), "Did you mean 'Age'"),
        (lambda f: f.with_columns(age=pl.lit("old")), "'age' should hold numbers, but row 1 holds 'old'"),
        (lambda f: f.with_columns(since=pl.lit("soon")), "'since' should hold dates, but row 1 holds 'soon'"),
        (lambda f: f.with_columns(member=pl.lit("perhaps")), "'member' should hold yes or no"),
        (lambda f: f.head(0), "no rows"),
    ],
)
def test_what_cannot_be_read_is_said(model: heldout.Model, change: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        model.predict(change(people(20).drop("y")))


@pytest.mark.parametrize("labels", [("no", "maybe"), (0, 1), (1.5, 2.5), (False, True)])
def test_labels_come_back_as_they_were(labels: tuple[Any, Any], tmp_path: Path) -> None:
    study = Study(people(labels=labels), "y", task="classification").fit()
    heldout.save(study.model, tmp_path / "m.model")
    loaded = heldout.load(tmp_path / "m.model")
    new = people(20).drop("y")
    assert set(loaded.predict(new).tolist()) <= set(labels)
    np.testing.assert_array_equal(loaded.predict_proba(new), study.model.predict_proba(new))
    assert loaded.predict(new).dtype == study.model.predict(new).dtype


def test_predictions_are_written_beside_the_rows(model: heldout.Model) -> None:
    table, notices = model.predict_table(people(10).with_columns(y=pl.lit("?")))
    assert table.columns == [*people(1).columns, "predicted y", "probability of maybe", "probability of no"]
    assert table["probability of no"].to_numpy() + table["probability of maybe"].to_numpy() == pytest.approx(
        np.ones(10)
    )
    assert notices == ["Not used: 'y'."]


def test_a_regression_model_gives_numbers() -> None:
    frame = people().with_columns(y=pl.col("age") * 2)
    model = Study(frame, "y", keep=["age"]).fit().model
    assert model.predict(frame.drop("y")) == pytest.approx(frame["y"].to_numpy(), rel=0.1)
    with pytest.raises(InputError, match="no probabilities"):
        model.predict_proba(frame.drop("y"))
