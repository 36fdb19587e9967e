"""The commands `heldout lm fit` and `heldout lm generate`: language models from a text's file."""

from __future__ import annotations

import json
import math
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heldout.errors import InputError

if TYPE_CHECKING:
    from heldout.neural.history import Epoch

lm = typer.Typer(
    help="Language models: learn from a text which token comes next, and write on.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

KINDS = ("transformer", "recurrent")

Seed = Annotated[int, typer.Option(help="The same seed gives the same text.", min=0)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print no more than the outcome.")]


@lm.command("fit", help="Learn from a text; its end is judged by, and never learned from.")
def fit(
    file: Annotated[Path, typer.Argument(help="A text in UTF-8.", metavar="FILE")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The model's file. Default: NAME.model.", metavar="MODEL")
    ] = None,
    kind: Annotated[str, typer.Option(help="transformer or recurrent.")] = "transformer",
    tokens: Annotated[str, typer.Option(help="characters, bytes, words or bpe (byte-pair encoding).")] = "characters",
    vocabulary: Annotated[
        int | None, typer.Option(help="Only so many tokens, the most frequent. Default: all; of bpe 4096.", min=1)
    ] = None,
    context: Annotated[int | None, typer.Option(help="Tokens of a window. Default: 64.", min=1)] = None,
    layers: Annotated[int | None, typer.Option(help="Default: 4 of a transformer, else 1.", min=1)] = None,
    heads: Annotated[int | None, typer.Option(help="Of a transformer. Default: 4.", min=1)] = None,
    width: Annotated[
        int | None, typer.Option(help="Of a transformer. Default: 128; of states (units): 256.", min=1)
    ] = None,
    cell: Annotated[str | None, typer.Option(help="Of a recurrent one: gru, lstm or rnn. Default: gru.")] = None,
    dropout: Annotated[float | None, typer.Option(help="Default: 0.", min=0)] = None,
    batch_size: Annotated[int | None, typer.Option(help="Windows of a step. Default: 12.", min=1)] = None,
    steps: Annotated[int | None, typer.Option(help="Default: 2000.", min=1)] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="The highest. Default: 0.001; recurrent: 0.004.", min=0)
    ] = None,
    validation: Annotated[float | None, typer.Option(help="Share of the text that is judged by. Default: 0.1.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Keep the training in this file.", metavar="FILE")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on from a checkpoint.", metavar="FILE")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same model.", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    from heldout import persist
    from heldout.neural import language
    from heldout.progress import shown_progress

    if kind not in KINDS:
        raise InputError(f"--kind is {kind!r} and must be transformer or recurrent.")
    recurrent, silent = kind == "recurrent", quiet or as_json
    for option, value, other in (("--heads", heads, recurrent), ("--cell", cell, not recurrent)):
        if value is not None and other:
            raise InputError(f"{option} does not belong to a {kind} model; leave it out, or set --kind.")
    text = _text_of(file)
    made = language.RecurrentLanguageModel if recurrent else language.TransformerLanguageModel
    given: dict[str, Any] = {
        "context": context,
        "layers": layers,
        "heads": heads,
        "units" if recurrent else "width": width,
        "cell": cell,
        "dropout": dropout,
        "batch_size": batch_size,
        "max_steps": steps,
        "learning_rate_init": learning_rate,
        "validation_fraction": validation,
        "checkpoint": checkpoint or resume,
    }
    model: Any = made(
        tokens=tokens,
        vocabulary=vocabulary,
        seed=seed,
        **{name: value for name, value in given.items() if value is not None},
    )
    path = output or Path(f"{file.name.split('.')[0]}.model")
    if path.exists() and path.samefile(file):
        raise InputError(f"{path} is the text itself; store the model in another file (-o).")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with shown_progress(silent) as progress:
            model.fit(text, callbacks=[] if silent else [Told(model)], resume=resume, progress=progress)
    persist.save(model, path)
    for warning in caught:
        typer.echo(str(warning.message), err=True)
    if as_json:
        typer.echo(json.dumps(_outcome(model, path), ensure_ascii=False, indent=1))
        return
    beaten = "" if model.validation_loss_ < model.bigram_loss_ else " The model does not beat that: train it longer."
    perplexity = _outcome(model, path)["perplexity"]
    typer.echo(
        f"Validation loss {model.validation_loss_:.3f} nats a token, perplexity {perplexity:.2f}; by pairs of tokens, "
        f"counted: {model.bigram_loss_:.3f}.{beaten}"
    )
    if not quiet:
        typer.echo(f"The model is in {path}. To have it write: heldout lm generate {path} --prompt TEXT", err=True)


@lm.command("generate", help="Write on from a prompt, as the tokens are drawn.")
def generate(
    model: Annotated[Path, typer.Argument(help="What heldout lm fit has stored.", metavar="MODEL")],
    prompt: Annotated[str, typer.Option(help="What is gone on from. Default: a line break.")] = "\n",
    length: Annotated[int, typer.Option(help="Tokens to draw.", min=1)] = 500,
    temperature: Annotated[float, typer.Option(help="Below 1 likely tokens become likelier; 0: the likeliest.")] = 1.0,
    top_k: Annotated[int | None, typer.Option(help="Only so many tokens are in question.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Only the likeliest tokens with this share together.")] = None,
    seed: Seed = 0,
) -> None:
    from heldout import persist
    from heldout.neural.language import LanguageModel
    from heldout.words import legible

    loaded = persist.load(model, expected=LanguageModel)
    pieces = loaded.generate(prompt, length, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    sys.stdout.write(legible(prompt.lstrip("\n")))
    try:
        for piece in pieces:
            sys.stdout.write(legible(piece))
            sys.stdout.flush()
    except KeyboardInterrupt:  # who has read enough
        pass
    sys.stdout.write("\n")


@dataclass(frozen=True)
class Told:
    """A line for each look at the validation text, with the baseline beside."""

    model: Any

    def on_epoch_end(self, epoch: Epoch) -> None:
        typer.echo(
            f"step {epoch.epoch * self.model.steps_per_look:>7,}: validation loss {epoch.validation_loss:.3f}, "
            f"training {epoch.train_loss:.3f}, pairs counted {self.model.bigram_loss_:.3f}",
            err=True,
        )


def _outcome(model: Any, path: Path) -> dict[str, Any]:
    return {
        "model": str(path),
        "tokens": model.tokens_.size,
        "steps": model.n_steps_,
        "validation_loss": model.validation_loss_,
        "perplexity": math.exp(min(model.validation_loss_, 700.0)),
        "bigram_loss": model.bigram_loss_,
    }


def _text_of(file: Path) -> str:
    """A file's text; InputError where there is none."""
    try:
        return file.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is no text in UTF-8 (byte {error.start:,}); store it in UTF-8.") from None
    except OSError as error:
        raise InputError(f"Could not read {file}: {error.strerror or error}.") from None
