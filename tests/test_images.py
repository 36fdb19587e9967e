"""Images: read from folders, files and arrays; in a study; with oracles from Pillow, NumPy and the bytes themselves."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import re
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from heldout import ConvNetClassifier, MLPClassifier, Model, Study, load, persist, read
from heldout.cli import main
from heldout.data.images import pixels
from heldout.errors import InputError, ModelFileError, SealError, WorkError
from heldout.gallery import gallery
from heldout.neural.convnets import plain_convnet
from heldout.occlusion import occlusion_sensitivity
from heldout.problem import Problem
from heldout.split import train_validation_test_split

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (12, 9, 7, 3), dtype=np.uint8)  # twelve images, 9 high and 7 wide


def digits(n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Eights, threes and ones of scikit-learn's digits as bytes, (n, 8, 8), and their names."""
    X, y = load_digits(return_X_y=True)
    rows = np.flatnonzero(np.isin(y, (1, 3, 8)))[:n]
    return X[rows].reshape(-1, 8, 8).astype(np.uint8), np.array(["one", "three", "eight"])[
        np.searchsorted([1, 3, 8], y[rows])
    ]


def folder(root: Path, images: np.ndarray, labels: Any, ending: str = "png") -> Path:
    """A folder with a subfolder a class."""
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = root / str(label) / f"{i:03}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return root


def idx(array: np.ndarray) -> bytes:
    kind = {"uint8": 8, "int8": 9, "int32": 12, "float32": 13}[array.dtype.name]
    head = bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


# Folders ---------------------------------------------------------------------------------------------------


def test_a_folder_gives_the_pixels_that_were_written(tmp_path: Path) -> None:
    labels = ["größe ✓", "none", "10"] * 4  # names that a table would take for a missing value, or a number
    table = read(folder(tmp_path / "in", COLOURS, labels))
    order = np.argsort(labels, kind="stable")
    assert np.array_equal(table.pixels, COLOURS[order])
    assert table.frame["label"].to_list() == sorted(labels)
    assert table.frame["file"].to_list() == [f"{labels[i]}/{i:03}.png" for i in order]
    assert table.notices == () and table.image is not None and table.image.parse["shape"] == [9, 7, 3]
    grey = read(tmp_path / "in", grey=True)
    expected = [np.asarray(Image.fromarray(image).convert("L"))[..., None] for image in COLOURS[order]]
    assert np.array_equal(grey.pixels, expected)
    small = read(tmp_path / "in", size="4x5")  # width and height
    expected = [
        np.asarray(Image.fromarray(image).resize((4, 5), Image.Resampling.BILINEAR)) for image in COLOURS[order]
    ]
    assert np.array_equal(small.pixels, expected)
    assert small.notices == ("in: images of 7 x 9 pixels were resized to 4 x 5 (--size).",)
    assert small.frame["image"].to_list() == table.frame["image"].to_list()  # an image is known in whatever size


def _saved(path: Path, image: Image.Image, **options: Any) -> np.ndarray:
    path.parent.mkdir()
    image.save(path, **options)
    return np.asarray(read(path).pixels)[0]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16", "CMYK", "turned"])
def test_every_mode_becomes_bytes_of_grey_or_colour(mode: str, tmp_path: Path) -> None:
    colour, path = COLOURS[0], tmp_path / "a" / "image.png"
    plain = Image.fromarray(colour)
    if mode == "RGBA":
        alpha = RNG.integers(0, 256, (9, 7, 1), dtype=np.uint8)
        read_back = _saved(path, Image.fromarray(np.concatenate([colour, alpha], axis=2)))
        share = alpha / 255
        assert np.abs(read_back - (share * colour + (1 - share) * 255)).max() <= 1  # on white
    elif mode == "LA":
        alpha = np.where(RNG.random((9, 7, 1)) < 0.5, 0, 255).astype(np.uint8)
        read_back = _saved(path, Image.fromarray(np.concatenate([colour[..., :1], alpha], axis=2), "LA"))
        assert np.array_equal(read_back, np.where(alpha == 0, 255, colour[..., :1]))
    elif mode == "I;16":
        deep = RNG.integers(0, 65536, (9, 7), dtype=np.uint16)
        assert np.array_equal(_saved(path, Image.fromarray(deep))[..., 0], np.rint(deep / 257))
    elif mode == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6  # to be shown turned by a quarter, clockwise
        assert np.array_equal(_saved(path, plain, exif=exif), np.rot90(colour, -1))
    else:
        image = plain.convert(mode)
        read_back = _saved(path.with_suffix(".tif" if mode == "CMYK" else ".png"), image)
        grey = mode in ("L", "1")
        expected = np.asarray(image.convert("L" if grey else "RGB"))
        assert np.array_equal(read_back, expected[..., None] if grey else expected)


