"""Who is at the keyboard, for the record of promotions."""

from __future__ import annotations

import getpass
import socket


def user_name() -> str:
    """Return user@host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container whose user id has no name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
