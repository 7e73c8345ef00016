"""The image files that only Label Studio hands out."""

import base64
import posixpath
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from backend.api_key import ApiKey
from backend.errors import ImageError, LabelStudioError
from backend.image_fetcher import FetchError, ImageFetcher
from backend.outbound import Origin
from backend.settings import Settings

_STORAGE_SCHEMES = ("s3://", "gs://", "azure-blob://")
_LOCAL_FILES = "/data/local-files"
_HINTS = {
    401: "it refuses the API key; set LABEL_STUDIO_API_KEY to a personal access token, or to a "
    "legacy token if the organization's settings allow those",
    403: "the API key's user may not read it; add that user to the project, and for local files "
    "start Label Studio with LOCAL_FILES_SERVING_ENABLED=true",
    404: "there is no such file, or no storage of the project holds it",
    500: "it failed, as it also does for an uploaded file that was deleted; see its log",
}


class LabelStudioFiles:
    """Turns the image value of a task into the image file. Threads may share it."""

    def __init__(self, settings: Settings) -> None:
        """Connects to nothing yet.

        Raises:
            LabelStudioError: LABEL_STUDIO_URL is not a URL.
        """
        self._fetcher = ImageFetcher(settings)
        self._url = settings.label_studio_url.rstrip("/")
        self._api_key = ApiKey(settings)
        self._local_files_root = settings.local_files_root
        self._max_mb = settings.max_image_mb

    def fetch(self, url: str, *, task_id: int | str | None = None) -> bytes:
        """Fetches the file that a task's image value names.

        Args:
            url: `/data/upload/...`, `/data/local-files/?d=...`, `/tasks/<id>/resolve/?fileuri=...`
                or another path of Label Studio; an http or https URL; `s3://`, `gs://` or
                `azure-blob://`, which Label Studio looks up in the storages of the task's project.
            task_id: Id of the task; only the storages' URLs need it.

        Raises:
            LabelStudioError: Label Studio is not configured, not reachable, or refuses.
            ImageError: The file may not be fetched from elsewhere, or breaks a limit.
        """
        url = url.strip()
        if url.startswith(_STORAGE_SCHEMES):
            return self._download(_resolve_path(url, task_id))
        path = self._own_path(url)
        if path is None:
            return self._fetcher.fetch(url)
        if self._local_files_root and urlsplit(path).path.rstrip("/") == _LOCAL_FILES:
            return self._read_local_file(path)
        return self._download(path)

    def _own_path(self, url: str) -> str | None:
        """The path, with query, after Label Studio's URL; None for another server's URL."""
        if url.startswith("/") and not url.startswith("//"):
            path = url
        else:
            try:
                if not self._url or Origin.of(url) != Origin.of(self._url):
                    return None
            except ValueError:
                return None
            parts = urlsplit(url)
            path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        # Under a path prefix (https://host/label-studio) Label Studio's paths already carry it.
        prefix = urlsplit(self._url).path
        return path[len(prefix) :] if prefix and path.startswith(f"{prefix}/") else path

    def _download(self, path: str) -> bytes:
        """The file at a path of Label Studio."""
        shown = path.partition("?")[0]
        if not self._url:
            raise LabelStudioError(
                f"The image {shown} is Label Studio's: set LABEL_STUDIO_URL and "
                "LABEL_STUDIO_API_KEY, or it cannot be fetched."
            )
        authorization = self._api_key.authorization()
        try:
            return self._fetcher.fetch(self._url + path, authorization=authorization)
        except FetchError as error:
            if error.http_status != 401 or not authorization.startswith("Bearer "):
                raise self._explained(error, shown) from error
        # The access token may have been revoked, or have expired by the server's clock.
        authorization = self._api_key.authorization(renew=True)
        try:
            return self._fetcher.fetch(self._url + path, authorization=authorization)
        except FetchError as error:
            raise self._explained(error, shown) from error

    def _explained(self, error: FetchError, path: str) -> LabelStudioError | FetchError:
        """What to do about a failed download. A redirect may have led to another server."""
        own = Origin.of(self._url)
        if error.origin == own and error.http_status is None:
            return LabelStudioError(f"Label Studio failed: {error}. Is {self._url} its address?")
        if error.origin == own:
            hint = _HINTS.get(error.http_status or 0, "see its log")
            return LabelStudioError(
                f"Label Studio answered {error.http_status} for {path}: {hint}."
            )
        if error.origin.host == own.host and error.http_status == 401:
            return LabelStudioError(
                f"Label Studio redirects from {own} to {error.origin}, where the API key is not "
                f"sent: set LABEL_STUDIO_URL to {error.origin}."
            )
        return error

    def _read_local_file(self, path: str) -> bytes:
        """The file of a `/data/local-files/?d=<path under the root>` URL, from this disk."""
        name = parse_qs(urlsplit(path).query).get("d", [""])[-1]
        root = Path(self._local_files_root).resolve()
        # Like Label Studio: "?d=/a.png" is under the root, too.
        try:
            file = (root / posixpath.normpath(name).lstrip("/")).resolve()
            if not file.is_relative_to(root) or not file.is_file():
                raise LabelStudioError(
                    f"There is no file {name} under {root} (SELF1E_LOCAL_FILES_ROOT), the "
                    "directory that must be Label Studio's LOCAL_FILES_DOCUMENT_ROOT."
                )
            if file.stat().st_size > self._max_mb << 20:
                raise ImageError(
                    f"The image {name} has more than {self._max_mb} MiB: use a smaller image, or "
                    "raise SELF1E_MAX_IMAGE_MB."
                )
            return file.read_bytes()
        except (OSError, ValueError) as error:
            raise LabelStudioError(f"The local file {name!r} cannot be read: {error}.") from error


def _resolve_path(uri: str, task_id: int | str | None) -> str:
    """Where Label Studio hands out a storage's file, itself or by a redirect to a signed URL."""
    if task_id is None or not str(task_id).isdecimal():
        raise LabelStudioError(
            f"The image {uri} is in a storage, which Label Studio only opens for a saved task: "
            f"{task_id!r} is no task id."
        )
    encoded = base64.urlsafe_b64encode(uri.encode(errors="replace")).decode()
    return f"/tasks/{task_id}/resolve/?fileuri={encoded}"
