"""Convolutional networks that read MNIST digits, with Nesterov's momentum."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from greedylr.workload import WorkloadDescriptors
from models.workloads.cross_entropy import one_hot_cross_entropy
from models.workloads.digit_images import (
    ALL_DATASET,
    CLASSES,
    DATASET,
    FAMILY,
    FULL_SIDE,
    SIDE,
    full_digit_table,
    pooled_digit_table,
)
from models.workloads.table_training import TableTraining


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """A layer of square kernels without padding."""

    channels: int
    kernel: int
    stride: int


@dataclass(frozen=True, kw_only=True)
class ConvolutionalNetwork:
    """Convolutions with rectifiers, strides in place of pooling, and a dense layer; takes (n, side * side).

    Replicas batched by vmap become groups of one convolution. Patches and matrix products took as long on a CPU (0.1 ms
    a replica and step of the small network, 0.5 to 0.9 ms alone), and more memory.
    """

    side: int
    convolutions: tuple[Convolution, ...]
    classes: int

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Return weights with He's variance and zero biases."""
        weights: dict[str, Tensor] = {}
        channels, side = 1, self.side
        for number, layer in enumerate(self.convolutions):
            shape = (layer.channels, channels, layer.kernel, layer.kernel)
            scale = math.sqrt(2 / (channels * layer.kernel**2))
            weights[f"kernel_{number}"] = torch.randn(shape, generator=generator) * scale
            weights[f"bias_{number}"] = torch.zeros(layer.channels)
            channels, side = layer.channels, (side - layer.kernel) // layer.stride + 1
        features = channels * side**2
        weights["output_weight"] = torch.randn(features, self.classes, generator=generator) * math.sqrt(2 / features)
        weights["output_bias"] = torch.zeros(self.classes)
        return weights

    def outputs(self, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Return logits (n, classes) of images (n, side * side)."""
        maps = inputs.reshape(-1, 1, self.side, self.side)
        for number, layer in enumerate(self.convolutions):
            kernel, bias = parameters[f"kernel_{number}"], parameters[f"bias_{number}"]
            maps = torch.relu(conv2d(maps, kernel, bias, stride=layer.stride))
        return maps.flatten(1) @ parameters["output_weight"] + parameters["output_bias"]


MNIST_CNN = TableTraining(
    descriptors=WorkloadDescriptors(
        name="mnist-cnn",
        family=FAMILY,
        task="image classification",
        momentum=0.9,
        nesterov=True,
        total_steps=300,
        batch_size=16,
        usual_learning_rate=0.1,
    ),
    table=pooled_digit_table,
    network=ConvolutionalNetwork(
        side=SIDE,
        # Channels in multiples of 8 and overlapping kernels: 6 channels are slower than 8.
        convolutions=(Convolution(channels=8, kernel=4, stride=2), Convolution(channels=16, kernel=3, stride=2)),
        classes=CLASSES,
    ),
    loss=one_hot_cross_entropy,
)

LARGE = TableTraining(
    descriptors=replace(
        MNIST_CNN.descriptors,
        name="mnist-cnn-large",
        total_steps=3000,
        batch_size=128,
        usual_learning_rate=0.03,
    ),
    table=full_digit_table,
    network=ConvolutionalNetwork(
        side=FULL_SIDE,
        convolutions=(
            Convolution(channels=32, kernel=4, stride=2),
            Convolution(channels=64, kernel=3, stride=1),
            Convolution(channels=128, kernel=3, stride=2),
        ),
        classes=CLASSES,
    ),
    loss=one_hot_cross_entropy,
    evaluated_at_once=None,
)

REFERENCES = (
    MNIST_CNN.reference(dataset=DATASET, parameters=1_954),
    LARGE.reference(dataset=ALL_DATASET, parameters=124_906, size="large"),
)
