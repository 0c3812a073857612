"""Checks of what is installed for Python: interpreter, packages, torch and GPU, llama.cpp, Snakemake."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from bbjspec.doctor import probes
from bbjspec.doctor.asked import (
    AGAIN,
    INSTALL,
    Asked,
    Check,
    backend,
    by_torch,
    gb,
    gpus,
    judged,
    model_of,
    quantizes,
)
from bbjspec.errors import EnvironmentLacks
from bbjspec.needs import Needs

_OWN = {"torch", "bitsandbytes", "llama-cpp-python", "snakemake", "tensorboard"}  # have checks of their own


def python(asked: Asked) -> Iterable[Check]:
    """The interpreter."""
    good = sys.version_info >= (3, 11)
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield judged("Python", "everything", asked.everyone, found, "install Python 3.11 or newer", good=good)


def packages(asked: Asked) -> Iterable[Check]:
    """What pyproject.toml asks for, but for what has a check of its own."""
    from importlib import metadata

    from packaging.requirements import Requirement

    wanted = [Requirement(line) for line in metadata.requires("bbjspec") or () if "extra ==" not in line]
    there = {one.name: probes.version(one.name) for one in wanted if one.name not in _OWN}
    gone = sorted(name for name, version in there.items() if version is None)
    versions = {one.name: (one.specifier, there.get(one.name)) for one in wanted}
    other = sorted(f"{name} {has}" for name, (meant, has) in versions.items() if has and has not in meant)
    found = f"{len(there) - len(gone)} of {len(there)}"
    found += f", missing: {', '.join(gone)}" if gone else ""
    found += f", not the versions that were tested: {', '.join(other)}" if other else ""
    purpose = "transformers, TRL, PEFT and the rest"
    yield judged("packages", purpose, asked.everyone, found, INSTALL, good=not gone and not other, soft=not gone)


def torch_and_gpu(asked: Asked) -> Iterable[Check]:
    """torch, GPU, GPU memory and bitsandbytes: one child asks for all."""
    who, on_gpu, quantized = asked.who(by_torch), asked.who(gpus), asked.who(quantizes)
    names = [("torch", "bases, training, generation", who), ("GPU", "training and generation on it", on_gpu)]
    installed = probes.version("torch")
    if not who and not on_gpu:
        yield judged(*names[0], f"{installed} installed" if installed else "not installed", INSTALL)
        yield judged(*names[1], "not looked for")
        yield _bitsandbytes(quantized, probes.Told({}, ""))
        return
    told = probes.torch(bitsandbytes=bool(quantized))
    facts, works = told.facts, "torch" in told.facts
    built = f", for CUDA {facts['built']}" if facts.get("built") else ", without CUDA"
    broken = told.trouble + (f"; {installed} is installed" if installed else "")
    remedy = AGAIN if told.slow else INSTALL
    yield judged(*names[0], facts["torch"] + built if works else broken, remedy, good=works, soft=told.slow)
    yield from _gpu(asked, on_gpu, told)
    yield _bitsandbytes(quantized, told)


def _gpu(asked: Asked, who: tuple[str, ...], told: probes.Told) -> Iterable[Check]:
    facts = told.facts
    cards, wanted = facts.get("cards"), max((gpus(stage) for stage in asked.those(gpus)), default=0)
    purpose = "training and generation on it"
    if not cards:
        supports = facts.get("supports")
        if cards is None:
            why = f"torch does not say ({told.trouble or 'no answer'})"
        elif not supports:
            why = "none: no NVIDIA driver answers"
        elif not facts.get("built"):
            why = f"none seen: driver {facts.get('driver')}, but torch is built without CUDA"
        else:
            most = f"{supports // 1000}.{supports % 1000 // 10}"
            why = f"none seen: driver {facts.get('driver')} supports CUDA {most}, torch is built for {facts['built']}"
        remedy = "run where nvidia-smi lists a GPU, with a torch built for its driver, or write resources.gpu: 0"
        remedy = AGAIN if cards is None and told.slow else remedy
        yield judged("GPU", purpose, who, why, remedy, good=False, soft=cards is None)
        yield judged("GPU memory", "weights, activations, answers", who, "none", remedy, good=not who, soft=True)
        return
    counted = {(name, size): cards.count([name, size]) for name, size in map(tuple, cards)}
    listed = ", ".join(f"{many} × {name}" if many > 1 else str(name) for (name, _), many in counted.items())
    found = f"{listed}, driver {facts.get('driver') or 'unknown'}"
    remedy = f"{wanted} are asked for: write resources.gpu: {len(cards)}, or run where there are more"
    yield judged("GPU", purpose, who, found, remedy, good=len(cards) >= wanted)
    smallest = min(size for _, size in cards)
    needs = Needs(asked.plan)
    wants = {stage.digest: needs.of(stage).gpu_memory for stage in asked.those(gpus)}
    most_needed = max((value for value in wants.values() if value), default=0.0)
    said = f"{gb(smallest)}; about {gb(most_needed)} needed" if most_needed else f"{gb(smallest)}; needed: unknown"
    above = {digest for digest, value in wants.items() if value and value > smallest}
    short = asked.who(lambda stage: stage.digest in above)
    remedy = "bbjspec plan shows which stage: a larger GPU, a smaller batch, or model.load_in_4bit: true"
    yield judged("GPU memory", "weights, activations, answers", short or who, said, remedy, good=not above)


def _bitsandbytes(who: tuple[str, ...], told: probes.Told) -> Check:
    installed, purpose = probes.version("bitsandbytes"), "bases in 4 bits (QLoRA), paged optimizers"
    if not who:
        found = f"{installed} installed" if installed else "not installed"
        return judged("bitsandbytes", purpose, who, found)
    works = "bitsandbytes" in told.facts
    untried = "cards" not in told.facts and installed is not None  # that torch lacks is told once
    broken = "cannot be tried without torch" if untried else told.trouble or "no answer"
    found = told.facts["bitsandbytes"] if works else broken if installed else "not installed"
    slow = told.slow and installed is not None
    return judged("bitsandbytes", purpose, who, found, AGAIN if slow else INSTALL, good=works, soft=untried or slow)


def flash(asked: Asked) -> Iterable[Check]:
    """Only where a spec names it: it is installed nowhere by itself."""
    who = asked.who(lambda stage: by_torch(stage) and model_of(stage).get("attn_implementation") == "flash_attention_2")
    if who:
        found = probes.version("flash_attn") or probes.version("flash-attn")
        remedy = "pip install flash-attn, or write model.attn_implementation: auto"
        yield judged("flash-attn", "flash_attention_2", who, found or "not installed", remedy, good=bool(found))


def llama(asked: Asked) -> Iterable[Check]:
    """llama-cpp-python, and the converter that belongs to it."""
    from bbjspec.stages import converter

    who = asked.who(lambda stage: stage.kind in ("gguf", "release") or backend(stage) == "llama_cpp")
    who = tuple(sorted({*who, *asked.unplanned}))
    installed, purpose = probes.version("llama_cpp_python"), "GGUFs, and their answers"
    converting = tuple(sorted({*asked.who(lambda stage: stage.kind == "gguf"), *asked.unplanned}))
    remedy = f"pip install llama-cpp-python=={converter.VERSION} (compiles for some minutes)"
    if not who or installed is None:
        yield judged("llama.cpp", purpose, who, installed or "not installed", remedy, good=installed is not None)
    else:
        told = probes.llama_cpp()
        works = "llama_cpp" in told.facts
        found, good = f"llama-cpp-python {installed}", works and (installed == converter.VERSION or not converting)
        if works and not good:
            found += f", and the converter is of {converter.VERSION}"
        elif not works:
            found += f": {told.trouble or 'no answer'}"
        # A stage that experiments share has the resources of the first of them: each one's own spec has its say.
        answering = asked.who(lambda stage: backend(stage) == "llama_cpp" and gpus(stage))
        on_gpu = tuple(name for name in answering if asked.plan.experiments[name].spec.resources.gpu)
        if good and on_gpu and not told.facts.get("gpu"):
            built = "built without a GPU: answers of GGUFs will come from the CPU"
            cuda = "CMAKE_ARGS=-DGGML_CUDA=on pip install --force-reinstall --no-binary llama-cpp-python "
            cuda += f"llama-cpp-python=={converter.VERSION}"
            yield judged("llama.cpp", purpose, on_gpu, f"{found}, {built}", cuda, good=False, soft=True)
        else:
            remedy = AGAIN if told.slow and not works else remedy
            yield judged("llama.cpp", purpose, who, found, remedy, good=good, soft=told.slow)
    purpose = "the merged model as a GGUF"
    try:
        converter.find()
    except EnvironmentLacks as error:
        said = str(error).partition("; run:")[0]
        yield judged("llama.cpp converter", purpose, converting, said, converter.COMMAND, good=False)
    else:
        yield judged("llama.cpp converter", purpose, converting, f"of llama-cpp-python {converter.VERSION}")


def snakemake(asked: Asked) -> Iterable[Check]:
    """Snakemake, and whether the shell finds it."""
    version, on_path = probes.version("snakemake"), shutil.which("snakemake")
    purpose, who = "running the stages", asked.everyone
    if version and not on_path:
        beside = Path(sys.executable).parent
        remedy = f"put {beside} on PATH (. {beside}/activate)"
        yield judged("Snakemake", purpose, who, f"{version}, but not on PATH", remedy, good=False, soft=True)
    else:
        yield judged("Snakemake", purpose, who, version or "not installed", INSTALL, good=bool(version))


def tensorboard(asked: Asked) -> Iterable[Check]:
    """TensorBoard."""
    version, who = probes.version("tensorboard"), asked.who(lambda stage: stage.kind == "train")
    yield judged(
        "TensorBoard", "curves of a training", who, version or "not installed", INSTALL, good=bool(version), soft=True
    )
