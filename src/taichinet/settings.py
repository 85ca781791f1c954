"""The base class of all settings: what every one of them refuses."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Settings that a user may give: unknown keys, infinite values and NaN are refused; a value never changes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
