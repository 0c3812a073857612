"""Publishing that ends between any two of its files: either nothing counts as published, or all of it is right."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from bbjspec import publish
from bbjspec.plan import read_plan
from tests.harness import SPEC, write_project
from tests.reliability.kills import leftovers
from tests.whole import make_whole, publish_whole

LOG = logging.getLogger("tests.publish_cut")


class Cut(BaseException):
    """The end of the process."""


def placed(root: Path) -> dict[str, str]:
    places = (root / "adapters", root / "eval/baselines", root / "dataset")
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix(): path.read_text() for path in files}


@pytest.mark.parametrize("behind", [False, True], ids=["before a rename", "behind it"])
def test_publishing_cut_short_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behind: bool) -> None:
    """A few-shot baseline, sides in dataset/, and an older release are there: folders besides the card's."""
    root = tmp_path / "project"
    write_project(root)
    spec = root / "experiments/v1.yaml"
    spec.write_text(
        SPEC.replace("data: {", "data: {publish: true, ").replace("  k: [1, 2]", "  k: [1, 2]\n  few_shot: 2")
    )
    experiment = read_plan(root).experiments["v1"]
    assert len(experiment.folders) == 4
    publish_whole(root, experiment)
    first = placed(root)
    # The next version of everything, by an edit that changes every stage but the sides.
    spec.write_text(spec.read_text().replace("max_new_tokens: 12", "max_new_tokens: 13"))
    stale = root / "adapters/v1/parent_comparison.json"
    real, cuts = Path.replace, 0
    for number in range(1000):
        plan = read_plan(root)
        experiment = plan.experiments["v1"]
        assert plan.experiment_state(experiment) == "to run"
        stale.write_text("of a parent that is none any more")
        left = number

        def replace(self: Path, target: Path) -> Any:
            nonlocal left
            left -= 1
            if left < 0 and not behind:
                raise Cut
            made = real(self, target)
            if left < 0:
                raise Cut
            return made

        for stage in experiment.roles.values():
            make_whole(root, stage)
        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", replace)
            try:
                publish.run(root, experiment.publish_document, LOG)
            except Cut:
                cuts += 1
            else:
                break
        if read_plan(root).experiment_state(experiment) == "published":
            break  # cut behind the last rename
    assert cuts > 20 and placed(root) != first
    assert read_plan(root).experiment_state(experiment) == "published" and leftovers(root) == []
    by_cuts = placed(root)
    publish.run(root, experiment.publish_document, LOG)
    assert by_cuts == placed(root), "nothing was missing"
