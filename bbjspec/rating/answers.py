"""What people rate: the first answer to each realistic prompt, by an experiment and by what it is rated against.

Read from what is published, so that a colleague with a clone rates the very answers that the card is about.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bbjspec.digest import digest
from bbjspec.errors import BadInput, Finding, UsageError
from bbjspec.pairing import read_leaks
from bbjspec.published import LOCKFILE, lock_files, verify_file
from bbjspec.sources import source_digest
from bbjspec.spec.names import no_such
from bbjspec.store import is_whole, read_json
from bbjspec.suite import Prompt, load_prompts

BASE = "base"  # what is rated against unless said otherwise
SAMPLE = 0  # which of a prompt's answers is shown: fixed in advance, never the best
_FILE = "generations.jsonl"
# As chat templates write their tokens; the role behind the first of them is one's too.
_SPECIAL = re.compile(r"<\|im_start\|>(?:system|user|assistant)?\n?|<\|[A-Za-z0-9_]{1,40}\|>")
_MODELS = re.compile(
    r"\b(?:qwen|llama|(?:chat)?gpt|openai|claude|anthropic|mistral|mixtral|gemini|gemma|deepseek|copilot|codestral"
    r"|starcoder|phi-?[234]|alibaba(?: cloud)?|fine-?tuned|lora)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Answer:
    """One answer: Markdown without a chat template's tokens, and whether it ended by the token limit."""

    text: str
    cut: bool


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt. `ours` is the experiment's, `theirs` that of what it is rated against."""

    prompt: Prompt
    ours: Answer
    theirs: Answer

    @cached_property
    def ids(self) -> tuple[str, str]:
        """What the two answers are called where nobody may tell whose they are: by question and text alone."""
        one, other = (digest([self.prompt.input, answer.text, answer.cut]) for answer in (self.ours, self.theirs))
        return one, other

    @property
    def identical(self) -> bool:
        """Whether there is nothing to choose between: a tie, before anybody looks."""
        return self.ids[0] == self.ids[1]

    @property
    def named(self) -> bool:
        """Whether an answer names a model, which may give away whose it is."""
        return any(_MODELS.search(answer.text) for answer in (self.ours, self.theirs))


@dataclass(frozen=True)
class Answers:
    """All pairs of two experiments, in the order of their prompts; `left_out` says what is not among them, and why."""

    experiment: str
    against: str
    pairs: tuple[Pair, ...]
    left_out: tuple[str, ...]
    compiler: Mapping[str, Any]

    @property
    def to_rate(self) -> list[Pair]:
        """Those that people have to look at."""
        return [pair for pair in self.pairs if not pair.identical]


@dataclass(frozen=True)
class _Side:
    """What one model answered: {prompt: (hash of what was asked, answer)}; and from what it was made."""

    rows: Mapping[str, tuple[Any, Answer]]
    recipe: Mapping[str, Any]


def read(root: Path, name: str, against: str = BASE, lock: Mapping[str, Any] | None = None) -> Answers:
    """The pairs of a published experiment; `lock` is its lock file's content where that is not written yet.

    Raises UsageError for what is not published or has no realistic prompts, BadInput for files that are not those of
    their lock and for prompts that have changed since they were answered, EnvironmentLacks for a Git LFS pointer.
    """
    if name == against:
        raise UsageError(f"{name} is rated against its base, or against another experiment: --against base")
    locks = _locks(root)
    if lock is not None:
        locks[f"adapters/{name}"] = dict(lock)
    ours, score = _tuned(root, locks, name)
    if against == BASE:
        theirs = _side(root, locks, _upstream(locks, name, "base_score", "generate"), f"{name}'s base")
    else:
        theirs, _ = _tuned(root, locks, against)
    prompts = _prompts(root, name, ours.recipe)
    leaked = read_leaks(name, root / "adapters" / name / "contamination.json")
    if against != BASE:
        leaked |= read_leaks(against, root / "adapters" / against / "contamination.json")
    pairs, left_out = [], []
    for prompt in prompts:
        mine, other = ours.rows.get(prompt.id), theirs.rows.get(prompt.id)
        if mine is None or other is None:
            left_out.append(f"{prompt.id}: not answered by {name if mine is None else against}")
        elif mine[0] != other[0]:
            left_out.append(f"{prompt.id}: {against} was asked something else")
        elif prompt.id in leaked:
            left_out.append(f"{prompt.id}: given away by training data")
        else:
            pairs.append(Pair(prompt, mine[1], other[1]))
    if not pairs:
        why = f" ({left_out[0]}{', …' if len(left_out) > 1 else ''})" if left_out else ""
        raise UsageError(
            f"{name} has no realistic prompts to rate{why}; prompts of tier realistic in its eval.prompts are rated: "
            "docs/rating.md"
        )
    return Answers(name, against, tuple(pairs), tuple(left_out), score["config"]["compiler"])


