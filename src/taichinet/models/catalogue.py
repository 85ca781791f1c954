"""Registry of the networks: create_model, list_models, and the confidence in each reimplementation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError
from torch import nn

from taichinet.errors import SettingError, unknown_name
from taichinet.models.baselines import (
    aau_net,
    attention_unet,
    ce_net,
    de_resunet,
    deeplabv3,
    deeplabv3_plus,
    fat_net,
    rf_net,
    unet_plus_plus,
    x_net,
)
from taichinet.models.input_size import SIZE_MULTIPLE
from taichinet.models.settings import BaselineSettings, NetworkSettings
from taichinet.models.taichinet.network import TaiChiNet
from taichinet.models.taichinet.settings import TaiChiNetSettings
from taichinet.models.two_paths import TwoPaths
from taichinet.models.unet import UNet, UNetSettings


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
        source: Size and cost of the source implementation.
        note: What is uncertain. Shown with the scores of the network.
        size_multiple: Height and width of input images must be multiples of this number of pixels.
    """

    title: str
    settings: type[NetworkSettings]
    build: Callable[[Any], nn.Module]
    paper: str
    confidence: Literal["high", "medium", "low"]
    source: Source
    note: str = ""
    size_multiple: int = SIZE_MULTIPLE

    @property
    def has_pretrained(self) -> bool:
        """Whether the network has an option for ImageNet weights of its backbone."""
        return "pretrained" in self.settings.model_fields


CATALOGUE: dict[str, Entry] = {
    "taichinet": Entry(
        "TaiChiNet",
        TaiChiNetSettings,
        TaiChiNet,
        "Wang et al., TaiChiNet",
        "high",
        Source(18_325_826, None, options=(("head", "none"),)),
    ),
    "unet": Entry(
        "U-Net",
        UNetSettings,
        UNet,
        "Ronneberger et al., MICCAI 2015",
        "high",
        Source(8_637_345, 25.06, options=(("output_kernel", 1),)),
        note=(
            "Table IV's base width is unknown; this is the paper's own sub-network. With width=64 and output_kernel=1 "
            "it is the usual public re-implementation."
        ),
    ),
    "unet++": Entry(
        "U-Net++",
        unet_plus_plus.UNetPlusPlusSettings,
        unet_plus_plus.UNetPlusPlus,
        "Zhou et al., TMI 2020",
        "high",
        Source(9_163_428, 52.82),
        note="The usual PyTorch version; the authors' own has transposed convolutions and dropout, no BatchNorm.",
    ),
    "attention-unet": Entry(
        "Attention U-Net",
        attention_unet.AttentionUNetSettings,
        attention_unet.AttentionUNet,
        "Oktay et al., MIDL 2018",
        "high",
        Source(8_726_077, 25.48),
        note="The usual two-dimensional version; Table IV's base width is unknown.",
    ),
    "deeplabv3": Entry(
        "DeepLabv3",
        deeplabv3.DeepLabV3Settings,
        deeplabv3.DeepLabV3,
        "Chen et al., arXiv 2017",
        "medium",
        Source(39_633_729, 62.61),
        note='Table IV says "deeplabv3" and cites DeepLabv3+; which of the two, and its backbone, are unknown.',
    ),
    "deeplabv3+": Entry(
        "DeepLabv3+",
        deeplabv3_plus.DeepLabV3PlusSettings,
        deeplabv3_plus.DeepLabV3Plus,
        "Chen et al., ECCV 2018",
        "medium",
        Source(40_347_041, 26.47),
        note='Table IV says "deeplabv3" and cites DeepLabv3+; which of the two, and its backbone, are unknown.',
    ),
    "ce-net": Entry(
        "CE-Net",
        ce_net.CENetSettings,
        ce_net.CENet,
        "Gu et al., TMI 2019",
        "high",
        Source(29_003_093, 10.95, repeated_gflops=0.694),
        size_multiple=ce_net.SIZE_MULTIPLE,
    ),
    "fat-net": Entry(
        "FAT-Net",
        fat_net.FATNetSettings,
        fat_net.FATNet,
        "Wu et al., MedIA 2022",
        "high",
        Source(28_758_657, 45.85),
        note="The adaptation modules share their weights, as coded; the usually quoted 30M fits independent ones.",
    ),
    "x-net": Entry(
        "X-Net (reconstruction)",
        x_net.XNetSettings,
        x_net.XNet,
        "Li et al., The Visual Computer 2021",
        "low",
        Source(17_363_988, 28.84),
        note="No code is public and only the abstract was available: every width and depth is our reconstruction.",
    ),
    "rf-net": Entry(
        "RF-Net",
        rf_net.RFNetSettings,
        rf_net.RFNet,
        "Wang et al., MICCAI 2021",
        "high",
        Source(22_011_970, 24.79, repeated_gflops=0.236),
        note="As coded: feedback at five places where the paper draws four; the stem takes the image alone.",
        size_multiple=rf_net.SIZE_MULTIPLE,
    ),
    "de-resunet": Entry(
        "DE-ResUnet (2-D port)",
        de_resunet.DEResUNetSettings,
        de_resunet.DEResUNet,
        "Wu et al., BSPC 2022",
        "medium",
        Source(3_133_101, 24.07),
        note="The published network is three-dimensional, for three tissues of the brain; the 2-D port is ours.",
    ),
    "aau-net": Entry(
        "AAU-Net",
        aau_net.AAUNetSettings,
        aau_net.AAUNet,
        "Chen et al., TMI 2023",
        "medium",
        Source(48_979_155, 124.48),
        note="Only its attention module was released; how the modules are assembled is inferred.",
    ),
}


