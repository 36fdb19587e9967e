"""A record as one HTML file that opens without a network."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from heldout import words
from heldout.errors import HeldoutError
from heldout.report import plots

SEVERITIES = {"error": "✕", "warning": "▲", "info": "●", "good": "✓"}
ORDER = tuple(SEVERITIES)


def render(record: Mapping[str, Any]) -> str:
    """The report of a record: the page of a study.

    Everything it needs is inside: styles, the charts' data, Vega, and each chart drawn once for paper and for
    readers without scripts. The page asks the network for nothing, and a content policy forbids it to.
    """
    record = words.legible(record)
    charts = plots.plots(record)
    environment = _environment()
    scripts = [vega(), environment.get_template("report.js").render()] if charts else []
    return environment.get_template("report.html").render(
        record=record,
        charts=[(chart, Markup(plots.svg(chart))) for chart in charts],
        specs=as_script({chart.name: chart.spec for chart in charts}),
        light=as_script(plots.LIGHT),
        scripts=[Markup(script) for script in scripts],
        policy=policy(scripts),
        findings=sorted(record["findings"], key=lambda item: ORDER.index(item["severity"])),
    )


def fragment(name: str, record: Mapping[str, Any]) -> str:
    """One section of the report ("leaderboard", "findings"), for a notebook."""
    record = words.legible(record)
    template = _environment().get_template("sections.html")
    findings = sorted(record["findings"], key=lambda item: ORDER.index(item["severity"]))
    return str(getattr(template.make_module({"record": record}), name)(record, findings))


def policy(scripts: Sequence[str]) -> Markup:
    """What the page may do: draw, and run these scripts, known by their hashes; nothing else, and no network.

    >>> policy([])
    Markup("default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'")
    """
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = "".join(f" 'sha256-{digest}'" for digest in digests)
    may_run = f"script-src{allowed}; " if allowed else ""
    rest = "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    return Markup(f"default-src 'none'; {may_run}{rest}")


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("heldout.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": words.number,
        "interval": words.interval,
        "percent": words.percent,
        "percent_short": lambda share: words.percent(float(f"{share:.3g}")),
        "seconds": words.seconds,
        "value": words.short_number,
        "missing": words.missing,
        "capital": words.capital,
        "short": words.short,
        "pretty": lambda value: json.dumps(value, ensure_ascii=False, indent=1),
    }
    environment.globals |= {"words": words, "marks": SEVERITIES, "bars": bars}
    return environment


def as_script(value: Any) -> Markup:
    """JSON that cannot end the script element it stands in, nor a line of JavaScript."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def bars(summary: Mapping[str, Any]) -> list[tuple[float, float, float]]:
    """The bars of a small histogram, 100 wide and 20 high: left, height, width of each."""
    counts = summary.get("counts") or [count for _, count in summary.get("levels", [])]
    if not counts:
        return []
    width, most = 100 / len(counts), max(counts) or 1
    return [(round(i * width, 2), round(20 * count / most, 2), round(width * 0.9, 2)) for i, count in enumerate(counts)]


def vega() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script; made once and kept in the user's cache folder."""
    from platformdirs import user_cache_path

    path = user_cache_path("heldout") / f"vega-{version('vl-convert-python')}.js"
    kept = _checked(path)
    if kept is not None:
        return kept
    import vl_convert

    made = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub asks for more than it does
    with contextlib.suppress(OSError, HeldoutError):  # a cache that cannot be written is none
        from heldout.files import write_whole

        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(path, f"{hashlib.sha256(made.encode()).hexdigest()}\n{made}")
    return str(made)


def _checked(path: Path) -> str | None:
    """The cached script, if it is there and whole."""
    try:
        digest, _, text = path.read_text(encoding="utf-8").partition("\n")
    except (OSError, UnicodeDecodeError):
        return None
    return text if hashlib.sha256(text.encode()).hexdigest() == digest else None
