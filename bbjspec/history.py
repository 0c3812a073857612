"""What was made before: whole stages in build/ and published ones, and how a planned stage differs from the nearest.

A stage's own configuration is compared field by field; of the stages that it builds on, only whether they are the
same. What was published tells by the `recipes` of its lock file, what is in build/ by its `stage.json`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bbjspec.plan import ExperimentPlan, Plan
from bbjspec.stage import Stage
from bbjspec.store import MANIFEST, STAGE, read_json

Facts = Mapping[str, Any]

# Where a stage's configuration comes from, when its path is not the spec's own.
_SECTION = {
    "audit": {"compiler": "eval.compiler", "max_length": "training.max_length"},
    "tokenizer": {"base": "model.base", "revision": "model.revision"},
    "base": {"base": "model.base", "revision": "model.revision"},
    "split": {"max_length": "training.max_length", "": "data."},
    "generate": {"sampling": "eval.sampling", "few_shot": "eval.few_shot", "gguf": "export.gguf"},
    "score": {"compiler": "eval.compiler", "k": "eval.k", "n": "eval.sampling.n"},
    "compare": {"gate": "eval.gate", "k": "eval.k"},
    "gguf": {"model": "model", "types": "export.gguf", "": "export."},
    "release": {"types": "export.gguf", "sampling": "eval.sampling", "": "export."},
}
_WORDS = {
    "builtin_version": "the embedded checker's version",
    "recipe": "the embedded model's recipe",
    "llama_cpp": "llama-cpp-python's version",
    "margin": "the margin of non-inferiority",
}
_VIEWED = {"input": "a prompt", "checks": "a prompt or its checks", "leakage": "a prompt or its reference"}


@dataclass(frozen=True)
class Made:
    """A stage that was whole once. `where` is `build` or the folder whose lock file tells of it."""

    digest: str
    kind: str
    version: int
    config: Mapping[str, Any]
    inputs: Mapping[str, str]
    sources: Mapping[str, Mapping[str, Any]]
    where: str

    @functools.cached_property
    def facts(self) -> Facts:
        """Own fields and sources, flat: what is compared."""
        sources = {f"<{role}>": source["sha256"] for role, source in self.sources.items()}
        return {"<version>": self.version, **flat(self.config), **sources}

    @functools.cached_property
    def items(self) -> frozenset[tuple[str, str]]:
        """The facts as a set: two are compared in a microsecond, and a thousand stages meet a thousand others."""
        return _items(self.facts)


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested mappings by dotted path."""
    leaves: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            leaves |= flat(value, f"{prefix}{key}.")
        else:
            # A tuple of a planned stage is a list in what was written of a made one.
            leaves[prefix + key] = list(value) if isinstance(value, tuple) else value
    return leaves


class History:
    """All that was made before, read when first asked for, a kind at a time."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._ranked: dict[tuple[Any, ...], Made | None] = {}

    @functools.cached_property
    def _published(self) -> dict[str, list[Made]]:
        """By folder."""
        return {folder: list(_recipes(folder, lock)) for folder, lock in self._plan.published.locks.items()}

    @functools.cache  # noqa: B019  a history lives as long as one command
    def _of(self, kind: str) -> tuple[Made, ...]:
        found = {made.digest: made for all_made in self._published.values() for made in all_made if made.kind == kind}
        for path in sorted((self._plan.root / "build" / kind).glob(f"*/{STAGE}")):
            if path.parent.name not in found and (path.parent / MANIFEST).is_file():
                document = read_json(path)
                if made := _made(path.parent.name, document if isinstance(document, dict) else {}, "build"):
                    found[made.digest] = made
        return tuple(found.values())

    def nearest(self, stage: Stage, experiment: ExperimentPlan) -> Made | None:
        """The stage of that kind that differs least: the experiment's own last one if it is published, else any."""
        own = [made for made in self._published.get(experiment.folders[1], ()) if made.kind == stage.kind]
        facts = _items(facts_of(stage))
        key = (stage.digest, own[0].where if own else None)
        if key not in self._ranked:
            candidates = [m for m in own or self._of(stage.kind) if m.inputs.keys() == stage.inputs.keys()]
            self._ranked[key] = min(candidates, key=lambda made: _distance(facts, stage, made), default=None)
        return self._ranked[key]


def facts_of(stage: Stage) -> Facts:
    """What `Made.facts` is, of a planned stage."""
    sources = {f"<{role}>": source.sha256 for role, source in stage.sources.items()}
    return {"<version>": stage.version, **flat(stage.config), **sources}


def _items(facts: Facts) -> frozenset[tuple[str, str]]:
    return frozenset((key, repr(value)) for key, value in facts.items())


