"""kill -9 at any moment of a run, and what must hold once the same command has been given again and has ended.

Every process that a run starts, however indirectly, is known by a word in its environment: so an orphan is found,
whoever its parent is by now.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bbjspec import gc, owner, store
from bbjspec.digest import FileHashes, sha256_file
from bbjspec.published import LOCKFILE, Published
from bbjspec.stagelog import ENGINE_LOG, LOG
from tests.harness import environment, snakemake

ENGINE = ("snakemake", "--cores", "2", "--resources", "gpu=1")
VICTIMS = ("engine", "stage", "both", "group")
MARK = "BBJSPEC_KILLED_RUN"
START = 1.6  # seconds until Snakemake starts its first job
AROUND = 0.8  # seconds that a stage takes besides its work: Python, and Snakemake's noticing its end
OWN = {store.MANIFEST, store.DONE, store.STAGE, store.LOCK, owner.OWNER, LOG, ENGINE_LOG}


@dataclass(frozen=True)
class Kill:
    """One kill: of what, while which stages were at work ("between" stages: none was), how late in the run."""

    what: str
    stages: tuple[str, ...]
    after: float


@dataclass(frozen=True)
class Undisturbed:
    """A run that nobody killed: how long it took in seconds, each stage's share, and all that it made."""

    seconds: float
    stages: Mapping[str, float]  # "kind/digest" -> seconds, Python's start included
    outputs: Mapping[str, str]
    placed: Mapping[str, str]

    @classmethod
    def of(cls, root: Path) -> Undisturbed:
        """By the logs of a project that was run once, from its first stage's start to its last one's end."""
        stages, began, ended = {}, [], []
        for log in root.glob("build/*/*/stage.log"):
            text = log.read_text()
            took = re.findall(r" INFO whole after ([\d.]+) s$", text, re.MULTILINE)
            stages[f"{log.parent.parent.name}/{log.parent.name}"] = sum(map(float, took)) + AROUND
            times = [time.mktime(time.strptime(line[:19], "%Y-%m-%dT%H:%M:%S")) for line in text.splitlines()]
            began.append(times[0])
            ended.append(times[-1])
        return cls(max(ended) - min(began) + START, stages, outputs(root), placed(root))

    def remaining(self, root: Path) -> float:
        """Seconds that the next run will take at most: Snakemake's start, and the share of what is not whole."""
        missing = sum(
            took
            for stage, took in self.stages.items()
            if not store.is_whole(root / "build" / stage)
            and not (stage.startswith("publish/") and (root / "adapters/v1" / LOCKFILE).exists())
        )
        return START + (self.seconds - START) * missing / sum(self.stages.values())


def outputs(root: Path) -> dict[str, str]:
    """SHA-256 of every reproducible output, by stage and name."""
    found = {}
    for manifest in sorted(root.glob("build/*/*/manifest.json")):
        document = json.loads(manifest.read_text())
        for name, entry in document["files"].items():
            # The card quotes records (when, how long); everything else must be the same bytes.
            if entry["group"] == "output" and document["kind"] != "card":
                found[f"{document['kind']}/{document['digest']}/{name}"] = entry["sha256"]
    return found


def placed(root: Path) -> dict[str, str]:
    """SHA-256 of every reproducible file that is published, by its path."""
    found = {}
    for lock in locks(root):
        document, folder = json.loads(lock.read_text()), lock.parent
        records = {
            stage["files"][file]
            for stage in document["stages"].values()
            for file, group in stage["groups"].items()
            if group == "record"
        }
        for name in document["files"]:
            if name not in records and not name.endswith(".md"):
                found[(folder / name).relative_to(root).as_posix()] = sha256_file(folder / name)
    return found


def locks(root: Path) -> list[Path]:
    """Every lock file of what is published."""
    return sorted(lock for top in ("adapters", "eval/baselines", "dataset") for lock in (root / top).rglob(LOCKFILE))


