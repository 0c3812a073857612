# Experiments to model cards. What there is to do is decided by bbjspec.workflow; the rules only say how to start it.
from bbjspec import workflow as bbjspec_workflow

# Only an executor beyond this machine counts jobs; on this machine cores are counted.
WORKFLOW = bbjspec_workflow.load(
    refresh=bool(config.get("refresh")),
    remote=workflow.nodes is not None,
    node=not workflow.is_main_process,
)


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


# Where a cluster runs the others: seconds of work each, or files from a network that nodes may not have.
localrules:
    all,
    _stage_tokenizer,
    _stage_base,
    _stage_compare,
    _stage_release,
    _stage_card,
    _stage_publish,
    _stage_invalid,


include: "rules/data.smk"
include: "rules/model.smk"
include: "rules/train.smk"
include: "rules/eval.smk"
include: "rules/export.smk"
include: "rules/card.smk"
