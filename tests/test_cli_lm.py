"""heldout lm: a text is learned from and written on, from the command line; what does not fit is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from heldout.cli import main

TEXT = "one two three four. " * 60
SMALL = ("--kind", "recurrent", "--width", "8", "--context", "8", "--batch-size", "4", "--learning-rate", "0.02")


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT)

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(["lm", *words])
        said = capsys.readouterr()
        return int(stop.value.code or 0), said.out, said.err

    return run


def test_fit_and_generate(cli) -> None:  # type: ignore[no-untyped-def]
    code, out, err = cli("fit", "text.txt", *SMALL, "--steps", "40")
    assert code == 0, err
    assert "Validation loss" in out and "perplexity" in out and "train it longer" in out
    assert err.count("validation loss") == 20 and "heldout lm generate text.model" in err
    again = [
        cli("generate", "text.model", "--prompt", "one", "--length", "12", "--seed", str(seed)) for seed in (1, 1, 2)
    ]
    assert again[0] == again[1] != again[2]
    code, out, err = again[0]
    assert code == 0 and out.startswith("one") and len(out) == 3 + 12 + 1 and not err
    code, out, err = cli("fit", "text.txt", *SMALL, "--steps", "300", "--json", "-o", "m", "--checkpoint", "c")
    said = json.loads(out)
    assert code == 0 and not err and said["steps"] == 300 and said["validation_loss"] < said["bigram_loss"]
    code, out, _ = cli("generate", "m", "--prompt", "one two ", "--temperature", "0", "--length", "10")
    assert out == "one two three four\n"
    code, out, _ = cli("fit", "text.txt", *SMALL, "--steps", "300", "-q", "-o", "m", "--resume", "c")
    assert code == 0 and out.count("\n") == 1


def test_byte_pairs(cli) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("tokenizers")
    small = (*SMALL, "--tokens", "bpe", "--vocabulary", "270", "--steps", "20", "--json")
    said = [json.loads(cli("fit", "text.txt", *small, "-o", name)[1]) for name in ("a", "b")]
    assert 256 < said[0]["tokens"] <= 270 and said[0]["validation_loss"] == said[1]["validation_loss"]
    wrote = [cli("generate", name, "--prompt", "é one", "--length", "5") for name in ("a", "b")]
    assert wrote[0] == wrote[1] and wrote[0][0] == 0 and wrote[0][1].startswith("é one") and not wrote[0][2]
    assert "a vocabulary of 256" in cli("fit", "text.txt", *small, "--vocabulary", "9")[2]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("fit", "none.txt"), "Could not read none.txt"),
        (("fit", "bytes.txt"), "bytes.txt is no text in UTF-8 (byte 1)"),
        (("fit", "text.txt", "--kind", "convolutional"), "must be transformer or recurrent"),
        (("fit", "text.txt", "--kind", "recurrent", "--heads", "2"), "--heads does not belong to a recurrent model"),
        (("fit", "text.txt", "-o", "text.txt"), "text.txt is the text itself"),
        (("fit", "text.txt", "--context", "500"), "a window takes 500"),
        (("generate", "text.txt"), "text.txt is not a heldout model file"),
    ],
)
def test_what_does_not_fit_is_said(cli, tmp_path: Path, words: tuple[str, ...], reason: str) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "bytes.txt").write_bytes(b"a\xff")
    code, out, err = cli(*words)
    assert code == 2 or "model file" in reason
    assert reason in err and not out and err.strip().count("\n") == 0
    assert (tmp_path / "text.txt").read_text() == TEXT
