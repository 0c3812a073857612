# Evaluation: answers, verdicts, and the comparison with the base.
rule _stage_generate:
    input:
        WORKFLOW.inputs("generate"),
    output:
        "build/generate/{digest}/done",
    log:
        "build/generate/{digest}/engine.log",
    threads: 8
    resources:
        **WORKFLOW.resources("generate"),
    shell:
        WORKFLOW.shell("generate/{wildcards.digest}")


rule _stage_score:
    input:
        WORKFLOW.inputs("score"),
    output:
        "build/score/{digest}/done",
    log:
        "build/score/{digest}/engine.log",
    threads: 8
    resources:
        **WORKFLOW.resources("score"),
    shell:
        WORKFLOW.shell("score/{wildcards.digest}")


rule _stage_compare:
    input:
        WORKFLOW.inputs("compare"),
    output:
        "build/compare/{digest}/done",
    log:
        "build/compare/{digest}/engine.log",
    shell:
        WORKFLOW.shell("compare/{wildcards.digest}")
