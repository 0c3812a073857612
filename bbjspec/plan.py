"""experiments/*.yaml -> Plan: which stages there are, which are whole or published, which are to run.

Planning writes nothing and loads no machine learning library.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bbjspec.digest import FileHashes
from bbjspec.errors import BadInput, BbjspecError, Finding
from bbjspec.experiment import DATASET, ExperimentPlan, compile_experiment
from bbjspec.published import LOCKFILE, Published
from bbjspec.spec import experiment_name, load_experiment
from bbjspec.spec.difference import as_data, differences
from bbjspec.spec.findings import steps
from bbjspec.spec.inherit import owner, read_chain
from bbjspec.stage import Stage
from bbjspec.store import is_whole

MEMO = "build/hashes.json"


@dataclass
class Plan:
    """All experiments of a project, compiled."""

    root: Path
    experiments: dict[str, ExperimentPlan]
    bad: dict[str, list[Finding]]
    published: Published
    refresh: bool = False
    stages: dict[str, Stage] = field(default_factory=dict)
    _states: dict[str, str] = field(default_factory=dict)

    @property
    def bad_specs(self) -> dict[str, list[Finding]]:
        """What is wrong by spec's file; `bad` also has folders whose published files are not those of their lock."""
        return {file: found for file, found in self.bad.items() if "/" not in file}

    def findings(self, names: Collection[str] | None = None) -> list[Finding]:
        """What is wrong with the bad specs of these names (all when None), each finding once."""
        chosen = (found for file, found in self.bad.items() if names is None or file.removesuffix(".yaml") in names)
        return list(dict.fromkeys(finding for found in chosen for finding in found))

    def state(self, stage: Stage) -> str:
        """`whole`, `published` or `to run`."""
        if stage.digest not in self._states:
            self._states[stage.digest] = (
                "whole"
                if is_whole(self.root / stage.directory)
                else "published"
                if stage.digest in self.published.stages
                else "to run"
            )
        return self._states[stage.digest]

    def experiment_state(self, experiment: ExperimentPlan) -> str:
        """`published` (nothing to do), `outdated` (only bbjspec changed since), or `to run`.

        A card is published with what its release placed: GGUFs that go elsewhere now are placed anew.
        """
        digest, lineage = self.published.cards.get(experiment.name, ("", ""))
        sides = self.published.locks.get(DATASET, {}).get("stages", {})
        if experiment.spec.data.publish and experiment.roles["split"].digest not in sides:
            return "to run"
        if digest == experiment.card.digest:
            return "to run" if self.places_ggufs(experiment) else "published"
        if lineage == experiment.card.lineage and not self.refresh:
            return "outdated"
        return "to run"

    def places_ggufs(self, experiment: ExperimentPlan) -> bool:
        """Whether publishing places GGUFs that it has not placed before, by the lock file: on a fresh clone, which has
        none, nothing is converted again for an edit of the card alone."""
        return experiment.placed is not None and self.published.placed.get(experiment.name) != experiment.placed

    def publishing(self, experiment: ExperimentPlan) -> dict[str, Any]:
        """The `stage.json` of publishing, with all stages that must be whole before."""
        document = {**experiment.publish_document, "changes": self._changes(experiment)}
        if not self.places_ggufs(experiment):
            return document
        gguf = experiment.roles["gguf"]
        return {**document, "inputs": {**document["inputs"], gguf.digest: gguf.directory}}

    def _changes(self, experiment: ExperimentPlan) -> list[dict[str, Any]] | None:
        """What the spec says differently than its parent's; None without a parent whose spec can be read."""
        parent = self.experiments.get(experiment.spec.compared_with or "")
        return as_data(differences(parent.spec, experiment.spec)) if parent else None

    def inputs(self, stage: Stage) -> list[Stage]:
        """The upstream stages that must be there before `stage` runs: none when it is whole or published itself."""
        return list(stage.inputs.values()) if self.state(stage) == "to run" else []

    def needed(self, experiment: ExperimentPlan) -> Iterator[Stage]:
        """Stages that this experiment makes an engine run, upstream first, each once."""
        if self.experiment_state(experiment) != "to run":
            return
        seen: set[str] = set()

        def visit(stage: Stage) -> Iterator[Stage]:
            if stage.digest in seen or self.state(stage) == "whole":
                return
            seen.add(stage.digest)
            for upstream in self.inputs(stage):
                yield from visit(upstream)
            yield stage

        # Publishing copies what each stage made, so each must be there, not only the card.
        for made in self.publishing(experiment)["inputs"]:
            yield from visit(self.stages[made])


