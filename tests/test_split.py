"""Who goes where: shares, strata, twins, groups, time, given parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout import persist
from heldout.data.read import read
from heldout.errors import InputError
from heldout.problem import Problem
from heldout.seal import unmask
from heldout.split import Split, train_validation_test_split


def make(columns: dict[str, Any], *, target: str = "y", options: dict[str, Any] | None = None, **roles: Any) -> Split:
    table = read(columns)
    return train_validation_test_split(table, Problem.state(table, target, **roles), **(options or {}))


def parts(found: Split) -> dict[str, pl.DataFrame]:
    return {
        "train": found.train.table.frame,
        "validation": found.validation.table.frame,
        "test": unmask(found.sealed).table.frame,
    }


def numbers(n: int, seed: int = 0) -> list[float]:
    return np.random.default_rng(seed).normal(size=n).tolist()


def test_shares_strata_and_completeness() -> None:
    n = 1000
    found = parts(make({"row": [i + 0.5 for i in range(n)], "y": [f"c{int(i % 10 == 0)}" for i in range(n)]}))
    assert [len(frame) for frame in found.values()] == [600, 200, 200]
    assert [frame["y"].value_counts(sort=True)["count"].to_list() for frame in found.values()] == [
        [540, 60],
        [180, 20],
        [180, 20],
    ]
    assert sorted(pl.concat(found.values())["row"].to_list()) == [i + 0.5 for i in range(n)]


def test_a_numeric_target_is_spread_evenly() -> None:
    found = parts(make({"x": numbers(2000), "y": np.exp(numbers(2000, 1)).tolist()}))
    medians = [float(np.median(frame["y"].to_numpy())) for frame in found.values()]
    assert np.ptp(medians) < 0.06


def test_the_same_seed_gives_the_same_split_and_another_another() -> None:
    columns = {"x": numbers(200), "y": numbers(200, 1)}
    one, two, other = (make(columns, options={"seed": s}) for s in (3, 3, 4))
    assert one.train.table.frame.equals(two.train.table.frame)
    assert one.sealed.fingerprint == two.sealed.fingerprint != other.sealed.fingerprint


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.booleans())
def test_twins_always_land_on_one_side(seed: int, copies: int, classes: bool) -> None:
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 30, size=60).astype(float) + 0.5
    x = rng.choice(base, size=60 * copies).tolist()
    y = [f"c{i % 3}" for i in range(len(x))] if classes else rng.normal(size=len(x)).tolist()
    found = parts(make({"x": x, "y": y}))
    sides = [set(frame["x"].to_list()) for frame in found.values()]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])


def test_groups_land_on_one_side_and_twins_join_them() -> None:
    rng = np.random.default_rng(0)
    group = rng.integers(0, 40, size=400)
    x = rng.normal(size=400)
    x[7], x[300] = 5.0, 5.0  # twins in two groups: both groups must stay together
    found = parts(make({"x": x.tolist(), "g": [f"g{i}" for i in group], "y": rng.normal(size=400).tolist()}, group="g"))
    sides = [set(frame["g"].to_list()) for frame in found.values()]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    together = {f"g{group[7]}", f"g{group[300]}"}
    assert sum(together <= side for side in sides) == 1


def test_time_orders_the_parts_and_the_gap_is_empty() -> None:
    rng = np.random.default_rng(0)
    day = rng.permutation(300)
    dates = [f"{np.datetime64('2020-01-01') + int(d)}" for d in day]
    columns = {"date": dates, "x": numbers(300), "y": numbers(300, 1)}
    found = parts(make(columns, time="date"))
    assert found["train"]["date"].max() < found["validation"]["date"].min()
    assert found["validation"]["date"].max() < found["test"]["date"].min()
    gapped = make(columns, time="date", options={"gap": "7d"})
    wide = parts(gapped)
    assert (wide["validation"]["date"].min() - wide["train"]["date"].max()).days > 7
    assert gapped.dropped == 14
    assert gapped.train.units.max() > 10 and len(np.unique(gapped.train.units)) < len(gapped.train)


def test_time_and_groups_together() -> None:
    rng = np.random.default_rng(1)
    time = np.sort(rng.uniform(0, 100, 600))
    group = (time // 5).astype(int) + rng.integers(0, 3, 600)
    made = make(
        {"t": time.tolist(), "g": [f"g{i}" for i in group], "x": numbers(600), "y": numbers(600, 2)},
        time="t",
        group="g",
    )
    found = parts(made)
    sides = [set(frame["g"].to_list()) for frame in found.values()]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    assert found["train"]["t"].max() < found["validation"]["t"].min() < found["test"]["t"].min()
    assert made.dropped > 0 and "are in no part" in " ".join(made.notes)


def test_rows_of_one_time_stay_together() -> None:
    found = parts(make({"t": [float(i // 7) for i in range(210)], "x": numbers(210), "y": numbers(210, 1)}, time="t"))
    sides = [set(frame["t"].to_list()) for frame in found.values()]
    assert not (sides[0] & sides[1] or sides[1] & sides[2])


def test_a_given_column_is_followed_and_validation_taken_from_train_where_it_lacks() -> None:
    names = ["train"] * 120 + ["dev"] * 40 + ["test"] * 40
    columns = {"part": names, "x": numbers(200), "y": numbers(200, 1)}
    made = make(columns, part="part")
    assert [len(frame) for frame in parts(made).values()] == [120, 40, 40]
    flags = {**columns, "part": [0.0] * 160 + [1.0] * 40}
    again = make(flags, part="part")
    assert again.sealed.n_rows == 40
    assert abs(len(again.validation) - 40) <= 2 and "quarter of train" in again.method


def test_twins_are_counted_and_those_that_disagree() -> None:
    x = numbers(80)
    made = make({"x": x + x[:10], "y": numbers(90, 1)})
    assert made.notes[0].startswith("20 rows have an exact twin")
    assert "20 of them have a twin with another y" in made.notes[0]
    near = make({"x": [1.0 + 0.001 * i if i < 3 else 10.0 * i for i in range(90)], "y": numbers(90, 1)})
    assert "3 rows have a near twin" in near.notes[0]


def test_a_class_of_three_rows_is_in_every_part() -> None:
    y = ["rare"] * 3 + ["common"] * 97
    for seed in range(10):
        found = parts(make({"x": numbers(100), "y": y}, options={"seed": seed}))
        assert all("rare" in frame["y"].to_list() for frame in found.values())


def test_it_survives_being_stored() -> None:
    made = make({"x": numbers(100), "word": [f"w{i % 7}" for i in range(100)], "y": numbers(100, 1)})
    back = persist.loads(persist.dumps(made))
    assert back.train.table.frame.equals(made.train.table.frame)
    assert back.problem == made.problem
    assert back.sealed.fingerprint == made.sealed.fingerprint
    assert unmask(back.sealed).table.frame.equals(unmask(made.sealed).table.frame)


@pytest.mark.parametrize(
    ("columns", "roles", "options", "sentence"),
    [
        ({"x": numbers(5), "y": numbers(5, 1)}, {}, {}, "has 5 rows; .* need at least 10"),
        ({"x": numbers(50), "y": numbers(50, 1)}, {}, {"shares": (1, 0, 1)}, "three positive numbers"),
        ({"x": numbers(50), "y": numbers(50, 1)}, {}, {"gap": "7d"}, "needs a time column"),
        (
            {"x": numbers(50), "t": ["a", "b"] * 25, "y": numbers(50, 1)},
            {"time": "t"},
            {},
            "must hold dates or numbers",
        ),
        (
            {"x": numbers(50), "t": ["2020-01-01", "2020-02-01"] * 25, "y": numbers(50, 1)},
            {"time": "t"},
            {"gap": "soon"},
            "not a length of time",
        ),
        ({"x": numbers(50), "g": ["a"] * 50, "y": numbers(50, 1)}, {"group": "g"}, {}, "need at least 3"),
        ({"x": numbers(50), "p": ["train", "hm"] * 25, "y": numbers(50, 1)}, {"part": "p"}, {}, "must hold train"),
        ({"x": numbers(50), "p": ["train", "val"] * 25, "y": numbers(50, 1)}, {"part": "p"}, {}, "no test rows"),
    ],
)
def test_splits_that_cannot_be_made_are_said(
    columns: dict[str, Any], roles: dict[str, Any], options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        make(columns, options=options, **roles)
