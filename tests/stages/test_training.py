"""The train stage on the smallest embedded model: what is learned, what is kept, what stops it, and how it goes on."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from safetensors.torch import load_file, save_file

from bbjspec.digest import sha256_file
from bbjspec.errors import StageFailed, Stopped
from bbjspec.stage import StageRun
from bbjspec.stages import base, checkpoints, launch, models, tokenizer, tokens, train
from bbjspec.stages.batches import GlobalBatches
from bbjspec.stages.flow import Flow
from bbjspec.stages.trainer import Trainer, build, padding
from bbjspec.stages.ways import Ways
from tests.stages import tiny

REPOSITORY = Path(__file__).resolve().parents[2]
ADAPTER = "adapter/adapter_model.safetensors"


def same(one: StageRun, two: StageRun) -> None:
    """Both left the same adapter, log and plots."""
    for name in (ADAPTER, "adapter/adapter_config.json", "loss.svg", "loss.png", "ledger.json"):
        assert sha256_file(one.directory / name) == sha256_file(two.directory / name), name
    assert tiny.without_clock(tiny.log(one)["log"]) == tiny.without_clock(tiny.log(two)["log"])


# -- what is learned ---------------------------------------------------------------------------------------------------


def test_labels_are_the_answer_and_its_end_of_turn_and_nothing_else(built: Path, tmp_path: Path) -> None:
    stage = tiny.training(built, tmp_path)
    tokenizer = models.load_tokenizer(stage, "right")
    rows = tokens.prepare(stage, tokenizer)["train"]
    batch = padding(tokenizer)([rows[3], rows[5]])
    for place, number in ((0, 3), (1, 5)):
        messages = tiny.chat(number)["messages"]
        prompt = tokenizer.apply_chat_template(messages[:2], tokenize=False, add_generation_prompt=True)
        answer = messages[2]["content"] + "<|im_end|>\n"
        asked = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        told = tokenizer(answer, add_special_tokens=False)["input_ids"]
        width = batch["labels"].shape[1]
        blank = width - len(asked) - len(told)
        assert batch["input_ids"][place].tolist() == asked + told + [tokenizer.pad_token_id] * blank
        assert batch["labels"][place].tolist() == [-100] * len(asked) + told + [-100] * blank
        assert batch["attention_mask"][place].tolist() == [1] * (len(asked) + len(told)) + [0] * blank
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


def test_the_log_has_every_step_and_the_first_batch_as_it_is_learned(undisturbed: StageRun) -> None:
    log = tiny.log(undisturbed)
    assert [entry["step"] for entry in log["log"]] == list(range(1, 9))
    assert [entry["step"] for entry in log["log"] if "eval_loss" in entry] == [2, 4, 6, 8]
    everywhere = {
        "step",
        "epoch",
        "loss",
        "learning_rate",
        "grad_norm",
        "token_accuracy",
        "tokens",
        "supervised_tokens",
    }
    for entry in log["log"]:
        more = {"eval_loss", "perplexity"} if "eval_loss" in entry else set()
        assert set(entry) == everywhere | set(tiny.CLOCK) | more
    assert len(log["first_batch"]) == 4
    for text in log["first_batch"]:
        assert text.startswith("```bbj\nprint ") and text.endswith("```<|im_end|>\n")


def test_the_trainer_sees_the_tokens_that_the_ledger_counts(built: Path, tmp_path: Path) -> None:
    made = tiny.trained(built, tmp_path, max_steps=None, num_train_epochs=1.0)
    ledger = json.loads((made.directory / "ledger.json").read_text())
    last = tiny.log(made)["log"][-1]
    assert (last["epoch"], last["tokens"], last["supervised_tokens"]) == (
        1.0,
        ledger["train"]["tokens"],
        ledger["train"]["supervised_tokens"],
    )


def test_a_ledger_that_counted_otherwise_is_refused(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built / "split", tmp_path / "split")
    ledger = json.loads((tmp_path / "split/ledger.json").read_text())
    counted = ledger["train"]["supervised_tokens"]
    ledger["train"]["supervised_tokens"] += 1
    (tmp_path / "split/ledger.json").write_text(json.dumps(ledger))
    with pytest.raises(StageFailed) as failed:
        tiny.trained(built, tmp_path, split=tmp_path / "split")
    assert str(failed.value) == (
        f"train.jsonl: training sees {counted} supervised tokens, the split counted {counted + 1}; remove this split "
        "from build/ and run again"
    )


def test_a_row_that_trl_would_cut_is_refused(built: Path, tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match=r"train\.jsonl line 1 \(r0\): \d+ tokens, more than training\.max_length 16"):
        tiny.trained(built, tmp_path, max_length=16)


class Special:
    """The ids that `tokens.check` asks a tokenizer for."""

    eos_token, eos_token_id, bos_token, bos_token_id = "<|end|>", 7, "<s>", 1


def test_rows_that_would_teach_something_else_are_refused_by_name() -> None:
    def refused(ids: list[int], labels: list[int]) -> str:
        with pytest.raises(StageFailed) as failed:
            tokens.check(Special, ids, labels, 8, "train.jsonl line 2 (r2)")
        return str(failed.value)

    tokens.check(Special, [1, 5, 6, 7], [-100, -100, 6, 7], 8, "good")
    assert refused([1, 5], [-100, -100]) == "train.jsonl line 2 (r2): nothing of it is supervised; its answer is empty"
    assert refused([1, 5, 6], [-100, 5, 6]).startswith(
        "train.jsonl line 2 (r2): the end of turn <|end|> is not supervised, so no answer would learn to end"
    )
    assert refused([1, 1, 6, 7], [-100, -100, 6, 7]).startswith(
        "train.jsonl line 2 (r2): <s>, the beginning of the text, appears 2 times"
    )


@given(
    lengths=some.lists(some.integers(1, 50), min_size=1, max_size=60),
    size=some.integers(1, 16),
    seed=some.integers(0, 2**32 - 1),
)
def test_a_step_is_a_random_draw_sorted_by_length(lengths: list[int], size: int, seed: int) -> None:
    order = GlobalBatches(lengths, size, seed)
    one = list(order)
    assert sorted(one) == list(range(len(lengths))) and list(order) == one, (
        "every row once, and the same when asked again"
    )
    for start in range(0, len(one), size):
        step = [lengths[row] for row in one[start : start + size]]
        assert step == sorted(step, reverse=True)
    order.set_epoch(1)
    assert sorted(order) == sorted(one)


def test_epochs_differ_in_their_order_and_seeds_too() -> None:
    order, other = GlobalBatches([1] * 50, 5, 42), GlobalBatches([1] * 50, 5, 43)
    first = list(order)
    order.set_epoch(1)
    assert first != list(order) and first != list(other)


def local(built: Path, root: Path, **named: str | None) -> StageRun:
    """Three steps on a directory that holds the smallest model, its tokenizer's special tokens named so."""
    folder = root / "mine"
    shutil.copytree(built / "tokenizer/tokenizer", folder)
    shutil.copytree(built / "base/model", folder, dirs_exist_ok=True)
    file = folder / "tokenizer_config.json"
    wanted = json.loads(file.read_text()) | named
    file.write_text(json.dumps({name: value for name, value in wanted.items() if value is not None}))
    config = {"base": "./mine", "revision": None, "recipe": None}
    tokenizer.run(tiny.stage("tokenizer", root, config))
    base.run(tiny.stage("base", root, config, tokenizer=root / "tokenizer"))
    tiny.split(root, "split", map(tiny.chat, range(12)), [tiny.chat(50)], root / "tokenizer")
    return tiny.trained(root, root, model={"base": "./mine"}, max_steps=3)


