# The model card, and placing what is published.
rule stage_card:
    input:
        WORKFLOW.inputs("card"),
    output:
        "build/card/{digest}/done",
    log:
        "build/card/{digest}/stage.log",
    shell:
        WORKFLOW.shell("card/{wildcards.digest}")


rule stage_publish:
    input:
        WORKFLOW.publish_inputs,
    output:
        "build/publish/{experiment}/{digest}/done",
    log:
        "build/publish/{experiment}/{digest}/stage.log",
    shell:
        WORKFLOW.shell("publish/{wildcards.experiment}/{wildcards.digest}")


rule stage_invalid:
    output:
        "build/invalid/done",
    log:
        "build/invalid/stage.log",
    shell:
        WORKFLOW.check
