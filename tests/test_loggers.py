"""What TensorBoard and MLflow are told."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from heldout.errors import MissingExtraError
from heldout.neural.estimators import MLPRegressor
from heldout.neural.loggers import MLflowLogger, TensorBoardLogger


def fitted(logger: Any) -> MLPRegressor:
    X = np.linspace(-1, 1, 40)[:, None]
    return MLPRegressor(hidden_layer_sizes=3, max_iter=3).fit(X, X[:, 0], callbacks=[logger])


def test_tensorboard_finds_the_numbers_in_its_folder(tmp_path: Path) -> None:
    tensorboard = pytest.importorskip("tensorboardX")
    logger = TensorBoardLogger(tmp_path)
    model = fitted(logger)
    logger.close()
    (file,) = tmp_path.iterdir()
    events = tensorboard.proto.event_pb2.Event
    found: dict[str, list[float]] = {}
    content, at = file.read_bytes(), 0
    while at < len(content):  # records: length, its checksum, the event, its checksum
        length = int.from_bytes(content[at : at + 8], "little")
        event = events.FromString(content[at + 12 : at + 12 + length])
        for value in event.summary.value:
            found.setdefault(value.tag, []).append(value.simple_value)
        at += 16 + length
    np.testing.assert_allclose(found["train/loss"], model.history_.train_loss, rtol=1e-6)
    assert set(found) == {"train/loss", "train/metric", "learning/rate"}


def test_mlflow_is_told_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[dict[str, float], int]] = []
    stand_in = SimpleNamespace(log_metrics=lambda metrics, step: told.append((metrics, step)))
    monkeypatch.setitem(sys.modules, "mlflow", stand_in)
    model = fitted(MLflowLogger())
    assert [step for _, step in told] == [1, 2, 3]
    assert [metrics["train_loss"] for metrics, _ in told] == model.loss_curve_


@pytest.mark.parametrize(
    ("module", "make"), [("tensorboardX", lambda: TensorBoardLogger(".")), ("mlflow", MLflowLogger)]
)
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, module: str, make: Any) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match="pip install 'heldout"):
        make()
