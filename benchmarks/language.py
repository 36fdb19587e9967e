"""Language models beside eager PyTorch: training on tiny-shakespeare, and tokens a second that are written.

nanoGPT's setting for a CPU: characters, 4 blocks with 4 heads, 128 wide, windows of 64, 12 a step, 2,000 steps, no
dropout. Both train the same network by AdamW with the same rates and clipping, and look 20 times at the same windows of
the validation text; seconds are of all that, compiling included, but imports on neither side. What is written is 2,000
characters by a network with a context of 256, with keys and values kept, after 512 others, which begin anew once.
"""

from __future__ import annotations

import importlib
import math
import os
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from common import DATA, Case, System, forget_peak, line, main, peak_mib

HELDOUT, EAGER = "heldout", "torch"
STEPS, LOOKS, WINDOW, BATCH, BLOCKS, HEADS, WIDTH = 2_000, 20, 64, 12, 4, 4, 128
RATE, LAST, WARM_UP = 1e-3, 0.1, 0.05
WRITTEN, LONG = 2_000, 256
ABOUT_ALL = (
    "Language models of characters: seconds of 2,000 training steps on tiny-shakespeare in nanoGPT's setting for a CPU,"
    " with 20 looks at the validation text and all compiling; seconds of 2,000 characters written one by one."
)
ABOUT = {
    "shakespeare": "4 blocks with 4 heads, 128 wide, windows of 64, 12 a step; the score is the validation loss",
    "writing": "2,000 characters by the same network with a context of 256, keys and values kept",
}


def text() -> str:
    return (DATA / "tiny_shakespeare" / "input.txt").read_text()


def ours(case: str) -> str:
    from heldout import TransformerLanguageModel

    given = text()
    if case == "shakespeare":
        importlib.import_module("heldout.neural.native.perceptron")  # Numba, which fit would import
        before, start = forget_peak(), time.perf_counter()
        model = TransformerLanguageModel(max_steps=STEPS, context=WINDOW).fit(given)
        seconds = time.perf_counter() - start
        told = f"validation loss {model.validation_loss_:.3f}, bigrams {model.bigram_loss_:.3f}"
        return line(seconds, peak_mib() - before, told)
    model = TransformerLanguageModel(max_steps=1, context=LONG).fit(given[:20_000])
    "".join(model.generate("\n", 2 * LONG))
    before, start = forget_peak(), time.perf_counter()
    "".join(model.generate("\n", WRITTEN))
    seconds = time.perf_counter() - start
    return line(seconds, peak_mib() - before, f"{WRITTEN / seconds:,.0f} characters a second")


