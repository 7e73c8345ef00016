"""The worker's side of `trials`: the image that was uploaded, and the picture of its mask."""

import base64
from typing import Any

from backend.brush_rle import decode_mask
from backend.held_versions import HeldVersions
from backend.image_embeddings import ImageSource
from backend.images import decode_image
from backend.jobs import SegmentJob
from backend.overlay import overlay_jpeg
from backend.prediction import TaskPredictor
from backend.queue import JobQueue
from backend.trials import uploaded_image


class UploadsOr:
    """Images that were uploaded for a trial, and all those of another source."""

    def __init__(self, queue: JobQueue, images: ImageSource) -> None:
        """Args: queue: whose redis keeps the uploads; images: where all others come from."""
        self._queue = queue
        self._images = images

    def fetch(self, url: str, *, task_id: int | str | None = None) -> bytes:
        """Returns the image file that a task or a trial names."""
        upload = uploaded_image(self._queue, url)
        return self._images.fetch(url, task_id=task_id) if upload is None else upload


class TrialPredictor:
    """Performs jobs, and adds a picture of the mask to the results of trials."""

    def __init__(
        self, predictor: TaskPredictor | HeldVersions, queue: JobQueue, *, max_megapixels: float
    ) -> None:
        """Args: predictor: does the work; queue: has the uploads; max_megapixels: of an image."""
        self._predictor = predictor
        self._queue = queue
        self._max_megapixels = max_megapixels

    def run(self, job: SegmentJob) -> dict[str, Any]:
        """Performs a job as TaskPredictor does.

        A trial's result also has its `prompt`, and `overlay`, a JPEG file in base64.
        """
        prediction = self._predictor.run(job)
        upload = uploaded_image(self._queue, job.image_url)
        if upload is None:
            return prediction
        image = decode_image(upload, max_megapixels=self._max_megapixels)
        masks = [
            decode_mask(region["value"]["rle"], image.height, image.width)
            for region in prediction["result"]
        ]
        return prediction | {
            "prompt": job.prompts[0].text,
            "overlay": base64.b64encode(overlay_jpeg(image, masks)).decode(),
        }
