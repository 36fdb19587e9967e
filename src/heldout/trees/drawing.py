"""Trees drawn as SVG: in each node what it asks, its rows, its impurity and a small histogram."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from sklearn.utils.validation import check_consistent_length

from heldout.errors import InputError
from heldout.files import write_whole
from heldout.trees.nodes import LEAF
from heldout.trees.reading import Reader, Visit, check_depth, rows_text, share_text
from heldout.words import legible, number, short

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Outline: TypeAlias = list[tuple[float, float]]  # of a branch, level by level: where it begins and ends

COLOURS = ("#4269d0", "#e5a70c", "#e4572e", "#3ca951", "#a463f2", "#17a2b8", "#e377c2", "#9c6b4e", "#7f8c1f", "#6b7280")
INK, SOFT, LINE, RULE, PAPER = "#1c2129", "#5a6472", "#b4bac3", "#dfe2e7", "#ffffff"
FEW, MANY = (240, 246, 252), (126, 174, 219)  # leaves of the least and of the greatest number
BLUE = "#2f6fb0"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"

LEAST_WIDE, MOST_WIDE, TALL, LINE_TALL = 136, 216, 116, 14  # a node, and a line more in it
ASIDE, BELOW, EDGE = 16, 50, 24  # the room between nodes, and about the drawing
INSET, BASE, HIGH = 10, 80, 34  # the bars of a node: from its sides, from its top, how high
BINS = 14
LONG = 1e5  # from which a number is written with its power of ten
TITLE_SIZE = 16
LETTER = 0.57  # of the size of the letters: their mean width
MOST_IN_LEGEND = 20
MANY_CLASSES = 6  # from which the bars of each node have a scale of their own


@dataclass(frozen=True, eq=False, repr=False)
class Drawing:
    """A drawn tree: a notebook shows it, `save` writes it, `str` gives its SVG.

    Attributes
    ----------
    svg : str, a whole SVG document
    width, height : int, in pixels
    """

    svg: str
    width: int
    height: int

    def __str__(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f"Drawing of {self.width} x {self.height} pixels: save('tree.svg') writes it"

    def _repr_svg_(self) -> str:
        return self.svg

    def _repr_html_(self) -> str:
        return f'<div style="overflow-x: auto">{self.svg}</div>'

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the SVG, whole or not at all; WorkError says why where it cannot be written."""
        return write_whole(path, self.svg)


@dataclass(frozen=True, eq=False)
class Bars:
    """The histograms of the nodes (m, b): as shares of a height, and how many rows they are of (m,), if they are given.

    For classes `unit` (m,) is the share that has this height; for numbers `low` and `high` are where the bars end.
    """

    heights: Array
    given: Array | None
    unit: Array
    low: float = 0.0
    high: float = 1.0

    @property
    def tall(self) -> float:
        """How tall a node is."""
        return TALL + (0 if self.given is None else LINE_TALL)


def draw(model: Any, X: Any, y: Any, max_depth: int | None, names: Any) -> Drawing:
    """The drawing of a fitted tree; with `X` and `y`, the bars are of these rows."""
    check_depth(max_depth)
    if (X is None) != (y is None):
        raise InputError("Give X and y together, or neither.")
    reader = Reader.of(model, names)
    visits = list(reader.walk(max_depth))
    bars = _bars(reader) if X is None else _bars_of(model, reader, X, y)
    wide = _wide(reader, visits)
    across = layout(visits, wide)
    title, about = _title(reader), _about(reader, bars)
    written = LETTER * max(TITLE_SIZE * len(title), 12 * len(about)) + 2 * EDGE
    width = max(max(across.values()) + wide / 2 + EDGE, written)
    head, top = _head(reader, title, about, width)
    at = {visit.node: (across[visit.node], top + visit.depth * (bars.tall + BELOW)) for visit in visits}
    below, parts = reader.leaves_below(), list(head)
    parts += [_edge(reader, visit, at, bars.tall) for visit in visits[1:]]
    for visit in visits:
        ends = reader.tree.feature[visit.node] == LEAF or visit.depth == max_depth
        parts.append(_node(reader, visit, at[visit.node], wide, bars, 0 if not ends else int(below[visit.node])))
    height = max(y for _, y in at.values()) + bars.tall + EDGE + 12
    return Drawing(_document(parts, round(width), round(height)), round(width), round(height))


