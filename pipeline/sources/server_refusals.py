"""What it means that an MLflow server does not give what it was asked for: one line, with the remedy."""

import re
from typing import Any, Final
from urllib.parse import urlsplit

import requests

from pipeline.errors import SourceUnreadableError

BUSY_STATUSES: Final = frozenset({429, 502, 503, 504})
"""With these a server asks for patience."""

_LONGEST_QUOTATION: Final = 200
_VARIABLES: Final = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"


class AnswerRefusedError(SourceUnreadableError):
    """The server answered, but not with what was asked for.

    Parameters
    ----------
    message
        The reason, for the report.
    code
        MLflow's error code, such as RESOURCE_DOES_NOT_EXIST; '' where it gave none.
    stands
        As in `SourceUnreadableError`.
    """

    def __init__(self, message: str, *, code: str = "", stands: bool = False) -> None:
        super().__init__(message, stands=stands)
        self.code = code


def refusal(response: requests.Response, answer: Any, *, with_credentials: bool) -> AnswerRefusedError:
    """Say what an answer other than a JSON object with status 200 means; `answer` is its JSON, None if it has none."""
    told = answer if isinstance(answer, dict) else {}
    code = str(told.get("error_code", ""))
    stands = response.status_code in {401, 403} | BUSY_STATUSES
    return AnswerRefusedError(_sentence(response, told, code, with_credentials), code=code, stands=stands)


def _sentence(response: requests.Response, told: dict[str, Any], code: str, with_credentials: bool) -> str:
    status = response.status_code
    is_page = "html" in response.headers.get("Content-Type", "") or response.content.lstrip()[:1] == b"<"
    said = " ".join(str(told.get("message") or ("" if is_page else response.text)).split())[:_LONGEST_QUOTATION]
    if 300 <= status < 400:
        # The rest of the location may hold a one-time secret.
        target = urlsplit(response.headers.get("Location", ""))
        where = f"{target.scheme}://{target.hostname}" if target.hostname else target.path or "elsewhere"
        return f"redirects to {where} ({status}); give its final address, or credentials if that is a login page"
    if status == 401:
        if with_credentials:
            return f"refuses the credentials (401); check {_VARIABLES}"
        return f"asks for credentials (401); set {_VARIABLES}"
    if status == 403:
        return f"forbids to read it (403{': ' + said if said else ''}); ask its administrator for permission to read"
    if status in BUSY_STATUSES:
        return f"still busy or down after several attempts (it answers {status}); ingest it again later"
    if status == 404 and not code:
        return "no MLflow server at this address (404); a prefix may be missing at its end"
    if not code and (status == 200 or is_page):
        what = "a web page" if is_page else "something else"
        return f"answers with {what} instead of MLflow's JSON ({status}); a proxy may want a login: check the address"
    return f"answers {status}{': ' + said if said else ''}; its log may say why"


# What an exception says -> what the user can act on; the first that fits.
_REASONS: Final = (
    ("timed out|Timeout", "does not answer in {timeout} s; MLFLOW_HTTP_REQUEST_TIMEOUT sets another time in seconds"),
    ("ProxyError|to proxy", "the proxy of HTTP_PROXY or HTTPS_PROXY cannot be reached; correct it, or set NO_PROXY"),
    ("NameResolutionError|Name or service|nodename nor servname", "no host of this name; check the address"),
    ("refused", "no server listens there (connection refused); start it, or check the port"),
    (
        "verify failed",
        "its certificate cannot be verified; MLFLOW_TRACKING_SERVER_CERT_PATH names one to trust, "
        "MLFLOW_TRACKING_INSECURE_TLS=true trusts any",
    ),
    ("CA certificate|TLS certificate|TLS key", "a certificate file named in the environment cannot be found"),
    ("SSL", "no TLS connection; it may be a server for http://, or want MLFLOW_TRACKING_CLIENT_CERT_PATH"),
    (
        "InvalidHeader",
        "a header of a plugin or the workspace cannot be sent; look for a line break in it",
    ),
    ("ChunkedEncodingError", "its answers break off; ingest it again later, its log may say why"),
    ("Disconnected|BadStatusLine|reset by peer|aborted", "closes connections without an answer; its log may say why"),
)


def reason_of(error: Exception, timeout: float) -> str:
    """Say what an exception of `requests` means, without a word of its text, which may hold a header."""
    text = f"{type(error).__name__}: {error}"
    for said, meaning in _REASONS:
        if re.search(said, text):
            return meaning.format(timeout=f"{timeout:g}")
    return f"cannot be reached ({type(error).__name__})"