def test_a_base_without_pad_token_or_with_its_eos_for_one_learns_as_one_with(built: Path, tmp_path: Path) -> None:
    with_pad = local(built, tmp_path / "with")
    for name, pad in (("without", None), ("eos", "<|im_end|>")):
        made = local(built, tmp_path / name, pad_token=pad)
        as_it_is = json.loads((made.root / "mine/tokenizer_config.json").read_text())
        assert as_it_is.get("pad_token") == pad and as_it_is["eos_token"] == "<|im_end|>"
        loaded = models.load_tokenizer(made, "right")
        assert loaded.pad_token_id not in (None, loaded.eos_token_id)
        assert all(text.endswith("<|im_end|>\n") for text in tiny.log(made)["first_batch"])
        same(with_pad, made)


# -- packing -----------------------------------------------------------------------------------------------------------


def packed(built: Path, out: Path, tokenizer_of: Any = None) -> tuple[Trainer, Any, Any]:
    stage = tiny.training(built, out, packing=True, global_train_batch_size=2)
    tokenizer = models.load_tokenizer(stage, "right")
    data = tokens.prepare(stage, tokenizer)
    trainer = build(stage, data, tokenizer, Ways(1, False, 2))
    single = tokens.prepare(tiny.training(built, out / "single"), tokenizer)["train"]
    return trainer, data["train"], single


