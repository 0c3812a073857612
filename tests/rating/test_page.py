"""The page as it is sent: what it lets the browser do, what stands in it, and whether it can be read."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from bbjspec.rating.page import TEMPLATES, page
from bbjspec.rating.session import Showing
from tests.rating.sessions import FileSession, realistic, showing

HOSTILE = "</style></script><script>window.hit=1</script><!-- \" ' <img src=x onerror=window.hit=1> &amp;"


def made(showings: list[Showing], offline: bool = False, **others: str) -> tuple[str, str]:
    session = FileSession(Path("unused"), showings)
    for name, value in others.items():
        setattr(session, name, value)
    return page(session, offline=offline)


class Parts(HTMLParser):
    """Each element with its attributes, and the texts of style and script."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.inside: dict[str, list[str]] = {"style": [], "script": []}
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        if self.lasttag in self.inside and self.elements[-1][0] == self.lasttag:
            self.inside[self.lasttag].append(data)


def sha(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@pytest.mark.parametrize("offline", [False, True])
def test_the_policy_allows_this_script_and_style_alone(offline: bool) -> None:
    text, policy = made(realistic(3), offline)
    css, script = ((TEMPLATES / name).read_text() for name in ("page.css", "page.js"))
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules.pop("default-src") == "'none'"
    assert rules.pop("script-src") == sha(script) and f"<script>{script}</script>" in text
    assert rules.pop("style-src") == sha(css) and f"<style>{css}</style>" in text
    locked = {
        "base-uri": "'none'",
        "form-action": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    assert rules == locked if offline else rules == locked | {"connect-src": "'self'", "frame-ancestors": "'none'"}
    metas = [attrs["content"] for tag, attrs in Parts(text).elements if "http-equiv" in attrs]
    assert metas == ([policy] if offline else [])


@pytest.mark.parametrize("offline", [False, True])
def test_nothing_is_loaded_and_nothing_is_inline(offline: bool) -> None:
    text, _ = made(realistic(), offline)
    parts = Parts(text)
    for tag, attrs in parts.elements:
        assert not {"src", "href", "style", "action", "srcdoc"} & set(attrs), tag
        assert not [name for name in attrs if name.startswith("on")], tag
        assert tag not in ("link", "img", "iframe", "form", "a", "object", "embed", "base")
    assert "://" not in "".join(parts.inside["style"] + parts.inside["script"])
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(", parts.inside["script"][0]
    )


def test_whatever_is_hostile_changes_no_element() -> None:
    calm = Parts(made([showing(1, "x", "x", prompt="x", category="x", notes="x")], page="x", rater="x")[0])
    values = {"prompt": HOSTILE, "category": HOSTILE, "notes": HOSTILE}
    text, _ = made([showing(1, HOSTILE, HOSTILE, **values)], page=HOSTILE, rater=HOSTILE)
    hostile = Parts(text)
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in calm.elements]
    assert hostile.inside == calm.inside
    body = next(attrs for tag, attrs in hostile.elements if tag == "body")
    assert body == {"data-mode": "served", "data-page": HOSTILE, "data-rater": HOSTILE}


def test_what_is_told_of_an_answer() -> None:
    cut, named = (
        "cut short: it reached the length limit",
        "An answer here names a model: judge what it says, not who may have said it.",
    )
    plain, _ = made([showing(1)])
    assert cut not in plain and named not in plain and "What to look at" not in plain
    text, _ = made([showing(1, left_cut=True, named=True, notes="Look at <b>.")])
    left, right = text.split('data-side="right"')
    assert left.count(cut) == 1 and cut not in right and left.count(named) == 1
    assert "What to look at" in text and "Look at &lt;b&gt;." in text


def test_both_sides_render_alike() -> None:
    text, _ = made([showing(1, "```bbj\nrem x\n```", "```bbj\nrem x\n```")])
    left, right = re.findall(r'<div class="text" [^>]*aria-labelledby="\w+-1">(.*?)</div>', text, re.DOTALL)
    assert left == right == '<pre class="code"><span class="c">rem x</span></pre>\n'


def test_landmarks_headings_and_names() -> None:
    text, _ = made(realistic(2), offline=True)
    elements = Parts(text).elements
    tags = [tag for tag, _ in elements]
    assert [tags.count(one) for one in ("main", "header", "footer", "h1")] == [1, 1, 1, 1]
    levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and all(after <= before + 1 for before, after in pairwise(levels))
    ids = [attrs["id"] for _, attrs in elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    for tag, attrs in elements:
        assert set(attrs.get("aria-labelledby", "").split()) <= set(ids)
        if tag == "label" and "for" in attrs:
            assert attrs["for"] in ids
    assert ("html", {"lang": "en"}) in elements
    assert "This page needs JavaScript" in text


# Contrast, by WCAG 2.2: relative luminance, and (L1 + 0.05) / (L2 + 0.05).

CSS = (TEMPLATES / "page.css").read_text()
TEXT_ON = {  # 4.5 : 1
    "sheet": "ink soft accent warn keyword builtin string number comment label",
    "code": "ink soft keyword builtin string number comment label",
    "page": "ink soft",
    "tint": "ink",
    "accent": "on-accent",
    "warn-tint": "warn",
    "bad-tint": "bad",
}
EDGES_ON = {"sheet": "edge accent", "page": "edge accent", "code": "edge accent"}  # 3 : 1: controls, focus, the bar


def palettes() -> list[dict[str, str]]:
    """The colours by name, of the light and of the dark scheme."""
    light, dark = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    return [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", text)) for text in (light, dark)]


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_formula() -> None:
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_contrast(scheme: int) -> None:
    colours = palettes()[scheme]
    assert set(colours) == set(palettes()[0]) and len(colours) > 15
    for least, table in ((4.5, TEXT_ON), (3, EDGES_ON)):
        for ground, names in table.items():
            for name in names.split():
                assert contrast(colours[name], colours[ground]) >= least, (name, ground)


def test_no_colour_stands_beside_the_palette() -> None:
    rules = re.sub(r":root \{.*?\}", "", CSS, flags=re.DOTALL)
    assert not re.search(r": [^;{}]*(#[0-9a-f]{3}|(?<![-\w])(white|black)(?![-\w]))", rules)
    assert set(re.findall(r"var\(--([\w-]+)\)", CSS)) == set(palettes()[0])


def test_sizes_grow_with_the_text() -> None:
    """Nothing but hairlines is in pixels, and no height is fixed but those of small controls."""
    assert set(re.findall(r"[\d.]+px", CSS)) == {"1px", "2px"}
    assert not re.search(r"(?<![-\w])height: (?!\.5rem)", CSS)
