"""Building blocks of networks as functions of their weights, to compare each network with its description.

Parameter counts do not detect a dropped skip connection, a missing ReLU or an average replaced by a maximum.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from taichinet.models.upsampling import leave_upsampling_plain

Network = TypeVar("Network", bound=nn.Module)


class Parts:
    """The tensors of a network below `path` with the layers that use them; `unused` are the names not used so far."""

    def __init__(self, tensors: dict[str, Tensor], path: str = "", unused: set[str] | None = None) -> None:
        self.tensors, self.path = tensors, path
        self.unused = {name for name in tensors if "num_batches" not in name} if unused is None else unused

    def __getitem__(self, name: str | int) -> Parts:
        return Parts(self.tensors, f"{self.path}{name}.", self.unused)

    def has(self, name: str) -> bool:
        return any(key.startswith(f"{self.path}{name}") for key in self.tensors)

    def get(self, name: str) -> Tensor:
        self.unused.discard(self.path + name)
        return self.tensors[self.path + name]

    def conv(self, name: str | int, x: Tensor, stride: int = 1, dilation: int = 1, groups: int = 1) -> Tensor:
        """Convolution with padding that preserves the size."""
        weight = self.get(f"{name}.weight")
        bias = self.get(f"{name}.bias") if self.has(f"{name}.bias") else None
        return F.conv2d(x, weight, bias, stride, dilation * (weight.shape[-1] // 2), dilation, groups)

    def norm(self, name: str | int, x: Tensor) -> Tensor:
        """BatchNorm in evaluation, of maps or of vectors."""
        mean, variance = self.get(f"{name}.running_mean"), self.get(f"{name}.running_var")
        return F.batch_norm(x, mean, variance, self.get(f"{name}.weight"), self.get(f"{name}.bias"))

    def linear(self, name: str, x: Tensor) -> Tensor:
        bias = self.get(f"{name}.bias") if self.has(f"{name}.bias") else None
        return F.linear(x, self.get(f"{name}.weight"), bias)

    def layer_norm(self, name: str, x: Tensor, eps: float) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.get(f"{name}.weight"), self.get(f"{name}.bias"), eps)

    def conv_norm_relu(self, first: int, x: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
        """Convolution number `first` of a sequence, the BatchNorm after it, ReLU."""
        return F.relu(self.norm(first + 1, self.conv(first, x, stride, dilation)))

    def double_conv(self, x: Tensor) -> Tensor:
        """Twice convolution, BatchNorm, ReLU."""
        return self.conv_norm_relu(3, self.conv_norm_relu(0, x))

    def up_conv(self, x: Tensor) -> Tensor:
        """Each pixel doubled in both directions, then convolution, BatchNorm, ReLU."""
        return self.conv_norm_relu(1, x.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2))

    def resnet_stem(self, image: Tensor) -> Tensor:
        """7x7 convolution of stride 2, BatchNorm, ReLU, with ImageNet's normalisation (its mean for grey images)."""
        mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        if image.shape[1] != 3:
            mean, deviation = mean.mean(), deviation.mean()
        return self.conv_norm_relu(0, (image - mean.reshape(-1, 1, 1)) / deviation.reshape(-1, 1, 1), stride=2)

    def resnet_layer(self, x: Tensor, stride: int, first_dilation: int = 1, dilation: int = 1) -> Tensor:
        """Residual blocks of two 3x3 (ResNet-34), or of 1x1, strided 3x3, 1x1 (ResNet-50)."""
        number = 0
        while self.has(f"{number}."):
            block, step = self[number], stride if number == 0 else 1
            dilated = first_dilation if number == 0 else dilation
            if block.has("conv3"):
                y = F.relu(block.norm("bn1", block.conv("conv1", x)))
                y = F.relu(block.norm("bn2", block.conv("conv2", y, step, dilated)))
                y = block.norm("bn3", block.conv("conv3", y))
            else:
                y = F.relu(block.norm("bn1", block.conv("conv1", x, step)))
                y = block.norm("bn2", block.conv("conv2", y))
            short = block["downsample"]
            x = F.relu(y + (short.norm(1, short.conv(0, x, step)) if short.has("0") else x))
            number += 1
        return x

    def bottleneck_up(self, x: Tensor) -> Tensor:
        """The decoder block of CE-Net and FAT-Net, which doubles the size."""
        x = self.conv_norm_relu(0, x)
        x = F.conv_transpose2d(x, self.get("3.weight"), self.get("3.bias"), stride=2, padding=1, output_padding=1)
        return self.conv_norm_relu(6, F.relu(self.norm(4, x)))

    def transposed_head(self, x: Tensor) -> Tensor:
        """The output block of CE-Net and FAT-Net, which doubles the size."""
        x = F.relu(F.conv_transpose2d(x, self.get("0.weight"), self.get("0.bias"), stride=2, padding=1))
        return self.conv(4, F.relu(self.conv(2, x)))


def randomised(network: Network, channels: int, size: int) -> Network:
    """`network` in evaluation mode, with random biases and random scale, shift and statistics of each normalisation."""
    generator = torch.Generator().manual_seed(17)
    for module in network.modules():
        with torch.no_grad():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d | nn.LayerNorm):
                module.weight.uniform_(0.5, 1.5, generator=generator)
            bias = getattr(module, "bias", None)
            if isinstance(bias, Tensor):
                bias.normal_(std=0.3, generator=generator)
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.momentum = None  # the plain mean over the passes below (here one pass)
    with torch.no_grad():
        network.train()(torch.rand(4, channels, size, size, generator=generator))
    return network.eval()


def assert_agree(output: Tensor, reference: Tensor) -> None:
    """Assert equality up to rounding, of outputs with enough variance for a meaningful comparison.

    Processors sum in different orders: differences of 1.3e-5 occur in outputs with a deviation above 0.01.
    """
    assert float(reference.std()) > 0.01
    torch.testing.assert_close(output, reference, rtol=1e-4, atol=5e-5)


def gflops(network: nn.Module, channels: int) -> float:
    """GFLOPs for one image of 224 px in the network's current mode, computed from shapes without running it."""
    leave_upsampling_plain(network)
    image = torch.zeros(1, channels, 224, 224)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(image)
    return float(counter.get_total_flops() / 1e9)