def test_packing_fills_rows_with_whole_rows(built: Path, tmp_path: Path) -> None:
    _, filled, single = packed(built, tmp_path)
    cut = []
    for row in filled:
        start = 0
        for length in row["seq_lengths"]:
            cut.append((tuple(row["input_ids"][start : start + length]), tuple(row["labels"][start : start + length])))
            start += length
        assert start == row["length"] <= 128
    assert sorted(cut) == sorted((tuple(row["input_ids"]), tuple(row["labels"])) for row in single)
    assert len(filled) < 0.6 * len(single)


def test_a_packed_rows_loss_does_not_know_its_neighbours(built: Path, tmp_path: Path) -> None:
    trainer, filled, _ = packed(built, tmp_path)
    row = max(filled, key=lambda one: len(one["seq_lengths"]))
    assert len(row["seq_lengths"]) > 1
    batch = trainer.data_collator([row])
    trainer.model.eval()

    def loss(**inputs: Any) -> torch.Tensor:
        with torch.no_grad():
            return -trainer.model(**inputs, fused_lm_head=True).log_probs[0]

    together = loss(**batch)
    lost = loss(**batch | {"position_ids": torch.arange(row["length"])[None]})  # what packing without them would be
    start, apart, mixed = 0, 0.0, 0.0
    for length in row["seq_lengths"]:
        ids = torch.tensor([row["input_ids"][start : start + length]])
        labels = torch.tensor([row["labels"][start : start + length]])
        alone = loss(input_ids=ids, labels=labels)
        here = slice(start, start + length - 1)
        apart = max(apart, (together[here] - alone).abs().max().item())
        mixed = max(mixed, (lost[here] - alone).abs().max().item())
        start += length
    assert apart < 1e-4 < 1e-2 < mixed


def test_packing_trains_on_every_token_and_validates_on_rows(
    built: Path, tmp_path: Path, undisturbed: StageRun
) -> None:
    made = tiny.trained(
        built,
        tmp_path,
        packing=True,
        global_train_batch_size=2,
        max_steps=None,
        num_train_epochs=1.0,
        learning_rate=1e-9,
        resources={"training": tiny.RUN | {"per_device_train_batch_size": 2}},
    )
    ledger = json.loads((made.directory / "ledger.json").read_text())
    last = tiny.log(made)["log"][-1]
    assert (last["tokens"], last["supervised_tokens"]) == (
        ledger["train"]["tokens"],
        ledger["train"]["supervised_tokens"],
    )
    plain = tiny.trained(built, tmp_path / "plain", learning_rate=1e-9)
    first = [next(e["eval_loss"] for e in tiny.log(run)["log"] if "eval_loss" in e) for run in (made, plain)]
    assert first[0] == pytest.approx(first[1], abs=1e-5), "an untrained adapter: the validation loss compares"


