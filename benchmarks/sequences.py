"""Recurrent layers, transformers and attention beside PyTorch: training steps, and memory against length.

A step is timed after compilation: the median epoch after the first, divided by its steps, on the same rows, batch size
and optimizer. Attention is one forward and one backward pass of one head of 64 for one sequence.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from common import Case, System, main

HELDOUT, EAGER, COMPILED = "heldout", "torch", "torch.compile"
EPOCHS, BATCHES = 6, 10
TOKENS, CLASSES = 65, 10
RECURRENT = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}
LENGTHS = (128, 1024, 4096, 16_384)
ABOUT_ALL = (
    "Seconds of a training step after the first epoch, which compiles: recurrent layers on 64 sequences of 100 steps of"
    " 64 numbers, 128 units, Adam; a transformer of 4 blocks, 128 wide, on 16 sequences of 128 tokens, AdamW. Attention"
    " forward and back: seconds, and memory beyond the libraries'."
)
ABOUT = {
    **{f"{kind}-step": f"{name} with 128 units, its last state and a dense layer" for kind, name in RECURRENT.items()},
    "transformer-step": "4 blocks with 4 heads, norm first, GELU, mean over the steps and a dense layer",
    **{f"attention-{length}": f"a sequence of {length:,} steps, causal" for length in LENGTHS},
}


def series() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    n = 64 * BATCHES
    return rng.normal(size=(n, 100, 64)).astype(np.float32), rng.integers(0, CLASSES, n)


def texts() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    n = 16 * BATCHES
    return rng.integers(0, TOKENS, (n, 128)).astype(np.float32), rng.integers(0, CLASSES, n)


def ours(case: str) -> list[float]:
    from heldout import NeuralClassifier
    from heldout.neural import layers as made
    from heldout.neural.transformers import encoder_block

    kind = case.removesuffix("-step")
    if kind in RECURRENT:
        X, y = series()
        network = made.Sequential(getattr(made, RECURRENT[kind])(128), made.Dense())
        options: dict[str, Any] = {"solver": "adam", "batch_size": 64}
    else:
        X, y = texts()
        blocks = [encoder_block(128, 4, activation="gelu_tanh") for _ in range(4)]
        inputs = [made.Embedding(TOKENS, 128), made.Positions(learned=True)]
        network = made.Sequential(*inputs, *blocks, made.LayerNorm(), made.GlobalAveragePool(), made.Dense())
        options = {"solver": "adamw", "weight_decay": 0.01, "batch_size": 16}
    model = NeuralClassifier(
        network, max_iter=EPOCHS, early_stopping=False, alpha=0.0, tol=0.0, standardise=False, precision="single",
        **options,
    ).fit(X, y)  # fmt: skip
    return [seconds / BATCHES for seconds in model.history_.seconds]


def torch_step(case: str, compiled: bool) -> list[float]:
    import torch as t

    t.set_num_threads(os.cpu_count() or 1)
    t.manual_seed(0)
    kind = case.removesuffix("-step")

    class Recurrent(t.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layer = getattr(t.nn, RECURRENT[kind])(64, 128, batch_first=True)
            self.last = t.nn.Linear(128, CLASSES)

        def forward(self, x: Any) -> Any:
            return self.last(self.layer(x)[0][:, -1])

    class Transformer(t.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places = t.nn.Embedding(TOKENS, 128), t.nn.Parameter(0.02 * t.randn(128, 128))
            gelu = t.nn.GELU(approximate="tanh")
            block = t.nn.TransformerEncoderLayer(
                128, 4, 512, dropout=0.0, activation=gelu, batch_first=True, norm_first=True
            )
            self.blocks = t.nn.TransformerEncoder(block, 4, enable_nested_tensor=False)
            self.norm, self.last = t.nn.LayerNorm(128), t.nn.Linear(128, CLASSES)

        def forward(self, x: Any) -> Any:
            return self.last(self.norm(self.blocks(self.tokens(x) + self.places)).mean(dim=1))

    X, y = series() if kind in RECURRENT else texts()
    size = len(X) // BATCHES
    module = Recurrent() if kind in RECURRENT else Transformer()
    run = t.compile(module) if compiled else module
    if kind in RECURRENT:
        rows, optimizer = t.from_numpy(X), t.optim.Adam(module.parameters(), 1e-3)
    else:
        rows, optimizer = t.from_numpy(X).long(), t.optim.AdamW(module.parameters(), 1e-3, weight_decay=0.01)
    codes, loss, seconds = t.from_numpy(y), t.nn.CrossEntropyLoss(), []
    for _ in range(EPOCHS):
        start = time.perf_counter()
        order = t.randperm(len(rows))
        for first in range(0, len(rows), size):
            taken = order[first : first + size]
            optimizer.zero_grad(set_to_none=True)
            loss(run(rows[taken]), codes[taken]).backward()
            optimizer.step()
        seconds.append((time.perf_counter() - start) / BATCHES)
    return seconds


def attention(name: str, length: int) -> str:
    """One head of 64, causal, forward and back."""
    x = np.random.default_rng(0).normal(size=(1, 1, length, 64)).astype(np.float32)
    run: Callable[[], Any]
    if name == HELDOUT:
        import jax

        from heldout.neural.layers.attending import Look, attend_jointly
        from heldout.neural.layers.attention import BLOCK

        look = Look(causal=True, block=BLOCK)
        loss = jax.jit(jax.grad(lambda joint: (attend_jointly(look, 1, joint, None) ** 2).sum()))
        loss(np.ones((1, 512, 3 * 64), np.float32))  # what the libraries take
        joint = np.concatenate([x[:, 0]] * 3, axis=-1)
        before = _peak_mib()

        def run() -> Any:
            return jax.block_until_ready(loss(joint))
    else:
        import torch as t

        t.set_num_threads(os.cpu_count() or 1)
        small = t.ones(1, 1, 64, 64, requires_grad=True)
        t.nn.functional.scaled_dot_product_attention(small, small, small, is_causal=True).sum().backward()
        before = _peak_mib()

        def run() -> Any:
            q, k, v = (t.tensor(x, requires_grad=True) for _ in range(3))
            (t.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True) ** 2).sum().backward()

    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return _line(float(np.median(seconds[1:])), _peak_mib() - before, f"first {seconds[0]:.2f} s")


def work(case: str, name: str) -> str:
    if case.startswith("attention"):
        return attention(name, int(case.rpartition("-")[2]))
    before = _peak_mib()
    seconds = ours(case) if name == HELDOUT else torch_step(case, name == COMPILED)
    return _line(float(np.median(seconds[1:])), _peak_mib() - before, f"first epoch {seconds[0] * BATCHES:.2f} s")


def _line(seconds: float, peak_mib: float, score: str) -> str:
    return json.dumps({"seconds": seconds, "peak_mib": peak_mib, "score": score})


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def cases() -> list[Case]:
    def system(case: str, name: str) -> System:
        def words(folder: Path) -> Sequence[str]:
            return [sys.executable, str(Path(__file__).resolve()), "--work", f"{case}/{name}"]

        return System(name, version("heldout" if name == HELDOUT else "torch"), words)

    peers = {"transformer-step": (HELDOUT, EAGER, COMPILED)}
    return [
        Case(
            case,
            about,
            tuple(system(case, name) for name in peers.get(case, (HELDOUT, EAGER))),
            repeats=3 if case.endswith("step") else 1,
            in_quick=case in ("lstm-step", "attention-1024"),
        )
        for case, about in ABOUT.items()
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        case, _, name = sys.argv[2].partition("/")
        print(work(case, name))
    else:
        importlib.import_module("torch")  # better now than after an hour
        main("sequences", ABOUT_ALL, cases())
