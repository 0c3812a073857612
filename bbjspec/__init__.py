"""bbjspec: one YAML spec an experiment, compiled to a plan of stages that Snakemake runs."""

__version__ = "0.1.0"
