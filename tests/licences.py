"""Writes docs/licences.md: what requirements.lock installs, and under which licence, as the packages themselves say.

`python -m tests.licences > docs/licences.md` after the lock has changed; a test says when.
"""

from __future__ import annotations

import re
from importlib.metadata import metadata
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
LOCK, PAGE = REPOSITORY / "requirements.lock", REPOSITORY / "docs/licences.md"

# What the metadata does not tell, or tells wrong: licence, and how it is known.
KNOWN = {
    **dict.fromkeys(
        (
            "conda-inject",
            "snakemake-interface-common",
            "snakemake-interface-logger-plugins",
            "snakemake-interface-report-plugins",
            "snakemake-interface-scheduler-plugins",
            "snakemake-interface-storage-plugins",
        ),
        ("MIT", "by its LICENSE file; the metadata has none"),
    ),
    "docutils": (
        "Public Domain, BSD-2-Clause, PSF",
        "by its COPYING.rst; the GPL that the metadata lists too is that of an Emacs mode, which is not installed",
    ),
}
COPYLEFT = re.compile(r"\b(?:[AL]?GPL|MPL|EPL|CDDL|EUPL|CeCILL)|Mozilla|General Public|Eclipse", re.IGNORECASE)
TEXT = """\
# Licences

Made by `python -m tests.licences > docs/licences.md`; do not edit. What `requirements.lock` installs, with the licence
that each package's own metadata gives. Where it gives none, or more than is installed:

{notes}

Copyleft: {copyleft}.
The Mozilla Public License holds file by file: who changes one of these packages' own files and passes it on does so
under that licence. Using them, and what is made with them (adapters, GGUFs, cards), is not touched. No package is under
the GPL, LGPL or AGPL.

Not in the list: torch's CUDA build brings NVIDIA's libraries (`nvidia-*`), under NVIDIA's own licence; llama.cpp is
inside llama-cpp-python (MIT). Bases and datasets have licences of their own: `export.licence` says a release's.

Known vulnerabilities of these versions, where its service can be reached: `pip install pip-audit` in an environment of
its own, then `pip-audit -r requirements.lock --no-deps --disable-pip`. It says “No known vulnerabilities found” also
when it could ask about none: what it lists as skipped was not looked at.

| package | version | licence |
|---|---|---|
{rows}
"""


def locked(lock: Path = LOCK) -> dict[str, str]:
    """Version by package, as the lock file has them. Raises ValueError for a line that pins nothing."""
    found = {}
    for line in lock.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            pinned = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.!_-]+)", line)
            if pinned is None:
                raise ValueError(f"{lock.name}: {line!r} pins nothing")
            found[pinned[1]] = pinned[2]
    return found


def licence(name: str) -> str:
    """The licence of an installed package: its License-Expression, else a License of a line, else its classifiers.

    Raises ValueError where none of them is there: it then belongs into KNOWN.
    """
    if name in KNOWN:
        return KNOWN[name][0]
    told = metadata(name)
    said = str(told.get("License") or "").strip()
    listed = [c.rpartition(" :: ")[2] for c in told.get_all("Classifier", []) if c.startswith("License ::")]
    found = told.get("License-Expression") or (said if said and "\n" not in said else "") or ", ".join(listed)
    if not found:
        raise ValueError(f"{name}: its metadata has no licence; look at its files, and add it to KNOWN")
    return str(found)


def page() -> str:
    """docs/licences.md."""
    found = {name: licence(name) for name in sorted(locked(), key=str.lower)}
    numbers = {note: f"[{at}]" for at, (_, note) in enumerate(dict.fromkeys(KNOWN.values()), 1)}
    copyleft = [f"{name} ({which})" for name, which in found.items() if COPYLEFT.search(which)]
    rows = [
        f"| {name} | {locked()[name]} | {which}{' ' + numbers[KNOWN[name][1]] if name in KNOWN else ''} |"
        for name, which in found.items()
    ]
    notes = "\n".join(f"- {sign} {note}" for note, sign in numbers.items())
    return TEXT.format(notes=notes, copyleft=", ".join(copyleft), rows="\n".join(rows))


if __name__ == "__main__":
    print(page(), end="")
