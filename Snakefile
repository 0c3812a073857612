# Experiments to model cards. What there is to do is decided by bbjspec.workflow; the rules only say how to start it.
from bbjspec import workflow as bbjspec_workflow

WORKFLOW = bbjspec_workflow.load(refresh=bool(config.get("refresh")))


wildcard_constraints:
    digest="[0-9a-f]{16}",


onstart:
    WORKFLOW.start()


onerror:
    WORKFLOW.failed()


rule all:
    default_target: True
    input:
        WORKFLOW.targets(),
        WORKFLOW.shown(report),


for _name in WORKFLOW.experiments:

    rule:
        name:
            _name
        input:
            WORKFLOW.target(_name),
            WORKFLOW.shown(report, _name),


include: "rules/data.smk"
include: "rules/model.smk"
include: "rules/train.smk"
include: "rules/eval.smk"
include: "rules/export.smk"
include: "rules/card.smk"