# -- evaluation, early stop, best --------------------------------------------------------------------------------------


def test_validation_loss_is_a_mean_over_tokens_whatever_the_batch(built: Path, tmp_path: Path) -> None:
    losses = []
    for size in (1, 2, 4):
        run = tiny.RUN | {"per_device_train_batch_size": size}
        made = tiny.trained(built, tmp_path / str(size), resources={"training": run}, lora={"lora_dropout": 0.0})
        losses.append([entry["eval_loss"] for entry in tiny.log(made)["log"] if "eval_loss" in entry])
    assert losses[0] == pytest.approx(losses[1], abs=1e-4) and losses[0] == pytest.approx(losses[2], abs=1e-4)


def test_training_stops_early_and_the_best_is_what_is_kept(built: Path, tmp_path: Path) -> None:
    # The validation answers contradict the training answers, so that learning the one unlearns the other.
    odd = [tiny.chat(n, answer='```bbj\nLET A$="no such thing"\n```') for n in range(50, 55)]
    split = tiny.split(tmp_path, "split", map(tiny.chat, range(18)), odd, built / "tokenizer")
    made = tiny.trained(
        built, tmp_path, split=split, learning_rate=0.05, max_steps=60, early_stopping_patience=2, save_steps=2
    )
    log = tiny.log(made)
    losses = {entry["step"]: entry["eval_loss"] for entry in log["log"] if "eval_loss" in entry}
    assert log["final"]["stopped_early"] and log["final"]["step"] < 60
    assert log["best"]["step"] == min(losses, key=lambda step: losses[step]) < log["final"]["step"]
    assert log["final"]["step"] == log["best"]["step"] + 2 * 2, "two evaluations of patience"
    # What is published, evaluated again, has the best loss and not the last.
    stage = tiny.training(built, tmp_path / "again", split=split)
    tokenizer = models.load_tokenizer(stage, "right")
    trainer = build(stage, tokens.prepare(stage, tokenizer), tokenizer, Ways(4, False, 2))
    from peft import set_peft_model_state_dict

    set_peft_model_state_dict(trainer.model, load_file(made.directory / ADAPTER))
    again = trainer.evaluate()["eval_loss"]
    assert again == pytest.approx(losses[log["best"]["step"]], abs=0.02)
    assert abs(again - losses[log["final"]["step"]]) > 0.05


def test_a_dataset_of_one_row_trains(built: Path, tmp_path: Path) -> None:
    split = tiny.split(tmp_path, "split", [tiny.chat(1)], [tiny.chat(2)], built / "tokenizer")
    log = tiny.log(tiny.trained(built, tmp_path, split=split, global_train_batch_size=8))
    assert [entry["step"] for entry in log["log"]] == list(range(1, 9))
    assert log["log"][-1]["epoch"] == 8


# -- what is written ---------------------------------------------------------------------------------------------------


