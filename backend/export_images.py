"""The images of an export: from a directory of this machine, else by their url."""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from backend.errors import ImageError, LabelStudioError
from backend.label_studio_files import LabelStudioFiles
from backend.settings import Settings

_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-")


class ExportImages:
    """Gives the image files that an export's tasks name. Threads may share it."""

    def __init__(self, settings: Settings, root: Path | None = None) -> None:
        """Reads nothing yet.

        Args:
            settings: limits, and the Label Studio to ask for what is not under the root.
            root: a directory with the images, as they were before their upload or as Label Studio
                keeps them (`abcdef12-name.jpg`); None for none.

        Raises:
            LabelStudioError: LABEL_STUDIO_URL is not a URL.
            ImageError: the root is no directory.
        """
        self._client = LabelStudioFiles(settings)
        self._max_mb = settings.max_image_mb
        if root is not None and not root.is_dir():
            raise ImageError(f"The image root {root} is no directory.")
        self._root = None if root is None else root.resolve()

    def fetch(self, url: str, *, task_id: int | str | None = None) -> bytes:
        """Fetches the file that a task's image value names.

        Args:
            url: `/data/upload/1/abcdef12-name.jpg` is `abcdef12-name.jpg` or `name.jpg` under the
                root, `/data/local-files/?d=dir/name.jpg` is `dir/name.jpg`; of any other the path,
                or else its last part. What is not there is fetched as by a LabelStudioFiles.
            task_id: Id of the task; only the storages' URLs need it.

        Raises:
            LabelStudioError: Label Studio is needed, but is not configured or refuses.
            ImageError: The file may not be fetched from elsewhere, or breaks a limit.
        """
        url = url.strip()
        if self._root is None:
            return self._client.fetch(url, task_id=task_id)
        tried = list(dict.fromkeys(_names(url)))
        for name in tried:
            if (file := _file_under(self._root, name)) is not None:
                return self._read(file)
        try:
            return self._client.fetch(url, task_id=task_id)
        except (LabelStudioError, ImageError) as error:
            raise ImageError(
                f"There is no {' or '.join(tried) or 'such file'} under {self._root}. {error}"
            ) from error

    def _read(self, file: Path) -> bytes:
        try:
            if file.stat().st_size > self._max_mb << 20:
                raise ImageError(
                    f"The image {file} has more than {self._max_mb} MiB: use a smaller image, or "
                    "raise SELF1E_MAX_IMAGE_MB."
                )
            return file.read_bytes()
        except OSError as error:
            raise ImageError(f"The image {file} cannot be read: {error}.") from error


def _file_under(root: Path, name: str) -> Path | None:
    """The file of that name, None if there is none or if it lies elsewhere."""
    try:
        file = (root / posixpath.normpath(name).lstrip("/")).resolve()
        return file if file.is_relative_to(root) and file.is_file() else None
    except (OSError, ValueError):
        return None


def _names(url: str) -> Iterator[str]:
    """Where under the root the image may be."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    path = unquote(parts.path)
    if path.rstrip("/") == "/data/local-files":
        path = parse_qs(parts.query).get("d", [""])[-1]
    name = posixpath.basename(path)
    if not name:
        return
    yield path
    yield name
    yield _UPLOAD_PREFIX.sub("", name)
