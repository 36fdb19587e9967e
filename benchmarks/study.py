"""`heldout run` as a whole process beside the shortest honest scikit-learn script for the same table.

The script reads, splits 60/20/20 (stratified), encodes with skrub's tabular pipeline, fits the linear learner of
its kind and prints the test score: no intervals, no diagnosis, no ledger, no report, no model file.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from common import DATA, Case, System, main

SCRIPT = """
import pandas as pd
from sklearn.linear_model import {learner}
from sklearn.metrics import {metric}
from sklearn.model_selection import train_test_split
from skrub import tabular_pipeline

table = {read}
X, y = table.drop(columns={target!r}), table[{target!r}]
X, X_test, y, y_test = train_test_split(X, y, test_size=0.2, random_state=0, stratify={stratify})
X, X_val, y, y_val = train_test_split(X, y, test_size=0.25, random_state=0)
model = tabular_pipeline({learner}({options})).fit(X, y)
print(f"test {{{metric}(y_test, model.{predict}(X_test)):.4g}}")
"""

TABLES = {
    "penguins": ("penguins/penguins.csv", "species", False),
    "titanic": ("titanic/titanic_kaggle_train.csv", "Survived", False),
    "ames": ("ames_house_prices/ames_raw.csv", "SalePrice", True),
    "california": ("california_housing/housing.csv.gz", "median_house_value", True),
    "adult": ("adult_income/adult_train.csv.gz", "income", False),
}


def heldout(source: str, target: str) -> Callable[[Path], Sequence[str]]:
    def words(folder: Path) -> Sequence[str]:
        run = ["-m", "heldout", "run", source, "--target", target, "-o", str(folder / "study"), "-q"]
        return [sys.executable, *run]

    return words


def test_score(sentence: str) -> str:
    """The test score in the sentence that `heldout run -q` prints."""
    found = re.search(r" of ([\d.,]+) \(", sentence)
    return f"test {found[1]}" if found else sentence


def script(source: str, target: str, regression: bool) -> Callable[[Path], Sequence[str]]:
    text = SCRIPT.format(
        learner="LinearRegression" if regression else "LogisticRegression",
        options="" if regression else "max_iter=1000",
        metric="root_mean_squared_error" if regression else "log_loss",
        predict="predict" if regression else "predict_proba",
        read=f"pd.read_csv({source!r})",
        target=target,
        stratify="None" if regression else "y",
    )

    def words(folder: Path) -> Sequence[str]:
        path = folder / "script.py"
        path.write_text(textwrap.dedent(text))
        return [sys.executable, str(path)]

    return words


def cases() -> list[Case]:
    found = []
    for name, (place, target, regression) in TABLES.items():
        source = str(DATA / place)
        for state in ("cold", "warm"):
            ours = System("heldout run", version("heldout"), heldout(source, target), state == "cold", test_score)
            theirs = System(
                "scikit-learn script", version("scikit-learn"), script(source, target, regression), state == "cold"
            )
            about = f"{place}, {target}; caches {'empty' if state == 'cold' else 'filled'}"
            repeats = 3 if state == "cold" else 5
            found.append(
                Case(f"{name}-{state}", about, (ours, theirs), repeats, in_quick=name in ("penguins", "adult"))
            )
    return found


if __name__ == "__main__":
    if not DATA.is_dir():
        sys.exit(f"These tables are read from {DATA}, which is not here.")
    main("study", " ".join(str(__doc__).split()), cases())
