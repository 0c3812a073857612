# The model card, and placing what is published.
rule stage_card:
    input:
        WORKFLOW.inputs("card"),
    output:
        "build/card/{digest}/done",
    log:
        "build/card/{digest}/stage.log",
    shell:
        "{RUN} build/card/{wildcards.digest}/stage.json"


rule stage_publish:
    input:
        WORKFLOW.publish_inputs,
    output:
        "build/publish/{experiment}/{digest}/done",
    log:
        "build/publish/{experiment}/{digest}/stage.log",
    shell:
        "{RUN} build/publish/{wildcards.experiment}/{wildcards.digest}/stage.json 2>&1 | tee {log}"


rule stage_invalid:
    output:
        "build/invalid/done",
    log:
        "build/invalid/stage.log",
    shell:
        "{CHECK} 2>&1 | tee {log}"
