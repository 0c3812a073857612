"""Training proper: in this process, or by `accelerate launch` in one process for each device (DDP).

All that it leaves is in the stage's `work`: checkpoints, `tensorboard/`, and `notes.json`. With several processes the
stage's own process trains nothing: it starts them, passes on what they log and a request to stop, and tells their
error as its own. They end with it, by a pipe of which it alone holds the other end; until then their launcher holds
the stage's `work` and its GPUs, so that the next run waits (`alone`).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from bbjspec import errors, signals
from bbjspec.errors import BbjspecError, StageFailed, Stopped
from bbjspec.redact import redacted
from bbjspec.stage import StageRun
from bbjspec.stages import checkpoints, claims, devices, models, tokens
from bbjspec.stages.ways import Ways, estimator
from bbjspec.store import locked, read_json, write_json

NOTES, JOB, EVENTS = "notes.json", "job.json", "tensorboard"
# Clusters send SIGTERM to every process of a job, and terminals SIGINT. A launcher that obeyed would kill its processes
# after half a minute, and a step may take longer: they are asked by the stage's own process, and save first. It does so
# by SIGTERM; the SIGINT that is ignored here stays ignored in them.
_LAUNCHER = """
import os, runpy, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_IGN)
os.environ["PET_SIGNALS_TO_HANDLE"] = "SIGHUP,SIGQUIT"
runpy.run_module("accelerate.commands.launch", run_name="__main__", alter_sys=True)
"""
_LINE = re.compile(r"bbjspec (DEBUG|INFO|WARNING|ERROR) (.*)")


def alone(stage: StageRun) -> contextlib.AbstractContextManager[int]:
    """Hold the stage's `work`; wait, saying so, for processes that a killed run has left training in it.

    Gives the lock's descriptor.
    """
    return locked(stage.work, stage.log)


def train(stage: StageRun, ways: Ways, resume: Path | None, lock: int) -> None:
    """Train from the checkpoint to the end, holding `work` by its lock. Raises what training raises, and Stopped."""
    if ways.processes == 1:
        here(stage, ways, resume)
    else:
        _elsewhere(stage, ways, resume, lock)


def here(stage: StageRun, ways: Ways, resume: Path | None) -> None:
    """Train in this process, as the only one or as one of several."""
    from bbjspec.stages import tracking
    from bbjspec.stages.flow import Flow
    from bbjspec.stages.trainer import build, first_batch

    tokenizer = models.load_tokenizer(stage, "right")
    flow = Flow(stage, ways.save_total_limit)
    trackers = tracking.callbacks(
        stage.work / EVENTS,
        stage.resources["tracking"],
        dict(stage.config),
        checkpoints.step(resume) if resume else None,
        stage.log,
        run_id=stage.digest,
    )
    data = tokens.prepare(stage, tokenizer)
    trainer = None
    try:
        trainer = build(stage, data, tokenizer, ways, [*trackers, flow])
        if trainer.is_world_process_zero():
            _note(stage, trainer, ways, first_batch(trainer, tokenizer), resume)
        if resume:
            stage.log.info("resuming from step %d", checkpoints.step(resume))
            if trainer.is_world_process_zero():
                checkpoints.rebase(resume, stage.work)
            trainer.accelerator.wait_for_everyone()
        with flow.watching():
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    except Exception as error:
        if not devices.is_out_of_memory(error):
            raise
        at = f"step {trainer.state.global_step + 1}" if trainer else "loading the base"
        found = devices.memory(models.gpus(stage), now=True)
        raise devices.out_of_memory(error, at, found, estimator(stage), stage.config, ways.run) from error


def _note(stage: StageRun, trainer: Any, ways: Ways, texts: list[str], resume: Path | None) -> None:
    """What the record wants to know, before the first step: a kill cannot lose it."""
    stage.log.info("supervised text of the first row: %r", texts[0])
    before = read_json(stage.work / NOTES) or {"resumed_at": []}
    write_json(
        stage.work / NOTES,
        {
            "first_batch": texts,
            "resolved": _plain(trainer.args.to_dict()),
            "ways": asdict(ways) | {"attention": trainer.model.config._attn_implementation},
            "trainable_parameters": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
            "resumed_at": [*before["resumed_at"], *([checkpoints.step(resume)] if resume else [])],
        },
    )


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Trainer arguments as JSON, without this machine's paths."""
    skip = ("output_dir", "logging_dir", "run_name", "hub_token", "push_to_hub_token")
    return {key: json.loads(json.dumps(value, default=str)) for key, value in values.items() if key not in skip}


