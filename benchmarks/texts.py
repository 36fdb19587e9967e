"""Learners of texts on SMS spam and TREC's questions: what they score on test rows, with no parameter set.

SMS spam: a fifth of the messages are test rows, drawn by the seed, and messages that are the same stay on one side.
TREC: its own 500 test questions, six classes. The score is the accuracy; seconds are those of the fit.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from common import DATA, Case, System, main, timed

LEARNERS = ("BagOfWordsClassifier", "RecurrentClassifier", "TransformerClassifier")
SEEDS = 3
ABOUT = {
    "sms": "SMS spam, a fifth held out, twins on one side",
    "trec": "TREC questions, 6 classes, 500 test questions",
}


def sms(seed: int) -> tuple[Any, ...]:
    lines = (DATA / "sms_spam" / "SMSSpamCollection.tsv").read_text("utf-8").strip("\n").split("\n")
    pairs = [line.split("\t", 1) for line in lines]
    labels, texts = (np.array(column, dtype=object) for column in zip(*pairs, strict=True))
    _, message = np.unique(texts.astype(str), return_inverse=True)
    held = np.random.default_rng(seed).random(message.max() + 1)[message] < 0.2
    return texts[~held], labels[~held], texts[held], labels[held]


def trec(seed: int) -> tuple[Any, ...]:
    del seed
    found: list[Any] = []
    for part in ("train", "test"):
        with (DATA / "trec_questions" / f"{part}.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        found += [np.array([row[name] for row in rows], dtype=object) for name in ("question", "label")]
    return tuple(found)


def work(case: str, name: str, seed: int) -> str:
    import heldout

    X, y, V, truth = {"sms": sms, "trec": trec}[case](seed)
    learner = getattr(heldout, name)()
    if "seed" in learner.get_params():
        learner.set_params(seed=seed)
    return timed(lambda: learner.fit(X, y), lambda: None, lambda: f"{learner.score(V, truth):.4f}")


def cases() -> list[Case]:
    def system(case: str, name: str, seed: int) -> System:
        def words(folder: Path) -> Sequence[str]:
            return [sys.executable, str(Path(__file__).resolve()), "--work", f"{case}/{name}/{seed}"]

        return System(f"{name}, seed {seed}", version("heldout"), words)

    return [
        Case(
            case,
            about,
            tuple(system(case, name, seed) for name in LEARNERS for seed in range(SEEDS)),
            repeats=1,
            in_quick=False,
            warm_up=False,
        )
        for case, about in ABOUT.items()
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        which, learner_name, number = sys.argv[2].split("/")
        print(work(which, learner_name, int(number)))
    else:
        main("texts", str(__doc__).split("\n\n")[1].replace("\n", " "), cases())
