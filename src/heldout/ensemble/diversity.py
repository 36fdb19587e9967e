"""Why an ensemble helps: how strong its members are, how alike, and what Breiman's bound makes of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_consistent_length

from heldout.errors import InputError, suggest
from heldout.linear.states import row_weights
from heldout.printed import Printed, Sheet
from heldout.words import number, percent

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

TASKS = ("classification", "regression")
ALIKE = 0.95  # a correlation from which members are called nearly the same


@dataclass(frozen=True, eq=False, repr=False)
class Diversity(Printed):
    """What is told of both tasks; see `VoteDiversity` and `NumberDiversity`."""

    n_rows: int
    out_of_bag: bool
    error: float
    mean_error: float
    ambiguity: float
    correlation: float
    bound: float
    member_errors: Array
    member_correlations: Array
    errors_by_size: Array

    measure = ""
    together = ""

    @property
    def n_members(self) -> int:
        return len(self.member_errors)

    def _title(self) -> list[str]:
        rows = f"{self.n_rows:,} rows{', each judged by those that did not see it' if self.out_of_bag else ''}"
        return [f"{self.n_members} members on {rows}"]

    def plot(self) -> Any:
        """An Altair chart: the error by the number of members, and each member's error and correlation."""
        return self._growth() | self._cloud()

    def _growth(self) -> Any:
        import altair as alt

        values = [
            {"members": b + 1, "error": float(error), "line": self.together}
            for b, error in enumerate(self.errors_by_size)
        ]
        values += [{"members": b, "error": self.mean_error, "line": "a member, mean"} for b in (1, self.n_members)]
        return (
            alt.Chart(alt.Data(values=values), title="Error by the number of members")
            .mark_line()
            .encode(
                x=alt.X("members:Q", title="members, in their order"),
                y=alt.Y("error:Q", title=self.measure, scale=alt.Scale(zero=False)),
                color=alt.Color("line:N", title="error of"),
            )
            .properties(width=320, height=260)
        )

    def _cloud(self) -> Any:
        import altair as alt

        columns = zip(self.member_errors.tolist(), self.member_correlations.tolist(), strict=True)
        values = [
            {"member": b + 1, "error": error, "correlation": alike, "point": "a member"}
            for b, (error, alike) in enumerate(columns)
            if np.isfinite(alike)
        ]
        return (
            alt.Chart(alt.Data(values=values), title="The members: wrong how often, and how much together")
            .mark_circle(size=36, opacity=0.7)
            .encode(
                x=alt.X("error:Q", title=self.measure, scale=alt.Scale(zero=False)),
                y=alt.Y("correlation:Q", title="correlation with the members", scale=alt.Scale(zero=False)),
                color=alt.Color("point:N", title="points"),
                tooltip=["member:Q", "error:Q", "correlation:Q"],
            )
            .properties(width=320, height=260)
        )