def _wide(reader: Reader, visits: Sequence[Visit]) -> float:
    """How wide the nodes are: as their questions need, within bounds."""
    asked = [line for visit in visits if reader.tree.left[visit.node] >= 0 for line in _said(reader, visit)]
    need = LETTER * 13 * max(map(len, [*asked, *reader.classes, f"{reader.criterion} 1234"]))
    return float(np.clip(round(need) + 2 * INSET, LEAST_WIDE, MOST_WIDE))


def layout(visits: Sequence[Visit], wide: float) -> dict[int, float]:
    """Where the middle of each node, so `wide`, stands: parents over the middle of their children, branches close.

    The outlines of two branches are compared level by level, and they are moved apart until they stand clear (after
    E. Reingold and J. Tilford, IEEE Transactions on Software Engineering 7, 1981).
    """
    children: dict[int, list[int]] = {visit.node: [] for visit in visits}
    for visit in visits[1:]:
        children[visit.parent].append(visit.node)
    half: dict[int, float] = {}
    outlines: dict[int, Outline] = {}
    for visit in reversed(visits):
        both = [outlines.pop(child) for child in children[visit.node]]
        half[visit.node] = (_distance(*both) + wide) / 2.0 if both else 0.0
        outlines[visit.node] = _over(both, half[visit.node])
    across = {0: EDGE + wide / 2 - min(low for low, _ in outlines[0])}
    for visit in visits[1:]:
        across[visit.node] = across[visit.parent] + (-1.0 if visit.is_left else 1.0) * half[visit.parent]
    return across


def _distance(left: Outline, right: Outline) -> float:
    """From one root's end to the other's beginning, so that the branches stand clear on every level that both have."""
    return max(end - begin for (_, end), (begin, _) in zip(left, right, strict=False)) + ASIDE


def _over(both: list[Outline], half: float) -> Outline:
    """The outline of a node and its two branches."""
    if not both:
        return [(0.0, 0.0)]
    left, right = ([(low + move, high + move) for low, high in o] for o, move in zip(both, (-half, half), strict=True))
    shared = min(len(left), len(right))
    beside = [(a[0], b[1]) for a, b in zip(left, right, strict=False)]
    return [(0.0, 0.0), *beside, *left[shared:], *right[shared:]]


def _bars(reader: Reader) -> Bars:
    """Of the training rows: the classes' shares; for numbers no more is known than mean and spread."""
    if reader.classes:
        unit = _unit(reader.tree.value)
        return Bars(reader.tree.value / unit[:, None], None, unit)
    mean = reader.tree.value[:, 0]
    spread = np.sqrt(reader.tree.impurity) if reader.deviation(0) is not None else np.zeros(len(mean))
    low, high = float((mean - spread).min()), float((mean + spread).max())
    return Bars(np.empty((len(mean), 0)), None, np.ones(len(mean)), low, high)


def _unit(shares: Array) -> Array:
    """The share of a class whose bar is as high as can be (m,): 1, or with many classes the greatest in the node."""
    return np.ones(len(shares)) if shares.shape[1] < MANY_CLASSES else shares.max(axis=1)


