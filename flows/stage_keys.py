"""Keys that say whether a stage of a group must run again.

A key is the hash of everything that the stage's result depends on: the data it starts from (or the key of the stage
before it), its slice of the settings, its version and the kind of device. The version is a number beside the stage: a
comment that changes must not cost a user a night of retraining.
"""

from __future__ import annotations

import hashlib
import json

Part = str | int | float | bool | None | list["Part"] | dict[str, "Part"]


def stage_key(stage: str, version: int, **parts: Part) -> str:
    """Return 32 hexadecimal digits that name the stage's inputs."""
    content = json.dumps([stage, version, parts], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:32]
