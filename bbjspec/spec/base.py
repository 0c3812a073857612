"""What every section of a spec has in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    """Frozen, strict (no number for a string, no string for a number), and unknown fields are errors."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


def told(*, unit: str | None = None, why: str | None = None) -> dict[str, Any]:
    """What a field says beside its description: the unit of its number, and why its default is what it is.

    Both are keywords of the JSON Schema too, where editors and the reference read them.
    """
    return {key: value for key, value in (("unit", unit), ("why", why)) if value is not None}


def conflict(message: str, *fields: str) -> PydanticCustomError:
    """Fields that do not fit together, as dotted paths below the section that complains.

    The finding stands at the first of them that a file writes: what nobody wrote is a default, and has no line.
    """
    # Pydantic takes the message for a template, so the text travels as data.
    return PydanticCustomError("conflict", "fields do not fit together", {"message": message, "fields": list(fields)})
