"""H503 to H505: what the order of the rows, their time and their groups give away."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import polars as pl
from scipy.special import fdtrc, ndtr
from scipy.stats import rankdata

from heldout.diagnosis.base import Check, Evidence, Finding, NotApplicable, Suspicion
from heldout.diagnosis.leaks.seen import Array, Seen, listed
from heldout.words import p_said, percent

LEAST_ROWS = 20
STEPS = 0.95  # of the steps from row to row go up, or down, in a column that follows the rows
DISTINCT = 0.9  # of its values
OLDER = 0.75  # of the rows of train are later than the middle of validation
SHARED = 0.5  # of the rows of validation belong to a group of train
ENTITY = {
    *("id", "uid", "uuid", "guid", "patient", "subject", "person", "participant", "user", "customer", "client"),
    *("household", "family", "member", "account", "device", "session", "group"),
}
YEARS = (1900.0, 2100.0)


class RowOrder(Check):
    """A column that follows the order of the rows, where that order says something about the target.

    Tested by rank: does the target go up or down along the rows, and are neighbours alike (the rank version of von
    Neumann's ratio, Bartels 1982)?
    """

    code = "H503"
    title = "A column follows the order of the rows"
    of_rows_alone = True

    def examine(self, evidence: Evidence) -> Iterator[Suspicion | NotApplicable]:
        seen = evidence.seen
        if seen is None or not seen.is_table or seen.n_train < LEAST_ROWS or evidence.problem.time is not None:
            yield NotApplicable(self.code, "the rows have no order of their own")
            return
        following = [name for name in seen.of_kind("number") if _follows(seen, name)]
        if following:
            p = _along(seen.y[: seen.n_sampled_train], classes=evidence.problem.classes is not None)
            yield Suspicion(p, partial(self._finding, following, evidence.problem.target))

    def _finding(self, following: list[str], target: str, p: float) -> Finding:
        message = (
            f"{listed(following)} {'follows' if len(following) == 1 else 'follow'} the order of the rows, and so does "
            f"{target} ({p_said(p)}): it says where in the table a row stood, which new rows do not have. Leave it out "
            "(--drop), or say --time if it is a time."
        )
        return Finding(self.code, self.title, "warning", message, evidence={"columns": following, "p": p})


def _follows(seen: Seen, name: str) -> bool:
    """It goes up from row to row, or down, nearly always, in train and in validation."""
    values = seen.numbers(name)
    for part in (values[seen.is_train], values[~seen.is_train]):
        steps = np.diff(part[np.isfinite(part)])
        if len(steps) < LEAST_ROWS // 2 or len(np.unique(part)) < DISTINCT * len(part):
            return False
        if max(np.mean(steps > 0), np.mean(steps < 0)) < STEPS:
            return False
    return True


def _along(y: Array, *, classes: bool) -> float:
    """The chance of a target that goes with the rows like this, where their order is random."""
    codes = np.eye(int(y.max()) + 1)[y] if classes else rankdata(y)[:, None]
    codes = codes[:, codes.std(axis=0) > 0]
    if not codes.size:
        return 1.0
    z = (codes - codes.mean(axis=0)) / codes.std(axis=0)
    n, k = z.shape
    at = rankdata(np.arange(n))
    trend = np.abs((at - at.mean()) / at.std() @ z) / np.sqrt(n)  # each about normal
    alike = np.sum(z[1:] * z[:-1], axis=0) / np.sqrt(n)
    return float(min(1.0, 2 * k * min((2 * ndtr(-trend)).min(), ndtr(-alike).min())))


class TimeTravel(Check):
    """Validation that is older than train, or rows drawn at random from a course of time."""

    code = "H504"
    title = "Validation is no later than train"
    of_rows_alone = True

    def examine(self, evidence: Evidence) -> Iterator[Finding | Suspicion | NotApplicable]:
        seen, problem = evidence.seen, evidence.problem
        times = [] if seen is None else _times(seen, problem.time)
        if seen is None or not times or (problem.time is not None and not seen.given):
            yield NotApplicable(self.code, "no column is a time, or the split goes by it")
            return
        if seen.given:
            for name in times:
                later, overlap = _later(seen, name)
                if later >= OLDER or (name == problem.time and overlap > 0):
                    yield self._older(name, later, evidence)
                    return
            return
        names = [name for name in times if seen.kind(name) == "date"]
        for name in names:
            yield Suspicion(_in_time(seen, name, evidence), partial(self._drawn, name, problem.target))

    def _drawn(self, name: str, target: str, p: float) -> Finding:
        message = (
            f"{target} changes along {name} ({p_said(p)}), and the rows were drawn at random: learners know what "
            f"comes after the rows that they are judged by. To predict what comes, say --time {name}."
        )
        return Finding(self.code, self.title, "warning", message, evidence={"column": name, "p": p})

    def _older(self, name: str, later: float, evidence: Evidence) -> Finding:
        message = (
            f"By {name}, {percent(round(later, 3))} of the rows of train are later than the middle of validation: "
            "learners know the future of the rows that they are judged by. Let validation come after train "
            f"(--time {name})."
        )
        return Finding(self.code, self.title, "warning", message, evidence={"column": name, "later": later})


def _times(seen: Seen, named: str | None) -> list[str]:
    """Columns of times, the one that was named first: dates, and whole numbers that are called years."""
    dates = [column.name for column in seen.tables[0].columns if column.kind == "date" and column.name != named]
    years = [name for name in seen.of_kind("number") if "year" in name.lower() and _are_years(seen.numbers(name))]
    return [*([] if named is None else [named]), *dates, *years]


def _are_years(values: Array) -> bool:
    whole = values[np.isfinite(values)]
    return bool(len(whole)) and bool(np.all((whole >= YEARS[0]) & (whole <= YEARS[1]) & (whole == np.round(whole))))


def _later(seen: Seen, name: str) -> tuple[float, float]:
    """Shares of the rows of train that are later than the middle of validation, and than its beginning."""
    values = seen.numbers(name)
    train, held = (part[np.isfinite(part)] for part in (values[seen.is_train], values[~seen.is_train]))
    if not len(train) or not len(held):
        return 0.0, 0.0
    return float(np.mean(train > np.median(held))), float(np.mean(train > held.min()))


def _in_time(seen: Seen, name: str, evidence: Evidence) -> float:
    values = seen.numbers(name)
    known = np.flatnonzero(np.isfinite(values))
    if len(known) < LEAST_ROWS or len(np.unique(values[known])) < LEAST_ROWS:
        return 1.0
    mixed = np.random.default_rng(0).permutation(known)  # rows of the same time in no order
    return _along(seen.y[mixed[np.argsort(values[mixed], kind="stable")]], classes=evidence.problem.classes is not None)


class GroupOverlap(Check):
    """Groups with rows in train and in validation: those that were named, and those that a column's name suggests.

    A column that is called like an entity (patient, user, id) is a group where rows with its value are alike in the
    target beyond chance: the F test of a one-way analysis of variance.
    """

    code = "H505"
    title = "Groups on both sides"
    of_rows_alone = True

    def examine(self, evidence: Evidence) -> Iterator[Finding | Suspicion | NotApplicable]:
        seen, problem = evidence.seen, evidence.problem
        if seen is None or not (seen.is_table or problem.group):
            yield NotApplicable(self.code, "there are no columns")
            return
        if problem.group is not None:
            shared = _shared(seen, problem.group)
            if shared > 0:
                yield self._finding(problem.group, shared)
            return
        names = [column.name for column in seen.tables[0].columns if _is_entity(column.name, column.kind)]
        names = [name for name in names if name not in (problem.target, problem.part) and _shared(seen, name) >= SHARED]
        for name in names:
            p = _alike(seen, name, classes=problem.classes is not None)
            yield Suspicion(p, partial(self._finding, name, _shared(seen, name)))

    def _finding(self, name: str, shared: float, p: float | None = None) -> Finding:
        alike = "" if p is None else f", and rows of one {name} are alike in the target ({p_said(p)})"
        message = (
            f"{percent(round(shared, 3))} of the validation rows have a {name} that train knows{alike}: the score is "
            f"one for known ones. To be judged by new ones, say --group {name}."
        )
        return Finding(self.code, self.title, "warning", message, evidence={"column": name, "shared": shared, "p": p})


def _is_entity(name: str, kind: str) -> bool:
    words = pl.Series([name]).str.replace_all("([a-z])([A-Z])", "$1 $2").str.to_lowercase()
    return kind in ("number", "category", "text") and bool(
        set(words.str.replace_all("[^a-z]+", " ")[0].split()) & ENTITY
    )


def _shared(seen: Seen, name: str) -> float:
    """The share of validation rows whose value is found in train."""
    train, held = (table.frame[name] for table in seen.tables)
    return float(np.mean(held.is_in(train.unique().drop_nulls().implode()).fill_null(False).to_numpy()))


def _alike(seen: Seen, name: str, *, classes: bool) -> float:
    codes = seen.frame[name].cast(pl.String).fill_null("").rank("dense").to_numpy().astype(np.int64) - 1
    votes = np.eye(int(seen.y.max()) + 1)[seen.y] if classes else rankdata(seen.y)[:, None]
    sizes = np.bincount(codes)
    k, n = len(sizes), len(codes)
    if k < 2 or k >= n:
        return 1.0
    means = np.stack([np.bincount(codes, vote) for vote in votes.T], axis=1) / sizes[:, None]
    between = np.sum(sizes[:, None] * (means - votes.mean(axis=0)) ** 2)
    within = np.sum((votes - means[codes]) ** 2)
    return 0.0 if within == 0 else float(fdtrc(k - 1, n - k, between / (k - 1) / (within / (n - k))))
