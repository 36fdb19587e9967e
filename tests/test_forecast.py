"""Forecasts: windows of dated rows, persistence, the forecaster, and a study of a series from the command line."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from heldout import PersistenceRegressor, RecurrentRegressor, Ridge, SequenceForecaster, Study, persist, read
from heldout.candidates import candidates
from heldout.cli import main
from heldout.errors import InputError
from heldout.report.plots import plots
from heldout.series.clock import Clock
from heldout.series.windows import Windows

START = datetime.datetime(2020, 1, 1)


def days(n: int) -> list[datetime.datetime]:
    return [START + datetime.timedelta(days=i) for i in range(n)]


def weather(n: int = 120, seed: int = 0) -> dict[str, Any]:
    """A series with a memory, what drives it a day later, and a holiday that lifts it at once."""
    rng = np.random.default_rng(seed)
    wind, holiday = rng.normal(size=n), rng.integers(0, 2, n)
    heat = np.zeros(n)
    for i in range(1, n):
        heat[i] = 0.6 * heat[i - 1] + wind[i - 1] + 3.0 * holiday[i] + 0.1 * rng.normal()
    return {"day": days(n), "heat": heat, "wind": wind, "holiday": holiday, "sky": np.where(wind > 0, "clear", "grey")}


# Windows ---------------------------------------------------------------------------------------------------


def test_rows_are_the_past_and_what_came() -> None:
    table = read(weather(20))
    windows = Windows.of(table, "heat", horizon=2, window=3, known=["holiday"])
    assert windows.words == "2 days ahead, from the 3 days before"
    made = windows.learning(table)
    assert made.names == ["day", "holiday", "heat before", "wind before", "sky before", "heat"]
    heat, wind = table.frame["heat"].to_numpy(), table.frame["wind"].to_numpy()
    for row, at in enumerate(range(4, 20)):
        cells = made.frame.row(row, named=True)
        assert cells["day"] == days(20)[at] and cells["heat"] == heat[at]
        assert cells["heat before"] == heat[at - 4 : at - 1].tolist()
        assert cells["wind before"] == wind[at - 4 : at - 1].tolist()
        assert cells["sky before"] == table.frame["sky"][at - 2]
        assert cells["holiday"] == table.frame["holiday"][at]
    assert len(made) == 16


def test_no_row_looks_ahead() -> None:
    """Whatever comes later than a window's end changes nothing in its row but the target and what is known."""
    given = weather(40)
    changed = {name: [*values[:30], *list(values)[:10]] for name, values in given.items()} | {"day": given["day"]}
    spec = Windows.of(read(given), "heat", horizon=3, window=5)
    one, other = (spec.learning(read(data)).frame.drop("heat") for data in (given, changed))
    early = (pl.col("day") - datetime.timedelta(days=3)) < days(40)[30]
    assert one.filter(early).equals(other.filter(early)) and one.filter(early).height == 26
    assert not one.equals(other)


def test_gaps_are_carried_on_and_said() -> None:
    given = weather(30)
    del given["sky"]
    keep = [i for i in range(30) if i not in (10, 11)]
    table = read({name: [values[i] for i in keep] for name, values in given.items()})
    windows = Windows.of(table, "heat", window=4)
    made = windows.learning(table)
    by_day = dict(zip(made.frame["day"].to_list(), made.frame["heat before"].to_list(), strict=True))
    assert days(30)[10] not in by_day and days(30)[11] not in by_day
    heat = given["heat"]
    assert by_day[days(30)[12]] == [heat[8], heat[9], heat[9], heat[9]]
    assert windows.said(table) == [
        "2 steps are missing between the first and the last (2020-01-11, 2020-01-12): nothing is predicted for them, "
        "and in windows the value before stands in."
    ]
    ahead = windows.unseen(table)
    assert ahead.frame["day"][-1] == days(31)[30] and ahead.frame["heat"][-1] is None
    assert ahead.frame["heat before"][-1].to_list() == heat[26:30].tolist()


def test_several_series_do_not_mix() -> None:
    one, other = weather(20), weather(20, seed=1)
    rows = {name: [*one[name], *other[name]] for name in ("day", "heat")} | {"place": ["a"] * 20 + ["b"] * 20}
    table = read(rows)
    made = Windows.of(table, "heat", window=3, series="place").learning(table)
    assert len(made) == 34
    for place, source in (("a", one), ("b", other)):
        mine = made.frame.filter(pl.col("place") == place)
        assert mine["heat"].to_list() == source["heat"][3:].tolist()
        assert mine["heat before"][0].to_list() == source["heat"][:3].tolist()
    with pytest.raises(InputError, match=r"rows 1 and 21 are both of 2020-01-01.*--series COLUMN"):
        Windows.of(table, "heat", window=3).learning(table)


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (["2024-01-01 00:00", "2024-01-01 01:00", "2024-01-01 02:00", "2024-01-01 04:00"], "1 hour"),
        (["2024-01-01", "2024-01-08", "2024-01-15"], "1 week"),
        (["2024-01-31", "2024-02-29", "2024-03-31", "2024-05-31"], "1 month"),
        (["2023-01-01", "2023-04-01", "2023-07-01", "2024-01-01"], "3 months"),
    ],
)
def test_clocks(times: list[str], words: str) -> None:
    table = read({"t": times, "y": [float(i) for i in range(len(times))]}, kinds={"t": "date"})
    clock = Clock.of(table.frame["t"], "a table")
    assert clock.words(1) == words
    places = clock.places(table.frame["t"], table)
    assert clock.at(table.frame["t"][0], places).to_list() == table.frame["t"].to_list()


