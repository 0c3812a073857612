"""The work: one module per kind of stage, each with `run(stage) -> None`. Heavy imports stay inside functions."""
