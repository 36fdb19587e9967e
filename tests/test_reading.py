"""Trees in words and drawn: the rules are read back and followed, row by row; the drawing is taken apart."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.exceptions import NotFittedError

from heldout import DecisionTreeClassifier, DecisionTreeRegressor, persist
from heldout.errors import InputError, WorkError
from heldout.trees.drawing import layout
from heldout.trees.reading import Reader, figure, share_text

SVG = "{http://www.w3.org/2000/svg}"


def towns(n: int = 600, seed: int = 0, gaps: float = 0.1) -> tuple[pl.DataFrame, np.ndarray]:
    """A frame with categories and missing values, whose classes hang on them."""
    rng = np.random.default_rng(seed)
    town = rng.choice(["Ulm", "Bern", "Graz", "Linz", "Wien", "Zug", "Genf", "Basel", "Chur"], n)
    age, income = rng.integers(18, 90, n).astype(float), rng.lognormal(10.0, 0.5, n)
    y = (np.isin(town, ["Ulm", "Linz", "Zug"]) & (age > 40)) | (income > 40_000)
    y ^= rng.random(n) < 0.05
    frame = pl.DataFrame(
        {
            "town": [None if gap < gaps else t for t, gap in zip(town.tolist(), rng.random(n), strict=True)],
            "age": [None if gap < gaps else a for a, gap in zip(age.tolist(), rng.random(n), strict=True)],
            "income": income,
        }
    )
    return frame, np.where(y, "yes", "no")


def holds(answer: str, value: Any) -> bool:
    """Whether a row's value is what the text says: "≤ 2.5 or missing", "is Ulm or Graz", "is not Zug"."""
    gap = value is None or value != value
    if answer in ("is known", "is missing"):
        return gap == (answer == "is missing")
    if answer.startswith("is "):
        words = re.split(", | or ", answer.removeprefix("is ").removeprefix("not "))
        return (("missing" if gap else value) in words) != answer.startswith("is not ")
    if gap:
        return answer.endswith(" or missing")
    sign, cut = answer.removesuffix(" or missing").split(" ")
    return value <= float(cut.replace(",", "")) if sign == "≤" else value > float(cut.replace(",", ""))


def follow(text: str, row: dict[str, Any]) -> str:
    """What the rules say of a row, read as a person would: down through the lines that hold."""
    depth, names = 0, sorted(row, key=len, reverse=True)
    for line in text.splitlines()[1:]:
        rail, _, said = line.partition("─ ")
        if (len(rail) - 1) // 3 != depth:
            continue
        condition, arrow, outcome = said.partition(" → ")
        name = next(name for name in names if condition.startswith(f"{name} "))
        answer = condition.removeprefix(f"{name} ") if arrow else condition.removeprefix(f"{name} ").rsplit(": ", 1)[0]
        if holds(answer, row[name]):
            if arrow:
                return outcome.split(" (")[0]
            depth += 1
    raise AssertionError(f"no rule for {row}")


def as_rows(frame: Any, names: list[str]) -> list[dict[str, Any]]:
    table = frame.rows() if isinstance(frame, pl.DataFrame) else np.asarray(frame).tolist()
    return [dict(zip(names, row, strict=True)) for row in table]


@pytest.mark.parametrize("load", [load_iris, load_wine, load_breast_cancer, load_digits])
def test_the_rules_of_classes_say_what_the_tree_says(load: Any) -> None:
    X, y = load(return_X_y=True)
    model = DecisionTreeClassifier().fit(X, y)
    text, names = model.rules(), [f"column {j}" for j in range(X.shape[1])]
    assert text.count("\n") == model.tree_.n_nodes - 1
    for row, said in zip(as_rows(X, names)[::3], model.predict(X)[::3], strict=True):
        assert follow(text, row) == str(said)


def test_the_rules_of_numbers_say_what_the_tree_says() -> None:
    data = load_diabetes(as_frame=True)
    X = data.data.where(np.random.default_rng(0).random(data.data.shape) > 0.1)
    model = DecisionTreeRegressor(max_leaf_nodes=60).fit(X, data.target)
    text = model.rules()
    for row, said in zip(as_rows(X, X.columns.tolist())[::3], model.predict(X)[::3], strict=True):
        assert float(follow(text, row)) == pytest.approx(said, rel=1e-3)
    assert text.splitlines()[0] == "442 rows: mean 152.1, standard deviation 77.01"
    counts = DecisionTreeRegressor(criterion="poisson", max_depth=1).fit(X, data.target).rules()
    assert "standard deviation" not in counts


