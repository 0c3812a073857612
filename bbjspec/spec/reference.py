"""The reference of specs as Markdown, docs/spec-reference.md: every field, made of the models by their schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from bbjspec.spec import Experiment

HEAD = """\
# Every field of a spec

`bbjspec schema --markdown > docs/spec-reference.md` makes this page of the models that check specs; a test holds it to
them. [specs.md](specs.md) says how to write a spec. A field without a default must be written; values are strict, so
that `"16"` is no number. What must fit together besides the bounds, `bbjspec check` says.
"""
_BOUNDS = (("exclusiveMinimum", ">"), ("minimum", "≥"), ("exclusiveMaximum", "<"), ("maximum", "≤"))
_LENGTHS = {"string": ("minLength", "maxLength", "character"), "array": ("minItems", "maxItems", "item")}
_NAMES = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false", "null": "null"}


def reference_text() -> str:
    """The whole page."""
    document = Experiment.model_json_schema()
    return "".join(f"{line}\n" for line in (HEAD, *_section("", document, document["$defs"], 2)))


def _section(path: str, model: dict[str, Any], models: dict[str, Any], level: int, mark: str = "") -> Iterator[str]:
    """A heading with what the section says of itself, a row a field, then the sections below it."""
    yield f"{'#' * level} {f'`{path}`{mark}' if path else 'At the top'}\n"
    if path:
        yield f"{model['description'].replace(chr(10), ' ')}\n"
    below: list[tuple[str, str]] = []
    rows: list[str] = []
    for name, field in model["properties"].items():
        inner = list(_models(field))
        at = f"{path}.{name}".lstrip(".")
        if inner and path == "":
            below += [(at, which) for which in inner]
            continue
        below += [(f"{at}[]" if field.get("type") == "array" else at, which) for which in inner]
        cells = (f"`{name}`", _type(field), _default(name, field, model), _words(field, at if inner else ""))
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    if rows:
        yield (
            "\n".join(
                (
                    "| field | type | default | what it is, and why its default is what it is |",
                    "|---|---|---|---|",
                    *rows,
                )
            )
            + "\n"
        )
    for at, which in below:
        beside = [models[other] for place, other in below if place == at and other != which]
        yield from _section(at, models[which], models, 3 if path else level, _mark(models[which], beside))


def _mark(model: dict[str, Any], beside: list[dict[str, Any]]) -> str:
    """What tells a section from others at its place: a field that it must have and they do not know."""
    marks = [name for name in model.get("required", ()) if not any(name in other["properties"] for other in beside)]
    return f" with `{marks[0]}`" if beside else ""


def _models(field: dict[str, Any]) -> Iterator[str]:
    """Which models a field holds, itself or in its list."""
    if "$ref" in field:
        yield field["$ref"].rpartition("/")[2]
    items = (field["items"],) if "items" in field else ()
    for part in (*field.get("anyOf", ()), *field.get("oneOf", ()), *items):
        yield from _models(part)


def _type(field: dict[str, Any]) -> str:
    """The type with its bounds, as a person says it."""
    if choices := field.get("anyOf") or field.get("oneOf"):
        return " or ".join(dict.fromkeys(map(_type, choices)))
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    kind = field.get("type", "object")
    if kind == "array":
        said = f"list of {_type(field['items'])}"
    elif kind == "object":
        said = "section" if "$ref" in field else "mapping of texts"
    else:
        said = _NAMES[kind]
    bounds = [f"{sign} {field[key]:,}" for key, sign in _BOUNDS if key in field]
    if kind in _LENGTHS:
        least, most, unit = _LENGTHS[kind]
        for key, words in ((least, "at least"), (most, "at most")):
            if key in field:
                bounds.append(f"{words} {field[key]} {unit}{'s' * (field[key] != 1)}")
    if "pattern" in field:
        bounds.append(f"like `{field['pattern']}`")
    return f"{said} ({', '.join(bounds)})" if bounds else said


def _default(name: str, field: dict[str, Any], model: dict[str, Any]) -> str:
    """The default as YAML writes it; a section's is that of its fields."""
    if name in model.get("required", ()):
        return "must be written"
    if "default" not in field:
        return "`{}`" if field.get("type") == "object" else "its fields'"
    value = field["default"]
    return f"`{value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)}`"


def _words(field: dict[str, Any], section: str) -> str:
    """What the field is, its unit, why its default is what it is, and where its fields are told."""
    said = [field.get("description", "")]
    if "unit" in field:
        said.append(f"Unit: {field['unit']}.")
    if "why" in field:
        said.append(f"*Why: {field['why']}*")
    if section:
        said.append(f"Its fields: `{section}`, below.")
    return " ".join(word for word in said if word)