def _bars_of(model: Any, reader: Reader, X: Any, y: Any) -> Bars:
    """Of rows that are let down the tree."""
    passed, truth = model.decision_path(X), np.asarray(y)
    check_consistent_length(X, truth)
    count = np.asarray(passed.sum(axis=0)).ravel()
    if reader.classes:
        known = truth[:, None] == model.classes_
        if not known.any(axis=1).all():
            raise InputError(
                f"y holds the class {truth[~known.any(axis=1)].tolist()[0]!r}, which the tree does not know."
            )
        shares = passed.T @ known.astype(float) / np.maximum(count, 1)[:, None]
        unit = _unit(np.maximum(shares, reader.tree.value))
        return Bars(shares / unit[:, None], count, unit)
    numbers = truth.astype(np.float64)
    low, high = min(numbers.min(), reader.tree.value.min()), max(numbers.max(), reader.tree.value.max())
    place = np.clip((numbers - low) / max(high - low, np.finfo(float).tiny) * BINS, 0, BINS - 1).astype(int)
    found = np.asarray(passed.T @ np.eye(BINS)[place])
    return Bars(
        found / np.maximum(found.max(axis=1, keepdims=True), 1.0), count, np.ones(len(count)), float(low), float(high)
    )


# The parts of the drawing ------------------------------------------------------------------------------------


def _document(parts: Sequence[str], width: int, height: int) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" font-family="{FONT}" font-size="12" fill="{INK}">'
        f'<rect width="{width}" height="{height}" fill="{PAPER}"/>{"".join(parts)}</svg>'
    )


def _title(reader: Reader) -> str:
    leaves, depth = reader.tree.n_leaves, int(reader.tree.depths.max())
    what = "1 leaf" if leaves == 1 else f"{leaves:,} leaves, depth {depth}"
    return f"Decision tree: {what}, {rows_text(int(reader.tree.count[0]), 'training ')}"


def _head(reader: Reader, title: str, about: str, width: float) -> tuple[list[str], float]:
    """Title and legend, and where the root may begin."""
    lines = [_text(EDGE, 32, title, size=TITLE_SIZE, weight=600), _text(EDGE, 52, about, colour=SOFT)]
    if not reader.classes:
        return lines, 76.0
    x, y = float(EDGE), 74.0
    labels = [short(label, 30) for label in reader.classes[:MOST_IN_LEGEND]]
    if len(reader.classes) > MOST_IN_LEGEND:
        labels.append(f"and {len(reader.classes) - MOST_IN_LEGEND:,} more")
    for k, label in enumerate(labels):
        long = 34 + LETTER * 12 * len(label)
        if x > EDGE and x + long > width:
            x, y = float(EDGE), y + 18
        in_colour = k < MOST_IN_LEGEND
        if in_colour:
            lines.append(_box(x, y - 10, 12, 12, _colour(k), radius=2))
        lines.append(_text(x + 17 * in_colour, y, label))
        x += long
    return lines, y + 22


def _about(reader: Reader, bars: Bars) -> str:
    """What the bars show."""
    own = ", in each node to a scale of its own" if not np.all(bars.unit == 1.0) else ""
    if bars.given is not None:
        ticks = "shares among the training rows" if reader.classes else f"{reader.middle}s of the training rows"
        return f"Bars: the {rows_text(int(bars.given[0]))} given{own}. Lines: {ticks}."
    if reader.classes:
        return f"Bars: shares of the classes{own}."
    ends = f"{number(bars.low)} to {number(bars.high)}"
    spread = "" if reader.deviation(0) is None else ", band: one standard deviation to each side"
    return f"Line: {reader.middle}{spread}, on a scale from {ends}."


def _edge(reader: Reader, visit: Visit, at: Mapping[int, tuple[float, float]], tall: float) -> str:
    """From a parent to a child, as wide as the rows are many."""
    (x0, y0), (x1, y1) = at[visit.parent], at[visit.node]
    y0 += tall
    half, side = (y0 + y1) / 2, "yes" if visit.is_left else "no"
    wide = 1.0 + 7.0 * float(reader.tree.count[visit.node] / reader.tree.count[0])
    path = f'<path d="M{x0:g} {y0:g}C{x0:g} {half:g} {x1:g} {half:g} {x1:g} {y1:g}" fill="none" stroke="{LINE}" '
    label = _text(x1 + (-6 if visit.is_left else 6), y1 - 7, side, colour=SOFT, size=11, halo=True,
                  anchor="end" if visit.is_left else "start")  # fmt: skip
    return f'{path}stroke-width="{wide:.3g}"/>{label}'