@pytest.mark.parametrize("gaps", [0.0, 0.1])
@pytest.mark.parametrize("seed", range(3))
def test_the_rules_of_categories_and_gaps_say_what_the_tree_says(seed: int, gaps: float) -> None:
    frame, y = towns(seed=seed, gaps=gaps)
    model = DecisionTreeClassifier().fit(frame, y)
    text = model.rules()
    assert ("missing" in text) == (gaps > 0.0) and model.missing_.tolist() == [gaps > 0.0, gaps > 0.0, False]
    assert model.get_depth() > 4
    for row, said in zip(as_rows(frame, frame.columns), model.predict(frame), strict=True):
        assert follow(text, row) == said
    again = persist.loads(persist.dumps(model))
    assert again.rules() == text and again.missing_.tolist() == model.missing_.tolist()


def test_the_rules_of_iris_as_they_stand() -> None:
    data = load_iris()
    model = DecisionTreeClassifier(max_depth=2).fit(data.data, data.target_names[data.target])
    assert str(model.rules(names=["a", "b", "length", "width"])) == (
        "150 rows: setosa 33%, versicolor 33%, virginica 33%\n"
        "├─ length ≤ 2.45 → setosa (50 rows)\n"
        "└─ length > 2.45: 100 rows\n"
        "   ├─ width ≤ 1.75 → versicolor (54 rows: versicolor 91%, virginica 9%)\n"
        "   └─ width > 1.75 → virginica (46 rows: virginica 98%, versicolor 2%)"
    )
    cut = model.rules(1)
    assert repr(cut) == str(cut)
    assert (
        cut.splitlines()[-1]
        == "└─ column 2 > 2.45 → versicolor (100 rows: versicolor 50%, virginica 50%), 2 leaves below"
    )
    assert model.rules(0).count("\n") == 0
    weighted = DecisionTreeClassifier(max_depth=1, class_weight={"setosa": 5.0}).fit(
        data.data, data.target_names[data.target]
    )
    assert "weighted" in weighted.rules() and "setosa 71%" in weighted.rules()


def test_medians_are_called_so() -> None:
    model = DecisionTreeRegressor(criterion="absolute_error").fit([[1.0], [2.0], [3.0], [4.0]], [1.0, 1.0, 5.0, 9.0])
    assert str(model.rules(1)).startswith("4 rows: median 3")
    assert "the median of 1 training row" in str(model.explain([3.0])) and "Line: median" in model.draw().svg
    weighted = DecisionTreeRegressor(max_depth=1).fit([[1.0], [2.0]], [1.0, 3.0], [1.0, 3.0])
    assert "mean 2.5" in weighted.rules() and "(Rows are counted, means weighted.)" in weighted.rules()


def test_thresholds_have_few_digits_and_enough() -> None:
    X = np.array([[1_234_567.0], [1_234_568.0], [1_234_569.0], [2_000.0], [0.1], [0.2]])
    text = DecisionTreeClassifier().fit(X, [0, 1, 0, 1, 0, 1]).rules()
    for cut in ("0.15", "1,234,567.5", "1,234,568.5"):
        assert f"≤ {cut}" in text
    thirds = np.array([[1.0 / 3.0], [1.0 / 3.0 + 1e-7], [1.0 / 3.0 + 2e-7]])
    text = DecisionTreeClassifier().fit(thirds, [0, 1, 0]).rules()
    assert len(set(re.findall(r"≤ (\S+)", text))) == 2
    assert figure(1999.5, 5) == "1999.5" and figure(0.25, 4) == "0.25" and figure(2_500.0, 1) == "2500"
    assert share_text(0.9996) == "99.96%" and share_text(0.0) == "0%"


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_the_way_of_a_row(kind: str) -> None:
    frame, y = towns()
    numbers = frame["income"].to_numpy()
    sort = DecisionTreeClassifier if kind == "classes" else DecisionTreeRegressor
    model = sort(max_depth=5).fit(frame, y if kind == "classes" else numbers)
    predicted, leaf, paths = model.predict(frame), model.apply(frame), model.decision_path(frame)
    for i in range(0, 600, 40):
        found = model.explain(frame[i])
        assert found.prediction == predicted[i] and found.steps[-1].node == leaf[i]
        assert [step.node for step in found.steps] == sorted(paths[i].indices.tolist())
        assert found.support == model.tree_.count[leaf[i]] == found.steps[-1].rows
        for step in found.steps:
            assert_array_equal(step.value, model.tree_.value[step.node])
        for step, after in zip(found.steps, found.steps[1:], strict=False):
            side = "left" if after.node == model.tree_.left[step.node] else "right"
            assert after.text.endswith(side) and after.text.startswith(frame.columns[after.column])
            assert after.column == model.tree_.feature[step.node]


