"""Convolutional networks beside PyTorch: epochs, prediction, accuracy; with the arithmetic that they get through.

An epoch is timed after compilation: the median of those after the first, on the same images, batch size and optimizer.
Floating-point operations are those of products, two for each weight at each place, three times as many for a step but
for the first layer, whose input needs no gradient. Beside them stands what a product of two large matrices reaches.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from common import Case, System, forget_peak, line, main, peak_mib
from neural import data

HELDOUT, CONTIGUOUS, LAST = "heldout", "torch", "torch channels_last"
SYSTEMS = (HELDOUT, CONTIGUOUS, LAST)
ROWS, BATCH, EPOCHS = 3_200, 64, 5
PREDICTED = 10_000
Epochs = tuple[list[float], Callable[[Any], Any]]  # seconds of each, and predict

ABOUT_ALL = (
    "Seconds of an epoch of 3,200 images in batches of 64 with Adam, after the first, which compiles; of predictions of"
    " 10,000 images; of whole fits that are meant to be good. GFLOP/s are those of"
    " the products, beside those of a product of two matrices of 2,048 in the same process."
)
ABOUT = {
    "two-convolutions": "28 x 28: 3x3 convolution 32, pool, 3x3 convolution 64, pool, dense 128, 10; ReLU",
    "lenet-5": "28 x 28: 5x5 convolution 6, pool, 5x5 convolution 16, pool, dense 120, 84, 10; tanh, mean pooling",
    "residual": "32 x 32 in colour: residual blocks of 16, 32 and 64 filters with batch norm",
    "predict-two-convolutions": "predictions of the first network for 10,000 images",
    "predict-residual": "predictions of the residual network for 10,000 images",
    "accuracy-digits": "8 x 8 (scikit-learn's): defaults, mean of five folds",
    "accuracy-mnist": "60,000 images, defaults",
    "accuracy-transformer": "MNIST, 60,000 images, vision_transformer(patch=7), defaults but for 6 epochs",
    "accuracy-fashion": "60,000 images, defaults but for augment=[RandomFlip(), RandomShift(1)]",
}


def network(name: str) -> tuple[Any, tuple[int, int, int]]:
    """A network of ours, its last layer without units, and the shape of its images."""
    from heldout.neural.convnets import residual_convnet
    from heldout.neural.layers import AveragePool2D, Conv2D, Dense, Flatten, MaxPool2D, ReLU, Sequential, Tanh

    if name == "two-convolutions":
        blocks = [layer for filters in (32, 64) for layer in (Conv2D(filters, 3, padding="same"), ReLU(), MaxPool2D())]
        return Sequential(*blocks, Flatten(), Dense(128), ReLU(), Dense()), (28, 28, 1)
    if name == "lenet-5":
        blocks = [Conv2D(6, 5, padding=2), Tanh(), AveragePool2D(), Conv2D(16, 5), Tanh(), AveragePool2D(), Flatten()]
        return Sequential(*blocks, Dense(120), Tanh(), Dense(84), Tanh(), Dense()), (28, 28, 1)
    return residual_convnet((32, 32, 3), filters=16), (32, 32, 3)


def module(name: str) -> Any:
    """The same network of PyTorch."""
    import torch.nn as nn

    class Block(nn.Module):  # type: ignore[misc]
        def __init__(self, before: int, filters: int) -> None:
            super().__init__()
            stride = 1 if before == filters else 2
            self.changed = nn.Sequential(
                nn.Conv2d(before, filters, 3, stride, 1, bias=False), nn.BatchNorm2d(filters), nn.ReLU(),
                nn.Conv2d(filters, filters, 3, 1, 1, bias=False), nn.BatchNorm2d(filters),
            )  # fmt: skip
            beside = [nn.Conv2d(before, filters, 1, stride, bias=False), nn.BatchNorm2d(filters)]
            self.beside = nn.Sequential(*beside) if stride > 1 else nn.Identity()

        def forward(self, x: Any) -> Any:
            return nn.functional.relu(self.changed(x) + self.beside(x))

    if name == "two-convolutions":
        return nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3136, 128), nn.ReLU(), nn.Linear(128, 10),
        )  # fmt: skip
    if name == "lenet-5":
        return nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),
            nn.Flatten(), nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
        )  # fmt: skip
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), Block(16, 16), Block(16, 32),
        Block(32, 64), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def images(name: str, n: int) -> tuple[Any, Any]:
    """Fashion-MNIST, or random images in colour, from 0 to 1."""
    _, shape = network(name)
    if shape[-1] == 1:
        X, y, _, _ = data("fashion_mnist")
        return X[:n].reshape(-1, *shape), y[:n]
    rng = np.random.default_rng(0)
    return rng.random((n, *shape), np.float32), rng.integers(0, 10, n)


def ours(name: str, X: Any, y: Any, epochs: int) -> Epochs:
    from heldout import ConvNetClassifier

    model = ConvNetClassifier(
        network(name)[0], augment=None, standardise=False, batch_size=BATCH, max_iter=epochs, alpha=0.0,
        learning_rate="constant", learning_rate_init=1e-3,
    ).fit(X, y)  # fmt: skip
    return model.history_.seconds.tolist(), model.predict


def theirs(name: str, X: Any, y: Any, epochs: int, last: bool) -> Epochs:
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(0)
    form = torch.channels_last if last else torch.contiguous_format
    net = module(name).to(memory_format=form)
    optimizer, loss = torch.optim.Adam(net.parameters(), 1e-3), torch.nn.CrossEntropyLoss()

    def placed(rows: Any) -> Any:
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(rows, -1, 1))).contiguous(memory_format=form)

    rows, codes, seconds = placed(X), torch.from_numpy(y), []
    for _ in range(epochs):
        start = time.perf_counter()
        order = torch.randperm(len(rows))
        for first in range(0, len(rows), BATCH):
            taken = order[first : first + BATCH]
            optimizer.zero_grad(set_to_none=True)
            loss(net(rows[taken].contiguous(memory_format=form)), codes[taken]).backward()
            optimizer.step()
        seconds.append(time.perf_counter() - start)
    net.eval()

    def predict(V: Any) -> Any:
        with torch.inference_mode():
            given = placed(V)
            return np.concatenate([net(part).argmax(1).numpy() for part in given.split(512)])

    return seconds, predict


def run(name: str, system: str, X: Any, y: Any, epochs: int) -> Epochs:
    return ours(name, X, y, epochs) if system == HELDOUT else theirs(name, X, y, epochs, system == LAST)


def operations(name: str) -> tuple[float, float]:
    """Floating-point operations of an image's forward pass, and of its part in a step."""
    from heldout.neural.choices import completed

    net, shape = network(name)
    forward = products(completed(net, 10), shape)
    first = products(net.layers[0], shape)
    return forward, 3.0 * forward - first


