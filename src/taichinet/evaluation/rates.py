"""Rate: a share of lesions or images with its Wilson score interval."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist

from taichinet.errors import SettingError
from taichinet.evaluation.uncertainty import LEVEL
from taichinet.settings import Record


class Rate(Record):
    """A share with its 95 % Wilson score interval (Wilson 1927), which is valid near 0 and 1 and for few cases.

    The interval treats the cases as independent, which lesions of one patient are not.

    Attributes:
        events: Number of cases with the event.
        total: Number of cases.
        share: `events` / `total`; None without cases.
        low: Lower end of the interval; None without cases.
        high: Upper end of the interval; None without cases.
    """

    events: int
    total: int
    share: float | None = None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, events: int, total: int, repeats: float = 1) -> Rate:
        """The rate of `events` in `total` cases.

        Args:
            events: Number of cases with the event.
            total: Number of cases.
            repeats: How often each case was counted, e.g. 5 if five networks were evaluated on the same images. The
                interval is that of `total` / `repeats` cases.

        Raises:
            SettingError: `events` is not in 0..`total`, or `repeats` is below 1.

        Example:
            >>> rate = Rate.of(8, 10)
            >>> f"{rate.share:.2f} [{rate.low:.2f}, {rate.high:.2f}]"
            '0.80 [0.49, 0.94]'
        """
        if not 0 <= events <= total or repeats < 1:
            raise SettingError(
                f"{events} events in {total} cases, each counted {repeats} times, are not a rate. Give 0 to {total} "
                "events, and at least 1 repeat."
            )
        if not total:
            return cls(events=0, total=0)
        share, cases, z = events / total, total / repeats, NormalDist().inv_cdf((1 + LEVEL) / 2)
        centre, scale = share + z**2 / (2 * cases), 1 + z**2 / cases
        half = z * sqrt(share * (1 - share) / cases + z**2 / (4 * cases**2))
        low, high = max(0.0, (centre - half) / scale), min((centre + half) / scale, 1.0)
        return cls(events=events, total=total, share=share, low=low, high=high)
