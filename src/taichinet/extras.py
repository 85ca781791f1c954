"""The packages of the extra `train`: prediction with a graph file works without them, everything else does not."""

from __future__ import annotations

from taichinet.errors import SettingError

TRAIN_MODULES = (
    "jinja2",
    "markupsafe",
    "matplotlib",
    "onnx",
    "onnxscript",
    "pandas",
    "scipy",
    "sklearn",
    "timm",
    "torch",
)
"""Names with which the packages of the extra are imported."""


class MissingPackageError(SettingError):
    """A package of the extra `train` is needed and not installed."""


def missing_package(error: ModuleNotFoundError) -> MissingPackageError | None:
    """The error for the user if a package of the extra `train` is not installed; None for any other module.

    Args:
        error: Raised by an import statement anywhere in taichinet.
    """
    module = (error.name or "").partition(".")[0]
    if module not in TRAIN_MODULES:
        return None
    return MissingPackageError(
        f"This needs the package {module}, which is not installed: only prediction with a packaged or exported graph "
        "works without it. Install what training, evaluation and reports need: pip install 'taichinet[train]'."
    )
