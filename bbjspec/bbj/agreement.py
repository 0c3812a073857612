"""How far the embedded checker agrees with known verdicts: measured, kept in `data/`, quoted by every card.

The programs are tests/bbj's; a test measures again and compares. They are not bbjcpl's verdicts on model output:
`bbjspec cpl --agreement` gives those where bbjcpl exists.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

from bbjspec.bbj.checker import check


@dataclass(frozen=True, slots=True)
class Agreement:
    """Counts of programs: valid ones and those accepted, invalid ones, those rejected, and those at the right line."""

    valid: int
    accepted: int
    invalid: int
    rejected: int
    placed: int

    def __str__(self) -> str:
        return (
            f"{self.accepted} of {self.valid} valid programs accepted, {self.rejected} of {self.invalid} invalid ones "
            f"rejected ({self.placed} at the right line)"
        )


def measure(programs: Iterable[Mapping[str, Any]]) -> Agreement:
    """The agreement with `programs`: rows with `code`, `expect` (valid or invalid) and, if known, `error_line`."""
    counts = dict.fromkeys(Agreement.__dataclass_fields__, 0)
    for program in programs:
        lines = {found.line for found in check(program["code"])}
        if program["expect"] == "valid":
            counts["valid"] += 1
            counts["accepted"] += not lines
        else:
            counts["invalid"] += 1
            counts["rejected"] += bool(lines)
            counts["placed"] += program.get("error_line", min(lines, default=0)) in lines
    return Agreement(**counts)


def recorded() -> Agreement:
    """What was measured on the conformance programs when this version of the checker was made."""
    return Agreement(**json.loads(files("bbjspec.bbj").joinpath("data", "agreement.json").read_text(encoding="utf-8")))


def as_json(found: Agreement) -> str:
    """The text of `data/agreement.json`."""
    return json.dumps(asdict(found)) + "\n"
