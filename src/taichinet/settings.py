"""Base classes of settings and records."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Immutable settings. Unknown keys, infinite values and NaN are rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Record(BaseModel):
    """Immutable part of a result file. Unknown keys, as written by other versions, are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")
