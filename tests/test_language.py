"""Language models: step by step as at once, drawing by its formula, training, texts that are written, files, errors."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from gradients import computed
from heldout import RecurrentLanguageModel, TransformerLanguageModel, persist
from heldout.errors import InputError
from heldout.neural.generation import Sampling, draw
from heldout.neural.layers import (
    GRU,
    LSTM,
    RNN,
    Dense,
    GlobalAveragePool,
    LayerNorm,
    MultiHeadAttention,
    Positions,
    Residual,
    Sequential,
)
from heldout.neural.losses import CrossEntropy
from heldout.neural.metrics import METRICS
from heldout.neural.program import Rows, batch_at, starts_of
from heldout.texts.bigram import bigram_loss
from heldout.texts.tokens import Characters

TEXT = "the cat sat on the mat, and the dog sat on the cat. " * 8
SMALL: dict[str, Any] = {"context": 8, "max_steps": 200, "batch_size": 8, "learning_rate_init": 2e-2}
STEPS, WIDTH = 11, 8


def test_step_by_step_as_at_once() -> None:
    looking = [
        Sequential(before, MultiHeadAttention(2, causal=True, positions=positions))
        for before, positions in ((Positions(), "rotary"), (Positions(learned=True), "alibi"))
    ]
    memories = [kind(WIDTH, 2, return_sequences=True) for kind in (GRU, LSTM, RNN)]
    network = Sequential(*(Residual(Sequential(LayerNorm(), layer)) for layer in looking + memories), Dense(3))
    params, _ = network.init(jax.random.key(1), (STEPS, WIDTH))
    x = np.random.default_rng(0).normal(size=(2, STEPS, WIDTH)).astype(np.float32)

    def both(params: Any, x: Any) -> Any:
        cache, parts, junk = network.init_cache(2, (12, WIDTH)), [], 100.0 * jnp.ones((2, 2, WIDTH))
        for first, count in ((0, 4), (4, 4), (8, 2), (10, 1)):
            given = x[:, first : first + count]
            if count == 2:  # filled up
                given = jnp.concatenate([given, junk], axis=1)
            y, cache = network.extend(params, {}, given, cache, jnp.int32(first), jnp.int32(count))
            parts.append(y[:, :count])
        return network.apply(params, {}, x)[0], jnp.concatenate(parts, axis=1)

    whole, parts = computed(both, params, x)
    assert_allclose(parts, whole, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (GlobalAveragePool(), "does not go step by step"),
        (MultiHeadAttention(1), "looks ahead"),
        (GRU(4), "return_sequences=True"),
    ],
)
def test_what_cannot_go_step_by_step(layer: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        layer.extend({}, {}, jnp.ones((1, 1, 4)), {}, 0, 1)


def test_drawing_by_its_formula() -> None:
    scores, n = np.array([1.0, 3.0, 0.0, 2.5, -1.0]), 20_000
    cases = [(1.0, 5, 1.0), (0.5, 3, 1.0), (2.0, 5, 0.6), (1.0, 4, 0.62), (0.0, 5, 1.0)]
    keys = jax.random.split(jax.random.key(0), n)
    drawn = jax.jit(jax.vmap(draw, (None, None, 0)))
    for temperature, top_k, top_p in cases:
        p = np.exp(scores / temperature) if temperature else (scores == scores.max()).astype(float)
        p[np.argsort(-scores)[top_k:]] = 0.0
        p /= p.sum()
        order = np.argsort(-p)
        p[order[1:][np.cumsum(p[order])[:-1] >= top_p]] = 0.0  # what is left had the share without it
        p /= p.sum()
        found = np.bincount(drawn(scores, Sampling(temperature, top_k, top_p), keys), minlength=5) / n
        assert_allclose(found, p, atol=4.0 * math.sqrt(0.25 / n))
        assert (found[p == 0.0] == 0.0).all()


def test_losses_of_sequences_are_means_over_their_steps() -> None:
    rng = np.random.default_rng(0)
    scores, codes = rng.normal(size=(3, 4, 5)).astype(np.float32), rng.integers(0, 5, (3, 4))

    def both(scores: Any, codes: Any) -> Any:
        losses = CrossEntropy(), CrossEntropy(0.1)
        slopes = [jax.grad(lambda z, y, loss=loss: loss(z, y).sum()) for loss in losses]
        return [one(scores, codes) for one in (*losses, *slopes)]

    by_rows = computed(both, scores.reshape(-1, 5), codes.ravel())
    for whole, each in zip(computed(both, scores, codes), by_rows, strict=True):
        part = each.reshape(3, 4, *each.shape[1:])
        assert_allclose(whole, part.mean(axis=1) if whole.ndim == 1 else part / 4, atol=1e-6)
    right = (scores.argmax(axis=-1) == codes).mean(axis=1)
    assert_allclose(METRICS["accuracy"](jnp.asarray(scores), jnp.asarray(codes)), right)


def test_windows_begin_anywhere() -> None:
    starts = np.asarray(starts_of(np.uint32(0), np.int32(3), np.int32(5), 400))
    assert set(starts) == set(range(5))
    rows = Rows(jnp.arange(8), jnp.arange(1, 9), jnp.ones(8))
    batch = batch_at(rows, jnp.array([0, 4]), 4)
    assert batch.x.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert batch.y.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert batch.w.tolist() == [1.0, 1.0]


def test_bigrams_are_counted(real_data: Path) -> None:
    rng = np.random.default_rng(0)
    train, judged = rng.integers(0, 4, 60), rng.integers(0, 6, 40)
    pairs, firsts = Counter(pairwise(train)), Counter(train[:-1])
    losses = [-math.log((pairs[a, b] + 1) / (firsts[a] + 6)) for a, b in pairwise(judged)]
    assert bigram_loss(train, judged, 6) == pytest.approx(np.mean(losses))
    text = (real_data / "tiny_shakespeare" / "input.txt").read_text()
    tokens, cut = Characters.learn([text]), round(0.9 * len(text))
    learned, held = tokens.encode(text[:cut]), tokens.encode(text[cut:])
    assert bigram_loss(learned, held, tokens.size) == pytest.approx(2.482, abs=5e-4)


@pytest.fixture(scope="module")
def transformer() -> Any:
    return TransformerLanguageModel(layers=2, heads=2, width=16, dropout=0.1, **SMALL).fit(TEXT)


@pytest.fixture(scope="module")
def recurrent() -> Any:
    return RecurrentLanguageModel(units=16, cell="lstm", **SMALL).fit(TEXT)


def log_probabilities(model: Any, codes: Any) -> Any:
    scores = computed(lambda params, x: model.network_.apply(params, {}, x[None])[0][0], model.params_, codes)
    return np.array(jax.nn.log_softmax(scores))


@pytest.mark.parametrize("kind", ["transformer", "recurrent"])
def test_losses_beside_windows_one_by_one(kind: str, request: Any) -> None:
    model = request.getfixturevalue(kind)
    assert model.validation_loss_ < model.bigram_loss_
    text = "the dog sat on the mat, zz"  # with a letter that was not learned
    codes = model.tokens_.encode(text)
    losses = []
    for first in range(0, len(codes) - 1, 8):
        x, y = (codes[first + more : min(first + 8, len(codes) - 1) + more] for more in (0, 1))
        logs = log_probabilities(model, np.pad(x, (0, 8 - len(x))))
        losses += [-logs[i, code] for i, code in enumerate(y)]
    assert model.loss(text) == pytest.approx(np.mean(losses), rel=1e-5)
    assert model.perplexity(text) == pytest.approx(math.exp(np.mean(losses)), rel=1e-5)
    assert model.validation_loss_ == pytest.approx(model.loss(TEXT[round(0.9 * len(TEXT)) :]))


@pytest.mark.parametrize("kind", ["transformer", "recurrent"])
def test_what_is_written_is_what_is_likeliest(kind: str, request: Any) -> None:
    """Longer than the context: a transformer goes on from the later half of its places, a memory from all."""
    model = request.getfixturevalue(kind)
    prompt, length = "and the", 21
    begun, written = model.tokens_.encode(prompt).tolist(), []
    for number in range(length):
        if kind == "transformer" and number % 4 == 0:  # 4 are drawn at once, for which 8 places have room once
            begun = begun[-4:]
        padded = np.pad(begun, (0, 32 - len(begun)))[: 8 if kind == "transformer" else 32]
        logs = log_probabilities(model, padded.astype(np.int32))[len(begun) - 1]
        logs[model.tokens_.unknown] = -np.inf
        written.append(int(logs.argmax()))
        begun.append(written[-1])
    found = list(model.generate(prompt, length, temperature=0.0))
    assert "".join(found) == model.tokens_.decode(written)
    assert len(found) > 2


def test_the_same_seed_gives_the_same_text_and_files_keep_it(transformer: Any, recurrent: Any) -> None:
    def written(model: Any, seed: int) -> str:
        return "".join(model.generate("the ", 40, temperature=1.5, top_k=9, top_p=0.95, seed=seed))

    for model in (transformer, recurrent):
        text = written(model, 1)
        assert written(model, 1) == text != written(model, 2)
        again = persist.loads(persist.dumps(model))
        assert written(again, 1) == text
        assert again.get_params() == model.get_params()
        assert again.loss(TEXT) == model.loss(TEXT)


def test_training_goes_on_from_a_checkpoint(transformer: Any, tmp_path: Path) -> None:
    class Stop:
        def on_epoch_end(self, epoch: Any) -> bool:
            return bool(epoch.epoch == 7)

    own = TransformerLanguageModel(**transformer.get_params() | {"checkpoint": tmp_path / "file"})
    first = own.fit(TEXT, callbacks=[Stop()])
    assert first.n_steps_ == 70
    again = own.fit(TEXT, resume=tmp_path / "file")
    assert again.n_steps_ == 200
    for a, b in zip(jax.tree.leaves(again.params_), jax.tree.leaves(transformer.params_), strict=True):
        np.testing.assert_array_equal(a, b)


def test_progress_is_told_from_the_start(transformer: Any) -> None:
    told: list[tuple[str, int, int]] = []
    TransformerLanguageModel(**transformer.get_params()).fit(TEXT, progress=lambda *what: told.append(what))
    assert [(done, total) for _, done, total in told] == [(done, 20) for done in range(21)]
    assert "compiling" in told[0][0]
    assert told[20][0].startswith("step 200: ")


def test_validation_is_not_learned_from(transformer: Any) -> None:
    cut = round(0.9 * len(TEXT))
    other = TransformerLanguageModel(**transformer.get_params()).fit(TEXT[:cut], validation="é" + TEXT[cut + 1 :])
    assert "é" not in other.tokens_.characters
    assert_allclose(other.history_.train_loss, transformer.history_.train_loss)
    assert other.validation_loss_ > transformer.validation_loss_


@pytest.mark.parametrize(
    ("kind", "given", "text", "reason"),
    [
        (TransformerLanguageModel, {"tokens": "letters"}, TEXT, "There are no tokens 'letters'"),
        (TransformerLanguageModel, {"positions": "absolute"}, TEXT, "There are no positions 'absolute'"),
        (TransformerLanguageModel, {"heads": 3}, TEXT, "3 heads, which do not divide"),
        (RecurrentLanguageModel, {"units": 0}, TEXT, "units is 0"),
        (RecurrentLanguageModel, {"cell": "gur"}, TEXT, "Did you mean 'gru'"),
        (RecurrentLanguageModel, {"validation_fraction": 1.0}, TEXT, "validation_fraction is 1.0"),
        (RecurrentLanguageModel, {"context": 200}, TEXT, "validation text has 42 tokens, and a window takes 200"),
        (RecurrentLanguageModel, {}, Path("text"), "must be a str, not"),
    ],
)
def test_what_does_not_fit_is_said(kind: Any, given: dict[str, Any], text: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        kind(**given).fit(text)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"prompt": ""}, "The prompt is empty"),
        ({"prompt": "the é"}, "marked here: 'the \ufffd'"),
        ({"length": 0}, "length is 0"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_p": 0.0}, "top_p is 0.0"),
    ],
)
def test_what_cannot_be_written_is_said_at_once(transformer: Any, given: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        transformer.generate(**{"prompt": "the"} | given)
