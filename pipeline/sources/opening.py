"""From an address to a source: which kind of store it names, and its one canonical spelling."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from pipeline.errors import SourceUnreadableError

if TYPE_CHECKING:
    from pipeline.sources.source import Source

Kind = Literal["sqlite", "postgresql", "server", "files"]

KINDS: Final = (
    "a source is sqlite:////absolute/mlflow.db or the path of such a file, a folder (mlruns) or "
    "file:///absolute/mlruns, postgresql://user@host/database, or http(s)://host:port"
)

_SCHEMES: Final[dict[str, Kind]] = {
    "sqlite": "sqlite",
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "http": "server",
    "https": "server",
    "file": "files",
}
_SCHEME: Final = re.compile(r"(?P<scheme>[A-Za-z]\w*)(\+\w+)?://|(?P<file>file):/", re.IGNORECASE)
# A password may hold what should have been quoted: all up to the last @ is taken for one.
_PASSWORD: Final = re.compile(r"(?<=://)([^:/@\s]*):\S*@")
_PASSWORD_OPTION: Final = re.compile(r"(?i)([?&](?:ssl)?password=)[^&\s]*")


def open_source(address: str) -> Source:
    """Give the source that an address names, not yet entered.

    Parameters
    ----------
    address
        `sqlite:////absolute`, `sqlite:///relative` or the path of a file; a folder or `file:///absolute`;
        `postgresql://user:password@host:port/database`; `http://host:port` or `https://`, with
        `?workspace=name` where the server has workspaces.

    Raises
    ------
    SourceUnreadableError
        It names no kind of store that can be read.
    """
    match kind_of(address):
        case "sqlite":
            from pipeline.sources.sqlite_store import SQLiteStore

            return SQLiteStore(address)
        case "postgresql":
            from pipeline.sources.postgresql_store import PostgreSQLStore

            return PostgreSQLStore(address)
        case "server":
            from pipeline.sources.tracking_server import TrackingServer

            return TrackingServer(address)
        case "files":
            from pipeline.sources.file_store import FileStore

            return FileStore(address)


def kind_of(address: str) -> Kind:
    """Say what an address names; a path is a file store where a folder lies there. Errors as `open_source`.

    Where nothing lies there, a path without a suffix (`mlruns`) names a folder: it is known by this address.
    """
    match = _SCHEME.match(address.strip())
    if match is None:
        path = Path(address.strip()).expanduser()
        return "files" if path.is_dir() or not (path.suffix or path.exists()) else "sqlite"
    scheme = (match["scheme"] or match["file"]).lower()
    if scheme not in _SCHEMES:
        raise SourceUnreadableError(f"{KINDS}; got the scheme '{scheme}'")
    return _SCHEMES[scheme]


def canonical_uri(address: str) -> str:
    """Give one spelling, without a password, to all spellings of an address; one that cannot be read is only shown."""
    try:
        return open_source(address).uri
    except SourceUnreadableError:
        return shown(address)


def shown(text: str) -> str:
    """Give a text without the passwords of the addresses in it, fit to be printed."""
    return _PASSWORD_OPTION.sub(r"\1***", _PASSWORD.sub(r"\1:***@", text))
