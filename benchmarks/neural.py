"""Networks beside PyTorch (eager and compiled), scikit-learn and plain JAX: epochs, first fits, accuracy, drift.

An epoch is timed after compilation: the median of those after the first, on the same rows, batch size and optimizer.
The score tells the seconds of the first epoch, in which programs are compiled, and the test accuracy.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from common import Case, System, line, main, peak_mib
from neighbors import images, labels

HELDOUT, EAGER, COMPILED = "heldout", "torch", "torch.compile"
SKLEARN, JAX = "scikit-learn", "jax, a call a step"
SIZES = (784, 128, 64, 10)
EPOCHS = 6
DISTRIBUTIONS = {EAGER: "torch", COMPILED: "torch", JAX: "jax"}
Epochs = tuple[list[float], Callable[[Any], Any]]  # seconds of each, and predict

ABOUT_ALL = (
    "Seconds of an epoch of the network 784-128-64-10 with ReLU on Fashion-MNIST, Adam at 0.001, after the first, which"
    " compiles; whole fits of networks that are meant to be good; first fits on small tables, with all imports."
)
ABOUT = {
    "perceptron-64": "an epoch of 60,000 rows in batches of 64",
    "perceptron-256": "the same in batches of 256",
    "perceptron-64-dropout": "batches of 64, a dropout of 0.2 after both hidden layers",
    "iris-ever": "defaults on iris, from the first import to the end of the fit, nothing compiled on the disk",
    "iris-in-a-process": "the same with Python's files compiled and read before",
    "tumours-ever": "defaults on 569 rows and 30 columns",
    "tumours-in-a-process": "the same with Python's files compiled and read before",
    "accuracy-fashion-100": "one hidden layer of 100; all 60,000 rows, defaults",
    "accuracy-fashion-256-128-100": "three hidden layers, defaults",
    "accuracy-mnist-128-64": "784-128-64-10, one cycle of 20 epochs",
    "accuracy-mnist-128-64-dropout": "the same with a dropout of 0.1 and batch norm, one cycle of 60 epochs",
    "drift-across-cores": "the largest difference of predicted probabilities between one core and all of them",
}


def fashion() -> tuple[Any, Any, Any, Any]:
    return data("fashion_mnist")


def data(name: str) -> tuple[Any, Any, Any, Any]:
    parts = [part(name, kind) for kind in ("train", "t10k") for part in (images, labels)]
    return parts[0], parts[1].astype(np.int64), parts[2], parts[3].astype(np.int64)


def ours(X: Any, y: Any, size: int, dropout: float) -> Epochs:
    from heldout import MLPClassifier

    model = MLPClassifier(
        hidden_layer_sizes=SIZES[1:3], batch_size=size, max_iter=EPOCHS, early_stopping=False, alpha=0.0, tol=0.0,
        dropout=dropout, standardise=False,
    ).fit(X, y)  # fmt: skip
    return model.history_.seconds.tolist(), model.predict


def torch(X: Any, y: Any, size: int, dropout: float, compiled: bool = False) -> Epochs:
    import torch as t

    t.set_num_threads(os.cpu_count() or 1)
    t.manual_seed(0)
    layers: list[Any] = []
    for before, after in itertools.pairwise(SIZES[:-1]):
        layers += [t.nn.Linear(before, after), t.nn.ReLU()] + ([t.nn.Dropout(dropout)] if dropout else [])
    module = t.nn.Sequential(*layers, t.nn.Linear(*SIZES[2:]))
    run = t.compile(module) if compiled else module
    optimizer, loss = t.optim.Adam(module.parameters(), 1e-3), t.nn.CrossEntropyLoss()
    rows, codes, seconds = t.from_numpy(X), t.from_numpy(y), []
    for _ in range(EPOCHS):
        start = time.perf_counter()
        order = t.randperm(len(rows))
        for first in range(0, len(rows) - size + 1, size):  # one shape, for torch.compile
            taken = order[first : first + size]
            optimizer.zero_grad(set_to_none=True)
            loss(run(rows[taken]), codes[taken]).backward()
            optimizer.step()
        seconds.append(time.perf_counter() - start)
    module.eval()

    def predict(V: Any) -> Any:
        with t.no_grad():
            return module(t.from_numpy(V)).argmax(1).numpy()

    return seconds, predict


def sklearn(X: Any, y: Any, size: int, dropout: float) -> Epochs:
    import warnings

    from sklearn.neural_network import MLPClassifier

    warnings.simplefilter("ignore")
    model = MLPClassifier(SIZES[1:3], batch_size=size, max_iter=1, warm_start=True, alpha=0.0, random_state=0)
    seconds = []
    for _ in range(EPOCHS):
        start = time.perf_counter()
        model.fit(X, y)
        seconds.append(time.perf_counter() - start)
    return seconds, model.predict


def plain_jax(X: Any, y: Any, size: int, dropout: float) -> Epochs:
    import jax
    import jax.numpy as jnp
    import optax

    keys = jax.random.split(jax.random.key(0), 3)
    params = [
        (jax.random.normal(key, shape) * (2 / shape[0]) ** 0.5, jnp.zeros(shape[1]))
        for key, shape in zip(keys, itertools.pairwise(SIZES), strict=True)
    ]
    optimizer = optax.adam(1e-3)

    def forward(params: Any, x: Any) -> Any:
        for weights, bias in params[:-1]:
            x = jax.nn.relu(x @ weights + bias)
        return x @ params[-1][0] + params[-1][1]

    @jax.jit
    def step(params: Any, state: Any, x: Any, codes: Any) -> Any:
        def loss(params: Any) -> Any:
            return optax.softmax_cross_entropy_with_integer_labels(forward(params, x), codes).mean()

        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    state, rng, seconds = optimizer.init(params), np.random.default_rng(0), []
    for _ in range(EPOCHS):
        start = time.perf_counter()
        order = rng.permutation(len(X))
        for first in range(0, len(X) - size + 1, size):
            taken = order[first : first + size]
            params, state = step(params, state, X[taken], y[taken])
        jax.block_until_ready(params)
        seconds.append(time.perf_counter() - start)
    return seconds, lambda V: np.asarray(forward(params, V).argmax(1))


RUNS: dict[str, Callable[..., Epochs]] = {
    HELDOUT: ours,
    EAGER: torch,
    COMPILED: functools.partial(torch, compiled=True),
    SKLEARN: sklearn,
    JAX: plain_jax,
}
PERCEPTRONS: dict[str, tuple[int, float, tuple[str, ...]]] = {
    "perceptron-64": (64, 0.0, (HELDOUT, EAGER, COMPILED, SKLEARN, JAX)),
    "perceptron-256": (256, 0.0, (HELDOUT, EAGER, COMPILED, SKLEARN, JAX)),
    "perceptron-64-dropout": (64, 0.2, (HELDOUT, EAGER)),
}
CYCLE = {"learning_rate": "one_cycle", "early_stopping": False, "n_iter_no_change": 1000, "batch_size": 128}
ACCURACIES: dict[str, tuple[str, dict[str, Any]]] = {
    "accuracy-fashion-100": ("fashion_mnist", {}),
    "accuracy-fashion-256-128-100": ("fashion_mnist", {"hidden_layer_sizes": (256, 128, 100)}),
    "accuracy-mnist-128-64": (
        "mnist",
        {"hidden_layer_sizes": (128, 64), "max_iter": 20, "learning_rate_init": 3e-3, **CYCLE},
    ),
    "accuracy-mnist-128-64-dropout": (
        "mnist",
        {
            "hidden_layer_sizes": (128, 64),
            "max_iter": 60,
            "learning_rate_init": 5e-3,
            "dropout": 0.1,
            "batch_norm": True,
            **CYCLE,
        },
    ),
}
TABLES = {"iris": "load_iris", "tumours": "load_breast_cancer"}
FIRST_FIT = """
from sklearn.datasets import {load} as load
from {module} import MLPClassifier
X, y = load(return_X_y=True)
model = MLPClassifier().fit(X, y)
print(f"training accuracy {{model.score(X, y):.3f}}")
"""


def epochs(case: str, name: str) -> str:
    size, dropout, _ = PERCEPTRONS[case]
    X, y, V, truth = fashion()
    before = peak_mib()
    seconds, predict = RUNS[name](X, y, size, dropout)
    accuracy = float((predict(V) == truth).mean())
    score = f"first epoch {seconds[0]:.2f} s, accuracy after {EPOCHS} {accuracy:.4f}"
    return line(float(np.median(seconds[1:])), peak_mib() - before, score)


def accuracy(case: str) -> str:
    from heldout import MLPClassifier

    name, parameters = ACCURACIES[case]
    X, y, V, truth = data(name)
    X, V = ((rows * 255).round().astype(np.uint8) for rows in (X, V))
    before, start = peak_mib(), time.perf_counter()
    model = MLPClassifier(**parameters).fit(X, y)
    seconds = time.perf_counter() - start
    right = model.score(V, truth)
    return line(seconds, peak_mib() - before, f"test accuracy {right:.4f} after {len(model.history_)} epochs")


def drift() -> str:
    """Probabilities after one and five epochs, on one core and on all."""
    code = (
        "import os, sys, numpy as np\n"
        "cores = int(sys.argv[1])\n"
        "os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from neural import fashion\n"
        "from heldout import MLPClassifier\n"
        "X, y, V, _ = fashion()\n"
        "found = [MLPClassifier(max_iter=n, early_stopping=False).fit(X, y).predict_proba(V) for n in (1, 5)]\n"
        "np.save(sys.argv[2], found)\n"
    )
    start, found = time.perf_counter(), []
    for cores in (1, os.cpu_count() or 1):
        subprocess.run([sys.executable, "-c", code, str(cores), f"{cores}.npy"], check=True)
        found.append(np.load(f"{cores}.npy"))
    one, five = np.abs(found[0] - found[1]).max(axis=(1, 2))
    other = (found[0][1].argmax(1) != found[1][1].argmax(1)).mean()
    score = f"probabilities differ by {one:.1e} after 1 epoch, {five:.1e} after 5, {other:.2%} of the answers"
    return line(time.perf_counter() - start, 0.0, score)


def work(case: str, name: str) -> str:
    if case in PERCEPTRONS:
        return epochs(case, name)
    return drift() if case.startswith("drift") else accuracy(case)


def cases() -> list[Case]:
    def system(case: str, name: str) -> System:
        table, _, first = case.partition("-")

        def words(folder: Path) -> Sequence[str]:
            if table in TABLES:
                module = HELDOUT if name == HELDOUT else "sklearn.neural_network"
                return [sys.executable, "-c", FIRST_FIT.format(load=TABLES[table], module=module)]
            return [sys.executable, str(Path(__file__).resolve()), "--work", f"{case}/{name}"]

        return System(name, version(DISTRIBUTIONS.get(name, name)), words, fresh_caches=first == "ever")

    systems = {case: row[2] for case, row in PERCEPTRONS.items()}
    systems |= {f"{table}-{first}": (HELDOUT, SKLEARN) for table in TABLES for first in ("ever", "in-a-process")}
    systems |= dict.fromkeys([*ACCURACIES, "drift-across-cores"], (HELDOUT,))
    return [
        Case(
            case,
            about,
            tuple(system(case, name) for name in systems[case]),
            repeats=1 if case.startswith(("accuracy", "drift")) else 3,
            in_quick=case.startswith("perceptron"),
            warm_up=case.endswith("in-a-process"),
        )
        for case, about in ABOUT.items()
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        case, _, name = sys.argv[2].partition("/")
        print(work(case, name))
    else:
        importlib.import_module("torch")  # better now than after an hour
        main("neural", ABOUT_ALL, cases())
