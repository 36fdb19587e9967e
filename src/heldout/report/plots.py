"""Charts of a record as Vega-Lite: each with a title, units on its axes and a legend where there are colours.

Field names are ours; names from the data stand in titles only, so that no name can mean anything to Vega.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import altair as alt

from heldout.report.learned import dependence_chart, importance_chart, slices_chart
from heldout.words import capital, short

WIDTH = 440
PARTS = ("train", "validation")
COLOURS = ("#e07b39", "#2f6fb0")  # train, validation: told apart without colour by their shapes too
GREY = "#8a93a0"
SHAPES = ("triangle-up", "circle")
MOST_CLASSES = 30
FLAT_LABEL = 6  # characters of a class that fit beside the next one's
MANY = 20  # marks of one look that are drawn by reference
FORMAT = ",.5~r"

LIGHT: dict[str, Any] = {
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": "#c8ccd2"},
    "axis": {
        "labelLimit": 180,
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
    if "course" in record["charts"]:
        made.append(_course(record, record["charts"]["course"]))
    for shown in record["charts"]["predictions"].values():
        if "actual" in shown:
            made += [_predicted(record, shown), _residuals(record, shown)]
        if "roc" in shown:
            made.append(_roc(record, shown["roc"]))
        if "calibration" in shown:
            made.append(_calibration(record, shown["calibration"], shown["calibrated"]))
        if "confusion" in shown and len(shown["confusion"]["labels"]) <= MOST_CLASSES:
            made.append(_confusion(record, shown["confusion"]))
    return made + _learned(record)


def _learned(record: Mapping[str, Any]) -> list[Plot]:
    """What the chosen learner learned, where that was looked at."""
    known, criterion = record.get("learned"), record["problem"]["criterion"]
    if not known:
        return []
    made = []
    if known["importance"]:
        chart = importance_chart(known["importance"], criterion["title"], 0.95)
        about = "What is lost on validation when a column's values change rows: the longer, the more it relies on it."
        made.append(Plot("learned-importance", "Permutation importance", about, chart.to_dict()))
    for at, given in enumerate(known["dependence"]):
        about = f"The mean {given['of']} with {short(given['column'], 40)} at each value, and single rows' own curves."
        made.append(Plot(f"learned-dependence-{at}", "Partial dependence", about, dependence_chart(given).to_dict()))
    if known["slices"]["judged"]:
        chart = slices_chart(known["slices"], criterion["title"], criterion["greater_is_better"])
        about = "The worst slices of the validation rows; the dashed line is the score of all of them."
        made.append(Plot("learned-slices", "Worst slices", about, chart.to_dict()))
    return made


def _plot(name: str, title: str, about: str, chart: Any) -> Plot:
    spec = chart.properties(title=title).to_dict()
    return Plot(name, title, about, spec)


def _values(rows: list[dict[str, Any]]) -> alt.Data:
    """Rows as a chart's data; numbers in six digits, which is finer than a screen."""
    return alt.Data(
        values=[{k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    )


def _tips(*names: str) -> list[alt.Tooltip]:
    return [alt.Tooltip(f"{name}:Q", title=name, format=FORMAT) for name in names]


def _dashed(*ends: float) -> Any:
    """The dashed line of a perfect prediction."""
    rows = _values([{"v": float(end)} for end in ends])
    return alt.Chart(rows).mark_line(strokeDash=[5, 4], color=GREY).encode(x="v:Q", y="v:Q")


def _leaderboard(record: Mapping[str, Any]) -> Plot:
    criterion = record["problem"]["criterion"]
    rows = [
        {"learner": entry["title"], "part": part, **{key: entry[part][key] for key in ("value", "low", "high")}}
        for entry in record["leaderboard"]
        if entry["validation"]
        for part in PARTS
    ]
    unit = f", {short(criterion['unit'])}" if criterion["unit"] else ""
    better = "higher" if criterion["greater_is_better"] else "lower"
    colour = alt.Color("part:N", title="rows", scale=alt.Scale(domain=PARTS, range=COLOURS))
    shape = alt.Shape("part:N", title="rows", scale=alt.Scale(domain=PARTS, range=SHAPES))
    order = list(dict.fromkeys(row["learner"] for row in rows))
    y = alt.Y("learner:N", title=None, sort=order, axis=alt.Axis(labelLimit=190))
    offset = alt.YOffset("part:N", sort=list(PARTS))
    base = alt.Chart(_values(rows))
    x_title = f"{capital(criterion['title'])}{unit} ({better} is better)"
    bars = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q", title=x_title, scale=alt.Scale(zero=False)), x2="high:Q", y=y, yOffset=offset, color=colour
    )
    tip = [alt.Tooltip(f"{key}:N", title=key) for key in ("learner", "part")] + _tips("value", "low", "high")
    points = base.mark_point(size=70, filled=True, opacity=1).encode(
        x="value:Q", y=y, yOffset=offset, color=colour, shape=shape, tooltip=tip
    )
    chart = (bars + points).properties(width=WIDTH, height=alt.Step(26))
    return _plot(
        "leaderboard",
        "Learners with 95% intervals",
        f"{capital(criterion['title'])} of each learner on train and validation rows.",
        chart,
    )


def _predicted(record: Mapping[str, Any], shown: Mapping[str, Any]) -> Plot:
    target = short(record["problem"]["target"])
    rows = [{"actual": a, "predicted": p} for a, p in zip(shown["actual"], shown["predicted"], strict=True)]
    line = _dashed(min(shown["actual"]), max(shown["actual"]))
    points = (
        alt.Chart(_values(rows))
        .mark_circle(size=28, opacity=0.55, color=COLOURS[1])
        .encode(
            x=alt.X("actual:Q", title=f"actual {target}", scale=alt.Scale(zero=False)),
            y=alt.Y("predicted:Q", title=f"predicted {target}", scale=alt.Scale(zero=False)),
            tooltip=_tips("actual", "predicted"),
        )
    )
    about = f"Predicted against actual {target}; a perfect prediction lies on the dashed line."
    return _plot(
        "predicted", "Predicted and actual, validation rows", about, (line + points).properties(width=WIDTH, height=320)
    )


def _course(record: Mapping[str, Any], shown: Mapping[str, Any]) -> Plot:
    target = short(record["problem"]["target"])
    rows = [
        {"time": time, "value": value, "what": what}
        for what in ("actual", "predicted")
        for time, value in zip(shown["times"], shown[what], strict=True)
    ]
    kind = "T" if isinstance(shown["times"][0], str) else "Q"
    lines = (
        alt.Chart(_values(rows))
        .mark_line(strokeWidth=1.6)
        .encode(
            x=alt.X(f"time:{kind}", title=None, scale=alt.Scale(zero=False)),
            y=alt.Y("value:Q", title=target, scale=alt.Scale(zero=False)),
            color=alt.Color(
                "what:N", title=None, scale=alt.Scale(range=[GREY, COLOURS[1]]), legend=alt.Legend(orient="top")
            ),
            strokeDash=alt.StrokeDash(
                "what:N", title=None, scale=alt.Scale(range=[[1, 0], [4, 2]]), legend=alt.Legend(orient="top")
            ),
            tooltip=[alt.Tooltip(f"time:{kind}"), alt.Tooltip("what:N"), *_tips("value")],
        )
    )
    of = f" of {short(shown['series'])}" if shown["series"] else ""
    about = f"What came and what was predicted: the last {len(shown['times'])} validation steps{of}."
    return _plot("course", "Forecast and what came, validation rows", about, lines.properties(width=WIDTH, height=320))


def _residuals(record: Mapping[str, Any], shown: Mapping[str, Any]) -> Plot:
    target = short(record["problem"]["target"], 24)
    rows = [{"predicted": p, "residual": a - p} for a, p in zip(shown["actual"], shown["predicted"], strict=True)]
    zero = alt.Chart(_values([{"v": 0}])).mark_rule(strokeDash=[5, 4], color=GREY).encode(y="v:Q")
    points = (
        alt.Chart(_values(rows))
        .mark_circle(size=28, opacity=0.55, color=COLOURS[1])
        .encode(
            x=alt.X("predicted:Q", title=f"predicted {target}", scale=alt.Scale(zero=False)),
            y=alt.Y("residual:Q", title=f"actual minus predicted {target}"),
            tooltip=_tips("predicted", "residual"),
        )
    )
    about = "What is left after the prediction: a bend or a funnel here is something the learner has missed."
    return _plot("residuals", "Residuals, validation rows", about, (zero + points).properties(width=WIDTH, height=240))


def _roc(record: Mapping[str, Any], roc: Mapping[str, Any]) -> Plot:
    rows = [{"fpr": f, "tpr": t, "i": i} for i, (f, t) in enumerate(zip(roc["fpr"], roc["tpr"], strict=True))]
    positive, line = short(record["problem"]["positive"], 20), _dashed(0, 1)
    curve = (
        alt.Chart(_values(rows))
        .mark_line(color=COLOURS[1])
        .encode(
            x=alt.X("fpr:Q", title="false alarms (share of the others)"),
            y=alt.Y("tpr:Q", title=f"share of {positive} found"),
            order="i:Q",
        )
    )
    about = "Every threshold at once: the closer to the upper left corner, the better; the dashed line is guessing."
    return _plot("roc", "ROC curve, validation rows", about, (line + curve).properties(width=300, height=300))


def _calibration(record: Mapping[str, Any], given: Mapping[str, Any], after: Mapping[str, Any] | None) -> Plot:
    positive = record["problem"]["positive"]
    what = short(positive, 20) if positive is not None else "the class that is called"
    chart = reliability(given, f"predicted probability of {what}", f"share of {what} observed", after)
    about = (
        "Rows in tenths by predicted probability, with 95% intervals: on the dashed line, a 70% is right seven times "
    )
    about += "in ten." if after is None else "in ten. Calibrated: by rows that are not the ones shown."
    return _plot("calibration", "Calibration, validation rows", about, chart)


def reliability(given: Mapping[str, Any], x: str, y: str, after: Mapping[str, Any] | None = None) -> Any:
    """Predicted and observed shares with intervals, and those after calibration."""
    names = ("predicted", "observed", "low", "high", "rows")
    shown = [("as predicted", given), *([] if after is None else [("calibrated", after)])]
    rows = [
        {"probabilities": kind, **dict(zip(names, values, strict=True))}
        for kind, item in shown
        for values in zip(*(item[name] for name in names), strict=True)
    ]
    kinds = [kind for kind, _ in shown]
    legend = None if after is None else alt.Legend()
    colour = alt.Color(
        "probabilities:N",
        legend=legend,
        scale=alt.Scale(domain=kinds, range=[COLOURS[1], COLOURS[0]][: len(kinds)]),
    )
    shape = alt.Shape(
        "probabilities:N",
        legend=legend,
        scale=alt.Scale(domain=kinds, range=[SHAPES[1], SHAPES[0]][: len(kinds)]),
    )
    base = alt.Chart(_values(rows))
    across = alt.X("predicted:Q", title=x)
    lines = base.mark_line().encode(x=across, y=alt.Y("observed:Q", title=y), color=colour)
    bars = base.mark_rule(opacity=0.5).encode(x=across, y=alt.Y("low:Q", title=y), y2="high:Q", color=colour)
    points = base.mark_point(size=50, filled=True, opacity=1).encode(
        x=across,
        y=alt.Y("observed:Q", title=y),
        color=colour,
        shape=shape,
        tooltip=_tips("predicted", "observed", "low", "high", "rows"),
    )
    return (_dashed(0, 1) + bars + lines + points).properties(width=300, height=300)


def _confusion(record: Mapping[str, Any], given: Mapping[str, Any]) -> Plot:
    labels, counts = given["labels"], given["counts"]
    totals = [max(1, sum(row)) for row in counts]
    rows = [
        {"actual": labels[i], "predicted": labels[j], "count": n, "share": n / totals[i]}
        for i, row in enumerate(counts)
        for j, n in enumerate(row)
    ]
    target = short(record["problem"]["target"], 20)
    flat = max(map(len, labels)) <= FLAT_LABEL
    base = alt.Chart(_values(rows)).encode(
        x=alt.X("predicted:N", title=f"predicted {target}", sort=labels, axis=alt.Axis(labelAngle=0 if flat else -90)),
        y=alt.Y("actual:N", title=f"actual {target}", sort=labels),
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
        text="count:Q", color=alt.condition("datum.share > 0.65", alt.value("white"), alt.value("#1c2129"))
    )
    size = max(160, min(440, 48 * len(labels)))
    about = "How many rows of each class were called what."
    return _plot(
        "confusion", "Confusion matrix, validation rows", about, (cells + text).properties(width=size, height=size)
    )


def svg(plot: Plot) -> str:
    """The chart drawn once, for paper and for readers without scripts; nothing in it but shapes and text."""
    import vl_convert

    padding = {"left": 40, "top": 5, "right": 20, "bottom": 5}
    drawn = str(vl_convert.vegalite_to_svg(plot.spec, config={**LIGHT, "aria": False, "padding": padding}))
    names = {name: f"{plot.name}-{i}" for i, name in enumerate(dict.fromkeys(re.findall(r' id="([^"]+)"', drawn)))}
    return _by_reference(re.sub(r"<[^>]*>", lambda tag: _lighter(tag[0], names), drawn), f"{plot.name}-mark")


def _lighter(tag: str, names: Mapping[str, str]) -> str:
    """A tag without what only a script reads, numbers in hundredths, ids (counted over all drawings) made ours."""
    tag = re.sub(r' (class|role|aria-[a-z]+|pointer-events|xmlns:xlink|version)="[^"]*"', "", tag)
    tag = re.sub(r'( id="|url\(#)([^")]+)', lambda found: found[1] + names.get(found[2], found[2]), tag)
    return re.sub(r"(\d\.\d\d)\d+", r"\1", tag)


def _by_reference(drawn: str, name: str) -> str:
    """Marks that differ only in their place are drawn once and then referred to."""
    pattern = r'<path transform="translate\(([-\d.e]+),([-\d.e]+)\)" (d="[^>]*)/>'
    looks = Counter(look for _, _, look in re.findall(pattern, drawn))
    ((look, count),) = looks.most_common(1) or [("", 0)]
    if count < MANY:
        return drawn
    placed = re.sub(pattern.replace('(d="[^>]*)', re.escape(look)), rf'<use href="#{name}" x="\1" y="\2"/>', drawn)
    return placed.replace(">", f'><defs><path id="{name}" {look}/></defs>', 1)
