"""Copies of registered presets on this machine, for when the registry does not answer.

One small JSON file an address and registry, in `$GREEDYLR_CACHE`, else `$XDG_CACHE_HOME/greedylr`, else
`~/.cache/greedylr`. A file is written beside its place and moved there in one step: whoever reads sees the old copy or
the new one, however many processes write. It holds a digest of itself; a file that does not fit it is never used.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from greedylr.preset import Preset
from greedylr.rule import require_count
from greedylr.strict_json import decode, encode, parse

FORMAT = 1
VARIABLE = "GREEDYLR_CACHE"


class DamagedCopyError(ValueError):
    """A file of the cache is not what was once written there."""


@dataclass(frozen=True, kw_only=True)
class CachedPreset:
    """A preset as the registry once gave it.

    Parameters
    ----------
    address, registry
        What was asked for, and where; the registry without a password.
    name, version, run_id
        What the address stood for then: the registered name, its version, and the run that holds the file.
    fetched_at
        ISO 8601 time, UTC.
    preset_json
        The preset as it stood there.
    """

    address: str
    registry: str
    name: str
    version: str
    run_id: str
    fetched_at: str
    preset_json: str
    format: int = FORMAT

    def __post_init__(self) -> None:
        require_count("format", self.format, minimum=FORMAT)
        if self.format != FORMAT:
            raise ValueError(f"format must be {FORMAT}, got {self.format}; a newer greedylr wrote this copy")
        if datetime.fromisoformat(self.fetched_at).tzinfo is None:
            raise ValueError(f"fetched_at must be a time with its zone, got {self.fetched_at!r}")
        Preset.from_json(self.preset_json)

    @property
    def preset(self) -> Preset:
        """The preset."""
        return Preset.from_json(self.preset_json)

    def age(self) -> str:
        """Return how long ago it was fetched, in words."""
        return in_words((datetime.now(UTC) - datetime.fromisoformat(self.fetched_at)).total_seconds())


def cache_folder() -> Path:
    """Return the folder of the copies; it need not exist."""
    if own := os.environ.get(VARIABLE):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "")
    # A relative path there is to be ignored: XDG Base Directory Specification 0.8.
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "greedylr"  # noqa: PTH117


def copy_path(address: str, registry: str) -> Path:
    """Return the file of the copy of an address in a registry."""
    key = hashlib.sha256(f"{registry}\n{address}".encode()).hexdigest()[:32]
    return cache_folder() / f"{key}.json"


def write_copy(copy: CachedPreset) -> Path:
    """Write a copy, in place of an older one, and return its file.

    Raises
    ------
    OSError
        If the folder cannot be written; an older copy is as it was then.
    """
    import tempfile  # not above: every job imports this module, and few write a copy

    path = copy_path(copy.address, copy.registry)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = encode(copy)
    text = json.dumps({"digest": _digest(content), "copy": content}, indent=2, allow_nan=False) + "\n"
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
    return path


def read_copy(address: str, registry: str) -> CachedPreset | None:
    """Return the copy of an address in a registry, None where there is none.

    Raises
    ------
    DamagedCopyError
        If the file is not what was written there, or cannot be read.
    """
    path = copy_path(address, registry)
    try:
        return _read(path, address, registry)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DamagedCopyError(f"the cached copy {path} is damaged and not used: {error}; remove the file") from error


def _read(path: Path, address: str, registry: str) -> CachedPreset:
    document = parse(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict) or set(document) != {"digest", "copy"}:
        raise ValueError("it must hold a digest and a copy")
    if document["digest"] != _digest(document["copy"]):
        raise ValueError("its digest does not fit its content")
    copy = decode(CachedPreset, document["copy"])
    if (copy.address, copy.registry) != (address, registry):
        raise ValueError(f"it is of {copy.address} in {copy.registry}")
    return copy


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def in_words(seconds: float) -> str:
    """Return a span of time in its largest unit, rounded down: "3 hours"; a clock set back gives "0 seconds"."""
    seconds = max(0.0, seconds)
    for name, length in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        if seconds >= length or length == 1:
            count = int(seconds // length)
            return f"{count} {name}{'' if count == 1 else 's'}"
    raise AssertionError("unreachable")
