"""The leaderboard, `adapters/README.md`: every published experiment, read from what its lock file vouches for.

Experiments are put side by side only where the same judge judged answers to the same prompts, sampled alike. What is
said about stopping is advice, from the figures in the tables alone.
"""

from __future__ import annotations

import fcntl
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bbjspec.committing import left_out
from bbjspec.digest import digest, sha256_file
from bbjspec.embedded import source_of
from bbjspec.errors import BadInput, Finding
from bbjspec.figures import interval, plain, signed
from bbjspec.markdown import inert, render
from bbjspec.spec.difference import shown
from bbjspec.store import read_json

BOARD, TEMPLATE = "adapters/README.md", "templates/LEADERBOARD.md.j2"
ENOUGH = 0.70  # strict compile@1 on syntax prompts: where the team means to stop
RUNS = 2  # runs in a row without an improvement beyond their noise: where the way is at its end
CHANGES = 3  # changes named in a row
_FILES = ("comparison.json", "training_log.json")
_BESIDE = ("parent_comparison.json", "training_config.json")  # a record, and a comparison, need not be there
_ALIKE = ("suite_hash", "compiler", "sampling", "metric", "n_samples")


def read(root: Path, coming: Mapping[str, Any] | None = None, *, committed: bool = False) -> dict[str, Any]:
    """All published experiments: `groups` of comparable `rows`, best first, and `broken` folders with what is wrong.

    `coming` has the lock files, by experiment, that are written next. With `committed`, what .gitignore leaves out is
    not among them: a colleague has no such folder.
    """
    rows: list[dict[str, Any]] = []
    broken: dict[str, str] = {}
    locks = {lock.parent: read_json(lock) for lock in root.glob("adapters/*/lock.json")}
    locks |= {root / "adapters" / name: lock for name, lock in (coming or {}).items()}
    ignored = left_out(root, [f"adapters/{folder.name}" for folder in sorted(locks)]) if committed else set()
    for folder in sorted(folder for folder in locks if f"adapters/{folder.name}" not in ignored):
        try:
            row = _row(folder, locks[folder])
        except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            known = str(error) if isinstance(error, _NotThatFile) else "its files cannot be read"
            broken[folder.name] = f"{known}; git checkout or git lfs pull restores it"
            continue
        if row is not None:
            rows.append(row)
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["alike"], []).append(row)
    told = [_group(members) for members in groups.values()]
    # What is no evidence comes last, before it the newest first.
    told.sort(key=lambda group: (group["latest"], group["alike"]), reverse=True)
    told.sort(key=lambda group: bool(group["embedded"]))
    return {"schema_version": 1, "groups": told, "broken": broken}


class _NotThatFile(ValueError):
    """A file that its lock does not list so."""


def _row(folder: Path, lock: Any) -> dict[str, Any] | None:
    """One experiment's figures; None for a folder without a card. Raises what reading raises."""
    if lock["card"] is None:
        return None
    documents = {name: read_json(folder / name) for name in (*_FILES, *_BESIDE) if name in lock["files"]}
    for name, document in documents.items():
        if document is None or sha256_file(folder / name) != lock["files"][name]:
            raise _NotThatFile(f"{name} is not the file that lock.json lists")
    comparison, log = (documents[name] for name in _FILES)
    record, parent = documents.get("training_config.json", {}), documents.get("parent_comparison.json")
    metrics, forgetting = comparison["metrics"], comparison["forgetting"]
    base = str(comparison["b"]["model"]["base"])
    return {
        "name": folder.name,
        "alike": digest({key: comparison[key] for key in _ALIKE}),
        **{key: comparison[key] for key in (*_ALIKE, "n_prompts", "provisional", "decision", "diff")},
        "base": base,
        "embedded": source_of(base) == "embedded",
        "score": comparison["b"]["value"],
        "ci": comparison["b"]["ci"],
        "diff_ci": comparison["ci"],
        "factual": metrics["factual_accuracy"]["b"]["value"] if "factual_accuracy" in metrics else None,
        "forgetting": forgetting["decision"] if forgetting else None,
        "val_loss": log["best"].get("eval_loss"),
        "trained": record.get("date"),
        "parent": lock.get("parent"),
        "since_parent": {key: parent[key] for key in ("verdict", "diff", "ci")} if parent else None,
        "changes": [change for change in lock.get("changes") or () if change["result"]],
        "changes_known": lock.get("changes") is not None,
    }


