"""Seeds by purpose: search, reference and test never share one, and a longer list begins with the shorter one."""

from __future__ import annotations

import hashlib
from typing import Literal, get_args

Purpose = Literal["history", "search", "reference", "test"]

# Seeds are below 2**31, which every library takes: the purpose in the upper 3 bits, a hash in the lower 28.
NUMBERS_A_PURPOSE = 1 << 28
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)


def derive_seeds(purpose: Purpose, *keys: str, count: int, start: int = 0) -> list[int]:
    """Return seeds number `start` to `start + count - 1` of a purpose and its keys, all different.

    Seeds of different purposes differ by construction, whatever the keys; seeds of different keys differ but for chance
    (about one pair in 2**28).

    Raises
    ------
    ValueError
        For an unknown purpose or a negative count or start.
    """
    if purpose not in PURPOSES:
        raise ValueError(f"purpose must be one of {', '.join(map(repr, PURPOSES))}, got {purpose!r}")
    if count < 0 or start < 0:
        raise ValueError(f"count and start must be >= 0, got {count} and {start}")
    seeds: dict[int, None] = {}  # an ordered set: a repeated hash is skipped, so that the numbering stays stable
    number = 0
    while len(seeds) < start + count:
        seeds[_seed(purpose, keys, number)] = None
        number += 1
    return list(seeds)[start:]


def _seed(purpose: Purpose, keys: tuple[str, ...], number: int) -> int:
    # Lengths keep ("ab", "c") apart from ("a", "bc").
    text = "".join(f"{len(part)}:{part}" for part in (purpose, *keys, str(number)))
    low = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % NUMBERS_A_PURPOSE
    return PURPOSES.index(purpose) * NUMBERS_A_PURPOSE + low
