"""A learner whose settings are searched for: at random, by successive halving, or by Optuna."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from heldout.candidates import require_estimator
from heldout.diagnosis import given
from heldout.diagnosis.resampled import Array, Fold, fitted_on, loss_on, made_folds
from heldout.diagnosis.spaces import Among, Between, Dimension, dimension, space_of
from heldout.errors import InputError, MissingExtraError, WorkError, suggest
from heldout.metrics import Criterion
from heldout.printed import Printed, Sheet
from heldout.problem import Problem
from heldout.progress import shown_progress
from heldout.words import number

FACTOR = 3  # settings that are dropped for each that goes on, and rows that it then has for each before
LEAST_ROWS = 100  # fewer say little of a setting
MOST_SHOWN = 10
DRAWS_EACH = 20  # tries to draw a setting that was not drawn before


@dataclass(frozen=True, repr=False, eq=False)
class Tuning(Printed):
    """What a search tried. Prints as a table, the best first, and plots.

    Attributes
    ----------
    settings : tuple of dict (k,)
        The first is empty: the estimator as it was given.
    scores : float array (k,), mean over the folds; NaN where the setting could not be fitted
    rows : int array (k,), training rows of a fold that the setting was last judged with: all, or fewer if dropped
    best : int, of those judged with all rows
    criterion : Criterion
    """

    settings: tuple[dict[str, Any], ...]
    scores: Array
    rows: Any
    best: int
    criterion: Criterion

    def describe(self, k: int) -> str:
        """A setting in words."""
        return ", ".join(f"{name} {_text(value)}" for name, value in self.settings[k].items()) or "as it was"

    def _table(self) -> Sheet:
        loss = np.array([self.criterion.loss(score) for score in self.scores])
        order = np.lexsort((loss, -self.rows))[:MOST_SHOWN]
        body = [[self.describe(k), f"{self.rows[k]:,}", number(float(self.scores[k]))] for k in order.tolist()]
        left = len(self.settings) - len(body)
        notes = [f"{left:,} more settings were tried."] if left > 0 else []
        notes.append("The best score is a winner's, and a little too good: heldout.cross_validate of the search tells.")
        return [f"{len(self.settings):,} settings tried"], ["setting", "rows", self.criterion.title], body, notes

    def plot(self) -> Any:
        """An Altair chart: the score of each setting against each parameter; the size tells the rows."""
        import altair as alt

        names = dict.fromkeys(name for item in self.settings for name in item)
        charts = [self._chart(name) for name in names]
        return alt.concat(*charts, columns=2, title="Settings tried, cross-validated")

    def _chart(self, name: str) -> Any:
        import altair as alt

        told = zip(self.settings, self.scores.tolist(), self.rows.tolist(), strict=True)
        rows = [
            {"x": item[name] if _numeric(item[name]) else str(item[name]), "score": score, "rows": n, "best": k == best}
            for best in (self.best,)
            for k, (item, score, n) in enumerate(told)
            if name in item and math.isfinite(score)
        ]
        values = [item[name] for item in self.settings if name in item and _numeric(item[name])]
        wide = len(values) > 0 and min(values) > 0 and max(values) >= 20 * min(values)
        scale = alt.Scale(type="log", nice=False) if wide else alt.Scale(zero=False)
        x = alt.X("x:Q", title=name, scale=scale) if values else alt.X("x:N", title=name)
        y = alt.Y("score:Q", title=self.criterion.title, scale=alt.Scale(zero=False))
        size = alt.Size("rows:Q", title="rows", scale=alt.Scale(range=[20, 90]))
        colour = alt.Color("best:N", title="best", scale=alt.Scale(range=["#2f6fb0", "#e07b39"]))
        base = alt.Chart(alt.Data(values=rows)).mark_circle(opacity=0.7)
        return base.encode(x=x, y=y, size=size, color=colour).properties(width=220, height=180)


def _numeric(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _has(name: str) -> Callable[[Any], bool]:
    return lambda search: hasattr(getattr(search, "best_estimator_", search.estimator), name)


class Search(MetaEstimatorMixin, BaseEstimator):  # type: ignore[misc]
    """An estimator whose settings are chosen by cross-validation inside its fit, and that then is fitted to all rows.

    The estimator as it was given is always among the settings and is judged with all rows, so that a search changes
    nothing where it finds nothing. Whether the setting found is better on rows held out is another question:
    `heldout.diagnose(estimator, X, y, tune=20)` tests it, and `heldout.cross_validate(Search(estimator), X, y)` is the
    nested cross-validation, in which each fold is searched anew.

    Parameters
    ----------
    estimator : regressor or classifier of scikit-learn's interface, or a Pipeline
    space : dict of parameter name to range, or None, default None
        A range is `heldout.Between(low, high)`, a list of values, or a distribution of scipy.stats. None: the space
        of the estimator's kind (`heldout.space_of`).
    method : {"halving", "random", "optuna"}, default "halving"
        "random": every setting is cross-validated with all rows (Bergstra and Bengio 2012). "halving": all of them with
        few rows, the better third with three times as many, and so on to all (Jamieson and Talwalkar 2016); never with
        fewer than 100, so that few rows are searched at random. "optuna": each setting is chosen by those before it
        (the tree-structured Parzen estimator; extra `optuna`).
    n_settings : int from 1 up, default 20
        Drawn, beside the estimator as it was given. Where the space has fewer, all that are found.
    cv : int from 2 up, or splitter, default 3
        Folds keep the same rows and groups on one side and spread the target evenly.
    criterion : str or None, default None
        As in `heldout.diagnose`.
    seed : int, not negative, default 0
    verbose : bool, default False
        Show what is being fitted, and the time left, on stderr.

    Attributes
    ----------
    best_estimator_ : the estimator with the best setting, fitted to all rows
    best_params_ : dict, empty where nothing was better than the estimator as it was given
    best_score_ : float, its mean over the folds: a winner's, and a little too good
    tuning_ : Tuning, all that was tried
    classes_, n_features_in_ : of the best estimator, where it has them

    Raises
    ------
    InputError : a parameter is wrong, the estimator has no space and none was given, or rows and targets do not fit.
    WorkError : no setting could be fitted.
    MissingExtraError : Optuna is asked for and not installed.

    References
    ----------
    J. Bergstra and Y. Bengio, Random search for hyper-parameter optimization, Journal of Machine Learning Research 13,
    2012. K. Jamieson and A. Talwalkar, Non-stochastic best arm identification and hyperparameter optimization, AISTATS
    2016.

    Examples
    --------
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(400, 3))
    >>> y = (X[:, 0] + rng.normal(size=400) > 0).astype(int)
    >>> found = Search(KNeighborsClassifier(1), {"n_neighbors": [1, 5, 15, 45]}, criterion="accuracy").fit(X, y)
    >>> found.best_params_["n_neighbors"] > 1, found.predict(X[:2]).shape
    (True, (2,))
    """

    def __init__(
        self,
        estimator: Any,
        space: Mapping[str, Any] | None = None,
        *,
        method: str = "halving",
        n_settings: int = 20,
        cv: Any = 3,
        criterion: str | None = None,
        seed: int = 0,
        verbose: bool = False,
    ) -> None:
        self.estimator = estimator
        self.space = space
        self.method = method
        self.n_settings = n_settings
        self.cv = cv
        self.criterion = criterion
        self.seed = seed
        self.verbose = verbose

    @property
    def tunes(self) -> Any:
        """The estimator whose settings are searched for."""
        return self.estimator

    def __sklearn_tags__(self) -> Any:
        tags, own = super().__sklearn_tags__(), get_tags(self.estimator)
        for name in ("estimator_type", "classifier_tags", "regressor_tags", "input_tags", "target_tags"):
            setattr(tags, name, getattr(own, name))
        return tags

    def fit(self, X: Any, y: ArrayLike, groups: ArrayLike | None = None) -> Search:
        """Search on rows `X` (n, p), targets `y` (n,); rows of a group (n,) stay in one fold."""
        require_estimator(self.estimator)
        ((_, target),) = given.parts(X, y, None)
        problem = given.stated(self.estimator, [target], self.criterion)
        trial = _Trials(
            self.estimator,
            X,
            given.coded(target, problem),
            problem,
            made_folds(X, given.coded(target, problem), groups, problem, self.cv, 1, self.seed),
        )
        space = self._space(len(target))
        with shown_progress(not self.verbose) as progress:
            tell = progress or (lambda *_: None)
            found = METHODS[self._method()](trial, space, int(self.n_settings), int(self.seed), tell)
        self.tuning_ = found
        self.best_params_ = dict(found.settings[found.best])
        self.best_score_ = float(found.scores[found.best])
        self.best_estimator_ = clone(self.estimator).set_params(**self.best_params_).fit(X, target)
        for name in ("classes_", "n_features_in_", "feature_names_in_"):
            if hasattr(self.best_estimator_, name):
                setattr(self, name, getattr(self.best_estimator_, name))
        return self

    def _method(self) -> str:
        if self.method not in METHODS:
            raise InputError(f"There is no method {self.method!r}.{suggest(str(self.method), METHODS)}")
        for name, least in (("n_settings", 1), ("seed", 0)):
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
                raise InputError(f"{name} is {value!r} and must be a whole number from {least} up.")
        return self.method

    def _space(self, n_rows: int) -> dict[str, Dimension]:
        kind = type(self.estimator).__name__
        if self.space is None:
            found = space_of(self.estimator, n_rows)
            if not found:
                raise InputError(f"{kind} has no settings that are worth a search; say which with space={{...}}.")
            return found
        known = self.estimator.get_params()
        for name in self.space:
            if name not in known:
                raise InputError(f"{kind} has no parameter {name!r}.{suggest(name, known)}")
        if not self.space:
            raise InputError("The space is empty: give a range for one parameter at least.")
        return {name: dimension(value) for name, value in self.space.items()}

    def predict(self, X: Any) -> Any:
        """What the best estimator says of rows (m, p)."""
        check_is_fitted(self, "best_estimator_")
        return self.best_estimator_.predict(X)

    @available_if(_has("predict_proba"))  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Any:
        """The best estimator's probabilities (m, K)."""
        check_is_fitted(self, "best_estimator_")
        return self.best_estimator_.predict_proba(X)

    @available_if(_has("decision_function"))  # type: ignore[untyped-decorator]
    def decision_function(self, X: Any) -> Any:
        """The best estimator's values."""
        check_is_fitted(self, "best_estimator_")
        return self.best_estimator_.decision_function(X)

    def score(self, X: Any, y: ArrayLike) -> float:
        """The best estimator's own score (R2 or accuracy)."""
        check_is_fitted(self, "best_estimator_")
        return float(self.best_estimator_.score(X, y))