def _text(path: Path) -> None:
    path.write_text("no image")


def _cut(path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(buffer, "PNG")
    path.write_bytes(buffer.getvalue()[:6000])


def _huge(path: Path) -> None:
    Image.new("1", (90, 90)).save(path)


DAMAGES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a text": ("cat/x.png", _text, "cat/x.png is not an image"),
    "nothing in it": ("cat/x.jpg", Path.touch, "cat/x.jpg is not an image"),
    "cut short": ("cat/x.png", _cut, "cat/x.png is damaged or cut short"),
    "a link to nothing": ("cat/x.png", lambda path: path.symlink_to("nowhere"), "cat/x.png is a link to nothing"),
    "a pipe": ("cat/x.png", os.mkfifo, "cat/x.png is not a file"),
    "an empty class": ("bird", Path.mkdir, "bird/ is empty"),
    "beside the classes": ("x.png", lambda path: Image.new("L", (7, 9)).save(path), "x.png lies in no class folder"),
    "too many pixels": ("cat/x.png", _huge, "cat/x.png has more pixels than Pillow's limit of 5,000"),
    "way too many pixels": (
        "cat/x.png",
        lambda path: Image.new("1", (9000, 9000)).save(path),
        "cat/x.png has more pixels than Pillow's limit",
    ),
    "fractions": (
        "cat/x.tif",
        lambda path: Image.fromarray(np.ones((9, 7), np.float32)).save(path),
        "cat/x.tif holds floating-point pixels",
    ),
    "an unknown format": ("cat/x.eps", lambda path: Image.new("L", (7, 9)).save(path), "cat/x.eps is not an image"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_what_is_no_image_is_refused_by_name_or_left_out(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, damage, reason = DAMAGES[case]
    root = folder(tmp_path / "in", COLOURS[:4], ["cat", "dog"] * 2)
    damage(root / name)
    (root / ".DS_Store").touch()  # never an image, and nobody's fault
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    with pytest.raises(InputError, match=re.escape(f"in: {reason}")) as refused:
        read(root)
    assert "--damaged skip" in str(refused.value)
    table = read(root, damaged="skip")
    assert np.array_equal(table.pixels, COLOURS[[0, 2, 1, 3]])
    assert len(table.notices) == 1 and reason in table.notices[0]


def test_folders_that_are_no_classes(tmp_path: Path) -> None:
    for part in ("train", "test"):
        folder(tmp_path / "parts" / part, COLOURS[:4], ["cat", "dog"] * 2)
    with pytest.raises(InputError, match=r"holds parts \(test, train\), not classes.*heldout run \S*train --test"):
        read(tmp_path / "parts")
    flat = tmp_path / "parts" / "train" / "cat"
    assert read(flat).names == ["file", "image"]
    with pytest.raises(InputError, match="no subfolder for each class"):
        Study(flat).fit()
    with pytest.raises(InputError, match="one class only"):
        Study(folder(tmp_path / "one", COLOURS, ["cat"] * 12)).fit()
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="directory without images"):
        read(tmp_path / "empty")
    mixed = folder(tmp_path / "mixed", COLOURS[:5], "abcde")
    Image.new("RGB", (200, 100)).save(mixed / "a" / "wide.jpg")
    table = read(mixed)
    assert table.pixels is not None and table.pixels.shape == (6, 9, 7, 3)  # the medians
    assert table.notices == ("mixed: images of 7 x 9 pixels and of 1 other size were resized to 7 x 9 (--size).",)
    Image.new("RGB", (300, 150)).save(tmp_path / "large.png")
    large = read(tmp_path / "large.png").pixels
    assert large is not None and large.shape == (1, 32, 64, 3)


@pytest.mark.parametrize("size", ["32x", "0x3", "axb", (1, 2, 3), True, "9999x9"])
def test_sizes_that_are_none(size: Any) -> None:
    with pytest.raises(InputError, match="size"):
        read(COLOURS, size=size)


# Files and arrays ------------------------------------------------------------------------------------------


def test_idx_files_find_their_labels(tmp_path: Path) -> None:
    images, labels = COLOURS[..., 0], np.arange(12, dtype=np.uint8)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx(images)))
    assert read(path).names == ["image"]
    with pytest.raises(InputError, match=r"put their labels beside it \(train-labels-idx1-ubyte.gz or"):
        Study(path).fit()
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(labels))
    table = read(path)
    assert np.array_equal(table.pixels, images[..., None])
    assert table.frame["label"].to_list() == [str(label) for label in labels]
    with pytest.raises(InputError, match="holds labels, not images"):
        read(tmp_path / "train-labels-idx1-ubyte")
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(labels[:5]))
    with pytest.raises(InputError, match="do not match"):
        read(path)
    path.write_bytes(idx(images)[:-1])
    with pytest.raises(InputError, match=r"is cut short: its shape \(12, 9, 7\) takes 756 bytes, and it has 755"):
        read(path)
    deep = COLOURS.astype(np.float32) / 7
    (tmp_path / "deep").write_bytes(idx(deep))
    assert np.array_equal(read(tmp_path / "deep").pixels, deep)


