"""What the checker says of folders of programs: accepted and rejected, by rule, and each rejection at its line.

    python benchmarks/agreement.py FOLDER…          every .bbj file below the folders
    python benchmarks/agreement.py                  the conformance programs of tests/bbj, with their known verdicts

Tokenized programs (they begin with <<bbj>>) are no text and are left out. Nothing is run, nothing is written.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bbjspec.bbj.checker import BUILTIN_VERSION, check  # noqa: E402
from bbjspec.bbj.cpl import decoded  # noqa: E402


def programs(folder: Path) -> Iterator[tuple[str, str]]:
    """Path (relative to `folder`) and text of every program below it."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() == ".bbj" and path.is_file():
            data = path.read_bytes()
            if not data.startswith(b"<<bbj>>"):
                yield path.relative_to(folder).as_posix(), decoded(data)


def real(folders: list[Path]) -> None:
    """Prints one line a rejected program, then the totals by rule."""
    rules: Counter[str] = Counter()
    seen = refused = 0
    for folder in folders:
        for name, source in programs(folder):
            seen += 1
            found = check(source)
            if found:
                refused += 1
                rules.update({error.rule for error in found})
                print(
                    f"{folder.name}/{name}:{found[0].line}: {found[0].rule}: {found[0].message} ({len(found)} errors)"
                )
    print(f"\nbuiltin {BUILTIN_VERSION}: {seen - refused} of {seen} accepted ({(seen - refused) / max(seen, 1):.1%})")
    for rule, count in rules.most_common():
        print(f"  {count:4} rejected by {rule}")


def conformance() -> None:
    """Prints the agreement with the programs whose verdict is known."""
    from bbjspec.bbj.agreement import measure

    rows = (ROOT / "tests/bbj/conformance.jsonl").read_text(encoding="utf-8").splitlines()
    print(f"builtin {BUILTIN_VERSION}: {measure([json.loads(row) for row in rows])}")


if __name__ == "__main__":
    real([Path(argument) for argument in sys.argv[1:]]) if sys.argv[1:] else conformance()
