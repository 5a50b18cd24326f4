"""HTTP with the server: the token, retries with back-off, and problem documents as errors."""

import email.utils
import ipaddress
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO, Self, TypeVar

import httpx

from aparella import __version__
from aparella.client import problems
from aparella.errors import ConfigurationError, InputError, ServiceUnavailableError

RETRY_DELAYS = (0.2, 0.4, 0.8)
"""Seconds between attempts; a server's `Retry-After` lengthens a pause, up to the limit below."""
LONGEST_PAUSE = 30.0
CONNECT_SECONDS = 5.0
BULK_SECONDS = 300.0
"""Silence allowed while the server stores an upload or begins an export."""

Result = TypeVar("Result")
Params = Mapping[str, str | int | list[str]]


class UnansweredError(ServiceUnavailableError):
    """The server gave no answer, or one that says to come back later.

    Attributes:
        unheard: the request certainly had no effect, so even one that must not run twice may be
            sent again.
        retry_after: seconds that the server asked to wait, if it did.
    """

    def __init__(
        self, message: str, *, unheard: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.unheard = unheard
        self.retry_after = retry_after


class Transport:
    """A connection pool to one server.

    Args:
        url: of the server, `http://` or `https://`.
        token: bearer token, if the server asks for one.
        timeout: seconds of silence after which an answer is given up.

    Raises:
        InputError: the URL is none.
    """

    def __init__(self, url: str, token: str | None = None, *, timeout: float = 30.0) -> None:
        self.url = url.rstrip("/")
        self._timeout = timeout
        try:
            base = httpx.URL(self.url)
        except httpx.InvalidURL as error:
            raise InputError(f"{url!r} is no URL: {error}.", field="url") from None
        if base.scheme not in {"http", "https"} or not base.host:
            raise InputError(
                f"{url!r} is no URL of a server: write it like http://127.0.0.1:8000.", field="url"
            )
        headers = {"User-Agent": f"aparella/{__version__}", "Accept": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self._http = httpx.Client(
            base_url=base,
            headers=headers,
            timeout=httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
            # A proxy from the environment cannot reach this machine's own loopback.
            trust_env=not _is_loopback(base.host),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, path: str, params: Params | None = None) -> Any:
        """GET a JSON document; repeated when the server is away for a moment.

        Raises:
            ServiceUnavailableError: there is no server, or it cannot answer now.
            InputError, NotFoundError, ConflictError: the server refused, and says why.
            ConfigurationError: what answers at the URL is no Aparella.
        """
        return self._repeat(lambda: self._json("GET", path, params=params), repeatable=True)

    def post(
        self,
        path: str,
        *,
        json: object = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = False,
    ) -> Any:
        """POST a JSON document; repeated only if that is harmless. Raises as `get` does."""
        return self._repeat(
            lambda: self._json("POST", path, json=json, headers=headers), repeatable=repeatable
        )

    def delete(self, path: str) -> None:
        """DELETE what is at the path. Raises as `get` does."""
        self._repeat(lambda: self._json("DELETE", path), repeatable=False)

    def upload(
        self,
        path: str,
        params: Params,
        body: Callable[[], Iterable[bytes]],
        *,
        size: int | None,
    ) -> Any:
        """POST a stream of bytes; `body` opens it anew for each attempt. Raises as `get` does."""
        headers = {"Content-Type": "application/octet-stream"}
        if size is not None:
            headers["Content-Length"] = str(size)
        return self._repeat(
            lambda: self._json(
                "POST", path, params=params, content=body(), headers=headers, timeout=self._bulk
            ),
            repeatable=False,
        )

    def download(
        self, path: str, params: Params, file: BinaryIO, *, on_bytes: Callable[[int], None]
    ) -> None:
        """GET a stream into `file`, which is emptied before each attempt. Raises as `get` does.

        Args:
            path: of the stream, with its `params`.
            params: of the query.
            file: opened for writing.
            on_bytes: called with the number of bytes received so far.
        """

        def attempt() -> None:
            file.seek(0)
            file.truncate()
            try:
                with self._http.stream("GET", path, params=params, timeout=self._bulk) as response:
                    if not response.is_success:
                        response.read()
                        self._refuse(response)
                    received = 0
                    for block in response.iter_bytes():
                        file.write(block)
                        received += len(block)
                        on_bytes(received)
            except httpx.TransportError as error:
                raise self._unanswered(error) from error

        self._repeat(attempt, repeatable=True)

    @property
    def _bulk(self) -> httpx.Timeout:
        return httpx.Timeout(max(self._timeout, BULK_SECONDS), connect=CONNECT_SECONDS)

    def _repeat(self, attempt: Callable[[], Result], *, repeatable: bool) -> Result:
        for delay in RETRY_DELAYS:
            try:
                return attempt()
            except UnansweredError as error:
                pause = max(delay, error.retry_after or 0.0)
                if pause > LONGEST_PAUSE or not (repeatable or error.unheard):
                    raise
            time.sleep(pause)
        return attempt()

    def _json(self, method: str, path: str, **arguments: Any) -> Any:
        try:
            response = self._http.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise self._unanswered(error) from error
        if not response.is_success:
            self._refuse(response)
        if response.status_code == httpx.codes.NO_CONTENT:
            return None
        try:
            return response.json()
        except ValueError:
            raise self.stranger() from None

    def stranger(self) -> ConfigurationError:
        """The error for an answer that no Aparella gives."""
        return ConfigurationError(
            f"Something answers at {self.url}, but not as an Aparella server does. "
            "Check APARELLA_URL or --url."
        )

    def _refuse(self, response: httpx.Response) -> None:
        if response.is_redirect:
            raise ConfigurationError(
                f"{self.url} redirects to {response.headers.get('Location')}: set APARELLA_URL to "
                "the address of the server itself."
            )
        error = problems.error(response)
        if not isinstance(error, ServiceUnavailableError):
            raise error
        if response.status_code not in {429, 502, 503, 504}:
            raise error
        raise UnansweredError(
            str(error),
            unheard=response.status_code == 429,
            retry_after=retry_after(response.headers.get("Retry-After")),
        )

    def _unanswered(self, error: httpx.TransportError) -> UnansweredError:
        unheard = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
        reason = re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or type(error).__name__
        if unheard:
            return UnansweredError(
                f"Cannot reach the Aparella server at {self.url} ({reason}). "
                "Start one with `aparella up`, or set APARELLA_URL to the right address.",
                unheard=True,
            )
        if isinstance(error, httpx.TimeoutException):
            return UnansweredError(f"The Aparella server at {self.url} took too long to answer.")
        return UnansweredError(
            f"The connection to the Aparella server at {self.url} broke ({reason})."
        )


def retry_after(value: str | None) -> float | None:
    """Seconds to wait that a `Retry-After` header asks for: a number or a date (RFC 9110, 10.2.3).

    Returns None where there is none that can be read.
    """
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