def products(layer: Any, shape: tuple[int, ...]) -> float:
    """Two operations for each weight at each place."""
    from heldout.neural.layers import Residual, Sequential
    from heldout.neural.summary import count_parameters

    if isinstance(layer, Sequential):
        total = 0.0
        for inner in layer.layers:
            total, shape = total + products(inner, shape), inner.out_shape(shape)
        return total
    if isinstance(layer, Residual):
        return products(layer.layer, shape) + (products(layer.shortcut, shape) if layer.shortcut else 0.0)
    if type(layer).__name__ not in ("Conv2D", "Dense"):
        return 0.0
    out = layer.out_shape(shape)
    weights = count_parameters(layer, shape) - (out[-1] if layer.use_bias else 0)
    return 2.0 * weights * float(np.prod(out[:-1]))


def peak() -> float:
    """GFLOP/s of a product of two large matrices: the best of ten, by the quicker of two libraries."""
    import jax
    import torch

    a = np.random.default_rng(0).random((2048, 2048), np.float32)
    x, t = jax.numpy.asarray(a), torch.from_numpy(a)
    product = jax.jit(lambda a: a @ a)
    best = []
    for once in (lambda: jax.block_until_ready(product(x)), lambda: t @ t):
        once()
        for _ in range(10):
            start = time.perf_counter()
            once()
            best.append(time.perf_counter() - start)
    return 2.0 * 2048**3 / min(best) / 1e9