def list_models() -> tuple[str, ...]:
    """Names of all networks that `create_model` can build."""
    return tuple(CATALOGUE)


def find_entry(name: str) -> Entry:
    """The catalogue entry of network `name`.

    Raises:
        SettingError: The name is unknown. The message suggests the closest name.
    """
    if name not in CATALOGUE:
        raise unknown_name("model", name, list_models())
    return CATALOGUE[name]


def model_settings(name: str, **options: object) -> NetworkSettings:
    """Validate the options of a network.

    Args:
        name: Name of the network.
        **options: Options that differ from the defaults.

    Returns:
        All options of the network.

    Raises:
        SettingError: Unknown name or option, or an invalid value.
    """
    settings = find_entry(name).settings
    for option in options:
        if option not in settings.model_fields:
            raise unknown_name(f"option of model '{name}'", option, tuple(settings.model_fields))
    try:
        return settings.model_validate(options)
    except ValidationError as error:
        details = "; ".join(
            f"{'.'.join(map(str, e['loc']))} = {e.get('input')!r}: {e['msg']}"
            if e["loc"]
            else e["msg"].removeprefix("Value error, ")
            for e in error.errors()
        )
        raise SettingError(f"Model '{name}' cannot be built: {details}.") from error


def create_model(name: str, **options: object) -> nn.Module:
    """Build a network with random initialisation, e.g. `create_model("taichinet", in_channels=3)`.

    The initialisation uses PyTorch's global random generator: seed it for reproducible weights.

    Args:
        name: Name of the network, see `list_models`.
        **options: Options that differ from the defaults.

    Returns:
        A module that maps images (B, in_channels, H, W) in [0, 1] to a `Prediction`.

    Raises:
        SettingError: Unknown name or option, or an invalid value.
    """
    settings = model_settings(name, **options)
    build = CATALOGUE[name].build
    if isinstance(settings, BaselineSettings) and settings.second_path is not None:
        path = settings.model_copy(update={"second_path": None})
        return TwoPaths(lambda: build(path), lambda: build(path.for_second_path()), path, settings.second_path)
    return build(settings)