def _node(reader: Reader, visit: Visit, at: tuple[float, float], wide: float, bars: Bars, leaves: int) -> str:
    """A box; `leaves` is 0 for a node whose question is drawn, 1 for a leaf, more where the drawing ends."""
    (middle, y), x, node = at, at[0] - wide / 2, visit.node
    fill, stroke = _fill(reader, node) if leaves else (PAPER, LINE)
    first, second = _says(reader, node) if leaves else _said(reader, visit)
    small = [reader.rows(node), f"{reader.criterion.replace('_', ' ')} {_brief(float(reader.tree.impurity[node]))}"]
    if bars.given is not None:
        small.append(f"given: {rows_text(int(bars.given[node]))}")
    drawn = _class_bars if reader.classes else _number_bars
    dashes = ' stroke-dasharray="5 4"' if leaves > 1 else ""
    parts = [
        f"<g><title>{_escaped(_whole(reader, visit, leaves))}</title>",
        _box(x, y, wide, bars.tall, fill, radius=7, more=f'stroke="{stroke}" stroke-width="1.4"{dashes}'),
        _text(middle, y + 18, first, weight=600, anchor="middle", most=wide - INSET),
        _text(middle, y + 34, second, anchor="middle", most=wide - INSET),
        _line(x + INSET, y + BASE + 0.5, x + wide - INSET, y + BASE + 0.5, RULE, 1.0),
        *drawn(reader, node, x + INSET, y + BASE, wide - 2 * INSET, bars),
    ]
    for i, line in enumerate(small):
        parts.append(
            _text(
                middle,
                y + 95 + i * LINE_TALL,
                line,
                size=11,
                colour=INK if leaves else SOFT,
                anchor="middle",
                most=wide,
            )
        )
    if leaves > 1:
        more = f"+ {leaves:,} leaves below"
        parts.append(_text(middle, y + bars.tall + LINE_TALL, more, size=11, colour=SOFT, anchor="middle"))
    return "".join([*parts, "</g>"])


def _brief(value: float) -> str:
    """A number in three digits that has room in a node: of one that is cut off, nobody knows how great it is."""
    return f"{value:.3g}" if value >= LONG else number(value, 3)


def _said(reader: Reader, visit: Visit) -> tuple[str, str]:
    """What a node asks, in two lines."""
    return reader.name(visit.node), f"{reader.answer(visit, is_left=True)}?"


def _says(reader: Reader, node: int) -> tuple[str, str]:
    """What a leaf says, in two lines."""
    if reader.classes:
        best = reader.best(node)
        return reader.classes[best], share_text(float(reader.tree.value[node, best]))
    deviation = reader.deviation(node)
    return number(float(reader.tree.value[node, 0])), "" if deviation is None else f"± {number(deviation, 3)}"


def _whole(reader: Reader, visit: Visit, leaves: int) -> str:
    """All of a node in a sentence, for whom the pointer rests on it."""
    if leaves:
        return reader.outcome(visit.node)
    asked = f"{reader.name(visit.node)} {reader.answer(visit, is_left=True)}?"
    return f"{asked} {reader.rows(visit.node)}: {reader.summary(visit.node)}"


def _class_bars(reader: Reader, node: int, x: float, y: float, room: float, bars: Bars) -> list[str]:
    """A bar for each class; with rows given, a line at the share among training rows."""
    place, parts = room / len(reader.classes), []
    wide = min(0.8 * place, 26.0)
    for k, share in enumerate(bars.heights[node].tolist()):
        left = x + (k + 0.5) * place - wide / 2
        if share > 0.0:
            parts.append(_box(left, y - HIGH * share, wide, HIGH * share, _colour(k)))
        if bars.given is not None:
            at = y - HIGH * float(reader.tree.value[node, k] / bars.unit[node])
            parts.append(_line(left - 2, at, left + wide + 2, at, INK, 1.2))
    return parts


