"""Real tables with a leak planted in each, and real tables as they are: what do the checks of leaks find?

Used by diagnosis.py. Tables that hold twins or a course of time are cleaned of them, or split by it, beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import polars as pl

from common import DATA

Rng = np.random.Generator
SEEN = ("train", "validation")


@dataclass(frozen=True)
class Case:
    """A table, what is predicted, further options of Study, and the codes of which one must be found (none: clean)."""

    name: str
    frame: pl.DataFrame
    target: str
    options: dict[str, Any] = field(default_factory=dict)
    codes: tuple[str, ...] = ()


# Tables -----------------------------------------------------------------------------------------------------


@cache
def load(path: str) -> pl.DataFrame:
    return pl.read_csv(DATA / path, null_values=["NA", "?", ""], infer_schema_length=None)


def some(frame: pl.DataFrame, rows: int, seed: int) -> pl.DataFrame:
    """So many of the rows, in an order of their own."""
    return frame.sample(min(rows, len(frame)), shuffle=True, seed=seed)


def adult(rows: int, seed: int) -> pl.DataFrame:
    return some(load("adult_income/adult_train.csv.gz"), rows, seed)


def california(rows: int, seed: int) -> pl.DataFrame:
    return some(load("california_housing/housing.csv.gz"), rows, seed)


def spambase(seed: int) -> pl.DataFrame:
    """Without near twins, which it has many of: one row of those with the same words."""
    frame = load("spambase/spambase.csv").drop("esl_test")
    words = frame.select(pl.col(name) > 0 for name in frame.columns if name.startswith(("word", "char"))).hash_rows()
    return some(frame.with_columns(key=words).unique("key", keep="first", maintain_order=True).drop("key"), 4000, seed)


def titanic(seed: int) -> pl.DataFrame:
    return some(load("titanic/titanic_kaggle_train.csv"), 891, seed)


def penguins(seed: int) -> pl.DataFrame:
    return some(load("penguins/penguins.csv"), 344, seed)


def medical(name: str, seed: int) -> pl.DataFrame:
    return some(load(f"medical/{name}.csv"), 1000, seed)


def heart(seed: int) -> pl.DataFrame:
    return medical("heart_cleveland", seed).with_columns(num=pl.col("num") > 0)


def classics(name: str, seed: int) -> pl.DataFrame:
    return some(load(f"small_classics/{name}"), 2000, seed)


def flights(rows: int, seed: int) -> pl.DataFrame:
    """What is known before a flight leaves, and whether it arrives more than a quarter of an hour late."""
    frame = load("nycflights13/flights.csv.gz").filter(pl.col("arr_delay").is_not_null())
    known = ("year", "month", "day", "sched_dep_time", "carrier", "origin", "dest", "distance", "hour", "time_hour")
    return some(frame, rows, seed).select(*known, late=pl.col("arr_delay") > 15)


def weather() -> pl.DataFrame:
    return load("temperature/seattle-weather.csv")


def melbourne() -> pl.DataFrame:
    frame = load("temperature/melbourne-daily-min.csv")
    lags = [pl.col("Temp").shift(lag).alias(f"before {lag}") for lag in range(1, 8)]
    return frame.with_columns(lags).drop_nulls()


# Leaks ------------------------------------------------------------------------------------------------------


def with_parts(frame: pl.DataFrame, rng: Rng) -> pl.DataFrame:
    """A split of the rows that comes with them, at random."""
    return frame.with_columns(
        part=pl.Series(rng.choice(["train", "validation", "test"], len(frame), p=[0.6, 0.2, 0.2]))
    )


def copied(frame: pl.DataFrame, rng: Rng, share: float = 0.08) -> pl.DataFrame:
    """Rows of train once more in validation."""
    frame = with_parts(frame, rng)
    train = frame.filter(pl.col("part") == "train")
    twins = train.sample(int(share * len(train)), seed=1).with_columns(part=pl.lit("validation"))
    return pl.concat([frame, twins])


def jittered(frame: pl.DataFrame, rng: Rng, target: str, share: float = 0.2) -> pl.DataFrame:
    """Rows once more with their numbers measured again: off by a thousandth of the standard deviation."""
    twins = frame.sample(int(share * len(frame)), seed=1)
    floats = [name for name in frame.columns if frame[name].dtype.is_numeric() and name != target]
    noise = {name: 0.001 * float(frame[name].std()) * rng.normal(size=len(twins)) for name in floats}  # type: ignore[arg-type]
    moved = twins.with_columns(pl.col(name).cast(pl.Float64) + pl.Series(noise[name]) for name in floats)
    whole = frame.with_columns(pl.col(floats).cast(pl.Float64))
    return pl.concat([whole, moved]).sample(fraction=1.0, shuffle=True, seed=2)


def told_later(frame: pl.DataFrame, rng: Rng, target: str, wrong: float = 0.01) -> pl.DataFrame:
    """A code that is given when the target is known: several codes a class, some of them wrong."""
    place = frame[target].cast(pl.String).rank("dense").to_numpy()
    said = np.where(rng.random(len(frame)) < wrong, rng.permutation(place), place)
    return frame.with_columns(code=pl.Series([f"{'KMPSTV'[int(at)]}{rng.integers(5)}" for at in said]))


def measured_again(frame: pl.DataFrame, rng: Rng, target: str, noise: float = 0.05) -> pl.DataFrame:
    """The target itself under another name, off by a twentieth of its standard deviation."""
    y = frame[target].cast(pl.Float64)
    return frame.with_columns(estimate=y + pl.Series(noise * float(y.std()) * rng.normal(size=len(y))))  # type: ignore[arg-type]


def filled_where(frame: pl.DataFrame, rng: Rng, target: str, positive: Any) -> pl.DataFrame:
    """A number that is only filled in for one class."""
    value = pl.Series(rng.integers(1, 17, len(frame)).astype(float))
    return frame.with_columns(boat=pl.when(pl.col(target) == positive).then(value))


def numbered_by_target(frame: pl.DataFrame, rng: Rng, target: str) -> pl.DataFrame:
    """Sorted by the target, and numbered with gaps."""
    return frame.sort(target).with_columns(slip=pl.Series(1000 + np.cumsum(rng.integers(1, 9, len(frame)))))


def repeated(frame: pl.DataFrame, rng: Rng, times: int, noise: float) -> pl.DataFrame:
    """Several visits of one patient: the target stays, other numbers move by their noise."""
    frame = frame.with_columns(patient=pl.Series(rng.permutation(len(frame))))
    whole = pl.concat([frame] * times).sample(fraction=1.0, shuffle=True, seed=3)
    floats = [name for name in frame.columns if frame[name].dtype.is_float()]
    moved = {name: noise * float(frame[name].std()) * rng.normal(size=len(whole)) for name in floats}  # type: ignore[arg-type]
    return whole.with_columns(pl.col(name) + pl.Series(moved[name]) for name in floats)


def standardised(frame: pl.DataFrame, target: str) -> pl.DataFrame:
    names = [name for name in frame.columns if frame[name].dtype.is_numeric() and name != target]
    return frame.with_columns((pl.col(name) - pl.col(name).mean()) / pl.col(name).std(ddof=0) for name in names)


def encoded(frame: pl.DataFrame, rng: Rng, column: str, target: str) -> pl.DataFrame:
    """A category as the mean of its rows' targets, over train and validation."""
    frame = with_parts(frame, rng)
    means = frame.filter(pl.col("part").is_in(SEEN)).group_by(column).agg(mean=pl.col(target).cast(pl.Float64).mean())
    return frame.join(means, on=column, how="left", nulls_equal=True, maintain_order="left").drop(column)


