"""The option `--device` of all commands that compute with a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import torch

Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda|cuda:N|mps",
        help="Device of the computation: auto is a GPU if there is one, otherwise the CPU; cuda:1 is the second GPU; "
        "mps is the GPU of an Apple computer (untested).",
    ),
]


def use_and_print(name: str, computes: bool = True) -> None:
    """Choose the device of this command, and print it if the command `computes` with the given options.

    Raises SettingError for a device that does not exist.
    """
    from taichinet.training.device_choice import choose_device, is_cpu, refuse_unknown_device

    refuse_unknown_device(name)
    if is_cpu(name):  # torch need not be asked
        choose_device(name)
        if computes:
            typer.echo("Device: cpu", err=True)
        return
    from taichinet.training.device import use_device

    device = use_device(name)
    if computes:
        print_device(device)


def print_device(device: torch.device, processes: int = 1) -> None:
    """Print the device to standard error."""
    from taichinet.training.device import accelerator_name, device_name

    hardware = accelerator_name(device)
    others = f", {processes} processes" if processes > 1 else ""
    typer.echo(f"Device: {device_name(device)}{f' ({hardware})' if hardware else ''}{others}", err=True)
