"""A transformer of pre-normalised blocks as plain functions of its weights (Vaswani et al. 2017; Xiong et al. 2020).

Without biases: the gradient of one in front of a softmax is a rounding error, which Adam would blow up to full steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import embedding, layer_norm

# Of embeddings and of what logits are made with: the first loss is then near that of an even guess.
INITIAL_SCALE = 0.1


@dataclass(frozen=True, kw_only=True)
class TransformerSize:
    """How large a transformer is.

    Parameters
    ----------
    width
        Features a token, a multiple of `heads`.
    hidden
        Units a token between the two layers of a block's MLP.
    layers, heads
        Blocks, and heads of attention in each.
    """

    width: int
    hidden: int
    layers: int
    heads: int


def transformer_weights(
    size: TransformerSize, generator: torch.Generator, *, n_tokens: int, context: int, n_outputs: int
) -> dict[str, Tensor]:
    """Return fresh weights: normal, scaled by fan-in; those that write to the stream also by 1/sqrt(2 layers)."""
    width, hidden = size.width, size.hidden

    def normal(rows: int, columns: int, scale: float) -> Tensor:
        return torch.randn(rows, columns, generator=generator) * scale

    weights = {
        "tokens": normal(n_tokens, width, INITIAL_SCALE),
        "positions": normal(context, width, INITIAL_SCALE),
    }
    into, out_of_hidden = 1 / math.sqrt(width), 1 / math.sqrt(hidden)
    depth = 1 / math.sqrt(2 * size.layers)
    for layer in range(size.layers):
        weights |= {
            f"{layer}.attention_norm": torch.ones(width),
            f"{layer}.queries_keys_values": normal(width, 3 * width, into),
            f"{layer}.attention_out": normal(width, width, into * depth),
            f"{layer}.hidden_norm": torch.ones(width),
            f"{layer}.hidden": normal(width, hidden, into),
            f"{layer}.hidden_out": normal(hidden, width, out_of_hidden * depth),
        }
    return weights | {"last_norm": torch.ones(width), "output": normal(width, n_outputs, INITIAL_SCALE * into)}


def transformed(weights: Mapping[str, Tensor], size: TransformerSize, tokens: Tensor, mask: Tensor) -> Tensor:
    """Return the features of tokens (n_rows, length), normalised: (n_rows, length, width).

    Parameters
    ----------
    mask
        Added to the scores of attention, -inf where a token must not look: (length, length), or
        (n_rows, 1, 1, length) where it differs by row.
    """
    stream = embedding(tokens, weights["tokens"]) + weights["positions"][: tokens.shape[1]]
    for layer in range(size.layers):
        normed = _normed(stream, weights[f"{layer}.attention_norm"])
        heard = _attention(normed @ weights[f"{layer}.queries_keys_values"], size.heads, mask)
        stream = stream + heard @ weights[f"{layer}.attention_out"]
        normed = _normed(stream, weights[f"{layer}.hidden_norm"])
        stream = stream + torch.relu(normed @ weights[f"{layer}.hidden"]) @ weights[f"{layer}.hidden_out"]
    return _normed(stream, weights["last_norm"])


def causal_mask(length: int, like: Tensor) -> Tensor:
    """Return the mask (length, length) with which a token sees itself and those before it, on the device of `like`."""
    return torch.full((length, length), -math.inf, dtype=like.dtype, device=like.device).triu(1)


def _normed(features: Tensor, scale: Tensor) -> Tensor:
    return layer_norm(features, features.shape[-1:]) * scale


def _attention(queries_keys_values: Tensor, heads: int, mask: Tensor) -> Tensor:
    # Not scaled_dot_product_attention: torch.vmap has no rule for it on a CPU and goes through the replicas in a loop.
    n_rows, length, width = queries_keys_values.shape
    head = width // 3 // heads
    parts = queries_keys_values.reshape(n_rows, length, 3, heads, head).permute(2, 0, 3, 1, 4)
    queries, keys, values = parts.unbind(0)
    scores = (queries / math.sqrt(head)) @ keys.transpose(-1, -2) + mask
    return (torch.softmax(scores, -1) @ values).transpose(1, 2).reshape(n_rows, length, heads * head)
