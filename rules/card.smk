# The model card, and placing what is published.
rule _stage_card:
    input:
        WORKFLOW.inputs("card"),
    output:
        "build/card/{digest}/done",
    log:
        "build/card/{digest}/engine.log",
    shell:
        WORKFLOW.shell("card/{wildcards.digest}")


rule _stage_publish:
    input:
        WORKFLOW.inputs("publish"),
    output:
        "build/publish/{digest}/done",
    log:
        "build/publish/{digest}/engine.log",
    shell:
        WORKFLOW.shell("publish/{wildcards.digest}")


rule _stage_invalid:
    output:
        "build/invalid/done",
    log:
        "build/invalid/engine.log",
    shell:
        WORKFLOW.check
