"""H601 and H602: what the chosen learner has learned, and where it fails more than elsewhere; of validation rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from heldout.asked import AnyRows, Array, Asked, EncodedRows, GivenRows
from heldout.data.table import Table
from heldout.dependence import dependence_of
from heldout.diagnosis.base import Check, Evidence, Finding, NotApplicable
from heldout.fitting import Fitted, Rows
from heldout.importance import importance_of
from heldout.metrics import Prediction
from heldout.model import Model
from heldout.problem import label_text
from heldout.slices import slices_of
from heldout.words import interval, number, p_said

FEW, MANY = (5, 1000), (2, 300)  # repeats and rows of the importance: of tables with up to WIDE columns, and of wider
WIDE, WIDEST = 40, 200
DEPENDENCES = 4  # columns whose partial dependence is shown
PLAIN = ("number", "boolean", "category")
SLICED = (*PLAIN, "date")
LISTED = 3
CERTAIN = 0.05


def learned(model: Model, validation: Rows, chosen: Fitted, seed: int) -> dict[str, Any]:
    """Importance and partial dependence of the features, and scores by slices of every column, as JSON values.

    The columns are those of the table, whatever they are encoded as; texts are sliced by their length. Images, texts
    alone and series have no columns that could be shuffled one by one.
    """
    assert chosen.prediction is not None and validation.part is not None
    problem, table, y, units = model.problem, validation.part.table, validation.y, validation.sample.cluster
    made: dict[str, Any] = {"learner": chosen.name, "importance": [], "dependence": [], "rows": 0}
    features = [column for column in table.select(problem.features).columns if column.kind != "image"]
    if 0 < len(features) <= WIDEST and problem.form == "table":
        made |= _explained(model, validation, seed)
    columns = [column for column in table.columns if column.kind in SLICED and column.name != problem.target]
    values = [(column.name, table.frame[column.name].to_list()) for column in columns]
    texts = [column.name for column in table.columns if column.kind == "text"]
    values += [(f"length of {name}", table.frame[name].str.len_chars().to_list()) for name in texts]
    return made | {"slices": slices_of(values, problem.criterion, y, chosen.prediction, units).to_json()}


def _explained(model: Model, validation: Rows, seed: int) -> dict[str, Any]:
    assert validation.part is not None
    problem, table = model.problem, validation.part.table.select(model.problem.features)
    repeats, most = FEW if len(table.columns) <= WIDE else MANY
    kept = np.sort(np.random.default_rng([seed, 5]).permutation(len(table))[:most])
    truth = validation.y[kept]
    rows, says = _asking(model, table.take(kept), validation.X[kept])
    asked = Asked(says, truth, problem.criterion)
    found = importance_of(asked, rows, repeats, seed)
    kinds = {column.name: column.kind for column in table.columns}
    telling = [int(j) for j in found.order if kinds[found.names[j]] in PLAIN and found.importance[j] > 0][:DEPENDENCES]
    title, code = f"predicted {problem.target}", -1
    if problem.classes is not None:
        code = len(problem.classes) - 1 if len(problem.classes) == 2 else int(np.bincount(truth).argmax())
        title = f"probability of {label_text(problem.classes[code])}"
    shown = [dependence_of(asked, rows, j, code, title, seed).to_json() for j in telling]
    useless = int(np.sum(found.p_value > CERTAIN))
    about = {"columns": len(found.names), "useless": useless, "rows": len(rows), "repeats": repeats}
    return {"importance": found.to_json(), "dependence": shown, **about}


def _asking(model: Model, table: Table, X: Array) -> tuple[AnyRows, Callable[[Any], Prediction]]:
    """Rows that the learner can be asked about with a column changed, and how to ask."""
    if not model.encodes:
        return GivenRows.of(table.frame), lambda frame: model.says(replace(table, frame=frame))
    rows = EncodedRows(X, table.frame, model.encoder.places)
    return rows, partial(model.says_of, labels=model.problem.criterion.needs == "label")


class Importance(Check):
    """What the chosen learner loses on validation without each column's help."""

    code = "H601"
    title = "What it relies on"

    def examine(self, evidence: Evidence) -> Iterator[Finding | NotApplicable]:
        known = evidence.learned
        if not known and evidence.quick:
            message = (
                "A quick diagnosis tries only the most telling sibling of each learner and leaves out what the chosen "
                "one relies on (permutation importance, partial dependence) and where it fails (scores by slices): "
                "study.diagnose(), or heldout diagnose STUDY, looks at all of it."
            )
            yield Finding(self.code, "What it relies on was not looked at", "info", message)
            return
        if not known or not known["importance"]:
            yield NotApplicable(self.code, "the importance of its columns was not measured")
            return
        rows, criterion = known["importance"], evidence.problem.criterion
        used = [row for row in rows if row["p"] <= CERTAIN]
        about = (
            f"on {known['rows']:,} validation rows, the values of the column dealt out anew {known['repeats']} times"
        )
        given = {"importance": rows}
        if not used:
            message = f"It relies on no column beyond chance ({criterion.title} {about})."
            yield Finding(self.code, self.title, "info", message, known["learner"], given)
            return
        listed = "; ".join(f"{row['column']} {number(row['lost'])} ({interval(row)})" for row in used[:LISTED])
        rest, every = known.get("useless", len(rows) - len(used)), known.get("columns", len(rows))
        others = f" {rest} of {every} columns cannot be told from useless ones." if rest else ""
        message = f"Lost of the {criterion.title} without a column, with its 95% interval: {listed} ({about}).{others}"
        yield Finding(self.code, self.title, "info", message, known["learner"], given)


class WorstSlices(Check):
    """The slices of the validation rows in which the chosen learner is worse than elsewhere, all judged together."""

    code = "H602"
    title = "Worse in some slices"

    def examine(self, evidence: Evidence) -> Iterator[Finding | NotApplicable]:
        known = evidence.learned
        if not known or not known["slices"]["judged"]:
            yield NotApplicable(self.code, "no slice of the validation rows was large enough")
            return
        found, name = known["slices"], evidence.problem.criterion.title
        worst = [item for item in found["slices"] if item["p"] <= CERTAIN]
        if not worst:
            which = "The one slice" if found["judged"] == 1 else f"None of {found['judged']} slices"
            verb = "is not" if found["judged"] == 1 else "is"
            message = f"{which} of the validation rows {verb} worse than the others beyond chance."
            yield Finding(
                self.code, "No slice is worse", "good", message, known["learner"], {"slices": found["slices"]}
            )
            return
        listed = "; ".join(
            f"{item['column']}: {item['level']} ({item['n_rows']:,} rows) {number(item['score']['value'])} against "
            f"{number(item['elsewhere'])} elsewhere, worse by {number(item['worse_by']['value'])} "
            f"({interval(item['worse_by'])}, {p_said(item['p'])})"
            for item in worst[:LISTED]
        )
        count = (
            f"{len(worst)} of {found['judged']} slices are" if len(worst) > 1 else f"One of {found['judged']} slices is"
        )
        message = f"{count} worse than the other rows, beyond chance; by {name}: {listed}."
        yield Finding(self.code, self.title, "warning", message, known["learner"], {"slices": found["slices"]})