def test_real_idx_files(real_data: Path) -> None:
    table = read(real_data / "fashion_mnist" / "t10k-images-idx3-ubyte.gz")
    assert table.pixels is not None and table.pixels.shape == (10_000, 28, 28, 1)
    assert table.frame["label"].value_counts()["count"].to_list() == [1000] * 10


NPZ_FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no inputs": ({"a": COLOURS}, r"no array of inputs; call it X \(there are: a\)"),
    "no targets": ({"X": COLOURS}, "no array of targets; call it y"),
    "one-hot targets": ({"X": COLOURS, "y": np.eye(12)}, r"y has the shape \(12, 12\), and X has 12 rows"),
    "other lengths": ({"images": COLOURS, "labels": np.arange(11)}, "give one target a row"),
    "objects": ({"X": COLOURS, "y": np.array([None] * 12)}, "Python objects, which are not read"),
    "channels first": ({"X": COLOURS.transpose(0, 3, 1, 2), "y": np.arange(12)}, r"X.transpose\(0, 2, 3, 1\)"),
    "vectors": ({"X": np.arange(12), "y": np.arange(12)}, "rows of numbers, or images"),
    "parts that differ": (
        {"x_train": COLOURS, "y_train": np.arange(12), "x_test": COLOURS[:, :5], "y_test": np.arange(12)},
        "different shapes",
    ),
}


@pytest.mark.parametrize("case", NPZ_FAULTS)
def test_npz_files_that_say_too_little(case: str, tmp_path: Path) -> None:
    arrays, reason = NPZ_FAULTS[case]
    np.savez(tmp_path / "in.npz", **arrays)
    with pytest.raises(InputError, match=reason):
        Study(tmp_path / "in.npz").fit()