def test_a_row_may_come_in_any_form() -> None:
    frame, y = towns()
    model = DecisionTreeClassifier(max_depth=4).fit(frame, y)
    row = {"income": 20_000.0, "town": "Ulm", "age": 50.0, "of no use": 1}
    expected = str(model.explain(row))
    assert expected.startswith("Prediction: yes, ") and "town is Ulm, so right" in expected
    for form in (
        ["Ulm", 50.0, 20_000.0],
        np.array(["Ulm", 50.0, 20_000.0], dtype=object),
        pd.Series({"town": "Ulm", "age": 50.0, "income": 20_000.0}),
        pl.DataFrame({"town": ["Ulm"], "age": [50.0], "income": [20_000.0]}),
        pd.DataFrame({"town": ["Ulm"], "age": [50.0], "income": [20_000.0]}),
    ):
        assert str(model.explain(form)) == expected
    gap = str(model.explain(["Paris", None, 1.0]))
    assert "town is missing or not among the categories known, which goes left" in gap
    assert "place is Ulm" in str(model.explain(row, names=["place", "years", "pay"]))
    plain = DecisionTreeClassifier().fit(*load_digits(return_X_y=True))
    assert "Prediction: 0, 100% of" in str(plain.explain(load_digits().data[0]))
    assert "<table>" in plain.explain(load_digits().data[0])._repr_html_()


def test_a_value_beside_its_threshold_is_told_from_it() -> None:
    model = DecisionTreeClassifier().fit([[1.0], [2.0]], ["low", "high"])
    assert "column 0 is 1.5 ≤ 1.5, so left" in str(model.explain([1.5]))
    assert "column 0 is 1.50000001 > 1.5, so right" in str(model.explain([1.500_000_01]))


def boxes(svg: str) -> list[dict[str, float]]:
    """The nodes' boxes of a drawing."""
    found = [rect.attrib for rect in ET.fromstring(svg).iter(f"{SVG}rect") if rect.get("rx") == "7"]
    return [{name: float(at[name]) for name in ("x", "y", "width", "height")} for at in found]


