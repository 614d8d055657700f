"""Requests to an MLflow server: patient where it is busy, never where it is not there, read-only.

MLflow's `MlflowClient` builds an entity for every point, and its `http_request` waits for hours if a server says so and
makes a GET of a POST that is redirected; so only how to introduce oneself is MLflow's own code.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from pipeline.errors import SourceUnreadableError
from pipeline.sources.server_credentials import introduction
from pipeline.sources.server_refusals import BUSY_STATUSES, reason_of, refusal

API: Final = "/api/2.0/mlflow/"
INTERFACE_API: Final = "/ajax-api/2.0/mlflow/"
"""What MLflow's own interface asks: the same as `API` and a little more."""

_RETRIES: Final = 6
_BACKOFF_SECONDS: Final = 0.5  # 0, 1, 2, 4, 8, 16 seconds, and up to half a second more
_LONGEST_WAIT_SECONDS: Final = 60
_REPETITIONS_OF_A_BROKEN_ANSWER: Final = 2
_MOST_EMPTY_PAGES: Final = 100
_DEFAULT_PORTS: Final = MappingProxyType({"http": 80, "https": 443})


def canonical_server_uri(address: str) -> str:
    """Give one spelling to all spellings of a server's address, without user, password, query and last slash.

    Raises
    ------
    SourceUnreadableError
        It is no address of an HTTP server.
    """
    try:
        parts = urlsplit(address.strip())
        host, port, default = parts.hostname, parts.port, _DEFAULT_PORTS[parts.scheme]
    except (ValueError, KeyError):
        host, port, default = None, None, None
    if host is None:
        raise SourceUnreadableError("an MLflow server's address must be like http://host:5000 or https://host/prefix")
    host = f"[{host}]" if ":" in host else host
    place = host if port in (None, default) else f"{host}:{port}"
    return f"{parts.scheme}://{place}{parts.path.rstrip('/')}"


class RestClient:
    """One server's REST API, open until `close`; threads share it, as those of MLflow's own client share a session.

    Parameters
    ----------
    address
        Of the server; a `user:password@` in it goes before the environment's.
    connections
        How many are kept, at most.

    Raises
    ------
    SourceUnreadableError
        No address of a server; contradictory settings; and of each request: the server's refusal in one line, or what
        hinders to reach it.
    """

    def __init__(self, address: str, *, connections: int) -> None:
        self.uri = canonical_server_uri(address)
        self._introduction = introduction(self.uri, address)
        self._session = requests.Session()
        self._session.headers.update(self._introduction.headers)
        self._session.auth = self._introduction.authentication
        self._session.cert = self._introduction.certificate
        self._session.mount(self.uri, HTTPAdapter(pool_maxsize=connections, max_retries=_retry(connect=_RETRIES)))
        # The first of all requests: who mistyped the address should not wait for half a minute.
        self._session.mount(f"{self.uri}{API}experiments/search", HTTPAdapter(max_retries=_retry(connect=0)))

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def get(self, path: str, parameters: Mapping[str, str | int | Sequence[str]]) -> dict[str, Any]:
        """Ask by GET."""
        return self._ask("GET", path, params=parameters)

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Ask by POST, as MLflow's searches are; they change nothing."""
        return self._ask("POST", path, json=body)

    def searched(self, path: str, body: Mapping[str, Any], field: str) -> Iterator[list[dict[str, Any]]]:
        """Give what a search finds, page by page, to the last."""
        token, empty = "", 0
        seen: set[str] = set()
        while True:
            answer = self.post(path, {**body, "page_token": token} if token else body)
            found = answer.get(field, [])
            yield found
            token = answer.get("next_page_token") or ""
            if not token:
                return
            empty = 0 if found else empty + 1
            if token in seen or empty > _MOST_EMPTY_PAGES:
                raise SourceUnreadableError(f"its pages of {field} have no end; a proxy may repeat old answers")
            seen.add(token)

    def _ask(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        try:
            response = self._response(method, path, content)
        except (requests.exceptions.RequestException, OSError) as error:
            # Not chained: the text of some of these is the header with the password.
            raise SourceUnreadableError(reason_of(error, self._introduction.timeout)) from None
        try:
            answer = json.loads(response.content)
        except ValueError:
            answer = None
        if response.status_code == 200 and isinstance(answer, dict):
            return answer
        refused = refusal(response, answer, with_credentials=self._introduction.authentication is not None)
        for secret in self._introduction.secrets:
            refused.args = (str(refused).replace(secret, "***"),)
        raise refused

    def _response(self, method: str, path: str, content: dict[str, Any]) -> requests.Response:
        repetition = 0
        while True:
            try:
                return self._session.request(
                    method,
                    f"{self.uri}{path}",
                    # The session's would give way to REQUESTS_CA_BUNDLE; the request's does not, as in MLflow.
                    verify=self._introduction.verify,
                    timeout=self._introduction.timeout,
                    # A redirected POST becomes a GET, and a login page is no answer.
                    allow_redirects=False,
                    **content,
                )
            except requests.exceptions.ChunkedEncodingError:
                # urllib3 repeats a request that gets no answer, but not one whose answer breaks off.
                if repetition == _REPETITIONS_OF_A_BROKEN_ANSWER:
                    raise
                time.sleep(_BACKOFF_SECONDS * 2**repetition)
                repetition += 1


def _retry(*, connect: int) -> Retry:
    return Retry(
        total=_RETRIES,
        connect=connect,
        read=2,
        other=0,  # a certificate that cannot be verified
        allowed_methods=None,
        status_forcelist=BUSY_STATUSES,
        backoff_factor=_BACKOFF_SECONDS,
        backoff_jitter=_BACKOFF_SECONDS,
        backoff_max=_LONGEST_WAIT_SECONDS,
        retry_after_max=_LONGEST_WAIT_SECONDS,
        raise_on_status=False,
    )