def test_what_does_not_fit_is_said() -> None:
    given = weather(30)
    table = read(given)
    odd = read(given | {"day": [*days(29), days(30)[29] + datetime.timedelta(hours=5)]})
    with pytest.raises(InputError, match=r"row 30: 2020-01-30 05:00:00 lies between two steps of 1 day"):
        Windows.of(odd, "heat").learning(odd)
    for options, sentence in (
        ({"target": "sky"}, "'sky' was read as category"),
        ({"target": "heat", "window": 40}, "no series has the 41 days"),
        ({"target": "heat", "time": "sky"}, "must hold dates or numbers"),
        ({"target": "heat", "known": ["heat"]}, "cannot be named as known"),
        ({"target": "heat", "known": ["hols"]}, "has no column 'hols'"),
        ({"target": "heat", "horizon": 0}, "horizon .* is 0"),
        ({"target": "heat", "drop": ["day"]}, "has no column of dates"),
    ):
        with pytest.raises(InputError, match=sentence):
            Windows.of(table, **options).learning(table)  # type: ignore[arg-type]
    windows = Windows.of(table, "heat", known=["holiday"])
    with pytest.raises(InputError, match=r"no row for 2020-01-31, and holiday of that time must be known"):
        windows.unseen(table)


# Learners --------------------------------------------------------------------------------------------------


def test_persistence() -> None:
    X = np.arange(24.0).reshape(3, 4, 2)
    assert_array_equal(PersistenceRegressor().fit(X).predict(X), X[:, -1, 0])
    model = PersistenceRegressor(back=3).fit(X)
    assert_array_equal(persist.loads(persist.dumps(model)).predict(X), X[:, 1, 0])
    with pytest.raises(InputError, match="back is 5"):
        PersistenceRegressor(back=5).fit(X)


@pytest.fixture(scope="module")
def series() -> tuple[Any, Any]:
    given = weather(200)
    return given["heat"], np.column_stack([given["wind"], given["holiday"]])


def test_forecaster_learns_as_least_squares_does(series: Any) -> None:
    """By hand: the matrix of lags, and what Ridge makes of it; the coefficients that the series was made with."""
    y, X = series
    model = SequenceForecaster(Ridge(alpha=0.0), window=2, known=(1,)).fit(y[:150], X[:150])
    rows = [[y[t - 2], X[t - 2, 0], y[t - 1], X[t - 1, 0], X[t, 1]] for t in range(2, 200)]
    expected = Ridge(alpha=0.0).fit(rows[:148], y[2:150])
    assert_allclose(model.estimators_[0].coef_, [0, 0, 0.6, 1, 3], atol=0.05)
    assert_allclose(model.predict_rolling(y[150:], X[150:]), expected.predict(rows[148:]))
    assert_allclose(model.predict(X=X[150:151]), expected.predict(rows[148:149]))
    low, high = model.predict_interval(0.9, X=X[150:151])[0]
    assert low < model.predict(X=X[150:151])[0] < high
    again = persist.loads(persist.dumps(model))
    assert_array_equal(again.predict_rolling(y[150:], X[150:]), model.predict_rolling(y[150:], X[150:]))


@pytest.mark.parametrize("step", [1, 3])
def test_forecaster_does_not_look_ahead(series: Any, step: int) -> None:
    y, X = series
    model = SequenceForecaster(window=5, horizon=3, known=(1,), intervals=False).fit(y[:150], X[:150])
    before = model.predict_rolling(y[150:], X[150:], step=step)
    later, other = y[150:].copy(), X[150:].copy()
    later[20:] += 100.0
    other[20:, 0] -= 100.0
    after = model.predict_rolling(later, other, step=step)
    assert_array_equal(after[: 20 + step], before[: 20 + step])
    assert (after[20 + step :] != before[20 + step :]).all()


def test_forecaster_says_what_does_not_fit(series: Any) -> None:
    y, X = series
    with pytest.raises(InputError, match="window of 300 needs more than 301"):
        SequenceForecaster(window=300).fit(y)
    with pytest.raises(InputError, match="known names the column 2"):
        SequenceForecaster(known=(2,)).fit(y, X)
    model = SequenceForecaster(known=(1,), horizon=2).fit(y, X)
    with pytest.raises(InputError, match="X is needed"):
        model.predict()
    with pytest.raises(InputError, match="must have 2 rows of 2 columns"):
        model.predict(X=X[:1])
    holed = np.where(np.arange(200) % 50 == 7, np.nan, y)
    assert np.isfinite(SequenceForecaster().fit(holed).predict()).all()