def test_npz_files_by_the_names_of_their_arrays(tmp_path: Path) -> None:
    y, who = np.arange(12) / 7, np.array(list("aabbccddeeff"))
    path = tmp_path / "in.npz"
    np.savez_compressed(path, images=COLOURS, labels=y, patient=who)
    table = read(path)
    assert table.names == ["image", "labels", "patient"] and table.source.target == "labels"
    assert np.array_equal(table.pixels, COLOURS) and table.frame["labels"].to_list() == y.tolist()
    np.savez(path, x_train=COLOURS[:7], y_train=y[:7], x_test=COLOURS[7:], y_test=y[7:])
    table = read(path)
    assert table.frame["part"].to_list() == ["train"] * 7 + ["test"] * 5 and table.source.part == "part"
    assert np.array_equal(table.pixels, COLOURS)
    np.savez(path, X=COLOURS[..., 0, 0], y=y)
    assert read(path).names == [*(f"x{i}" for i in range(7 + 2)), "y"] and read(path).pixels is None
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match="damaged NPZ"):
        read(path)


def test_arrays_of_images() -> None:
    table = read({"photo": COLOURS[..., 0], "price": np.arange(12.0)})
    assert table.pixels is not None and table.pixels.shape == (12, 9, 7, 1) and table.pixels.dtype == np.uint8
    assert np.array_equal(read(COLOURS.astype(np.int64)).pixels, COLOURS.astype(np.float32))
    halves = read(COLOURS / 2).pixels
    assert halves is not None and halves.dtype == np.float32 and np.array_equal(halves, COLOURS / np.float32(2))
    resized = read(COLOURS / 2, size=(5, 3)).pixels
    channel = Image.fromarray((COLOURS[4, ..., 1] / 2).astype(np.float32)).resize((5, 3), Image.Resampling.BILINEAR)
    assert resized is not None and np.array_equal(resized[4, ..., 1], np.asarray(channel))
    with pytest.raises(InputError, match="both arrays of images"):
        read({"a": COLOURS, "b": COLOURS})
    with pytest.raises(InputError, match="missing, infinite"):
        read(np.full((2, 3, 3), np.nan))
    beside = {"a": COLOURS, "age": np.arange(12.0), "y": np.arange(12) / 7}
    with pytest.raises(InputError, match="age cannot be kept beside them; drop 'a'"):
        Study(beside, "y", keep=["age"]).fit()
    assert Problem.state(read(beside), "y", drop=["a"]).features == ("age",)
    with pytest.raises(InputError, match="holds images and cannot be read as number"):
        read({"a": COLOURS}, kinds={"a": "number"})
    with pytest.raises(InputError, match="holds no images and cannot be read as image"):
        read({"a": [1, 2]}, kinds={"a": "image"})