# The methods -----------------------------------------------------------------------------------------------

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, repr=False)
class _Trials:
    """An estimator, its rows and the folds that its settings are judged by."""

    estimator: Any
    X: Any
    y: Array
    problem: Problem
    folds: Sequence[Fold]

    @property
    def most(self) -> int:
        """Rows to train that every fold has."""
        return min(len(train) for train, _ in self.folds)

    def loss(self, settings: Mapping[str, Any], n_rows: int | None = None) -> float:
        """The mean loss over the folds with the first `n_rows` of each; infinite where the setting cannot be fitted."""
        try:
            return self.measured(settings, n_rows)
        except Exception:  # whatever a foreign estimator raises; that no setting can be fitted is said
            return math.inf

    def measured(self, settings: Mapping[str, Any], n_rows: int | None = None) -> float:
        changed = clone(self.estimator).set_params(**settings)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fits = ((fitted_on(changed, self.X, self.y, train[:n_rows]), held) for train, held in self.folds)
            found = [loss_on(fitted, self.X, self.y, held, self.problem) for fitted, held in fits]
        return float(np.mean(found)) if np.isfinite(found).all() else math.inf

    def tuning(self, settings: Sequence[Mapping[str, Any]], losses: Array, rows: Any) -> Tuning:
        """All that was tried, the best of those judged with most rows."""
        judged = np.where(rows == rows.max(), losses, np.inf)
        best = int(judged.argmin())
        if not math.isfinite(judged[best]):
            self.measured({})  # raises what is wrong with it, most often
            raise WorkError(f"No setting of {type(self.estimator).__name__} could be fitted and scored.")
        scores = np.array([self.problem.criterion.loss(v) if math.isfinite(v) else np.nan for v in losses])
        return Tuning(tuple(map(dict, settings)), scores, rows, best, self.problem.criterion)


