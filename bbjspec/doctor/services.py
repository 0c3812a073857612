"""Checks of programs and services around: compiler, sandbox, Ollama, servers, the Hub, W&B, git."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import replace
from functools import cache, partial
from operator import attrgetter
from typing import Any

from bbjspec.doctor import probes
from bbjspec.doctor.asked import (
    AGAIN,
    Asked,
    Check,
    backend,
    base_of,
    bbjcpl_of,
    equals,
    judged,
)
from bbjspec.embedded import source_of
from bbjspec.errors import EnvironmentLacks
from bbjspec.published import lfs_oid
from bbjspec.stage import Stage


def bbjcpl(asked: Asked) -> Iterable[Check]:
    """BBj's compiler, in each version that is asked for: it judges one program."""
    from bbjspec.bbj.compiler import Bbjcpl, open_compiler

    purpose, who = "verdicts of BBj's own compiler", asked.who(bbjcpl_of)
    wanted = sorted({found for found in map(bbjcpl_of, asked.those(bbjcpl_of)) if found}, key=str) or [(None, None)]
    for version, path in wanted:
        shown = "bbjcpl" if len(wanted) == 1 else f"bbjcpl {version}"
        mine = who if len(wanted) == 1 else asked.who(partial(equals, bbjcpl_of, (version, path)))
        try:
            compiler = open_compiler("bbjcpl", version, path)
        except EnvironmentLacks as error:
            why, _, remedy = str(error).partition(": ")[2].partition(": ")
            yield judged(shown, purpose, mine, why, remedy, good=False)
            continue
        assert isinstance(compiler, Bbjcpl)
        found = f"{compiler.command[0]}, version {compiler.version}"
        verdict = replace(compiler, timeout=probes.CHILD_S / 2.5).compile(["print 1\n"])[0] if mine else None
        if verdict is not None and verdict.verdict == "infra_error":
            remedy = "it must judge a file as BBj's compiler does; run it by hand, or write eval.compiler.name: builtin"
            yield judged(shown, purpose, mine, f"{found}: {verdict.errors[0].message}", remedy, good=False)
        else:
            yield judged(shown, purpose, mine, found)


def sandbox(asked: Asked) -> Iterable[Check]:
    """Whether Python that a model wrote can be held here."""
    from bbjspec import sandbox
    from bbjspec.suite import load_prompts

    @cache
    def general(files: tuple[str, ...]) -> bool:
        return any(prompt.tier == "general" for prompt in load_prompts([asked.plan.root / name for name in files]))

    who = asked.who(lambda stage: stage.kind == "score" and general(stage.sources["prompts"].files))
    purpose = "Python answers of the general tier"
    if not who:
        yield judged("sandbox", purpose, who, "not tried")
        return
    try:
        layers = sandbox.layers()
    except EnvironmentLacks as error:
        said, _, remedy = str(error).partition(": ")
        yield judged("sandbox", purpose, who, said, remedy, good=False)
        return
    bare = "landlock" not in layers
    found = ", ".join(layers) + ("; without Landlock, files are kept by an audit hook alone" if bare else "")
    yield judged("sandbox", purpose, who, found, "Linux 5.13 or newer has Landlock", good=not bare, soft=True)


def ollama(asked: Asked) -> Iterable[Check]:
    """Ollama and its server."""
    who = asked.who(lambda stage: stage.kind == "release" and stage.config["ollama"]["create"])
    found, trouble = probes.command("ollama", "--version") if who else (shutil.which("ollama"), "not on PATH")
    remedy = "install it from https://ollama.com, or write export.ollama.create: false"
    if found and who:
        url = probes.ollama_url()
        if why := probes.answers(f"{url}/api/version"):
            found, trouble, remedy = None, f"there, but its server does not answer: {why}", "ollama serve"
    yield judged("Ollama", "serving released models", who, found or trouble, remedy, good=bool(found))


def servers(asked: Asked) -> Iterable[Check]:
    """Only where a spec has references behind a server."""
    for stage in sorted(asked.those(lambda s: backend(s) == "openai"), key=lambda s: str(s.resources["server"]["url"])):
        server = stage.resources["server"]
        who = asked.who(partial(equals, attrgetter("digest"), stage.digest))
        key = server["api_key_env"]
        name, purpose = f"server of {stage.config['model']}", "answers of a reference"
        if key and not os.environ.get(key):
            yield judged(name, purpose, who, f"no key: {key} is not set", f"set {key} in the environment", good=False)
            continue
        why = probes.answers(f"{server['url']}/models", {"Authorization": f"Bearer {os.environ[key]}"} if key else None)
        remedy = "start it, or take the reference out of eval.references"
        yield judged(name, purpose, who, why or f"{server['url']} answers", remedy, good=not why)


