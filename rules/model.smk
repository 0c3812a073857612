# The base model and its tokenizer.
rule _stage_tokenizer:
    input:
        WORKFLOW.inputs("tokenizer"),
    output:
        "build/tokenizer/{digest}/done",
    log:
        "build/tokenizer/{digest}/engine.log",
    shell:
        WORKFLOW.shell("tokenizer/{wildcards.digest}")


rule _stage_base:
    input:
        WORKFLOW.inputs("base"),
    output:
        "build/base/{digest}/done",
    log:
        "build/base/{digest}/engine.log",
    threads: 8
    shell:
        WORKFLOW.shell("base/{wildcards.digest}")