def _number_bars(reader: Reader, node: int, x: float, y: float, room: float, bars: Bars) -> list[str]:
    """The histogram of the rows given, or a band about the mean; a line at the mean."""
    scale, parts, wide = room / max(bars.high - bars.low, np.finfo(float).tiny), [], room / BINS
    at, deviation = x + (float(reader.tree.value[node, 0]) - bars.low) * scale, reader.deviation(node)
    for b, share in enumerate(bars.heights[node].tolist()):
        if share > 0.0:
            parts.append(_box(x + b * wide + 0.5, y - HIGH * share, wide - 1, HIGH * share, BLUE))
    if bars.given is None and deviation is not None:
        band = f'fill-opacity="0.35" stroke="{BLUE}" stroke-width="0.8"'
        parts.append(_box(at - deviation * scale, y - 21, 2 * deviation * scale, 14, BLUE, radius=3, more=band))
    return [*parts, _line(at, y - (28 if bars.given is None else HIGH), at, y, INK, 2)]


def _fill(reader: Reader, node: int) -> tuple[str, str]:
    """The colours of a leaf and of its border: by its class and how pure it is, or by its number."""
    if reader.classes:
        best = reader.best(node)
        colour = _colour(best)
        return _mixed((255, 255, 255), _rgb(colour), 0.06 + 0.16 * float(reader.tree.value[node, best])), colour
    mean, all_means = float(reader.tree.value[node, 0]), reader.tree.value[reader.tree.feature == LEAF, 0]
    spread = float(np.ptp(all_means))
    return _mixed(FEW, MANY, (mean - float(all_means.min())) / spread if spread > 0.0 else 0.5), BLUE


def _colour(k: int) -> str:
    """Of a class; after the first ten, hues that are far from each other (the golden angle)."""
    if k < len(COLOURS):
        return COLOURS[k]
    hue, light = k * 137.508 % 360.0 / 60.0, 0.3 + 0.16 * (k % 3)
    strong = 0.6 * min(light, 1.0 - light)
    channels = (
        light + strong * max(-1.0, min((at - hue) % 6.0 - 1.0, 3.0 - (at - hue) % 6.0, 1.0)) for at in (0.0, 4.0, 2.0)
    )
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in channels)


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


def _mixed(one: tuple[int, ...], other: tuple[int, ...], share: float) -> str:
    return "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in zip(one, other, strict=True))


# Shapes ------------------------------------------------------------------------------------------------------


def _text(
    x: float, y: float, text: str, *, size: int = 12, weight: int = 400, colour: str = INK, anchor: str = "start",
    halo: bool = False, most: float | None = None,
) -> str:  # fmt: skip
    """A line of text, cut to about `most` pixels."""
    shown = text if most is None else short(text, max(4, int(most / (LETTER * size * (1.05 if weight > 400 else 1.0)))))
    looks = f'font-size="{size}" font-weight="{weight}" fill="{colour}" text-anchor="{anchor}"'
    outline = f' paint-order="stroke" stroke="{PAPER}" stroke-width="4"' if halo else ""
    return f'<text x="{x:g}" y="{y:g}" {looks}{outline}>{_escaped(shown)}</text>'


def _box(x: float, y: float, wide: float, tall: float, fill: str, *, radius: int = 0, more: str = "") -> str:
    round_ = f' rx="{radius}"' if radius else ""
    return f'<rect x="{x:.5g}" y="{y:.5g}" width="{wide:.4g}" height="{tall:.4g}"{round_} fill="{fill}" {more}/>'


def _line(x0: float, y0: float, x1: float, y1: float, colour: str, wide: float) -> str:
    return f'<path d="M{x0:.5g} {y0:.5g}L{x1:.5g} {y1:.5g}" stroke="{colour}" stroke-width="{wide:g}"/>'


def _escaped(text: str) -> str:
    return html.escape(str(legible(text)))
