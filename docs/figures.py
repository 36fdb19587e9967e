"""Makes the site's figures and its example report when the site is built, into docs/generated."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import polars as pl
from sphinx.application import Sphinx

OUT = Path(__file__).parent / "generated"


def peeking() -> alt.LayerChart:
    """Coin flips against coin flips: the best of N looks at one test set, by chance alone."""
    rng = np.random.default_rng(0)
    looks = np.array([1, 2, 5, 10, 20, 50, 100])
    accuracy = rng.binomial(200, 0.5, size=(4000, looks.max())) / 200
    best = [np.quantile(accuracy[:, :n].max(axis=1), [0.05, 0.5, 0.95]) for n in looks]
    frame = pl.DataFrame(
        {"looks": looks, "low": [b[0] for b in best], "best": [b[1] for b in best], "high": [b[2] for b in best]}
    )
    base = alt.Chart(frame, title="The best of N worthless models on one test set of 200 rows")
    x = alt.X("looks:Q", scale=alt.Scale(type="log"), title="looks at the same test set, N")
    y = alt.Y("best:Q", title="accuracy of the best", scale=alt.Scale(domain=[0.42, 0.66]))
    band = base.mark_area(opacity=0.25).encode(x=x, y=y, y2="high:Q").transform_calculate(best="datum.low")
    line = base.mark_line(point=True).encode(x=x, y=y)
    truth = alt.Chart(pl.DataFrame({"y": [0.5]})).mark_rule(strokeDash=[4, 4]).encode(y="y:Q")
    return (band + line + truth).properties(width=520, height=260)


def widening() -> alt.Chart:
    """How wide an interval gets when N looks must hold together."""
    from scipy.stats import norm

    from heldout.final import level_for

    looks = np.arange(1, 21)
    width = [norm.ppf((1 + level_for(int(n))) / 2) / norm.ppf(0.975) for n in looks]
    frame = pl.DataFrame({"looks": looks, "width": width})
    return (
        alt.Chart(frame, title="Width of the interval after N openings, relative to the first")
        .mark_line(point=True)
        .encode(
            x=alt.X("looks:Q", title="openings, N"),
            y=alt.Y("width:Q", title="relative width", scale=alt.Scale(domain=[1, 1.7])),
        )
        .properties(width=520, height=220)
    )


def pruning() -> alt.LayerChart:
    """The error of a tree's pruning path on the rows that it was grown of, and on others."""
    from heldout import DecisionTreeRegressor

    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 5))
    y = np.sin(2 * X[:, 0]) + X[:, 1] + rng.normal(size=2000)
    return DecisionTreeRegressor().fit(X[:1000], y[:1000]).pruning_curve(X[1000:], y[1000:]).plot()


def learning_curve() -> alt.LayerChart:
    """Error against rows, of a regression on 30 columns of which one counts."""
    from sklearn.linear_model import LinearRegression

    import heldout

    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 30))
    return heldout.learning_curve(LinearRegression(), X, X[:, 0] + rng.normal(size=400)).plot()


def members() -> alt.HConcatChart:
    """An ensemble's error by the number of its members, and the members one by one."""
    from sklearn.datasets import load_digits

    from heldout import RandomSubspaceClassifier

    X, y = load_digits(return_X_y=True)
    return RandomSubspaceClassifier().fit(X[::2], y[::2]).diversity(X[1::2], y[1::2]).plot()


def drawn_tree() -> Any:
    """A tree of iris, to the end."""
    from sklearn.datasets import load_iris

    from heldout import DecisionTreeClassifier

    iris = load_iris()
    model = DecisionTreeClassifier(min_samples_leaf=5).fit(iris.data, iris.target_names[iris.target])
    return model.draw(names=iris.feature_names)