def test_two_runs_are_the_same_and_name_the_base_alone(built: Path, tmp_path: Path, undisturbed: StageRun) -> None:
    again = tiny.trained(built, tmp_path)
    same(undisturbed, again)
    adapter = undisturbed.directory / "adapter"
    assert sorted(file.name for file in adapter.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert {str(tensor.dtype) for tensor in load_file(adapter / "adapter_model.safetensors").values()} == {
        "torch.bfloat16"
    }
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("pico-qwen2", None)
    assert str(built) not in (adapter / "adapter_config.json").read_text()


def test_the_record_names_everything_that_made_the_adapter(built: Path, undisturbed: StageRun) -> None:
    record = json.loads((undisturbed.directory / "training_config.json").read_text())
    assert record["resolved"]["learning_rate"] == 1e-3 and record["resolved"]["seed"] == 42
    assert record["data"]["train.jsonl"] == sha256_file(built / "split/train.jsonl")
    assert record["base"]["files"]["model.safetensors"] == sha256_file(built / "base/model/model.safetensors")
    assert len(record["chat_template_sha256"]) == 64
    assert record["machine"]["cpu"] and record["versions"]["torch"]
    assert record["ways"]["attention"] == "sdpa" and record["ways"]["recompute"] is False
    assert record["tokens_per_s"] > 0 and record["peak_memory"]["ram_gb"] > 0 and record["resumed_at"] == []
    assert str(built) not in json.dumps(record)


def test_nf4_is_double_quantized_and_the_base_stays_as_it_was(built: Path, tmp_path: Path) -> None:
    import bitsandbytes as bnb

    before = sha256_file(built / "base/model/model.safetensors")
    stage = tiny.training(built, tmp_path, model={"load_in_4bit": True, "dtype": "bfloat16"})
    tokenizer = models.load_tokenizer(stage, "right")
    trainer = build(stage, tokens.prepare(stage, tokenizer), tokenizer, Ways(4, False, 2))
    layers = [module for module in trainer.model.modules() if isinstance(module, bnb.nn.Linear4bit)]
    assert layers
    for layer in layers:
        assert layer.weight.quant_type == "nf4" and layer.compute_dtype == torch.bfloat16
        assert layer.weight.quant_state.nested, "double quantization"
    assert trainer.model.get_output_embeddings().weight.dtype == torch.bfloat16, "the head is not cast to float32"
    trained = [p for p in trainer.model.parameters() if p.requires_grad]
    assert trained and {p.dtype for p in trained} == {torch.float32}
    train.run(stage)
    assert sha256_file(built / "base/model/model.safetensors") == before


def test_without_quantization_no_layer_is_quantized(built: Path, tmp_path: Path) -> None:
    import bitsandbytes as bnb

    stage = tiny.training(built, tmp_path, model={"load_in_4bit": False, "dtype": "bfloat16"})
    tokenizer = models.load_tokenizer(stage, "right")
    trainer = build(stage, tokens.prepare(stage, tokenizer), tokenizer, Ways(4, False, 2))
    assert not [module for module in trainer.model.modules() if isinstance(module, bnb.nn.Linear4bit)]
    assert {p.dtype for p in trainer.model.parameters() if not p.requires_grad} == {torch.bfloat16}


def test_recomputing_activations_changes_nothing(built: Path, tmp_path: Path, undisturbed: StageRun) -> None:
    made = tiny.trained(built, tmp_path, resources={"training": tiny.RUN | {"gradient_checkpointing": True}})
    one, two = (load_file(run.directory / ADAPTER) for run in (undisturbed, made))
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, two[name], atol=2e-3, rtol=0.02)


# -- resuming ----------------------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tests.stages import tiny
from bbjspec.stages import launch, models, train
stage = tiny.training(Path(sys.argv[2]), Path(sys.argv[3]))
models.prepare(stage)
from bbjspec.stages import flow, trainer
import transformers

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def at(step, real):
    def method(self, args, state, control, **rest):
        return die() if state.global_step == step else real(self, args, state, control, **rest)
    return method

moment = sys.argv[4]
if moment == "before the first checkpoint":
    flow.Flow.on_step_end = at(3, flow.Flow.on_step_end)
elif moment == "between two checkpoints":
    flow.Flow.on_step_begin = at(5, flow.Flow.on_step_end)
elif moment == "while a checkpoint is written":
    real = transformers.TrainerState.save_to_json
    def half(self, path):
        if self.global_step < 8:
            return real(self, path)
        Path(path).write_text('{"global_step": 8, "max')
        die()
    transformers.TrainerState.save_to_json = half
elif moment == "after the last checkpoint":
    train.training_log = die