# In a study ------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.chdir(tmp_path)

    def command(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(list(words))
        said = capsys.readouterr()
        return int(stop.value.code or 0), said.out, said.err

    return command


def test_a_folder_from_the_command_line_to_predictions(run: Any, tmp_path: Path) -> None:
    images, labels = digits()
    folder(tmp_path / "digits", images[:250] * 15, labels[:250])
    _text(tmp_path / "digits" / "one" / "notes.txt")
    code, _, err = run("run", "digits", "-o", "s", "--learner", "SoftmaxClassifier")
    assert code == 2 and "one/notes.txt is not an image" in err and "Traceback" not in err
    code, out, err = run("run", "digits", "-o", "s", "--learner", "SoftmaxClassifier", "--damaged", "skip")
    assert code == 0, err
    out = " ".join(out.split())
    assert "images of 8 x 8 pixels, grey" in out and "left out as asked: one/notes.txt" in out
    assert "heldout run digits --target label --damaged skip --learner SoftmaxClassifier" in out
    record = json.loads((tmp_path / "s" / "study.json").read_text())
    assert record["final"]["other"][0]["value"] > 0.8  # accuracy
    for i, image in enumerate(images[250:270]):  # the same, larger, in no class
        (tmp_path / "new").mkdir(exist_ok=True)
        Image.fromarray(image * 15).resize((24, 24), Image.Resampling.NEAREST).save(tmp_path / "new" / f"{i:02}.png")
    code, _, err = run("predict", "s", "new")
    assert code == 0 and "images of 24 x 24 pixels were resized to 8 x 8" in err
    made = pl.read_csv(tmp_path / "new-predictions.csv")
    assert made.columns[:2] == ["file", "predicted label"] and made["file"][3] == "03.png"
    assert np.mean(made["predicted label"].to_numpy() == labels[250:270]) > 0.8
    code, _, err = run("predict", "s", "new-predictions.csv")
    assert code == 2 and "holds no images, which are needed" in err


def test_the_report_shows_what_is_confidently_wrong(tmp_path: Path) -> None:
    images, labels = digits()
    study = Study(
        folder(tmp_path / "in", images * 15, labels), learners=["SoftmaxClassifier"], folder=tmp_path / "s"
    ).fit()
    shown = study.record["charts"]["images"]
    validation = study.split.validation.table
    probability = study.model.predict_proba(validation)
    classes = np.array(study.problem.classes)
    said, actual = classes[probability.argmax(axis=1)], validation.frame["label"].to_numpy()
    wrong = np.flatnonzero(said != actual)
    worst = wrong[np.argsort(-probability.max(axis=1)[wrong], kind="stable")]
    assert len(worst) > 0
    names = validation.frame["file"].to_list()
    assert [item["name"] for item in shown["mistakes"]] == [names[i] for i in worst[:12]]
    first = shown["mistakes"][0]
    assert (first["said"], first["actual"]) == (said[worst[0]], actual[worst[0]])
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(first["picture"].partition(",")[2]))))
    assert np.abs(picture - validation.pixels[worst[0], ..., 0] * (255 / 240)).max() <= 0.5  # type: ignore[index]
    assert [row["label"] for row in shown["examples"]] == list(classes) and len(shown["filters"]) == 3
    page = study.report().read_text()
    assert page.count('<img src="data:image/png;base64,') == 3 + len(shown["mistakes"]) + 2 * 6 + 3
    assert "Most confidently wrong" in page and names[worst[0]] in page
    again = Study.load(tmp_path / "s")
    assert np.array_equal(again.split.train.table.pixels, study.split.train.table.pixels)
    assert again.open_test().record["score"]["value"] == study.open_test(again=True).record["score"]["value"]


def test_equal_images_stay_on_one_side_whatever_their_class() -> None:
    images, labels = digits(120)
    images, labels = np.concatenate([images, images]), np.concatenate([labels, np.roll(labels, 1)])
    study = Study({"image": images, "digit": labels}, "digit", learners=["SoftmaxClassifier"])
    study._begin()
    train, validation = (set(part.table.frame["image"]) for part in (study.split.train, study.split.validation))
    assert not train & validation
    assert study.split.notes[0].startswith("240 rows have an exact twin (the same features), kept on one side; ")
    assert "with another digit" in study.split.notes[0]


def test_test_images_are_sealed_and_known_again(tmp_path: Path) -> None:
    """Neither a new name nor another size makes rows new; nothing gives a pixel of them away."""
    images, labels = digits(90)
    marks = []
    for name, size in (("a", None), ("b", "4x4")):
        root = folder(tmp_path / name, images * 15, labels)
        if name == "b":
            for path in list(root.glob("*/*.png")):
                path.rename(path.with_name(f"renamed-{path.name}"))
        table = read(root, size=size)
        split = train_validation_test_split(table, Problem.state(table, "label"), seed=1)
        marks.append(split.sealed.fingerprint)
        with pytest.raises(SealError):
            _ = split.sealed.pixels
    assert marks[0] == marks[1]
    study = Study(tmp_path / "a", learners=["SoftmaxClassifier"], seed=1, folder=tmp_path / "s")
    study.fit()
    assert table.pixels is not None
    sealed = np.load(tmp_path / "s" / "test.npy")
    plain = read(tmp_path / "a").pixels
    assert plain is not None and sealed.shape == (18, 64)
    rows = {row.tobytes() for row in plain.reshape(len(plain), -1)}
    assert not any(row.tobytes() in rows for row in sealed)
    sealed[3, 3] ^= 1
    np.save(tmp_path / "s" / "test.npy", sealed)
    with pytest.raises(InputError, match=r"test.npy is damaged"):
        Study.load(tmp_path / "s")


