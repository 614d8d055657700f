"""The addresses of SQL stores, in all the spellings that MLflow, SQLAlchemy and PostgreSQL know."""

import re
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode

from pipeline.errors import SourceUnreadableError

_DEFAULT_PORT: Final = "5432"
_POSTGRESQL: Final = ("postgresql", "postgres")
# As SQLAlchemy reads it: an `@` in a password is written %40, while `/` and `?` may stand there as they are.
_POSTGRESQL_ADDRESS: Final = re.compile(
    r"\w+(?:\+\w+)?://(?:(?P<user>[^:/?@]*)(?::(?P<password>[^@]*))?@)?(?P<hosts>[^/?]*)"
    r"(?:/(?P<dbname>[^?]*))?(?:\?(?P<query>.*))?"
)
_SEARCH_PATH: Final = re.compile(r"search_path\s*=\s*(\S+)")


def sqlite_path(address: str) -> Path:
    """Give the file of `sqlite:////absolute`, `sqlite:///relative` or a plain path, links resolved.

    Raises
    ------
    SourceUnreadableError
        The address has another scheme, or names no file.
    """
    scheme, separator, rest = address.partition("://")
    if not separator:
        path = address
    elif scheme.split("+")[0] != "sqlite":
        raise SourceUnreadableError(f"only MLflow's SQLite stores can be read, got the scheme '{scheme}'")
    else:
        path = rest.partition("?")[0].removeprefix("/")
    if not path.strip():
        raise SourceUnreadableError(f"an address must name a file, got '{address}'; write sqlite:////absolute/path.db")
    return Path(path).expanduser().resolve()


def postgresql_parameters(address: str) -> dict[str, str]:
    """Give libpq's parameters (host, port, dbname, user, password, those after `?`) of a `postgresql://` address.

    Raises
    ------
    SourceUnreadableError
        The address has another scheme, names no database, or cannot be taken apart; it is not shown, since it may hold
        a password.
    """
    if not is_postgresql(address):
        raise SourceUnreadableError(
            f"an address of PostgreSQL must begin with postgresql://, got the scheme '{address.partition('://')[0]}'"
        )
    match = _POSTGRESQL_ADDRESS.fullmatch(address.strip())
    if match is None or "@" in match["hosts"]:
        raise SourceUnreadableError(
            "the address cannot be taken apart; write postgresql://user@host:port/database, and %40 for an @ in a "
            "password"
        )
    hosts = [_host_and_port(host) for host in match["hosts"].split(",")]
    parameters = {
        "host": ",".join(host for host, _ in hosts),
        "port": ",".join(port for _, port in hosts) if any(port for _, port in hosts) else "",
        **{name: unquote(match[name] or "") for name in ("dbname", "user", "password")},
        **dict(parse_qsl(match["query"] or "", keep_blank_values=True)),
    }
    if any("\0" in value for value in parameters.values()):
        # libpq refuses it too, and quotes the password that holds it.
        raise SourceUnreadableError("the address must not hold %00; write %25 for a % in a password")
    if not parameters["dbname"]:
        raise SourceUnreadableError("the address must name a database; write postgresql://user@host:port/database")
    return {name: value for name, value in parameters.items() if value}


def libpq_uri(parameters: dict[str, str]) -> str:
    """Give the parameters as the address that libpq reads; nothing in them can be mistaken for something else."""
    return f"postgresql://?{urlencode(parameters, quote_via=quote)}"


def is_postgresql(address: str) -> bool:
    """Say whether an address is one of PostgreSQL, with a driver of SQLAlchemy's (`+psycopg2`) or without."""
    scheme, separator, _ = address.strip().partition("://")
    return bool(separator) and scheme.lower().split("+")[0] in _POSTGRESQL


def canonical_uri(address: str) -> str:
    """Give one spelling to all spellings of an address, without a password.

    A PostgreSQL store is host, port, database and, if one is searched first, schema. Who reads it is left out: a role
    that may only read and MLflow's own must give one store one name. What is no address of SQL comes back without its
    password.
    """
    try:
        return _canonical_postgresql(address) if is_postgresql(address) else f"sqlite:///{sqlite_path(address)}"
    except SourceUnreadableError:
        return re.sub(r"://([^:/@]*):[^@]*@", r"://\1:***@", address)


def _canonical_postgresql(address: str) -> str:
    parameters = postgresql_parameters(address)
    hosts = parameters.get("host", "").split(",")
    ports = parameters.get("port", "").split(",")
    ports += ports[-1:] * (len(hosts) - len(ports))
    places = [(host, port or _DEFAULT_PORT) for host, port in zip(hosts, ports, strict=False)]
    query = {}
    if any(host.startswith("/") for host in hosts):
        query = {"host": ",".join(hosts), "port": ",".join(port for _, port in places)}
    schema = _SEARCH_PATH.search(parameters.get("options", ""))
    if schema:
        query["options"] = f"-csearch_path={schema[1]}"
    named = "" if "host" in query else ",".join(_place(host, port) for host, port in places)
    asked = f"?{urlencode(query, safe='/')}" if query else ""
    return f"postgresql://{named}/{quote(parameters['dbname'])}{asked}"


def _host_and_port(place: str) -> tuple[str, str]:
    host, _, port = place.partition("]:") if place.startswith("[") else place.partition(":")
    return unquote(host).strip("[]"), port


def _place(host: str, port: str) -> str:
    if not host:
        return ""
    return f"[{host}]:{port}" if ":" in host else f"{host.lower()}:{port}"