def _distance(facts: frozenset[tuple[str, str]], stage: Stage, made: Made) -> tuple[int, int, str]:
    """Own fields first, then the stages that it builds on; the digest makes the choice the same each time."""
    others = sum(made.inputs[role] != upstream.digest for role, upstream in stage.inputs.items())
    return len(facts ^ made.items), others, made.digest


def changes(stage: Stage, made: Made) -> list[str]:
    """What differs, in words: the stage's version, its fields as a spec has them, its files."""
    found: list[str] = []
    ours, theirs = facts_of(stage), made.facts
    for key in dict.fromkeys([*ours, *theirs]):
        old, new = theirs.get(key), ours.get(key)
        if old == new or (stage.version != made.version and _dropped(key, ours)):
            continue
        if key == "<version>":
            found.append(f"the stage's version {old} → {new}")
        elif key.startswith("<"):
            found.append(_file_change(stage, made, key[1:-1]))
        else:
            found.append(f"{_field(stage.kind, key)} {_shown(old)} → {_shown(new)}")
    words = [(name, said) for name, said in _WORDS.items() if sum(text.startswith(said) for text in found) > 1]
    for _, said in words:  # a recipe has two dozen fields: it is one thing
        found = [text for text in found if not text.startswith(said)] + [f"{said} changed"]
    return found


def _dropped(key: str, ours: Facts) -> bool:
    """Whether a field of an earlier version is no longer one, though its section is: no spec has said anything else."""
    section = key.rpartition(".")[0]
    return key not in ours and bool(section) and any(name.startswith(f"{section}.") for name in ours)


def _field(kind: str, key: str) -> str:
    head, dot, rest = key.partition(".")
    if head in _WORDS:
        return _WORDS[head] + (f"'s {rest}" if rest else "")
    if kind == "card" and head == "spec":
        return rest
    table = _SECTION.get(kind, {})
    if head in table:
        return table[head] + dot + rest
    return table.get("", "") + key


def _file_change(stage: Stage, made: Made, role: str) -> str:
    if role not in stage.sources or role not in made.sources:
        return f"the files of {role} are {'new' if role in stage.sources else 'gone'}"
    source, before = stage.sources[role], list(made.sources[role].get("files", ()))
    added, gone = [n for n in source.files if n not in before], [n for n in before if n not in source.files]
    if added and gone:
        return f"{_some(added)} instead of {_some(gone)}"
    if added or gone:
        return f"{_some(added)} added" if added else f"{_some(gone)} taken away"
    if source.view == "bytes":
        return f"{_some(source.files)} changed"
    return f"{_VIEWED.get(source.view, source.view)} of {_where(source.files)} changed"


def _some(files: Any) -> str:
    names = list(files)
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def _where(files: tuple[str, ...]) -> str:
    """One file, or the folder that all have in common."""
    if len(files) == 1:
        return files[0]
    parts = [name.split("/")[:-1] for name in files]
    common = []
    for step in zip(*parts, strict=False):
        if len(set(step)) > 1:
            break
        common.append(step[0])
    return "/".join([*common, "…"])


def _shown(value: Any) -> str:
    """A value as a spec has it, cut to a glance."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, float):
        text = f"{value:e}" if value and abs(value) < 1e-3 else repr(value)
        mantissa, sign, exponent = text.partition("e")
        return (mantissa.rstrip("0").rstrip(".") if sign else mantissa) + sign + exponent
    text = f"[{', '.join(map(_shown, value))}]" if isinstance(value, list) else " ".join(str(value).split())
    return text if len(text) <= 48 else text[:47] + "…"


def _recipes(folder: str, lock: Mapping[str, Any]) -> Iterator[Made]:
    recipes = lock.get("recipes")
    for digest, document in recipes.items() if isinstance(recipes, dict) else ():
        if isinstance(document, dict) and (made := _made(digest, document, folder)):
            yield made


def _made(digest: str, document: Mapping[str, Any], where: str) -> Made | None:
    """None for what is no such document: it then tells nothing."""
    kind, version = document.get("kind"), document.get("version")
    config, inputs, sources = (document.get(key) for key in ("config", "inputs", "sources"))
    if not (isinstance(kind, str) and isinstance(version, int) and isinstance(config, dict)):
        return None
    if not (isinstance(inputs, dict) and isinstance(sources, dict)):
        return None
    if not all(isinstance(source, dict) and "sha256" in source for source in sources.values()):
        return None
    return Made(
        digest, kind, version, config, {r: str(d).rpartition("/")[2] for r, d in inputs.items()}, sources, where
    )
