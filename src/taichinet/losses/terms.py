"""Registry of loss terms that are added to the losses of Eq. 13, 21 and 22.

A term is a function in a file of its own or of the user, and one call of `register_loss`. Its weight is a setting:
`objective.auxiliary.NAME` for the terms of single networks, `objective.terms.NAME` for others.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import Tensor

from taichinet.errors import SettingError

# Returns the scalar loss of a batch, or None if the network does not have the output that the term needs.
# Terms of the package may have further arguments, see `PARAMETERS` in losses/objective.py.
LossTerm = Callable[..., Tensor | None]

TERMS: dict[str, LossTerm] = {}


def register_loss(name: str, term: LossTerm) -> None:
    """Register a loss term.

    Args:
        name: Name of the term and of its weight, in lower case with underscores.
        term: Function of the prediction and the batch (images and masks at input resolution, on the device of the
            network). Returns a scalar, averaged over images, or None if the term does not apply to the network.

    Raises:
        SettingError: The name is not valid, or another term has it.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise SettingError(f"Invalid name '{name}' of a loss term. Use lower-case letters, digits and underscores.")
    if name in TERMS:
        raise SettingError(f"A loss term '{name}' is already registered. Give the term another name.")
    TERMS[name] = term
