"""What is special of the workloads that train on text; what all keep is in the contract test."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.workloads import character_mlp, review_embedding_bag, review_logistic
from models.workloads.character_bigram import bigram_loss
from models.workloads.character_gpt import gpt_loss
from models.workloads.character_windows import character_windows
from models.workloads.cross_entropy import class_cross_entropy
from models.workloads.hashed_reviews import PADDING, bucket_counts, hashed_reviews
from models.workloads.reference import REFERENCES
from models.workloads.review_transformer import transformer_loss
from models.workloads.transformer import TransformerSize, causal_mask, transformed, transformer_weights

SIZE = TransformerSize(width=12, hidden=20, layers=2, heads=3)
CONTEXT = 7
TOKENS = 11


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _weights(n_outputs: int = TOKENS) -> dict[str, Tensor]:
    fresh = transformer_weights(SIZE, _generator(), n_tokens=TOKENS, context=CONTEXT, n_outputs=n_outputs)
    # Scales of norms that differ, so that a forgotten one shows.
    return {
        name: (weight + 0.3 * torch.randn(weight.shape, generator=_generator(1))).double()
        for name, weight in fresh.items()
    }


def _tokens(n_rows: int = 5) -> Tensor:
    return torch.randint(1, TOKENS, (n_rows, CONTEXT), generator=_generator(2))


def test_transformer_equals_the_encoder_of_torch() -> None:
    weights, tokens = _weights(), _tokens()
    mask = causal_mask(CONTEXT, like=weights["output"])
    stream = functional.embedding(tokens, weights["tokens"]) + weights["positions"]
    for layer in range(SIZE.layers):
        block = torch.nn.TransformerEncoderLayer(
            SIZE.width, SIZE.heads, SIZE.hidden, dropout=0, norm_first=True, batch_first=True, bias=False
        ).double()
        block.load_state_dict(
            {
                "self_attn.in_proj_weight": weights[f"{layer}.queries_keys_values"].T,
                "self_attn.out_proj.weight": weights[f"{layer}.attention_out"].T,
                "linear1.weight": weights[f"{layer}.hidden"].T,
                "linear2.weight": weights[f"{layer}.hidden_out"].T,
                "norm1.weight": weights[f"{layer}.attention_norm"],
                "norm2.weight": weights[f"{layer}.hidden_norm"],
            }
        )
        stream = block(stream, src_mask=mask)
    expected = functional.layer_norm(stream, (SIZE.width,), weights["last_norm"])
    torch.testing.assert_close(transformed(weights, SIZE, tokens, mask), expected)


def test_a_later_character_changes_no_earlier_prediction() -> None:
    weights, tokens = _weights(), _tokens()
    mask = causal_mask(CONTEXT, like=weights["output"])
    before = transformed(weights, SIZE, tokens, mask)
    changed = tokens.clone()
    changed[:, 4] = 1 + changed[:, 4] % (TOKENS - 1)
    after = transformed(weights, SIZE, changed, mask)
    assert torch.equal(before[:, :4], after[:, :4])
    assert ((before - after).abs().amax(-1)[:, 4:] > 1e-6).all()


def test_gpt_predicts_each_character_from_those_before_it() -> None:
    weights = _weights()
    windows = torch.randint(TOKENS, (3, CONTEXT + 1), generator=_generator(3)).to(torch.uint8)
    losses = []
    for window in windows.long():
        for place in range(1, CONTEXT + 1):
            seen = window[None, :place]
            features = transformed(weights, SIZE, seen, causal_mask(place, like=weights["output"]))
            losses.append(-torch.log_softmax(features[0, -1] @ weights["output"], -1)[window[place]])
    torch.testing.assert_close(gpt_loss(weights, windows, network=SIZE), torch.stack(losses).mean())


def test_padding_is_ignored() -> None:
    weights, labels = _weights(n_outputs=1), torch.tensor([1, 0, 0, 1, 1])
    words = _tokens()
    words[:, 5:] = PADDING
    words[1, 2:] = PADDING
    loss = transformer_loss(weights, words, labels, network=SIZE)
    torch.testing.assert_close(transformer_loss(weights, words[:, :5], labels, network=SIZE), loss)
    other = dict(weights, tokens=weights["tokens"].index_fill(0, torch.tensor([PADDING]), 7.0))
    assert torch.equal(transformer_loss(other, words, labels, network=SIZE), loss)
    longer = words.clone()
    longer[1, 2] = 3
    assert float(transformer_loss(weights, longer, labels, network=SIZE)) != pytest.approx(float(loss), abs=1e-6)


@pytest.mark.parametrize("name", ["reviews-gpt", "python-gpt", "rotten-tomatoes-transformer"])
def test_training_begins_near_guessing(name: str, reference_data: Callable[[str], Mapping[str, Any]]) -> None:
    data = reference_data(REFERENCES[name].dataset)
    workload = REFERENCES[name].make(3, "cpu", data)
    classes = len(data["alphabet"]) if "alphabet" in data else 2
    assert float(workload.evaluate(workload.parameters(), "reporting")) == pytest.approx(math.log(classes), abs=0.05)


def test_windows_are_split_by_document_and_cross_none() -> None:
    # Each document is of one letter: ten windows of 5 and a rest of 3 that is left out.
    n_documents = 40
    data = {
        "characters": np.repeat(np.arange(n_documents, dtype=np.uint8), 53),
        "lengths": np.full(n_documents, 53),
        "alphabet": np.arange(n_documents, dtype=np.uint8),
    }
    split = character_windows(data, length=5, evaluation_windows=16)
    (windows,) = split.columns
    assert windows.shape == (32 * 10 + 2 * 16, 5)
    assert (windows == windows[:, :1]).all()
    letters = {name: set(windows[rows, 0].tolist()) for name, rows in split.rows.items()}
    assert {name: len(found) for name, found in letters.items()} == {"training": 32, "selection": 4, "reporting": 4}
    assert set.union(*letters.values()) == set(range(n_documents))


def test_windows_of_a_document_follow_one_another() -> None:
    data = {
        "characters": np.arange(100, dtype=np.uint8),
        "lengths": np.array([4, 26, 30, 3, 37] + [0] * 5),
        "alphabet": np.arange(100, dtype=np.uint8),
    }
    split = character_windows(data, length=10, evaluation_windows=2)
    starts = sorted(split.columns[0][:, 0].tolist())
    assert starts == [4, 14, 30, 40, 50, 63, 73, 83]
    assert all(np.diff(window).tolist() == [1] * 9 for window in split.columns[0].long().numpy())


def test_data_without_characters_are_refused() -> None:
    with pytest.raises(ValueError, match="the data must hold 'lengths', got characters; prepare a set of characters"):
        character_windows({"characters": np.zeros(9, dtype=np.uint8)}, length=3, evaluation_windows=1)


def test_reviews_are_cut_and_their_hashes_brought_into_buckets() -> None:
    words = np.zeros((10, 4), dtype=np.uint16)
    words[:, :3] = [7, 8, 65535]
    split = hashed_reviews({"words": words, "labels": np.arange(10) % 2}, length=3, buckets=4, held_out=2)
    assert split.columns[0].tolist() == [[4, 1, 4]] * 10
    assert split.columns[1].tolist() == [0, 1] * 5
    assert {name: len(rows) for name, rows in split.rows.items()} == {"selection": 2, "reporting": 2, "training": 6}


def test_data_without_words_are_refused() -> None:
    data: dict[str, NDArray[Any]] = {"words": np.zeros((9, 20), dtype=np.uint16), "labels": np.zeros(9)}
    with pytest.raises(ValueError, match=r"'words' of at least 24 columns, got \(9, 20\)"):
        hashed_reviews(data, length=24, buckets=4, held_out=2)


def test_bucket_counts_leave_padding_out() -> None:
    words = torch.tensor([[1, 3, 3, PADDING], [2, PADDING, PADDING, PADDING]])
    assert bucket_counts(words, 3, torch.float32).tolist() == [[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]]


def test_logistic_loss_is_of_counts_scaled_to_norm_one() -> None:
    weight = torch.zeros(review_logistic.BUCKETS, dtype=torch.float64)
    weight[:3] = torch.tensor([5.0, 10.0, -2.0])
    words = torch.tensor([[1, 1, 1, 2, 2, 2, 2, PADDING], [3, PADDING, PADDING, PADDING] * 2])[:, :7]
    loss = review_logistic.logistic_loss(
        {"weight": weight, "bias": weight.new_tensor(1.0)}, words, torch.tensor([1, 0])
    )
    # Logits 5 x 3/5 + 10 x 4/5 + 1 = 12 and -2 + 1 = -1.
    assert float(loss) == pytest.approx((math.log1p(math.exp(-12)) + math.log1p(math.exp(-1))) / 2, rel=1e-12)


def test_embedding_bag_equals_that_of_torch() -> None:
    n_buckets, width = review_embedding_bag.BUCKETS, review_embedding_bag.EMBEDDING
    weights = {
        "embedding": torch.randn(width, n_buckets, generator=_generator()).double(),
        "hidden_bias": torch.randn(width, generator=_generator(1)).double(),
        "output": torch.randn(width, generator=_generator(2)).double(),
        "output_bias": torch.tensor(0.3).double(),
    }
    words = torch.randint(1, n_buckets + 1, (6, 9), generator=_generator(3))
    words[:, 6:] = PADDING
    labels = torch.tensor([1, 0, 1, 1, 0, 0])
    table = torch.cat([torch.zeros(1, width).double(), weights["embedding"].T])
    bag = functional.embedding_bag(words, table, mode="mean", padding_idx=PADDING)
    logits = torch.relu(bag + weights["hidden_bias"]) @ weights["output"] + weights["output_bias"]
    expected = functional.binary_cross_entropy_with_logits(logits, labels.double())
    torch.testing.assert_close(review_embedding_bag.embedding_bag_loss(weights, words, labels), expected)


def test_bigram_loss_is_the_mean_over_pairs() -> None:
    logits = torch.randn(9, 9, generator=_generator()).double()
    windows = torch.randint(9, (4, 6), generator=_generator(1)).to(torch.uint8)
    before, after = windows[:, :-1].flatten().long(), windows[:, 1:].flatten().long()
    expected = functional.cross_entropy(logits[before], after)
    torch.testing.assert_close(bigram_loss({"logits": logits}, windows), expected)


def test_mlp_predicts_the_last_character_from_all_others() -> None:
    weights = {
        name: weight.double() for name, weight in character_mlp.initial_weights(_generator(), n_letters=9).items()
    }
    windows = torch.randint(9, (50, character_mlp.CONTEXT + 1), generator=_generator(1)).to(torch.uint8)
    losses = []
    for window in windows.long():
        features = torch.cat([weights["embedding"][letter] for letter in window[:-1]])
        hidden = torch.tanh(features @ weights["hidden"] + weights["hidden_bias"])
        losses.append(functional.cross_entropy(hidden @ weights["output"] + weights["output_bias"], window[-1]))
    torch.testing.assert_close(character_mlp.mlp_loss(weights, windows), torch.stack(losses).mean())


def test_class_cross_entropy_equals_that_of_torch() -> None:
    logits = 30 * torch.randn(4, 3, 7, generator=_generator()).double()
    classes = torch.randint(7, (4, 3), generator=_generator(1))
    expected = functional.cross_entropy(logits.reshape(-1, 7), classes.flatten())
    torch.testing.assert_close(class_cross_entropy(logits, classes), expected)
