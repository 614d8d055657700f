"""A loss, whatever holds it, as one number."""

from __future__ import annotations

from typing import Any

from greedylr.strict_json import shorten


def is_tensor(value: object) -> bool:
    """Return whether this is a torch tensor, without importing torch."""
    return hasattr(value, "is_cpu") and hasattr(value, "numel")


def require_one_number(loss: Any) -> None:
    """Raise ValueError unless the tensor holds one real number."""
    if loss.numel() != 1 or loss.is_complex():
        raise ValueError(
            f"loss must be one real number, got a tensor of shape {tuple(loss.shape)} and {loss.dtype}; pass its mean()"
        )


def as_number(loss: object) -> float:
    """Return a loss as a float; item(), because float() of a loss that still has its graph warns."""
    if is_tensor(loss):
        try:
            return float(loss.item())  # type: ignore[attr-defined]
        except (TypeError, ValueError, RuntimeError):
            require_one_number(loss)
            raise
    if isinstance(loss, str | bytes):
        raise ValueError(f"loss must be one real number, got {shorten(loss)}; convert it first")
    try:
        return float(loss)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"loss must be one real number, got {shorten(loss)}; pass its mean") from error