def processes(root: Path) -> dict[int, list[str]]:
    """The processes that runs of this project started and that are alive, with their command lines."""
    word, found = f"{MARK}={root}".encode(), {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if word in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            except OSError:
                continue
    return found


def at_work(root: Path) -> dict[int, str]:
    """The processes that are stages, with the kind of each."""
    found = {}
    for pid, words in processes(root).items():
        if words[1:4] == ["-m", "bbjspec", "run"] and len(words) > 4:
            found[pid] = Path(words[4]).parts[1]
    return found


def _of_kind(stages: Mapping[int, str], kind: str) -> dict[int, str]:
    return {pid: found for pid, found in stages.items() if kind in ("", found)}


def trained(root: Path, step: int) -> bool:
    """Whether training has a whole checkpoint of this step or a later one."""
    states = root.glob("build/train/*/work/checkpoint-*/trainer_state.json")
    return any(int(state.parent.name.removeprefix("checkpoint-")) >= step for state in states)


def kill(*pids: int) -> None:
    """kill -9, of those that are still there."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def started(root: Path) -> subprocess.Popen[bytes]:
    """Snakemake as a person starts it, in a session of its own; what it says goes to `said.log` beside the project."""
    with (root.parent / "said.log").open("ab") as said:
        return subprocess.Popen(
            ENGINE,
            cwd=root,
            env=environment() | {MARK: str(root)},
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


@dataclass
class Killer:
    """Runs a project and kills, as `rng` has it. `kills` lists what was hit."""

    root: Path
    rng: random.Random
    kills: list[Kill] = field(default_factory=list)

    def at(self, moment: Callable[[Path], bool], what: str, seconds: float = 120, kind: str = "") -> bool:
        """Run until `moment` says so, then kill; of stages one of that kind, if one is said. False when the run ended
        first."""
        engine, began = started(self.root), time.monotonic()
        while engine.poll() is None and not moment(self.root):
            if time.monotonic() - began > seconds:
                os.killpg(engine.pid, signal.SIGKILL)
                engine.wait(180)
            time.sleep(0.01)
        # A stage can only be killed where there is one: wait for the next.
        while (
            not (stages := _of_kind(at_work(self.root), kind)) and what in ("stage", "both") and engine.poll() is None
        ):
            time.sleep(0.002)
        if engine.poll() is not None:
            return False
        self._kill(engine, stages, what)
        names = tuple(sorted(stages.values())) or ("between",)
        self.kills.append(Kill(what, names, time.monotonic() - began))
        engine.wait(180)
        return True

    def after(self, seconds: float, what: str) -> bool:
        """Run for so long, then kill. False when the run ended first."""
        end = time.monotonic() + seconds
        return self.at(lambda _: time.monotonic() >= end, what, seconds + 60)

    def _kill(self, engine: subprocess.Popen[bytes], stages: Mapping[int, str], what: str) -> None:
        if what == "group":
            os.killpg(engine.pid, signal.SIGKILL)
        if what in ("engine", "both"):
            kill(engine.pid)
        if what == "both":
            kill(*stages)
        elif what == "stage" and stages:
            kill(self.rng.choice(sorted(stages)))


def finish(root: Path, wanted: Undisturbed) -> list[str]:
    """Give the same command again, uninterrupted, and tell all that is then not as if nothing had been killed."""
    engine = started(root)
    code = engine.wait(300)
    wrong = [] if code == 0 else [f"exit code {code}: {(root.parent / 'said.log').read_text()[-2000:]}"]
    end = time.monotonic() + 10  # helpers end once their parent has
    while (orphans := processes(root)) and time.monotonic() < end:
        time.sleep(0.1)
    wrong += [f"alive: {' '.join(words)}" for words in orphans.values()]
    for what, found, right in (
        ("build", outputs(root), wanted.outputs),
        ("published", placed(root), wanted.placed),
    ):
        wrong += [f"{what}: {name} differs" for name in sorted({*found, *right}) if found.get(name) != right.get(name)]
    wrong += leftovers(root)
    wrong += [str(finding) for found in Published.read(root, FileHashes()).bad.values() for finding in found]
    for log in root.glob("build/*/*/stage.log"):
        # Publishing has no manifest: it may be killed behind its last file and before its marker, and is then repeated.
        if log.parent.parent.name != "publish" and (times := log.read_text().count(" INFO whole after")) != 1:
            wrong.append(f"{log.parent.relative_to(root)}: became whole {times} times")
    again = snakemake(root)
    if again.returncode != 0 or "Nothing to be done" not in again.stdout + again.stderr:
        wrong.append(f"run again, there was something to do: {(again.stdout + again.stderr)[-2000:]}")
    return wrong


def leftovers(root: Path) -> list[str]:
    """What lies about that an undisturbed run would not have left."""
    found: list[str] = []
    for directory in sorted(root.glob("build/*/*")):
        manifest = store.read_json(directory / store.MANIFEST) or {"files": {}}
        mine = {*manifest["files"], *OWN}
        names = [file.relative_to(directory).as_posix() for file in directory.rglob("*") if not file.is_dir()]
        found += [f"{directory.relative_to(root)}/{name} is left" for name in sorted(set(names) - mine)]
        found += [f"{directory.relative_to(root)}/work is left"] if (directory / "work").exists() else []
        found += [f"{directory.relative_to(root)} is locked"] if gc.held(directory) else []
    found += [f"build/{file.name} is left" for file in root.glob("build/*.tmp")]
    folders = {lock.parent: {LOCKFILE, *json.loads(lock.read_text())["files"]} for lock in locks(root)}
    vouched = {folder / name for folder, names in folders.items() for name in names}
    for top in ("adapters", "eval/baselines"):
        files = [path for path in (root / top).glob("*/**/*") if path.is_file()]
        found += [f"{path.relative_to(root)} is left" for path in sorted(set(files) - vouched)]
    found += [f"{path.relative_to(root)} is left" for path in root.glob(".snakemake/locks/*")]
    return found
