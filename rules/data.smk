# The data: audit, split, and which prompts the training rows leak.
rule _stage_audit:
    input:
        WORKFLOW.inputs("audit"),
    output:
        "build/audit/{digest}/done",
    log:
        "build/audit/{digest}/engine.log",
    resources:
        **WORKFLOW.resources("audit"),
    shell:
        WORKFLOW.shell("audit/{wildcards.digest}")


rule _stage_split:
    input:
        WORKFLOW.inputs("split"),
    output:
        "build/split/{digest}/done",
    log:
        "build/split/{digest}/engine.log",
    resources:
        **WORKFLOW.resources("split"),
    shell:
        WORKFLOW.shell("split/{wildcards.digest}")


rule _stage_contamination:
    input:
        WORKFLOW.inputs("contamination"),
    output:
        "build/contamination/{digest}/done",
    log:
        "build/contamination/{digest}/engine.log",
    resources:
        **WORKFLOW.resources("contamination"),
    shell:
        WORKFLOW.shell("contamination/{wildcards.digest}")
