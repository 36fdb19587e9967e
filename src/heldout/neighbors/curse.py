"""What many columns do to distances, measured on the data at hand: the curse of dimensionality as findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest, skew, ttest_1samp
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import check_array, check_X_y

from heldout.diagnosis.base import Finding
from heldout.errors import InputError
from heldout.multiplicity import holm
from heldout.neighbors.metrics import CODES, measured_of_all
from heldout.neighbors.search import build, canonical, nearest
from heldout.printed import Printed, Sheet
from heldout.problem import FEW_VALUES
from heldout.words import number, percent

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

MOST_ROWS, MOST_QUERIES, FAR_ROWS, FAR_QUERIES = 10_000, 5_000, 5_000, 250  # that are looked at
MOST_PARTS = 512  # principal components
AROUND = 10  # neighbours, for the dimension and the hubs
LEVEL = 0.05  # chance of any claim that fewer columns, or scaled ones, are better where they are not
LITTLE_CONTRAST = 1.0  # the farthest row is less than twice as far as the nearest
STRONG_HUBS = 1.4  # Radovanovic and others, 2010, divide their data sets there
TWIN = 1e-12  # of the largest distance: as near as rounding tells
RULING = 0.5  # of all squared distances, in one column


@dataclass(frozen=True)
class Trial:
    """The validation error of nearest neighbours on some of the columns, or on projections."""

    way: str  # "all", "scaled", "projected", "most related" or "at random"
    columns: int
    error: float  # share wrong, or mean squared error
    se: float
    p_value: float  # of being no better than all columns (scaled ones where one column rules), corrected for the trials


@dataclass(frozen=True, eq=False, repr=False)
class Neighbourhood:
    """How near the nearest rows are, and to how many a row is near.

    Attributes
    ----------
    contrast : float, the median over rows of (farthest - nearest) / nearest
    shuffled : float, the same after every column was shuffled by itself: what independent columns would give
    dimension : float, the intrinsic dimension; nan for the metric hamming
    hubness : float, the skewness of how often a row is among the 10 nearest of another
    never : float, the share of rows that are among the 10 nearest of none
    names : tuple of str (p,), the columns
    shares : float64 array (p,), of the mean squared distance of two rows, by column; they sum to 1
    """

    contrast: float
    shuffled: float
    dimension: float
    hubness: float
    never: float
    names: tuple[str, ...]
    shares: Array

    def findings(self, learner: str | None = None) -> list[Finding]:
        """H301 to H304."""
        return [self._contrast(learner), *self._dimension(learner), self._hubs(learner), *self._ruling(learner)]

    def _contrast(self, learner: str | None) -> Finding:
        little = self.contrast < LITTLE_CONTRAST
        title = "Distances hardly differ" if little else "Distances tell rows apart"
        message = (
            f"The farthest row is {number(1.0 + self.contrast, 3)} times as far as the nearest (relative contrast "
            f"{number(self.contrast, 3)}); independent columns would give {number(1.0 + self.shuffled, 3)} times."
        )
        if little:
            message += " The nearest rows are hardly nearer than others: fewer columns or another metric may help."
        evidence = {"contrast": self.contrast, "shuffled": self.shuffled}
        return Finding("H301", title, "warning" if little else "good", message, learner, evidence)

    def _dimension(self, learner: str | None) -> list[Finding]:
        if not np.isfinite(self.dimension):
            return []
        message = (
            f"The rows lie near a surface of about {number(self.dimension, 3)} dimensions within {len(self.names):,} "
            "columns: so many numbers would tell a row's place."
        )
        return [Finding("H302", "Intrinsic dimension", "info", message, learner, {"dimension": self.dimension})]

    def _hubs(self, learner: str | None) -> Finding:
        strong = self.hubness > STRONG_HUBS
        message = (
            f"How often a row is among the {AROUND} nearest of another has skewness {number(self.hubness, 3)}; "
            f"{percent(round(self.never, 3))} of the rows are never."
        )
        if strong:
            message += " A few rows answer for many: distances by rank, fewer columns or another metric may help."
        title = "Hubs" if strong else "No strong hubs"
        evidence = {"hubness": self.hubness, "never": self.never}
        return Finding("H303", title, "warning" if strong else "good", message, learner, evidence)

    @property
    def ruled(self) -> bool:
        """Whether one column of three or more makes up most of the distances."""
        return len(self.shares) >= 3 and float(self.shares.max()) >= RULING

    def _ruling(self, learner: str | None) -> list[Finding]:
        if not self.ruled:
            return []
        name, share = self.names[int(self.shares.argmax())], float(self.shares.max())
        message = (
            f"{name} alone makes up {percent(round(share, 4))} of the squared distances in {len(self.shares):,} "
            "columns: its unit decides who is near. Divide the columns by their standard deviations, or by what a "
            "difference is worth."
        )
        return [Finding("H304", "One column rules", "warning", message, learner, {"column": name, "share": share})]


@dataclass(frozen=True, eq=False, repr=False)
class CurseOfDimensionality(Printed):
    """What `curse_of_dimensionality` found; it prints as a table with sentences, and plots.

    Attributes
    ----------
    neighbourhood : Neighbourhood, what the distances of the (training) rows are like
    trials : tuple of Trial, the validation errors; empty without a target
    findings : tuple of Finding, H301 to H306
    criterion : str, of the errors
    """

    neighbourhood: Neighbourhood
    trials: tuple[Trial, ...]
    findings: tuple[Finding, ...]
    criterion: str

    def _table(self) -> Sheet:
        notes = [str(finding) for finding in self.findings]
        if not self.trials:
            around = self.neighbourhood
            measured = {
                "relative contrast": around.contrast,
                "the same, columns shuffled": around.shuffled,
                "intrinsic dimension": around.dimension,
                "hubness (skewness)": around.hubness,
                "rows near to none": around.never,
            }
            body = [[name, number(value)] for name, value in measured.items()]
            return [f"Distances in {len(self.neighbourhood.names):,} columns"], ["", "value"], body, notes
        body = [
            [trial.way, f"{trial.columns:,}", number(trial.error), number(trial.se), f"{trial.p_value:.3g}"]
            for trial in self.trials
        ]
        title = [
            f"Nearest neighbours in {len(self.neighbourhood.names):,} columns",
            f"error on validation: {self.criterion}",
        ]
        return title, ["columns", "how many", "error", "standard error", "p (better than all)"], body, notes

    def plot(self) -> Any:
        """An Altair chart of the validation error against the number of columns that are kept."""
        import altair as alt

        if not self.trials:
            raise InputError("There is no validation error to plot: give the target y.")
        values = [
            {"way": t.way, "columns": t.columns, "error": t.error, "low": t.error - t.se, "high": t.error + t.se}
            for t in self.trials
        ]
        x = alt.X("columns:Q", scale=alt.Scale(type="log"), title="columns kept")
        y = alt.Y("error:Q", title=f"validation error ({self.criterion})", scale=alt.Scale(zero=False))
        colour = alt.Color("way:N", title="columns", sort=list(WAYS))
        base = alt.Chart(alt.Data(values=values), title="Nearest neighbours: error by the number of columns")
        lines = base.mark_line(point=True).encode(x=x, y=y, color=colour)
        bars = base.mark_rule(opacity=0.5).encode(x=x, y="low:Q", y2="high:Q", color=colour)
        return (lines + bars).properties(width=440, height=280)


WAYS = ("all", "scaled", "projected", "most related", "at random")


def curse_of_dimensionality(
    X: Any,
    y: ArrayLike | None = None,
    *,
    validation: Any = None,
    metric: str = "euclidean",
    p: float = 2.0,
    n_neighbors: int = 5,
    share: float = 0.25,
    seed: int = 0,
    task: str | None = None,
) -> CurseOfDimensionality:
    r"""Whether the distances of these rows still mean something, and whether fewer columns would predict better.

    - Relative contrast, :math:`(d_{max} - d_{min}) / d_{min}`, of rows that are no twins (K. Beyer and others, When is
      nearest neighbor meaningful?, ICDT 1999), beside that of the same columns shuffled each by itself.
    - Intrinsic dimension, :math:`1 / \operatorname{mean} \log (T_k / T_j)` with :math:`T_j` the distance of the j-th
      nearest and k = 10 (E. Levina and P. Bickel, NeurIPS 2004, averaged as by D. MacKay and Z. Ghahramani, 2005).
    - Hubness, the skewness of how often a row is among the 10 nearest of another (M. Radovanovic and others, J. Machine
      Learning Research 11, 2010).
    - The share of each column in the squared distances: where one column rules, its unit does. Fewer columns are then
      tried among scaled ones.
    - With `y`, the validation error with all columns, with all divided by their standard deviations, with projections
      on the first principal components, with the columns most related to y by themselves (F test on the training rows),
      and with columns drawn at random. "Better than all columns" is said by the exact McNemar test (classes) or the
      paired t test (numbers), with Holm's correction, at 5% for all trials together.

    Samples of at most 10,000 rows and 5,000 validation rows are looked at, drawn with `seed`.

    Parameters
    ----------
    X : rows (n, p) of finite numbers
    y : labels or numbers (n,), default None
    validation : pair of rows and labels, default None
        Without it a share of the rows is held out.
    metric, p, n_neighbors : as in `NearestNeighborsClassifier`
    share : float between 0 and 1, default 0.25
    seed : int, default 0
    task : {"classification", "regression"}, default None
        None: y is classes unless it is numbers of more than 10 values, or not whole ones.

    Raises
    ------
    InputError : there are fewer than 20 rows, the metric or the task is unknown, or the validation rows do not fit.
    ValueError : the data is not numeric, or not finite.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(500, 60))
    >>> found = curse_of_dimensionality(X, X[:, 0] > 0)
    >>> [finding.title for finding in found.findings]
    ['Distances hardly differ', 'Intrinsic dimension', 'Hubs', 'Fewer columns predict better']
    """
    if task not in (None, "classification", "regression"):
        raise InputError(f"There is no task {task!r}: take 'classification', 'regression' or None.")
    names = tuple(map(str, X.columns)) if hasattr(X, "columns") else ()
    if y is None:
        X = check_array(X, dtype=np.float64, order="C")
    else:
        X, y = check_X_y(X, y, dtype=np.float64, order="C")
    if len(X) < 2 * AROUND:
        raise InputError(f"{len(X)} rows are too few to say anything of distances: give {2 * AROUND} or more.")
    names = names or tuple(f"column {j}" for j in range(X.shape[1]))
    rng = np.random.default_rng(seed)
    held = None if y is None else _held(X, y, validation, share, seed)
    around = neighbourhood(X if held is None else held[0], names, metric=metric, p=p, seed=seed)
    if held is None:
        return CurseOfDimensionality(around, (), tuple(around.findings()), "")
    X, y, new, truth = held
    classes = task == "classification" if task else _are_classes(y)
    (X, y), (new, truth) = _drawn(rng, MOST_ROWS, X, y), _drawn(rng, MOST_QUERIES, new, truth)
    limits = {"metric": metric, "p": p, "n_neighbors": min(n_neighbors, len(X))}
    trials = tuple(_trials(X, y, new, truth, classes, around.ruled, limits, rng))
    criterion = "share wrong" if classes else "mean squared error, squared unit of the target"
    return CurseOfDimensionality(around, trials, (*around.findings(), *_better(trials, around.ruled)), criterion)


def neighbourhood(X: Array, names: Sequence[str], *, metric: str, p: float, seed: int = 0) -> Neighbourhood:
    """The distances of rows (n, p) to each other, or of 10,000 of them."""
    name, p = canonical(metric, p)
    rng = np.random.default_rng(seed)
    X = _drawn(rng, MOST_ROWS, X)[0]
    few = _drawn(rng, FAR_ROWS, X)[0]
    shuffled = np.ascontiguousarray(rng.permuted(few, axis=0))
    k = min(AROUND, len(X) - 1)
    far, near = nearest(build(X, metric=name, p=p), X, k, skip=np.arange(len(X)))
    often = np.bincount(near.ravel(), minlength=len(X))
    return Neighbourhood(
        _contrast(few, name, p),
        _contrast(shuffled, name, p),
        _dimension(np.sqrt(far) if name == "cosine" else far) if name != "hamming" else np.nan,
        float(skew(often)) if often.std() > 0.0 else 0.0,
        float(np.mean(often == 0)),
        tuple(names),
        _shares(X),
    )


def _contrast(X: Array, metric: str, p: float) -> float:
    """The median of (farthest - nearest) / nearest over rows, without their twins."""
    contrasts = []
    for at in range(0, len(X), max(1, len(X) // FAR_QUERIES)):
        away = measured_of_all(CODES[metric], p, X, X[at])
        away = away[away > TWIN * away.max()]
        if len(away):
            contrasts.append((away.max() - away.min()) / away.min())
    return float(np.median(contrasts)) if contrasts else np.nan


def _dimension(far: Array) -> float:
    """From sorted distances (n, k); rows with a twin say nothing."""
    logs = np.log(far[far[:, 0] > 0.0])
    if not logs.size:
        return np.nan
    mean = float((logs[:, -1:] - logs[:, :-1]).mean())
    return 1.0 / mean if mean > 0.0 else np.nan


def _shares(X: Array) -> Array:
    spread = X.var(axis=0)
    total = spread.sum()
    return np.asarray(spread / total if total > 0.0 else np.full(len(spread), 1.0 / len(spread)))


def _are_classes(y: Array) -> bool:
    if y.dtype.kind not in "iuf":
        return True
    return bool(np.all(y == np.round(y))) and len(np.unique(y)) <= FEW_VALUES


def _held(X: Any, y: Any, validation: Any, share: float, seed: int) -> tuple[Array, Array, Array, Array]:
    """Training rows and validation rows."""
    if validation is not None:
        new, truth = check_X_y(*validation, dtype=np.float64, order="C")
        if new.shape[1] != X.shape[1]:
            raise InputError(f"The validation rows have {new.shape[1]} columns, the others {X.shape[1]}.")
        return X, y, new, truth
    X, new, y, truth = train_test_split(X, y, test_size=share, random_state=seed)
    return X, y, new, truth


def _drawn(rng: np.random.Generator, most: int, *arrays: Array) -> tuple[Array, ...]:
    if len(arrays[0]) <= most:
        return arrays
    rows = np.sort(rng.choice(len(arrays[0]), most, replace=False))
    return tuple(np.ascontiguousarray(values[rows]) for values in arrays)


def _trials(
    X: Array,
    y: Array,
    new: Array,
    truth: Array,
    classes: bool,
    ruled: bool,
    limits: dict[str, Any],
    rng: np.random.Generator,
) -> list[Trial]:
    """The validation errors; where one column rules, fewer columns are tried among scaled ones."""

    def losses(rows: Array, queries: Array) -> Array:
        from heldout.neighbors.estimators import NearestNeighborsClassifier, NearestNeighborsRegressor

        learner = NearestNeighborsClassifier if classes else NearestNeighborsRegressor
        said = learner(**limits).fit(np.ascontiguousarray(rows), y).predict(np.ascontiguousarray(queries))
        return np.asarray(said != truth if classes else (said - truth) ** 2, dtype=np.float64)

    n_columns = X.shape[1]
    scale = X.std(axis=0)
    scale[scale == 0.0] = 1.0
    found = [("all", n_columns, losses(X, new)), ("scaled", n_columns, losses(X / scale, new / scale))]
    if ruled:
        X, new = X / scale, new / scale
    kept = [2**i for i in range(n_columns.bit_length()) if 2**i < n_columns]
    if kept:
        reach = min(kept[-1], len(X), MOST_PARTS)
        parts = PCA(n_components=reach, random_state=0).fit(X)
        z, new_z = parts.transform(X), parts.transform(new)
        related = np.argsort(-_related(X, y, classes), kind="stable")
        order = rng.permutation(n_columns)
        for k in kept:
            if k <= reach:
                found.append(("projected", k, losses(z[:, :k], new_z[:, :k])))
            found.append(("most related", k, losses(X[:, related[:k]], new[:, related[:k]])))
            found.append(("at random", k, losses(X[:, order[:k]], new[:, order[:k]])))
    as_they_are, scaled = found[0][2], found[1][2]
    base = scaled if ruled else as_they_are
    raw = [_no_better(as_they_are, scaled, classes), *(_no_better(base, other, classes) for _, _, other in found[2:])]
    p_values = [1.0, *holm(raw)]
    trials = [
        Trial(way, k, float(loss.mean()), float(loss.std() / np.sqrt(len(loss))), p)
        for (way, k, loss), p in zip(found, p_values, strict=True)
    ]
    return sorted(trials, key=lambda trial: (WAYS.index(trial.way), trial.columns))


def _related(X: Array, y: Array, classes: bool) -> Array:
    """The share of each column's variance that y explains, which ranks as the F statistic does; 0 where it has none."""
    z = X - X.mean(axis=0)
    spread = np.sqrt((z**2).sum(axis=0))
    z /= np.where(spread > 0.0, spread, 1.0)
    if not classes:
        t = y - y.mean()
        return np.asarray((t @ z) ** 2)
    codes = np.unique(y, return_inverse=True)[1]
    sums = np.stack([z[codes == k].sum(axis=0) for k in range(codes.max() + 1)])
    return np.asarray((sums**2 / np.bincount(codes)[:, None]).sum(axis=0))


