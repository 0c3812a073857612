"""`bbjspec datasheet`: what a dataset is, on one page. Figures are computed from the rows, prose is its owners'.

The headings are those of Gebru et al., Datasheets for Datasets (2018; CACM 64(12), 2021). The prose stands in a small
YAML file beside the dataset; what it leaves out is said on the page, not left out there.
"""

from __future__ import annotations

import difflib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from bbjspec import yamlio
from bbjspec.bbj.checker import check
from bbjspec.bbj.extract import blocks
from bbjspec.data.code import has_code
from bbjspec.data.rows import Row, load_rows, normalise
from bbjspec.data.statistics import spread
from bbjspec.digest import sha256_file
from bbjspec.errors import BadInput, Finding
from bbjspec.markdown import render
from bbjspec.spec.base import Section
from bbjspec.spec.findings import translate
from bbjspec.spec.inherit import Layer

TEMPLATE = Path("templates/DATASHEET.md.j2")  # at the top of the project
STARTER = "starter"  # the tag of one-construct rows for a tiny model; they are counted apart
MOST_TAGS = 12  # named in the sheet; the others are only counted
COUNTED = ("kind", "topic", "generation", "difficulty")


def _prose(value: Any) -> Any:
    """A text or a list of texts as a tuple. Raises ValueError."""
    texts = value if isinstance(value, list) else [value]
    if value is not None and not (texts and all(isinstance(text, str) and text.strip() for text in texts)):
        raise ValueError("a text or a list of texts is meant, or no such field")
    return None if value is None else tuple(text.strip() for text in texts)


Prose = Annotated[tuple[str, ...] | None, BeforeValidator(_prose)]


class About(Section):
    """What a file of rows cannot say of itself. A field's description is what the sheet calls it."""

    title: str | None = Field(None, min_length=1, description="title")
    motivation: Prose = Field(None, description="why it was made")
    created_by: Prose = Field(None, description="who made it")
    instances: Prose = Field(None, description="what one row is")
    personal_data: Prose = Field(None, description="personal or confidential data")
    sources: Prose = Field(None, description="sources")
    method: Prose = Field(None, description="method")
    checks: Prose = Field(None, description="how it was checked")
    uses: Prose = Field(None, description="what it is for")
    not_for: Prose = Field(None, description="what it is not for")
    limits: Prose = Field(None, description="known limits")
    licence: Prose = Field(None, description="licence")
    maintenance: Prose = Field(None, description="who maintains it, and how")
    contact: Prose = Field(None, description="contact")


# What the sheet says under which heading, in order.
PARTS: dict[str, tuple[str, ...]] = {
    "Motivation": ("motivation", "created_by"),
    "Composition": ("instances", "personal_data"),
    "Collection": ("sources", "method"),
    "Cleaning and checks": ("checks",),
    "Uses": ("uses", "not_for"),
    "Limits": ("limits",),
    "Distribution and maintenance": ("licence", "maintenance", "contact"),
}


def datasheet(file: Path, template: Path, about: Path | None = None) -> str:
    """The sheet of a dataset, as Markdown. `about` is `<stem>.about.yaml` beside it if not given, and may be missing.

    Raises BadInput for rows, prose or a template that are not as meant.
    """
    rows = load_rows(file, file.as_posix())
    beside = file.with_name(f"{file.name.removesuffix('.gz').removesuffix('.jsonl')}.about.yaml")
    known = about or beside
    said = read_about(known, known.as_posix()) if about or beside.exists() else About()
    return render(template, template.as_posix(), _values(file, rows, known.name, said), {"count": "{:,}".format})


def read_about(path: Path, shown: str) -> About:
    """The prose of a dataset. Raises BadInput with every error at once."""
    text = yamlio.read_text(path, shown)
    raw = yamlio.parse(text, shown, f"fields such as {', '.join(list(About.model_fields)[:4])} are meant")
    try:
        return About.model_validate(raw)
    except ValidationError as error:
        layer = Layer(path, shown, text, raw)
        raise BadInput(_own(About, layer, error.errors(include_url=False))) from error


