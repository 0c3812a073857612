"""How much raw compile@1 depends on the way in which programs are taken out of answers: figures beside the headline.

`longest` is the rule that scores (bbjspec.bbj.extract). `first` and `last` take the first and the last block of the
same tags. `lenient` is no rule but an upper bound: blocks of any tag count, the whole text where there is none, and of
the first, the last, the longest and the scored one whichever compiles. It chooses by compiling, which scoring must
never do; compared between two models it tells what they know of the language from how they wrap it up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bbjspec.bbj.compiler import Verdict
from bbjspec.bbj.extract import TAGS, blocks, code_lines
from bbjspec.stages.results import metric
from bbjspec.stages.verdicts import Judged, Sample, solution_of

WAYS = ("first", "last", "longest", "lenient")


def candidates(sample: Sample) -> dict[str, list[str]]:
    """The programs that each way takes from an answer, none empty: at most one each, but for `lenient`."""
    scored = solution_of(sample).code
    found = blocks(sample.completion)
    ours = [block.code for block in found if block.tag in TAGS] or [scored]
    every = [block.code for block in found] or [scored]
    lenient = [scored, every[0], every[-1], max(every, key=code_lines)]
    ways = {"first": ours[:1], "last": ours[-1:], "longest": [scored], "lenient": lenient}
    return {way: [code for code in dict.fromkeys(codes) if code.strip()] for way, codes in ways.items()}


def table(
    judged: Sequence[Judged],
    taken: Mapping[int, Mapping[str, list[str]]],
    verdicts: Mapping[str, Verdict],
    temperature: float,
) -> dict[str, Any]:
    """{way: raw compile@1 with its interval, and by_prompt, how many samples of each prompt pass}; {} without syntax.

    `taken` holds the candidates by the index of the sample, in the order of `judged`.
    """
    groups: dict[str, list[tuple[int, Judged]]] = {}
    for index in taken:
        groups.setdefault(judged[index].sample.prompt.id, []).append((index, judged[index]))
    found: dict[str, Any] = {}
    for way in WAYS if groups else ():
        passed = {
            name: [
                one.sample.finish_reason != "length" and any(verdicts[c].verdict == "valid" for c in taken[index][way])
                for index, one in samples
            ]
            for name, samples in groups.items()
        }
        found[way] = {
            **metric(passed, 1, temperature, bool),
            "by_prompt": {name: sum(values) for name, values in passed.items()},
        }
    return found