def older(frame: pl.DataFrame, by: str) -> pl.DataFrame:
    """Validation before train, test after it."""
    place = pl.Series(np.arange(len(frame)) / len(frame))
    part = pl.when(place < 0.2).then(pl.lit("validation")).when(place < 0.8).then(pl.lit("train"))
    return frame.sort(by).with_columns(part=part.otherwise(pl.lit("test")))


def without_class(frame: pl.DataFrame, rng: Rng, target: str, label: Any) -> pl.DataFrame:
    moved = (pl.col("part") == "validation") & (pl.col(target) == label)
    return with_parts(frame, rng).with_columns(part=pl.when(moved).then(pl.lit("train")).otherwise("part"))


def in_other_units(frame: pl.DataFrame, rng: Rng, column: str, factor: float) -> pl.DataFrame:
    """Half of validation has the column in another unit."""
    moved = pl.Series(rng.random(len(frame)) < 0.5) & (pl.col("part") == "validation")
    frame = with_parts(frame, rng)
    return frame.with_columns(pl.when(moved).then(factor * pl.col(column)).otherwise(column).alias(column))


def apart(frame: pl.DataFrame, column: str) -> pl.DataFrame:
    """Validation is taken from one end of a column."""
    rank = pl.col(column).rank("ordinal") / pl.len()
    part = pl.when(rank < 0.6).then(pl.lit("train")).when(rank < 0.8).then(pl.lit("validation"))
    return frame.with_columns(part=part.otherwise(pl.lit("test")))


def divided(frame: pl.DataFrame, rng: Rng, target: str) -> pl.DataFrame:
    """Two columns that add up to the target."""
    land = pl.Series(rng.uniform(0.1, 0.4, len(frame))) * pl.col(target)
    return frame.with_columns(land=land).with_columns(building=pl.col(target) - pl.col("land"))


