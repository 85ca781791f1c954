"""Registry of the runtimes: one line per runtime."""

from __future__ import annotations

from taichinet.errors import SettingError, unknown_name
from taichinet.inference.runtimes import onnx, openvino, pytorch
from taichinet.inference.runtimes.runtime import RuntimeSpec

RUNTIMES: dict[str, RuntimeSpec] = {}

AUTO = "auto"
"""Choice of the fastest validated runtime, not a runtime itself."""


def register_runtime(spec: RuntimeSpec) -> None:
    """Add a runtime, also from outside the package; predict and export support it in the same process.

    Args:
        spec: Description of the runtime.

    Raises:
        SettingError: The name is already registered, or reserved.
    """
    if spec.name in (AUTO, *RUNTIMES):
        raise SettingError(f"A runtime '{spec.name}' is already registered. Choose another name.")
    RUNTIMES[spec.name] = spec


register_runtime(pytorch.PLAIN_SPEC)
register_runtime(pytorch.TUNED_SPEC)
register_runtime(pytorch.TUNED_BF16_SPEC)
register_runtime(onnx.SPEC)
register_runtime(openvino.SPEC)


def export_formats() -> tuple[str, ...]:
    """Names of the runtimes that `taichinet export` can write files for."""
    return tuple(name for name, spec in RUNTIMES.items() if spec.build is not None)


def find_runtime(name: str) -> RuntimeSpec:
    """The runtime `name`.

    Raises:
        SettingError: The name is unknown. The message suggests the closest name.
    """
    if name not in RUNTIMES:
        raise unknown_name("runtime", name, tuple(RUNTIMES))
    return RUNTIMES[name]
