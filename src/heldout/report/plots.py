"""Charts of a record as Vega-Lite: each with a title, units on its axes and a legend where there are colours.

Field names are ours; names from the data stand in titles only, so that no name can mean anything to Vega.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import altair as alt

WIDTH = 440
PARTS = ("train", "validation")
COLOURS = ("#e07b39", "#2f6fb0")  # train, validation: told apart without colour by their shapes too
SHAPES = ("triangle-up", "circle")
MOST_CLASSES = 30

LIGHT: dict[str, Any] = {
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": "#c8ccd2"},
    "axis": {
        "labelColor": "#3c4450",
        "titleColor": "#3c4450",
        "gridColor": "#e6e8ec",
        "domainColor": "#9aa2ad",
        "tickColor": "#9aa2ad",
    },
    "legend": {"labelColor": "#3c4450", "titleColor": "#3c4450"},
    "title": {"color": "#1c2129", "anchor": "start", "fontSize": 14, "subtitleColor": "#5a6472"},
}


@dataclass(frozen=True)
class Plot:
    """A chart: where it stands on the page, what it shows in a sentence, its Vega-Lite specification."""

    name: str
    title: str
    about: str
    spec: dict[str, Any]


def plots(record: Mapping[str, Any]) -> list[Plot]:
    """Every chart of this record: the leaderboard, then those of the chosen learner."""
    made = [_leaderboard(record)] if any(entry["validation"] for entry in record["leaderboard"]) else []
    for shown in record["charts"]["predictions"].values():
        if "actual" in shown:
            made += [_predicted(record, shown), _residuals(record, shown)]
        if "roc" in shown:
            made += [_roc(record, shown["roc"]), _calibration(record, shown["calibration"])]
        if "confusion" in shown and len(shown["confusion"]["labels"]) <= MOST_CLASSES:
            made.append(_confusion(record, shown["confusion"]))
    return made


def _plot(name: str, title: str, about: str, chart: Any) -> Plot:
    spec = chart.properties(title=title).to_dict()
    return Plot(name, title, about, spec)


def _values(rows: list[dict[str, Any]]) -> alt.Data:
    return alt.Data(values=rows)


def _leaderboard(record: Mapping[str, Any]) -> Plot:
    criterion = record["problem"]["criterion"]
    rows = [
        {"learner": entry["title"], "part": part, **{key: entry[part][key] for key in ("value", "low", "high")}}
        for entry in record["leaderboard"]
        if entry["validation"]
        for part in PARTS
    ]
    unit = f", {criterion['unit']}" if criterion["unit"] else ""
    better = "higher" if criterion["greater_is_better"] else "lower"
    colour = alt.Color("part:N", title="rows", scale=alt.Scale(domain=PARTS, range=COLOURS))
    shape = alt.Shape("part:N", title="rows", scale=alt.Scale(domain=PARTS, range=SHAPES))
    order = list(dict.fromkeys(row["learner"] for row in rows))
    y = alt.Y("learner:N", title=None, sort=order, axis=alt.Axis(labelLimit=190))
    offset = alt.YOffset("part:N", sort=list(PARTS))
    base = alt.Chart(_values(rows))
    x_title = f"{criterion['title']}{unit} ({better} is better)"
    bars = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q", title=x_title, scale=alt.Scale(zero=False)), x2="high:Q", y=y, yOffset=offset, color=colour
    )
    tip = [alt.Tooltip(f"{key}:{kind}", title=key) for key, kind in (("learner", "N"), ("part", "N"), ("value", "Q"))]
    points = base.mark_point(size=70, filled=True, opacity=1).encode(
        x="value:Q", y=y, yOffset=offset, color=colour, shape=shape, tooltip=tip
    )
    chart = (bars + points).properties(width=WIDTH, height=alt.Step(26))
    return _plot(
        "leaderboard",
        "Learners with 95% intervals",
        f"{criterion['title']} of each learner on train and validation.",
        chart,
    )


def _predicted(record: Mapping[str, Any], shown: Mapping[str, Any]) -> Plot:
    target = record["problem"]["target"]
    rows = [{"actual": a, "predicted": p} for a, p in zip(shown["actual"], shown["predicted"], strict=True)]
    low, high = min(shown["actual"]), max(shown["actual"])
    line = (
        alt.Chart(_values([{"v": low}, {"v": high}]))
        .mark_line(strokeDash=[5, 4], color="#8a93a0")
        .encode(x="v:Q", y="v:Q")
    )
    points = (
        alt.Chart(_values(rows))
        .mark_circle(size=28, opacity=0.55, color=COLOURS[1])
        .encode(
            x=alt.X("actual:Q", title=f"actual {target}", scale=alt.Scale(zero=False)),
            y=alt.Y("predicted:Q", title=f"predicted {target}", scale=alt.Scale(zero=False)),
            tooltip=["actual:Q", "predicted:Q"],
        )
    )
    about = f"Predicted against actual {target}; a perfect prediction lies on the dashed line."
    return _plot(
        "predicted", "Predicted and actual, validation rows", about, (line + points).properties(width=WIDTH, height=320)
    )


def _residuals(record: Mapping[str, Any], shown: Mapping[str, Any]) -> Plot:
    target = record["problem"]["target"]
    rows = [{"predicted": p, "residual": a - p} for a, p in zip(shown["actual"], shown["predicted"], strict=True)]
    zero = alt.Chart(_values([{"v": 0}])).mark_rule(strokeDash=[5, 4], color="#8a93a0").encode(y="v:Q")
    points = (
        alt.Chart(_values(rows))
        .mark_circle(size=28, opacity=0.55, color=COLOURS[1])
        .encode(
            x=alt.X("predicted:Q", title=f"predicted {target}", scale=alt.Scale(zero=False)),
            y=alt.Y("residual:Q", title=f"actual minus predicted {target}"),
            tooltip=["predicted:Q", "residual:Q"],
        )
    )
    about = "What is left after the prediction: a bend or a funnel here is something the learner has missed."
    return _plot("residuals", "Residuals, validation rows", about, (zero + points).properties(width=WIDTH, height=240))


def _roc(record: Mapping[str, Any], roc: Mapping[str, Any]) -> Plot:
    rows = [{"fpr": f, "tpr": t, "i": i} for i, (f, t) in enumerate(zip(roc["fpr"], roc["tpr"], strict=True))]
    positive = record["problem"]["positive"]
    line = (
        alt.Chart(_values([{"v": 0}, {"v": 1}])).mark_line(strokeDash=[5, 4], color="#8a93a0").encode(x="v:Q", y="v:Q")
    )
    curve = (
        alt.Chart(_values(rows))
        .mark_line(color=COLOURS[1])
        .encode(
            x=alt.X("fpr:Q", title=f"false alarms: share of the others called {positive}"),
            y=alt.Y("tpr:Q", title=f"share of {positive} found"),
            order="i:Q",
        )
    )
    about = "Every threshold at once: the closer to the upper left corner, the better; the dashed line is guessing."
    return _plot("roc", "ROC curve, validation rows", about, (line + curve).properties(width=300, height=300))


def _calibration(record: Mapping[str, Any], given: Mapping[str, Any]) -> Plot:
    rows = [
        {"predicted": p, "observed": o, "rows": n}
        for p, o, n in zip(given["predicted"], given["observed"], given["rows"], strict=True)
    ]
    positive = record["problem"]["positive"]
    line = (
        alt.Chart(_values([{"v": 0}, {"v": 1}])).mark_line(strokeDash=[5, 4], color="#8a93a0").encode(x="v:Q", y="v:Q")
    )
    points = (
        alt.Chart(_values(rows))
        .mark_line(color=COLOURS[1], point=alt.OverlayMarkDef(size=50, color=COLOURS[1]))
        .encode(
            x=alt.X("predicted:Q", title=f"predicted probability of {positive}"),
            y=alt.Y("observed:Q", title=f"share of {positive} observed"),
            tooltip=["predicted:Q", "observed:Q", "rows:Q"],
        )
    )
    about = "Rows in tenths by predicted probability: on the dashed line, a 70% is right seven times in ten."
    return _plot(
        "calibration", "Calibration, validation rows", about, (line + points).properties(width=300, height=300)
    )


def _confusion(record: Mapping[str, Any], given: Mapping[str, Any]) -> Plot:
    labels, counts = given["labels"], given["counts"]
    totals = [max(1, sum(row)) for row in counts]
    rows = [
        {"actual": labels[i], "predicted": labels[j], "count": n, "share": n / totals[i]}
        for i, row in enumerate(counts)
        for j, n in enumerate(row)
    ]
    base = alt.Chart(_values(rows)).encode(
        x=alt.X("predicted:N", title=f"predicted {record['problem']['target']}", sort=labels),
        y=alt.Y("actual:N", title=f"actual {record['problem']['target']}", sort=labels),
    )
    cells = base.mark_rect().encode(
        color=alt.Color(
            "share:Q",
            title="share of the row",
            scale=alt.Scale(scheme="blues", domain=[0, 1]),
            legend=alt.Legend(format="%"),
        ),
        tooltip=["actual:N", "predicted:N", "count:Q"],
    )
    text = base.mark_text(fontSize=12).encode(
        text="count:Q", color=alt.condition("datum.share > 0.5", alt.value("white"), alt.value("#1c2129"))
    )
    size = max(160, min(440, 48 * len(labels)))
    about = "How many rows of each class were called what."
    return _plot(
        "confusion", "Confusion matrix, validation rows", about, (cells + text).properties(width=size, height=size)
    )


def svg(plot: Plot) -> str:
    """The chart drawn once, for paper and for readers without scripts."""
    import vl_convert

    drawn = str(
        vl_convert.vegalite_to_svg(
            plot.spec, config={**LIGHT, "aria": False, "padding": {"left": 40, "top": 5, "right": 20, "bottom": 5}}
        )
    )
    for number, name in enumerate(dict.fromkeys(re.findall(r'id="([^"]+)"', drawn))):  # counted over all drawings
        drawn = re.sub(rf'(id="|#){re.escape(name)}(?=["\)])', rf"\g<1>{plot.name}-{number}", drawn)
    return re.sub(r"(\d\.\d{2})\d+", r"\1", drawn)  # a hundredth of a point is finer than paper
