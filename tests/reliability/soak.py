"""`make soak`: some hundred kills at random moments of a run with a GGUF, and what came of them.

python -m tests.reliability.soak [--kills 200] [--seed N]. Exit code 1 on any difference from a run that nobody killed.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bbjspec.errors import EnvironmentLacks
from bbjspec.stages import converter
from tests.harness import snakemake, write_project
from tests.reliability.kills import VICTIMS, Kill, Killer, Undisturbed, finish

FOLDER = 'it\'s "50 %" of $HOME {é}'  # a path that must do no harm


def new_project(root: Path, *, gguf: bool) -> None:
    """The smallest project, with one GGUF where they can be made."""
    root.parent.mkdir(parents=True, exist_ok=True)
    write_project(root)
    if gguf:
        spec = root / "experiments/v1.yaml"
        spec.write_text(spec.read_text().replace("gguf: []", "gguf: [q8_0], gate: none"))


def main() -> int:
    """Kill, until there are so many kills; tell of each as it comes, and of all at the end."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.soak", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng, began = random.Random(options.seed), time.monotonic()
    try:
        gguf = bool(converter.find())
    except EnvironmentLacks as error:
        gguf = False
        print(f"without a GGUF: {error}")
    kills: list[Kill] = []
    projects: list[list[str]] = []
    resumed = 0
    with tempfile.TemporaryDirectory(prefix="bbjspec-soak-") as folder:
        calm = Path(folder) / "undisturbed/project"
        new_project(calm, gguf=gguf)
        done = snakemake(calm)
        if done.returncode:
            print(done.stdout + done.stderr)
            return 1
        undisturbed = Undisturbed.of(calm)
        print(f"undisturbed: {undisturbed.seconds:.0f} s, {len(undisturbed.outputs)} outputs", flush=True)
        while len(kills) < options.kills:
            home = Path(folder) / f"{len(projects)} {FOLDER}"
            killer = Killer(home / "project", rng)
            new_project(killer.root, gguf=gguf)
            while len(kills) + len(killer.kills) < options.kills:
                delay = rng.uniform(0, undisturbed.remaining(killer.root))
                if not killer.after(delay, rng.choice(VICTIMS)):
                    break
                hit = killer.kills[-1]
                number = len(kills) + len(killer.kills)
                print(f"{number}: {hit.what} after {hit.after:.1f} s, at {', '.join(hit.stages)}", flush=True)
            wrong = finish(killer.root, undisturbed)
            for line in wrong:
                print(f"project {len(projects)}: {line}", flush=True)
            logs = "".join(log.read_text() for log in killer.root.glob("build/train/*/stage.log"))
            resumed += logs.count(" INFO resuming from step ")
            kills += killer.kills
            projects.append(wrong)
            if wrong:
                print(f"kept: {shutil.copytree(home, tempfile.mkdtemp(prefix='bbjspec-kept-'), dirs_exist_ok=True)}")
            shutil.rmtree(home)
    print(table(kills))
    bad = sum(map(bool, projects))
    print(
        f"{len(kills)} kills (seed {options.seed}) in {len(projects)} projects, {(time.monotonic() - began) / 60:.0f} "
        f"minutes; trainings resumed from a checkpoint: {resumed}; projects with other hashes or leftovers: {bad}"
    )
    return 1 if bad else 0


def table(kills: Sequence[Kill]) -> str:
    """Kills by the stage at work and by what was killed, in Markdown. Two stages at work count for both."""
    counted = Counter((stage, kill.what) for kill in kills for stage in set(kill.stages))
    stages = sorted({stage for stage, _ in counted})
    rows = [[stage, *(str(counted[stage, what]) for what in VICTIMS)] for stage in stages]
    total = ["all kills", *(str(sum(kill.what == what for kill in kills)) for what in VICTIMS)]
    lines = [["at work", *VICTIMS], ["---"] * (len(VICTIMS) + 1), *rows, total]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