@dataclass(frozen=True, eq=False, repr=False)
class VoteDiversity(Diversity):
    r"""The members of a classifier, each with one vote: their strength, their correlation, and Breiman's bound.

    With Q the shares of the votes, mr the margin of a row, j its most voted wrong class, rmg the margin of one member,

    .. math:: mr = Q(y) - Q(j), \quad s = E\,mr, \quad rmg_b = [h_b = y] - [h_b = j], \quad
        \bar\rho = \frac{\operatorname{var} mr}{(\operatorname{mean}_b \operatorname{sd} rmg_b)^2}, \qquad
        \text{error} \le \bar\rho \, \frac{1 - s^2}{s^2}

    It prints as a table with a verdict, and plots.

    Attributes
    ----------
    n_rows, n_members : int
    out_of_bag : bool, whether a row is judged only by members that did not see it; then the bound is an estimate
    error : float, the share of rows (of their weight) that the vote gets wrong
    own_error : float or None, that of the ensemble's own answers where they are not the vote
    mean_error : float, the mean share that a member gets wrong
    strength : float, s
    correlation : float, the mean correlation of the members' margins; NaN where no margin varies
    bound : float, Breiman's on `error`; NaN where s is not above 0
    ambiguity : float, half the chance that two members drawn at random differ on a row
    loss : float, half the Brier score of the shares of votes; it is `mean_error` - `ambiguity`, exactly
    member_errors, strengths, member_correlations : float64 arrays (B,); of each: its error, its mean margin, and the
        correlation of its margin with the others' (the mean, with weights sd, is `correlation`)
    errors_by_size : float64 array (B,), the error of the vote of the first 1, 2, ..., B members

    References
    ----------
    L. Breiman, Random forests, Machine Learning 45, 2001, section 2.2. A. Krogh and J. Vedelsby, Neural network
    ensembles, cross validation, and active learning, NIPS 7, 1995.
    """

    own_error: float | None
    strength: float
    loss: float
    strengths: Array

    measure = "error (share of rows)"
    together = "the vote"

    @property
    def verdict(self) -> str:
        """Why the vote is better than a member, or is not."""
        said = f"A member errs on {percent_of(self.mean_error)} of the rows on average, their vote on "
        said += f"{percent_of(self.error)}: "
        if self.error < self.mean_error:
            return (
                f"{said}the members err on different rows (their margins correlate by {number(self.correlation, 2)}, "
                "where 1 is all alike), and those that are right outvote the others."
            )
        if self.mean_error == 0.0:
            return f"{said}there is nothing to win."
        if self.correlation > ALIKE:
            return f"{said}voting does not help, as the members are nearly alike."
        return f"{said}voting does not help, as the rows that one gets wrong most others get wrong too."

    @property
    def caution(self) -> str:
        """What the bound is worth here."""
        if self.strength <= 0.0:
            return "There is no bound: on average a wrong class gets as many votes as the right one."
        if self.bound >= 1.0:
            return "The bound is above 1 and promises nothing; the errors above were counted."
        return (
            "The bound, rho (1 - s²) / s², knows strength and correlation alone, and is loose; the errors were counted."
        )

    def _table(self) -> Sheet:
        own = [] if self.own_error is None else [["error of the mean probability", number(self.own_error), "", "", ""]]
        body = [
            *own,
            ["error of the vote", number(self.error), number(self.mean_error), *ends(self.member_errors)],
            ["strength s", number(self.strength), number(self.strength), *ends(self.strengths)],
            ["correlation of margins", "", number(self.correlation), *ends(self.member_correlations)],
            ["bound on the error of the vote", number(self.bound), "", "", ""],
            ["ambiguity", "", number(self.ambiguity), "", ""],
        ]
        return self._title(), ["", "together", "mean of a member", "least", "most"], body, [self.verdict, self.caution]


@dataclass(frozen=True, eq=False, repr=False)
class NumberDiversity(Diversity):
    r"""The members of a regressor: their squared errors, the correlation of their residuals, and what the mean saves.

    .. math:: \overline{(y - \bar f)^2} = \overline{(y - f_b)^2} - \overline{(f_b - \bar f)^2}, \qquad
        \bar\rho = \frac{\overline{(y - \bar f)^2}}{(\operatorname{mean}_b \sqrt{\overline{(y - f_b)^2}})^2}, \qquad
        \text{error} \le \bar\rho \; \overline{(y - f_b)^2}

    Residuals are not centred: Breiman's members have no bias. It prints as a table with a verdict, and plots.

    Attributes
    ----------
    n_rows, n_members : int
    out_of_bag : bool, whether a row is judged only by members that did not see it; then the bound is an estimate
    error : float, the mean squared error of the members' mean
    mean_error : float, the mean of the members' mean squared errors
    ambiguity : float, the mean squared distance of a member from their mean; `error` is `mean_error` - `ambiguity`,
        exactly
    correlation : float, the mean correlation of the members' residuals; NaN where all are zero
    bound : float, `correlation` times `mean_error`
    member_errors, member_correlations : float64 arrays (B,); of each: its mean squared error (its strength: less is
        stronger), and the correlation of its residuals with the others' (the mean, with weights of the members'
        root mean squared errors, is `correlation`)
    errors_by_size : float64 array (B,), the error of the mean of the first 1, 2, ..., B members

    References
    ----------
    L. Breiman, Random forests, Machine Learning 45, 2001, section 11. A. Krogh and J. Vedelsby, Neural network
    ensembles, cross validation, and active learning, NIPS 7, 1995, equation 6.
    """

    measure = "mean squared error"
    together = "the mean"

    @property
    def verdict(self) -> str:
        """Why the mean is better than a member, or is not."""
        said = (
            f"The squared error of the mean is that of a member less how far the members lie from their mean: "
            f"{number(self.error)} = {number(self.mean_error)} - {number(self.ambiguity)}. "
        )
        if self.mean_error == 0.0:
            return f"{said}There is nothing to win."
        if self.ambiguity <= (1.0 - ALIKE) * self.mean_error:
            return f"{said}Averaging hardly helps, as the members are nearly alike."
        return (
            f"{said}Averaging takes {percent_of(self.ambiguity / self.mean_error)} of the error away, as the residuals "
            f"correlate by {number(self.correlation, 2)} only, where 1 is all alike."
        )

    def _table(self) -> Sheet:
        body = [
            ["squared error", number(self.error), number(self.mean_error), *ends(self.member_errors)],
            ["correlation of residuals", "", number(self.correlation), *ends(self.member_correlations)],
            ["bound on the squared error", number(self.bound), "", "", ""],
            ["ambiguity", "", number(self.ambiguity), "", ""],
        ]
        return self._title(), ["", "together", "mean of a member", "least", "most"], body, [self.verdict]


