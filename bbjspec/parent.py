"""What changed since the parent experiment, and the comparison with it: made when results are placed.

It is no part of any stage: what can be said of the parent depends on what is published of it, and a digest may depend
on specs and sources alone (docs/decisions/0011). It decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bbjspec.digest import sha256_file
from bbjspec.figures import chance, interval, plain, signed
from bbjspec.markdown import span
from bbjspec.pairing import Side, compare_two, read_leaks, read_side
from bbjspec.spec.difference import shown
from bbjspec.store import read_json

SHOWN = 5  # prompts named in the card
CHANGES = 12  # fields named in the card
_FILES = ("eval_results.json", "scores.jsonl", "contamination.json")


def published_side(root: Path, name: str) -> tuple[Side, set[str]] | None:
    """What is published of an experiment under `adapters/`: its results and its leaked prompts; None for nothing.

    Raises ValueError for files that are not those of the folder's lock, or cannot be read.
    """
    folder = root / "adapters" / name
    lock = read_json(folder / "lock.json")
    if lock is None:
        return None
    try:
        bad = [file for file in _FILES if lock["files"].get(file) != sha256_file(folder / file)]
    except (OSError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"adapters/{name} is not whole; git checkout or git lfs pull restores it") from error
    if bad:
        raise ValueError(
            f"adapters/{name}/{bad[0]} is not the file that lock.json lists; git checkout or git lfs pull restores it"
        )
    side = read_side(name, folder / "eval_results.json", folder / "scores.jsonl")
    return side, read_leaks(name, folder / "contamination.json")


def changed_since(parent: str, changes: Sequence[dict[str, Any]] | None) -> str:
    """What a spec says differently than its parent's (Markdown, one paragraph); None for a parent without good spec."""
    if changes is None:
        return f"Changed since {parent}: not known, its spec is missing or has errors."
    said = [f"{c['field']} {span(shown(c['a']))} → {span(shown(c['b']))}" for c in changes if c["result"]]
    more = f", and {len(said) - CHANGES} more (`bbjspec diff` names all)" if len(said) > CHANGES else ""
    return f"Changed since {parent}: {', '.join(said[:CHANGES]) or 'nothing that changes a result'}{more}."


def compare_with_parent(
    root: Path, parent: str, name: str, score: Path, contamination: Path
) -> tuple[str, dict[str, Any] | None]:
    """What the card says of the parent (Markdown, one paragraph), and the comparison where there is one."""
    try:
        known = published_side(root, parent)
        if known is None:
            said = f"Its parent {parent} had no published results when this card was placed"
            return f"{said}; `bbjspec compare {parent} {name}` compares the two as soon as it has.", None
        own = read_side(name, score / "results.json", score / "scores.jsonl")
        leaked = known[1] | read_leaks(name, contamination / "contamination.json")
        document = compare_two(known[0], own, leaked)
    except ValueError as error:
        return f"Not compared with its parent {parent}: {span(error)}.", None
    return paragraph(document, parent, name), document


def paragraph(document: dict[str, Any], parent: str, name: str) -> str:
    """The comparison in words."""
    worse, better = document["regressions"], document["improvements"]
    named = ", ".join(f"{span(c['id'])} ({c['a']:.2f} to {c['b']:.2f})" for c in worse[:SHOWN])
    more = ", …" if len(worse) > SHOWN else ""
    notes = "".join(f" Not made alike: {span(note)}." for note in document["notes"])
    return (
        f"Against its parent {parent}: **{document['verdict']}**. Strict {document['metric']} "
        f"{plain(document['b']['value'])} against {plain(document['a']['value'])}, {signed(document['diff'])} "
        f"{interval(document['ci'])}, exact p {chance(document['p'])}, on the same {document['n_prompts']} prompts; "
        f"{len(better)} better, {len(worse)} worse{': ' if worse else ''}{named}{more}. This decides nothing, and is "
        f"as of when this card was placed; `bbjspec compare {parent} {name}` says more.{notes}"
    )
