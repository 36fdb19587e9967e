"""A record in the terminal: the same words and numbers as the report, in plain tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from heldout.words import (
    against,
    capital,
    interval,
    legible,
    missing,
    number,
    opened_before,
    outcome,
    p_value,
    percent,
    seconds,
    times_opened,
    verdict,
)

if TYPE_CHECKING:
    from heldout.ledger import Entry

Record = Mapping[str, Any]
MARKS = {"error": ("✕", "red"), "warning": ("▲", "yellow"), "info": ("●", "blue"), "good": ("✓", "green")}
SHOWN_COLUMNS = 12  # the rest is said with -v

__all__ = ["ledger", "outcome", "show", "text"]


def show(record: Record, console: Console, *, sections: Sequence[str] | None = None, verbose: int = 0) -> None:
    """Print the record, or the named sections of it (keys of SECTIONS); the outcome stands at the end."""
    record = legible(record)
    for name in sections or SECTIONS:
        SECTIONS[name](record, console, verbose)
    console.print()
    console.print(Text(outcome(record), style="bold"))


def text(record: Record, sections: Sequence[str]) -> str:
    """Sections of the record as plain text, for a repr."""
    console = Console(width=100, color_system=None, force_terminal=False, force_jupyter=False, legacy_windows=False)
    with console.capture() as captured:
        for name in sections:
            SECTIONS[name](legible(record), console, 0)
    return captured.get().strip("\n")


def _heading(console: Console, title: str) -> None:
    console.print()
    console.print(Text(title, style="bold underline"))


def _problem(record: Record, console: Console, verbose: int) -> None:
    _heading(console, "Problem")
    console.print(Text(record["problem"]["paragraph"]))
    for notice in record["problem"]["notices"]:
        console.print(Text(f"Note: {notice}", style="yellow"))


def _data(record: Record, console: Console, verbose: int) -> None:
    data = record["data"]
    _heading(console, "Data")
    console.print(Text(f"{data['source']}: {data['rows']:,} rows, {len(data['columns'])} columns."))
    columns = data["columns"] if verbose else [c for c in data["columns"] if c["note"] or c["role"] != "feature"]
    shown = columns if verbose else columns[:SHOWN_COLUMNS]
    table = _table("column", "kind", "role", "missing in train", "read as, or why left out")
    for column in shown:
        said = column["reason"] or column["note"]
        cells = (column["name"], column["kind"], column["role"], missing(column["missing"]), said)
        table.add_row(*map(Text, cells))
    if shown:
        console.print(table)
    if len(shown) < len(data["columns"]):
        console.print(Text(f"{len(data['columns']) - len(shown)} more columns; -v shows all.", style="dim"))


def _split(record: Record, console: Console, verbose: int) -> None:
    _heading(console, "Split")
    console.print(Text(record["split"]["paragraph"]))
    for note in record["split"]["notes"]:
        console.print(Text(note))


def _leaderboard(record: Record, console: Console, verbose: int) -> None:
    criterion = record["problem"]["criterion"]
    unit = f", {criterion['unit']}" if criterion["unit"] else ""
    better = "higher" if criterion["greater_is_better"] else "lower"
    _heading(console, f"Learners by {criterion['title']}{unit} ({better} is better, 95% intervals)")
    table, unscored = _table("", "learner", "validation", "train", "gap", "fit"), []
    for entry in record["leaderboard"]:
        mark = "→" if entry["chosen"] else "≈" if entry.get("alike") else ""
        if entry["status"] != "fitted":
            table.add_row(mark, Text(entry["title"]), entry["status"])
            unscored.append(Text(f"{entry['title']} {entry['status']}: {entry['error']}"))
            continue
        parts = (_scored(entry[name]) for name in ("validation", "train", "gap"))
        table.add_row(mark, Text(entry["title"]), *parts, seconds(entry["fit_seconds"]))
    console.print(table)
    for line in unscored:
        console.print(line)
    for entry in record["leaderboard"]:
        if verbose and entry["chosen"]:
            _other(entry["other"], "on validation", console)


def _findings(record: Record, console: Console, verbose: int) -> None:
    _heading(console, "Findings, from train and validation alone")
    order = list(MARKS)
    for item in sorted(record["findings"], key=lambda item: order.index(item["severity"])):
        mark, colour = MARKS[item["severity"]]
        about = f" ({item['learner']})" if item["learner"] else ""
        line = Text.assemble(
            (f"{mark} ", colour), (f"{item['title']}{about}", "bold"), f"  {item['severity']} {item['code']}"
        )
        console.print(line)
        console.print(Padding(Text(item["message"]), (0, 0, 0, 2)))
        if "tried" in item["evidence"]:
            console.print(Padding(_tried(item["evidence"]["tried"]), (0, 0, 0, 2)))
        if "matrix" in item["evidence"] and (verbose or len(item["evidence"]["alike"]) > 1):
            console.print(Padding(_matrix(item["evidence"]["matrix"]), (0, 0, 0, 2)))


def _matrix(matrix: Mapping[str, Any]) -> Table:
    """By how much each learner is worse than those before it, p values for all pairs together."""
    titles = matrix["learners"]
    table = _table("worse by", *titles[:-1])
    for title, cells in list(zip(titles, against(matrix), strict=True))[1:]:
        table.add_row(*map(Text, (title, *cells[:-1])))
    return table


def _tried(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The siblings that were tried, and what came of it."""
    table = _table("", "sibling", "", "validation", "better by", "p", "fit")
    for row in rows:
        mark = "→" if row["adopted"] else ""
        if row["better_by"] is None:
            table.add_row(mark, Text(row["change"]), row["relation"], Text(f"failed: {row['error']}"))
            continue
        scores = (_scored(row[name]) for name in ("validation", "better_by"))
        table.add_row(mark, Text(row["change"]), row["relation"], *scores, p_value(row["p"]), seconds(row["seconds"]))
    return table


