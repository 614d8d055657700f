"""How long something may take, as people write it: 90s, 30m, 2h."""

import re
from typing import Final

_DURATION: Final = re.compile(r"(\d{1,7}(?:\.\d{1,3})?)([smhd]?)")
_SECONDS: Final = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_of(duration: str) -> float:
    """Return a duration in seconds; ValueError for a text that is none, or no time at all.

    Examples
    --------
    >>> seconds_of("2h"), seconds_of("1.5m"), seconds_of("90")
    (7200.0, 90.0, 90.0)
    """
    found = _DURATION.fullmatch(duration.strip())
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if not seconds:
        raise ValueError(f"a duration must be a number with s, m, h or d, such as 90s, 30m or 2h, got {duration!r}")
    return seconds
