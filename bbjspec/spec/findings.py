"""What pydantic found wrong, as findings: file, place, field, and what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, get_args

from pydantic import BaseModel, Tag

from bbjspec.errors import Finding
from bbjspec.redact import without_tokens
from bbjspec.spec import secrets
from bbjspec.spec.inherit import At, Layer, owner
from bbjspec.spec.renamed import elsewhere

MAX_FINDINGS = 100  # of one file; whoever has more has fed it something else than a spec

# Not told when a parent is missing: what it would have said may be just what is lacking.
NEEDS_ALL = frozenset({"missing", "conflict"})

_PLAIN = {
    "model_type": "a mapping of fields is meant",
    "dict_type": "a mapping is meant",
    "tuple_type": "a list is meant",
    "bool_type": "true or false is meant",
}


def translate(model: type[BaseModel], layers: Sequence[Layer], items: Iterable[Any]) -> list[Finding]:
    """Findings of what pydantic's `errors()` lists, each at the file and place that says it, sorted."""
    found = [_finding(model, layers, item) for item in items]
    return sorted(set(found))


def secret_findings(layers: Sequence[Layer], raw: dict[str, Any]) -> tuple[list[Finding], set[tuple[str | int, ...]]]:
    """A finding for each secret, and the places of them."""
    places = set(secrets.find(raw))
    return [_place(layers, at, secrets.REFUSAL, key=True) for at in places], places


def tidy(findings: Iterable[Finding]) -> list[Finding]:
    """Each once, in order, not more than a person reads, and without secrets."""
    clean = sorted({replace(f, path=without_tokens(f.path), message=without_tokens(f.message)) for f in findings})
    if len(clean) > MAX_FINDINGS:
        rest = Finding(clean[0].file, 0, 0, "", f"and {len(clean) - MAX_FINDINGS} more findings like these")
        clean = [*clean[:MAX_FINDINGS], rest]
    return clean


def _finding(model: type[BaseModel], layers: Sequence[Layer], item: Any) -> Finding:
    at, here = place_of(model, item["loc"])
    kind, context = item["type"], item.get("ctx", {})
    if kind == "extra_forbidden":
        return _place(layers, at, _unknown(model, here, at), key=True)
    if kind == "missing":
        place = layers[0].places.locate(at[:-1], key=True)
        return Finding(layers[0].shown, *place, _dotted(at), "missing; it has no default")
    if kind == "conflict":
        choices = [(*at, *steps(field)) for field in context["fields"]]
        written = [choice for choice in choices if owner(layers, choice)]
        return _place(layers, written[0] if written else choices[0], context["message"], key=False)
    return _place(layers, at, _message(kind, context, item), key=False)


def _message(kind: str, context: dict[str, Any], item: Any) -> str:
    value = item["input"]
    if kind == "value_error":
        return str(context.get("error", item["msg"]))
    if kind == "string_type" and not isinstance(value, dict | list | None):
        return "text is meant; put quotes around it"
    said = _PLAIN.get(kind) or item["msg"][0].lower() + item["msg"][1:]
    if not isinstance(value, dict):
        said += f"; found {_short(value)}"
    if kind == "literal_error" and isinstance(value, str):
        known = [name.strip("'") for name in str(context["expected"]).replace(" or ", ", ").split(", ")]
        close = difflib.get_close_matches(value.lower(), known, n=1)
        if close and len(known) > 6:
            return f"{_short(value)} is none of the {len(known)} that are known; did you mean {close[0]}?"
        said += f"; did you mean {close[0]}?" if close else ""
    return said


def _place(layers: Sequence[Layer], at: At, message: str, *, key: bool) -> Finding:
    layer = owner(layers, at) or layers[0]
    if layer is not layers[0]:
        message += f" (inherited by {layers[0].shown})"
    return Finding(layer.shown, *layer.places.locate(at, key=key), _dotted(at), message)


def _dotted(at: At) -> str:
    return ".".join(_short(step, 40) if isinstance(step, str) and not step.isprintable() else str(step) for step in at)


def _short(value: Any, length: int = 60) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        text = "a very large number"
    return text if len(text) <= length else text[: length - 3] + "…"


def _unknown(model: type[BaseModel], here: type[BaseModel], at: At) -> str:
    """What to write instead of a field that the section `here` does not have."""
    name = str(at[-1])
    if other := elsewhere(name):
        return other
    homes = [path for path in fields(model) if path.rsplit(".", 1)[-1] == name]
    if homes:
        return f"unknown field; it belongs to {_and(home.rpartition('.')[0] for home in homes)}: write {_and(homes)}"
    known = sorted(here.model_fields)
    close = difflib.get_close_matches(name, known, n=1)
    return "unknown field; " + (f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}")


def steps(field: str) -> list[str | int]:
    """A dotted path as the steps that lead there; a number is an element of a list."""
    return [int(step) if step.isdigit() else step for step in field.split(".")]


def _and(words: Iterable[str]) -> str:
    return " or ".join(word or "the top level" for word in words)


def place_of(model: type[BaseModel], loc: At) -> tuple[tuple[str | int, ...], type[BaseModel]]:
    """A place as a file has it, and the section that has its last step.

    Where a list holds sections of several kinds, pydantic tells of the kind by a step of its own, which no file has.
    """
    at: list[str | int] = []
    kinds: dict[str, type[BaseModel]] = {}
    for step in loc:
        if at and isinstance(at[-1], int) and step in kinds:
            model, kinds = kinds[str(step)], {}
            continue
        at.append(step)
        if isinstance(step, str) and step in model.model_fields and len(at) < len(loc):
            kinds = _sections(model.model_fields[step])
            model = next(iter(kinds.values()), model)
    return tuple(at), model


def _sections(info: Any) -> dict[str, type[BaseModel]]:
    """The sections in a field's annotation, be it optional, a list, or a choice of several: by tag, or by name."""
    found: dict[str, type[BaseModel]] = {}

    def visit(annotation: Any, tag: str) -> None:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found[tag or annotation.__name__] = annotation
        parts = get_args(annotation)
        tags = [part.tag for part in parts if isinstance(part, Tag)]
        for part in parts:
            visit(part, tags[0] if tags else tag)

    visit(info.annotation, "")
    return found


def fields(model: type[BaseModel], prefix: str = "") -> list[str]:
    """The dotted paths of all leaf fields, each once."""
    found: dict[str, None] = {}
    for name, info in model.model_fields.items():
        sections = _sections(info).values()
        inner = [path for section in sections for path in fields(section, f"{prefix}{name}.")]
        found |= dict.fromkeys(inner if sections else [prefix + name])
    return list(found)
