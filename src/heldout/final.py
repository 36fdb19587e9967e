"""Breaks the seal: the ledger records the opening first, then the rows are read and scored, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from heldout.differences import Difference, difference
from heldout.fitting import Rows, beside
from heldout.intervals import LEVEL, Replicates, Score
from heldout.ledger import Ledger
from heldout.model import Model
from heldout.seal import SealedTest, unmask
from heldout.words import percent

MOST_LEVELS = 20  # intervals kept for later openings; beyond that the last one is shown


@dataclass(frozen=True, repr=False)
class Final:
    """The test score of the chosen learner, with the record of the opening, and the model itself.

    Attributes
    ----------
    learner, title : str
    score : Score
        Of the study's criterion on the test rows. After N openings of these rows its interval has the level
        1 - 0.05 / N (Bonferroni; Dunn 1961, "Multiple comparisons among means", JASA 56). That covers N looks
        chosen beforehand; looks chosen after seeing earlier scores can do worse (Dwork et al. 2015, Science 349).
    openings : int
        How often these rows have been opened, this time included.
    model : Model
    record : dict
        Everything the report shows of it.
    """

    learner: str
    title: str
    score: Score
    openings: int
    model: Model
    record: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        score, marked = self.score, "opened once" if self.openings == 1 else f"opened {self.openings} times"
        interval = f"{100 * score.level:.4g}% interval {score.low:,.4g} to {score.high:,.4g}"
        return f"Final({self.title}: {self.record['criterion']} {score.value:,.4g}, {interval}; {marked})"


def level_for(openings: int) -> float:
    """The confidence level of each interval after this many openings: 1 - 0.05 / N.

    >>> level_for(1), level_for(5)
    (0.95, 0.99)
    """
    return 1 - (1 - LEVEL) / max(1, openings)


def open_test(
    sealed: SealedTest,
    model: Model,
    baseline: Model | None,
    *,
    ledger: Ledger,
    study: str,
    name: str,
    title: str,
    again: bool,
    seed: int,
) -> Final:
    """Record the opening, break the seal, score `model` and the baseline.

    Raises
    ------
    SealError
        These rows, or some of them, were opened before and `again` is False.
    LedgerError
        The ledger cannot be written; the seal stays whole.
    """
    problem = model.problem
    body = {"name": name, "learner": model.name, "criterion": problem.criterion.name}
    opening = ledger.open_test(sealed.fingerprint, study, body, again=again)
    part = unmask(sealed)
    rows = Rows.of(part, problem, model.encoder, seed + 2)
    prediction = model.says(part.table)
    replicates = rows.replicates(problem.criterion, prediction)
    score = replicates.score(level_for(opening.number))
    ledger.append("scored", study, {**body, "score": score.to_json(), "opening": opening.entry.number})
    record = {
        "learner": model.name,
        "title": title,
        "criterion": problem.criterion.title,
        "score": with_levels(replicates),
        "trivial": None,
        "gain": None,  # over the trivial answer, row by row
        "other": [
            {"name": item.name, "title": item.title, **with_levels(rows.replicates(item, prediction))}
            for item in beside(problem, prediction)
        ],
        "rows": sealed.n_rows,
        "opened_at": opening.entry.time,
    }
    if baseline is not None:
        trivial = rows.replicates(problem.criterion, baseline.says(part.table))
        record["trivial"] = with_levels(trivial)
        if baseline.name != model.name:
            record["gain"] = with_levels(difference(trivial, replicates))
    record = marked(record, opening.number, opening.earlier, ledger, str(opening.verdict))
    return Final(model.name, title, score, opening.number, model, record)


def with_levels(replicates: Replicates | Difference) -> dict[str, Any]:
    """A score as JSON, with its interval for 1, 2, ... openings, so that later openings can widen it."""
    scores = [replicates.score(level_for(n)) for n in range(1, MOST_LEVELS + 1)]
    return {**scores[0].to_json(), "by_openings": [[score.low, score.high] for score in scores]}


def refreshed(
    record: Mapping[str, Any], sealed: SealedTest, ledger: Ledger, copies: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The record with the number of openings that the ledger counts by now, and its intervals widened for them."""
    openings = max(int(record["openings"]), ledger.count(sealed.fingerprint))
    verdict = str(ledger.verify(study_entries=list(copies)))
    return marked(record, openings, record["earlier"], ledger, verdict)


def marked(
    record: Mapping[str, Any], openings: int, earlier: Sequence[Any], ledger: Ledger, verdict: str
) -> dict[str, Any]:
    """The record of a final score after this many openings of its rows."""
    count, head = ledger.head
    level = level_for(openings)
    widening = (
        f"Bonferroni over {openings} openings (Dunn 1961): each interval has level {percent(level)}, so that all "
        f"{openings} hold together with 95%"
    )
    return {
        **record,
        "score": widened(record["score"], openings),
        **{name: widened(record[name], openings) for name in ("trivial", "gain") if record.get(name)},
        "other": [widened(item, openings) for item in record["other"]],
        "openings": openings,
        "level_each": level,
        "widening": widening if openings > 1 else "",
        "earlier": [dict(item) if isinstance(item, Mapping) else asdict(item) for item in earlier],
        "ledger": {"head": head, "count": count, "verdict": verdict},
    }


def widened(score: Mapping[str, Any], openings: int) -> dict[str, Any]:
    low, high = score["by_openings"][min(openings, MOST_LEVELS) - 1]
    return {**score, "low": low, "high": high, "level": level_for(min(openings, MOST_LEVELS))}
