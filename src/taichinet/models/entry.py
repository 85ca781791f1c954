"""Description of a network for the catalogue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from taichinet.models.own_code import NetworkCode
from taichinet.models.settings import SIZE_MULTIPLE, NetworkSettings


@dataclass(frozen=True)
class Source:
    """Size and cost of the source implementation, or as in the paper, for one RGB image of 224 x 224 pixels.

    Attributes:
        parameters: Number of parameters.
        gflops: GFLOPs of a forward pass, or None if unknown.
        repeated_gflops: GFLOPs of the source for features that it computes twice and this implementation reuses.
        options: Options of this implementation that correspond to the source.
    """

    parameters: int
    gflops: float | None
    repeated_gflops: float = 0.0
    options: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Entry:
    """One network of the catalogue.

    Attributes:
        title: Name for tables and reports.
        settings: Type of the options.
        build: Builds the network from its options.
        paper: Citation.
        confidence: Our confidence that this is the network of its paper.
        source: Size and cost of the source implementation; None if there is no other implementation.
        note: What is uncertain. Shown with the scores of the network.
        size_multiple: Height and width of input images must be multiples of this number of pixels, unless the options
            have another (`catalogue.size_multiple`).
        depthwise: Whether most convolutions have one channel per group, which decides the fastest memory layout.
        nested_regions: Whether the network can only represent regions of which each contains the next.
        code: The file that the network was read from; it is stored with trained weights. None for all other networks.
    """

    title: str
    settings: type[NetworkSettings]
    build: Callable[[Any], nn.Module]
    paper: str
    confidence: Literal["high", "medium", "low"]
    source: Source | None
    note: str = ""
    size_multiple: int = SIZE_MULTIPLE
    depthwise: bool = False
    nested_regions: bool = False
    code: NetworkCode | None = None

    @property
    def imagenet(self) -> Literal["file", "package", "none"]:
        """Where ImageNet weights of the encoder come from: the option `pretrained` or `encoder_weights`, or neither."""
        if "encoder_weights" in self.settings.model_fields:
            return "package"
        return "file" if self.has_pretrained else "none"

    @property
    def has_pretrained(self) -> bool:
        """Whether the network has an option for ImageNet weights of its backbone."""
        return "pretrained" in self.settings.model_fields
