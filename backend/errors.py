"""Errors a user or operator can act on; the web edge and the worker map them in one place.

Every message says what was wrong, the value (never a secret) and what to do.
"""


class BackendError(Exception):
    """Base of all expected failures: `code` is the name clients see, `status` the HTTP code."""

    code = "internal_error"
    status = 500


class BadRequestError(BackendError):
    """The request's body does not follow Label Studio's protocol."""

    code = "bad_request"
    status = 400


class RequestTooLargeError(BackendError):
    """The request's body is larger than the configured limit."""

    code = "request_too_large"
    status = 413


class LabelConfigError(BackendError):
    """The project's labeling config lacks what a mask from a prompt needs."""

    code = "label_config"
    status = 400


class UnauthorizedError(BackendError):
    """Basic auth or the webhook secret is missing or wrong."""

    code = "unauthorized"
    status = 401


class ImageError(BackendError):
    """The image could not be fetched or decoded, or breaks a limit."""

    code = "image"
    status = 422


class AnnotationError(BackendError):
    """An annotation or an export cannot be learned from."""

    code = "annotation"
    status = 422


class LabelStudioError(BackendError):
    """Label Studio could not be reached or refused the call."""

    code = "label_studio"
    status = 502


class QueueUnavailableError(BackendError):
    """Redis does not answer."""

    code = "queue_unavailable"
    status = 503


class PredictionFailedError(BackendError):
    """The worker ran the job and failed."""

    code = "prediction_failed"
    status = 500


class VersionError(BackendError):
    """A trained version is missing, damaged or in use."""

    code = "version"
    status = 409


class FinetuneError(BackendError):
    """A fine-tuning cannot begin, or its result may not be used."""

    code = "finetune"
    status = 409


class TrainingRunsError(FinetuneError):
    """Another training runs on the device."""

    code = "training_runs"
