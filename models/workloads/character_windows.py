"""Windows of characters as rows: documents cut one after the other into pieces, split by document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from greedylr.workload import Split
from models.workloads.row_workload import SplitRows
from models.workloads.split_rows import split_rows

HELD_OUT = 0.1  # share of the documents in each of the two evaluation splits


def character_windows(data: Mapping[str, NDArray[Any]], *, length: int, evaluation_windows: int) -> SplitRows:
    """Return windows (n_windows, length) of characters, uint8 in 0 .. n_letters - 1.

    Windows do not overlap, and a rest of a document that fills none is left out. Evaluation takes so many windows,
    evenly spaced over all those of its documents: it is paid for every replica, and a better estimate of a loss that
    is compared on the same windows is not worth much.

    Parameters
    ----------
    data
        `characters` (n_characters,) of documents one after the other, their `lengths` and the `alphabet`.
    evaluation_windows
        At most so many in each of the two evaluation splits.

    Raises
    ------
    ValueError
        If the data hold no such characters.
    """
    for name in ("characters", "lengths", "alphabet"):
        if name not in data:
            raise ValueError(f"the data must hold {name!r}, got {', '.join(data)}; prepare a set of characters")
    lengths = data["lengths"]
    starts, documents = _windows(lengths, length)
    held_out = round(HELD_OUT * len(lengths))
    splits = split_rows(len(lengths), selection=held_out, reporting=held_out)
    places = {split: np.flatnonzero(np.isin(documents, chosen.numpy())) for split, chosen in splits.items()}
    for split in get_args(Split):
        places[split] = _evenly_spaced(places[split], evaluation_windows)
    kept = np.concatenate(list(places.values()))
    ends = np.cumsum([len(each) for each in places.values()])
    rows = {split: torch.arange(end - len(places[split]), end) for split, end in zip(places, ends, strict=True)}
    windows = np.lib.stride_tricks.sliding_window_view(data["characters"], length)[starts[kept]]
    return SplitRows(columns=(torch.from_numpy(windows),), rows=rows)


def _windows(lengths: NDArray[np.int64], length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first character of each window and its document."""
    counts = lengths // length
    documents = np.repeat(np.arange(len(lengths)), counts)
    place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return (np.cumsum(lengths) - lengths)[documents] + place * length, documents


def _evenly_spaced(places: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    return places[np.unique(np.linspace(0, len(places) - 1, min(most, len(places))).round().astype(np.int64))]