def drawn(space: Mapping[str, Dimension], n: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Different settings, at most n: a small space may have fewer."""
    found: list[dict[str, Any]] = []
    for _ in range(DRAWS_EACH * n):
        settings = {name: range_.draw(rng) for name, range_ in space.items()}
        if settings not in found:
            found.append(settings)
        if len(found) == n:
            break
    return found


def _random(trials: _Trials, space: Mapping[str, Dimension], n: int, seed: int, tell: Tell) -> Tuning:
    settings: list[dict[str, Any]] = [{}, *drawn(space, n, np.random.default_rng(seed))]
    losses = np.empty(len(settings))
    for k, item in enumerate(settings):
        tell("Searching", k, len(settings))
        losses[k] = trials.loss(item)
    return trials.tuning(settings, losses, np.full(len(settings), trials.most))


def _halving(trials: _Trials, space: Mapping[str, Dimension], n: int, seed: int, tell: Tell) -> Tuning:
    rng = np.random.default_rng(seed)
    settings: list[dict[str, Any]] = [{}, *drawn(space, n, rng)]
    mixed = _Trials(
        trials.estimator,
        trials.X,
        trials.y,
        trials.problem,
        [(rng.permutation(train), held) for train, held in trials.folds],
    )
    rounds = _rounds(len(settings), trials.most)
    losses, rows = np.full(len(settings), np.inf), np.zeros(len(settings), np.int64)
    alive, done = np.arange(len(settings)), 0
    for left, n_rows in rounds:
        losses[alive] = np.inf
        for k in alive.tolist():
            tell(f"Searching, {n_rows:,} rows", done, sum(count for count, _ in rounds))
            losses[k], rows[k] = mixed.loss(settings[k], n_rows), n_rows
            done += 1
        order = alive[np.argsort(losses[alive], kind="stable")]
        kept = order[: max(1, math.ceil(left / FACTOR))]
        alive = np.unique(np.append(kept, 0))  # the estimator as it was given goes to the end
    return mixed.tuning(settings, losses, rows)


def _rounds(n_settings: int, most: int) -> list[tuple[int, int]]:
    """How many settings are judged in each round, and with how many rows."""
    count = 1
    while n_settings / FACTOR**count >= 1.5 and most / FACTOR**count >= LEAST_ROWS:
        count += 1
    made, left = [], n_settings
    for turn in range(count):
        made.append((left, most // FACTOR ** (count - 1 - turn)))
        left = max(1, math.ceil(left / FACTOR)) + 1
    return made


def _optuna(trials: _Trials, space: Mapping[str, Dimension], n: int, seed: int, tell: Tell) -> Tuning:
    try:
        import optuna
    except ImportError:
        raise MissingExtraError("A search by Optuna needs optuna: pip install 'heldout[optuna]'.") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    settings: list[dict[str, Any]] = [{}]
    losses = [trials.loss({})]
    for k in range(n):
        tell("Searching with Optuna", k + 1, n + 1)
        asked = study.ask()
        settings.append({name: _suggested(asked, name, range_) for name, range_ in space.items()})
        losses.append(trials.loss(settings[-1]))
        failed = not math.isfinite(losses[-1])
        study.tell(asked, None if failed else losses[-1], state=optuna.trial.TrialState.FAIL if failed else None)
    return trials.tuning(settings, np.array(losses), np.full(n + 1, trials.most))


def _suggested(asked: Any, name: str, range_: Dimension) -> Any:
    if isinstance(range_, Between) and range_.whole:
        return asked.suggest_int(name, int(range_.low), int(range_.high), log=range_.log)
    if isinstance(range_, Between):
        return asked.suggest_float(name, range_.low, range_.high, log=range_.log)
    if isinstance(range_, Among):  # Optuna keeps numbers and texts only: the place stands for the value
        return range_.values[asked.suggest_categorical(name, list(range(len(range_.values))))]
    raise InputError(
        f"Optuna cannot draw {name!r} from a distribution of scipy.stats; give heldout.Between(low, high)."
    )


METHODS: dict[str, Callable[[_Trials, Mapping[str, Dimension], int, int, Tell], Tuning]] = {
    "halving": _halving,
    "random": _random,
    "optuna": _optuna,
}
