"""A trainer of nnU-Net with 10 iterations: it shows that all parts fit together, and its scores mean nothing."""

from __future__ import annotations

from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerNoMirroring import nnUNetTrainerNoMirroring


class ShortTrainer(nnUNetTrainerNoMirroring):  # type: ignore[misc]  # nnU-Net has no types
    """Two epochs of 5 iterations. nnU-Net finds it by the environment variable `nnUNet_extTrainer`."""

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008 - as in nnU-Net
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs, self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 2, 5, 2
