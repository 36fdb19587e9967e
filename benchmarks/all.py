"""Every benchmark, one after the other; then docs/benchmarks.md is written from their JSON.

python benchmarks/all.py [--quick]    measure, and write the page
python benchmarks/all.py --page       write the page of what is measured already
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from common import seconds_text

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PAGE = HERE.parent / "docs" / "benchmarks.md"
FAMILIES = (
    "study",
    "linear",
    "neighbors",
    "multiclass",
    "trees",
    "neural",
    "convolution",
    "sequences",
    "texts",
    "language",
)


def page(results: list[dict[str, Any]]) -> str:
    """The page of the documentation, from the measured rows."""
    lines = [
        "# Benchmarks",
        "",
        "heldout beside its peers, in turn and in the same run, threads equal; medians of repeated whole runs, and",
        "how far the repeats lie apart. The ratio is the peer's time over heldout's: above 1, heldout is faster. This",
        "page is written by `make bench` from `benchmarks/results/*.json`.",
    ]
    for result in results:
        lines += ["", f"## {result['family'].capitalize()}", "", result["about"], ""]
        lines += ["; ".join(f"{key} {value}" for key, value in result["machine"].items()) + ".", ""]
        lines += [
            "| case | system | version | seconds | spread | peak MiB | ratio | score |",
            "|---|---|---|--:|--:|--:|--:|---|",
        ]
        lines += [
            f"| {r['case']} | {r['system']} | {r['version']} | {seconds_text(r['seconds'])} | "
            f"{seconds_text(r['spread'])} | "
            f"{r['peak_mib']:.0f} | {r['ratio']:.2f} | {r['score']} |"
            for r in result["rows"]
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    RESULTS.mkdir(exist_ok=True)
    for family in () if "--page" in sys.argv else FAMILIES:
        command = [sys.executable, str(HERE / f"{family}.py"), "--json", str(RESULTS / f"{family}.json"), *sys.argv[1:]]
        subprocess.run(command, check=True)
    files = [RESULTS / f"{family}.json" for family in FAMILIES]
    found = [json.loads(file.read_text()) for file in files if file.exists()]
    PAGE.write_text(page(found))
    print(f"\nWrote {PAGE}")


if __name__ == "__main__":
    main()
