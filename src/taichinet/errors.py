"""Errors that a user can cause. The message names the cause, the value and the remedy; the class sets the exit code."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class TaiChiNetError(Exception):
    """Base class of all errors that a user can correct. Any other exception is a bug in taichinet (exit code 1)."""

    exit_code = 1


class DataError(TaiChiNetError):
    """A data set, image or mask that cannot be used. Contains all problems, not only the first one."""

    exit_code = 3

    def __init__(self, summary: str, problems: Iterable[str] = ()) -> None:
        """Create the error.

        Args:
            summary: One sentence with the remedy.
            problems: One line per file, with the file and its fault.
        """
        self.summary = summary
        self.problems = tuple(problems)
        super().__init__("\n  - ".join([summary, *self.problems]))


def first_few(lines: Sequence[str], most: int = 5) -> list[str]:
    """The first `most` lines; if there are more, "and N more" follows."""
    more = [f"and {len(lines) - most} more"] if len(lines) > most else []
    return [*lines[:most], *more]


class StorageError(DataError):
    """A file that cannot be written (full disk, missing permission). An earlier file is unchanged."""


class SettingError(TaiChiNetError):
    """An unknown name or key, or a value outside its range."""

    exit_code = 4


class WeightsError(TaiChiNetError):
    """A weights folder or checkpoint that is missing, damaged, or made for another network."""

    exit_code = 5


class FoldError(TaiChiNetError):
    """A fold file that does not match the data, or a run that used its test images in training or mining."""

    exit_code = 6


class LockedError(FoldError):
    """A folder that another process works in. Run the same command again after that process has ended."""


class ProcessError(TaiChiNetError):
    """A process of a distributed training that cannot connect to the others, or lost its connection."""

    exit_code = 8


class PartialFailureError(TaiChiNetError):
    """Some of several inputs failed; the results of the others were written."""

    exit_code = 7


def unknown_name(kind: str, value: str, known: Sequence[str], listing: str = "", near: int = 3) -> SettingError:
    """The error for an unknown name, with the closest match: `Unknown model 'unet+'. Did you mean 'unet'?`.

    Args:
        kind: What the name should be, e.g. "model".
        value: The unknown name.
        known: The known names.
        listing: Where the known names are listed; by default, the message lists them.
        near: Number of closest names in the message if `listing` is given.

    Returns:
        The error, to be raised by the caller.
    """
    # Case and hyphens are ignored, so that "U-Net" matches unet and not x-net.
    plain = {re.sub(r"[-_ ]", "", name.lower()): name for name in reversed(known)}
    written = re.sub(r"[-_ ]", "", str(value).lower())
    close = [plain[match] for match in get_close_matches(written, plain, n=near, cutoff=0.5)]
    hint = f" Did you mean '{close[0]}'?" if close else ""
    nearest = f" Also near: {', '.join(close[1:])}." if listing and len(close) > 1 else ""
    return SettingError(f"Unknown {kind} '{str(value)[:100]}'.{hint}{nearest} Known: {listing or ', '.join(known)}.")
