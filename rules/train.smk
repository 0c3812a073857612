# Training. It takes a GPU slot at least, on the CPU too: one training at a time.
rule _stage_train:
    input:
        WORKFLOW.inputs("train"),
    output:
        "build/train/{digest}/done",
    log:
        "build/train/{digest}/engine.log",
    threads: 8
    resources:
        **WORKFLOW.resources("train"),
    shell:
        WORKFLOW.shell("train/{wildcards.digest}")