train.run(stage)
"""


@pytest.mark.parametrize(
    ("moment", "left"),
    [
        ("before the first checkpoint", 2),
        ("between two checkpoints", 4),
        ("while a checkpoint is written", 6),
        ("after the last checkpoint", 8),
    ],
)
def test_a_killed_training_ends_as_an_undisturbed_one(
    built: Path, tmp_path: Path, undisturbed: StageRun, moment: str, left: int
) -> None:
    words = [sys.executable, "-c", KILLED, str(REPOSITORY), str(built), str(tmp_path), moment]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    newest = checkpoints.newest(tmp_path / "train/work")
    assert newest is not None and checkpoints.step(newest) == left
    made = tiny.trained(built, tmp_path)
    same(undisturbed, made)
    record = json.loads((made.directory / "training_config.json").read_text())
    assert record["resumed_at"] == ([left] if left < 8 else [])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_saves_first_and_goes_on_from_there(
    built: Path, tmp_path: Path, undisturbed: StageRun, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    stage = tiny.training(built, tmp_path)
    outer = signal.getsignal(number)
    before = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    signal.signal(number, before)  # tests that are run in the background have Ctrl-C ignored

    def begin(self: Flow, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 4:
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)  # clusters send it twice; of Ctrl-C a parent may pass on its own

    monkeypatch.setattr(Flow, "on_step_begin", begin)
    with pytest.raises(Stopped) as stopped:
        train.run(stage)
    assert str(stopped.value) == (
        "training was asked to stop: step 5 of 8 is saved; run the same command again to go on from there"
    )
    assert stopped.value.exit_code == 143
    assert signal.getsignal(number) == before
    signal.signal(number, outer)
    newest = checkpoints.newest(stage.work)
    assert newest is not None and checkpoints.step(newest) == 5 and not checkpoints.finished(newest)
    monkeypatch.undo()
    train.run(stage)
    same(undisturbed, stage)


# -- several processes -------------------------------------------------------------------------------------------------


def test_two_processes_train_as_one_with_twice_the_accumulation(built: Path, tmp_path: Path) -> None:
    run = tiny.RUN | {"per_device_train_batch_size": 1}
    split = tiny.split(tmp_path, "split", map(tiny.chat, range(16)), map(tiny.chat, range(50, 55)), built / "tokenizer")
    whole: dict[str, Any] = {"split": split, "lora": {"lora_dropout": 0.0}, "max_steps": 6}
    one = tiny.trained(built, tmp_path / "one", resources={"training": run}, **whole)
    two = tiny.trained(built, tmp_path / "two", resources={"training": run, "processes": 2}, **whole)
    for mine, other in zip(tiny.log(one)["log"], tiny.log(two)["log"], strict=True):
        assert mine["tokens"] == other["tokens"] and mine["supervised_tokens"] == other["supervised_tokens"]
        assert mine["loss"] == pytest.approx(other["loss"], abs=1e-4)
        assert mine["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-3)
        assert mine.get("eval_loss") == pytest.approx(other.get("eval_loss"), abs=1e-4)
    record = json.loads((two.directory / "training_config.json").read_text())
    assert record["ways"]["processes"] == 2
    assert record["resolved"]["gradient_accumulation_steps"] == 2


def test_rows_that_do_not_divide_are_seen_once_by_several(built: Path, tmp_path: Path) -> None:
    """And a resume in the middle of the second epoch goes on in that epoch's order."""
    run = tiny.RUN | {"per_device_train_batch_size": 2}
    split = tiny.split(tmp_path, "split", map(tiny.chat, range(9)), map(tiny.chat, range(50, 55)), built / "tokenizer")
    whole: dict[str, Any] = {"split": split, "lora": {"lora_dropout": 0.0}, "max_steps": None, "num_train_epochs": 2.0}
    one = tiny.trained(built, tmp_path / "one", resources={"training": run}, **whole)
    stage = tiny.training(built, tmp_path / "two", resources={"training": run, "processes": 2}, **whole)
    train.run(stage)
    expected = [(e["tokens"], e["supervised_tokens"], pytest.approx(e["loss"], abs=1e-4)) for e in tiny.log(one)["log"]]
    seen = [(e["tokens"], e["supervised_tokens"], e["loss"]) for e in tiny.log(stage)["log"]]
    assert seen == expected and len(seen) == 6
    last = checkpoints.newest(stage.work)
    assert last is not None and checkpoints.step(last) == 6
    shutil.rmtree(last)  # as if it had been killed in the middle of the second epoch
    train.run(stage)
    assert [(e["tokens"], e["supervised_tokens"], e["loss"]) for e in tiny.log(stage)["log"]] == expected
    assert json.loads((stage.directory / "training_config.json").read_text())["resumed_at"] == [4]


