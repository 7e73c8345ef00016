"""Image files from the web, within limits of time, size and address."""

import http.client
import ssl
from urllib.parse import quote, urljoin, urlsplit

from backend.errors import ImageError, LabelStudioError
from backend.outbound import Deadline, Origin, PrivateAddressError, open_connection, resolve
from backend.settings import Settings

_MAX_REDIRECTS = 5
_REDIRECTS = {301, 302, 303, 307, 308}
_READ_BYTES = 1 << 16
_URL_CHARACTERS = "%/:=&?~#+!$,;'@()*[]"  # that stand in a URL as they are
_HINTS = {
    401: "it wants credentials, which image URLs cannot carry",
    403: "it denies access; if the URL is signed, the signature may have expired",
    404: "there is no such file",
}


class FetchError(ImageError):
    """A server could not be reached, or did not answer with the file.

    `origin` is the server that failed, the last one after redirects; `http_status` is what it
    answered, None if it did not answer.
    """

    def __init__(self, message: str, origin: Origin, http_status: int | None = None) -> None:
        super().__init__(message)
        self.origin = origin
        self.http_status = http_status


class ImageFetcher:
    """Fetches files over http and https. Threads may share it."""

    def __init__(self, settings: Settings) -> None:
        """Takes the limits, and the hosts that may be private, from the settings.

        Raises:
            LabelStudioError: LABEL_STUDIO_URL is not a URL.
        """
        self._max_mb = settings.max_image_mb
        self._seconds = settings.image_timeout
        self._tls = ssl.create_default_context()  # takes long enough to be done once
        hosts = settings.private_image_hosts.lower().split(",")
        self._private_hosts = {host.strip() for host in hosts}
        if settings.label_studio_url:
            try:
                own = Origin.of(settings.label_studio_url)
            except ValueError as error:
                raise LabelStudioError(
                    f"LABEL_STUDIO_URL is not a URL such as http://host:8080: {error}"
                ) from error
            self._private_hosts.add(f"{own.host}:{own.port}")

    def fetch(self, url: str, *, authorization: str | None = None) -> bytes:
        """Fetches a file, after redirects if need be.

        Args:
            url: An http or https URL.
            authorization: Value of the Authorization header. Only the URL's own server gets it:
                from the first redirect to another one on it is left out.

        Raises:
            FetchError: A server cannot be reached, or does not answer with the file.
            ImageError: The URL may not be fetched, or the file is too large.
        """
        deadline = Deadline(self._seconds)
        origin = _origin(url)
        for _ in range(_MAX_REDIRECTS + 1):
            answer = self._get(url, origin, authorization, deadline)
            if isinstance(answer, bytes):
                return answer
            url, previous = _joined(url, answer), origin
            origin = _origin(url)
            if origin != previous:
                authorization = None
        raise FetchError(f"{_shown(url)}: more than {_MAX_REDIRECTS} redirects", origin)

    def _get(
        self, url: str, origin: Origin, authorization: str | None, deadline: Deadline
    ) -> bytes | str:
        """The file, or the URL that the server redirects to."""
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        target = quote(target, safe=_URL_CHARACTERS, errors="replace")
        headers = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "self1e"}
        if authorization:
            headers["Authorization"] = authorization
        private_allowed = bool(self._private_hosts & {origin.host, f"{origin.host}:{origin.port}"})
        try:
            addresses = resolve(origin, private_allowed=private_allowed)
            with open_connection(origin, addresses, deadline, self._tls) as connection:
                connection.request("GET", target, headers=headers)
                with connection.getresponse() as response:
                    location = response.getheader("Location")
                    if response.status in _REDIRECTS and location:
                        return location
                    return self._read(url, origin, response, deadline)
        except PrivateAddressError as error:
            raise ImageError(
                f"{_shown(url)} is not fetched: {error}. If images may come from there, add the "
                "host to SELF1E_PRIVATE_IMAGE_HOSTS."
            ) from error
        except (OSError, http.client.HTTPException) as error:
            if deadline.is_over or isinstance(error, TimeoutError):
                reason = (
                    f"no complete answer within {self._seconds:g} seconds; a slow server may need "
                    "a larger SELF1E_IMAGE_TIMEOUT"
                )
            else:
                reason = f"{type(error).__name__}: {error}"
            raise FetchError(f"{_shown(url)} cannot be fetched: {reason}", origin) from error

    def _read(
        self, url: str, origin: Origin, response: http.client.HTTPResponse, deadline: Deadline
    ) -> bytes:
        """The response's body."""
        if response.status != http.client.OK:
            hint = _HINTS.get(response.status, response.reason)
            raise FetchError(
                f"{_shown(url)} answered {response.status}: {hint}", origin, response.status
            )
        encoding = response.getheader("Content-Encoding", "identity")
        if encoding != "identity":
            raise FetchError(
                f"{_shown(url)} came compressed ({encoding}), though that was not asked for: "
                "serve the image as it is",
                origin,
            )
        declared = response.getheader("Content-Length", "")
        # 20 digits are too many bytes already, and int() refuses thousands of them.
        expected = int(declared[:20]) if declared.isdecimal() else 0
        limit = self._max_mb << 20
        content = bytearray()
        while max(len(content), expected) <= limit:
            chunk = response.read(_READ_BYTES)
            if not chunk:
                break
            content += chunk
        else:
            raise ImageError(
                f"{_shown(url)} has more than {self._max_mb} MiB: use a smaller image, or raise "
                "SELF1E_MAX_IMAGE_MB"
            )
        if deadline.is_over:
            raise TimeoutError  # being shut down looks like the end of the file
        if len(content) < expected:
            raise FetchError(
                f"{_shown(url)} broke off after {len(content)} of {expected} bytes: try again",
                origin,
            )
        return bytes(content)


def _origin(url: str) -> Origin:
    """The URL's server, if it may be fetched at all."""
    try:
        return Origin.of(url)
    except ValueError as error:
        raise ImageError(f"{_shown(url)} is not fetched: {error}") from error


def _joined(url: str, location: str) -> str:
    """Where a redirect from the URL leads."""
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise ImageError(f"{_shown(url)} redirects to what is no address: {error}") from error


def _shown(url: str) -> str:
    """The URL for messages: without user and query, which may hold credentials or a signature."""
    scheme, colon, _ = url.partition(":")
    try:
        return f"The image {Origin.of(url)}{urlsplit(url).path}"
    except ValueError:
        return f"The image's {scheme}: address" if colon and scheme.isalnum() else "The image"
