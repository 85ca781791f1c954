"""Our recipes for networks to be used, not from the paper: augmentation for ultrasound, normal images, AdamW.

`benchmarks/levers.py` measures the effect of each choice on validation images.
"""

from __future__ import annotations

from collections.abc import Callable

from taichinet.experiments.experiment import Experiment, vary


def best() -> Experiment:
    """TaiChiNet as in the paper, trained with normal images, augmentation for ultrasound and AdamW."""
    return Experiment.model_validate(
        {
            "name": "best",
            "data": {"include_normal": True, "augmentation": {"kind": "ultrasound"}},
            "objective": {"terms": {"presence": 0.1}},
            "training": {
                "epochs": 40,
                "learning_rate": 1e-3,
                "schedule": "cosine",
                "warmup_epochs": 1,
                "optimizer": "adamw",
                "weight_decay": 0.01,
                "average_decay": 0.995,
                "strategy": "plain",
                "selection": "last",
            },
            "decision": {"calibrate": True},
        }
    )


def best_lite() -> Experiment:
    """TaiChiNet-lite on an ImageNet encoder, with a presence head, at 128 px, for training on a CPU."""
    return vary(
        best(),
        {
            "name": "best-lite",
            "model": "taichinet-lite",
            "options.encoder_weights": "imagenet",
            "options.input_scale": "image",
            "options.presence_head": True,
            "objective.terms": {"presence": 0.3},
            "data.size": 128,
            "training.epochs": 16,
            "training.batch_size": 8,
            "training.average_decay": 0.99,
        },
    )


def best_lite_unet() -> Experiment:
    """U-Net-lite, which is the encoder and one decoder of TaiChiNet-lite, trained in the same way."""
    return vary(best_lite(), {"name": "best-lite-unet", "model": "unet-lite"})


def best_lite_224() -> Experiment:
    """As best-lite, at 224 px and for 40 epochs, for training on a GPU."""
    return vary(
        best_lite(),
        {
            "name": "best-lite-224",
            "data.size": 224,
            "training.epochs": 40,
            "training.batch_size": 16,
            "training.average_decay": 0.995,
        },
    )


def best_lite_224_unet() -> Experiment:
    """U-Net-lite, trained as best-lite-224."""
    return vary(best_lite_224(), {"name": "best-lite-224-unet", "model": "unet-lite"})


def best_unet() -> Experiment:
    """The plain U-Net, trained as `best`."""
    return vary(best(), {"name": "best-unet", "model": "unet"})


BEST: dict[str, Callable[[], Experiment]] = {
    "best": best,
    "best-unet": best_unet,
    "best-lite": best_lite,
    "best-lite-unet": best_lite_unet,
    "best-lite-224": best_lite_224,
    "best-lite-224-unet": best_lite_224_unet,
}
