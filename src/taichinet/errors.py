"""Every error a user can cause: it names the cause, the value and the way out, and sets the exit code."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class TaiChiNetError(Exception):
    """Base of all errors that the user can mend; anything else that escapes is a defect of ours (exit code 1)."""

    exit_code = 1


class DataError(TaiChiNetError):
    """A data set, image or mask that cannot be used. Carries every problem found, not only the first."""

    exit_code = 3

    def __init__(self, summary: str, problems: Iterable[str] = ()) -> None:
        """`summary` is one sentence with the remedy; each of `problems` names one file and what is wrong."""
        self.summary = summary
        self.problems = tuple(problems)
        super().__init__("\n  - ".join([summary, *self.problems]))


class StorageError(DataError):
    """A file that cannot be written: a full disk, a missing permission. What was there before is unchanged."""


class SettingError(TaiChiNetError):
    """An unknown name or key, or a value outside its range."""

    exit_code = 4


class WeightsError(TaiChiNetError):
    """A weights folder or checkpoint that is absent, torn, or made for another network."""

    exit_code = 5


class FoldError(TaiChiNetError):
    """A fold file that does not fit the data, or a run whose test images took part in its preparation."""

    exit_code = 6


class LockedError(FoldError):
    """A folder that another process works in; after it has ended, the same command can be given again."""


class ProcessError(TaiChiNetError):
    """One of several processes of a training that cannot find the others, or has lost them."""

    exit_code = 8


class PartialFailureError(TaiChiNetError):
    """Some of many inputs failed; the others were done and written."""

    exit_code = 7


def unknown_name(kind: str, value: str, known: Sequence[str], listing: str = "", near: int = 3) -> SettingError:
    """The error for a name outside `known`, with the nearest match: `Unknown model 'unet+'. Did you mean 'unet'?`.

    `listing` says where the known names are listed, where there are too many: then the `near` nearest are named.
    """
    # Letters' case and hyphens are the usual slips: "U-Net" means unet, not x-net.
    plain = {re.sub(r"[-_ ]", "", name.lower()): name for name in reversed(known)}
    written = re.sub(r"[-_ ]", "", str(value).lower())
    close = [plain[match] for match in get_close_matches(written, plain, n=near, cutoff=0.5)]
    hint = f" Did you mean '{close[0]}'?" if close else ""
    nearest = f" Also near: {', '.join(close[1:])}." if listing and len(close) > 1 else ""
    return SettingError(f"Unknown {kind} '{str(value)[:100]}'.{hint}{nearest} Known: {listing or ', '.join(known)}.")