def experiment_is_named(name: str) -> bool:
    """Whether the name is one that an experiment may have."""
    try:
        return bool(experiment_name(Path(f"{name}.yaml")))
    except BadInput:
        return False


def read_plan(root: Path, hashes: FileHashes | None = None, *, refresh: bool = False) -> Plan:
    """Compile every spec under `experiments/`. A bad spec lands in `bad` and harms only itself."""
    hashes = hashes or FileHashes(root / MEMO)
    published = Published.read(root, hashes)
    plan = Plan(root, {}, {}, published, refresh)
    owned: set[str] = set()
    compiled: dict[str, ExperimentPlan] = {}
    for path in sorted((root / "experiments").glob("*.yaml")):
        shown = f"experiments/{path.name}"
        try:
            name = experiment_name(path)
            spec = load_experiment(path, shown)
            if problem := _unknown_parent(root, spec.parent, name):
                raise BadInput([Finding(shown, 0, 0, "parent", problem)])
            # Specs that say the same under other names are compiled once: planning grows with what is different.
            said = spec.model_dump_json(exclude={"description", "parent", "extends"})
            if said in compiled:
                experiment = replace(compiled[said], name=name, spec=spec)
            else:
                experiment = compile_experiment(root, name, spec, shown, hashes, plan.stages)
            compiled[said] = experiment
            owned.update(experiment.folders)
            # What is placed there may not be written over, nor may a baseline that nobody vouches for be compared with.
            if found := [f for folder in experiment.folders for f in published.bad.get(folder, ())]:
                raise BadInput(found)
            others = [other.name for other in plan.experiments.values() if other.spec.data.publish]
            if others and spec.data.publish:
                message = f"{others[0]} places its sides in {DATASET}/ already; one experiment may"
                raise BadInput([Finding(shown, 0, 0, "data.publish", message)])
            plan.experiments[name] = experiment
            if problem := _missing_base(plan, experiment):
                del plan.experiments[name]
                raise BadInput([Finding(shown, 0, 0, "model.base", problem)])
        except BadInput as error:
            findings = list(error.findings) or [Finding(shown, 0, 0, "", str(error))]
            plan.bad[path.name] = [_placed(path, shown, finding) for finding in findings]
        except BbjspecError as error:
            plan.bad[path.name] = [Finding(shown, 0, 0, "", str(error))]
    for path in sorted((root / "experiments").glob("*.yml")):
        message = f"an experiment's file ends in .yaml: call it {path.stem}.yaml"
        plan.bad[path.name] = [Finding(f"experiments/{path.name}", 0, 0, "", message)]
    # A folder that no experiment places anything into harms none, but the error is told.
    plan.bad |= {folder: found for folder, found in published.bad.items() if folder not in owned}
    return plan


def _missing_base(plan: Plan, experiment: ExperimentPlan) -> str:
    """What is wrong with a base in a directory that a run would look into; nothing for a base that nothing needs."""
    model = experiment.spec.model
    if model.source != "local" or (plan.root / model.base).is_dir():
        return ""
    wanted = experiment.roles["base"] in plan.needed(experiment)
    return f"{model.base}: no such directory; one with config.json and *.safetensors is meant" if wanted else ""


def _unknown_parent(root: Path, parent: str | None, name: str) -> str:
    """What is wrong with a parent that has neither a spec nor results; nothing for one that has, or for none."""
    if parent is None:
        return ""
    if parent == name:
        return f"{name} cannot be its own parent"
    if (root / f"experiments/{parent}.yaml").is_file() or (root / f"adapters/{parent}/{LOCKFILE}").is_file():
        return ""
    there = sorted(path.stem for path in (root / "experiments").glob("*.yaml") if path.stem != name)
    close = difflib.get_close_matches(parent, there, n=1)
    return f"no experiment {parent}" + (
        f"; did you mean {close[0]}?" if close else f"; there are {', '.join(there[:10])}" if there else ""
    )


def _placed(path: Path, shown: str, finding: Finding) -> Finding:
    """The finding with line and column, where it names a field of the spec and nobody has looked the place up."""
    if finding.file != shown or finding.line or not finding.path:
        return finding
    layers, at = read_chain(path, shown).layers, steps(finding.path)
    layer = owner(layers, at) or layers[0]
    line, column = layer.places.locate(at, key=False)
    return replace(finding, file=layer.shown, line=line, column=column)


__all__ = ["LOCKFILE", "ExperimentPlan", "Plan", "compile_experiment", "read_plan"]
