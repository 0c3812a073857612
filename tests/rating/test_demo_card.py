"""The demo's card, as docs/ has it, and a session that was rated on it in a browser."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bbjspec.digest import sha256_bytes
from bbjspec.rating import ratings, section
from bbjspec.store import read_json, write_json
from tests.harness import REPOSITORY

RECORDED = Path(__file__).with_name("recorded")
SECTION = """\
### Rated by people

<!-- @RATINGS@ -->
People saw the answers of demo and of its base to the same 20 realistic prompts side by side, not knowing whose they were: demo is **preferred to its base**. Rated by `Ana` (0.3 s a pair).

| | |
|---|---|
| demo better / its base better / tie / both bad | 18 / 0 / 0 / 2 |
| win rate over prompts, 95 % interval | 0.95 [0.88, 1.00] |
| prompts won and lost, exact sign test | 18 to 0, p 7.6e-06 |
| left side chosen | 10 of 18, [0.34, 0.75], exact p 0.81 |
| same vote when shown again, sides swapped | 3 of 3 |
| length of demo's answers less the others', characters | -49 [-74, -24] |
| longer answer chosen | 4 of 18 |

A tie and two bad answers count one half; a prompt's score is averaged over raters first. 20 prompts need 15–5 for p < 0.05 (p 0.041); 14–6 is p 0.12. In 16 of them an answer is cut short: `starter/real/arithmetic`, `starter/real/assign`, `starter/real/for-step`, `starter/real/gosub`, `starter/real/if-else`, ….

<!-- @RATINGS_END@ -->
"""  # noqa: E501
NOT_YET = "### Rated by people\n\n<!-- @RATINGS@ -->\nNot rated yet: `bbjspec rate demo`.\n\n<!-- @RATINGS_END@ -->\n"


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """A project in which the demo's card is placed."""
    folder = tmp_path / "adapters/demo"
    folder.mkdir(parents=True)
    (tmp_path / "build").mkdir()
    text = (REPOSITORY / "docs/example-card/MODEL_CARD.md").read_text(encoding="utf-8")
    (folder / "MODEL_CARD.md").write_text(text, encoding="utf-8")
    frame = sha256_bytes(str(section.without(text)).encode())
    write_json(folder / "lock.json", {"files": {"MODEL_CARD.md": sha256_bytes(text.encode())}, "card_frame": frame})
    return tmp_path


def test_not_rated_yet(demo: Path) -> None:
    assert NOT_YET in (demo / "adapters/demo/MODEL_CARD.md").read_text(encoding="utf-8")
    assert not section.update(demo, "demo")


def test_a_recorded_session(demo: Path) -> None:
    for name in (ratings.FILE, ratings.KEY):
        shutil.copy(RECORDED / name, demo / "adapters/demo" / name)
    assert section.update(demo, "demo")
    text = (demo / "adapters/demo/MODEL_CARD.md").read_text(encoding="utf-8")
    assert SECTION in text and NOT_YET not in text
    lock = read_json(demo / "adapters/demo/lock.json")
    assert lock["files"]["MODEL_CARD.md"] == sha256_bytes(text.encode())
    before = (REPOSITORY / "docs/example-card/MODEL_CARD.md").read_text(encoding="utf-8")
    assert section.without(text) == section.without(before)