def per_unit(frame: pl.DataFrame, target: str, column: str) -> pl.DataFrame:
    """The target as a rate, beside the column that it was divided by."""
    return frame.with_columns(rate=pl.col(target) / pl.col(column))


def graded(seed: int) -> pl.DataFrame:
    """Prices as grades from 3 to 8, a fifth of the rows twice, a random split that comes with them."""
    frame = grades().sample(1500, seed=seed)
    rng = np.random.default_rng(seed)
    return with_parts(pl.concat([frame, frame.sample(fraction=0.2, seed=seed)]), rng)


def fresh(seed: int) -> pl.DataFrame:
    """Rows that `graded` does not have."""
    return grades().join(
        graded(seed).drop("part", "grade"), on=grades().drop("grade").columns, how="anti", nulls_equal=True
    )


@cache
def grades() -> pl.DataFrame:
    frame = load("california_housing/housing.csv.gz").drop("ocean_proximity").drop_nulls()
    grade = pl.col("median_house_value").qcut(6, labels=[str(k) for k in range(3, 9)]).cast(pl.String)
    return frame.with_columns(grade=grade).drop("median_house_value")


PARTS = {"part": "part"}
VALUE, INCOME, PRICE = "median_house_value", "income", "Sale_Price"


def planted(seed: int = 0) -> list[Case]:
    """Thirty leaks in eleven kinds, and the code that is to find each."""
    rng, s = np.random.default_rng(seed), 100 * seed
    houses = load("ames_house_prices/ames_clean.csv")
    wine, tumours = classics("wine.csv", s + 1), medical("breast_cancer_wdbc", s + 1)
    return [
        Case("adult: copies", copied(adult(3000, s + 1), rng), INCOME, PARTS, ("H501",)),
        Case("california: copies", copied(california(3000, s + 1), rng), VALUE, PARTS, ("H501",)),
        Case("pima: copies", copied(medical("pima_diabetes", s + 1), rng), "diabetes", PARTS, ("H501",)),
        Case("wine: near twins", jittered(wine, rng, "cultivar"), "cultivar", {}, ("H501",)),
        Case("california: near twins", jittered(california(4000, s + 2), rng, VALUE), VALUE, {}, ("H501",)),
        Case("wdbc: near twins", jittered(tumours, rng, "diagnosis"), "diagnosis", {}, ("H501",)),
        Case("adult: told later", told_later(adult(4000, s + 3), rng, INCOME), INCOME, {}, ("H502",)),
        Case("penguins: told later", told_later(penguins(s + 1), rng, "species"), "species", {}, ("H502",)),
        Case("heart: told later", told_later(heart(s + 1), rng, "num"), "num", {}, ("H502",)),
        Case("titanic: filled where", filled_where(titanic(s + 1), rng, "Survived", 1), "Survived", {}, ("H502",)),
        Case("diabetes: measured again", measured_again(medical("diabetes_progression", s + 1), rng, "progression"),
             "progression", {}, ("H502",)),
        Case("ames: measured again", measured_again(some(houses, 2930, s + 1), rng, PRICE), PRICE, {}, ("H502",)),
        Case("adult: numbered", numbered_by_target(adult(3000, s + 4), rng, INCOME), INCOME, {}, ("H502", "H503")),
        Case("california: numbered", numbered_by_target(california(3000, s + 4), rng, VALUE), VALUE, {},
             ("H502", "H503")),
        Case("pima: numbered", numbered_by_target(medical("pima_diabetes", s + 2), rng, "diabetes"), "diabetes", {},
             ("H502", "H503")),
        Case("seattle: older", older(weather(), "date"), "temp_max", PARTS, ("H504",)),
        Case("flights: older", older(flights(5000, s + 1), "time_hour"), "late", PARTS, ("H504",)),
        Case("melbourne: drawn at random", melbourne(), "Temp", {}, ("H504",)),
        Case("heart: patients", repeated(heart(s + 2), rng, 4, 0.3), "num", {}, ("H505",)),
        Case("pima: patients", repeated(medical("pima_diabetes", s + 3), rng, 3, 0.3), "diabetes", {}, ("H505",)),
        Case("diabetes: patients, named",
             with_parts(repeated(medical("diabetes_progression", s + 2), rng, 4, 0.3), rng),
             "progression", {**PARTS, "group": "patient"}, ("H505",)),
        Case("california: standardised", standardised(california(5000, s + 5).drop_nulls(), VALUE), VALUE, {},
             ("H506",)),
        Case("wdbc: standardised", standardised(tumours, "diagnosis"), "diagnosis", {}, ("H506",)),
        Case("wine: standardised", standardised(classics("wine.csv", s + 2), "cultivar"), "cultivar", {}, ("H506",)),
        Case("ames: encoded", encoded(some(houses, 2930, s + 2), rng, "Neighborhood", PRICE), PRICE, PARTS, ("H506",)),
        Case("ames: parts of the price", divided(some(houses, 2930, s + 3), rng, PRICE), PRICE, {}, ("H507",)),
        Case("california: a rate", per_unit(california(4000, s + 6), VALUE, "median_income"), VALUE, {}, ("H507",)),
        Case("penguins: no Chinstrap", without_class(penguins(s + 2), rng, "species", "Chinstrap"), "species", PARTS,
             ("H508",)),
        Case("adult: other units", in_other_units(adult(4000, s + 7), rng, "hours_per_week", 60.0), INCOME, PARTS,
             ("H510",)),
        Case("california: apart", apart(california(4000, s + 8), "longitude"), VALUE, PARTS, ("H510",)),
    ]  # fmt: skip


