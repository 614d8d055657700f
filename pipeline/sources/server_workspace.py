"""The workspace of an MLflow server that is read: a server with workspaces is as many stores at one address."""

import os
from typing import Final
from urllib.parse import parse_qs, quote, urlsplit

_DEFAULT: Final = "default"


def workspace_of(address: str) -> str | None:
    """Give the workspace that an address names (`?workspace=team`), else that of MLFLOW_WORKSPACE, else None."""
    named = parse_qs(urlsplit(address.strip()).query).get("workspace", [os.environ.get("MLFLOW_WORKSPACE", "")])
    return named[-1].strip() or None


def with_workspace(uri: str, workspace: str | None) -> str:
    """Add a workspace to the canonical address of a server, whose default one goes without saying."""
    return uri if workspace in (None, _DEFAULT) else f"{uri}?workspace={quote(workspace, safe='')}"
