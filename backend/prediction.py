"""What a worker does for one job: image, embedding (cached), masks, regions."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from backend.embedding_cache import EmbeddingCache
from backend.errors import BadRequestError, PredictionFailedError
from backend.image_embeddings import Embedding, Encoder, ImageEmbeddings, ImageSource
from backend.jobs import SegmentJob
from backend.label_studio_files import LabelStudioFiles
from backend.log import log_event
from backend.regions import mask_regions, regions_of_each
from backend.settings import Settings
from backend.versions import model_version
from self1e.errors import PromptError

logger = logging.getLogger(__name__)

Show = Callable[[str, bytes], None]


class Segmentation(Protocol):
    """The model's answer to one prompt."""

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Bool (H, W), of the image's own upright size."""

    @property
    def score(self) -> float:
        """How sure the model is of the mask, 0..1."""


class Predictor(Encoder, Protocol):
    """The model, seen from here: `self1e.predictor.Predictor` without the need to import torch."""

    def segment(
        self, embedding: Any, prompts: Sequence[str], *, threshold: float
    ) -> Sequence[Segmentation]:
        """Gives one mask per prompt, in the prompts' order.

        A pixel belongs to a mask if its probability is above the threshold, 0..1. Raises
        PromptError for a prompt that the model cannot take.
        """


class TaskPredictor:
    """Runs segment jobs on a loaded model."""

    def __init__(
        self,
        predictor: Predictor,
        images: ImageSource,
        cache: EmbeddingCache[Embedding],
        *,
        model_version: str,
        max_megapixels: float,
        show: Show = lambda _job_id, _jpeg: None,
    ) -> None:
        """Keeps its arguments.

        Args:
            predictor: the loaded model.
            images: fetches image files.
            cache: embeddings by the SHA-256 of the image file.
            model_version: the only version that jobs may ask for.
            max_megapixels: largest image, in millions of pixels.
            show: given each job's id and a small picture of its answer, a JPEG file.
        """
        self._predictor = predictor
        self._show = show
        self._embeddings = ImageEmbeddings(predictor, images, cache, max_megapixels=max_megapixels)
        self.model_version = model_version

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        predictor: Predictor,
        images: ImageSource | None = None,
        version: str | None = None,
        show: Show = lambda _job_id, _jpeg: None,
    ) -> "TaskPredictor":
        """For a predictor that was loaded with these settings, and Label Studio's images.

        `version` is its name if it is a trained one; `show` is that of the class.
        """
        return cls(
            predictor,
            images or LabelStudioFiles(settings),
            EmbeddingCache(settings.embedding_cache_mb * 2**20),
            # Named after loading: only now is a model from the hub surely downloaded.
            model_version=version or model_version(settings.model),
            max_megapixels=settings.max_image_megapixels,
            show=show,
        )

    def prepare(self, jobs: Sequence[SegmentJob]) -> None:
        """Encodes the images of jobs that are about to be run at once; what fails, fails then."""
        self._embeddings.prepare(jobs)

    def run(self, job: SegmentJob) -> dict[str, Any]:
        """Segments the job's image once per prompt.

        Returns:
            A prediction as Label Studio takes it, of plain JSON values: `result` (no regions if
            nothing there fits a prompt), `score` (of the least sure mask, 0..1), `model_version`.

        Raises:
            PredictionFailedError: the job asks for another version than the loaded one.
            BadRequestError: a prompt has too many tokens for the model.
            BackendError: the image could not be fetched or decoded.
        """
        if job.model_version != self.model_version:
            raise PredictionFailedError(
                f"The request asks for model version {job.model_version}, this worker serves "
                f"{self.model_version}: start web processes and workers with the same SELF1E_MODEL."
            )
        image = self._embeddings.of(job)
        embedded = time.monotonic()
        try:
            segmentations = self._predictor.segment(
                image.embedding,
                [each.text for each in job.prompts],
                threshold=job.parameters.threshold,
            )
        except PromptError as error:
            raise BadRequestError(str(error)) from error
        segmented = time.monotonic()
        regions = [
            region
            for prompt, segmentation in zip(job.prompts, segmentations, strict=True)
            for region in mask_regions(
                segmentation.mask,
                segmentation.score,
                prompt,
                job.control,
                parameters=job.parameters,
                image_digest=image.digest,
                model_version=self.model_version,
                most=regions_of_each(len(job.prompts)),
            )
        ]
        if image.small is not None:
            self._show(job.id, image.small.with_masks([each.mask for each in segmentations]))
        log_event(
            logger,
            logging.INFO,
            "job",
            job=job.id[:12],
            version=self.model_version,
            prompts=len(job.prompts),
            regions=len(regions),
            cached=image.is_cached,
            fetch_ms=image.fetch_seconds * 1000,
            encode_ms=image.encode_seconds * 1000,
            segment_ms=(segmented - embedded) * 1000,
            regions_ms=(time.monotonic() - segmented) * 1000,
        )
        return {
            "result": regions,
            "score": min(float(each.score) for each in segmentations),
            "model_version": self.model_version,
        }