def clean(seed: int = 0) -> list[Case]:
    """Thirty-one tables as they are: at random, by time, or with a random split of their own."""
    rng, s = np.random.default_rng(seed), 100 * seed
    houses, raw = load("ames_house_prices/ames_clean.csv"), load("ames_house_prices/ames_raw.csv")
    nyc = load("temperature/nyc_weather_2013.csv.gz").filter(pl.col("origin") == "JFK", pl.col("temp").is_not_null())
    sms = pl.read_csv(
        DATA / "sms_spam/SMSSpamCollection.tsv",
        separator="\t",
        has_header=False,
        quote_char=None,
        new_columns=["y", "x"],
    )
    inland = california(3000, s + 15).filter(pl.col("ocean_proximity") != "ISLAND")
    trec = load("trec_questions/train.csv").drop("fine_label")
    test = some(load("adult_income/adult_test.csv.gz"), 1500, 1).with_columns(part=pl.lit("validation"))
    official = pl.concat([with_parts(adult(4000, s + 11), rng).filter(pl.col("part") != "validation"), test])
    by_time = {"time": "time_hour"}
    return [
        Case("adult", adult(4000, s + 12), INCOME),
        Case("adult, few", adult(600, s + 13), INCOME),
        Case("adult, official files", official, INCOME, PARTS),
        Case("adult, shuffled target", adult(3000, s + 14).with_columns(pl.col(INCOME).shuffle(seed=1)), INCOME),
        Case("california", california(5000, s + 12), VALUE),
        Case("california, few", california(500, s + 13), VALUE),
        Case("california, own split", with_parts(california(4000, s + 14), rng), VALUE, PARTS),
        Case("california, where", inland, "ocean_proximity"),
        Case("penguins", penguins(s + 11), "species"),
        Case("penguins, mass", penguins(s + 12).drop_nulls("body_mass_g"), "body_mass_g"),
        Case("penguins, sex", penguins(s + 13).drop_nulls("sex"), "sex"),
        Case("titanic", titanic(s + 11), "Survived"),
        Case("titanic, own split", with_parts(titanic(s + 12).drop("PassengerId"), rng), "Survived", PARTS),
        Case("titanic, age", titanic(s + 13).drop_nulls("Age"), "Age"),
        Case("ames, tidy", some(houses, 2930, s + 11), PRICE),
        Case("ames, raw", some(raw, 2930, s + 12), "SalePrice"),
        Case("ames, own split", with_parts(some(houses, 1500, s + 13), rng), PRICE, PARTS),
        Case("iris", classics("iris.csv", s + 11), "species"),
        Case("wine", classics("wine.csv", s + 12), "cultivar"),
        Case("digits", classics("digits8x8.csv.gz", s + 11), "digit"),
        Case("pima", medical("pima_diabetes", s + 11), "diabetes"),
        Case("heart", heart(s + 11), "num"),
        Case("wdbc", medical("breast_cancer_wdbc", s + 11), "diagnosis"),
        Case("wdbc, own split", with_parts(medical("breast_cancer_wdbc", s + 12), rng), "diagnosis", PARTS),
        Case("breast cancer, original", medical("breast_cancer_original", s + 11), "class"),
        Case("diabetes", medical("diabetes_progression", s + 11), "progression"),
        Case("flights", flights(4000, s + 11).drop("time_hour"), "late"),
        Case("spambase, without near twins", spambase(s + 11), "spam"),
        Case("nyc weather, by time", nyc.drop("origin", "year"), "temp", by_time),
        Case("sms", some(sms.unique(maintain_order=True), 1500, s + 11), "y"),
        Case("trec", some(trec.unique(maintain_order=True), 1500, s + 12), "label"),
    ]  # fmt: skip
