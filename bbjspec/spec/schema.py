"""The JSON Schema of a spec, for editors: made of the models, so that it knows what they know.

It says less than the models do (nothing of fields that must fit together), and never more: every good spec satisfies
it. A spec that extends another needs no field of its own, so what is required stands in the `else` of a condition.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

from bbjspec.spec import Experiment

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """The schema, as data."""
    document = Experiment.model_json_schema()
    for part in (document, *document["$defs"].values()):
        part.pop("required", None)
        for field in part["properties"].values():
            _explain(field)
    inherits = {"properties": {"extends": {"type": "string"}}, "required": ["extends"]}
    return {"$schema": DIALECT, **document, "if": inherits, "else": _required(Experiment)}


def schema_text() -> str:
    """The schema, as `experiments/schema.json` has it."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def _required(model: type[BaseModel]) -> dict[str, Any]:
    """What a spec that stands alone must have, here and in the sections that it writes."""
    needed = [name for name, info in model.model_fields.items() if info.is_required()]
    below: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            inner = _required(info.annotation)
            if inner:
                below[name] = inner
    return {key: value for key, value in (("required", needed), ("properties", below)) if value}


def _explain(field: dict[str, Any]) -> None:
    """Editors show `description` alone: the unit and the reason of the default join it there."""
    field.pop("title", None)
    words = [field.get("description", "")]
    if "unit" in field:
        words.append(f"Unit: {field['unit']}.")
    if "why" in field:
        words.append(f"Default: {field['why']}")
    field["description"] = " ".join(word for word in words if word)
