"""Estimators, intervals and tests of significance: pure functions, each with its source.

    pass_at_k            compile@k's unbiased estimator for one prompt
    wilson               interval of a single proportion (greedy decoding)
    clustered_interval   interval of a mean over prompts with several samples each
    paired_interval      interval of a mean of per-prompt differences
    mcnemar_exact        paired test of two greedy runs
    sign_flip            paired test of per-prompt differences, exact
    holm                 correction for several tests
    gate                 PASS, FAIL or INCONCLUSIVE, by a rule fixed before the run
    non_inferior         whether less than a margin was lost
    krippendorff         agreement of raters beyond chance
    pass_power           how probable PASS is at a given true effect; `effect_for_power` is its inverse

All but `krippendorff` raise ValueError for input that has no answer, and nothing depends on the order of its input.
"""

from __future__ import annotations

from bbjspec.metrics.agreement import krippendorff
from bbjspec.metrics.decision import (
    MIN_PROMPTS,
    Decision,
    NonInferiority,
    effect_for_power,
    gate,
    non_inferior,
    pass_power,
)
from bbjspec.metrics.intervals import Number, clustered_error, clustered_interval, paired_interval, pass_at_k, wilson
from bbjspec.metrics.significance import holm, mcnemar_exact, sign_flip

__all__ = [
    "MIN_PROMPTS",
    "Decision",
    "NonInferiority",
    "Number",
    "clustered_error",
    "clustered_interval",
    "effect_for_power",
    "gate",
    "holm",
    "krippendorff",
    "mcnemar_exact",
    "non_inferior",
    "paired_interval",
    "pass_at_k",
    "pass_power",
    "sign_flip",
    "wilson",
]
