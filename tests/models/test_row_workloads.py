"""What is special of the workloads that train on rows; what all keep is in the contract test."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.workloads.batch_noise import blurred_inputs, wrong_labels
from models.workloads.cross_entropy import binary_cross_entropy, one_hot_cross_entropy
from models.workloads.dense_network import DenseNetwork
from models.workloads.mnist_cnn import MNIST_CNN, ConvolutionalNetwork
from models.workloads.noisy_quadratic import noisy_quadratic
from models.workloads.reference import REFERENCES
from models.workloads.row_batches import RowBatches
from models.workloads.split_rows import split_rows
from models.workloads.standardised_table import standardised_table
from models.workloads.step_generator import step_generator

ReferenceData = Callable[[str], Mapping[str, NDArray[Any]]]


def test_without_replacement_an_epoch_takes_every_row_once() -> None:
    batches = RowBatches(3, n_rows=12, batch_size=4, device="cpu")
    epochs = [torch.cat([batches.rows(step) for step in range(start, start + 3)]) for start in (0, 3)]
    assert all(sorted(epoch.tolist()) == list(range(12)) for epoch in epochs)
    assert epochs[0].tolist() != epochs[1].tolist()


def test_with_replacement_rows_come_again_within_an_epoch_and_evenly() -> None:
    batches = RowBatches(3, n_rows=10, batch_size=10, device="cpu", replacement=True)
    drawn = torch.stack([batches.rows(step) for step in range(1000)])
    assert all(len(rows.unique()) < 10 for rows in drawn[:20])
    assert torch.bincount(drawn.flatten()) / 10_000 == pytest.approx(np.full(10, 0.1), abs=0.015)
    assert torch.equal(batches.rows(7), drawn[7])


def test_streams_of_a_step_draw_different_numbers() -> None:
    drawn = {
        tuple(torch.rand(4, generator=step_generator(5, 9, stream)).tolist()) for stream in ("epochs", "rows", "noise")
    }
    assert len(drawn) == 3


def test_splits_that_leave_nothing_to_train_on_are_refused() -> None:
    with pytest.raises(ValueError, match="must leave rows to train on, got 4 and 6 of 10 rows"):
        split_rows(10, selection=4, reporting=6)


def test_wrong_labels_are_drawn_from_all_classes() -> None:
    labels = torch.eye(5)[torch.zeros(20_000, dtype=torch.int64)]
    inputs, noisy = wrong_labels(0.4)((torch.ones(20_000, 2), labels), torch.Generator().manual_seed(1))
    assert torch.equal(inputs, torch.ones(20_000, 2))
    assert torch.equal(noisy.sum(1), torch.ones(20_000))
    # Of five classes a fifth of the replaced keep theirs.
    assert noisy.mean(0) == pytest.approx(np.array([0.68, 0.08, 0.08, 0.08, 0.08]), abs=0.01)


def test_blurred_inputs_leave_targets_alone() -> None:
    targets = torch.arange(9000.0)
    inputs, same = blurred_inputs(0.5)((torch.full((9000, 3), 2.0), targets), torch.Generator().manual_seed(1))
    assert torch.equal(same, targets)
    assert (float(inputs.mean()), float(inputs.std())) == pytest.approx((2.0, 0.5), abs=0.01)


def test_noise_is_in_training_batches_and_in_no_evaluation(reference_data: ReferenceData) -> None:
    data = reference_data("wine")
    noisy, other = (REFERENCES["wine-mlp"].make(seed, "cpu", data) for seed in (1, 2))
    weights = noisy.parameters()
    assert float(noisy.evaluate(weights, "reporting")) == float(other.evaluate(weights, "reporting"))
    inputs, _ = noisy.batch(0)
    table = torch.from_numpy(np.asarray(data["inputs"]))
    clean = (table - table.mean(0)) / table.std(0)
    assert float(torch.cdist(inputs, clean).min()) > 1


def test_standardisation_looks_at_training_rows_alone() -> None:
    generator = np.random.default_rng(1)
    data = {"inputs": generator.normal(5, 3, (50, 2)), "targets": generator.normal(size=50)}
    make = standardised_table("made", "numbers", selection=10, reporting=10)
    table = make(data)
    rows, (inputs, targets) = table.rows, table.columns
    assert inputs[rows["training"]].mean(0).tolist() == pytest.approx([0, 0], abs=1e-6)
    assert inputs[rows["training"]].std(0, correction=0).tolist() == pytest.approx([1, 1], abs=1e-6)
    data["inputs"][rows["reporting"]] *= 100
    data["targets"][rows["selection"]] += 7
    changed, changed_targets = make(data).columns
    assert torch.equal(changed[rows["training"]], inputs[rows["training"]])
    assert torch.equal(changed_targets[rows["training"]], targets[rows["training"]])


def test_column_without_spread_becomes_zero() -> None:
    data = {"inputs": np.full((9, 1), 4.0), "targets": np.arange(9)}
    inputs, _ = standardised_table("made", "numbers", selection=2, reporting=2)(data).columns
    assert inputs.flatten().tolist() == [0.0] * 9


def test_data_of_another_kind_are_refused_by_name(reference_data: ReferenceData) -> None:
    for name, message in (("wine-mlp", "'inputs' and 'targets', got"), ("mnist-cnn", r"'images' of shape \(n, 784\)")):
        with pytest.raises(ValueError, match=f"the data must hold {message}"):
            REFERENCES[name].make(1, "cpu", {"pictures": np.zeros(3)})


def test_dense_network_is_torchs_linear_layers_with_rectifiers() -> None:
    weights = DenseNetwork((3, 5, 2)).initial(torch.Generator().manual_seed(1))
    first, last = torch.nn.Linear(3, 5), torch.nn.Linear(5, 2)
    with torch.no_grad():
        for layer, number in ((first, 0), (last, 1)):
            layer.weight.copy_(weights[f"weight_{number}"].T)
            layer.bias.copy_(weights[f"bias_{number}"].normal_(generator=torch.Generator().manual_seed(number)))
    inputs = torch.randn(7, 3, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(DenseNetwork((3, 5, 2)).outputs(weights, inputs), last(torch.relu(first(inputs))))


def test_output_scale_lets_training_begin_near_a_guess() -> None:
    network = DenseNetwork((50, 40, 10), output_scale=0.01)
    inputs = torch.randn(400, 50, generator=torch.Generator().manual_seed(2))
    logits = network.outputs(network.initial(torch.Generator().manual_seed(1)), inputs)
    assert float(one_hot_cross_entropy(logits, torch.eye(10)[torch.arange(400) % 10])) == pytest.approx(
        math.log(10), abs=1e-2
    )


def test_convolutional_network_is_torchs_layers() -> None:
    network = MNIST_CNN.network
    assert isinstance(network, ConvolutionalNetwork)
    weights = network.initial(torch.Generator().manual_seed(1))
    first, second = torch.nn.Conv2d(1, 8, 4, stride=2), torch.nn.Conv2d(8, 16, 3, stride=2)
    for layer, number in ((first, 0), (second, 1)):
        layer.load_state_dict({"weight": weights[f"kernel_{number}"], "bias": weights[f"bias_{number}"]})
    images = torch.rand(5, 196, generator=torch.Generator().manual_seed(2))
    maps = torch.relu(second(torch.relu(first(images.reshape(5, 1, 14, 14)))))
    torch.testing.assert_close(network.outputs(weights, images), maps.flatten(1) @ weights["output_weight"])


def test_losses_are_torchs() -> None:
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    classes = torch.tensor([0, 1, 2, 3, 0, 1])
    torch.testing.assert_close(
        one_hot_cross_entropy(logits, torch.eye(4, dtype=torch.float64)[classes]),
        torch.nn.functional.cross_entropy(logits, classes),
    )
    shares = torch.sigmoid(logits.flip(0))
    torch.testing.assert_close(
        binary_cross_entropy(logits, shares), torch.nn.functional.binary_cross_entropy_with_logits(logits, shares)
    )


def test_a_split_evaluated_in_parts_gives_the_same_loss(reference_data: ReferenceData) -> None:
    workload = REFERENCES["friedman-mlp"].make(1, "cpu", reference_data("friedman"))
    whole = float(workload.evaluate(workload.parameters(), "reporting"))
    workload._evaluated_at_once = 700  # 1,500 rows: the last part is a smaller one
    assert float(workload.evaluate(workload.parameters(), "reporting")) == pytest.approx(whole, rel=1e-6)


def test_noisy_quadratic_follows_its_recursion(reference_data: ReferenceData) -> None:
    data = reference_data("noisy_quadratic")
    workload = noisy_quadratic(1, "cpu", data)
    curvatures = data["curvatures"].astype(np.float64)
    centres = data["centres"][workload.rows["training"].numpy()].astype(np.float64)
    mean, variance, batch_size = centres.mean(0), centres.var(0), workload.descriptors.batch_size
    rates = np.geomspace(1.5, 0.1, 40)
    start = mean + 2.0
    distances = []
    for seed in range(200):
        descent, weights = noisy_quadratic(seed, "cpu", data), start.copy()
        for step, rate in enumerate(rates):
            (batch,) = descent.batch(step)
            weights -= rate * curvatures * (weights - batch.numpy().mean(0))
        distances.append((weights - mean) ** 2)
    expected = (start - mean) ** 2
    for rate in rates:
        expected = (1 - rate * curvatures) ** 2 * expected + rate**2 * curvatures**2 * variance / batch_size
    loss, said = (np.array(distances) @ curvatures / 2).mean(), expected @ curvatures / 2
    assert loss == pytest.approx(said, rel=0.02)
    assert variance * curvatures == pytest.approx(np.full(32, 0.04), rel=0.1)


def test_gradient_of_the_noisy_quadratic_is_curvature_times_distance(reference_data: ReferenceData) -> None:
    data = reference_data("noisy_quadratic")
    workload = noisy_quadratic(1, "cpu", data)
    weights = {name: weight.requires_grad_() for name, weight in workload.parameters().items()}
    (batch,) = workload.batch(0)
    workload.training_loss(weights, (batch,)).backward()
    expected = torch.from_numpy(data["curvatures"]) * (weights["weights"].detach() - batch.mean(0))
    torch.testing.assert_close(weights["weights"].grad, expected)
