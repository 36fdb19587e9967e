"""Callbacks that hand each epoch's numbers to TensorBoard or MLflow."""

from __future__ import annotations

import math
import weakref
from pathlib import Path
from typing import Any

from heldout.errors import MissingExtraError
from heldout.neural.history import Epoch

TOLD = ("train_loss", "validation_loss", "train_metric", "validation_metric", "learning_rate")


def _numbers(epoch: Epoch) -> dict[str, float]:
    return {name: value for name in TOLD if math.isfinite(value := getattr(epoch, name))}


class TensorBoardLogger:
    """Writes the loss, the metric and the learning rate of each epoch for TensorBoard; needs the extra `tensorboard`.

    Parameters
    ----------
    folder : path, where TensorBoard looks (`tensorboard --logdir folder`)

    Raises
    ------
    MissingExtraError : tensorboardX is not installed.

    ::

        MLPClassifier().fit(X, y, callbacks=[TensorBoardLogger("runs/first")])
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise MissingExtraError(
                "Logging to TensorBoard needs tensorboardX: pip install 'heldout[tensorboard]'."
            ) from None
        self._writer: Any = SummaryWriter(str(folder), flush_secs=2)
        self._finish = weakref.finalize(self, self._writer.close)  # at the latest when Python ends

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Write the epoch's numbers."""
        for name, value in _numbers(epoch).items():
            self._writer.add_scalar(name.replace("_", "/", 1), value, epoch.epoch)

    def close(self) -> None:
        """Write what is left; until then numbers appear within two seconds."""
        self._finish()


class MLflowLogger:
    """Logs the loss, the metric and the learning rate of each epoch to MLflow's run; needs the extra `mlflow`.

    The run is the active one (`with mlflow.start_run():`), or a new one at the tracking address that MLflow is set to.

    Raises
    ------
    MissingExtraError : mlflow is not installed.

    ::

        with mlflow.start_run():
            MLPClassifier().fit(X, y, callbacks=[MLflowLogger()])
    """

    def __init__(self) -> None:
        try:
            import mlflow
        except ImportError:
            raise MissingExtraError("Logging to MLflow needs mlflow: pip install 'heldout[mlflow]'.") from None
        self._mlflow: Any = mlflow

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Log the epoch's numbers."""
        self._mlflow.log_metrics(_numbers(epoch), step=epoch.epoch)