def test_given_parts_and_a_number_to_predict(tmp_path: Path) -> None:
    X = (RNG.random((80, 1, 1, 1)) * RNG.integers(0, 256, (80, 6, 5, 3))).astype(np.uint8)
    y = X.mean(axis=(1, 2, 3)) + RNG.normal(0, 0.5, 80)
    path = tmp_path / "in.npz"
    np.savez(path, x_train=X[:60], y_train=y[:60], x_test=X[60:], y_test=y[60:])
    study = Study(path, learners=["Ridge"], criterion="mae").fit()
    assert study.problem.task == "regression" and study.split.sealed.n_rows == 20
    final = study.open_test()
    assert final.score.value < 8.0
    expected = np.abs(final.model.predict(X[60:]) - y[60:]).mean()
    assert final.score.value == pytest.approx(expected, rel=1e-12)
    study.report(tmp_path / "report.html")
    assert "Largest errors" in (tmp_path / "report.html").read_text()
    for wrong, reason in (
        (X / 255, "whole numbers from 0 to 255"),
        (X[..., :2], "2 channels, and 3 are needed"),
    ):
        with pytest.raises(InputError, match=reason):
            final.model.predict(wrong)
    assert np.array_equal(final.model.predict(X[60:].astype(float)), final.model.predict(X[60:]))
    grey, notices = final.model.predict_table(X[60:, :, :, 0])
    assert notices == ["an array: images of 5 x 6 pixels, grey, were read as colour."]
    thrice = final.model.predict(np.repeat(X[60:, :, :, :1], 3, axis=3))
    assert np.array_equal(grey["predicted y"].to_numpy(), thrice)


def test_models_of_images_are_stored_and_checked(tmp_path: Path) -> None:
    images, labels = digits(90)
    model = Study({"image": images, "digit": labels}, "digit", learners=["SoftmaxClassifier"]).fit().model
    persist.save(model, tmp_path / "m")
    assert np.array_equal(load(tmp_path / "m", expected=Model).predict_proba(images), model.predict_proba(images))
    object.__setattr__(model.problem.columns[0], "parse", {"shape": [4, 16, 1], "dtype": "uint8"})
    persist.save(model, tmp_path / "m")
    with pytest.raises(ModelFileError, match="encoder is made for other images"):
        load(tmp_path / "m")
    model.problem.columns[0].parse["shape"][:] = model.encoder.image_shape_ = [2**14] * 3  # no names are made for it
    persist.save(model, tmp_path / "m")
    with pytest.raises(ModelFileError, match="do not have the same number of columns"):
        load(tmp_path / "m")


