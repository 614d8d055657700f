"""Random draws inside a loss (dropout), made once more the same."""

from __future__ import annotations

import torch


class RandomDraws:
    """Where torch's generators stand now, to go back to: a loss taken again then draws what it drew before.

    Parameters
    ----------
    device
        Whose generator is meant besides the CPU's.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._cpu = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def repeat(self) -> None:
        """Go back there."""
        torch.set_rng_state(self._cpu)
        if self._cuda is not None:
            torch.cuda.set_rng_state(self._cuda, self._device)
