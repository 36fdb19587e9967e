"""The whole protocol on one page: state, split and seal, fit, diagnose; open the test set once; report; use."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from heldout import persist, record
from heldout.candidates import Candidate, candidates, says
from heldout.certainty.thresholdout import Thresholdout
from heldout.certainty.validated import Certainty, certainty
from heldout.data.encode import Encoder
from heldout.data.images.pixels import sha256
from heldout.diagnosis import Evidence, findings
from heldout.diagnosis.comparison import Comparison, judged
from heldout.diagnosis.leaks.seen import Seen
from heldout.diagnosis.learned import learned
from heldout.diagnosis.remedies import Attempt, attempt, best_remedies, not_tried, plan
from heldout.errors import InputError, WorkError
from heldout.excerpts import excerpts
from heldout.final import Final, open_test, refreshed
from heldout.fitting import Fitted, Rows, fit, score, too_large, with_beside
from heldout.folder import FORMAT, LEDGER, PARTS, RECORD, REPORT, StudyFolder
from heldout.gallery import gallery
from heldout.ledger import Fingerprint, Ledger
from heldout.model import Model
from heldout.panel import LEARNERS
from heldout.problem import Problem, Trivial
from heldout.series.cases import Cases
from heldout.series.windows import Windows
from heldout.sources import framed, gather
from heldout.split import SHARES, Split, require_rows, train_validation_test_split
from heldout.views import FindingList, Leaderboard

THRESHOLD, NOISE = 2.0, 0.25  # of Thresholdout, in standard errors of a score
MOST_KEPT = 2**28  # bytes of encoded rows that stay in memory between a fit and a diagnosis
Progress = Callable[[str, int, int], None]  # what is being done, steps done, steps in all


class Study:
    """From a table to an honest test score: the protocol, in the order of its methods.

    Parameters
    ----------
    data : path, pandas or Polars frame, array, dict of columns, or "example:NAME"
        What `heldout.read` reads: a table, or images.
    target : str
        The column to predict. An example, a folder of images, IDX and NPZ files know their own.
    task, criterion, positive, group, time, drop, keep
        As `Problem.state` has them.
    gap, cuts, shares, seed
        As `train_validation_test_split` has them. The same seed gives the same study.
    forecast : int, optional
        Predict the target so many steps ahead, from the rows before: see `heldout.series.windows.Windows`. The rows are
        split by time, and persistence (the last value) is the trivial answer.
    window : int, optional
        Steps of the past that a forecast looks at. Default: 14, or two days of hours, two years of months.
    series : str, optional
        The column that tells several series apart. Without `forecast` each of them is one case: its rows, in the order
        of `time`, become one row of series, and the split is at random.
    known : sequence of str, optional
        Columns that are known in advance for the time that is forecast, such as holidays.
    part : str, optional
        A column that gives the split: train, validation, test.
    validation, test : path or frame, optional
        Rows of these parts in files of their own, with the same columns.
    kinds : mapping of column name to kind, optional
        Overrides what was recognised: "number", "boolean", "category", "date" or "text".
    missing : sequence of str, optional
        Further texts that stand for a missing value.
    learners : list or dict, optional
        Names of the panel or scikit-learn estimators; default: every learner of the panel that suits the task.
    time_limit : float, optional
        Seconds for all fits together: a learner that would start later is skipped. A diagnosis has as long again.
    thresholdout : int, optional
        Scores on validation are told by `Thresholdout` with this budget (threshold 2 and noise 0.25 standard errors of
        the score), for studies that try very much on few rows. Its answers are coarser.
    jobs : int, optional
        Threads of the numerical libraries; default: all cores.
    folder : path, optional
        Where the study is kept while it runs. Without one it lives in memory until `save`.
    ledger : path, optional
        Default: the user's ledger (`HELDOUT_LEDGER`, or the platform's data folder).
    delimiter, sheet : str, optional
        Of the file, as `heldout.read` has them.
    size, grey, damaged : optional
        Of images, as `heldout.read` has them.

    Examples
    --------
    >>> study = Study("example:iris", criterion="accuracy").fit()
    >>> study.problem.task, study.leaderboard[0]["learner"]
    ('multiclass', 'SoftmaxClassifier')
    >>> final = study.open_test()
    >>> final.openings, final.score.value > 0.8
    (1, True)
    >>> final.model.predict({name: [1.0] for name in study.problem.features}).shape
    (1,)
    """

    def __init__(
        self,
        data: Any,
        target: str | None = None,
        *,
        task: str | None = None,
        criterion: str | None = None,
        positive: str | None = None,
        group: str | None = None,
        time: str | None = None,
        gap: str | float | None = None,
        cuts: str | Sequence[str] | None = None,
        forecast: int | None = None,
        window: int | None = None,
        series: str | None = None,
        known: Collection[str] = (),
        part: str | None = None,
        validation: Any = None,
        test: Any = None,
        shares: Sequence[float] = SHARES,
        kinds: Mapping[str, str] | None = None,
        missing: Sequence[str] = (),
        drop: Collection[str] = (),
        keep: Collection[str] = (),
        learners: Any = None,
        seed: int = 0,
        time_limit: float | None = None,
        thresholdout: int | None = None,
        jobs: int | None = None,
        folder: str | os.PathLike[str] | None = None,
        ledger: str | os.PathLike[str] | None = None,
        delimiter: str | None = None,
        sheet: str | None = None,
        size: str | int | tuple[int, int] | None = None,
        grey: bool = False,
        damaged: str = "refuse",
    ) -> None:
        self.data, self.target = data, target
        self.task, self.criterion, self.positive = task, criterion, positive
        self.group, self.time, self.gap, self.cuts, self.part = group, time, gap, cuts, part
        self.forecast, self.window, self.series, self.known = forecast, window, series, known
        self.validation, self.test, self.shares = validation, test, shares
        self.kinds, self.missing, self.drop, self.keep = kinds, missing, drop, keep
        self.learners, self.seed, self.time_limit, self.jobs = learners, seed, time_limit, jobs
        self.thresholdout = thresholdout
        self.folder, self.ledger = folder, ledger
        self.delimiter, self.sheet = delimiter, sheet
        self.size, self.grey, self.damaged = size, grey, damaged
        self._split: Split | None = None
        self._record: dict[str, Any] = {}
        self._fitted: dict[str, Fitted] = {}
        self._models: dict[str, Model] = {}
        self._tried: list[Comparison] = []
        self._guard: Thresholdout | None = None
        self._looks = 0  # fits scored on validation that the ledger has not counted yet
        self._kept: tuple[Encoder, Rows, Rows] | None = None
        self._seen: Seen | None = None
        self._final: Final | None = None

    # The protocol --------------------------------------------------------------------------------------

    def fit(self, *, progress: Progress | None = None) -> Study:
        """State the problem, split and seal, fit the learners on train, compare on validation, diagnose.

        The seal stays whole. After an interruption (Ctrl-C) or a time limit what was finished is kept, and
        calling `fit` again goes on. `progress` is called as each step begins.

        Raises
        ------
        InputError
            The data or an option is wrong; the sentence says what to do.
        WorkError
            The study's folder cannot be written or is in use.
        """
        tell = progress or (lambda *_: None)
        self._require_resumable()
        with self._exclusive():
            started = time.perf_counter()
            if self._split is None:
                tell("Reading and splitting", 0, 1)
                self._begin()
            try:
                self._fit_learners(tell, started)
            finally:
                self._conclude(time.perf_counter() - started)
        return self

    def diagnose(
        self, *, quick: bool = False, learn: bool | None = None, tune: int = 0, progress: Progress | None = None
    ) -> Study:
        """Fit siblings of each learner, simpler and richer ones, and compare them on validation: remedies, tried.

        The verdicts (H102) are given anew, a table says what was tried (H103), and the best sibling of a learner joins
        the learners where it is better beyond chance. The seal stays whole; once it is broken, nothing joins any more.
        After an interruption the findings are those of what was tried by then.

        Parameters
        ----------
        quick : bool, default False
            Only the most telling sibling of each learner, and nothing of what was learned; the findings say so. The
            error rate is that of the whole diagnosis, and what it claims the whole one claims too.
        learn : bool, optional
            Find out what the chosen learner relies on (permutation importance, partial dependence) and where it fails
            (scores by slices). Default: unless `quick`.
        tune : int, not negative, default 0
            How many settings of each learner to search over besides (`heldout.Search`, by cross-validation on train).
            Whether that makes it better, or worse, is tested with the siblings (H105). 0: none.
        progress : callable, optional
            As in `fit`.

        Raises
        ------
        WorkError
            The study has not been fitted, or its learners were objects that its folder does not hold.
        """
        tell = progress or (lambda *_: None)
        self._require_record()
        self._require_resumable()
        with self._exclusive():
            started = time.perf_counter()
            tell("Encoding", 0, 1)
            encoder, train, validation = self._rows()
            learners = self._scored_learners(train, validation)
            chosen = plan(learners, len(train.y), self.problem, quick=quick, tune=tune)
            learn = not quick if learn is None else learn
            self._record["diagnosis"] = {"quick": quick, "learn": learn, "tune": tune, "planned": chosen.questions}
            results: list[Attempt] = []
            finished = False
            try:
                for done, trial in enumerate(chosen.trials):
                    tell(trial.title, done, len(chosen.trials))
                    if late := self._late(started):
                        results.append(not_tried(trial, late))
                        continue
                    results += attempt(trial, self.problem, train, validation)
                    self._looks += results[-1][1].status == "fitted"
                tell("What it learned" if learn else "Findings", len(chosen.trials), len(chosen.trials) + 1)
                finished = True
            finally:
                self._tried = [comparison for comparison, _ in results]
                if self._record["final"] is None:
                    self._record["reproduce"] |= record.diagnosed(self._record["reproduce"], quick, learn, tune)
                    self._adopt([sibling for _, sibling in results], encoder, validation)
                self._conclude(time.perf_counter() - started, learn=finished and learn)
        return self

    def open_test(self, *, again: bool = False) -> Final:
        """Break the seal and score the chosen learner on the test rows: once.

        A second opening of these rows, in this study or another, needs `again=True`; it is counted, and the
        interval is widened for all openings together.

        Raises
        ------
        SealError
            The rows were opened before and `again` is False.
        """
        prepared, chosen = self._prepared(), self._chosen()
        with self._exclusive():
            model = self._model(chosen)
            baseline = next((name for name, item in self._fitted.items() if item.baseline), None)
            final = open_test(
                prepared.sealed,
                model,
                self._model(baseline) if baseline else None,
                ledger=Ledger(self.ledger),
                study=self.id,
                name=self._record["name"],
                title=self._fitted[chosen].title,
                again=again,
                seed=prepared.seed,
            )
            self._final = final
            self._record["final"] = dict(final.record)
            self._write_record()
        return final

    def report(self, path: str | os.PathLike[str] | None = None) -> Path:
        """Write the report, one HTML file that opens without a network; returns its path.

        Default path: report.html in the study's folder.
        """
        from heldout.files import write_whole
        from heldout.report import html

        if path is None and self.folder is None:
            raise InputError("Say where the report should go: study.report('report.html').")
        target = Path(path) if path is not None else Path(self.folder or ".") / REPORT
        return write_whole(target, html.render(self.record))

    # What it found -------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The study's own random number, as the ledger has it."""
        return str(self._require_record()["id"])

    @property
    def problem(self) -> Problem:
        """The stated problem."""
        return self._prepared().problem

    @property
    def split(self) -> Split:
        """Train, validation and the sealed test set."""
        return self._prepared()

    @property
    def leaderboard(self) -> Leaderboard:
        """The learners, best on validation first."""
        return Leaderboard(self._require_record())

    @property
    def findings(self) -> FindingList:
        """What the diagnosis found."""
        return FindingList(self._require_record())

    @property
    def final(self) -> Final | None:
        """The test score, once this Study has broken the seal."""
        return self._final

    @property
    def model(self) -> Model:
        """The chosen learner, ready to predict."""
        return self._model(self._chosen())

    @property
    def record(self) -> dict[str, Any]:
        """All that study.json holds, with the number of openings as the ledger has it now."""
        made = dict(self._require_record())
        if made.get("final"):
            made["final"] = refreshed(made["final"], self._prepared().sealed, Ledger(self.ledger), self._copies())
        return made

    def __repr__(self) -> str:
        if not self._record:
            return f"Study({self.data if isinstance(self.data, str) else type(self.data).__name__!r}, not fitted)"
        from heldout.views import study_text

        return study_text(self.record)

    def _repr_html_(self) -> str | None:
        from heldout.views import study_html

        return study_html(self.record) if self._record else None

    # Keeping it ----------------------------------------------------------------------------------------

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Keep the study in a new folder: record, parts, models, a copy of its ledger entries."""
        self._require_record()
        kept = StudyFolder(folder)
        kept.create()
        self.folder = folder
        with self._exclusive():
            self._write_parts(kept)
            for item in self._fitted.values():
                self._write_model(item)
            self._write_record()
        return kept.path

    @classmethod
    def load(cls, folder: str | os.PathLike[str], *, ledger: str | os.PathLike[str] | None = None) -> Study:
        """A study from its folder, ready to go on: `fit` fits what is missing, `open_test` breaks the seal."""
        kept = StudyFolder(folder)
        made = kept.read_record()
        options = made["options"]
        study = cls(
            None, made["problem"]["target"], folder=folder, ledger=ledger or options.get("ledger"), seed=options["seed"]
        )
        study.learners, study.jobs, study.time_limit = options["learners"], options["jobs"], options["time_limit"]
        study.thresholdout = options.get("thresholdout")
        split = persist.loads(kept.read_bytes(PARTS), source=str(kept.path / PARTS), expected=Split)
        pixels = {name: kept.read_pixels(name, sha256) for name, sha256 in options.get("pixels", {}).items()}
        study._split = split.with_pixels(pixels) if pixels else split
        study._record = made
        for entry in made["leaderboard"]:
            study._fitted[entry["learner"]] = Fitted(
                entry["learner"],
                entry["title"],
                entry["status"],
                error=entry["error"],
                baseline=entry["baseline"],
                remedy_of=entry.get("remedy_of", ""),
                fit_seconds=entry["fit_seconds"],
                warnings=tuple(entry["warnings"]),
            )
        study._tried = [Comparison.from_json(item) for item in made.get("diagnosis", {}).get("tried", [])]
        return study

    # The steps -----------------------------------------------------------------------------------------

    def _begin(self) -> None:
        table, given, digest = gather(self)
        require_rows(table)
        table, made_of = framed(self, table)
        windows = made_of if isinstance(made_of, Windows) else None
        cases = made_of if isinstance(made_of, Cases) else None
        problem = Problem.state(
            table,
            str(self.target),
            task=self.task if windows is None else "regression",
            criterion=self.criterion,
            positive=self.positive,
            group=self.group,
            time=self.time if cases is None else None,
            part=self.part,
            drop=self.drop if made_of is None else (),
            keep=self.keep,
            windows=windows,
            cases=cases,
        )
        candidates(problem, self.learners)  # a wrong name is said before the work begins
        made = train_validation_test_split(
            table, problem, shares=self.shares, gap=self.gap, cuts=self.cuts, given=given, seed=self.seed
        )
        summary = record.data(table, made.train.table, problem, len(table), digest)
        identity = secrets.token_hex(8)
        Ledger(self.ledger).append("sealed", identity, {"name": table.source.name, **made.sealed.fingerprint.to_json()})
        self._split = made
        self._record = {
            "format": FORMAT,
            "heldout": record.versions()["heldout"],
            "id": identity,
            "name": Path(table.source.name).name.split(".")[0] or "study",
            "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "problem": problem.to_json(),
            "data": summary,
            "split": made.to_json(),
            "leaderboard": [],
            "findings": [],
            "charts": {"predictions": {}},
            "final": None,
            "reproduce": record.reproduce(self),
            "options": record.options(self),
        }
        self._forget()
        if self.folder is not None:
            self._write_parts(StudyFolder(self.folder))
            self._write_record()

    def _forget(self) -> None:
        """Let go of frames that were passed in: no way leads from a study to a sealed row."""
        for name in ("data", "validation", "test"):
            if not isinstance(getattr(self, name), str | os.PathLike):
                setattr(self, name, None)

    def _fit_learners(self, tell: Progress, started: float) -> None:
        problem = self.problem
        todo = [*candidates(problem, self.learners), *self._remedies()]
        tell("Encoding", 0, len(todo) + 1)
        encoder, train, validation = self._rows()
        for done, candidate in enumerate(todo):
            tell(candidate.title, done + 1, len(todo) + 1)
            item = self._fit_one(candidate, train, validation, started)
            self._fitted[item.name] = item
            if item.status == "fitted":
                self._models[item.name] = Model(problem, encoder, item.estimator, item.name, raw=item.raw)
                self._write_model(item)
        tell("Diagnosis", len(todo) + 1, len(todo) + 1)

    def _fit_one(self, candidate: Candidate, train: Rows, validation: Rows, started: float) -> Fitted:
        before = self._fitted.get(candidate.name)
        if before is not None and before.status == "fitted" and self._has_model(candidate.name):
            return self._restored(before, train, validation)
        if too_much := too_large(candidate, train):
            return Fitted(candidate.name, candidate.title, "skipped", error=too_much, ours=candidate.ours)
        if (late := self._late(started)) and not candidate.baseline:
            why = f"{late} Fit again to go on."
            return Fitted(candidate.name, candidate.title, "skipped", error=why, ours=candidate.ours)
        made = fit(candidate, self.problem, train, validation)
        self._looks += made.status == "fitted"
        return with_beside(made, self.problem, validation)

    def _late(self, started: float) -> str:
        """That the time limit was reached, or ""."""
        if self.time_limit is None or time.perf_counter() - started <= self.time_limit:
            return ""
        return f"The time limit of {self.time_limit:g} s was reached before it began."

    def _restored(self, before: Fitted, train: Rows, validation: Rows) -> Fitted:
        """A learner that was fitted before: its model is read and scored, not fitted."""
        if before.train is not None:
            return before
        kept = Candidate(before.name, before.title, self._model(before.name).estimator, before.baseline)
        said = before.warnings
        made = score(kept, self.problem, train, validation, fit_seconds=before.fit_seconds, said=said)
        return with_beside(replace(made, remedy_of=before.remedy_of), self.problem, validation)

    def _remedies(self) -> list[Candidate]:
        """Remedies that were adopted before, to be read again."""
        return [Candidate(item.name, item.title, None) for item in self._fitted.values() if item.remedy_of]

    def _scored_learners(self, train: Rows, validation: Rows) -> list[Fitted]:
        """The learners with their scores; of a study that was loaded, too. Remedies are none of them."""
        for item in [*self._fitted.values()]:
            if item.status == "fitted":
                self._fitted[item.name] = self._restored(item, train, validation)
        return [item for item in self._fitted.values() if item.is_asked_about]

    def _adopt(self, siblings: Sequence[Fitted], encoder: Encoder, validation: Rows) -> None:
        """The best remedy of each learner joins the learners, in the place of an earlier one."""
        for earlier in self._remedies():
            del self._fitted[earlier.name]
        for at in best_remedies(judged(self._tried, self._record["diagnosis"]["planned"])).values():
            sibling = with_beside(siblings[at], self.problem, validation)
            self._fitted[sibling.name] = sibling
            self._models[sibling.name] = Model(self.problem, encoder, sibling.estimator, sibling.name, raw=sibling.raw)
            self._write_model(sibling)

    def _rows(self) -> tuple[Encoder, Rows, Rows]:
        """The encoder and the rows of train and validation, encoded once."""
        if self._kept is None:
            self._kept = self._encoded()
        return self._kept

    def _encoded(self) -> tuple[Encoder, Rows, Rows]:
        made, problem = self._prepared(), self.problem
        encoder = Encoder(returning=problem.windows is not None).fit(made.train.table.select(problem.features))
        validation = Rows.of(made.validation, problem, encoder, made.seed + 1)
        if self.thresholdout is not None:
            validation = replace(validation, guard=self._guarding(self.thresholdout))
        train = Rows.of(made.train, problem, encoder, made.seed)
        self._seen = Seen.of_study((train, validation), problem, given=made.given)
        return encoder, train, validation

    def _guarding(self, budget: int) -> Thresholdout:
        """The guard of the validation rows, as far spent as it is."""
        if self._guard is None:
            kept = self._record.get("thresholdout")
            fresh = Thresholdout(threshold=THRESHOLD, noise=NOISE, budget=budget, seed=self._prepared().seed)
            self._guard = fresh if kept is None else Thresholdout.from_json(kept)
        return self._guard

    def _conclude(self, seconds: float, *, learn: bool = False) -> None:
        """Leaderboard, findings and charts of what is fitted by now; `learn`: also what the chosen learner learned."""
        made, items = self._record, list(self._fitted.values())
        scored = [item for item in items if item.train is not None or item.status != "fitted"]
        baseline = next((item for item in scored if item.baseline and item.train is not None), None)
        if baseline is None:
            return
        trivial = Trivial(says(baseline.estimator, self.problem), baseline.name, baseline.scored[1].value)
        made["problem"] = self.problem.with_trivial(trivial).to_json()
        with_scores = [item for item in scored if item.train is not None]
        judging = replace(self._rows()[2], guard=None)
        known = certainty(with_scores, self.problem, judging)
        made["looks"] = self._counted()
        made["leaderboard"] = record.leaderboard(scored, self.problem, known.choice)
        chosen, interrupted = self._fitted[self._chosen()], None
        try:
            self._learned(chosen, judging, learn)
        except KeyboardInterrupt as stop:  # what was tried is kept
            interrupted = stop
        made["findings"] = [item.to_json() for item in findings(self._evidence(scored, known))]
        if "diagnosis" in made:
            made["diagnosis"]["tried"] = [item.to_json() for item in self._tried]
        self._make_sure(chosen, known)
        made["charts"] = record.charts(chosen, judging.y, self.problem, known)
        if self.problem.windows is not None:
            made["charts"]["course"] = record.course(self.problem, chosen, self._prepared().validation.table, judging.y)
        if self.problem.image is not None:
            parts = self._prepared()
            made["charts"]["images"] = gallery(
                self.problem, self._model(chosen.name).encoder, chosen, parts.train.table, parts.validation.table
            )
        if self.problem.text is not None:
            made["charts"]["texts"] = excerpts(
                self.problem, chosen, self._prepared().validation.table, judging.y, self._bags()
            )
        made["reproduce"] = {**made["reproduce"], "seconds": made["reproduce"]["seconds"] + seconds}
        if self.problem.image is None and sum(rows.X.nbytes for rows in self._rows()[1:]) > MOST_KEPT:
            self._kept = self._seen = None  # they are encoded again when they are needed
        self._write_record()
        if interrupted is not None:
            raise interrupted

    def _learned(self, chosen: Fitted, judging: Rows, learn: bool) -> None:
        """What the chosen learner learned; of another than before, it is no longer true."""
        if self._record.get("learned", {}).get("learner", chosen.name) != chosen.name:
            del self._record["learned"]
        if learn:
            self._record["learned"] = learned(self._model(chosen.name), judging, chosen, self._prepared().seed)

    def _bags(self) -> Any:
        """The fitted bag of words, where there is one."""
        suited = (entry.name for entry in LEARNERS.values() if entry.yardstick and self.problem.task in entry.tasks)
        name = next(suited, "")
        there = name in self._fitted and self._fitted[name].status == "fitted" and self._has_model(name)
        return self._model(name).estimator if there else None

    def _make_sure(self, chosen: Fitted, known: Certainty) -> None:
        """The chosen model gets its calibration and its intervals or sets, until the seal is broken."""
        if self._record["final"] is None:
            made = replace(self._model(chosen.name), calibrator=known.calibrator, conformal=known.conformal)
            self._models[chosen.name] = made
            self._write_model(chosen)

    def _counted(self) -> dict[str, Any]:
        """Fits that were scored on the validation rows: the ledger counts those since it was last told."""
        before = self._record.get("looks", {"here": 0, "all": 0})
        made = dict(before)
        if self._looks:
            mark, ledger = self._mark, Ledger(self.ledger)
            body = {"name": self._record["name"], "fits": self._looks, "fingerprint": mark.to_json()}
            ledger.append("looked", self.id, body)
            made |= {"here": before["here"] + self._looks, "all": ledger.looks(mark)}
            self._looks = 0
        if self._guard is not None:
            self._record["thresholdout"] = self._guard.to_json()
            made["thresholdout"] = {k: v for k, v in self._record["thresholdout"].items() if k != "answers"}
        return made

    @cached_property
    def _mark(self) -> Fingerprint:
        """By what the ledger knows the validation rows."""
        return self._prepared().validation.fingerprint(self.problem.target)

    def _evidence(self, scored: Sequence[Fitted], known: Certainty) -> Evidence:
        baseline = next(item for item in scored if item.baseline)
        columns = tuple(self._model(baseline.name).encoder.feature_names_out_)
        return Evidence(
            self.problem,
            tuple(scored),
            self._prepared().notes,
            columns,
            tuple(self._tried),
            planned=self._record.get("diagnosis", {}).get("planned", 0),
            quick=self._record.get("diagnosis", {}).get("quick", False),
            sealed=self._record["final"] is None,
            certainty=known,
            looks=self._record["looks"],
            seen=self._seen,
            learned=self._record.get("learned"),
        )

    # Small helpers -------------------------------------------------------------------------------------

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One process at a time on the folder; threads limited to `jobs`."""
        from threadpoolctl import threadpool_limits

        with ExitStack() as stack:
            if self.folder is not None:
                kept = StudyFolder(self.folder)
                if self._split is None:
                    kept.create()
                stack.enter_context(kept.locked())
            if self.jobs is not None:
                stack.enter_context(threadpool_limits(self.jobs))
            yield

    def _prepared(self) -> Split:
        if self._split is None:
            raise WorkError("The study has not been fitted yet; call study.fit() first.")
        return self._split

    def _require_resumable(self) -> None:
        if self._record and not self._models and not self._record["options"]["resumable"]:
            raise WorkError(
                "This study had learners that were passed in as objects, which are not in its folder; make a new "
                "Study with them."
            )

    def _require_record(self) -> dict[str, Any]:
        self._prepared()
        return self._record

    def _chosen(self) -> str:
        board = self._require_record()["leaderboard"]
        chosen = next((entry["learner"] for entry in board if entry["chosen"]), None)
        if chosen is None:
            raise WorkError("No learner has a score yet; fit the study first (heldout fit --resume STUDY).")
        return str(chosen)

    def _model(self, name: str) -> Model:
        if name not in self._models:
            if self.folder is None:
                raise WorkError(f"The model of {name} is not in memory; fit the study first.")
            path = StudyFolder(self.folder).path / "models" / f"{name}.model"
            if not path.exists():
                raise WorkError(
                    f"{self.folder} does not hold the model of {name}: a learner that is not heldout's own cannot be "
                    "stored without pickle. Fit the study again in Python and go on there."
                )
            self._models[name] = persist.load(path, expected=Model)
        return self._models[name]

    def _has_model(self, name: str) -> bool:
        kept = None if self.folder is None else StudyFolder(self.folder).path / "models" / f"{name}.model"
        return name in self._models or (kept is not None and kept.exists())

    def _write_model(self, item: Fitted) -> None:
        if self.folder is not None and item.ours and item.status == "fitted":
            kept = StudyFolder(self.folder)
            kept.write(f"models/{item.name}.model", persist.dumps(self._model(item.name)))

    def _write_parts(self, kept: StudyFolder) -> None:
        made = self._prepared()
        for name, pixels in made.pixels.items():
            kept.write_pixels(name, pixels)
        if made.pixels:
            self._record["options"]["pixels"] = {name: sha256(pixels) for name, pixels in made.pixels.items()}
        kept.write(PARTS, persist.dumps(made))

    def _write_record(self) -> None:
        if self.folder is None:
            return
        kept = StudyFolder(self.folder)
        kept.write_json(RECORD, self._record)
        kept.write_json(LEDGER, [entry.to_json() for entry in Ledger(self.ledger).entries(study=self.id)])

    def _copies(self) -> list[Mapping[str, Any]]:
        return [] if self.folder is None else StudyFolder(self.folder).ledger_entries()
