"""Every class that a model file may hold: its round trip, and thousands of mutated files, behind the hash as well."""

from __future__ import annotations

import copy
import functools
import importlib
import json
import pickle
import random
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import jax
import numpy as np
import pytest

from heldout import persist
from heldout.errors import HeldoutError, ModelFileError
from heldout.neural.layers import BatchNorm, Conv2D, Dense, Flatten, RandomShift, ReLU, Sequential
from heldout.neural.layers.stored import as_numpy
from heldout.panel import LEARNERS
from heldout.persist import CLASSES, envelope
from heldout.persist.classes import resolve
from test_persist import join_file, put_together, split_file, take_apart

# Every class of the table -------------------------------------------------------------------------------------


@functools.cache
def table() -> Any:
    from heldout.data.read import read

    rng = np.random.default_rng(0)
    n = 60
    size = rng.normal(100, 20, n).round(2)
    words = ["sunny", "quiet", "near the river", "old", "needs work", "two baths"]
    town = rng.choice(["Aix", "Köln", "Rome", "Bath"], n)
    columns = {
        "size": [None if i % 9 == 0 else value for i, value in enumerate(size.tolist())],
        "town": town.tolist(),
        "garden": (rng.random(n) < 0.5).tolist(),
        "built": [datetime(1950 + i % 60, 1 + i % 12, 1 + i % 28) for i in range(n)],
        "notes": [", ".join(rng.choice(words, 3)) + f" {i}" for i in range(n)],
        "price": (size * 3 + (town == "Rome") * 50 + rng.normal(size=n)).tolist(),
        "sold": np.where(size + rng.normal(0, 10, n) > 100, "yes", "no").tolist(),
    }
    return read(columns, kinds={"town": "category", "notes": "text"})


@functools.cache
def problem(target: str) -> Any:
    from heldout.problem import Problem

    other = {"price": "sold", "sold": "price"}[target]
    return Problem.state(table(), target, drop=[other])


@functools.cache
def encoder(target: str) -> Any:
    from heldout.data.encode import Encoder

    stated = problem(target)
    return Encoder(components=3).fit(table().select(stated.features), stated.y(table()))


def block(kind: str) -> Any:
    return next(item for item in encoder("price").blocks_ if type(item).__name__ == kind)


MORE: dict[str, dict[str, Any]] = {
    "RandomForestRegressor": {"n_estimators": 3, "oob_score": True, "leaf_members": True},
    "RandomForestClassifier": {"n_estimators": 3, "voting": "hard"},
    **{
        f"{kind}{task}": {"max_iter": 2} | ({"hidden_layer_sizes": 3, "batch_norm": True} if kind == "MLP" else {})
        for kind in ("MLP", "Neural")
        for task in ("Classifier", "Regressor")
    },
    **{
        f"ConvNet{task}": {
            "network": Sequential(Conv2D(3, 3, padding="same"), BatchNorm(), ReLU(), Flatten(), Dense()),
            "augment": [RandomShift((0, 1))],
            "mixup": 0.2,
            "freeze": ["conv2d_1"],
            "image_shape": (1, 17),
            "max_iter": 2,
        }
        for task in ("Classifier", "Regressor")
    },
    **{
        f"Recurrent{task}": {"cell": cell, "units": 2, "max_iter": 2, "bidirectional": False, "dropout": 0.1}
        for task, cell in (("Classifier", "gru"), ("Regressor", "lstm"))
    },
    **{
        f"Transformer{task}": {"width": 4, "heads": 2, "hidden": 4, "max_iter": 2, "dropout": 0.1}
        for task in ("Classifier", "Regressor")
    },
    **{
        f"{kind}{task}": {"n_estimators": 3}
        for kind in ("RandomSubspace", "Bagging")
        for task in ("Classifier", "Regressor")
    },
}


@functools.cache
def learner(name: str) -> Any:
    target = "price" if "regression" in LEARNERS[name].tasks else "sold"
    texts = name in ("BagOfWordsClassifier", "BagOfWordsRegressor", "RecurrentClassifier")
    X = table().frame["notes"] if texts else encoder(target).transform(table().select(problem(target).features))
    return resolve(name)(**MORE.get(name, {})).fit(X, problem(target).y(table()))