def test_an_early_stop_after_a_resume_is_saved_where_it_stops(built: Path, tmp_path: Path) -> None:
    odd = [tiny.chat(n, answer='```bbj\nLET A$="no such thing"\n```') for n in range(50, 55)]
    split = tiny.split(tmp_path, "split", map(tiny.chat, range(18)), odd, built / "tokenizer")
    options: dict[str, Any] = {"split": split, "learning_rate": 0.05, "max_steps": 60, "early_stopping_patience": 3}
    undisturbed = tiny.trained(built, tmp_path / "one", save_steps=4, **options)
    stage = tiny.training(built, tmp_path / "two", save_steps=4, **options)
    train.run(stage)
    last = checkpoints.newest(stage.work)
    assert last is not None and checkpoints.finished(last)
    shutil.rmtree(last)
    train.run(stage)
    same(undisturbed, stage)


@pytest.mark.parametrize(("limit", "left"), [(1, [3, 9]), (2, [3, 9]), (3, [3, 6, 9]), (9, [3, 5, 6, 9])])
def test_the_newest_and_the_best_checkpoint_stay_whatever_the_clock_says(
    tmp_path: Path, limit: int, left: list[int]
) -> None:
    for step, when in ((3, 9e8), (5, 2e9), (6, 3e9), (9, 1e8)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}/trainer_state.json").write_text("{}")
        os.utime(tmp_path / f"checkpoint-{step}", (when, when))
    checkpoints.keep(tmp_path, limit, newest=9, best=3)
    assert sorted(checkpoints.step(path) for path in tmp_path.glob("checkpoint-*")) == left


def test_an_error_of_several_processes_is_told_as_one(built: Path, tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match=r"training diverged: (loss|grad_norm) is nan at step 1"):
        run = tiny.RUN | {"per_device_train_batch_size": 2}
        tiny.trained(built, tmp_path, base=poisoned(built, tmp_path), resources={"training": run, "processes": 2})


# -- what stops it -----------------------------------------------------------------------------------------------------


def poisoned(built: Path, root: Path) -> Path:
    """A base with a weight that is no number."""
    shutil.copytree(built / "base", root / "base")
    file = root / "base/model/model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if name.endswith("layers.0.mlp.down_proj.weight"))
    tensors[name] = tensors[name].clone().index_fill_(0, torch.tensor([0]), float("nan"))
    save_file(tensors, file, metadata={"format": "pt"})
    return root / "base"


def test_a_loss_that_is_no_number_stops_it_at_once(built: Path, tmp_path: Path) -> None:
    with pytest.raises(StageFailed) as failed:
        tiny.trained(built, tmp_path, base=poisoned(built, tmp_path))
    assert str(failed.value) == (
        "training diverged: loss is nan at step 1; lower training.learning_rate (now 0.001) or raise "
        "training.warmup_steps, then run again"
    )


def test_training_that_waits_for_an_orphan_says_so(built: Path, tmp_path: Path, caplog: Any) -> None:
    stage = tiny.training(built, tmp_path)
    code = "import sys; from bbjspec.store import locked; import logging, pathlib, time\n"
    code += "with locked(pathlib.Path(sys.argv[1]), logging.getLogger()):\n    print('held', flush=True); time.sleep(3)"
    orphan = subprocess.Popen([sys.executable, "-c", code, str(stage.work)], stdout=subprocess.PIPE, text=True)
    assert orphan.stdout is not None and orphan.stdout.readline() == "held\n"
    with caplog.at_level(logging.INFO), launch.alone(stage):
        assert orphan.wait() == 0
    assert "is already at work on this" in caplog.text