def hub(asked: Asked) -> Iterable[Check]:
    """Each base from the Hub: in the cache, or to be had."""
    token = "token" if probes.hub_token() else "no token"
    named = {found for found in map(base_of, asked.those(base_of)) if found and source_of(found[0]) == "hub"}
    bases = sorted(named, key=str)
    offline = probes.hub_offline()
    if not bases:
        found = f"{token}{', offline' if offline else ''}"
        yield judged("Hub", "bases that are fetched", (), found)
        return
    for base, revision in bases:
        who = asked.who(partial(equals, base_of, (base, revision)))
        name = "Hub" if len(bases) == 1 else f"Hub: {base}"
        if probes.hub_cached(base, revision):
            yield judged(name, "bases that are fetched", who, f"{base} is in the cache ({token})")
            continue
        offline_why = "HF_HUB_OFFLINE is set" if offline else ""
        why = offline_why or probes.hub_answers(base, revision)
        found = f"{base} is not in the cache, {why or 'and the Hub has it'} ({token})"
        remedy = (
            f"hf download {base}{f' --revision {revision}' if revision else ''} where there is a network, or set "
            "HF_HOME to a cache that has it; for a gated model accept its licence and hf auth login"
        )
        yield judged(name, "bases that are fetched", who, found, remedy, good=not why)


def wandb(asked: Asked) -> Iterable[Check]:
    """Weights & Biases. Never a lack: as `stages.tracking` says, no tracker can fail a training."""
    from importlib.util import find_spec

    def wanted(stage: Stage) -> Any:
        return stage.kind == "train" and (stage.resources.get("tracking") or {}).get("wandb")

    who = asked.who(wanted)
    online = any(wanted(stage)["mode"] == "online" for stage in asked.those(wanted))
    there, key = find_spec("wandb") is not None, probes.wandb_key()
    good = there and (key or not online)
    found = f"{probes.version('wandb') or 'installed'}, {'key' if key else 'no key'}" if there else "not installed"
    if who and not good:
        found += ": the training is recorded offline" if there else ": the training goes on without it"
    remedy = "set WANDB_API_KEY, or wandb login; or write tracking.wandb.mode: offline"
    remedy = remedy if there else "pip install 'bbjspec[wandb]'"
    yield judged("W&B", "watching a training there", who, found, remedy, good=good, soft=True)


def git(asked: Asked) -> Iterable[Check]:
    """git, and Git LFS."""
    found, trouble = probes.command("git", "--version")
    found = found.removeprefix("git version ") if found else None
    late, purpose = trouble == probes.LATE, "keeping specs and results"
    remedy = AGAIN if late else "apt install git, or https://git-scm.com"
    yield judged("git", purpose, asked.everyone, found or trouble, remedy, good=bool(found), soft=late)
    yield _git_lfs(asked)


def _git_lfs(asked: Asked) -> Check:
    """Asked for where an adapter is to be committed to a repository whose attributes give weights to Git LFS."""
    root, purpose = asked.plan.root, "weights in the repository"
    names = {f"adapters/{name}/adapter_model.safetensors": name for name in asked.everyone}
    ignored = set(probes.git_lines(root, "check-ignore", "--stdin", given="\n".join(names))) if names else set()
    attributes = probes.git_lines(root, "check-attr", "filter", "--", *names) if names else []
    given = {line.partition(": ")[0] for line in attributes if line.endswith(": filter: lfs")}
    who = [name for file, name in names.items() if file in given - ignored]
    bare, wanted = _pointers(asked)
    found, trouble = probes.command("git-lfs", "version")
    late = trouble == probes.LATE
    remedy = AGAIN if late else "apt install git-lfs (or https://git-lfs.com), then once: git lfs install"
    if found:
        found = found.split()[0].removeprefix("git-lfs/")
        if not probes.git_lines(root, "config", "--get", "filter.lfs.clean"):
            found, trouble, remedy = None, f"{found}, but not set up", "git lfs install"
    if wanted or (bare and found):
        said = f"{found or trouble}; {len(bare)} pointers without their bytes, such as {bare[0]}"
        remedy = "git lfs pull" if found else f"{remedy}, then git lfs pull"
        return judged("git-lfs", purpose, asked.everyone or ("published",), said, remedy, good=False, soft=not wanted)
    return judged("git-lfs", purpose, tuple(who), found or trouble, remedy, good=bool(found), soft=late)


def _pointers(asked: Asked) -> tuple[list[str], bool]:
    """Published files of which only a Git LFS pointer is here, and whether a run needs the bytes of one."""
    root, published = asked.plan.root, asked.plan.published
    files = sorted(f"{folder}/{name}" for folder, lock in published.locks.items() for name in lock.get("files") or ())
    bare = [file for file in files if file.endswith(".safetensors") and lfs_oid(root / file) is not None]
    needed = {entry["path"] for stage in asked.adopted for entry in published.stages.get(stage.digest, {}).values()}
    return bare, not needed.isdisjoint(bare)
