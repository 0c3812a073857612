# The base model and its tokenizer.
rule stage_tokenizer:
    input:
        WORKFLOW.inputs("tokenizer"),
    output:
        "build/tokenizer/{digest}/done",
    log:
        "build/tokenizer/{digest}/stage.log",
    shell:
        "{RUN} build/tokenizer/{wildcards.digest}/stage.json"


rule stage_base:
    input:
        WORKFLOW.inputs("base"),
    output:
        "build/base/{digest}/done",
    log:
        "build/base/{digest}/stage.log",
    threads: 8
    shell:
        "{RUN} build/base/{wildcards.digest}/stage.json"
