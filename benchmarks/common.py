"""The frame of every benchmark: systems in turn (A B A B), each run a process of its own, one table at the end.

A benchmark file makes a list of Case objects and calls `main(cases)`. Each case has systems; a system is a command
line. Every run is a fresh process under the same thread limits, so its time includes what a user waits for, and its
peak memory is its own. Where only a part of the process is to be measured (a fit, without making the data), the
process measures itself with `timed` and prints what that returns. Warm-up runs come first and are not counted. The
median of the repeats is reported.

    python benchmarks/FAMILY.py [--case NAME] [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

DATA = Path(__file__).parents[2] / "shared" / "data"
THREADS = os.cpu_count() or 1
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
)


@dataclass(frozen=True)
class System:
    """One way to do a case: `score` finds its score in the last line that its command prints.

    `command` is given an empty folder of its own and returns the words of the command line.
    """

    name: str
    version: str
    command: Callable[[Path], Sequence[str]]
    fresh_caches: bool = False  # cold: caches on disk are empty at each run
    score: Callable[[str], str] = str


@dataclass(frozen=True)
class Case:
    """What is compared: the systems in turn, heldout first."""

    name: str
    about: str
    systems: tuple[System, ...]
    repeats: int = 5
    in_quick: bool = True
    warm_up: bool = True  # a run that is not counted


@dataclass(frozen=True)
class Row:
    """One line of the table: median seconds, peak MiB, score, and seconds relative to heldout (above 1: slower)."""

    case: str
    system: str
    version: str
    seconds: float
    spread: float
    peak_mib: float
    score: str
    ratio: float = field(default=1.0)


def run(system: System, environment: dict[str, str]) -> tuple[float, float, str]:
    """Seconds, peak MiB and the last printed line of one process."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        given = {**environment, "HELDOUT_LEDGER": str(folder / "ledger.sqlite")}
        if system.fresh_caches:
            given |= {"XDG_CACHE_HOME": str(folder / "cache"), "PYTHONPYCACHEPREFIX": str(folder / "pyc")}
        words = list(system.command(folder))
        with (folder / "out").open("w+") as out, (folder / "err").open("w+") as err:
            start = time.perf_counter()
            process = subprocess.Popen(words, stdout=out, stderr=err, env=given, cwd=folder)
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
            out.seek(0), err.seek(0)
            if status != 0:
                sys.exit(f"{' '.join(words)} failed:\n{err.read()}")
            lines = out.read().strip().splitlines()
    last = lines[-1] if lines else ""
    if last.startswith('{"seconds"'):
        own = json.loads(last)
        return own["seconds"], own["peak_mib"], own["score"]
    scale = 1024 if platform.system() == "Linux" else 1024 * 1024
    return seconds, usage.ru_maxrss / scale, system.score(last)


def timed(work: Callable[[], object], warm_up: Callable[[], object], score: Callable[[], str], times: int = 1) -> str:
    """The last line of a process that measures itself: the least seconds of `work`, and what it adds to peak memory."""
    warm_up()
    before, seconds = forget_peak(), []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return line(min(seconds), peak_mib() - before, score())


def line(seconds: float, peak: float, score: str) -> str:
    """The last line of a process that has measured itself."""
    return json.dumps({"seconds": seconds, "peak_mib": peak, "score": score})


def forget_peak() -> float:
    """Peak MiB from here on: on Linux what is held now, elsewhere what was held at most."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak_mib()


def peak_mib() -> float:
    """The most memory that this process has held."""
    scale = 1024 if platform.system() == "Linux" else 1024 * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def measure(case: Case, repeats: int) -> list[Row]:
    """Warm-up, then the systems in turn, `repeats` times."""
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(THREADS))}
    taken: dict[str, list[tuple[float, float, str]]] = {system.name: [] for system in case.systems}
    for turn in range(repeats + case.warm_up):
        for system in case.systems:
            result = run(system, environment)
            if turn >= case.warm_up:
                taken[system.name].append(result)
    medians = {name: statistics.median(seconds for seconds, _, _ in runs) for name, runs in taken.items()}
    ours = medians[case.systems[0].name]
    return [
        Row(
            case=case.name,
            system=system.name,
            version=system.version,
            seconds=medians[system.name],
            spread=max(r[0] for r in taken[system.name]) - min(r[0] for r in taken[system.name]),
            peak_mib=max(peak for _, peak, _ in taken[system.name]),
            score=taken[system.name][-1][2],
            ratio=medians[system.name] / ours,
        )
        for system in case.systems
    ]


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    return {
        "cpu": cpu,
        "threads": str(THREADS),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: version(name) for name in ("heldout", "scikit-learn", "numpy", "polars", "skrub")},
    }


def seconds_text(seconds: float) -> str:
    """Seconds with two decimals; below one, to two digits that count. A dash for none at all."""
    if seconds == 0.0:
        return "-"
    return f"{seconds:.2f}" if seconds >= 1.0 else f"{seconds:.2g}"


def show(rows: Sequence[Row]) -> None:
    head = (
        f"{'case':<28} {'system':<29} {'version':<10} {'seconds':>8} {'spread':>7} {'peak MiB':>9} {'ratio':>6}  score"
    )
    print(head, "-" * len(head), sep="\n")
    for row in rows:
        print(
            f"{row.case:<28} {row.system:<29} {row.version:<10} {seconds_text(row.seconds):>8} "
            f"{seconds_text(row.spread):>7} {row.peak_mib:>9.0f} {row.ratio:>6.2f}  {row.score}"
        )


def _others(path: Path, case: str) -> tuple[list[dict[str, object]], dict[str, str]]:
    """The rows of other cases that a file holds and their machine, which tells where this case was measured again."""
    now = machine()
    if not path.exists():
        return [], now
    found = json.loads(path.read_text())
    kept = [row for row in found["rows"] if row["case"] != case]
    same = now["cpu"] == found["machine"]["cpu"]
    return kept, found["machine"] | ({} if same else {f"{case} on": now["cpu"]})


def main(family: str, about: str, cases: Sequence[Case]) -> None:
    """Parse the options, measure, print, write JSON. `about` says what is compared, for the page."""
    parser = argparse.ArgumentParser(description=f"heldout beside its peers: {family}")
    parser.add_argument("--case", help="only this case", choices=[case.name for case in cases])
    parser.add_argument("--quick", action="store_true", help="two repeats of the quick cases")
    parser.add_argument(
        "--json", type=Path, help="write the rows and the machine to this file, in place of its same cases"
    )
    options = parser.parse_args()
    chosen = [case for case in cases if options.case in (None, case.name) and (case.in_quick or not options.quick)]
    print("; ".join(f"{key} {value}" for key, value in machine().items()))
    rows = []
    for case in chosen:
        print(f"\n{case.name}: {case.about}", flush=True)
        found = measure(case, 2 if options.quick else case.repeats)
        show(found)
        rows += found
    if options.json:
        found_now = [asdict(row) for row in rows]
        kept, own = _others(options.json, options.case) if options.case else ([], machine())
        order = [case.name for case in cases]
        everything = sorted(kept + found_now, key=lambda row: order.index(str(row["case"])))
        result = {"family": family, "about": about, "machine": own, "rows": everything}
        options.json.write_text(json.dumps(result, indent=1) + "\n")
