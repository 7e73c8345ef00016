"""The API key that Label Studio wants with every request.

The one module that uses the Label Studio SDK.
"""

import re
from threading import Lock

import httpx
from label_studio_sdk.core.api_error import ApiError
from label_studio_sdk.core.client_wrapper import SyncClientWrapper

from backend.errors import LabelStudioError
from backend.settings import Settings

_KEY_CHARACTERS = re.compile(r"[!-~]+")


class ApiKey:
    """The configured API key, as Label Studio wants it in a request."""

    def __init__(self, settings: Settings) -> None:
        """Connects to nothing yet."""
        self._url = settings.label_studio_url.rstrip("/")
        self._key = settings.label_studio_api_key.get_secret_value().strip()
        self._seconds = settings.image_timeout
        self._lock = Lock()
        self._sdk: SyncClientWrapper | None = None

    def authorization(self, *, renew: bool = False) -> str:
        """Value of the Authorization header.

        A legacy token is sent as it is. A personal access token is exchanged for an access
        token of some minutes, which the SDK keeps, and exchanges again when it expires.

        Args:
            renew: Exchange again now.

        Raises:
            LabelStudioError: There is no key, it has expired, or the exchange failed.
        """
        if not self._key:
            raise LabelStudioError(
                "Label Studio answers those with an API key only: set "
                "LABEL_STUDIO_API_KEY to a token from Account & Settings."
            )
        if not _KEY_CHARACTERS.fullmatch(self._key):
            raise LabelStudioError(
                "LABEL_STUDIO_API_KEY has characters that no key has: copy it again."
            )
        try:
            with self._lock:
                if self._sdk is None or renew:
                    self._sdk = self._new_sdk()
                sdk = self._sdk
            return sdk.get_headers()["Authorization"]
        except ApiError as error:
            detail = error.body.get("detail") if isinstance(error.body, dict) else None
            raise LabelStudioError(
                f"Label Studio does not accept LABEL_STUDIO_API_KEY ({error.status_code}: "
                f"{detail}): make a new token in Account & Settings."
            ) from error
        except (httpx.HTTPError, ValueError) as error:
            raise LabelStudioError(
                f"{self._url}/api/token/refresh/ does not answer as Label Studio does "
                f"({type(error).__name__}): check LABEL_STUDIO_URL."
            ) from error

    def _new_sdk(self) -> SyncClientWrapper:
        """The part of the SDK's client that knows about keys."""
        return SyncClientWrapper(
            api_key=self._key,
            base_url=f"{self._url}/",  # without the slash the SDK drops a path prefix
            # No redirects: the exchange's body is the key itself.
            httpx_client=httpx.Client(
                timeout=self._seconds,
                follow_redirects=False,
                trust_env=False,
                limits=httpx.Limits(max_keepalive_connections=0),  # nothing to close at the end
            ),
        )
