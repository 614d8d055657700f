"""How MLflow's own client would introduce itself to a server: credentials, certificates and headers it would take."""

import base64
import configparser
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import requests

from pipeline.errors import SourceUnreadableError
from pipeline.sources.server_workspace import workspace_of


@dataclass(frozen=True, kw_only=True)
class Introduction:
    """What goes with every request.

    Parameters
    ----------
    authentication
        Signs a request; None where there are no credentials.
    verify
        Whether to verify the server's certificate, or the file with those to trust.
    certificate
        File of the client's own certificate, if any.
    headers
        Of MLflow's plugins and the workspace.
    timeout
        Seconds.
    secrets
        Texts that no message may hold.
    """

    authentication: requests.auth.AuthBase | None = field(repr=False)
    verify: bool | str
    certificate: str | None
    headers: dict[str, str] = field(repr=False)
    timeout: int
    secrets: tuple[str, ...] = field(repr=False)


class Authorization(requests.auth.AuthBase):
    """A header that a `.netrc` cannot replace, which it would if it stood among the session's."""

    def __init__(self, value: str) -> None:
        self._value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header."""
        request.headers["Authorization"] = self._value
        return request


def introduction(uri: str, address: str) -> Introduction:
    """Take from the environment what MLflow's client would; what the address names goes before it.

    Raises
    ------
    SourceUnreadableError
        The settings contradict themselves, or ask for what this project cannot do.
    """
    credentials = _mlflow_credentials(uri)
    username, password, token = credentials.username, credentials.password, credentials.token
    parts = urlsplit(address.strip())
    if parts.password is not None:
        username, password = unquote(parts.username or ""), unquote(parts.password)
    basic = base64.standard_b64encode(f"{username}:{password}".encode()).decode() if username and password else None
    authentication: requests.auth.AuthBase | None = None
    if credentials.auth:
        authentication = _plugin(credentials.auth)
    elif basic:
        authentication = Authorization(f"Basic {basic}")
    elif token:
        # What refuses such a header further down quotes it.
        if not (token.isascii() and token.isprintable()):
            raise SourceUnreadableError("MLFLOW_TRACKING_TOKEN cannot stand in a header; look for a line break in it")
        authentication = Authorization(f"Bearer {token}")
    timeout, headers = _timeout_and_headers(workspace_of(address))
    return Introduction(
        authentication=authentication,
        verify=credentials.verify,
        certificate=credentials.client_cert_path,
        headers=headers,
        timeout=timeout,
        secrets=tuple(secret for secret in (basic, password, parts.password, token) if secret),
    )


def _mlflow_credentials(uri: str) -> Any:
    from mlflow.exceptions import MlflowException
    from mlflow.utils import credentials

    # MLflow's functions are not typed.
    untyped: Any = credentials
    try:
        found = untyped.get_default_host_creds(uri)
    except MlflowException as error:
        raise SourceUnreadableError(f"MLflow's settings in the environment: {error.message}") from None
    except configparser.Error:
        # The parser's message quotes the line that it cannot read, which may be the password's.
        raise SourceUnreadableError("~/.mlflow/credentials cannot be parsed; see MLflow's documentation") from None
    if found.aws_sigv4:
        raise SourceUnreadableError("MLFLOW_TRACKING_AWS_SIGV4 is set; requests signed for AWS are not supported")
    return found


def _plugin(name: str) -> Any:
    from mlflow.exceptions import MlflowException
    from mlflow.tracking.request_auth import registry

    untyped: Any = registry
    try:
        return untyped.fetch_auth(name)
    except MlflowException as error:
        raise SourceUnreadableError(f"MLFLOW_TRACKING_AUTH: {error.message}") from None


def _timeout_and_headers(workspace: str | None) -> tuple[int, dict[str, str]]:
    from mlflow import environment_variables
    from mlflow.tracking.request_header import registry
    from mlflow.utils.workspace_utils import WORKSPACE_HEADER_NAME

    untyped: Any = environment_variables
    resolve: Any = registry.resolve_request_headers
    headers = dict(resolve()) | ({WORKSPACE_HEADER_NAME: workspace} if workspace else {})
    return int(untyped.MLFLOW_HTTP_REQUEST_TIMEOUT.get()), headers
