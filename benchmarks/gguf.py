"""Does a GGUF say what the adapter says? Greedy tokens of the demo's GGUFs against the merged model's in float32.

    make demo && python benchmarks/gguf.py

20 prompts of the demo's suite, at most 64 tokens each, up to the first token that differs: behind it answers part for
good, so later tokens say nothing. The base without the adapter is compared too: it must not pass. Prints a table.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from bbjspec.generation.llama_cpp import LlamaCpp  # noqa: E402
from bbjspec.plan import read_plan  # noqa: E402
from bbjspec.stage import Stage, StageRun  # noqa: E402
from bbjspec.stages.merge import merge  # noqa: E402

PROMPTS, LIMIT, GOAL = 20, 64, 0.95
LOG = logging.getLogger("benchmark")


def run_of(stage: Stage, directory: Path) -> StageRun:
    """The stage as it was planned, at work in `directory`, on what is whole in build/."""
    return StageRun(
        kind=stage.kind,
        digest=stage.digest,
        root=ROOT,
        directory=directory,
        config=stage.config,
        inputs={role: ROOT / upstream.directory for role, upstream in stage.inputs.items()},
        sources={role: [ROOT / name for name in source.files] for role, source in stage.sources.items()},
        resources=stage.resources,
        log=LOG,
    )


def greedy(model: Path, prompts: list[tuple[int, ...]], end: int) -> list[list[int]]:
    """Greedy answers of transformers in float32, the end of turn not counted."""
    from transformers import AutoModelForCausalLM

    loaded, answers = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval(), []
    for prompt in prompts:
        with torch.inference_mode():
            out = loaded.generate(
                torch.tensor([prompt]), do_sample=False, max_new_tokens=LIMIT, eos_token_id=end, pad_token_id=end
            )
        answers.append([token for token in out[0, len(prompt) :].tolist() if token != end])
    return answers


def main() -> None:
    """Compare every type that the demo exports, and print the share of equal tokens."""
    roles = read_plan(ROOT).experiments["demo"].roles
    if not (ROOT / roles["gguf"].directory / "manifest.json").is_file():
        raise SystemExit("the demo's GGUFs are not there: run `make demo` first")
    with tempfile.TemporaryDirectory() as folder:
        made = run_of(roles["gguf"], Path(folder))
        model, words = made.config["model"], made.input("tokenizer") / "tokenizer"
        merge(
            made.input("base") / "model",
            made.input("train") / "adapter",
            Path(folder) / "merged",
            base_weights=made.config["base_weights"],
            double_quant=bool(model["bnb_4bit_use_double_quant"]),
            dtype=model["dtype"],
            tokenizer=words,
            log=LOG,
        )
        print("| type | equal tokens | share | of the base without the adapter |")
        print("|---|---|---|---|")
        for kind in made.config["types"]:
            run = run_of(roles[f"{kind}_generate"], Path(folder))
            backend = LlamaCpp(replace(run, config={**run.config, "sampling": {**run.config["sampling"], "n": 1}}))
            tasks = backend.tasks[:: max(1, len(backend.tasks) // PROMPTS)][:PROMPTS]
            prompts = [tuple(task.ids) for task in tasks]
            end = backend_end(words)
            said = [[token for token in backend.greedy(prompt, LIMIT) if token != end] for prompt in prompts]
            backend.close()
            shares = []
            for weights in (Path(folder) / "merged", made.input("base") / "model"):
                same = total = 0
                for mine, other in zip(said, greedy(weights, prompts, end), strict=True):
                    first = next(
                        (at for at, pair in enumerate(zip(mine, other, strict=False)) if pair[0] != pair[1]), None
                    )
                    same += min(len(mine), len(other)) if first is None else first
                    total += max(len(mine), len(other)) if first is None else first + 1
                shares.append((same, total))
            (same, total), (without, of) = shares
            met = f" (goal {GOAL:.0%}, {'met' if same / total >= GOAL else 'missed'})" if kind == "f16" else ""
            print(f"| {kind} | {same} of {total} | {same / total:.1%}{met} | {without / of:.1%} |")


def backend_end(words: Path) -> int:
    """The id of the end of turn."""
    from transformers import AutoTokenizer

    return int(AutoTokenizer.from_pretrained(words).eos_token_id)


if __name__ == "__main__":
    main()
