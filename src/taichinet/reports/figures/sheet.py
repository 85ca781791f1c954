"""What a figure is before it is drawn: rows of panels with titles, and the record that goes beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Look = Literal["grey", "response", "region"]


@dataclass(frozen=True)
class Panel:
    """One picture of a figure.

    `values` are drawn as `look` says: "grey", an image as uint8 (h, w) or a probability in [0, 1]; "response", a
    feature map scaled to [0, 1], in cividis; "region", a part of the lesion as bool (h, w), filled on the dimmed
    `backdrop`. They fill the panel whatever their size. `truth` and `prediction` are masks bool (H, W) at the image's
    own size, whose borders are drawn, `highlight` lets everything outside the truth fade. `note` stands below.
    `record` is what the JSON tells of this panel.
    """

    values: NDArray[Any]
    look: Look = "grey"
    truth: NDArray[np.bool_] | None = None
    prediction: NDArray[np.bool_] | None = None
    backdrop: NDArray[np.uint8] | None = None
    highlight: bool = False
    note: str = ""
    record: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """Panels side by side; `label` stands at their left, `shape` is (height, width) of the image that they show."""

    label: str
    shape: tuple[int, int]
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Sheet:
    """A figure: as many column titles as every row has panels.

    `rule` says how its cases were chosen, `made` where they come from; both are for the record beside the figure.
    """

    number: int
    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    rule: str
    made: dict[str, Any]

    @property
    def has_responses(self) -> bool:
        """Whether a colour bar is needed."""
        return any(panel.look == "response" for row in self.rows for panel in row.panels)

    def record(self) -> dict[str, Any]:
        """The JSON beside the figure."""
        return {
            "figure": self.number,
            "caption": self.caption,
            "rule": self.rule,
            **self.made,
            "columns": list(self.columns),
            "rows": [{"label": row.label, "panels": [panel.record for panel in row.panels]} for row in self.rows],
        }
