# The data: audit, split, and which prompts the training rows leak.
rule stage_audit:
    input:
        WORKFLOW.inputs("audit"),
    output:
        "build/audit/{digest}/done",
    log:
        "build/audit/{digest}/stage.log",
    shell:
        "{RUN} build/audit/{wildcards.digest}/stage.json"


rule stage_split:
    input:
        WORKFLOW.inputs("split"),
    output:
        "build/split/{digest}/done",
    log:
        "build/split/{digest}/stage.log",
    shell:
        "{RUN} build/split/{wildcards.digest}/stage.json"


rule stage_contamination:
    input:
        WORKFLOW.inputs("contamination"),
    output:
        "build/contamination/{digest}/done",
    log:
        "build/contamination/{digest}/stage.log",
    shell:
        "{RUN} build/contamination/{wildcards.digest}/stage.json"
