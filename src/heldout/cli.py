"""The command line: a thin skin over heldout.Study. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from heldout.cli_lm import lm
from heldout.errors import HeldoutError, InputError, SealError, WorkError

if TYPE_CHECKING:
    from heldout.study import Study


class Commands(TyperGroup):
    """The commands, with Ctrl-C as an error like any other."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise WorkError("Interrupted.") from None


app = typer.Typer(
    name="heldout",
    cls=Commands,
    help="From a table to an honest test score: state, split and seal, fit, diagnose, test once, report, predict.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(lm, name="lm")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"heldout {version('heldout')}")
        raise typer.Exit


@app.callback()
def heldout(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, help="Print the version.")] = False,
) -> None:
    """Only for the option: each command does its own work."""


Target = Annotated[str | None, typer.Option("--target", help="The column to predict.", metavar="COLUMN")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="The study's folder. Default: NAME-study.", metavar="STUDY")
]
Task = Annotated[
    str | None, typer.Option(help="regression, classification, binary or multiclass. Default: by the target.")
]
CriterionName = Annotated[
    str | None, typer.Option("--criterion", help="What learners are compared by: rmse, mae, log_loss, roc_auc, ...")
]
Positive = Annotated[str | None, typer.Option(help="The positive class of two.", metavar="CLASS")]
Group = Annotated[str | None, typer.Option(help="Rows with the same value stay in one part.", metavar="COLUMN")]
Time = Annotated[
    str | None, typer.Option(help="Train lies before validation, validation before test.", metavar="COLUMN")
]
Cuts = Annotated[
    str | None, typer.Option(help="Where validation and test begin, with --time or --forecast.", metavar="DATE/DATE")
]
Forecast = Annotated[
    int | None, typer.Option(help="Predict the target so many rows ahead, from the rows before.", metavar="STEPS")
]
Window = Annotated[
    int | None, typer.Option(help="Rows of the past that a forecast looks at. Default: 14, or two seasons.", min=1)
]
SeriesColumn = Annotated[
    str | None,
    typer.Option(
        "--series", help="The column that tells series apart; without --forecast each is a case.", metavar="COLUMN"
    ),
]
Known = Annotated[
    list[str] | None,
    typer.Option(help="A column known in advance for the time that is forecast. May be repeated.", metavar="COLUMN"),
]
Gap = Annotated[str | None, typer.Option(help="Left out after each part, with --time: 7d, 12h, 30min.")]
SplitColumn = Annotated[
    str | None, typer.Option("--split", help="A column that says train, validation or test.", metavar="COLUMN")
]
ValidationFile = Annotated[
    str | None, typer.Option("--validation", help="Validation rows in a file or folder.", metavar="FILE")
]
TestFile = Annotated[
    str | None, typer.Option("--test", help="Test rows in a file or folder; sealed at once.", metavar="FILE")
]
Shares = Annotated[str, typer.Option(help="Shares of train, validation and test.", metavar="A/B/C")]
Drop = Annotated[list[str] | None, typer.Option(help="Leave this column out. May be repeated.", metavar="COLUMN")]
Keep = Annotated[
    list[str] | None, typer.Option(help="Keep a column that would be left out. May be repeated.", metavar="COLUMN")
]
Kind = Annotated[
    list[str] | None,
    typer.Option(help="COLUMN=number, boolean, category, date or text. May be repeated.", metavar="COLUMN=KIND"),
]
Missing = Annotated[list[str] | None, typer.Option(help="A text that stands for a missing value.", metavar="TEXT")]
Learner = Annotated[list[str] | None, typer.Option(help="Only this learner. May be repeated.", metavar="NAME")]
Delimiter = Annotated[str | None, typer.Option(help="Between fields of a text file. Default: found out.")]
Sheet = Annotated[str | None, typer.Option(help="Of an Excel file. Default: the first.")]
Size = Annotated[str | None, typer.Option(help="Of images. Default: theirs.", metavar="WIDTHxHEIGHT")]
Grey = Annotated[bool, typer.Option("--grey", help="Read images in grey.")]
Damaged = Annotated[str, typer.Option(help="Files that are no images: refuse or skip.", metavar="refuse|skip")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same study.", min=0)]
TimeLimit = Annotated[float | None, typer.Option(help="Seconds for all fits together.", min=0)]
Guard = Annotated[
    int | None,
    typer.Option("--thresholdout", help="Tell scores on validation through Thresholdout.", min=1, metavar="BUDGET"),
]
Jobs = Annotated[int | None, typer.Option(help="Threads. Default: all cores.", min=1)]
LedgerPath = Annotated[Path | None, typer.Option("--ledger", help="The ledger's file.", metavar="FILE")]
Tune = Annotated[
    int, typer.Option(help="Also search over so many settings of each learner, and test whether it helped.", min=0)
]
Again = Annotated[
    bool, typer.Option("--again", help="Open rows that were opened before: counted, the interval widened.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print no more than the outcome.")]
Verbose = Annotated[int, typer.Option("--verbose", "-v", count=True, help="Print more; twice: tracebacks.")]


@app.command("run", help="Everything: fit, try remedies, then open the test set once, and report.")
@app.command("fit", help="State, split and seal, fit, compare, diagnose. The seal stays whole.")
def fit_or_run(
    context: typer.Context,
    data: Annotated[
        str | None, typer.Argument(help="A table's file, a folder or file of images, or example:NAME.", metavar="DATA")
    ] = None,
    target: Target = None,
    output: Output = None,
    task: Task = None,
    criterion: CriterionName = None,
    positive: Positive = None,
    group: Group = None,
    time: Time = None,
    gap: Gap = None,
    cuts: Cuts = None,
    forecast: Forecast = None,
    window: Window = None,
    series: SeriesColumn = None,
    known: Known = None,
    split: SplitColumn = None,
    validation: ValidationFile = None,
    test: TestFile = None,
    shares: Shares = "60/20/20",
    drop: Drop = None,
    keep: Keep = None,
    kind: Kind = None,
    missing: Missing = None,
    learner: Learner = None,
    delimiter: Delimiter = None,
    sheet: Sheet = None,
    size: Size = None,
    grey: Grey = False,
    damaged: Damaged = "refuse",
    seed: Seed = 0,
    time_limit: TimeLimit = None,
    thresholdout: Guard = None,
    jobs: Jobs = None,
    ledger: LedgerPath = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this study.", metavar="STUDY")] = None,
    remedies: Annotated[
        str | None,
        typer.Option(
            help="Siblings of each learner, tried on validation as by heldout diagnose. Default: quick, of fit none.",
            metavar="quick|all|none",
        ),
    ] = None,
    tune: Tune = 0,
    again: Again = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Both commands: they share every option."""
    from heldout.study import Study

    opens = context.info_name == "run"
    tried = remedies or ("quick" if opens or tune else "none")
    if tried not in ("quick", "all", "none") or (tried == "none" and tune):
        raise InputError(
            f"--remedies {tried} and --tune {tune}: the first is quick, all or none, and none tunes nothing."
        )
    if resume is not None:
        if data is not None or target is not None:
            raise InputError("--resume goes on with a study as it was stated; leave DATA and --target out.")
        study = Study.load(resume, ledger=ledger)
        study.time_limit, study.jobs = time_limit or study.time_limit, jobs or study.jobs
    else:
        if data is None:
            raise InputError("Say which table: heldout fit DATA --target COLUMN, or heldout fit example:breast_cancer.")
        study = Study(
            data,
            target,
            task=task,
            criterion=criterion,
            positive=positive,
            group=group,
            time=time,
            gap=gap,
            cuts=cuts,
            forecast=forecast,
            window=window,
            series=series,
            known=known or [],
            part=split,
            validation=validation,
            test=test,
            shares=_shares(shares),
            kinds=_kinds(kind or []),
            missing=missing or [],
            drop=drop or [],
            keep=keep or [],
            learners=learner or None,
            seed=seed,
            time_limit=time_limit,
            thresholdout=thresholdout,
            jobs=jobs,
            folder=output or _new_folder(data),
            ledger=ledger,
            delimiter=delimiter,
            sheet=sheet,
            size=size,
            grey=grey,
            damaged=damaged,
        )
    _fit(study, quiet or as_json)
    if tried != "none" and study.record["final"] is None:
        _diagnose(study, tried == "quick", tune, quiet or as_json, learn=True)
    try:
        if opens:
            study.open_test(again=again)
    except SealError:  # what was found on validation is not lost
        _finish(study, as_json, quiet, verbose, path=study.report())
        raise
    _finish(study, as_json, quiet, verbose, path=study.report(), hint=not opens)


@app.command("diagnose", help="Try siblings of each learner on validation: is it overfitting, and what helps?")
def diagnose(
    study: Annotated[Path, typer.Argument(help="The study's folder.", metavar="STUDY")],
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Only the most telling sibling of each learner; not what the chosen one learned."),
    ] = False,
    tune: Tune = 0,
    jobs: Jobs = None,
    ledger: LedgerPath = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    from heldout.study import Study

    loaded = Study.load(study, ledger=ledger)
    loaded.jobs = jobs or loaded.jobs
    _diagnose(loaded, quick, tune, quiet or as_json)
    _finish(loaded, as_json, quiet, verbose, path=loaded.report(), sections=("leaderboard", "findings"))


@app.command("test", help="Break the seal: score the chosen learner on the test rows, once.")
def open_test(
    study: Annotated[Path, typer.Argument(help="The study's folder.", metavar="STUDY")],
    again: Again = False,
    ledger: LedgerPath = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    from heldout.study import Study

    opened = Study.load(study, ledger=ledger)
    opened.open_test(again=again)
    _finish(opened, as_json, quiet, verbose, path=opened.report(), sections=("final",))


@app.command("report", help="Write the report of a study again, and show it in the terminal.")
def report(
    study: Annotated[Path, typer.Argument(help="The study's folder.", metavar="STUDY")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: STUDY/report.html.")] = None,
    ledger: LedgerPath = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    from heldout.study import Study

    loaded = Study.load(study, ledger=ledger)
    _finish(loaded, as_json, quiet, verbose, path=loaded.report(output))


@app.command("predict", help="Write predictions beside the rows of a table, or the names of images.")
def predict(
    model: Annotated[Path, typer.Argument(help="A study's folder or a model file.", metavar="STUDY|MODEL")],
    data: Annotated[
        str, typer.Argument(help="A table with the columns that the model needs, or images.", metavar="DATA")
    ],
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="CSV, TSV, Parquet or JSON lines by its name; - prints CSV.")
    ] = None,
    level: Annotated[
        float | None,
        typer.Option(help="Also the interval, or the set of classes, that holds the truth with this chance: 0.95."),
    ] = None,
    delimiter: Delimiter = None,
    sheet: Sheet = None,
    missing: Missing = None,
    damaged: Damaged = "refuse",
    quiet: Quiet = False,
) -> None:
    from heldout import persist
    from heldout.data.write import write
    from heldout.model import Model
    from heldout.study import Study

    used = Study.load(model).model if model.is_dir() else persist.load(model, expected=Model)
    read_options = {"delimiter": delimiter, "sheet": sheet, "missing": missing or [], "damaged": damaged}
    table, notices = used.predict_table(data, level=level, **read_options)
    for notice in notices:
        _say(notice, quiet)
    path = output or f"{Path(data).name.split('.')[0]}-predictions.csv"
    if Path(path).exists() and Path(path).samefile(data):
        raise InputError(f"{path} is the table itself; write the predictions to another file (-o).")
    write(table, path)
    if path != "-":
        _say(f"{table.height:,} predictions of {used.problem.target} are in {path}.", quiet)


@app.command("ledger", help="Who opened which test set when, and whether the record is whole.")
def ledger(
    path: LedgerPath = None,
    study: Annotated[
        Path | None, typer.Option(help="Compare with the copy in this study's folder.", metavar="STUDY")
    ] = None,
    as_json: Json = False,
) -> None:
    from heldout.folder import StudyFolder
    from heldout.ledger import Ledger
    from heldout.report import terminal

    book = Ledger(path)
    verdict = book.verify(study_entries=[] if study is None else StudyFolder(study).ledger_entries())
    entries = book.entries()
    if as_json:
        shown = {"path": str(book.path), "verdict": str(verdict), "entries": [entry.to_json() for entry in entries]}
        typer.echo(json.dumps(shown, ensure_ascii=False, indent=1))
    else:
        terminal.ledger(entries, str(verdict), str(book.path), _console())
    if not verdict.whole:
        raise typer.Exit(1)


@app.command("examples", help="Tables that come along, to try everything on.")
def list_examples() -> None:
    from heldout.examples import EXAMPLES

    for item in EXAMPLES.values():
        typer.echo(f"heldout run example:{item.name:<14}  {item.about}")


def main(arguments: list[str] | None = None) -> None:
    """The command `heldout`: exit code 0, 1 (the work failed) or 2 (bad usage); never a traceback."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        app(arguments)
    except HeldoutError as error:
        _fail(str(error), error.exit_code)
    except MemoryError:
        _fail("There is not enough memory for this; take fewer rows or columns.", 1)
    except Exception as error:
        if "-vv" in arguments or arguments.count("-v") > 1:
            raise
        said = f"{type(error).__name__}: {error}"
        _fail(f"Something went wrong inside heldout ({said}). Run it again with -vv and report what it prints.", 1)


def _fail(sentence: str, code: int) -> None:
    typer.echo(f"heldout: {sentence}", err=True)
    sys.exit(code)


def _say(sentence: str, quiet: bool) -> None:
    if not quiet:
        typer.echo(sentence, err=True)


def _fit(study: Study, quiet: bool) -> None:
    from heldout.progress import shown_progress

    try:
        with shown_progress(quiet) as progress:
            study.fit(progress=progress)
    except KeyboardInterrupt:
        raise WorkError(
            f"Interrupted. What was finished is kept; go on with: heldout fit --resume {study.folder}"
        ) from None


def _diagnose(study: Study, quick: bool, tune: int, quiet: bool, *, learn: bool | None = None) -> None:
    from heldout.progress import shown_progress

    try:
        with shown_progress(quiet) as progress:
            study.diagnose(quick=quick, learn=learn, tune=tune, progress=progress)
    except KeyboardInterrupt:
        again = f"heldout diagnose {study.folder} begins anew"
        raise WorkError(
            f"Interrupted. What was tried is kept (heldout report {study.folder}); {again}, and the test set is sealed."
        ) from None


def _finish(
    study: Study,
    as_json: bool,
    quiet: bool,
    verbose: int,
    *,
    path: Path,
    sections: tuple[str, ...] | None = None,
    hint: bool = False,
) -> None:
    from heldout.report import terminal

    record = study.record
    if as_json:
        typer.echo(json.dumps(record, ensure_ascii=False, indent=1))
    elif quiet:
        typer.echo(terminal.outcome(record))
    else:
        terminal.show(record, _console(), sections=sections, verbose=verbose)
        typer.echo(f"\nReport: {path}", err=True)
        if hint and "diagnosis" not in record:
            typer.echo(f"To try what helps against over- and underfitting: heldout diagnose {study.folder}", err=True)
        if hint:
            typer.echo(f"The test set is sealed. To open it, once: heldout test {study.folder}", err=True)


def _console() -> Any:
    from rich.console import Console

    return Console()


def _shares(text: str) -> list[float]:
    try:
        return [float(part) for part in text.replace(",", "/").split("/")]
    except ValueError:
        raise InputError(f"--shares {text!r} is not three numbers like 60/20/20.") from None


def _kinds(given: list[str]) -> dict[str, str]:
    pairs = [item.rpartition("=") for item in given]
    for (name, _, kind), item in zip(pairs, given, strict=True):
        if not name or not kind:
            raise InputError(f"--kind {item!r} is not COLUMN=KIND, like --kind zip=category.")
    return {name: kind for name, _, kind in pairs}


def _new_folder(data: str) -> Path:
    """NAME-study beside where one stands, numbered if that is taken."""
    stem = Path(data.removeprefix("example:")).name.split(".")[0] or "table"
    number, folder = 1, Path(f"{stem}-study")
    while folder.exists():
        number += 1
        folder = Path(f"{stem}-study-{number}")
    return folder