def _own(model: type[Section], layer: Layer, items: Iterable[Any]) -> list[Finding]:
    """The findings; an unknown field is told by these fields, not by those of a spec."""
    found = []
    for item in items:
        if item["type"] != "extra_forbidden":
            found += translate(model, [layer], [item])
            continue
        name = str(item["loc"][0])
        close = {"license": ["licence"]}.get(name) or difflib.get_close_matches(name, model.model_fields, 1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(model.model_fields)}"
        place = layer.places.locate([name], key=True)
        found.append(Finding(layer.shown, *place, name, f"unknown field; {hint}"))
    return sorted(found)


def describe(rows: Sequence[Row]) -> dict[str, Any]:
    """The figures of some rows. Lengths are in characters; a program is a block with the tag `bbj`."""
    same: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        same[normalise(row.question)].append(normalise(row.answer))
    repeated = [answers for answers in same.values() if len(answers) > 1]
    programs = [block.code for row in rows for block in blocks(row.answer) if block.tag == "bbj"]
    return {
        "rows": len(rows),
        "with_code": sum(has_code(row.answer) for row in rows),
        "programs": len(programs),
        "accepted": sum(not check(code) for code in programs),
        "question": spread([len(row.question) for row in rows]),
        "answer": spread([len(row.answer) for row in rows]),
        "system_prompts": len({row.system for row in rows}),
        "repeated_questions": sum(map(len, repeated)),
        "conflicting_answers": sum(len(answers) for answers in repeated if len(set(answers)) > 1),
        "tags": len(_counts(rows, "tags")),
    }


def _values(file: Path, rows: Sequence[Row], about: str, said: About) -> dict[str, Any]:
    """All that the template may name."""
    starter = [row for row in rows if row.has("tags", STARTER)]
    groups = {"all rows": rows}
    if starter:
        groups = {"tagged `starter`": starter, "the others": [row for row in rows if not row.has("tags", STARTER)]}
        groups = {name: some for name, some in groups.items() if some} | {"all rows": rows}
    # Without the starter rows, which would drown the others.
    counted = next(iter([some for name, some in groups.items() if name == "the others"]), rows)
    return {
        "title": said.title or f"Datasheet of {file.name}",
        "file": file.name,
        "bytes": file.stat().st_size,
        "sha256": sha256_file(file),
        "fields": sorted({name for row in rows for name in row.fields}),
        "groups": {name: describe(some) for name, some in groups.items()},
        "counted": "the other rows" if counted is not rows else "all rows",
        "counts": {name: counts for name in COUNTED if (counts := _counts(counted, name))},
        "uncounted": [name for name in COUNTED if not _counts(counted, name)],
        "tags": dict(list(_counts(counted, "tags").items())[:MOST_TAGS]),
        "about": about,
        "parts": {part: _stated(said, names) for part, names in PARTS.items()},
        "missing": {part: _missing(said, names) for part, names in PARTS.items()},
    }


def _stated(said: About, names: Iterable[str]) -> list[tuple[str, tuple[str, ...]]]:
    """What the sheet calls a field, and its paragraphs."""
    return [(_called(name), texts) for name in names if (texts := getattr(said, name))]


def _missing(said: About, names: Iterable[str]) -> list[str]:
    return [f"{_called(name)} (`{name}`)" for name in names if not getattr(said, name)]


def _called(name: str) -> str:
    return str(About.model_fields[name].description)


def _counts(rows: Iterable[Row], name: str) -> dict[str, int]:
    """How often each value stands in that field, or in its list; the most frequent first."""
    counter: Counter[str] = Counter()
    for row in rows:
        value = row.fields.get(name)
        counter.update(map(str, value) if isinstance(value, list) else [str(value)] if value is not None else [])
    return dict(sorted(counter.items(), key=lambda item: (-item[1], item[0])))