def network(t: Any, size: int, window: int) -> Any:
    """The same network as a module of PyTorch's; with `kept`, keys and values of earlier steps are gone on from."""
    F = t.nn.functional

    class Block(t.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.norms = t.nn.ModuleList([t.nn.LayerNorm(WIDTH) for _ in range(2)])
            self.three, self.out = t.nn.Linear(WIDTH, 3 * WIDTH), t.nn.Linear(WIDTH, WIDTH)
            self.up, self.down = t.nn.Linear(WIDTH, 4 * WIDTH), t.nn.Linear(4 * WIDTH, WIDTH)

        def forward(self, x: Any, kept: Any = None, at: int = 0) -> Any:
            n, steps, _ = x.shape
            q, k, v = self.three(self.norms[0](x)).view(n, steps, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
            if kept is not None:
                kept[0][:, :, at : at + steps], kept[1][:, :, at : at + steps] = k, v
                k, v = (part[:, :, : at + steps] for part in kept)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=steps > 1)
            x = x + self.out(y.transpose(1, 2).reshape(n, steps, WIDTH))
            return x + self.down(F.gelu(self.up(self.norms[1](x)), approximate="tanh"))

    class Model(t.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places = t.nn.Embedding(size, WIDTH), t.nn.Embedding(window, WIDTH)
            self.blocks = t.nn.ModuleList([Block() for _ in range(BLOCKS)])
            self.norm, self.last = t.nn.LayerNorm(WIDTH), t.nn.Linear(WIDTH, size)
            for module in self.modules():
                if isinstance(module, t.nn.Embedding):
                    t.nn.init.normal_(module.weight, std=0.02)

        def forward(self, x: Any, kept: Any = None, at: int = 0) -> Any:
            x = self.tokens(x) + self.places(t.arange(at, at + x.shape[1]))
            for i, block in enumerate(self.blocks):
                x = block(x, None if kept is None else kept[i], at)
            return self.last(self.norm(x))

    return Model()


def theirs(case: str) -> str:
    import torch as t

    t.set_num_threads(os.cpu_count() or 1)
    t.manual_seed(0)
    given = text()
    known = sorted(set(given))
    codes = t.tensor([known.index(one) for one in given] if case == "shakespeare" else [0])
    return trained(t, codes, len(known)) if case == "shakespeare" else written(t, len(known))


def trained(t: Any, codes: Any, size: int) -> str:
    cut = round(0.9 * len(codes))
    learned, held = codes[:cut], codes[cut:]
    count = (len(held) - 1) // WINDOW
    x, y = (held[more : more + count * WINDOW].view(count, WINDOW) for more in (0, 1))
    some = t.from_numpy(np.linspace(0, count - 1, 2**13 // WINDOW).astype(int))
    cross_entropy = t.nn.CrossEntropyLoss()

    def judged(rows: Any) -> float:
        with t.no_grad():
            return float(
                np.mean([cross_entropy(model(x[part]).flatten(0, 1), y[part].flatten()) for part in rows.split(64)])
            )

    before, start = forget_peak(), time.perf_counter()
    model = network(t, size, WINDOW)
    matrices, others = ([p for p in model.parameters() if (p.ndim > 1) == wanted] for wanted in (True, False))
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = t.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.99))
    offsets = t.arange(WINDOW)
    for step in range(STEPS):
        rise = WARM_UP * STEPS
        done = (step - rise) / (STEPS - rise)
        falling = LAST + (1.0 - LAST) * 0.5 * (1.0 + math.cos(math.pi * done))
        for group in optimizer.param_groups:
            group["lr"] = RATE * ((step + 1) / rise if step < rise else falling)
        at = t.randint(len(learned) - WINDOW, (BATCH, 1)) + offsets
        optimizer.zero_grad(set_to_none=True)
        cross_entropy(model(learned[at]).flatten(0, 1), learned[at + 1].flatten()).backward()
        t.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % (STEPS // LOOKS) == 0:
            judged(some)
    told = f"validation loss {judged(t.arange(count)):.3f}"
    return line(time.perf_counter() - start, peak_mib() - before, told)


def written(t: Any, size: int) -> str:
    model = network(t, size, LONG)

    def write(length: int) -> None:
        codes: list[int] = [0]
        with t.inference_mode():
            while length > 0:
                codes = codes[-LONG // 2 :]
                kept = [[t.zeros(1, HEADS, LONG, WIDTH // HEADS) for _ in range(2)] for _ in range(BLOCKS)]
                scores, at = model(t.tensor([codes]), kept), len(codes)
                while at < LONG and length > 0:
                    codes.append(int(t.multinomial(t.softmax(scores[0, -1], dim=-1), 1)))
                    scores, at, length = model(t.tensor([[codes[-1]]]), kept, at), at + 1, length - 1

    write(2 * LONG)
    before, start = forget_peak(), time.perf_counter()
    write(WRITTEN)
    seconds = time.perf_counter() - start
    return line(seconds, peak_mib() - before, f"{WRITTEN / seconds:,.0f} characters a second")


def cases() -> list[Case]:
    def system(case: str, name: str) -> System:
        def words(folder: Path) -> Sequence[str]:
            return [sys.executable, str(Path(__file__).resolve()), "--work", f"{case}/{name}"]

        return System(name, version("heldout" if name == HELDOUT else "torch"), words)

    return [
        Case(
            case,
            about,
            tuple(system(case, name) for name in (HELDOUT, EAGER)),
            repeats=1 if case == "shakespeare" else 3,
            in_quick=case == "writing",
            warm_up=case == "writing",
        )
        for case, about in ABOUT.items()
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        case, _, name = sys.argv[2].partition("/")
        print(ours(case) if name == HELDOUT else theirs(case))
    else:
        importlib.import_module("torch")  # better now than after an hour
        main("language", ABOUT_ALL, cases())
