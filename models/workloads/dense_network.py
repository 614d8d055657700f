"""A network of dense layers as a function of its weights; with one layer it is a linear model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class DenseNetwork:
    """Dense layers with rectifiers between them.

    Parameters
    ----------
    widths
        From the inputs to the outputs, at least two.
    output_scale
        Factor of the last layer's initial weights. With a small one training begins near what guessing scores, which
        a regret is measured from.
    """

    widths: tuple[int, ...]
    output_scale: float = 1.0

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Return weights with He's variance 2 / inputs (He et al. 2015, section 2.2) and zero biases."""
        weights: dict[str, Tensor] = {}
        for layer, (before, after) in enumerate(zip(self.widths, self.widths[1:], strict=False)):
            scale = math.sqrt(2 / before) * (self.output_scale if layer == len(self.widths) - 2 else 1.0)
            weights[f"weight_{layer}"] = torch.randn(before, after, generator=generator) * scale
            weights[f"bias_{layer}"] = torch.zeros(after)
        return weights

    def outputs(self, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Return outputs (n, widths[-1]) of inputs (n, widths[0])."""
        hidden = inputs
        last = len(self.widths) - 2
        for layer in range(last + 1):
            hidden = hidden @ parameters[f"weight_{layer}"] + parameters[f"bias_{layer}"]
            if layer < last:
                hidden = torch.relu(hidden)
        return hidden
