"""Charts of what a learner has learned: importance, partial dependence, scores by slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from heldout.words import capital, percent, short

BLUE, ORANGE, GREY = "#2f6fb0", "#e07b39", "#8a93a0"
WIDTH = 440
MOST_SLICES = 10


def _values(rows: Sequence[Mapping[str, Any]]) -> alt.Data:
    return alt.Data(
        values=[{k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    )


def importance_chart(rows: Sequence[Mapping[str, Any]], criterion: str, confidence: float) -> Any:
    """The rise of the loss without each column's help; rows of column, lost, low and high, the first on top."""
    shown = [dict(row) | {"column": short(str(row["column"]), 40)} for row in rows]
    title = f"Rise of the loss ({criterion}) when the column's values change rows"
    base = alt.Chart(_values(shown), title="Permutation importance on rows held out")
    y = alt.Y("column:N", sort=[row["column"] for row in shown], title="column")
    x = alt.X("low:Q", title=f"{title}, {percent(confidence)} interval")
    rule = base.mark_rule(strokeWidth=2, opacity=0.6).encode(x=x, x2="high:Q", y=y)
    zero = alt.Chart(_values([{"zero": 0.0}])).mark_rule(strokeDash=[4, 3]).encode(x="zero:Q")
    return (zero + rule + base.mark_circle(size=60, opacity=1).encode(x="lost:Q", y=y)).properties(width=WIDTH)


def dependence_chart(given: Mapping[str, Any]) -> Any:
    """The mean with its band over the rows' own curves; of levels, points with their intervals over the rows' own."""
    numeric, values = given["numeric"], given["values"]
    order = list(map(str, values))
    place = (lambda v: v) if numeric else (lambda v: short(str(v), 24))
    means = [
        {"x": place(v), "mean": m, "low": low, "high": high}
        for v, m, low, high in zip(values, given["mean"], given["low"], given["high"], strict=True)
    ]
    rows = [
        {"x": place(v), "y": said, "row": at}
        for at, curve in enumerate(given["curves"])
        for v, said in zip(values, curve, strict=True)
    ]
    name = short(str(given["column"]), 40)
    x = (
        alt.X("x:Q", title=name, scale=alt.Scale(zero=False, nice=False))
        if numeric
        else alt.X("x:N", title=name, sort=[place(v) for v in order], axis=alt.Axis(labelAngle=-30))
    )
    y = alt.Y("y:Q", title=given["of"], scale=alt.Scale(zero=False))
    base, each = alt.Chart(_values(means)), alt.Chart(_values(rows))
    title = alt.Title(f"Partial dependence on {name}", subtitle="mean with its 95% interval; grey, single rows")
    if numeric:
        own = each.mark_line(color=GREY, opacity=0.25, strokeWidth=1).encode(x=x, y=y, detail="row:N")
        band = base.mark_area(opacity=0.25, color=BLUE).encode(x=x, y="low:Q", y2="high:Q")
        line = base.mark_line(color=BLUE, strokeWidth=3).encode(x=x, y="mean:Q")
    else:
        own = each.mark_tick(color=GREY, opacity=0.3, thickness=1).encode(x=x, y=y)
        band = base.mark_rule(color=BLUE, strokeWidth=2).encode(x=x, y="low:Q", y2="high:Q")
        line = base.mark_point(color=BLUE, filled=True, size=70, opacity=1).encode(x=x, y="mean:Q")
    return (own + band + line).properties(width=300, height=220, title=title)


def slices_chart(given: Mapping[str, Any], criterion: str, greater_is_better: bool) -> Any:
    """The score of the worst slices, each with its interval; the dashed line is that of all rows."""
    rows = [
        {
            "slice": short(f"{item['column']}: {item['level']}", 46),
            "value": item["score"]["value"],
            "low": item["score"]["low"],
            "high": item["score"]["high"],
            "kind": "worse than elsewhere" if item["p"] <= 0.05 else "not beyond chance",
        }
        for item in given["slices"][:MOST_SLICES]
    ]
    better = "higher" if greater_is_better else "lower"
    base = alt.Chart(_values(rows))
    y = alt.Y("slice:N", sort=[row["slice"] for row in rows], title=None, axis=alt.Axis(labelLimit=300))
    kinds = ["worse than elsewhere", "not beyond chance"]
    legend = alt.Legend(orient="bottom")
    colour = alt.Color("kind:N", title=None, legend=legend, scale=alt.Scale(domain=kinds, range=[ORANGE, BLUE]))
    title = f"{capital(criterion)} ({better} is better), 95% intervals"
    x = alt.X("low:Q", title=title, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=6))
    rule = base.mark_rule(strokeWidth=2).encode(x=x, x2="high:Q", y=y, color=colour)
    point = base.mark_circle(size=60, opacity=1).encode(x="value:Q", y=y, color=colour)
    overall = alt.Chart(_values([{"all": given["overall"]}])).mark_rule(strokeDash=[4, 3]).encode(x="all:Q")
    return (overall + rule + point).properties(width=WIDTH, title="The worst slices of the rows held out")