def _group(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Comparable experiments, best first, and what they say about going on."""
    rows.sort(key=lambda row: (-row["score"], _natural(row["name"])))
    first = rows[0]
    return {
        **{key: first[key] for key in ("alike", *_ALIKE)},
        "embedded": all(row["embedded"] for row in rows),
        "latest": max(row["trained"] or "" for row in rows),
        "rows": rows,
        "advice": [_enough(first), _going_on(rows)],
    }


def _natural(name: str) -> list[tuple[int, str]]:
    """v2 before v10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _enough(best: Mapping[str, Any]) -> str:
    """Whether the best has what the team set out for."""
    low, _ = best["ci"]
    said = f"{best['name']} has {plain(best['score'])} {interval(best['ci'], missing='')}".rstrip()
    if best["score"] <= ENOUGH:
        return f"Strict compile@1 above {ENOUGH:.2f}: not yet, {said}."
    if low is None or low <= ENOUGH:
        return f"Strict compile@1 above {ENOUGH:.2f}: by its mean, not beyond doubt: {said}."
    judge = " By the builtin checker: let bbjcpl confirm it." if best["compiler"]["name"] == "builtin" else ""
    people = f"Let people rate answers (`bbjspec rate {best['name']}`), and stop."
    return f"Strict compile@1 above {ENOUGH:.2f}: reached, {said}. {people}{judge}"


def _going_on(rows: Sequence[Mapping[str, Any]]) -> str:
    """Whether the last runs improved by more than their noise."""
    inorder = sorted(rows, key=lambda row: (row["trained"] or "", _natural(row["name"])))
    last = [row for row in inorder if row["since_parent"]][-RUNS:]
    said = f"Improvement beyond its noise in the last {RUNS} runs: "
    if len(last) < RUNS:
        return f"{said}cannot be said, {len(last)} of the {RUNS} needed are compared with a parent here."
    told = ", ".join(f"{row['name']} is {_said(row)}" for row in last)
    if any(row["since_parent"]["verdict"] == "better" for row in last):
        return f"{said}yes, {told}."
    return f"{said}none, {told}. Another run of this kind will hardly help: better data may, or it is time to stop."


def _said(row: Mapping[str, Any]) -> str:
    verdict = row["since_parent"]["verdict"]
    return f"not told apart from {row['parent']}" if verdict == "not told apart" else f"{verdict} than {row['parent']}"


def changed(row: Mapping[str, Any]) -> str:
    """What a row's experiment does differently than its parent, in a table's cell."""
    if row["parent"] is None:
        return ""
    if not row["changes_known"]:
        return "not known"
    said = [f"{c['field']} {inert(shown(c['a']), True)} → {inert(shown(c['b']), True)}" for c in row["changes"]]
    more = f", and {len(said) - CHANGES} more" if len(said) > CHANGES else ""
    return ", ".join(said[:CHANGES]) + more or "nothing"


def text(root: Path, board: Mapping[str, Any]) -> str:
    """The leaderboard as Markdown. Raises BadInput for a template that is missing or fails."""
    template = root / TEMPLATE
    if not template.is_file():
        raise BadInput([Finding(TEMPLATE, 0, 0, "", "missing; the leaderboard is made from it: restore it")])
    filters: dict[str, Callable[..., str]] = {
        "plain": plain,
        "signed": signed,
        "interval": interval,
        "changed": changed,
    }
    made = render(template, TEMPLATE, board, filters)
    return made.rstrip("\n") + "\n"


def write(root: Path, coming: Mapping[str, Any] | None = None) -> bool:
    """Write the leaderboard; whether it changed. Several that write at once follow one another."""
    (root / "build").mkdir(exist_ok=True)
    with (root / "build/.leaderboard.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = text(root, read(root, coming, committed=True))
        target = root / BOARD
        if target.is_file() and target.read_text(encoding="utf-8", errors="replace") == made:
            return False
        scratch = target.with_name(".README.md.tmp")
        scratch.write_text(made, encoding="utf-8", newline="\n")
        scratch.replace(target)
        return True
