# Export: the quantized models, and what is released of them. Their answers and scores are evaluation's rules.
rule _stage_gguf:
    input:
        WORKFLOW.inputs("gguf"),
    output:
        "build/gguf/{digest}/done",
    log:
        "build/gguf/{digest}/engine.log",
    threads: 8
    resources:
        **WORKFLOW.resources("gguf"),
    shell:
        WORKFLOW.shell("gguf/{wildcards.digest}")


rule _stage_release:
    input:
        WORKFLOW.inputs("release"),
    output:
        "build/release/{digest}/done",
    log:
        "build/release/{digest}/engine.log",
    shell:
        WORKFLOW.shell("release/{wildcards.digest}")