@functools.cache
def model(name: str, target: str) -> Any:
    from heldout.model import Model

    return Model(problem(target), encoder(target), learner(name), name)


@functools.cache
def split() -> Any:
    from heldout.split import train_validation_test_split

    return train_validation_test_split(table(), problem("sold"))


@functools.cache
def checkpoint() -> Any:
    from heldout.neural.checkpoint import Checkpoint
    from heldout.neural.history import Epoch, History

    history = History.of([Epoch(1, 0.5, 0.6, 0.7, 0.8, 0.1, 1.0)], "accuracy", 1, "")
    numbers = {"best_loss": 0.6, "best_epoch": 1, "waited": 0, "lowered": 1.0, "waited_at_plateau": 0}
    return Checkpoint("digest", numbers, history, [np.ones((2, 3), np.float32)], [np.zeros(3)])


def tokens(kind: str) -> Any:
    return resolve(kind).learn(["the cat, the dog"])


@functools.cache
def language_model(kind: str) -> Any:
    """With the weights that it would begin with."""
    small = {"layers": 1, "heads": 1, "width": 2} if kind.startswith("Transformer") else {"units": 2}
    made = resolve(kind)(context=3, **small)
    made.tokens_, made.history_ = tokens("Words"), checkpoint().history
    made.network_ = made._architecture(made.tokens_.size)
    made.params_, made.state_ = as_numpy(made.network_.init(jax.random.key(0), (3,)))
    made.n_steps_, made.validation_loss_, made.bigram_loss_ = 10, 1.0, 2.0
    return made


@functools.cache
def windows() -> tuple[Any, Any]:
    from heldout.data.encode import Encoder
    from heldout.data.read import read

    dated = read({"day": [float(i) for i in range(30)], "load": [float(i % 7) for i in range(30)]})
    made = resolve("Windows").of(dated, "load", window=3, time="day")
    return made, Encoder().fit(made.learning(dated))