def _final(record: Record, console: Console, verbose: int) -> None:
    final = record["final"]
    _heading(console, "Test score")
    if final is None:
        console.print(Text("The test set is sealed."))
        return
    score = final["score"]
    title = record["problem"]["criterion"]["title"]
    console.print(
        Text(
            f"{capital(title)} {number(score['value'])}, {percent(score['level'])} interval {interval(score)}, on "
            f"{final['rows']:,} test rows; {times_opened(final['openings'])}, "
            f"{final['opened_at'][:16].replace('T', ' at ')} UTC."
        )
    )
    if final["widening"]:
        console.print(Text(f"The interval is widened: {final['widening']}."))
    _other(final["other"], "on the test rows", console)
    for item in final["earlier"]:
        console.print(Text(opened_before(item)))
    console.print(Text(verdict(final["ledger"]), style="dim"))


def _reproduce(record: Record, console: Console, verbose: int) -> None:
    made = record["reproduce"]
    _heading(console, "How to reproduce")
    if made["command"]:
        console.print(Text(made["command"]))
    if verbose or not made["command"]:
        console.print(Text(made["python"]))
    listed = ", ".join(f"{name} {value}" for name, value in made["versions"].items())
    console.print(Text(f"{listed}; {made['machine']}; {seconds(made['seconds'])}", style="dim"))


SECTIONS: dict[str, Callable[[Record, Console, int], None]] = {
    "problem": _problem,
    "data": _data,
    "split": _split,
    "leaderboard": _leaderboard,
    "findings": _findings,
    "final": _final,
    "reproduce": _reproduce,
}


def ledger(entries: Sequence[Entry], said: str, path: str, console: Console) -> None:
    """The ledger's entries as a table, and whether it is whole."""
    table = _table("no.", "time (UTC)", "what", "study", "of")
    for entry in entries:
        body = entry.body
        about = " ".join(str(body[key]) for key in ("name", "learner", "criterion") if key in body)
        if entry.kind == "looked":
            about += f", {body['fits']} fits scored on validation"
        if entry.kind == "scored":
            about += f" {number(body['score']['value'])} ({interval(body['score'])})"
        cells = (str(entry.number), entry.time[:16].replace("T", " "), entry.kind, entry.study, about)
        table.add_row(*(Text(legible(cell)) for cell in cells))
    if entries:
        console.print(table)
    console.print(Text(legible(f"{path}: {said}")))


def _scored(score: Mapping[str, Any]) -> Text:
    return Text.assemble(f"{number(score['value'])}\n", (interval(score), "dim"))


def _other(scores: Sequence[Mapping[str, Any]], where: str, console: Console) -> None:
    listed = "; ".join(f"{item['title']} {number(item['value'])} ({interval(item)})" for item in scores)
    if listed:
        console.print(Text(f"Also {where}: {listed}."))


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
