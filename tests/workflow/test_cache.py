"""What is published, shared, reverted and refused: asked of real Snakemake. Single edits: test_edits.py."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.harness import clone, log_starts, run, snakemake, would_run

Replace = Callable[[Path, str, str], None]
PUBLISH = {"publish": 1}
NOTHING: dict[str, int] = {}
AFTER_TRAIN = {"train": 1, "generate": 1, "score": 1, "compare": 1, "card": 1, "publish": 1}


def spec(root: Path) -> Path:
    return root / "experiments/v1.yaml"


def test_what_is_published(finished: Path) -> None:
    adapter = finished / "adapters/v1"
    names = {path.name for path in adapter.iterdir()}
    assert names >= {
        "adapter_model.safetensors",
        "adapter_config.json",
        "training_config.json",
        "training_log.json",
        "eval_results.json",
        "MODEL_CARD.md",
        "loss.svg",
        "loss.png",
        "lock.json",
    }
    card = (adapter / "MODEL_CARD.md").read_text()
    assert "@EXPERIMENT@" not in card and "loss.svg" in card
    for file in adapter.iterdir():
        if file.suffix in {".json", ".md", ".jsonl", ".svg"}:
            assert str(finished) not in file.read_text(), file.name


def test_a_second_run_does_nothing_and_says_so(small: Path) -> None:
    done = snakemake(small)
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout + done.stderr


def test_experiments_share_base_split_and_baseline(small: Path, replace_in: Replace) -> None:
    shutil.copy(spec(small), small / "experiments/v2.yaml")
    replace_in(small / "experiments/v2.yaml", "learning_rate: 1e-3", "learning_rate: 2e-3")
    assert would_run(small) == AFTER_TRAIN
    shutil.rmtree(small / "build")
    shutil.rmtree(small / "adapters")
    shutil.rmtree(small / "eval/baselines")
    both = would_run(small)
    assert (both["base"], both["split"], both["train"], both["generate"]) == (1, 1, 2, 3)


def test_a_revert_publishes_the_old_card_without_training(small: Path, replace_in: Replace) -> None:
    before = (small / "adapters/v1/MODEL_CARD.md").read_bytes()
    lock = (small / "adapters/v1/lock.json").read_bytes()
    replace_in(spec(small), "k: [1, 2]", "k: [1]")
    assert snakemake(small).returncode == 0
    assert (small / "adapters/v1/MODEL_CARD.md").read_bytes() != before
    for _ in range(2):  # there and back again: an old marker must not hide the work
        replace_in(spec(small), "k: [1]", "k: [1, 2]")
        assert would_run(small) == PUBLISH
        assert snakemake(small).returncode == 0
        assert (small / "adapters/v1/MODEL_CARD.md").read_bytes() == before
        assert (small / "adapters/v1/lock.json").read_bytes() == lock
        replace_in(spec(small), "k: [1, 2]", "k: [1]")
        assert would_run(small) == PUBLISH
        assert snakemake(small).returncode == 0
    assert set(log_starts(small).values()) == {1}


def test_a_fresh_clone_takes_what_is_published(small: Path, tmp_path: Path, replace_in: Replace) -> None:
    fresh = clone(small, tmp_path / "clone")
    assert not (fresh / "build").exists()
    assert would_run(fresh) == NOTHING
    with (fresh / "templates/MODEL_CARD.md.j2").open("a") as template:
        template.write("\nOne more line.\n")
    done = snakemake(fresh)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(log_starts(fresh)) == {p for p in log_starts(fresh) if p.startswith("card/") or not log_starts(fresh)[p]}
    replace_in(fresh / "eval/prompts/print.jsonl", "Show 100 on the screen.", "Let me see 100.")
    again = would_run(fresh)
    assert "train" not in {kind for kind, count in again.items() if count} or again["train"] == 0


def test_a_tampered_file_is_named_and_nothing_is_overwritten(small: Path) -> None:
    file = small / "adapters/v1/eval_results.json"
    file.write_text(file.read_text().replace("0", "1"))
    done = snakemake(small)
    assert done.returncode == 1
    assert "adapters/v1/eval_results.json: is not the file that lock.json lists" in done.stderr
    assert run(small, "bbjspec", "check").returncode == 1


def test_a_git_lfs_pointer_counts_as_published(small: Path, replace_in: Replace) -> None:
    adapter = small / "adapters/v1/adapter_model.safetensors"
    sha = json.loads((small / "adapters/v1/lock.json").read_text())["files"][adapter.name]
    adapter.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha}\nsize 1\n")
    shutil.rmtree(small / "build")
    assert would_run(small) == NOTHING
    replace_in(spec(small), "max_new_tokens: 12", "max_new_tokens: 13")
    done = snakemake(small)
    assert done.returncode == 1
    assert "adapters/v1/adapter_model.safetensors: only a Git LFS pointer is here; run git lfs pull" in done.stderr


def test_an_older_stage_version_is_outdated_and_not_rebuilt(small: Path) -> None:
    lock = small / "adapters/v1/lock.json"
    document = json.loads(lock.read_text())
    document["card"]["digest"] = "0" * 16
    lock.write_text(json.dumps(document))
    assert json.loads(run(small, "bbjspec", "plan", "--json").stdout)["v1"]["state"] == "outdated"
    assert would_run(small) == NOTHING
    assert would_run(small, "--config", "refresh=1") == PUBLISH


def test_one_bad_spec_harms_only_itself(small: Path, replace_in: Replace) -> None:
    replace_in(spec(small), "k: [1, 2]", "k: [1]")
    (small / "experiments/bad.yaml").write_text("model: {base: pico-qwen2}\ntraining: {learning_rte: 1}\n")
    (small / "experiments/Not A Name.yaml").write_text("{}")
    done = snakemake(small)
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "experiments/bad.yaml:2:12: training.learning_rte: unknown field; did you mean learning_rate?" in said
    assert "Traceback" not in said
    assert '"compile@2"' not in (small / "adapters/v1/eval_results.json").read_text(), "the good one ran"
    assert snakemake(small, "v1").returncode == 0
    assert snakemake(small, "bad").returncode == 1