EXAMPLES: dict[str, Callable[[], Any]] = {
    "Model": lambda: model("SoftmaxClassifier", "sold"),
    "Problem": lambda: problem("price"),
    "Encoder": lambda: encoder("price"),
    "Numbers": lambda: encoder("price").numbers_,
    "Levels": lambda: block("Levels"),
    "Dates": lambda: block("Dates"),
    "Strings": lambda: block("Strings"),
    "Part": lambda: split().train,
    "Split": split,
    "BaselineRegressor": lambda: learner("BaselineRegressor"),
    "BaselineClassifier": lambda: learner("BaselineClassifier"),
    "LinearRegression": lambda: learner("LinearRegression"),
    "MaximumLikelihood": lambda: learner("MaximumLikelihood"),
    "Ridge": lambda: learner("Ridge"),
    "Lasso": lambda: learner("Lasso"),
    "ElasticNet": lambda: learner("ElasticNet"),
    "PolynomialRegression": lambda: learner("PolynomialRegression"),
    "MarginClassifier": lambda: learner("MarginClassifier"),
    "SoftmaxClassifier": lambda: learner("SoftmaxClassifier"),
    "BagOfWordsClassifier": lambda: learner("BagOfWordsClassifier"),
    "BagOfWordsRegressor": lambda: learner("BagOfWordsRegressor"),
    "Bags": lambda: learner("BagOfWordsClassifier").bags_,
    "OneVsOneClassifier": lambda: learner("OneVsOneClassifier"),
    "OneVsRestClassifier": lambda: learner("OneVsRestClassifier"),
    "DecisionTreeRegressor": lambda: learner("DecisionTreeRegressor"),
    "DecisionTreeClassifier": lambda: learner("DecisionTreeClassifier"),
    "RandomForestRegressor": lambda: learner("RandomForestRegressor"),
    "RandomForestClassifier": lambda: learner("RandomForestClassifier"),
    "RandomSubspaceRegressor": lambda: learner("RandomSubspaceRegressor"),
    "RandomSubspaceClassifier": lambda: learner("RandomSubspaceClassifier"),
    "BaggingRegressor": lambda: learner("BaggingRegressor"),
    "BaggingClassifier": lambda: learner("BaggingClassifier"),
    "NearestNeighborsRegressor": lambda: learner("NearestNeighborsRegressor"),
    "NearestNeighborsClassifier": lambda: learner("NearestNeighborsClassifier"),
    "MLPRegressor": lambda: learner("MLPRegressor"),
    "MLPClassifier": lambda: learner("MLPClassifier"),
    "NeuralRegressor": lambda: learner("NeuralRegressor"),
    "NeuralClassifier": lambda: learner("NeuralClassifier"),
    "RecurrentRegressor": lambda: learner("RecurrentRegressor"),
    "RecurrentClassifier": lambda: learner("RecurrentClassifier"),
    "TransformerRegressor": lambda: learner("TransformerRegressor"),
    "TransformerClassifier": lambda: learner("TransformerClassifier"),
    "ConvNetRegressor": lambda: learner("ConvNetRegressor"),
    "ConvNetClassifier": lambda: learner("ConvNetClassifier"),
    "Checkpoint": checkpoint,
    **{kind: functools.partial(tokens, kind) for kind in ("Characters", "Bytes", "Words")},
    "BytePairs": lambda: resolve("BytePairs")(("t h", "th e")),
    "TransformerLanguageModel": lambda: language_model("TransformerLanguageModel"),
    "RecurrentLanguageModel": lambda: language_model("RecurrentLanguageModel"),
    "Temperature": lambda: resolve("Temperature")(1.5),
    "Isotonic": lambda: resolve("Isotonic").fit(
        np.linspace(0.1, 0.9, 12)[:, None] * [-1, 1] + [1, 0], np.arange(12) % 2
    ),
    "Conformal": lambda: resolve("Conformal").of(np.linspace(2.0, 0.5, 7), np.arange(7) // 2),
    "Series": lambda: windows()[1].series_,
    "Windows": lambda: windows()[0],
    "Cases": lambda: resolve("Cases").of(table(), "price", series="town"),
    "PersistenceRegressor": lambda: learner("PersistenceRegressor"),
    "SequenceForecaster": lambda: resolve("SequenceForecaster")(window=3).fit(np.arange(40.0) % 7),
}


def use(obj: Any) -> Any:
    """What the object is for: predictions of a model or learner, the matrix of an encoder, a problem's paragraph."""
    features = table().select(["size", "town", "garden", "built", "notes"])
    if hasattr(obj, "predict_table"):
        return obj.predict_table(features)[0].to_dict(as_series=False)
    if hasattr(obj, "predict_rolling"):
        return obj.predict()
    if getattr(obj, "reads_texts_", False):
        return getattr(obj, "predict_proba", obj.predict)(features.frame["notes"])
    if hasattr(obj, "terms"):
        return obj(["sunny, old", "é"]).toarray()
    if hasattr(obj, "predict"):
        if obj.n_features_in_ > 1000:  # a trivial answer may say that it was made for any number of columns
            return None
        X = np.random.default_rng(1).normal(size=(7, obj.n_features_in_))
        answers = [obj.predict(X)]
        return [*answers, obj.predict_proba(X)] if hasattr(obj, "predict_proba") else answers
    if hasattr(obj, "transform"):
        return obj.transform(features)
    if hasattr(obj, "perplexity"):
        return obj.loss("the dog, the rat")
    if hasattr(obj, "threshold"):
        return obj.threshold(0.5)
    if hasattr(obj, "merges"):  # encoding needs the extra
        return obj.decode(range(obj.size))
    if hasattr(obj, "encode"):
        return obj.encode("the dog, é\n")
    return repr(obj)


def test_every_class_of_the_table_has_an_example() -> None:
    assert EXAMPLES.keys() == CLASSES.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_round_trip(name: str) -> None:
    obj = EXAMPLES[name]()
    data = persist.dumps(obj)
    loaded = persist.loads(data, expected=type(obj))
    assert type(loaded) is type(obj)
    assert persist.dumps(loaded) == data
    assert persist.dumps(obj) == data
    np.testing.assert_equal(use(loaded), use(obj))


# Mutated files ------------------------------------------------------------------------------------------------

EXTREMES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 7, 2**31, -(2**31), 2**63 - 1, -(2**63), 2**64 - 1, 0.0, -0.5, 1e-320, 1e308,
    "", "x", "0", "nan", "\x00", "\u202e", "price", [], [[]], [None], ["a", "a"], {}, {"a": 1}, {"$array": "0"},
    {"$array": "9"}, {"$object": "Encoder", "state": {}}, {"$dict": {"$x": 1}}, [0] * 50, "x" * 500,
]  # fmt: skip
NAMES = ["os:system", "builtins.eval", "pickle.loads", "heldout.cli:main", "Model", "Encoder", "LinearRegression", ""]


