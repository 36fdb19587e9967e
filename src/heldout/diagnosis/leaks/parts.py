"""H500, H508, H510: rows that cannot be looked at, a class that a part lacks, a drift between the parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl
from scipy.stats import mannwhitneyu

from heldout.data.encode import Encoder
from heldout.diagnosis.base import Check, Evidence, Finding, NotApplicable, Severity, Suspicion
from heldout.diagnosis.leaks.seen import Array, Ints, Seen, listed
from heldout.problem import label_text
from heldout.words import number, p_said

LEAST_ROWS = 20
MOST_ROWS = 3_000  # of each part
TREES = 40
LEAF = 5
SHOWN = 3  # columns that drift most


class NotLookedAt(Check):
    """Rows that the checks of leaks cannot be asked of: that nothing is found in them says nothing."""

    code = "H500"
    title = "Not looked at for leaks"

    def examine(self, evidence: Evidence) -> Iterator[Finding | NotApplicable]:
        if not evidence.unseen:
            yield NotApplicable(self.code, "the rows were looked at")
            return
        message = (
            f"No column and no row was looked at for leaks: {evidence.unseen}. Twins, columns that know the target, "
            "the order of the rows and drift are not excluded; hand over the columns that matter, as a table."
        )
        yield Finding(self.code, self.title, "info", message, evidence={"why": evidence.unseen})


class MissingClass(Check):
    """A class without a row in validation: no score says how well it is told apart."""

    code = "H508"
    title = "A class is missing from validation"
    of_rows_alone = True

    def examine(self, evidence: Evidence) -> Iterator[Finding | NotApplicable]:
        seen, classes = evidence.seen, evidence.problem.classes
        if seen is None or classes is None:
            yield NotApplicable(self.code, "the target is a number")
            return
        train, held = (np.bincount(part.y, minlength=len(classes)) for part in seen.rows)
        missing = [label_text(classes[code]) for code in np.flatnonzero((held == 0) & (train > 0))]
        if missing:
            rows = int(train[held == 0].sum())
            message = (
                f"No validation row has the class {listed(missing)}, train has {rows:,}: the scores say nothing of it. "
                "Take more rows for validation, another split, or put the class together with another."
            )
            yield Finding(self.code, self.title, "warning", message, evidence={"classes": missing, "train_rows": rows})


class Drift(Check):
    """Can a learner tell validation rows from train rows? A classifier two-sample test (Lopez-Paz and Oquab 2017).

    A forest learns which part a row is from, on half of the units (rows, twins, groups, stretches of time), and ranks
    the other half; then the other way round. Mann and Whitney's test asks whether units of validation rank higher. At
    most 3,000 rows of each part, without the columns that are times. Not asked where the rows were drawn at random, for
    then there is none; for information where the split goes by time, which changes rows.
    """

    code = "H510"
    title = "Validation differs from train"
    of_rows_alone = True

    def examine(self, evidence: Evidence) -> Iterator[Suspicion | NotApplicable]:
        seen = evidence.seen
        if seen is None or not (seen.given or evidence.problem.time is not None):
            yield NotApplicable(self.code, "validation was drawn from the same rows at random")
            return
        if min(seen.n_train, seen.n_validation) < LEAST_ROWS:
            yield NotApplicable(self.code, "there are too few rows")
            return
        names = [name for name in seen.features if seen.kind(name) != "date" and name != evidence.problem.time]
        if not names:
            yield NotApplicable(self.code, "time is the only column")
            return
        area, p, weights = told_apart(seen, names)
        heaviest = [name for name in sorted(weights, key=lambda name: -weights[name])[:SHOWN] if weights[name] > 0]
        yield Suspicion(p, partial(self._finding, area, heaviest, "warning" if seen.given else "info"))

    def _finding(self, area: float, names: list[str], severity: Severity, p: float) -> Finding:
        most = f", most of all by {listed(names)}" if names else ""
        message = (
            f"A forest tells validation rows from train rows (area under the curve {number(area, 3)}, "
            f"{p_said(p)}){most}: the rows changed between the parts, and the scores are those of rows that changed "
            "like these."
        )
        return Finding(self.code, self.title, severity, message, evidence={"area": area, "p": p, "columns": names})


def told_apart(seen: Seen, names: Sequence[str]) -> tuple[float, float, dict[str, float]]:
    """The area under the curve of train against validation, its p value, and the weights of the encoded columns.

    The columns are encoded by both parts together: what train has not seen would tell them apart.
    """
    from heldout.trees.forest import RandomForestClassifier

    rng = np.random.default_rng(0)
    taken = seen.taken((MOST_ROWS, MOST_ROWS))
    X, columns = _encoded(seen, taken, names)
    part = np.repeat([0, 1], [len(at) for at in taken])
    clusters = [rows.sample.cluster[at] for rows, at in zip(seen.rows, taken, strict=True)]
    unit = np.unique(np.concatenate([2 * c + k for k, c in enumerate(clusters)]), return_inverse=True)[1]
    label = np.zeros(unit.max() + 1, np.int64)
    label[unit] = part
    half = np.zeros(len(label), np.int64)
    for k in (0, 1):  # half of the units of each part
        members = rng.permutation(np.flatnonzero(label == k))
        half[members[: len(members) // 2]] = 1
    areas, p_values, weights = [], [], np.zeros(len(columns))
    for k in (0, 1):
        fit, held = half[unit] == k, half[unit] != k
        model = RandomForestClassifier(n_estimators=TREES, min_samples_leaf=LEAF, class_weight="balanced", seed=0)
        model.fit(X[fit], part[fit])
        said = model.predict_proba(X[held])[:, 1]
        score = np.bincount(unit[held], said, len(label)) / np.maximum(np.bincount(unit[held], minlength=len(label)), 1)
        other = half != k
        one, two = score[other & (label == 1)], score[other & (label == 0)]
        found = mannwhitneyu(one, two, alternative="greater", method="asymptotic")
        areas.append(float(found.statistic) / (len(one) * len(two)))
        p_values.append(float(found.pvalue))
        weights += model.feature_importances_
    return float(np.mean(areas)), min(1.0, 2 * min(p_values)), dict(zip(columns, weights.tolist(), strict=True))


def _encoded(seen: Seen, taken: tuple[Ints, Ints], names: Sequence[str]) -> tuple[Array, list[str]]:
    """These rows of train and of validation as numbers, and what the columns are called; of images their pixels."""
    if not seen.is_table:
        X = np.concatenate(seen.encoded(*taken))
        return X, [f"pixel {j}" for j in range(X.shape[1])]
    frame = pl.concat([table.frame[at] for table, at in zip(seen.tables, taken, strict=True)])
    table = replace(seen.tables[0], frame=frame).select(names)
    encoder = Encoder().fit(table)
    return encoder.transform(table), encoder.feature_names_out_
