"""Three ways to take a step of a matrix factorisation: batches of rows, batches of entries, one whole factor in turn.

Each knows its batches, their loss, and the largest rate at which it is stable at given factors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from models.nmf import stochastic
from models.nmf.factorisation import Floats
from models.nmf.stochastic import SecondMoment
from models.workloads.held_out_entries import HeldOutEntries
from models.workloads.row_batches import RowBatches


class FactorisationSteps(Protocol):
    """Batches of one seed, and their loss."""

    def batch(self, step: int) -> tuple[Tensor, ...]:
        """Return the batch of a step."""

    def loss(self, parameters: Mapping[str, Tensor], batch: Any) -> Tensor:
        """Return the scaled mean squared error of a batch."""

    def largest_stable_learning_rate(self, loadings: Floats, parts: Floats, momentum: float) -> float:
        """Return it at factors (n_rows, rank) and (rank, n_columns), in units of the rate of the loss."""


class RowSteps:
    """A batch of rows a step: it moves those rows' loadings, and the parts."""

    def __init__(self, entries: HeldOutEntries, *, seed: int, batch_size: int, device: str) -> None:
        self._entries = entries
        self._batches = RowBatches(seed, n_rows=len(entries.values), batch_size=batch_size, device=device)

    def batch(self, step: int) -> tuple[Tensor, ...]:
        """Return rows (b,), their values and their training weights, (b, n_columns) each."""
        rows = self._batches.rows(step)
        return rows, self._entries.values[rows], self._entries.weights["training"][rows]

    def loss(self, parameters: Mapping[str, Tensor], batch: Any) -> Tensor:
        """Return the error over the training entries of the rows."""
        rows, values, weights = batch
        product = parameters["loadings"].index_select(0, rows) @ parameters["parts"]
        return self._entries.error(product, values, weights)

    def largest_stable_learning_rate(self, loadings: Floats, parts: Floats, momentum: float) -> float:
        """Return the rate at which both factors, each by its own mean-square bound, are stable together."""
        size, total = self._batches.batch_size, len(loadings)
        of_parts = stochastic.largest_stable_learning_rate(
            loadings, SecondMoment.of_drawn_terms(size, total), momentum=momentum
        )
        of_loadings = stochastic.largest_stable_learning_rate(
            parts.T, SecondMoment.of_whole_or_nothing(size / total), momentum=momentum
        )
        return _together(of_loadings, of_parts) * _unit(self._entries, self._entries.values.numel())


class EntrySteps:
    """A batch of single entries a step."""

    def __init__(self, entries: HeldOutEntries, *, seed: int, batch_size: int, device: str) -> None:
        self._entries = entries
        places = entries.masks["training"].nonzero()
        self._rows, self._columns = places[:, 0].contiguous(), places[:, 1].contiguous()
        self._values = entries.values[self._rows, self._columns]
        self._batches = RowBatches(seed, n_rows=len(places), batch_size=batch_size, device=device)

    def batch(self, step: int) -> tuple[Tensor, ...]:
        """Return rows, columns and values of the entries, (b,) each."""
        places = self._batches.rows(step)
        return self._rows[places], self._columns[places], self._values[places]

    def loss(self, parameters: Mapping[str, Tensor], batch: Any) -> Tensor:
        """Return the error over the entries."""
        rows, columns, values = batch
        loadings = parameters["loadings"].index_select(0, rows)
        parts = parameters["parts"].index_select(1, columns)
        residual: Tensor = (loadings * parts.T).sum(1) - values.to(loadings.dtype)
        return residual.square().mean() * self._entries.scale

    def largest_stable_learning_rate(self, loadings: Floats, parts: Floats, momentum: float) -> float:
        """Return the rate at which both factors, each by its own mean-square bound, are stable together."""
        moment = SecondMoment.of_drawn_terms(self._batches.batch_size, self._entries.n_training)
        of_parts = stochastic.largest_stable_learning_rate(loadings, moment, momentum=momentum)
        of_loadings = stochastic.largest_stable_learning_rate(parts.T, moment, momentum=momentum)
        return _together(of_loadings, of_parts) * _unit(self._entries, self._entries.values.numel())


class AlternatingSteps:
    """All rows each step, for the loadings at even steps and for the parts at odd ones."""

    def __init__(self, entries: HeldOutEntries, *, seed: int, device: str) -> None:
        self._entries = entries
        self._rows = RowSteps(entries, seed=seed, batch_size=len(entries.values), device=device)
        self._ones = torch.ones(len(entries.values), device=device)

    def batch(self, step: int) -> tuple[Tensor, ...]:
        """Return the batch of all rows, and (n_rows,) of 1 where the loadings' turn it is, else of 0."""
        return *self._rows.batch(step), self._ones * (1 - step % 2)

    def loss(self, parameters: Mapping[str, Tensor], batch: Any) -> Tensor:
        """Return the error over all training entries, as a function of the factor whose turn it is."""
        *rows, turn = batch
        moves = {"loadings": turn[0] > 0, "parts": turn[0] == 0}
        moving = {name: torch.where(moves[name], factor, factor.detach()) for name, factor in parameters.items()}
        return self._rows.loss(moving, rows)

    def largest_stable_learning_rate(self, loadings: Floats, parts: Floats, momentum: float) -> float:
        """Return the lower of the two factors' rates: the bound is exact, for the entries that are fitted.

        Raises
        ------
        ValueError
            For a momentum, which would move the factor whose turn it is not.
        """
        if momentum:
            raise ValueError(f"factors are trained in turn without momentum only, got {momentum!r}; set it to 0")
        mask = self._entries.weights["training"].cpu().numpy().astype(np.float64)
        # Row i of W is fitted to the columns of H that its mask has: a Hessian of its own; likewise each column of H.
        of_rows = np.einsum("kj,ij,lj->ikl", parts, mask, parts, optimize=True)
        of_columns = np.einsum("ik,ij,il->jkl", loadings, mask, loadings, optimize=True)
        steepest = max(float(np.linalg.eigvalsh(each)[:, -1].max()) for each in (of_rows, of_columns))
        return 2 / steepest * _unit(self._entries, self._entries.n_training)


def _together(first: float, second: float) -> float:
    """Return the rate at which two factors are stable together, as their curvatures add up (`nmf.simultaneous`)."""
    return 1 / (1 / first + 1 / second)


def _unit(entries: HeldOutEntries, n_entries: int) -> float:
    """Return what turns a rate of 1/2 |V - W H|² into one of the scaled mean squared error over so many entries.

    All of them stand for those that are fitted where the Hessians are taken of all: what is held out thins both alike.
    """
    return n_entries / (2 * entries.scale)
