"""The whole flow in under ten seconds: a table on disk, one command, an honest score, a report, predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from heldout.cli import main


def test_from_a_table_on_disk_to_an_honest_test_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    n = 240
    frame = pl.DataFrame(
        {
            "id": range(1, n + 1),
            "area": rng.uniform(30, 200, n).round(1),
            "town": rng.choice(["Ames", "Boone", "Nevada"], n),
            "built": [f"{year}-05-01" for year in rng.integers(1950, 2020, n)],
            "garage": rng.choice(["yes", "no"], n),
        }
    ).with_columns(price=pl.col("area") * 1000 + pl.Series(rng.normal(0, 5000, n)).round(0))
    frame.write_csv("houses.csv")
    with pytest.raises(SystemExit) as stop:
        main(["run", "houses.csv", "--target", "price", "-o", "study", "-q"])
    assert not stop.value.code
    with pytest.raises(SystemExit) as stop:
        main(["predict", "study", "houses.csv"])
    assert not stop.value.code
    made = pl.read_csv("houses-predictions.csv")
    errors = made["predicted price"] - made["price"]
    assert float(np.sqrt((errors.to_numpy() ** 2).mean())) < 6000
    assert Path("study/report.html").stat().st_size < 1_500_000
