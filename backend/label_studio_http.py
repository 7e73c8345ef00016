"""Requests to the API of the configured Label Studio, and to no other server."""

from typing import Any

import requests

from backend.api_key import ApiKey
from backend.errors import LabelStudioError
from backend.settings import Settings


class NoAnswerError(LabelStudioError):
    """Label Studio did not answer; `reason` says what went wrong in one word."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"Label Studio does not answer at {url} ({reason}).")
        self.reason = reason


class LabelStudioHttp:
    """Sends requests with the API key. Nothing stays connected; threads may share it."""

    def __init__(self, settings: Settings, timeout: float | tuple[float, float]) -> None:
        """Connects to nothing yet.

        Args:
            settings: with Label Studio's URL and API key.
            timeout: longest wait to connect and for each piece of an answer, in seconds.

        Raises:
            LabelStudioError: LABEL_STUDIO_URL is not set.
        """
        self.url = settings.label_studio_url.rstrip("/")
        if not self.url:
            raise LabelStudioError(
                "LABEL_STUDIO_URL is not set: set it and LABEL_STUDIO_API_KEY to use Label "
                "Studio's API."
            )
        self._timeout = timeout
        self._api_key = ApiKey(settings)

    def request(self, method: str, path: str, **arguments: Any) -> requests.Response:
        """The answer, whatever its status, with the API key as Label Studio takes it.

        Args:
            method: of HTTP.
            path: after Label Studio's URL, with a slash at its start.
            arguments: `params` or `json`, as for requests.

        Raises:
            NoAnswerError: there is no answer.
            LabelStudioError: there is no API key that can be used.
        """
        authorization = self._api_key.authorization()
        reply = self._send(method, path, {"Authorization": authorization}, arguments)
        if reply.status_code == requests.codes.unauthorized and authorization.startswith("Bearer "):
            # The access token may have been revoked, or have expired by the server's clock.
            renewed = self._api_key.authorization(renew=True)
            reply = self._send(method, path, {"Authorization": renewed}, arguments)
        return reply

    def request_without_key(self, method: str, path: str) -> requests.Response:
        """The answer that anyone gets.

        Raises:
            NoAnswerError: there is no answer.
        """
        return self._send(method, path, {}, {})

    def _send(
        self, method: str, path: str, headers: dict[str, str], arguments: dict[str, Any]
    ) -> requests.Response:
        try:
            with requests.Session() as session:
                # No proxies, as the backend fetches its images; .netrc would replace the API key.
                session.trust_env = False
                return session.request(
                    method,
                    self.url + path,
                    headers=headers,
                    timeout=self._timeout,
                    # They would take the key elsewhere, or turn a POST into a GET.
                    allow_redirects=False,
                    **arguments,
                )
        except requests.RequestException as error:
            raise NoAnswerError(self.url, type(error).__name__) from error
