"""All that the .smk files see of bbjspec. Loads no torch: parsing the Snakefile must stay fast."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from bbjspec import cluster, store
from bbjspec import plan as _plan
from bbjspec.digest import FileHashes
from bbjspec.errors import BbjspecError, UsageError
from bbjspec.plan import ExperimentPlan
from bbjspec.stage import KINDS, Stage
from bbjspec.stagelog import LOG
from bbjspec.why import last_error

INVALID = "build/invalid/done"


class Workflow:
    """The plan, in the words of an engine: targets, inputs, and a command."""

    def __init__(
        self,
        root: Path,
        *,
        refresh: bool = False,
        reporting: bool = False,
        remote: bool = False,
        node: bool = False,
    ) -> None:
        if not (root / "experiments").is_dir():
            raise UsageError("no folder experiments/ here; run at the top of the project")
        self._hashes = FileHashes(root / _plan.MEMO)
        self.root = root
        self.reporting = reporting
        self.remote = remote
        self.node = node
        self._began = time.time()
        self.plan = _plan.read_plan(root, self._hashes, refresh=refresh)
        self._hashes.save()
        self._publishing = {experiment.publish_digest: experiment for experiment in self.plan.experiments.values()}
        for finding in self.plan.findings():
            print(f"bbjspec: {finding}", file=sys.stderr)
        if not node:  # which may not see yet what another node has made
            self._drop_stale_markers()

    def shell(self, directory: str) -> str:
        """The shell line that runs the stage in `build/<directory>`, by this very Python, whatever PATH says there.

        `directory` may hold Snakemake's wildcards; the interpreter's own path may not be taken for one.
        """
        return f"{_braced(command('run'))} build/{directory}/{store.STAGE}"

    @property
    def check(self) -> str:
        """The shell line that fails, saying why, for as long as there is a bad spec."""
        return _braced(command("check"))

    @property
    def experiments(self) -> list[str]:
        """Names of all experiments that can be asked for, bad ones included: asking for those fails, and says why."""
        bad = (name.removesuffix(".yaml") for name in self.plan.bad_specs)
        return sorted({*self.plan.experiments, *(name for name in bad if _plan.experiment_is_named(name))})

    def target(self, name: str) -> list[str]:
        """What `snakemake <name>` must bring about: the marker of publishing, or the lock file when all is done."""
        experiment = self.plan.experiments.get(name)
        if experiment is None:
            return [] if self.reporting else [INVALID]
        if self.reporting:
            return self._made([experiment.publish_directory])
        if self.plan.experiment_state(experiment) != "to run":
            return [f"adapters/{name}/{_plan.LOCKFILE}"]
        return [f"{experiment.publish_directory}/{store.DONE}"]

    def shown(self, flag: Callable[..., Any], *names: str) -> list[Any]:
        """For `snakemake --report`: cards, plots and provenance of these experiments, or of all with the leaderboard.

        `flag` is Snakemake's own `report`. Nothing when no report is asked for.
        """
        if not self.reporting:
            return []
        from bbjspec.report import pages

        return [
            flag(page.path, category=page.category, labels={"what": page.title})
            for page in pages(self.root, names or tuple(self.plan.experiments), leaderboard=not names)
        ]

    def targets(self) -> list[str]:
        """What `rule all` must bring about."""
        invalid = [INVALID] if self.plan.bad and not self.reporting else []
        return sorted({path for name in self.plan.experiments for path in self.target(name)}) + invalid

    def inputs(self, kind: str) -> Callable[[Any], list[str]]:
        """The input function of a kind's rule: `markers` of its upstream, none when the stage is there already.

        A digest that is no longer planned (an engine's node reads the Snakefile again) is looked up in its stage.json.
        """

        def of_wildcards(wildcards: Any) -> list[str]:
            directory = self.root / "build" / kind / wildcards.digest
            if self.reporting:
                document = store.read_json(directory / store.STAGE) or {}
                return self._made(document.get("inputs", {}).values())
            if stage := self.plan.stages.get(wildcards.digest):
                return self.markers(self.plan.inputs(stage))
            if experiment := self._publishing.get(wildcards.digest):
                return self.markers(self.published_stages(experiment))
            document = store.read_json(directory / store.STAGE) or {}
            there = document.get("adopt") or store.is_whole(directory)
            upstream = [] if there else document.get("inputs", {}).values()
            return sorted(f"{found}/{store.DONE}" for found in upstream if not store.is_whole(self.root / found))

        return of_wildcards

    def resources(self, kind: str) -> dict[str, Callable[[Any], int | str | None]]:
        """The resource functions of a kind's rule, by name: what its stage's job asks a cluster for; None: nothing.

        On this machine that is `gpu` alone, one at least: training and generation take the slot on the CPU too.
        `--resources gpu=1` cuts a larger number down: the job then runs alone.
        """
        if self.remote:
            return {name: self._resource(kind, name, None) for name in cluster.ASKED}
        return {"gpu": self._resource(kind, "gpu", 1)} if KINDS[kind].gpu else {}

    def _resource(self, kind: str, name: str, default: int | None) -> Callable[[Any], int | str | None]:
        def of_wildcards(wildcards: Any) -> int | str | None:
            # What a job was submitted with stands in its stage.json; its spec may have been edited since.
            stage = None if self.node else self.plan.stages.get(wildcards.digest)
            if stage:
                return cluster.asked(kind, self._largest(stage).resources).get(name, default)
            document = store.read_json(self.root / "build" / kind / wildcards.digest / store.STAGE) or {}
            return cluster.asked(kind, {"gpu": 1, **document.get("resources", {})}).get(name, default)

        return of_wildcards

    def _largest(self, stage: Stage) -> Stage:
        """The stage, asking a cluster for as much memory, time and cores as any experiment that shares it says."""
        return replace(stage, resources={**stage.resources, **self._sizes.get(stage.digest, {})})

    @cached_property
    def _sizes(self) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for experiment in self.plan.experiments.values():
            for stage in experiment.roles.values():
                known = found.setdefault(stage.digest, {})
                for name in cluster.SIZES:
                    known[name] = max(known.get(name, 0), getattr(experiment.spec.resources, name))
        return found

    def _made(self, directories: Iterable[str]) -> list[str]:
        """What a report tells the times of: the markers that are there, so that nothing is run for it."""
        return sorted(f"{name}/{store.DONE}" for name in directories if (self.root / name / store.DONE).is_file())

    def markers(self, stages: Iterable[Stage]) -> list[str]:
        """What an engine waits for before it starts what builds on these: a stage that is whole needs no marker."""
        return sorted(f"{stage.directory}/{store.DONE}" for stage in stages if self.plan.state(stage) != "whole")

    def published_stages(self, experiment: ExperimentPlan) -> list[Stage]:
        """The stages whose files publishing this experiment places."""
        return [self.plan.stages[digest] for digest in self.plan.publishing(experiment)["inputs"]]

    def start(self) -> None:
        """What the Snakefile does before the first job: `prepare`, without frames when it fails."""
        self._began = time.time()
        with _no_frames():
            self.prepare()

    def failed(self) -> None:
        """What the Snakefile does when a job failed: a stage tells its own failure, unless it was killed, or told it
        on a cluster's node."""
        for line in [*self.killed(self._began), *(self._told_elsewhere() if self.remote else ())]:
            print(f"bbjspec: {line}", file=sys.stderr)

    def _told_elsewhere(self) -> list[str]:
        """A line for each stage that has failed since we began, with its own reason."""
        said = set()
        for experiment in self.plan.experiments.values():
            for stage in self.plan.needed(experiment):
                log = self.root / stage.directory / LOG
                with contextlib.suppress(OSError):
                    if log.stat().st_mtime >= self._began and (why := last_error(log)):
                        said.add(f"{stage.kind} {stage.digest[:8]}: {why} ({stage.directory}/{LOG})")
        return sorted(said)

    def killed(self, since: float) -> list[str]:
        """A line for each stage that was at work since then (as time.time() has it) and ended without a word."""
        said = []
        for experiment in self.plan.experiments.values():
            directories = [stage.directory for stage in self.plan.needed(experiment)]
            for directory in [*directories, experiment.publish_directory]:
                if store.ended_silently(self.root / directory, since):
                    _, kind, digest = directory.split("/")
                    said.append(
                        f"{kind} {digest[:8]} ended without a word: it was killed, for want of memory most often; run "
                        "the same command again, and it goes on from what is saved"
                    )
        return sorted(set(said))

    def prepare(self) -> None:
        """Write the `stage.json` of all that is about to run."""
        for experiment in self.plan.experiments.values():
            if self.plan.experiment_state(experiment) != "to run":
                continue
            for stage in self.plan.needed(experiment):
                store.prepare(self.root, self._largest(stage), self.plan.published.stages.get(stage.digest))
            store.write_json(
                self.root / experiment.publish_directory / store.STAGE,
                self.plan.publishing(experiment),
            )

    def _drop_stale_markers(self) -> None:
        """A marker of something that is not there is a lie to the engine; `run` writes it again once it is true."""
        for experiment in self.plan.experiments.values():
            if self.plan.experiment_state(experiment) != "to run":
                continue
            (self.root / experiment.publish_directory / store.DONE).unlink(missing_ok=True)
            for stage in experiment.roles.values():
                if self.plan.state(stage) != "whole":
                    (self.root / stage.directory / store.DONE).unlink(missing_ok=True)


def command(*words: str) -> str:
    """A shell line that runs bbjspec by the Python that runs now, whatever PATH says where the line is run."""
    return shlex.join([sys.executable, "-m", "bbjspec", *words])


def load(*, refresh: bool = False, remote: bool = False, node: bool = False) -> Workflow:
    """The workflow of the project in the current directory. What is wrong with the project ends the process.

    `remote` where stages run as jobs of a cluster, `node` in the Snakemake of such a job.
    """
    with _no_frames():
        reporting = any(word.split("=")[0] == "--report" for word in sys.argv)
        return Workflow(Path.cwd(), refresh=refresh, reporting=reporting, remote=remote, node=node)


def _braced(line: str) -> str:
    return line.replace("{", "{{").replace("}", "}}")


@contextlib.contextmanager
def _no_frames() -> Iterator[None]:
    """An exception that rises through a Snakefile is shown with frames of Snakemake's own: say one line, and leave."""
    try:
        yield
    except (BbjspecError, OSError) as error:
        print(f"bbjspec: {error}", file=sys.stderr)
        sys.exit(1)
