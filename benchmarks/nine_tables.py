"""heldout and scikit-learn's own linear learner, through skrub's tabular pipeline, on the very same splits.

For nine real tables: the score of both on validation and on test, with heldout's 95% interval. The question is not
who wins but whether heldout loses by more than the interval. It has a ledger of its own and unmasks the test rows.

    python benchmarks/nine_tables.py [--seed N]
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path
from typing import Any

import polars as pl
from sklearn.linear_model import LinearRegression, LogisticRegression
from skrub import tabular_pipeline

from common import DATA
from heldout import Study
from heldout.fitting import as_pandas, predict
from heldout.seal import Part, unmask
from heldout.words import interval, number

TABLES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ames": ("ames_house_prices/ames_raw.csv", "SalePrice", {}),
    "california": ("california_housing/housing.csv.gz", "median_house_value", {}),
    "titanic": ("titanic/titanic_kaggle_train.csv", "Survived", {}),
    "penguins": ("penguins/penguins.csv", "species", {}),
    "adult": ("adult_income/adult_train.csv.gz", "income", {}),
    "pima": ("medical/pima_diabetes.csv", "diabetes", {}),
    "heart": ("medical/heart_cleveland.csv", "num", {}),
    "spambase": ("spambase/spambase.csv", "spam", {"drop": ["esl_test"]}),
    "seattle": ("temperature/seattle-weather.csv", "tomorrow", {"time": "date"}),
}


def tomorrow(path: Path) -> pl.DataFrame:
    """One row a day: the past week's weather and tomorrow's maximum, as the documentation's first steps make it."""
    past = [
        pl.col(name).shift(k).alias(f"{name}, {k} days ago")
        for name in ("temp_max", "temp_min", "precipitation", "wind")
        for k in range(1, 8)
    ]
    return pl.read_csv(path).with_columns(*past, tomorrow=pl.col("temp_max").shift(-1))[7:-1]


def compare(name: str, seed: int, ledger: Path) -> None:
    place, target, options = TABLES[name]
    data: Any = tomorrow(DATA / place) if name == "seattle" else DATA / place
    study = Study(data, target, seed=seed, ledger=ledger, **options).fit()
    final, problem = study.open_test(again=True), study.problem
    train = study.split.train.table
    learner = LinearRegression() if problem.classes is None else LogisticRegression(max_iter=2000)
    peer = tabular_pipeline(learner).fit(as_pandas(train, problem), problem.y(train))

    def score(part: Part) -> float:
        said = predict(peer, as_pandas(part.table, problem), problem)
        return problem.criterion.score(problem.y(part.table), said)

    ours, first = study.leaderboard[0], final.record["score"]["by_openings"][0]
    test, rows = {"low": first[0], "high": first[1]}, study.split
    print(
        f"{name:<11} {problem.criterion.title:<9} {ours['learner']:<18} {number(ours['validation']['value']):>9} "
        f"{interval(ours['validation']):<19} {number(score(rows.validation)):>9}   {number(final.score.value):>9} "
        f"{interval(test):<19} {number(score(unmask(rows.sealed))):>9}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    warnings.simplefilter("ignore")
    heads = ("validation", "95% interval", "peer", "test", "95% interval", "peer")
    print(f"{'table':<11} {'criterion':<9} {'learner':<18} {heads[0]:>9} {heads[1]:<18} {heads[2]:>9}   {heads[3]:>9} "
          f"{heads[4]:<19} {heads[5]:>9}")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for name in TABLES:
            compare(name, seed, Path(folder) / "ledger.sqlite")


if __name__ == "__main__":
    main()
