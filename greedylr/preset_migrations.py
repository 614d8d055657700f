"""Presets of older schemas, brought to the present one a version at a time before they are decoded."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from greedylr.strict_json import shorten

Document = dict[str, Any]
Migration = Callable[[Document], Document]

# A further choice for a field that is there, such as a new shape of envelope, is no new version: readers that lack it
# refuse the presets that use it, by name, and go on reading all others.
SCHEMA_VERSION = 3

# What a version added to the parts of a preset, and what it is for presets that were published before.
_ADDED: Mapping[int, Mapping[str, Document]] = {
    2: {
        "schedule": {"probe": None, "rollback": None},
        "provenance": {"optimizer": "", "task": "", "parameters": None, "batch_size": None},
    },
    3: {"verdict": {"control_tuned": True, "selection": "apart"}},
}


def _with_what_came(version: int) -> Migration:
    def migrated(document: Document) -> Document:
        for part, added in _ADDED[version].items():
            if document[part] is None:
                continue
            if early := [name for name in added if name in document[part]]:
                raise ValueError(
                    f"$.{part}.{early[0]} is no known field of schema version {version - 1}; it came with version "
                    f"{version}"
                )
            document[part] = {**document[part], **added}
        return document

    return migrated


# From version -> what makes a document of it one of the next; it need not touch schema_version.
MIGRATIONS: Mapping[int, Migration] = {version - 1: _with_what_came(version) for version in _ADDED}


def to_present_schema(
    document: Document, *, present: int = SCHEMA_VERSION, migrations: Mapping[int, Migration] = MIGRATIONS
) -> Document:
    """Return a preset's plain builtins as a document of the present schema; the given one stays as it is.

    Raises
    ------
    ValueError
        If the version is missing, no version, a newer one, or the document is not what its version says.
    """
    if "schema_version" not in document:
        raise ValueError("$.schema_version is missing; this is no GreedyLR preset")
    found = document["schema_version"]
    require_schema_version(found, present=present, path="$.schema_version")
    for version in range(found, present):
        if version not in migrations:
            raise ValueError(f"$.schema_version is {version}, from which no migration leads to {version + 1}")
        try:
            document = migrations[version](copy.deepcopy(document)) | {"schema_version": version + 1}
        except (LookupError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(
                f"$ is no preset of schema version {version}, as its schema_version says: {type(error).__name__} "
                f"{error}; export it again"
            ) from error
    return document


def require_schema_version(version: object, *, present: int = SCHEMA_VERSION, path: str = "schema_version") -> None:
    """Raise ValueError unless `version` is one that can be brought to the present one."""
    # type(), because True is 1 and 1.0 is 1.
    if type(version) is not int or not 1 <= version <= present:
        known = str(present) if present == 1 else f"between 1 and {present}"
        raise ValueError(
            f"{path} must be {known}, got {shorten(version)}; a preset of a newer schema "
            "needs a newer greedylr: pip install --upgrade greedylr"
        )