def epochs(case: str, system: str) -> str:
    X, y = images(case, ROWS)
    before = forget_peak()
    seconds, _ = run(case, system, X, y, EPOCHS)
    used, told = peak_mib() - before, float(np.median(seconds[1:]))
    rate = operations(case)[1] * ROWS / told / 1e9
    steps = ROWS / BATCH
    return line(told, used, f"{told / steps * 1e3:.1f} ms a step, {rate:.0f} of {peak():.0f} GFLOP/s")


def predictions(case: str, system: str) -> str:
    X, y = images(case, PREDICTED)
    _, predict = run(case, system, X[:640], y[:640], 1)
    predict(X)
    before, seconds = forget_peak(), []
    for _ in range(5):
        start = time.perf_counter()
        predict(X)
        seconds.append(time.perf_counter() - start)
    used, told = peak_mib() - before, float(np.median(seconds))
    rate = operations(case)[0] * PREDICTED / told / 1e9
    return line(told, used, f"{PREDICTED / told:,.0f} images a second, {rate:.0f} of {peak():.0f} GFLOP/s")


def accuracy(case: str) -> str:
    from heldout import ConvNetClassifier
    from heldout.neural.layers import RandomFlip, RandomShift
    from heldout.neural.transformers import vision_transformer

    before, start = forget_peak(), time.perf_counter()
    if case == "digits":
        from sklearn.datasets import load_digits
        from sklearn.model_selection import StratifiedKFold, cross_val_score

        folds = StratifiedKFold(5, shuffle=True, random_state=0)
        scores = cross_val_score(ConvNetClassifier(), load_digits().images, load_digits().target, cv=folds)
        told = f"accuracy {scores.mean():.4f}, folds {scores.min():.4f} to {scores.max():.4f}"
        return line(time.perf_counter() - start, peak_mib() - before, told)
    X, y, V, truth = data("fashion_mnist" if case == "fashion" else "mnist")
    X, V = ((rows * 255).round().astype(np.uint8).reshape(-1, 28, 28) for rows in (X, V))
    given: dict[str, Any] = {"augment": [RandomFlip(), RandomShift(1)]} if case == "fashion" else {}
    given |= {"network": vision_transformer(patch=7), "max_iter": 6} if case == "transformer" else {}
    start = time.perf_counter()
    model = ConvNetClassifier(**given).fit(X, y)
    seconds = time.perf_counter() - start
    told = f"test accuracy {model.score(V, truth):.4f} after {len(model.history_)} epochs"
    return line(seconds, peak_mib() - before, told)


def work(case: str, system: str) -> str:
    kind, _, rest = case.partition("-")
    if kind == "accuracy":
        return accuracy(rest)
    return predictions(rest, system) if kind == "predict" else epochs(case, system)


def cases() -> list[Case]:
    def system(case: str, name: str) -> System:
        def words(folder: Path) -> Sequence[str]:
            return [sys.executable, str(Path(__file__).resolve()), "--work", f"{case}/{name}"]

        return System(name, version("heldout" if name == HELDOUT else "torch"), words)

    return [
        Case(
            case,
            about,
            tuple(system(case, name) for name in ((HELDOUT,) if case.startswith("accuracy") else SYSTEMS)),
            repeats=1 if case.startswith("accuracy") else 2,
            in_quick=not case.startswith("accuracy"),
            warm_up=False,
        )
        for case, about in ABOUT.items()
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        case, _, name = sys.argv[2].partition("/")
        print(work(case, name))
    else:
        importlib.import_module("torch")  # better now than after an hour
        main("convolution", ABOUT_ALL, cases())