def texts(svg: str) -> list[str]:
    return ["".join(text.itertext()) for text in ET.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("depth", [0, 1, 3, 6, None])
def test_boxes_stand_clear_of_each_other_and_inside(depth: int | None) -> None:
    model = DecisionTreeClassifier().fit(*load_digits(return_X_y=True))
    drawn = model.draw(max_depth=depth)
    found = boxes(str(drawn))
    assert len(found) == (model.tree_.n_nodes if depth is None else int(np.sum(model.tree_.depths <= depth)))
    for box in found:
        assert box["x"] >= 0 and box["x"] + box["width"] <= drawn.width and box["y"] + box["height"] <= drawn.height
    for level in {box["y"] for box in found}:
        row = sorted(box["x"] for box in found if box["y"] == level)
        assert np.all(np.diff(row) >= found[0]["width"] + 10.0)


def test_parents_stand_over_the_middle_of_their_children() -> None:
    model = DecisionTreeRegressor(max_leaf_nodes=40).fit(*load_diabetes(return_X_y=True))
    visits = list(Reader.of(model).walk())
    across = layout(visits, 100.0)
    for node in np.flatnonzero(model.tree_.left >= 0).tolist():
        left = int(model.tree_.left[node])
        assert across[node] == pytest.approx((across[left] + across[left + 1]) / 2)
    alone = layout(visits[:1], 100.0)
    assert list(alone) == [0]


def test_what_a_drawing_says() -> None:
    data = load_iris()
    model = DecisionTreeClassifier().fit(data.data, data.target_names[data.target])
    said = texts(model.draw(names=data.feature_names, max_depth=2)._repr_svg_())
    for text in ("petal length (cm)", "≤ 2.45?", "setosa", "100%", "150 rows", "gini 0.667", "yes", "no"):
        assert text in said
    assert "Decision tree: 9 leaves, depth 5, 150 training rows" in said and "+ 5 leaves below" in said
    numbers = DecisionTreeRegressor(max_depth=2).fit(*load_diabetes(return_X_y=True)).draw()
    assert "± 46.3" in texts(numbers.svg) and "squared error 5,930" in texts(numbers.svg)
    one = DecisionTreeClassifier().fit([[1.0], [2.0]], ["a", "a"]).draw()
    assert len(boxes(one.svg)) == 1 and "Decision tree: 1 leaf, 2 training rows" in texts(one.svg)
    assert repr(one).startswith("Drawing of ") and one.svg in one._repr_html_()


def test_the_bars_are_of_the_rows_given() -> None:
    data = load_iris()
    names = data.target_names[data.target]
    model = DecisionTreeClassifier(max_depth=1).fit(data.data, names)
    some = np.r_[:10, 50:80, 100:120]
    svg = model.draw(data.data[some], names[some]).svg
    assert [text for text in texts(svg) if text.startswith("given")] == [
        "given: 60 rows",
        "given: 10 rows",
        "given: 50 rows",
    ]
    root = ET.fromstring(svg).find(f"{SVG}g")
    assert root is not None
    bars = [float(rect.get("height", 0)) for rect in root.iter(f"{SVG}rect")][1:]
    assert_allclose(np.array(bars) / sum(bars), [1 / 6, 1 / 2, 1 / 3], rtol=1e-3)
    X, y = load_diabetes(return_X_y=True)
    drawn = DecisionTreeRegressor(max_depth=2).fit(X, y).draw(X[:100], y[:100])
    root = ET.fromstring(drawn.svg).find(f"{SVG}g")
    assert root is not None and len(list(root.iter(f"{SVG}rect"))) > 8
    with pytest.raises(InputError, match="class 'tulip', which the tree does not know"):
        model.draw(data.data[:1], ["tulip"])
    with pytest.raises(InputError, match="Give X and y together"):
        model.draw(data.data)


def test_names_and_labels_are_texts_and_no_markup() -> None:
    frame = pl.DataFrame({'<script>"&': ["a<b", "c&d", "a<b", "c&d"] * 3, "\x1b[31m": [1.0, 2.0] * 6})
    svg = DecisionTreeClassifier().fit(frame[:, :1], ["\x07", "<i>"] * 6).draw().svg
    assert "<script>" not in svg and "\x1b" not in svg and "\x07" not in svg
    assert '<script>"&' in texts(svg) and "is a<b?" in texts(svg)
    assert "\x1b" not in DecisionTreeClassifier().fit(frame[:, 1:], [0, 1] * 6).rules()


def test_a_drawing_is_saved_whole_or_not_at_all(tmp_path: Path) -> None:
    drawn = DecisionTreeClassifier().fit(*load_iris(return_X_y=True)).draw()
    path = drawn.save(tmp_path / "tree.svg")
    assert path.read_text(encoding="utf-8") == drawn.svg
    with pytest.raises(WorkError, match="Could not write"):
        drawn.save(tmp_path / "no folder" / "tree.svg")


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda m: m.rules(-1), "max_depth is -1 and must be None or a whole number from 0 up"),
        (lambda m: m.draw(max_depth=1.5), "max_depth is 1.5"),
        (lambda m: m.rules(names=["a"]), "names must be a list of 4 names"),
        (lambda m: m.rules(names="abcd"), "names must be a list of 4 names"),
        (lambda m: m.explain([1.0]), "The row has 1 values, and the tree knows 4 columns"),
        (lambda m: m.explain({0: 1.0}), "The row has no value of 1: give None"),
        (lambda m: m.explain(pd.DataFrame(np.ones((2, 4)))), "The frame has 2 rows: give one"),
    ],
)
def test_what_is_refused(call: Any, sentence: str) -> None:
    model = DecisionTreeClassifier().fit(*load_iris(return_X_y=True))
    with pytest.raises(InputError) as caught:
        call(model)
    assert sentence in str(caught.value)


def test_a_tree_that_is_not_fitted() -> None:
    for call in ("rules", "draw"):
        with pytest.raises(NotFittedError):
            getattr(DecisionTreeClassifier(), call)()


def test_a_great_impurity_is_not_cut_off() -> None:
    X, y = load_diabetes(return_X_y=True)
    model = DecisionTreeRegressor(max_depth=2).fit(X, 1e4 * y)
    drawn = str(model.draw())
    for impurity in model.tree_.impurity:
        assert f">squared error {impurity:.3g}</text>" in drawn
