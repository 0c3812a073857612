"""The process that speaks to Weights & Biases for a training. `bbjspec.stages.tracking` starts it and writes to it.

It is a script and imports nothing of this package. On stdin come lines of JSON: the start, `{step, values}` for every
log entry, and `{end: true}`; when they end without it, the training was killed and the run is marked as failed. On
stdout go lines of `{kind: text}`: `warning`, after which it goes on, or `stopped`, its last. Whatever happens in here,
the training only ever sees those lines, or that this process is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import threading
from typing import Any, Literal, TextIO

STEP = "train/global_step"


def main() -> None:
    """Follow the lines until they end."""
    lines, reports = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    # What wandb and its service print goes nowhere, and no question can be asked.
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    try:
        follow(lines, reports)
    except BaseException as error:
        report(reports, "stopped", reason(error))
        # Not by way of wandb's exit handlers, which would wait for a service that may be gone.
        os._exit(1)


def follow(lines: TextIO, reports: TextIO) -> None:
    """Start the run that the first line describes, log what the others say, finish. Raises whatever wandb raises."""
    # Read in a thread: the training must find room in the pipe, however long the start takes.
    feed: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    threading.Thread(target=read, args=(lines, feed), daemon=True).start()
    first = feed.get()
    if first is None:
        return
    run = begin(first, reports)
    # Curves are drawn over the training's own step. W&B's goes on counting when the rest of a run is synced.
    run.define_metric(STEP)
    run.define_metric("*", step_metric=STEP, step_sync=True)
    while (message := feed.get()) is not None and "end" not in message:
        run.log({**message["values"], STEP: message["step"]}, step=message["step"])
    try:
        run.finish(exit_code=1 if message is None else 0)
    except TimeoutError:
        text = f"not all was uploaded within {first['upload']:.0f} s; `wandb sync` does the rest, see docs/tracking.md"
        report(reports, "warning", text)


def read(lines: TextIO, feed: queue.SimpleQueue[dict[str, Any] | None]) -> None:
    """Lines into the queue, then None."""
    try:
        for line in lines:
            feed.put(json.loads(line))
    finally:
        feed.put(None)


def begin(start: dict[str, Any], reports: TextIO) -> Any:
    """The run: online where that was asked for and the server answers, else offline, with a warning."""
    import wandb

    def init(mode: Literal["online", "offline"]) -> Any:
        return wandb.init(
            project=start["project"],
            entity=start["entity"],
            name=start["name"],
            id=start["id"],
            config=start["config"],
            dir=start["directory"],
            mode=mode,
            resume="allow",  # offline too: else `wandb sync` puts the rest of a run over its beginning
            save_code=False,
            settings=wandb.Settings(
                console="off",
                silent=True,
                disable_code=True,
                disable_git=True,
                disable_job_creation=True,
                program="bbjspec",
                label_disable=True,
                sagemaker_disable=True,
                symlink=False,
                init_timeout=start["connect"],
                finish_timeout=start["upload"],
                finish_timeout_raises=True,
                x_disable_meta=True,
                x_disable_stats=True,
                x_disable_machine_info=True,
                x_save_requirements=False,
            ),
        )

    if start["mode"] == "online":
        try:
            return init("online")
        except Exception as error:
            text = f"no connection: {reason(error)}; recorded offline, `wandb sync` uploads it, see docs/tracking.md"
            report(reports, "warning", text)
            wandb.teardown()  # its service still holds the run that failed
    return init("offline")


def report(reports: TextIO, kind: str, text: str) -> None:
    """One line to the training, if it still listens."""
    with contextlib.suppress(OSError):
        reports.write(json.dumps({kind: text}) + "\n")
        reports.flush()


def reason(error: BaseException) -> str:
    """The first line of an exception's text, or its kind."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


if __name__ == "__main__":
    main()
