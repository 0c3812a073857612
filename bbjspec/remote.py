"""`bbjspec plan --check-remote`: what a node of a cluster must see for the experiments, at the same paths as here.

A stage needs its `stage.json`, `build/` on shared storage, this Python, and the Hub's cache; some need a compiler or a
server. Whether a disk is shared no machine can know alone: the type of its file system is told, and the command that
asks a node.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

from bbjspec import cluster
from bbjspec.doctor import probes
from bbjspec.doctor.asked import Asked, Check, backend, base_of, bbjcpl_of, equals, judged
from bbjspec.embedded import source_of
from bbjspec.errors import BbjspecError
from bbjspec.plan import Plan
from bbjspec.workflow import command

# File systems that live on one machine. Of others (NFS, Lustre, GPFS, BeeGFS, Ceph, a FUSE mount) nothing is known.
OWN = ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "overlay", "tmpfs", "ramfs", "squashfs", "vfat", "ntfs")
ENVIRONMENT = ("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "BBJ_HOME", "BBJ_VERSION", "TMPDIR", "WANDB_API_KEY")


def checks(plan: Plan, names: Collection[str] | None) -> list[Check]:
    """What nodes must see, each as a check of what is there on this machine; the last one says how to ask a node."""
    asked = Asked(plan, names)
    return [*_places(asked), *_servers(asked), _environment(asked), _command(asked, names)]


def _places(asked: Asked) -> Iterator[Check]:
    root, everyone = asked.plan.root.absolute(), asked.everyone
    yield _place("project", root, "specs, rules, data", everyone)
    for name in ("build", "adapters", "eval", "dataset"):
        if (root / name).is_symlink():
            yield _place(f"{name}/", (root / name).resolve(), f"where {name}/ leads to", everyone)
    yield _place("Python", Path(sys.prefix), "the interpreter and bbjspec, by this very path", everyone)
    if sys.base_prefix != sys.prefix:
        yield _place("its base", Path(sys.base_prefix), "the Python that the virtual environment links to", everyone)
    bases = {found[0] for stage in asked.those(base_of) if (found := base_of(stage))}
    hub = {base for base in bases if source_of(base) == "hub"}
    if hub:
        who = asked.who(lambda stage: (base_of(stage) or ("",))[0] in hub)
        yield _place("Hub cache", probes.hub_cache(), "weights: jobs fetch none, this machine does", who, later=True)
    for base in sorted(base for base in bases if source_of(base) == "local" and base.startswith("/")):
        who = asked.who(lambda stage, base=base: (base_of(stage) or ("",))[0] == base)  # type: ignore[misc]
        yield _place("model.base", Path(base), "weights", who)
    for wanted in sorted({found for found in map(bbjcpl_of, asked.those(bbjcpl_of)) if found}, key=str):
        yield _bbjcpl(wanted, asked.who(partial(equals, bbjcpl_of, wanted)))


def _place(name: str, path: Path, purpose: str, who: tuple[str, ...], *, later: bool = False) -> Check:
    """`later`: it may be made yet, by a stage that runs on this machine."""
    kind = probes.file_system(probes.existing(path))
    there = path.exists()
    found = (
        f"{path}" + ("" if there else ", not there yet" if later else ", not there") + (f", on {kind}" if kind else "")
    )
    if not there and not later:
        return judged(name, purpose, who, found, "run where it is, or put it there", good=False)
    remedy = f"nodes must have it too, at the same path: {kind} is a file system of one machine, unless it is exported"
    return judged(name, purpose, who, found, remedy, good=kind not in OWN, soft=True)


def _bbjcpl(wanted: tuple[str | None, str | None], who: tuple[str, ...]) -> Check:
    from bbjspec.bbj.compiler import Bbjcpl, open_compiler

    try:
        compiler = open_compiler("bbjcpl", *wanted)
    except BbjspecError as error:
        return judged("bbjcpl", "eval.compiler", who, str(error), "install BBj where nodes see it", good=False)
    assert isinstance(compiler, Bbjcpl)
    return _place("bbjcpl", Path(compiler.command[0]), "eval.compiler", who)


def _servers(asked: Asked) -> Iterator[Check]:
    served = asked.those(lambda stage: backend(stage) == "openai")
    for url in sorted({str(stage.resources["server"]["url"]) for stage in served}):
        who = asked.who(lambda stage, url=url: backend(stage) == "openai" and stage.resources["server"]["url"] == url)  # type: ignore[misc]
        local = any(f"//{host}" in url for host in ("localhost", "127.", "[::1]"))
        remedy = "write the name that nodes know this machine by into eval.references.server"
        yield judged("server", "eval.references", who, f"{url}, which a node asks", remedy, good=not local, soft=True)


def _environment(asked: Asked) -> Check:
    """Names alone: jobs get what is set here (`sbatch --export=ALL`), secrets too."""
    there = [name for name in ENVIRONMENT if os.environ.get(name)]
    found = f"set here, and so in jobs: {', '.join(there) or 'nothing'} of {', '.join(ENVIRONMENT)}"
    return judged("environment", "caches and compilers", asked.everyone, found)


def _command(asked: Asked, names: Collection[str] | None) -> Check:
    """How the largest job's node is asked what it has."""
    kinds = [(stage.kind, cluster.asked(stage.kind, stage.resources)) for stage in asked.those(lambda _: True)]
    most = max((said for kind, said in kinds if kind in cluster.HEAVY), key=lambda said: said.get("gpu", 0), default={})
    gpus = f"{most['gpu_model']}:{most['gpu']}" if "gpu_model" in most else most.get("gpu")
    sizes = [f"--mem={most['mem_mb']}", f"--cpus-per-task={most['cpus_per_task']}"] if most else []
    words = ["srun", "--nodes=1", "--ntasks=1", "--time=5", *sizes, *([f"--gpus={gpus}"] if gpus else [])]
    line = shlex.join(words) + " " + command("doctor", *sorted(names or ()))
    return judged("to ask one", "what a node sees and has", asked.everyone, line)
