"""What benchmarks of claims share: cases over many data sets drawn from known laws, and shares with intervals."""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable, Mapping

from scipy.stats import binomtest

Cases = Mapping[str, tuple[Callable[[int], None], int]]  # the work, given how many data sets, and how many by default


def share(count: int, of: int) -> str:
    """ "3 of 200 (1.5%, 95% interval 0.3% to 4.3%)"."""
    found = binomtest(count, of).proportion_ci(0.95) if of else None
    return f"{count} of {of}" + (
        f" ({count / of:.1%}, 95% interval {found.low:.1%} to {found.high:.1%})" if found else ""
    )


def main(cases: Cases, about: str) -> None:
    """Run all cases, or the one that is asked for."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--case", choices=list(cases), help="only this one")
    parser.add_argument("--sets", type=int, help="data sets; each case has a default")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    os.environ.setdefault("HELDOUT_LEDGER", os.devnull)
    for name, (work, sets) in cases.items():
        if options.case in (None, name):
            start = time.perf_counter()
            work(options.sets or sets)
            print(f"  {name} took {time.perf_counter() - start:.0f} s", flush=True)
