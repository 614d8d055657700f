"""By what method the rate of a training is set: a schedule, or an optimizer that finds its rates itself."""

from __future__ import annotations

from typing import Literal, get_args

Method = Literal["schedule"]
METHODS: tuple[Method, ...] = get_args(Method)