def percent_of(share: float) -> str:
    """A share in per cent, in three digits."""
    return percent(float(f"{share:.3g}"))


def ends(values: Array) -> list[str]:
    """The least and the greatest of those that are numbers."""
    told = values[np.isfinite(values)]
    return [number(float(told.min())), number(float(told.max()))] if len(told) else ["–", "–"]


def diversity_of(
    said: ArrayLike | Sequence[Any],
    y: ArrayLike,
    *,
    task: str,
    sample_weight: ArrayLike | None = None,
    asked: ArrayLike | None = None,
    together: ArrayLike | None = None,
) -> Diversity:
    """How strong and how alike the members of any ensemble are, from what each says of the same rows.

    Parameters
    ----------
    said : array (B, n), what each member says: labels, or numbers
    y : array (n,), the truth
    task : {"classification", "regression"}
    sample_weight : array (n,), not negative, default None
    asked : bool array (B, n), default None
        Which member is asked about which row: those that did not see it, say. Rows that none is asked about do not
        count.
    together : array (n,), default None
        Of a classifier, what the ensemble itself says where that is not the vote; its error is reported beside.

    Returns
    -------
    VoteDiversity or NumberDiversity

    Raises
    ------
    InputError : the task is unknown, the arrays do not fit together, or no member is asked about any row.

    References
    ----------
    L. Breiman, Random forests, Machine Learning 45, 2001, sections 2.2 and 11.

    Examples
    --------
    >>> found = diversity_of([[1.0, 4.0], [3.0, 2.0]], [2.0, 2.0], task="regression")
    >>> found.error, found.mean_error, found.ambiguity
    (0.5, 1.5, 1.0)
    """
    if task not in TASKS:
        raise InputError(f"There is no task {task!r}.{suggest(str(task), TASKS)}")
    answers, truth = np.asarray(said), np.asarray(y)
    if answers.ndim != 2 or not answers.size or truth.shape != answers.shape[1:]:
        raise InputError(
            f"What the members say has shape {answers.shape} and the truth {truth.shape}: give (members, n) and (n,)."
        )
    weights = row_weights(sample_weight, truth)
    mask = np.ones(answers.shape, dtype=bool) if asked is None else np.asarray(asked, dtype=bool)
    if mask.shape != answers.shape:
        raise InputError(f"asked has shape {mask.shape} and must have that of what the members say, {answers.shape}.")
    own = None if together is None else np.asarray(together)
    if own is not None:
        check_consistent_length(own, truth)
    counted = mask.any(axis=0) if weights is None else mask.any(axis=0) & (weights > 0.0)
    if not counted.any() or not mask[:, counted].any(axis=1).all():
        raise InputError("A member is asked about no row: give more rows, or fewer members.")
    v = np.ones(int(counted.sum())) if weights is None else weights[counted]
    rows = _Asked(mask[:, counted], v / v.sum(), asked is not None)
    answers, truth, own = answers[:, counted], truth[counted], None if own is None else own[counted]
    if task == "regression":
        return _of_numbers(answers.astype(np.float64), truth.astype(np.float64), rows)
    labels = np.unique(np.concatenate([truth, answers.ravel()]))
    codes, votes = np.searchsorted(labels, truth), np.searchsorted(labels, answers)
    return _of_votes(votes, codes, max(len(labels), 2), rows, None if own is None else own != truth)


def vote_diversity(
    classes: Array, said: Array, mean: Array, truth: Array, sample_weight: ArrayLike | None
) -> VoteDiversity:
    """Of a classifier whose members say classes by their places (B, n) in `classes`, and together `mean` (n, K)."""
    _, places = np.unique(np.concatenate([classes, truth]), return_inverse=True)  # the truth may have others
    place, codes = places[: len(classes)], places[len(classes) :]
    together = place[mean.argmax(axis=1)]
    found = diversity_of(place[said], codes, task="classification", sample_weight=sample_weight, together=together)
    assert isinstance(found, VoteDiversity)
    return found


def number_diversity(said: Array, truth: Array, sample_weight: ArrayLike | None) -> NumberDiversity:
    """Of a regressor whose members say numbers (B, n)."""
    found = diversity_of(said, truth, task="regression", sample_weight=sample_weight)
    assert isinstance(found, NumberDiversity)
    return found


@dataclass(frozen=True, eq=False)
class _Asked:
    """Which member is asked about which row (B, n), at least one about each; shares of the rows' weight (n,)."""

    mask: Array
    share: Array
    out_of_bag: bool

    @property
    def count(self) -> Array:
        return np.asarray(self.mask.sum(axis=0))

    def of(self, member: int) -> tuple[Array, Array]:
        """The rows that a member is asked about, and their shares."""
        at = np.flatnonzero(self.mask[member])
        share = self.share[at]
        return at, share / share.sum()