def forest_growth() -> alt.HConcatChart:
    """Time to fit ten trees against rows and against columns, as `benchmarks/trees.py` last measured it."""
    measured = json.loads((Path(__file__).parents[1] / "benchmarks" / "results" / "trees.json").read_text())["rows"]
    titles = {"rows": "rows (50 columns)", "columns": "columns (20,000 rows)"}
    charts = []
    for kind, title in titles.items():
        rows = [
            {"size": int(row["case"].split("-")[1]), "seconds": row["seconds"], "system": row["system"]}
            for row in measured
            if row["case"].startswith(f"{kind}-")
        ]
        charts.append(
            alt.Chart(alt.Data(values=rows), title=f"Ten trees by the number of {kind}")
            .mark_line(point=True)
            .encode(
                x=alt.X("size:Q", scale=alt.Scale(type="log"), title=title),
                y=alt.Y("seconds:Q", scale=alt.Scale(type="log"), title="seconds to fit"),
                color=alt.Color("system:N", title="library"),
            )
            .properties(width=320, height=260)
        )
    return alt.hconcat(*charts)


def regularised() -> alt.VConcatChart:
    """Loss by epoch with and without dropout (wrong labels), and with and without batch norm (deep sigmoids)."""
    from sklearn.datasets import load_digits

    from heldout import MLPClassifier

    X, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(X))
    train, rest = order[:400], order[400:]
    wrong = np.where(rng.random(400) < 0.2, rng.integers(0, 10, 400), y[train])
    common = {"alpha": 0.0, "batch_size": 32, "n_iter_no_change": 1000}
    deep = {"hidden_layer_sizes": (64,) * 5, "activation": "logistic", "max_iter": 40}
    wide = {"hidden_layer_sizes": (128, 128), "max_iter": 60}
    rows = [
        ("A fifth of the labels wrong", wrong, {"without": wide, "dropout 0.5": wide | {"dropout": 0.5}}),
        ("Five layers of sigmoids", y[train], {"without": deep, "batch norm": deep | {"batch_norm": True}}),
    ]
    charts = []
    for title, labels, ways in rows:
        points = []
        for way, parameters in ways.items():
            model = MLPClassifier(**common, **parameters).fit(X[train], labels, validation=(X[rest], y[rest]))
            for part in ("train", "validation"):
                losses = getattr(model.history_, f"{part}_loss").tolist()
                points += [{"epoch": i + 1, "loss": loss, "way": way, "rows": part} for i, loss in enumerate(losses)]
        charts.append(
            alt.Chart(alt.Data(values=points), title=title)
            .mark_line()
            .encode(
                x=alt.X("epoch:Q", title="epochs"),
                y=alt.Y("loss:Q", title="cross-entropy of a row"),
                color=alt.Color("way:N", title="network", sort=list(ways)),
                strokeDash=alt.StrokeDash("rows:N", title="rows"),
            )
            .properties(width=440, height=240)
        )
    return alt.vconcat(*charts).resolve_scale(color="independent")


def vanishing() -> alt.Chart:
    """The norm of δ by layer in two networks of 20 layers at their start, of sigmoids and of rectifiers."""
    import jax

    from heldout import backprop
    from heldout.neural.backprop import delta_plot
    from heldout.neural.layers import Dense, ReLU, Sequential, Sigmoid

    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(256, 32)), rng.integers(0, 3, 256)
    passes = {}
    for title, activation in (("sigmoid", Sigmoid()), ("ReLU", ReLU())):
        network = Sequential(*[part for _ in range(20) for part in (Dense(64), activation)], Dense(3))
        params, _ = network.init(jax.random.key(0), (32,))
        passes[title] = backprop(network, params, X, y)
    return delta_plot(passes)


def example_report() -> None:
    """The report of the README's demo, as a file of the site."""
    from heldout import Study

    with tempfile.TemporaryDirectory() as folder:
        study = Study("example:breast_cancer", ledger=Path(folder) / "ledger.sqlite").fit()
        study.open_test()
        study.report(OUT / "report.html")


def build(app: Sphinx) -> None:
    OUT.mkdir(exist_ok=True)
    for figure in (
        peeking,
        widening,
        learning_curve,
        pruning,
        members,
        drawn_tree,
        forest_growth,
        regularised,
        vanishing,
    ):
        figure().save(OUT / f"{figure.__name__}.svg")
    example_report()


def copy_report(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.name == "html":
        target = Path(app.outdir) / "example-report.html"
        target.write_bytes((OUT / "report.html").read_bytes())


def setup(app: Sphinx) -> dict[str, bool]:
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    app.connect("builder-inited", build)
    app.connect("build-finished", copy_report)
    return {"parallel_read_safe": True}