def _locks(root: Path) -> dict[str, dict[str, Any]]:
    """Every lock file that can be read, by its folder."""
    found = {}
    for path in lock_files(root):
        document = read_json(path)
        if isinstance(document, dict):
            found[path.parent.relative_to(root).as_posix()] = document
    return found


def _tuned(root: Path, locks: Mapping[str, Any], name: str) -> tuple[_Side, Mapping[str, Any]]:
    """An experiment's own answers, and the recipe of their scores."""
    if f"adapters/{name}" not in locks:
        if (root / "adapters" / name / LOCKFILE).exists():
            mine = f"adapters/{name}"
            message = f"no lock file (a merge conflict?); git checkout --ours {mine}/{LOCKFILE} {mine}/MODEL_CARD.md"
            raise BadInput([Finding(f"{mine}/{LOCKFILE}", 0, 0, "", message)])
        known = {folder.removeprefix("adapters/") for folder in locks if folder.count("/") == 1}
        if (root / "experiments" / f"{name}.yaml").is_file():
            raise UsageError(f"{name} has no published results; run snakemake --cores 8 {name} --resources gpu=1")
        raise UsageError(no_such(name, known))
    generate = _upstream(locks, name, "tuned_score", "generate")
    recipe = locks[f"adapters/{name}"]["recipes"][_upstream(locks, name, "tuned_score")]
    return _side(root, locks, generate, name), recipe


def _upstream(locks: Mapping[str, Any], name: str, *roles: str) -> str:
    """The digest of the stage that one comes to from the card by these roles."""
    document = locks[f"adapters/{name}"]
    try:
        at: str = document["card"]["digest"]
        for role in roles:
            at = document["recipes"][at]["inputs"][role].rpartition("/")[2]
    except (KeyError, TypeError, AttributeError) as error:
        shown = f"adapters/{name}/{LOCKFILE}"
        raise BadInput([Finding(shown, 0, 0, "", "not the lock file of an experiment; restore it")]) from error
    return at


def _side(root: Path, locks: Mapping[str, Any], generate: str, whose: str) -> _Side:
    """The answers of one generate stage: from where they are published, else from build/."""
    recipes: Any = (lock.get("recipes", {}).get(generate) for lock in locks.values())
    recipe: Mapping[str, Any] = next(filter(None, recipes), {})
    for folder, lock in sorted(locks.items()):
        published = lock["stages"].get(generate, {}).get("files", {}).get(_FILE)
        if published is not None:
            verify_file(root / folder / published, f"{folder}/{published}", lock["files"][published], content=True)
            return _Side(_rows(root / folder / published, f"{folder}/{published}"), recipe)
    built = root / "build/generate" / generate
    if is_whole(built):
        return _Side(_rows(built / _FILE, f"build/generate/{generate}/{_FILE}"), recipe)
    raise UsageError(f"the answers of {whose} are neither published nor in build/; commit eval/baselines/")


def _rows(path: Path, shown: str) -> dict[str, tuple[Any, Answer]]:
    """Of each prompt the answer that is shown. Raises BadInput."""
    found = {}
    for number, row in _lines(path, shown):
        try:
            if row["sample_idx"] == SAMPLE:
                text = _SPECIAL.sub("", row["completion"]).strip("\n")
                found[row["task_id"]] = (row.get("prompt_hash"), Answer(text, row["finish_reason"] == "length"))
        except (KeyError, TypeError) as error:
            raise BadInput([Finding(shown, number, 0, "", "no answer of a model; restore the file")]) from error
    return found


def _lines(path: Path, shown: str) -> Iterator[tuple[int, Any]]:
    try:
        with path.open(encoding="utf-8", newline="\n") as stream:
            for number, line in enumerate(stream, start=1):
                yield number, json.loads(line)
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput([Finding(shown, 0, 0, "", "cannot be read; restore the file")]) from error


def _prompts(root: Path, name: str, recipe: Mapping[str, Any]) -> list[Prompt]:
    """The realistic prompts that were answered. Raises BadInput where they read otherwise now."""
    source = recipe["sources"]["prompts"]
    paths = [root / file for file in source["files"]]
    try:
        same = source_digest(paths, source["view"]) == source["sha256"]
        prompts = load_prompts(paths) if same else ()
    except (OSError, BadInput):
        same = False
    if not same:
        raise BadInput(
            f"the prompts have changed since {name} answered them ({', '.join(source['files'])}); run it again, or "
            "check out the commit of its results"
        )
    return [prompt for prompt in prompts if prompt.tier == "realistic"]