def _of_votes(votes: Array, codes: Array, k: int, rows: _Asked, wrong: Array | None) -> VoteDiversity:
    """From class codes (B, n) and (n,); `wrong` (n,) tells of the ensemble's own answers."""
    counts, by_size = _counts(votes, codes, k, rows)
    q, each = counts / rows.count[:, None], np.arange(len(codes))
    others = q.copy()
    others[each, codes] = -1.0
    rival = others.argmax(axis=1)
    right = q[each, codes]
    margin = right - q[each, rival]
    strength = float(rows.share @ margin)
    told = []
    for b in range(len(votes)):
        at, share = rows.of(b)
        vote = votes[b, at]
        own = (vote == codes[at]).astype(np.float64) - (vote == rival[at])
        mean = share @ own
        together = share @ ((own - mean) * margin[at])
        told.append((share @ (vote != codes[at]), mean, np.sqrt(share @ (own - mean) ** 2), together))
    errors, strengths, sd, together = np.array(told).T
    correlation = _ratio(rows.share @ (margin - strength) ** 2, sd.mean() ** 2)
    truth = np.zeros_like(q)
    truth[each, codes] = 1.0
    return VoteDiversity(
        n_rows=len(codes),
        out_of_bag=rows.out_of_bag,
        error=float(by_size[-1]),
        mean_error=float(rows.share @ (1.0 - right)),
        ambiguity=float(rows.share @ (1.0 - (q**2).sum(axis=1))) / 2.0,
        correlation=correlation,
        bound=correlation * (1.0 - strength**2) / strength**2 if strength > 0.0 else np.nan,
        member_errors=errors,
        member_correlations=_ratios(together, sd * sd.mean()),
        errors_by_size=by_size,
        own_error=None if wrong is None else float(rows.share @ wrong),
        strength=strength,
        loss=float(rows.share @ ((q - truth) ** 2).sum(axis=1)) / 2.0,
        strengths=strengths,
    )


def _counts(votes: Array, codes: Array, k: int, rows: _Asked) -> tuple[Array, Array]:
    """The votes for each class (n, k), and the error of the vote of the first 1, 2, ... members."""
    counts, by_size = np.zeros((len(codes), k)), np.empty(len(votes))
    wrong, asked = np.zeros(len(codes), dtype=bool), np.zeros(len(codes), dtype=bool)
    for b, said in enumerate(votes):
        at = np.flatnonzero(rows.mask[b])
        counts[at, said[at]] += 1.0
        wrong[at] = counts[at].argmax(axis=1) != codes[at]
        asked[at] = True
        by_size[b] = rows.share[asked] @ wrong[asked] / rows.share[asked].sum()
    return counts, by_size


def _of_numbers(said: Array, y: Array, rows: _Asked) -> NumberDiversity:
    """From numbers (B, n) and (n,)."""
    total, number_of, by_size = np.zeros(len(y)), np.zeros(len(y)), np.empty(len(said))
    for b, values in enumerate(said):
        total += np.where(rows.mask[b], values, 0.0)
        number_of += rows.mask[b]
        told = number_of > 0.0
        share = rows.share[told]
        by_size[b] = share @ (y[told] - total[told] / number_of[told]) ** 2 / share.sum()
    mean = total / number_of
    squares, apart, told_of = np.zeros(len(y)), np.zeros(len(y)), []
    for b, values in enumerate(said):
        at, share = rows.of(b)
        left = y[at] - values[at]
        squares[at] += left**2
        apart[at] += (values[at] - mean[at]) ** 2
        told_of.append((share @ left**2, share @ (left * (y[at] - mean[at]))))
    errors, together = np.array(told_of).T
    roots = np.sqrt(errors)
    mean_error, error = float(rows.share @ (squares / number_of)), float(rows.share @ (y - mean) ** 2)
    correlation = _ratio(error, roots.mean() ** 2)
    return NumberDiversity(
        n_rows=len(y),
        out_of_bag=rows.out_of_bag,
        error=error,
        mean_error=mean_error,
        ambiguity=float(rows.share @ (apart / number_of)),
        correlation=correlation,
        bound=correlation * mean_error,
        member_errors=errors,
        member_correlations=_ratios(together, roots * roots.mean()),
        errors_by_size=by_size,
    )


def _ratio(above: float, below: float) -> float:
    return float(above / below) if below > 0.0 else np.nan


def _ratios(above: Array, below: Array) -> Array:
    return np.asarray(np.where(below > 0.0, above / np.where(below > 0.0, below, 1.0), np.nan))