def test_images_that_do_not_fit_are_read_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = digits()
    root = folder(tmp_path / "in", images * 15, labels)
    whole = read(root).pixels
    monkeypatch.setattr(pixels, "SHARE", 0.0)
    monkeypatch.setattr(pixels, "BLOCK", 64 * 7)  # seven images at a time
    table = read(root)
    assert isinstance(table.pixels, np.memmap) and np.array_equal(table.pixels, whole)
    taken = table.take(np.array([5, 200, 3]))
    assert isinstance(taken.pixels, np.memmap) and np.array_equal(taken.pixels, whole[[5, 200, 3]])  # type: ignore[index]
    monkeypatch.setattr("heldout.fitting.MOST_MEMORY", 0.0)
    monkeypatch.setattr("heldout.neural.source.SHARE", 1e-7)  # of the memory: some 3 KB
    study = Study(root, learners=["MLPClassifier", "SoftmaxClassifier"], folder=tmp_path / "s").fit()
    status = {entry["learner"]: entry["status"] for entry in study.leaderboard}
    assert status == {"MLPClassifier": "fitted", "SoftmaxClassifier": "skipped", "BaselineClassifier": "fitted"}
    assert "as numbers of 8 bytes" in next(e["error"] for e in study.leaderboard if e["status"] == "skipped")
    final = study.open_test()
    assert final.record["other"][0]["value"] > 0.8
    monkeypatch.setattr(pixels.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(WorkError, match=r"nor onto the disk of .*TMPDIR"):
        read(root)


def test_networks_learn_the_same_from_rows_that_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = digits()
    X = (images / 16).astype(np.float32).reshape(len(images), -1)
    learner = MLPClassifier(hidden_layer_sizes=(8,), chunk_rows=100, max_iter=2)
    expected = learner.fit(X, labels).predict_proba(X)
    monkeypatch.setattr("heldout.neural.source.SHARE", 0.0)  # rows held out are marked, not copied
    assert np.array_equal(learner.fit(X, labels).predict_proba(X), expected)


def test_a_large_array_is_split_without_a_copy_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n, row = 3000, 1024
    big = np.lib.format.open_memmap(tmp_path / "big.npy", "w+", np.uint8, (n, 32, 32))
    big[:] = RNG.integers(0, 256, (n, 32, 32), dtype=np.uint8)
    monkeypatch.setattr(pixels, "SHARE", 0.0)
    monkeypatch.setattr(pixels, "BLOCK", 2**16)
    Study({"image": COLOURS, "y": np.arange(12) / 7}, "y")._begin()  # what is imported on the way is no copy
    tracemalloc.start()
    study = Study({"image": big, "y": [float(v) for v in big[:, 0, 0]]}, "y", task="regression", folder=tmp_path / "s")
    with study._exclusive():
        study._begin()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < n * row / 2
    train = study.split.train.table
    assert train.pixels is not None
    assert np.array_equal(train.pixels[:, 0, 0, 0], train.frame["y"].to_numpy())


def test_a_convolutional_network_is_shown_with_its_maps_and_what_training_sees(tmp_path: Path) -> None:
    images, labels = digits(90)
    learner = ConvNetClassifier(plain_convnet((8, 8, 1), filters=4, dense=8), max_iter=1)
    study = Study({"image": images, "digit": labels}, "digit", learners=[learner], folder=tmp_path / "s").fit()
    model, parts = study._models["ConvNetClassifier"], study.split
    assert model.estimator.in_shape_ == (8, 8, 1)
    fitted = study._fitted["ConvNetClassifier"]
    found = gallery(study.problem, model.encoder, fitted, parts.train.table, parts.validation.table)
    assert len(found["attention"]) == 6 and all("map" in item for item in found["attention"])
    assert len(found["augmented"]) == 3 and len(found["filters"]) == 4
    strip = Image.open(io.BytesIO(base64.b64decode(found["augmented"][0]["picture"].partition(",")[2])))
    assert strip.size == (10 * 8 + 9 * 2, 8)
    kept = load(tmp_path / "s" / "models" / "ConvNetClassifier.model", expected=Model)
    assert np.array_equal(kept.predict_proba(images), model.predict_proba(images))


# Where it looks --------------------------------------------------------------------------------------------


def test_occlusion_is_the_mean_loss_over_the_patches_of_a_pixel() -> None:
    images, cover = RNG.random((2, 6, 9, 2)), RNG.random((6, 9, 2))
    weights = RNG.normal(size=(6, 9, 2))

    def answer(shown: np.ndarray) -> np.ndarray:
        return np.tanh((shown * weights).sum(axis=(1, 2, 3)))

    heat = occlusion_sensitivity(answer, images, cover)
    for image, found in zip(images, heat, strict=True):  # patches of 1 x 1: a seventh of 6
        for row, column in ((0, 0), (5, 8), (2, 3)):
            covered = image.copy()
            covered[row, column] = cover[row, column]
            assert found[row, column] == pytest.approx(
                float((answer(image[None]) - answer(covered[None]))[0]), rel=1e-12
            )
