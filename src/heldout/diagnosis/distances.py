"""H301 to H304, H307: do the distances that nearest neighbours go by tell rows apart?"""

from __future__ import annotations

from collections.abc import Iterator

from heldout.diagnosis.base import Check, Evidence, Finding, NotApplicable


class Distances(Check):
    """Contrast, intrinsic dimension, hubs and ruling columns, of the training rows of nearest neighbours."""

    code = "H301"
    title = "Distances"

    def examine(self, evidence: Evidence) -> Iterator[Finding | NotApplicable]:
        from heldout.neighbors.search import Graph, Index

        learners = [
            item for item in evidence.fitted if isinstance(getattr(item.estimator, "index_", None), Index | Graph)
        ]
        if not learners:
            yield NotApplicable(self.code, "no learner goes by distances")
            return
        from heldout.neighbors.curse import neighbourhood

        for item in learners:
            if isinstance(item.estimator.index_, Graph):
                yield Finding("H307", "Approximate neighbours", "info", str(item.estimator.index_), item.name)
            rows, metric = item.estimator.index_.rows, item.estimator.effective_metric_
            if len(rows) >= 20:
                names = evidence.columns or tuple(f"column {j}" for j in range(rows.shape[1]))
                yield from neighbourhood(rows, names, metric=metric, p=float(item.estimator.p)).findings(item.name)
