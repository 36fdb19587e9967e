"""The report and the terminal: every section, the same numbers, hostile names, no network."""

from __future__ import annotations

import base64
import copy
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import polars as pl
import pytest
from rich.console import Console
from sklearn.svm import LinearSVC

from heldout import Study, words
from heldout.report import html, plots, terminal

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<b>bold</b>",
    "a.b[c]",
    "'\"\\",
    "[red]x[/red]",
    "emoji 🦉 \u202e rtl",
]


class Page(HTMLParser):
    """Elements, text and attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style", "svg"):
            self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.inside and self.inside[-1] == tag:
            self.inside.pop()

    def handle_data(self, data: str) -> None:
        if not self.inside:
            self.text.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text))

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    ledger = tmp_path_factory.mktemp("ledger") / "l.sqlite"
    study = Study("example:breast_cancer", learners=[LinearSVC(), "SoftmaxClassifier"], ledger=ledger).fit()
    study.open_test()
    return json.loads(json.dumps(study.record))


@pytest.fixture(scope="module")
def page(opened: dict[str, Any]) -> Page:
    return Page(html.render(opened))


def printed(record: dict[str, Any], width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    terminal.show(record, console, verbose=1)
    return re.sub(r"\s+", " ", console.file.getvalue())  # type: ignore[attr-defined]


def test_every_section_is_in_both_with_the_same_numbers(opened: dict[str, Any], page: Page) -> None:
    shown = printed(opened)
    for heading in ("Problem", "Data", "Split", "Learners", "Findings", "Test score", "How to reproduce"):
        assert heading in page.words and heading in shown
    final, chosen = opened["final"], opened["leaderboard"][0]
    scores = [final["score"], *final["other"], chosen["validation"], chosen["train"], chosen["gap"]]
    for score in scores:
        for text in (words.number(score["value"]), words.number(score["low"]), words.number(score["high"])):
            assert text in page.words and text in shown
    for finding in opened["findings"]:
        assert finding["message"] in page.words and finding["message"] in shown
    assert words.outcome(opened) in page.words and words.outcome(opened) in shown
    assert final["ledger"]["head"] in page.words and final["ledger"]["head"] in shown
    assert "failed" in page.words and "needs a predicted probability" in page.words


def test_the_page_asks_the_network_for_nothing(page: Page) -> None:
    for _, attributes in page.elements:
        for name in ("src", "href", "srcset", "action", "data"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:")), value
    policies = [a.get("content") or "" for tag, a in page.elements if tag == "meta" and a.get("http-equiv")]
    assert policies and policies[0].startswith("default-src 'none'")
    assert "connect-src" not in policies[0]


def test_it_is_about_a_megabyte_and_the_same_each_time(opened: dict[str, Any]) -> None:
    one, two = html.render(opened), html.render(opened)
    assert one == two
    assert 800_000 < len(one.encode()) < 1_300_000


def test_charts_have_titles_units_and_a_still_picture(opened: dict[str, Any], page: Page) -> None:
    made = plots.plots(opened)
    assert [plot.name for plot in made] == ["leaderboard", "roc", "calibration", "confusion"]
    for plot in made:
        assert plot.spec["title"] and plot.about
    assert page.count("figure") == 4
    assert page.count("svg") >= 4


def test_openings_are_marked_wherever_the_score_is_shown(opened: dict[str, Any]) -> None:
    twice = copy.deepcopy(opened)
    twice["final"] |= {"openings": 2, "level_each": 0.975, "widening": "Bonferroni over 2 openings (Dunn 1961)"}
    text = Page(html.render(twice)).words
    assert text.count("opened 2 times") >= 4 and "opened once" not in text
    assert "widened" in text and "opened 2 times" in printed(twice)


def test_a_sealed_study_says_so_and_shows_no_score(opened: dict[str, Any]) -> None:
    sealed = copy.deepcopy(opened)
    sealed["final"] = None
    text = Page(html.render(sealed)).words
    assert "The test set is still sealed." in text and "sealed, never looked at" in text
    assert "sealed" in printed(sealed)
    sealed["leaderboard"] = []
    sealed["charts"] = {"predictions": {}}
    assert "No learner has a score yet" in Page(html.render(sealed)).words


def test_a_tampered_ledger_is_said(opened: dict[str, Any]) -> None:
    tampered = copy.deepcopy(opened)
    tampered["final"]["ledger"]["verdict"] = "The ledger was changed: entry 2 was edited."
    assert "entry 2 was edited" in Page(html.render(tampered)).words
    assert "entry 2 was edited" in printed(tampered)


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({name: rng.normal(size=90) for name in HOSTILE[:4]}).with_columns(
        pl.Series(HOSTILE[4], rng.choice(HOSTILE, 90)), pl.Series(HOSTILE[5], rng.choice(["<i>", "&amp;", "[b]"], 90))
    )
    study = Study(frame, HOSTILE[5], ledger=tmp_path / "l.sqlite").fit()
    study.open_test()
    text = html.render(study.record)
    page = Page(text)
    assert page.count("script") == 4 and page.count("b") == Page(html.render(study.record)).count("b")
    assert not [tag for tag, _ in page.elements if tag == "i"]
    assert "alert(1)</script>" not in text
    for name in HOSTILE:
        assert words.legible(name) in "".join(page.text)
    assert "\u202e" not in text and "\x1b" not in text
    specs = next(block for block in re.findall(r'<script id="specs"[^>]*>(.*?)</script>', text, re.S))
    assert json.loads(specs)["confusion"]["title"]
    shown = printed(study.record, width=300)
    assert "[red]x[/red]" in shown and "[b]" in shown
    for view in (study, study.leaderboard, study.findings):
        assert "<script>" not in str(view._repr_html_())


def test_the_page_runs_its_own_scripts_and_no_other(opened: dict[str, Any]) -> None:
    text = html.render(opened)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy and "unsafe-eval" not in policy[1] and "script-src 'unsafe-inline'" not in policy[1]
    scripts = re.findall(r"<script>(.*?)</script>", text, re.S)
    assert len(scripts) == 2
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy[1].replace("&#43;", "+")


def test_regression_has_its_charts_and_a_field_name_means_nothing_to_vega(opened: dict[str, Any]) -> None:
    record = copy.deepcopy(opened)
    record["problem"]["target"] = "a.b[c]'\\"
    record["charts"] = {"predictions": {"LinearRegression": {"actual": [1.0, 2.0, 3.0], "predicted": [1.1, 2.2, 2.9]}}}
    made = {plot.name: plot for plot in plots.plots(record)}
    assert set(made) == {"leaderboard", "predicted", "residuals"}
    fields = re.findall(r'"field": "([^"]+)"', json.dumps([plot.spec for plot in made.values()]))
    assert set(fields) <= {"actual", "predicted", "residual", "v", "learner", "part", "value", "low", "high"}
    assert "<svg" in plots.svg(made["predicted"])


def test_a_damaged_or_unwritable_cache_is_harmless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = html.vega()
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda _: tmp_path)
    assert html.vega() == whole
    (kept,) = tmp_path.glob("vega-*.js")
    digest, _, _ = kept.read_text(encoding="utf-8").partition("\n")
    assert digest == hashlib.sha256(whole.encode()).hexdigest()
    kept.write_text(f"{digest}\nalert(1)", encoding="utf-8")
    assert html.vega() == whole
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda _: kept / "no folder")
    assert html.vega() == whole


def test_text_of_sections_is_plain(opened: dict[str, Any]) -> None:
    text = terminal.text(opened, ("problem", "leaderboard"))
    assert "\x1b" not in text and "Softmax classifier" in text