def _no_better(base: Array, other: Array, classes: bool) -> float:
    """The p value of `other` losing no less than `base`, row by row."""
    difference = base - other
    if not difference.any():
        return 1.0
    if classes:
        won, lost = int(np.sum(difference > 0)), int(np.sum(difference < 0))
        return float(binomtest(won, won + lost, alternative="greater").pvalue)
    return float(ttest_1samp(difference, 0.0, alternative="greater").pvalue) if difference.std() > 0.0 else 1.0


def _better(trials: Sequence[Trial], ruled: bool) -> list[Finding]:
    """H305 and H306, where scaling, or fewer columns, predict better."""
    by_way = {trial.way: trial for trial in trials if trial.way in WAYS[:2]}
    findings = []
    for code, title, ways, base in (
        ("H305", "Scaled columns predict better", WAYS[1:2], by_way["all"]),
        ("H306", "Fewer columns predict better", WAYS[2:], by_way["scaled" if ruled else "all"]),
    ):
        better = [trial for trial in trials if trial.way in ways and trial.p_value <= LEVEL]
        if better:
            best = min(better, key=lambda trial: trial.error)
            fewer = f"{best.columns:,} of the {base.columns:,} columns ({best.way})" if code == "H306" else "all scaled"
            message = (
                f"The validation error is {number(best.error)} with {fewer} and {number(base.error)} with all "
                f"{'scaled' if base.way == 'scaled' else 'as they are'} (p = {best.p_value:.2g})."
            )
            evidence = {"error": best.error, "columns": best.columns, "way": best.way, "all": base.error}
            findings.append(Finding(code, title, "warning", message, None, evidence))
    return findings
