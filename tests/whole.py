"""Whole stages without their work: tiny files under the right names, sealed and published by the store's own functions.

What planning sees of a project, thousands of times cheaper than training: planning never opens a stage's outputs.
"""

from __future__ import annotations

import logging
from pathlib import Path

from bbjspec import publish, store
from bbjspec.plan import ExperimentPlan, Plan
from bbjspec.stage import KINDS, Stage

LOG = logging.getLogger("tests.whole")


def make_whole(root: Path, stage: Stage) -> Path:
    """Seal a stage whose every output holds its own name and digest. Returns its directory."""
    directory = root / stage.directory
    if store.is_whole(directory):
        return directory
    store.prepare(root, stage)
    kind = KINDS[stage.kind]
    folders = [name for name in kind.outputs if name.endswith("/")]
    published = [name for name in kind.publish if name not in folders and name.startswith(tuple(folders))]
    plain = [name if not name.endswith("/") else f"{name}file" for name in (*kind.outputs, *kind.records)]
    for name in {*plain, *published}:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(f"{stage.digest} {name}\n")
    if published:  # a folder of which every file is published holds nothing else
        for name in plain:
            if name.endswith("/file") and any(other.startswith(name.removesuffix("file")) for other in published):
                (directory / name).unlink()
    store._finish(directory, store.stage_document(stage))
    return directory


def publish_whole(root: Path, experiment: ExperimentPlan, plan: Plan | None = None) -> None:
    """Make all stages of an experiment whole and place its results, as a run does."""
    for stage in experiment.roles.values():
        make_whole(root, stage)
    document = plan.publishing(experiment) if plan else experiment.publish_document
    store.write_json(root / experiment.publish_directory / store.STAGE, document)
    publish.run(root, document, LOG)
    (root / experiment.publish_directory / store.DONE).touch()


def publish_all(plan: Plan) -> None:
    """Publish every good experiment of a plan."""
    for experiment in plan.experiments.values():
        publish_whole(plan.root, experiment)