def _elsewhere(stage: StageRun, ways: Ways, resume: Path | None, lock: int) -> None:
    """`accelerate launch` of this module, once for each device."""
    for left in stage.work.glob("worker-*.json"):
        left.unlink()
    job = {name: value for name, value in vars(stage).items() if name != "log"} | {"resume": resume}
    write_json(stage.work / JOB, json.loads(json.dumps(job | {"ways": asdict(ways)}, default=str)))
    # A configuration of its own: the user's would come in for whatever is not said, GPUs that are not ours included.
    write_json(
        stage.work / "accelerate.json",
        {
            "compute_environment": "LOCAL_MACHINE",
            "distributed_type": "MULTI_GPU",
            "num_machines": 1,
            "machine_rank": 0,
            "num_processes": ways.processes,
            "mixed_precision": "no",
            "use_cpu": False,
            "debug": False,
            "gpu_ids": "all",
        },
    )
    command = [sys.executable, "-c", _LAUNCHER, "--config_file", str(stage.work / "accelerate.json")]
    command += ["--multi_gpu", "--dynamo_backend", "no", "--main_process_port", "0"]
    command += ["--module", __name__, str(stage.work / JOB)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ACCELERATE_")}
    cpu = {} if models.gpus(stage) else {"ACCELERATE_USE_CPU": "true"}
    started = subprocess.Popen(
        command,
        env=kept | cpu | {"PYTHONUNBUFFERED": "1"},
        pass_fds=(lock, *claims.locks()),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    with _passing_on(stage, started, ways.processes) as asked:
        assert started.stdout is not None
        for line in started.stdout:
            match = _LINE.fullmatch(line.rstrip("\n"))
            if match:
                stage.log.log(getattr(logging, match[1]), "%s", match[2])
            else:
                stage.log.debug("%s", line.rstrip())
        code = started.wait()
    if failed := _told(stage, ours=True):
        raise failed
    if code and asked.is_set():
        raise Stopped("training was asked to stop before it had begun; run the same command again, nothing is lost")
    if failed := _told(stage, ours=False):
        raise failed
    if code:
        raise StageFailed(
            f"the {ways.processes} training processes ended with exit code {code} and no word why (out of memory, or "
            "killed); the end of this stage's log has what they said"
        )


@contextlib.contextmanager
def _passing_on(stage: StageRun, started: subprocess.Popen[str], processes: int) -> Iterator[threading.Event]:
    """Pass Ctrl-C or SIGTERM on to the training processes; the event tells whether there was one.

    On leaving, none of them lives. One that is not yet training has nothing to save: the signal ends it.
    """
    asked = threading.Event()
    assert started.stdin is not None
    lifeline = started.stdin

    def ask() -> None:
        asked.set()
        words = list(stage.work.glob("worker-*.json"))
        for file in words:
            with contextlib.suppress(ProcessLookupError, KeyError, TypeError):
                os.kill(read_json(file)["process"], signal.SIGTERM)
        if len(words) < processes:
            lifeline.close()

    try:
        with signals.heeded(ask):
            yield asked
    finally:
        lifeline.close()
        if started.stdout is not None:
            started.stdout.read()  # to the end: a full pipe would keep it from ending
        started.wait()


def _told(stage: StageRun, *, ours: bool) -> BbjspecError | None:
    """An error of the processes as they wrote it: one of `bbjspec.errors`, or else the first of another kind.

    When one process fails, the others lose their connection to it: theirs are errors of another kind, and come later.
    """
    said = [read_json(file) or {} for file in stage.work.glob("worker-*.json")]
    found = [one for one in said if one.get("ours") is ours]
    for one in sorted(found, key=lambda one: (one["error"] == "Stopped", one["time"])):
        return dict(vars(errors))[one["error"]](one["text"])  # type: ignore[no-any-return]
    return None


def main() -> None:
    """One of several training processes."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the launcher ignores it, and SIGINT, which stays so
    threading.Thread(target=_end_with_the_stage, daemon=True).start()
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    rank = int(os.environ["RANK"])
    ways = Ways(**{field.name: job["ways"][field.name] for field in fields(Ways)})
    stage = StageRun(
        kind=job["kind"],
        digest=job["digest"],
        root=Path(job["root"]),
        directory=Path(job["directory"]),
        config=job["config"],
        inputs={role: Path(path) for role, path in job["inputs"].items()},
        sources={role: [Path(path) for path in paths] for role, paths in job["sources"].items()},
        resources=job["resources"],
        log=_log(rank),
    )
    word = stage.work / f"worker-{rank}.json"
    write_json(word, {"process": os.getpid()})
    try:
        here(stage, ways, Path(job["resume"]) if job["resume"] else None)
    except BbjspecError as error:
        write_json(
            word, {"error": type(error).__name__, "text": redacted(str(error)), "ours": True, "time": time.time()}
        )
        raise SystemExit(error.exit_code) from None
    except Exception as error:
        stage.log.debug("details", exc_info=True)
        said = " ".join(str(error).split())[:300]
        text = f"training process {rank} of {ways.processes} failed: {type(error).__name__}: {said}"
        write_json(word, {"error": "StageFailed", "text": redacted(text), "ours": False, "time": time.time()})
        raise SystemExit(StageFailed.exit_code) from None


def _end_with_the_stage() -> None:
    """Wait for the end of standard input, and end: a stage that was killed leaves nobody training."""
    while os.read(0, 1):
        pass
    os._exit(1)


def _log(rank: int) -> logging.Logger:
    """Lines that the stage's own process passes on; the first process speaks for all."""
    log = logging.getLogger("bbjspec.training")
    log.setLevel(logging.DEBUG if rank == 0 else logging.ERROR)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("bbjspec %(levelname)s %(message)s"))
    log.addHandler(handler)
    return log


if __name__ == "__main__":
    main()
