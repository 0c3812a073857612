"""`bbjspec.stages.merge` by PEFT's own `merge_and_unload`, until that module is there."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import types
from pathlib import Path
from typing import Any


def merge(base: Path, adapter: Path, out: Path, *, tokenizer: Path, **_: Any) -> None:
    """Write the merged model in bfloat16, with the tokenizer's files."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    PeftModel.from_pretrained(model, str(adapter)).merge_and_unload().to(torch.bfloat16).save_pretrained(out)
    for file in tokenizer.iterdir():
        shutil.copyfile(file, out / file.name)


def install() -> None:
    """Stand in for the module where there is none."""
    if importlib.util.find_spec("bbjspec.stages.merge") is None:
        module = types.ModuleType("bbjspec.stages.merge")
        module.merge = merge  # type: ignore[attr-defined]
        sys.modules["bbjspec.stages.merge"] = module
