"""`bbjspec card`: a published model card on the terminal."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from bbjspec import terminal
from bbjspec.errors import UsageError
from bbjspec.plan import Plan, experiment_is_named, read_plan
from bbjspec.spec.names import no_such

CARD = "MODEL_CARD.md"
_REST = "## Data"  # where the first screen ends
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")


def show(root: Path, name: str, *, full: bool) -> None:
    """Print the card's first screen, or all of it; then where it is, and whether its spec has changed since.

    Raises UsageError where there is none, with what to run.
    """
    plan = read_plan(root)
    shown = f"adapters/{name}/{CARD}"
    text = _read(root / shown) if experiment_is_named(name) else None
    if text is None:
        raise UsageError(_missing(plan, name))
    lines = list(body(text))
    rest = next(_at_rest(lines), len(lines))
    more = not full and rest < len(lines)
    _print("\n".join(lines if full else lines[:rest]).strip("\n"))
    print()
    if said := _since(plan, name):
        print(said)
    if more:
        print(f"the whole card: bbjspec card {name} --full")
    print(shown)


def body(text: str) -> Iterator[str]:
    """The card's lines behind its metadata, as characters that only show themselves: a card is a file that may have
    been edited, and a terminal obeys some characters."""
    lines = text.splitlines()
    end = lines.index("---", 1) + 1 if lines[:1] == ["---"] and "---" in lines[1:] else 0
    for line in lines[end:]:
        yield "".join(
            c if c == "\t" or unicodedata.category(c) not in ("Cc", "Cf") else f"\\u{ord(c):04x}" for c in line
        )


def _at_rest(lines: list[str]) -> Iterator[int]:
    """Where the heading is that ends the first screen; what stands in a code block is none."""
    fence = ""
    for at, line in enumerate(lines):
        mark = _FENCE.match(line)
        if fence:
            fence = "" if mark and mark[1].startswith(fence) and not line.strip(" `~") else fence
        elif mark:
            fence = mark[1]
        elif line.rstrip() == _REST:
            yield at


def _print(text: str) -> None:
    if terminal.plain():
        print(text)
        return
    from rich.markdown import Markdown

    terminal.console().print(Markdown(text, hyperlinks=False))


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except OSError:
        return None


def _missing(plan: Plan, name: str) -> str:
    """Why there is no card, and what to run."""
    known = sorted({*plan.experiments, *(file.removesuffix(".yaml") for file in plan.bad_specs)})
    if name in plan.experiments:
        return f"{name} has no card yet; run snakemake --cores 8 {name} --resources gpu=1"
    if name in known:
        return f"{name} has no card, and its spec has errors; run bbjspec check {name}"
    return no_such(name, known)


def _since(plan: Plan, name: str) -> str:
    """What has changed since the card was published, in one line; nothing when it is up to date."""
    if name in plan.experiments:
        if plan.experiment_state(plan.experiments[name]) == "to run":
            return (
                f"not what experiments/{name}.yaml says now: snakemake --cores 8 {name} --resources gpu=1 makes it anew"
            )
        return ""
    if f"{name}.yaml" in plan.bad:
        return f"experiments/{name}.yaml has errors now: bbjspec check {name}"
    return f"experiments/{name}.yaml is gone"
