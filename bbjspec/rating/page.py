"""The rating page: one HTML document with all pairs in it, served or as a file of its own.

Nothing is loaded from anywhere. What a model or an author wrote comes in by `render` alone; all else is escaped.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from bbjspec.rating.render import html
from bbjspec.rating.session import Session, Showing

TEMPLATES = Path(__file__).with_name("data")
_LOCKED = "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"


def page(session: Session, *, offline: bool) -> tuple[str, str]:
    """The document, and its Content-Security-Policy: to be sent as a header, and inside already when `offline`."""
    css, script = (_part(name) for name in ("page.css", "page.js"))
    policy = f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(css)}; {_LOCKED}"
    if not offline:
        policy += "; connect-src 'self'; frame-ancestors 'none'"  # a browser heeds the last in a header alone
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("page.html.j2").render(
        session=session,
        mode="offline" if offline else "served",
        policy=policy if offline else "",
        total=len(session.showings),
        pairs=[_pair(showing) for showing in session.showings],
        css=Markup(css),
        script=Markup(script),
    )
    return text, policy


def _part(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _pair(showing: Showing) -> dict[str, Any]:
    sides = [("left", "Left", showing.left, showing.left_cut), ("right", "Right", showing.right, showing.right_cut)]
    return {
        "number": showing.number,
        "category": showing.category,
        "prompt": Markup(html(showing.prompt)),
        "notes": Markup(html(showing.notes)) if showing.notes.strip() else "",
        "named": showing.named,
        "sides": [(side, heading, Markup(html(text)), cut) for side, heading, text, cut in sides],
    }
