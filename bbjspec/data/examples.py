"""Examples in Markdown, one a file, as question and answer: front matter, `## Code`, what to expect, `## Explanation`.

docs/data.md shows the format and what each type makes of it.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bbjspec import yamlio
from bbjspec.data.sections import Page, Piece, Section, fenced, read_page, render
from bbjspec.errors import BadInput, Finding
from bbjspec.suitefields import DIFFICULTIES, GENERATIONS

TYPES = ("completion", "comprehension", "explanation", "migration")
CODE, OUTPUT, BEHAVIOR, EXPLANATION = "code", "expected output", "expected behavior", "explanation"
HEADINGS = {CODE: "Code", OUTPUT: "Expected Output", BEHAVIOR: "Expected Behavior", EXPLANATION: "Explanation"}
NEEDS_EXPLANATION = ("comprehension", "explanation")

_TEXTS = ("title", "type", "id", "topic", "difficulty", "description", "question", "requires_version")
_CHOICES = {
    "difficulty": DIFFICULTIES,
    "generation": GENERATIONS,
    "from_generation": GENERATIONS,
    "to_generation": GENERATIONS,
}
_LISTS = ("generation", "from_generation", "to_generation", "tags")
_SPOKEN = {"character": "character mode", "vpro5": "Visual PRO/5", "bbj-gui": "the BBj GUI", "dwc": "the DWC"}
_MADE = {"messages": "messages are made of the sections", "kind": "the row's kind is what type says"}
_BBJ_TAGS = ("", "basic", "bbj")
_FILE_NAME = re.compile(r"[ \t]*<!--[ \t]*filename:[ \t]*(\S.*?)[ \t]*-->[ \t]*$")


@dataclass(frozen=True)
class Example:
    """One file, read. `fields` are those of the row besides its messages; `id` is among them when the file has one."""

    question: str
    answer: str
    fields: Mapping[str, Any]


def read_example(path: Path, shown: str) -> Example:
    """The example in the file. Raises BadInput with all that is wrong with it."""
    page = read_page(path, shown)
    findings: list[Finding] = [page.unclosed] if page.unclosed else []
    front = _front(page.front, shown, findings)
    sections = {} if page.unclosed else _sections(page, shown, findings)
    code = sections.get(CODE)
    kind = str(front.get("type", ""))
    if code:
        sections[CODE] = code = _named(code, shown, findings)
    if not page.unclosed and not findings and kind in NEEDS_EXPLANATION and EXPLANATION not in sections:
        message = f"## Explanation is missing; the answer of type {kind} is made of it"
        findings.append(Finding(shown, 0, 0, "", message))
    parts = _before_and_after(code, shown, findings) if code and kind == "migration" and not findings else ("", "")
    if findings or code is None:
        raise BadInput(sorted(findings))
    whole = render(code.pieces)
    asked = front.pop("question", None)
    if asked is not None or kind in ("completion", "explanation"):
        question, shown_code = asked or _task(kind, front), whole
    elif kind == "comprehension":
        expects = OUTPUT in sections or BEHAVIOR in sections
        more = " and what is to be expected when it runs" if expects else ""
        question, shown_code = f"Explain what this BBj code{_scope(front)} does{more}.\n\n{whole}", ""
    else:
        question, shown_code = f"{_task(kind, front)}\n\n{parts[0]}", parts[1]
    return Example(question, _answer(shown_code, sections), {"kind": front.pop("type"), **front})


def _task(kind: str, front: Mapping[str, Any]) -> str:
    """The question that title, description and generation make; a title that is a question stays as it is."""
    title = str(front["title"]).rstrip(".")
    if kind == "migration":
        source, target = (_names(front.get(name)) for name in ("from_generation", "to_generation"))
        target = target or _names(front.get("generation"))
        ways = (f" from {source}" if source else "") + (f" to {target}" if target else "")
        said = f"Migrate this BBj code{ways}: {title}."
    elif title.endswith("?"):
        said = title
    else:
        said = f"{'Explain with' if kind == 'explanation' else 'Write'} BBj code{_scope(front)}: {title}."
    return f"{said}\n\n{front['description']}" if "description" in front else said


def _scope(front: Mapping[str, Any]) -> str:
    names = _names(front.get("generation"))
    return f" for {names}" if names else ""


def _names(generations: str | list[str] | None) -> str:
    known = [generations] if isinstance(generations, str) else generations or []
    return "" if "all" in known else " and ".join(_SPOKEN[name] for name in known)


def _answer(code: str, sections: Mapping[str, Section]) -> str:
    """Code, what to expect, explanation, then other sections under their headings; explanation first without code."""
    explanation = render(sections[EXPLANATION].pieces) if EXPLANATION in sections else ""
    parts = [code] if code else [explanation]
    if OUTPUT in sections:
        parts.append(f"Expected output:\n\n{_expected(sections[OUTPUT], wrap=True)}")
    if BEHAVIOR in sections:
        parts.append(f"Expected behavior:\n\n{_expected(sections[BEHAVIOR], wrap=False)}")
    parts += [explanation] if code else []
    parts += [f"{s.heading}:\n\n{render(s.pieces)}" for name, s in sections.items() if name not in HEADINGS]
    return "\n\n".join(part for part in parts if part)


def _expected(section: Section, *, wrap: bool) -> str:
    """Untagged blocks get the tag `text`; output that stands in no block at all is put into one."""
    pieces = [piece.tagged("text") if piece.tag == "" else piece for piece in section.pieces]
    return fenced(render(pieces), "text") if wrap and not section.blocks else render(pieces)


# Sections.


def _sections(page: Page, shown: str, findings: list[Finding]) -> dict[str, Section]:
    """The sections by what they are, unknown ones by their heading."""
    found: dict[str, Section] = {}
    for piece in page.sections[0].pieces:
        for line, text in enumerate(piece.lines, piece.line):
            if text.strip() and not re.match(r" {0,3}#[ \t]", text):
                message = "text before the first ## section; move it into description or into a section"
                findings.append(Finding(shown, line, 0, "", message))
                break
    for section in page.sections[1:]:
        name = " ".join(section.heading.casefold().rstrip(":").split()).replace("behaviour", "behavior")
        close = difflib.get_close_matches(name, HEADINGS, 1, cutoff=0.8)
        if name in found:
            message = f"## {section.heading} stands in line {found[name].line} already; join the two"
        elif name not in HEADINGS and close:
            message = f"## {section.heading} is not known; did you mean ## {HEADINGS[close[0]]}?"
        elif not section.blocks and all(piece.empty for piece in section.pieces):
            message = f"## {section.heading} is empty; fill it or take it out"
        else:
            found[name] = section
            continue
        findings.append(Finding(shown, section.line, 0, "", message))
        found.setdefault(name if name in HEADINGS or not close else close[0], section)
    if CODE not in found:
        there = ", ".join(section.heading for section in page.sections[1:])
        message = f"## Code is missing{f'; there are {there}' if there else ''}"
        findings.append(Finding(shown, 0, 0, "", message))
    return found


def _named(section: Section, shown: str, findings: list[Finding]) -> Section:
    """The section with its BBj blocks tagged `bbj` and file names readable; several blocks must have names."""
    ours = [piece for piece in section.blocks if piece.tag in _BBJ_TAGS]
    if not section.blocks and not all(piece.empty for piece in section.pieces):
        message = "## Code has no fenced block; put the code between a line ```bbj and a line ```"
        findings.append(Finding(shown, section.line, 0, "", message))
    elif section.blocks and not ours:
        tag = section.blocks[0].tag
        findings.append(Finding(shown, section.blocks[0].line, 0, "", f"tagged {tag}; BBj code is tagged bbj"))
    pieces: list[Piece] = []
    named = False
    for piece in section.pieces:
        if piece.tag is None:
            lines = [(_FILE_NAME.sub(lambda found: f"`{found[1]}`:\n", line), line) for line in piece.lines]
            named |= piece.title is not None or any(new != old for new, old in lines)
            pieces.append(Piece(piece.line, tuple(new for new, _ in lines)))
            continue
        if piece.tag in _BBJ_TAGS:
            if piece.empty:
                findings.append(Finding(shown, piece.line, 0, "", "the code block is empty"))
            if len(ours) > 1 and not named:
                message = (
                    "one of several code blocks without a name; write <!-- filename: NAME --> before it, or join them"
                )
                findings.append(Finding(shown, piece.line, 0, "", message))
            named = False
        pieces.append(piece.tagged("bbj") if piece.tag in _BBJ_TAGS else piece)
    return Section(section.heading, section.line, tuple(pieces))


def _before_and_after(code: Section, shown: str, findings: list[Finding]) -> tuple[str, str]:
    """What stands under `### Before …` and `### After …`, without these headings."""
    sides: dict[str, list[Piece]] = {"before": [], "after": []}
    side = ""
    for piece in code.pieces:
        words = (piece.title or "").casefold().split()
        if words and words[0].strip(":") in sides:
            side = words[0].strip(":")
        elif side:
            sides[side].append(piece)
    for name, pieces in sides.items():
        if not any(piece.tag == "bbj" for piece in pieces):
            message = f"type migration needs a code block under ### {name.capitalize()} in ## Code"
            findings.append(Finding(shown, code.line, 0, "", message))
    return render(sides["before"]), render(sides["after"])


# Front matter.


def _front(text: str, shown: str, findings: list[Finding]) -> dict[str, Any]:
    """The fields of the row, as far as they are good."""
    try:
        raw = yamlio.parse(text, shown, "title and type at least are meant")
    except BadInput as error:
        findings += error.findings
        return {}
    places = yamlio.Places(text, shown)

    def bad(name: str, message: str, *, key: bool = False) -> None:
        findings.append(Finding(shown, *places.locate([name], key=key), name, message))

    front: dict[str, Any] = {}
    known = (*_TEXTS, *_LISTS)
    for name, value in raw.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, 1, cutoff=0.8)
            if close or name in _MADE:
                hint = _MADE.get(name) or f"did you mean {close[0]}?"
                bad(name, f"unknown field; {hint}", key=True)
            else:
                front[name] = json.loads(json.dumps(value, default=str))
        elif value is not None:
            good, message = _value(name, value)
            if message:
                bad(name, message)
            else:
                front[name] = good
    for name in ("title", "type"):
        if raw.get(name) is None:
            findings.append(Finding(shown, 1, 0, name, "missing"))
    kind = front.get("type")
    if kind is not None and kind not in TYPES and "question" not in front:
        close = difflib.get_close_matches(kind.lower(), TYPES, 1)
        hint = (
            f"did you mean {close[0]}?" if close else "of another type, write the question itself as a field question"
        )
        bad("type", f"{kind!r} is none of {', '.join(TYPES)}; {hint}")
    return front


def _value(name: str, value: Any) -> tuple[Any, str]:
    """The value as the row has it, or what is wrong with it."""
    many = name in _LISTS
    if many and isinstance(value, str):
        value = [word.strip() for word in value.split(",")]
    items = value if isinstance(value, list) else [value]
    if isinstance(value, dict) or (not many and len(items) != 1):
        return None, f"{'text or a list of texts' if many else 'one text'} is meant"
    if not items and name != "tags":
        return None, "is empty; fill it or take the field out"
    for item in items:
        if not isinstance(item, str):
            return None, f"text is meant, not {str(item)[:60]}; put quotes around it"
        if not item.strip():
            return None, "is empty; fill it or take the field out"
        if item not in (choices := _CHOICES.get(name, (item,))):
            close = difflib.get_close_matches(item.lower(), choices, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            return None, f"{item!r} is none of {', '.join(choices)}{hint}"
    texts = list(dict.fromkeys(_line(item) if name != "question" else item.strip() for item in items))
    return (texts[0] if len(texts) == 1 and name != "tags" else texts), ""


def _line(text: str) -> str:
    return " ".join(text.split())
