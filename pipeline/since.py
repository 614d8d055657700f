"""Since when runs are asked for: an age, or a date."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_AGE: Final = re.compile(r"(\d{1,5})([hdw])")
_UNITS: Final = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def since_ms(since: str, now: datetime) -> int:
    """Give an age or a date as milliseconds since 1970; ValueError for a text that is neither."""
    age = _AGE.fullmatch(since)
    try:
        moment = now - int(age[1]) * _UNITS[age[2]] if age else datetime.fromisoformat(since)
    except ValueError as error:
        raise ValueError(
            f"since must be an age such as 12h, 180d or 4w, or a date such as 2026-01-31, got '{since}'"
        ) from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