def flip_bits(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def delete_piece(data: bytes, rng: random.Random) -> bytes:
    start, end = sorted(rng.choices(range(len(data)), k=2))
    return data[:start] + data[end + 1 :]


def double_piece(data: bytes, rng: random.Random) -> bytes:
    start, end = sorted(rng.choices(range(len(data)), k=2))
    return data[: end + 1] + data[start:]


def swap_pieces(data: bytes, rng: random.Random) -> bytes:
    a, b, c = sorted(rng.choices(range(len(data)), k=3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def noise(data: bytes, rng: random.Random) -> bytes:
    return rng.randbytes(rng.randrange(300))


BYTES = [flip_bits, flip_bits, truncate, delete_piece, double_piece, swap_pieces, noise]


def nodes(tree: Any) -> list[tuple[Any, Any]]:
    """Every place in a JSON tree, as (container, key)."""
    found, level = [], [tree]
    while level:
        keys = [(node, key) for node in level for key in (node if isinstance(node, dict) else range(len(node)))]
        found += keys
        level = [node[key] for node, key in keys if isinstance(node[key], dict | list)]
    return found


def random_json(rng: random.Random, depth: int = 3) -> Any:
    if depth == 0 or rng.random() < 0.5:
        return copy.deepcopy(rng.choice(EXTREMES))
    if rng.random() < 0.5:
        return [random_json(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {rng.choice(["a", "coef", "$array", "$object", "state"]): random_json(rng, depth - 1) for _ in range(3)}


def change_tree(tree: Any, arrays: Any, rng: random.Random) -> None:
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        places = nodes(tree)
        if not places:
            return
        (container, key), (other, other_key) = rng.choice(places), rng.choice(places)
        kind = rng.randrange(6)
        if kind == 0:
            container[key] = random_json(rng)
        elif kind == 1:
            container[key] = copy.deepcopy(rng.choice(EXTREMES))
        elif kind == 2:
            del container[key]
        elif kind == 3:
            container[key] = copy.deepcopy(other[other_key])
        elif kind == 4 and isinstance(container, dict):
            container[rng.choice(["a", "$array", "$object", "state", "$dict", "coef"])] = container.pop(key)
        elif isinstance(container[key], int | float):
            container[key] = container[key] * rng.choice([-1, 2, 1000]) + rng.choice([0, 1])
        else:
            container[key] = rng.choice(NAMES)


def change_class(tree: Any, arrays: Any, rng: random.Random) -> None:
    places = [(container, key) for container, key in nodes(tree) if key == "$object"]
    container, key = rng.choice(places)
    container[key] = rng.choice([*NAMES, *CLASSES])


def change_arrays(tree: Any, arrays: Any, rng: random.Random) -> None:
    name = rng.choice(list(arrays))
    array, other = arrays[name], rng.choice(list(arrays))
    kind = rng.randrange(8)
    if kind == 0:
        arrays[name], arrays[other] = arrays[other], array
    elif kind == 1:
        arrays[name] = array.astype(rng.choice(list(envelope.DTYPES.values())))
    elif kind == 2:
        arrays[name] = array.reshape(
            rng.choice([(-1,), (1, *array.shape), (*array.shape, 1), array.shape[::-1]])
        ).copy()
    elif kind == 3 and array.size:
        extreme = rng.choice([np.nan, np.inf, -np.inf, 1e308, -1.0, 2.0**62])
        with np.errstate(all="ignore"):
            array.reshape(-1)[rng.randrange(array.size)] = np.array(extreme).astype(array.dtype)
    elif kind == 4:
        del arrays[name]
    elif kind == 5:
        arrays[rng.choice(["9", "x", "00", "-1", ""])] = array.copy()
    elif kind == 6:
        arrays[name] = array.repeat(rng.choice([0, 2]), axis=0) if array.ndim else np.zeros((0, 5))
    else:
        arrays[name] = np.zeros(rng.choice([(0,), (0, 10**6), (1,) * 8, (3, 3), ()]))


def keep_hash(data: bytes, rng: random.Random) -> bytes:
    return rng.choice(BYTES)(data, rng)


def hash_again(data: bytes, rng: random.Random) -> bytes:
    """Damage to the JSON or the arrays as bytes, under a hash that is right."""
    header, tensors = split_file(data)
    if not tensors or rng.random() < 0.5:
        return join_file(rng.choice(BYTES)(header, rng), tensors)
    return join_file(header, rng.choice(BYTES)(tensors, rng))


def rebuild(data: bytes, rng: random.Random) -> bytes:
    """A meaning changed, and a file made of it as heldout would."""
    tree, arrays = take_apart(data)
    changes = [change_tree, change_tree, change_class, *([change_arrays] * 3 if arrays else [])]
    rng.choice(changes)(tree, arrays, rng)
    return put_together(tree, {name: np.ascontiguousarray(a) if a.ndim else a for name, a in arrays.items()})


def relist(data: bytes, rng: random.Random) -> bytes:
    """A meaning changed in safetensors' own list of the arrays."""
    header, tensors = split_file(data)
    length = int.from_bytes(tensors[:8], "little")
    listed = json.loads(tensors[8 : 8 + length])
    change_tree(listed, {}, rng)
    text = json.dumps(listed).encode()
    return join_file(header, len(text).to_bytes(8, "little") + text + tensors[8 + length :])


def nonsense(data: bytes, rng: random.Random) -> bytes:
    return put_together(rng.choice([{"heldout": "0.1.0", "object": random_json(rng)}, random_json(rng)]), {})


MUTATIONS = [keep_hash, hash_again, hash_again, rebuild, rebuild, rebuild, rebuild, relist, nonsense]
FUZZED = [
    "Model",
    "LinearRegression",
    "SoftmaxClassifier",
    "BaselineRegressor",
    "BaselineClassifier",
    "Encoder",
    "Problem",
]


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No pickle is read, and no module is imported but those of the table."""
    allowed = {place.partition(":")[0] for place in CLASSES.values()}
    plain_import = importlib.import_module

    def import_module(name: str, package: str | None = None) -> Any:
        assert name in allowed, name
        return plain_import(name, package)

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("pickle was touched")

    monkeypatch.setattr(importlib, "import_module", import_module)
    for name in ("load", "loads", "Unpickler", "_Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    before = set(sys.modules)
    yield
    assert set(sys.modules) - before == set()


def outcome(data: bytes) -> str:
    """What became of a file: refused (with how), or loaded and used."""
    try:
        obj = persist.loads(data, source="my.model")
    except ModelFileError as error:
        assert str(error).startswith("my.model ")
        return "refused as unfit" if "do not fit together" in str(error) else "refused"
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a huge coefficient may overflow
        try:
            use(obj)
        except HeldoutError:  # another column asked for, say: said in words
            return "used, with a clear error"
        except ValueError as error:  # a coefficient of 1e308 may overflow, and the overflow be noticed
            assert "finite" in str(error) or "infinity" in str(error)
            return "used, with a clear error"
    return "used"


def fuzz(files: int, seed: int) -> Counter[str]:
    originals = [persist.dumps(EXAMPLES[name]()) for name in FUZZED]
    rng = random.Random(seed)
    counts: Counter[str] = Counter()
    for number in range(files):
        mutation = MUTATIONS[number % len(MUTATIONS)]
        original = originals[number // len(MUTATIONS) % len(originals)]
        data = mutation(original, rng)
        result = outcome(data)
        if mutation is keep_hash:
            assert result == "refused" or data == original
        counts[result] += 1
    return counts


@pytest.fixture
def warm() -> None:
    """Everything that using the examples imports is imported, and what a mutated problem may ask for beside it."""
    importlib.import_module("heldout.split")
    for name in FUZZED:
        use(persist.loads(persist.dumps(EXAMPLES[name]())))


@pytest.mark.usefixtures("warm", "guarded")
def test_mutated_files_are_refused_or_work() -> None:
    counts = fuzz(5_000, seed=1)
    assert counts.total() == 5_000
    assert counts["refused"] > 4_000
    assert counts["used"] > 200  # the checks behind the hash were reached, and let a sound model pass
