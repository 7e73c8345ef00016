"""The same model for hosts of the label-studio-ml package (1.0.9, the last one on PyPI).

    # _wsgi.py
    from backend.ml_base import create_ml_app
    from backend.settings import Settings

    app = create_ml_app(Settings())

Install `self1e-label-studio[label-studio-ml]` for it. It needs no redis and predicts in the process
that answers. The package brings limits that `python -m backend serve` has not: it calls every model
version "INITIAL", knows one labeling config at a time, and a batch takes as long as it takes.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from flask import Flask
from label_studio_ml.api import init_app
from label_studio_ml.model import LabelStudioMLBase

from backend.errors import BackendError
from backend.jobs import SegmentJob, job_for_task
from backend.label_config import LabelConfig, parse_label_config
from backend.log import log_event
from backend.prediction import Predictor, TaskPredictor
from backend.settings import Settings

logger = logging.getLogger(__name__)


def create_ml_app(settings: Settings) -> Flask:
    """Loads the model and hosts it with label-studio-ml.

    Raises:
        self1e.checkpoint.CheckpointError: the model cannot be loaded.
    """
    # Whoever hosts another predictor has no need of torch.
    from self1e.checkpoint import load_predictor

    predictor = load_predictor(
        settings.model, device=settings.device, dtype=settings.dtype, max_tiles=settings.max_tiles
    )
    return host_predictor(settings, predictor)


def host_predictor(settings: Settings, predictor: Predictor) -> Flask:
    """Hosts a loaded predictor with label-studio-ml, once per process: its app is a global."""
    app: Flask = init_app(
        SegmentationModel,
        model_dir=str(settings.data_dir / "label-studio-ml"),
        shared=SharedPredictor(TaskPredictor.from_settings(settings, predictor)),
    )
    # The package's own view starts a process for every event, writes the event with its tokens to
    # disk, and takes the end of that process for a new model version.
    app.view_functions["webhook"] = _acknowledge
    return app


def _acknowledge() -> dict[str, str]:
    return {"status": "ok"}


class SharedPredictor:
    """The one loaded model of this process; threads take turns."""

    def __init__(self, task_predictor: TaskPredictor) -> None:
        self._task_predictor = task_predictor
        self._turn = threading.Lock()
        self.model_version = task_predictor.model_version

    def run(self, job: SegmentJob) -> dict[str, Any]:
        """Runs a job as `TaskPredictor.run` does."""
        with self._turn:
            return self._task_predictor.run(job)


class SegmentationModel(LabelStudioMLBase):
    """What label-studio-ml calls. It makes a new one at every /setup: this must stay cheap."""

    def __init__(self, shared: SharedPredictor, **kwargs: Any) -> None:
        """Keeps the labeling config.

        Args:
            shared: the loaded model.
            kwargs: what label-studio-ml gives its base class.
        """
        super().__init__(**kwargs)
        self._shared = shared

    def predict(
        self,
        tasks: Sequence[Mapping[str, Any]],
        context: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> list[Any]:
        """Segments the tasks one after the other.

        Args:
            tasks: as Label Studio sends them.
            context: the annotator's results on the image (interactive), or None (batch).

        Returns:
            One item per task: a prediction, or an empty list for a task that failed. A prediction
            has no model_version: Label Studio then takes the one of /setup, and knows it again.

        Raises:
            LabelConfigError: the labeling config cannot take masks.
        """
        config = parse_label_config(self.label_config)
        return [self._predict_one(task, context, config) for task in tasks]

    def _predict_one(
        self, task: Mapping[str, Any], context: Mapping[str, Any] | None, config: LabelConfig
    ) -> dict[str, Any] | list[Any]:
        try:
            job = job_for_task(task, context, config, self._shared.model_version)
            prediction = None if job is None else self._shared.run(job)
        except BackendError as error:
            log_event(logger, logging.WARNING, "prediction failed", detail=error)
            return []
        if prediction is None:
            return []
        return {"result": prediction["result"], "score": prediction["score"]}