# The study -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("series") / "weather.csv"
    frame = pl.DataFrame(weather(240)).with_columns(pl.col("day").dt.date())
    frame.write_csv(path)
    return path


def run(*words: str) -> None:
    with pytest.raises(SystemExit) as done:
        main(list(words))
    assert done.value.code == 0


def test_from_the_command_line(written: Path, tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("HELDOUT_LEDGER", str(tmp_path / "ledger.sqlite"))
    monkeypatch.setenv("COLUMNS", "250")
    study = tmp_path / "study"
    options = ["--target", "heat", "--forecast", "1", "--known", "holiday", "--cuts", "2020-06-01/2020-07-15"]
    run("run", str(written), *options, "--learner", "Ridge", "-o", str(study))
    said = capsys.readouterr().out
    assert "Forecast heat, a number, 1 day ahead, from the 14 days before" in said
    assert "The trivial answer, always the last value (1 day before)" in said
    assert "It beats the trivial answer" in said and "for the trivial answer: better by" in said
    loaded = Study.load(study)
    assert not {"day: time", "day: year"} & set(loaded.model.encoder.feature_names_out_)
    tried = {candidate.name: candidate.estimator for candidate in candidates(loaded.problem)}
    assert tried["Lasso"].rule == "min" and tried["RecurrentRegressor"].difference
    assert [len(loaded.split.train), len(loaded.split.validation), loaded.split.sealed.n_rows] == [138, 44, 44]
    assert loaded.split.train.table.frame["day"].max() < loaded.split.validation.table.frame["day"].min()  # type: ignore[operator]
    course, shown = loaded.record["charts"]["course"], loaded.split.validation.table.frame
    assert course["times"][-1].startswith("2020-07-14") and course["actual"] == shown["heat"].to_list()
    off = np.subtract(course["actual"], course["predicted"])
    assert_allclose(np.sqrt(np.mean(off**2)), loaded.leaderboard[0]["validation"]["value"])
    assert "course" in {plot.name for plot in plots(loaded.record)}
    past = tmp_path / "past.csv"
    frame = pl.read_csv(written)
    next_day = pl.DataFrame({"day": ["2020-08-28"], "holiday": [1]})
    pl.concat([frame[-20:], next_day], how="diagonal").write_csv(past)
    run("predict", str(study), str(past), "-o", str(tmp_path / "next.csv"))
    found = pl.read_csv(tmp_path / "next.csv")
    assert found["day"].to_list()[-1].startswith("2020-08-28") and found["heat"][-1] is None
    assert found.height == 7
    wind, heat = frame["wind"][-1], frame["heat"][-1]
    assert abs(found["predicted heat"][-1] - (0.6 * heat + wind + 3.0)) < 0.5


def test_says_when_persistence_is_not_beaten(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("HELDOUT_LEDGER", str(tmp_path / "ledger.sqlite"))
    walk = np.random.default_rng(0).normal(size=200).cumsum()
    study = Study({"day": days(200), "price": walk}, target="price", forecast=1, window=5, learners=["Ridge"]).fit()
    about = {item["code"]: item["message"] for item in study.record["findings"] if item["learner"] == "Ridge"}
    assert "It cannot be told from the trivial answer" in about["H101"]
    assert study.leaderboard[0]["learner"] in ("Ridge", "PersistenceRegressor")
    assert study.open_test().record["gain"] is None or study.record["final"]["gain"]["low"] < 0


@pytest.mark.long
def test_networks_see_windows_as_series(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("HELDOUT_LEDGER", str(tmp_path / "ledger.sqlite"))
    learner = RecurrentRegressor(units=4, max_iter=2)
    study = Study(weather(60), target="heat", forecast=1, window=4, learners=[learner]).fit()
    model = (
        study.model if study.leaderboard[0]["learner"] == "RecurrentRegressor" else study._model("RecurrentRegressor")
    )
    assert model.estimator.in_shape_[0] == 4
    again = persist.loads(persist.dumps(model))
    assert_array_equal(again.predict(weather(30)), model.predict(weather(30)))


def test_persistence_of_real_temperatures(real_data: Path) -> None:
    """The figures that the data came with: 2.582 in Melbourne's 1990, 2.907 in Seattle's 2015."""
    for name, target, year, rmse in (
        ("melbourne-daily-min", "Temp", 1990, 2.582),
        ("seattle-weather", "temp_max", 2015, 2.907),
    ):
        table = read(real_data / "temperature" / f"{name}.csv")
        made = Windows.of(table, target).learning(table)
        time = next(column.name for column in made.columns if column.kind == "date")
        last = made.frame.filter(pl.col(time).dt.year() == year)
        off = last[target].to_numpy() - last[f"{target} before"].to_numpy()[:, -1]
        assert round(float(np.sqrt(np.mean(off**2))), 3) == rmse
