"""The plan as JSON, for programs: schedulers, dashboards, tests.

    schema_version   1; it changes when a name below changes its meaning
    experiments      by name:
      state          `to run`, `published` (nothing to do), or `outdated` (only bbjspec changed since)
      roles          the stage in each role, as its digest
      publish        the directory of publishing, whose stage.json is to be run last; null unless the state is `to run`
      folders        what is placed where: folder, and the digests of the stages whose files go there
    bad              by file of a bad spec: its findings, one line each
    stages           by digest, all stages of all good experiments:
      kind, version, config, sources               what makes its digest, with its inputs
      digest, lineage, directory                   its names; lineage is the digest without versions
      inputs         by role, the directories of the stages that it builds on
      resources, gpu                               what it may use; whether it takes the machine's one GPU slot
      adopt          the published files that it is taken from instead of being made, or null
      state          `whole`, `published` or `to run`
      runs           whether a run starts it: it is needed for some experiment, and not whole
      after          directories of the stages that must be whole before it starts; empty unless it runs

`bbjspec run <directory>/stage.json` does a stage's work. Keys are sorted: equal plans are equal bytes.
"""

from __future__ import annotations

import json
from typing import Any

from bbjspec.plan import ExperimentPlan, Plan
from bbjspec.stage import KINDS, Stage
from bbjspec.store import stage_document
from bbjspec.workflow import Workflow


def render(workflow: Workflow) -> str:
    """The plan as one JSON document, with a final line break."""
    return json.dumps(document(workflow.plan), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def document(plan: Plan) -> dict[str, Any]:
    """What `render` writes."""
    runs = {stage.digest for experiment in plan.experiments.values() for stage in plan.needed(experiment)}
    return {
        "schema_version": 1,
        "experiments": {name: _experiment(plan, experiment) for name, experiment in plan.experiments.items()},
        "bad": {file: [str(finding) for finding in findings] for file, findings in plan.bad.items()},
        "stages": {digest: _stage(plan, stage, digest in runs) for digest, stage in plan.stages.items()},
    }


def _experiment(plan: Plan, experiment: ExperimentPlan) -> dict[str, Any]:
    state = plan.experiment_state(experiment)
    return {
        "state": state,
        "roles": {role: stage.digest for role, stage in experiment.roles.items()},
        "publish": experiment.publish_directory if state == "to run" else None,
        "folders": [
            {"folder": folder["folder"], "stages": [stage["digest"] for stage in folder["stages"]]}
            for folder in experiment.publish_document["folders"]
        ],
    }


def _stage(plan: Plan, stage: Stage, runs: bool) -> dict[str, Any]:
    before = sorted(upstream.directory for upstream in plan.inputs(stage) if plan.state(upstream) != "whole")
    return {
        **stage_document(stage, plan.published.stages.get(stage.digest)),
        "directory": stage.directory,
        "gpu": KINDS[stage.kind].gpu,
        "state": plan.state(stage),
        "runs": runs,
        "after": before if runs else [],
    }
