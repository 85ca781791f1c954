"""Networks registered from outside the package."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from taichinet.batch import Prediction
from taichinet.errors import SettingError
from taichinet.models.catalogue import CATALOGUE, create_model, list_models, register_model
from taichinet.models.complexity import measure_complexity
from taichinet.models.entry import Entry, Source
from taichinet.models.settings import BaselineSettings


class OneConvolution(nn.Module):
    def __init__(self, settings: BaselineSettings) -> None:
        super().__init__()
        self.settings = settings
        self.output = nn.Conv2d(settings.in_channels, settings.num_classes, kernel_size=1)

    def forward(self, image: Tensor) -> Prediction:
        return Prediction(positive=self.output(image))


ENTRY = Entry("One convolution", BaselineSettings, OneConvolution, "none", "high", Source(2, None))


def test_registered_network_is_built_and_measured_like_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taichinet.models.catalogue.CATALOGUE", dict(CATALOGUE))
    register_model("one-convolution", ENTRY)
    assert list_models()[-1] == "one-convolution"
    network = create_model("one-convolution", in_channels=3, second_path={"head": "c"})
    assert network(torch.rand(2, 3, 16, 16)).negative.shape == (2, 1, 16, 16)
    assert measure_complexity("one-convolution", 32, in_channels=3).gflops == 2 * 3 * 32 * 32 / 1e9


def test_name_can_be_registered_only_once() -> None:
    with pytest.raises(SettingError, match=r"A model 'unet' is already registered \(U-Net\)"):
        register_model("unet", ENTRY)
    assert CATALOGUE["unet"].title == "U-Net"
